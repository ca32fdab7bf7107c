"""Lazy array views: what a step does to a volume, done only to the box that is read.

Everything that curate calls an array has ``shape``, ``dtype`` and basic slicing: numpy arrays, memory maps, h5py, zarr, blosc2
and tensorstore all qualify, and so do the views here, which wrap any of them and never copy more than they are asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

NDArray = npt.NDArray[Any]
"""A numpy array of any dtype."""

Box = tuple[slice, ...]
"""One slice with plain start and stop for every axis, array order."""

SLAB_BYTES = 64 << 20
MAP_BYTES = 24 << 20


@runtime_checkable
class ArrayLike(Protocol):
    """What curate asks of an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any, /) -> Any: ...


def box(start: Sequence[int], stop: Sequence[int]) -> Box:
    """Slices from corners, array order."""
    return tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))


def read(array: ArrayLike, where: Box | None = None) -> NDArray:
    """The voxels of ``array`` in a box as a numpy array; all of it without a box.

    The result may share memory with the source, which is read-only to every step.
    """
    key = tuple(slice(0, n) for n in array.shape) if where is None else where
    return np.asarray(array[key])


def nbytes(array: ArrayLike) -> int:
    """Bytes of the whole array once read."""
    return int(np.prod(array.shape, dtype=np.int64)) * np.dtype(array.dtype).itemsize


def number_type(name: str) -> np.dtype[Any]:
    """The type of numbers that an option ``dtype`` names, with its byte order; truth values and complex numbers included.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        found = np.dtype(name)
    except (TypeError, ValueError, SyntaxError) as error:
        message = f"dtype: {name!r} is not the name of a NumPy type"
        raise ValueError(message) from error
    if found.kind not in "biufc":
        message = f"dtype: {name!r} is not a type of numbers"
        raise ValueError(message)
    return found


def absent(array: ArrayLike, where: Box | None = None) -> float:
    """Fraction of the voxels in a box, of all without one, that the source of ``array`` does not store; 0 where it does not say.

    What is looked up are chunks, not voxels: it costs little, and of views counts what they are made from.
    """
    if not isinstance(array, LazyArray) or 0 in array.shape:
        return 0.0
    return array.absent(tuple(slice(0, n) for n in array.shape) if where is None else where)


def slabs(array: ArrayLike, max_bytes: int = SLAB_BYTES) -> Iterator[Box]:
    """Boxes over the whole array in order, cut along its first axis, each of about ``max_bytes`` once read."""
    if 0 in array.shape:
        return
    if not array.shape:
        yield ()
        return
    plane = max(1, nbytes(array) // array.shape[0])
    step = max(1, max_bytes // plane)
    rest = tuple(slice(0, n) for n in array.shape[1:])
    for start in range(0, array.shape[0], step):
        yield (slice(start, min(start + step, array.shape[0])), *rest)


class LazyArray(ABC):
    """A view that computes what is read of it. Subclasses say ``shape``, ``dtype`` and how to read a box."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @abstractmethod
    def read_box(self, where: Box) -> NDArray:
        """The voxels in ``where``: one plain slice for every axis, within the shape."""

    def absent(self, where: Box) -> float:
        """Fraction of the voxels in ``where`` whose values no chunk of the source holds.

        Views of one source pass the question on, with the box of theirs that they would read.
        """
        return 0.0

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray:
        where, finish = _normalise(key, self.shape)
        return self.read_box(where)[finish]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> NDArray:
        values = self[...]
        return values if dtype is None else values.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"


def _normalise(key: Any, shape: tuple[int, ...]) -> tuple[Box, tuple[Any, ...]]:
    """Split basic indexing into the box to read and what is left to do to it (steps, dropped axes)."""
    keys = list(key) if isinstance(key, tuple) else [key]
    position = next((i for i, entry in enumerate(keys) if entry is Ellipsis), None)
    if position is not None:
        keys[position : position + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    keys += [slice(None)] * (len(shape) - len(keys))
    if len(keys) != len(shape):
        message = f"{len(keys)} indices for an array of {len(shape)} axes"
        raise IndexError(message)
    where: list[slice] = []
    finish: list[Any] = []
    for entry, length in zip(keys, shape, strict=True):
        if isinstance(entry, slice):
            indices = range(length)[entry]
            if not indices:
                where.append(slice(0, 0))
                finish.append(slice(None))
            else:
                low, high = min(indices[0], indices[-1]), max(indices[0], indices[-1]) + 1
                where.append(slice(low, high))
                finish.append(slice(None, None, indices.step))
        elif isinstance(entry, int | np.integer) and not isinstance(entry, bool):
            index = range(length)[int(entry)]
            where.append(slice(index, index + 1))
            finish.append(0)
        else:
            message = f"only slices and integers index a lazy array, not {type(entry).__name__}"
            raise IndexError(message)
    return tuple(where), tuple(finish)


class MapArray(LazyArray):
    """A value-by-value function of an array, in the machine's byte order; the function must not change its argument.

    Large boxes go through it slab by slab: what the function needs on the way, several times its input for some, stays that of a slab.
    """

    def __init__(self, base: ArrayLike, function: Callable[[NDArray], NDArray], dtype: npt.DTypeLike) -> None:
        self.base, self.function = base, function
        self.shape, self.dtype = tuple(base.shape), np.dtype(dtype).newbyteorder("=")

    def read_box(self, where: Box) -> NDArray:
        shape = tuple(s.stop - s.start for s in where)
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(self.base.dtype).itemsize
        if size <= MAP_BYTES or shape[0] == 1:
            return self._mapped(where)
        out = np.empty(shape, self.dtype)
        step = max(1, MAP_BYTES * shape[0] // size)
        for first in range(0, shape[0], step):
            start, stop = where[0].start + first, min(where[0].start + first + step, where[0].stop)
            out[first : first + step] = self._mapped((slice(start, stop), *where[1:]))
        return out

    def absent(self, where: Box) -> float:
        return absent(self.base, where)

    def _mapped(self, where: Box) -> NDArray:
        values = self.function(read(self.base, where))
        return values.astype(values.dtype.newbyteorder("="), copy=False)  # numpy's functions give either byte order


class CropArray(LazyArray):
    """A box of an array."""

    def __init__(self, base: ArrayLike, start: Sequence[int], stop: Sequence[int]) -> None:
        for a, b, n in zip(start, stop, base.shape, strict=True):
            if not 0 <= a <= b <= n:
                message = f"box {tuple(start)} to {tuple(stop)} leaves the array of shape {tuple(base.shape)}"
                raise ValueError(message)
        self.base, self.start = base, tuple(int(a) for a in start)
        self.shape = tuple(int(b) - int(a) for a, b in zip(start, stop, strict=True))
        self.dtype = np.dtype(base.dtype)

    def read_box(self, where: Box) -> NDArray:
        return read(self.base, self._inner(where))

    def absent(self, where: Box) -> float:
        return absent(self.base, self._inner(where))

    def _inner(self, where: Box) -> Box:
        return tuple(slice(s.start + a, s.stop + a) for s, a in zip(where, self.start, strict=True))


class TransposeArray(LazyArray):
    """An array with its axes in another order, as ``numpy.transpose``."""

    def __init__(self, base: ArrayLike, order: Sequence[int]) -> None:
        if sorted(order) != list(range(len(base.shape))):
            message = f"{tuple(order)} is not an order of {len(base.shape)} axes"
            raise ValueError(message)
        self.base, self.order = base, tuple(order)
        self.shape = tuple(base.shape[i] for i in self.order)
        self.dtype = np.dtype(base.dtype)

    def read_box(self, where: Box) -> NDArray:
        return read(self.base, self._inner(where)).transpose(self.order)

    def absent(self, where: Box) -> float:
        return absent(self.base, self._inner(where))

    def _inner(self, where: Box) -> Box:
        inner = [slice(0, 0)] * len(where)
        for position, axis in enumerate(self.order):
            inner[axis] = where[position]
        return tuple(inner)


class TakeArray(LazyArray):
    """One index of an axis, which the result loses."""

    def __init__(self, base: ArrayLike, index: int, axis: int) -> None:
        if not (0 <= axis < len(base.shape) and 0 <= index < base.shape[axis]):
            message = f"index {index} leaves axis {axis} of shape {tuple(base.shape)}"
            raise ValueError(message)
        self.base, self.index, self.axis = base, index, axis
        self.shape = (*base.shape[:axis], *base.shape[axis + 1 :])
        self.dtype = np.dtype(base.dtype)

    def read_box(self, where: Box) -> NDArray:
        return read(self.base, self._inner(where)).squeeze(self.axis)

    def absent(self, where: Box) -> float:
        return absent(self.base, self._inner(where))

    def _inner(self, where: Box) -> Box:
        return (*where[: self.axis], slice(self.index, self.index + 1), *where[self.axis :])


class AddAxisArray(LazyArray):
    """An array with one more axis of length 1 before ``axis``."""

    def __init__(self, base: ArrayLike, axis: int) -> None:
        if not 0 <= axis <= len(base.shape):
            message = f"no axis can be added before {axis} of shape {tuple(base.shape)}"
            raise ValueError(message)
        self.base, self.axis = base, axis
        self.shape = (*base.shape[:axis], 1, *base.shape[axis:])
        self.dtype = np.dtype(base.dtype)

    def read_box(self, where: Box) -> NDArray:
        inner = (*where[: self.axis], *where[self.axis + 1 :])
        added = (slice(None),) * self.axis + (where[self.axis],)
        return np.expand_dims(read(self.base, inner), self.axis)[added]

    def absent(self, where: Box) -> float:
        return absent(self.base, (*where[: self.axis], *where[self.axis + 1 :]))


class ConcatArray(LazyArray):
    """Arrays joined along an axis; equal along every other, of one dtype after numpy's promotion."""

    def __init__(self, parts: Sequence[ArrayLike], axis: int) -> None:
        shapes = {(*p.shape[:axis], *p.shape[axis + 1 :]) for p in parts}
        if len(shapes) != 1 or len({len(p.shape) for p in parts}) != 1 or not 0 <= axis < len(parts[0].shape):
            message = f"arrays of shapes {', '.join(str(tuple(p.shape)) for p in parts)} do not join along axis {axis}"
            raise ValueError(message)
        self.parts, self.axis = tuple(parts), axis
        self.edges = np.cumsum([0, *(p.shape[axis] for p in parts)]).tolist()
        first = parts[0].shape
        self.shape = (*first[:axis], self.edges[-1], *first[axis + 1 :])
        self.dtype = np.result_type(*(np.dtype(p.dtype) for p in parts))

    def read_box(self, where: Box) -> NDArray:
        out = np.empty([s.stop - s.start for s in where], self.dtype)
        for part, inner, target in self._inner(where):
            out[(slice(None),) * self.axis + (target,)] = read(part, inner)
        return out

    def absent(self, where: Box) -> float:
        length = max(1, where[self.axis].stop - where[self.axis].start)
        return sum(absent(part, inner) * (target.stop - target.start) / length for part, inner, target in self._inner(where))

    def _inner(self, where: Box) -> Iterator[tuple[ArrayLike, Box, slice]]:
        """Parts under a box, the box in each, and where along the axis of the result it goes."""
        wanted = where[self.axis]
        for part, low, high in zip(self.parts, self.edges[:-1], self.edges[1:], strict=True):
            start, stop = max(wanted.start, low), min(wanted.stop, high)
            if start < stop:
                inner = (*where[: self.axis], slice(start - low, stop - low), *where[self.axis + 1 :])
                yield part, inner, slice(start - wanted.start, stop - wanted.start)


class OpenedArray(LazyArray):
    """An array behind a handle that is opened at first use and again in each worker.

    Readers whose handles do not cross process borders return one of these.

    Args:
        opener: opens the array; must be picklable (a module-level function or ``functools.partial`` of one).
        shape, dtype: what the opened array has.
    """

    def __init__(self, opener: Callable[[], ArrayLike], shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        self.opener = opener
        self.shape, self.dtype = tuple(int(n) for n in shape), np.dtype(dtype)
        self._array: ArrayLike | None = None

    def read_box(self, where: Box) -> NDArray:
        return read(self._opened(), where)

    def absent(self, where: Box) -> float:
        return absent(self._opened(), where)

    def _opened(self) -> ArrayLike:
        if self._array is None:
            self._array = self.opener()
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}
