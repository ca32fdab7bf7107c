"""How much of each cube of a volume is padding, by a coarser layer or by the volume itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from attrs import frozen

from curate_core import ArrayLike, Case, Image, NDArray, StepError, read
from curate_core.arrays import box, nbytes

WHOLE_BYTES = 256 << 20
"""Overviews of up to so many bytes are read once, whole; of others only what lies under the cubes that are drawn."""
SECTIONS = 16
"""Evenly spaced sections of a cube that are looked at, where it is read by itself."""
Edges = Sequence[tuple[NDArray, NDArray]]
"""(starts, stops) of the cubes along z, y and x."""


@frozen(eq=False)
class Overview:
    """A layer whose voxels stand for boxes of another one's.

    Attributes:
        array: order z, y, x.
        factor: length of its voxels in voxels of the other layer, along each axis.
        first: centre of its first voxel in indices of the other layer, along each axis.
    """

    array: ArrayLike
    factor: tuple[float, ...]
    first: tuple[float, ...]

    def edges(self, edges: Edges) -> list[tuple[NDArray, NDArray]]:
        """(starts, stops) of the voxels whose centres lie within the cubes along each axis; at least one, the nearest."""
        found = []
        for (starts, stops), n, factor, first in zip(edges, self.array.shape, self.factor, self.first, strict=True):
            low, high = (np.ceil(np.round((edge - 0.5 - first) / factor, 6)).astype(np.int64) for edge in (starts, stops))
            middle = np.round(((starts + stops - 1) / 2 - first) / factor).astype(np.int64)
            empty = np.maximum(low, 0) >= np.minimum(high, n)
            low = np.clip(np.where(empty, middle, low), 0, n - 1)
            found.append((low, np.clip(np.where(empty, low + 1, high), low + 1, n)))
        return found


def overview_of(case: Case, name: str | None, layer: str, image: Image) -> Overview:
    """The layer where padding is looked for.

    How its voxels lie is told by its reader's note ``of``; without that, both layers are taken to have one extent.

    Raises:
        StepError: it has other axes, or is finer than the layer.
    """
    if name is None or name == layer:
        if image.grid.axes != "zyx":
            raise _axes(case, layer, image)
        return Overview(image.array, (1.0,) * 3, (0.0,) * 3)
    found = case.image(name)
    if found.grid.axes != "zyx":
        raise _axes(case, name, found)
    told = found.notes.get("of")
    if isinstance(told, dict) and told:
        factor = tuple(float(value) for value in told["factor"])
        first = tuple(float(value) for value in told["first"])
    else:
        factor = tuple(n / m for n, m in zip(image.grid.spatial_shape, found.grid.shape, strict=True))
        first = tuple((value - 1) / 2 for value in factor)
    if min(factor) < 1 - 1e-6:
        message = f"layer {name!r} of shape {list(found.grid.shape)} is finer than layer {layer!r} of {list(image.grid.spatial_shape)}"
        raise StepError(message, where=f"case {case.id}", hint="an overview is coarser than what it shows")
    return Overview(found.array, factor, first)


def _axes(case: Case, name: str, image: Image) -> StepError:
    message = f"padding is looked for in layers with the axes zyx, layer {name!r} has {image.grid.axes!r}"
    return StepError(message, where=f"case {case.id}", hint="put pick-channel under preprocess")


class Paddings(ABC):
    """The share of padding of cubes."""

    @abstractmethod
    def shares(self, rows: NDArray) -> Iterator[tuple[tuple[int, ...], float]]:
        """Position in the grid of cubes -> share, for each of (k, 3) positions, one after the other as they are asked for."""


class Unpadded(Paddings):
    """No value means padding, so nothing is read."""

    def shares(self, rows: NDArray) -> Iterator[tuple[tuple[int, ...], float]]:
        return ((tuple(row), 0.0) for row in rows.tolist())


class _Whole(Paddings):
    """Counted for all cubes at once, while the overview is read row of cubes by row of cubes."""

    def __init__(self, overview: Overview, edges: Edges, value: float) -> None:
        found = overview.edges(edges)
        self._share = np.empty([len(low) for low, _ in found])
        (lows, highs), (top, bottom), (left, right) = found
        area = ((bottom - top)[:, None] * (right - left)[None]).astype(np.float64)
        shape = overview.array.shape
        for i, (low, high) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True)):
            count = np.zeros((shape[1] + 1, shape[2] + 1), np.int64)
            slab = read(overview.array, box((low, 0, 0), (high, *shape[1:])))
            (slab == value).sum(axis=0, dtype=np.int64).cumsum(axis=0).cumsum(axis=1, out=count[1:, 1:])
            rows = count[bottom] - count[top]
            self._share[i] = (rows[:, right] - rows[:, left]) / (area * (high - low))

    def shares(self, rows: NDArray) -> Iterator[tuple[tuple[int, ...], float]]:
        values = self._share[tuple(rows.T)]
        return zip(map(tuple, rows.tolist()), values.tolist(), strict=True)


class _OneByOne(Paddings):
    """Read cube by cube, some sections of each."""

    def __init__(self, overview: Overview, edges: Edges, value: float) -> None:
        self._array, self._edges, self._value = overview.array, overview.edges(edges), value

    def shares(self, rows: NDArray) -> Iterator[tuple[tuple[int, ...], float]]:
        return ((tuple(row), self._share(row)) for row in rows.tolist())

    def _share(self, row: list[int]) -> float:
        (z0, z1), (y0, y1), (x0, x1) = ((int(low[i]), int(high[i])) for i, (low, high) in zip(row, self._edges, strict=True))
        if z1 - z0 <= SECTIONS:
            return self._count((z0, y0, x0), (z1, y1, x1)) / math.prod((z1 - z0, y1 - y0, x1 - x0))
        sections = [z0 + (2 * i + 1) * (z1 - z0) // (2 * SECTIONS) for i in range(SECTIONS)]
        return sum(self._count((z, y0, x0), (z + 1, y1, x1)) for z in sections) / (SECTIONS * (y1 - y0) * (x1 - x0))

    def _count(self, start: tuple[int, ...], stop: tuple[int, ...]) -> int:
        return int(np.count_nonzero(read(self._array, box(start, stop)) == self._value))


def paddings_of(overview: Overview, edges: Edges, value: float) -> Paddings:
    """What tells the padding of cubes."""
    kind = _Whole if nbytes(overview.array) <= WHOLE_BYTES else _OneByOne
    return kind(overview, edges, value)
