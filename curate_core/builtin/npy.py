"""NumPy files: one a sample, or stacks that hold many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from os import SEEK_END
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray, number_type
from curate_core.batch import Batch
from curate_core.builtin.transforms import cast_checked
from curate_core.errors import StepError
from curate_core.kinds import Context, Piece, Placement, Writer, WriteSession
from curate_core.model import Plain
from curate_core.npz import npy_header, save_array, save_slabs
from curate_core.options import option
from curate_core.templates import PathTemplate
from curate_core.writing import SampleValues, render_paths, unique_in_case

_OPEN_FILES = 16
"""Parts mapped at once: there may be more parts than a process may have open files."""
_LOSSLESS = 'cast them in an earlier step, or name a "dtype" that holds them'


@frozen
class NpyWriter(Writer):
    """NumPy .npy files: one a sample, or stacks.

    A file a sample when ``stack`` is false; samples of several arrays need ``{array}`` in the path, or ``layers``, which puts the named
    arrays one behind the other along a first axis. With ``stack`` all samples that render to one path share a file of shape
    (samples, *shape), or (samples, arrays, *shape) with ``layers``, in manifest order; they need one shape and dtype.

    ``pairs`` does the same with the roles of a case: for each of its pairs the inputs and then the targets, in their order, make one array
    that has the pair's name.

    Examples::

        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}]
        "write": [{"use": "npy", "path": "{split}.npy", "stack": true, "layers": ["25pc", "100pc"], "dtype": "float32"}]
        "write": [{"use": "npy", "path": "{split}/{array}.npy", "stack": true, "pairs": true, "dtype": "float32"}]
    """

    version: ClassVar[int] = 1
    path: str = option(doc="Path of the files in the dataset.", default="{case}/{roi}.npy", min_length=1)
    stack: bool = option(doc="Put all samples of one path into one file.", default=False)
    layers: tuple[str, ...] | None = option(doc="Arrays to write, in this order, as one.", default=None, min_length=1)
    pairs: bool = option(doc="Write the inputs and targets of each pair of the case as one array.", default=False)
    dtype: str | None = option(doc="Type to store; refused where it loses. null: as it is.", default=None)

    def __attrs_post_init__(self) -> None:
        fields = PathTemplate(self.path).fields
        if not self.path.endswith(".npy"):
            message = f"path: {self.path!r} must end with .npy"
            raise ValueError(message)
        if self.layers is not None and "array" in fields:
            message = "path: {array} has no meaning where layers are written as one"
            raise ValueError(message)
        if self.layers is not None and len(set(self.layers)) < len(self.layers):
            message = f"layers: {list(self.layers)} names an array twice"
            raise ValueError(message)
        if self.layers is not None and self.pairs:
            message = "pairs: they name the layers themselves, so that layers must be left out"
            raise ValueError(message)
        if self.dtype is not None:
            number_type(self.dtype)

    def paths(self, batch: Batch) -> list[str] | None:
        return None if self.stack else render_paths(PathTemplate(self.path), batch)

    def unique_in_case(self) -> bool:
        return self.stack or unique_in_case(PathTemplate(self.path))

    def assembles(self) -> bool:
        return self.stack

    def open(self, part: Path, context: Context) -> WriteSession:
        return _Stacks(self, part) if self.stack else _Files(self, part)

    def arrays(self, batch: Batch) -> dict[str, NDArray]:
        """What is written of a batch: name -> (n, ...) values of the stored type.

        Raises:
            StepError: arrays share a path, do not fit together, or would lose values.
        """
        groups = {"stack": self.layers} if self.layers is not None else None
        if self.pairs:
            groups = {name: (*role.inputs, *role.targets) for name, role in batch.case.roles.items()}
            if not groups:
                message = "the case has no pairs of inputs and targets"
                raise StepError(message, where=f"case {batch.case.id}", hint='name "layers" instead, or use a source that knows roles')
        names = list(batch.arrays if groups is None else groups)
        if len(names) > 1 and "array" not in PathTemplate(self.path).fields:
            message = (
                f"the samples have the {'pairs' if self.pairs else 'arrays'} {', '.join(names)}, which would share the path {self.path!r}"
            )
            raise StepError(message, hint="add {array} to the path" + ("" if self.pairs else ', or name "layers" to write them as one'))
        if groups is not None:
            return {name: self._joined([(layer, batch.array(layer)) for layer in layers]) for name, layers in groups.items()}
        if self.dtype is None:
            return {name: batch.arrays[name] for name in names}
        return {name: _as(batch.arrays[name], np.dtype(self.dtype), name) for name in names}

    def _joined(self, parts: Sequence[tuple[str, NDArray]]) -> NDArray:
        """(n, arrays, ...) of the stored type."""
        if len({part.shape for _, part in parts}) > 1:
            shapes = ", ".join(f"{name}: {part.shape[1:]}" for name, part in parts)
            message = f"arrays of different shapes cannot be written as one ({shapes})"
            raise StepError(message)
        if self.dtype is None and len({part.dtype for _, part in parts}) > 1:
            kinds = ", ".join(f"{name}: {part.dtype}" for name, part in parts)
            message = f"arrays of different types cannot be written as one ({kinds})"
            raise StepError(message, hint='name a "dtype" that holds them all')
        dtype = parts[0][1].dtype if self.dtype is None else np.dtype(self.dtype)
        return np.stack([_as(part, dtype, name) for name, part in parts], axis=1)

    def assemble(self, out: Path, pieces: Sequence[Piece], context: Context) -> list[Plain]:
        opened = lru_cache(_OPEN_FILES)(lambda path: np.load(path, mmap_mode="r", allow_pickle=False))
        kinds = {(array.shape[1:], array.dtype.str) for array in map(opened, dict.fromkeys(piece.path for piece in pieces))}
        if len(kinds) > 1:
            described = " and ".join(sorted(f"{shape} {dtype}" for shape, dtype in kinds))
            message = f"samples of different kinds cannot share {pieces[0].path.name}: {described}"
            raise StepError(message, hint="pad them to one shape, or add a field to the path")
        shape, dtype = kinds.pop()
        save_slabs(out, (len(pieces), *shape), np.dtype(dtype), (_piece(opened(piece.path), piece.place) for piece in pieces))
        return list(range(len(pieces)))

    def read(self, path: Path, place: Plain) -> NDArray:
        return np.load(path, allow_pickle=False) if place is None else self.lazy(path, place)

    def lazy(self, path: Path, place: Plain) -> NDArray:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        index: Any = place
        return array if place is None else array[index]


def _as(values: NDArray, dtype: np.dtype[Any], name: str) -> NDArray:
    return cast_checked(values, dtype, f"array {name!r}", hint=_LOSSLESS)


class _Files(WriteSession):
    """A file for each array of each sample."""

    def __init__(self, writer: NpyWriter, part: Path) -> None:
        self.writer, self.part, self.template = writer, part, PathTemplate(writer.path)

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        arrays = self.writer.arrays(batch)
        placed: list[Mapping[str, Placement]] = []
        for row in range(len(batch)):
            placements = {}
            for name, array in arrays.items():
                relative = self.template.render(SampleValues(batch, row, name))
                target = self.part / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                save_array(target, array[row])
                placements[name] = Placement(relative, None, array.shape[1:], array.dtype.str)
            placed.append(placements)
        return placed


class _Stacks(WriteSession):
    """Growing files: voxels are appended and the header counts them at once, so that samples can be read while the part is open."""

    def __init__(self, writer: NpyWriter, part: Path) -> None:
        self.writer, self.part, self.template = writer, part, PathTemplate(writer.path)
        self.counts: dict[str, int] = {}
        self.kinds: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        placed: list[dict[str, Placement]] = [{} for _ in range(len(batch))]
        for name, array in self.writer.arrays(batch).items():
            row = 0
            for relative, group in groupby(render_paths(self.template, batch, name)):
                stop = row + sum(1 for _ in group)
                first = self._append(relative, array[row:stop])
                for number, sample in enumerate(range(row, stop), first):
                    placed[sample][name] = Placement(relative, number, array.shape[1:], array.dtype.str)
                row = stop
        return list(placed)

    def _append(self, relative: str, values: NDArray) -> int:
        """Put samples behind those that the file has; returns the number of the first."""
        kind = (values.shape[1:], values.dtype)
        if self.kinds.setdefault(relative, kind) != kind:
            shape, dtype = self.kinds[relative]
            message = f"samples of different kinds cannot share {relative}: {shape} {dtype} and {kind[0]} {kind[1]}"
            raise StepError(message, hint="pad them to one shape, or add a field to the path")
        before = self.counts.get(relative, 0)
        target = self.part / relative
        if before == 0:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                message = f"another writer of the spec has written {relative}"
                raise StepError(message, hint="give each writer a path of its own")
        after = before + len(values)
        with target.open("r+b" if before else "wb") as file:
            file.write(npy_header((after, *kind[0]), kind[1]))
            file.seek(0, SEEK_END)
            file.write(np.ascontiguousarray(values).data)
        self.counts[relative] = after
        return before


def _piece(array: NDArray, place: Any) -> NDArray:
    return array[place]
