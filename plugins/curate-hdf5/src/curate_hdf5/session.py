"""Writing one unit's samples: HDF5 files in its part, closed after each batch, so that what they hold can be read at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate_core import Batch, Grid, NDArray, Placement, Plain, StepError, WriteSession
from curate_core.templates import PathTemplate
from curate_core.writing import SampleValues, render_paths
from curate_hdf5.create import Groups, Storage, append_to, close_file, create_dataset, create_file, encoded, flush, write_attributes

if TYPE_CHECKING:
    from curate_hdf5.writer import Hdf5Writer

NOT_ATTRIBUTES = ("sources",)
"""What the commit adds to a piece's attributes, and the manifest holds anyway."""


def attributes_json(attributes: Mapping[str, Plain]) -> str:
    """A sample's attributes as ASCII JSON."""
    return json.dumps({name: value for name, value in attributes.items() if name not in NOT_ATTRIBUTES})


def beside(shape: tuple[int, ...]) -> Storage:
    """How small values beside a stack are stored, of ``shape`` a sample."""
    return Storage((1024, *shape), "gzip")


class _Files:
    """The files of a part: one at a time is open."""

    def __init__(self, writer: Hdf5Writer, part: Path) -> None:
        self.writer, self.part = writer, part
        self._made: set[str] = set()
        self._stack = ExitStack()
        self._open: tuple[str, Groups] | None = None

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._open = None
        self._stack.close()

    def groups(self, relative: str) -> Groups:
        """The groups of a file, open for writing.

        Raises:
            StepError: another writer of the spec has written the file.
        """
        if self._open is None or self._open[0] != relative:
            self.close()
            path = self.part / relative
            self.writer.forget(path)
            try:
                file = append_to(path) if relative in self._made else create_file(path)
            except FileExistsError as error:
                message = f"another writer of the spec has written {relative}, or another sample"
                raise StepError(message, hint="give each writer and sample a path of its own") from error
            self._made.add(relative)
            self._stack.callback(close_file, file)
            self._open = (relative, Groups(file))
        return self._open[1]


class SampleSession(WriteSession):
    """A dataset for each array of each sample."""

    def __init__(self, writer: Hdf5Writer, part: Path) -> None:
        self.writer = writer
        self._files = _Files(writer, part)

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        arrays = self.writer.arrays(batch)
        files = render_paths(PathTemplate(self.writer.file), batch)
        inner = {name: render_paths(PathTemplate(self.writer.inner), batch, name) for name in arrays}
        placed: list[dict[str, Placement]] = [{} for _ in range(len(batch))]
        with self._files:
            for row, relative in enumerate(files):
                groups = self._files.groups(relative)
                for name, values in arrays.items():
                    storage = self.writer.storage(values.shape[1:], values.itemsize)
                    dataset = create_dataset(groups, inner[name][row], values.dtype, values.shape[1:], storage)
                    if values[row].size:
                        dataset[...] = values[row]
                    write_attributes(dataset, self._attributes(batch, row, name, values.ndim - 1))
                    flush(dataset)
                    placed[row][name] = Placement(relative, inner[name][row], values.shape[1:], values.dtype.str)
        return list(placed)

    def _attributes(self, batch: Batch, row: int, name: str, ndim: int) -> dict[str, Any]:
        grid = grid_of(self.writer, batch, name, row)
        found: dict[str, Any] = {"sample": batch.ids[row], "case": batch.case.id}
        if len(grid.axes) == ndim - (self.writer.layers is not None):  # a transform may give a number a sample
            axes = grid.axes if self.writer.layers is None else f"{_other_letter(grid.axes)}{grid.axes}"
            found |= {"axes": axes, "affine": grid.affine}
            found |= {"spacing": np.array(grid.spacing, np.float64)} if grid.calibrated else {}
            found |= {"unit": grid.unit} if grid.unit else {}
            found |= {"world": "RAS+"} if grid.oriented else {}
        box = box_of(batch)
        if box is not None:
            found |= {"start": box[0][row], "stop": box[1][row]}
        found["attributes"] = attributes_json(batch.sample_attributes(row))
        return found


def grid_of(writer: Hdf5Writer, batch: Batch, name: str, row: int) -> Grid:
    """The grid of a sample's array; of layers written as one, that of the first."""
    return batch.grids[name if writer.layers is None else writer.layers[0]](row)


def box_of(batch: Batch) -> tuple[NDArray, NDArray] | None:
    """(n, S) int64 corners of the samples in voxels of their layer; None where they have several views."""
    if len(batch.rois.views) != 1:
        return None
    view = batch.rois.views[0]
    return np.asarray(view.start, "<i8"), np.asarray(view.stop, "<i8")


def _other_letter(axes: str) -> str:
    return next(letter for letter in "clnkm" if letter not in axes)


class StackSession(WriteSession):
    """Datasets that grow along their first axis."""

    def __init__(self, writer: Hdf5Writer, part: Path) -> None:
        self.writer = writer
        self._files = _Files(writer, part)
        self._counts: dict[tuple[str, str], int] = {}
        self._kinds: dict[tuple[str, str], Mapping[str, tuple[tuple[int, ...], str]]] = {}

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        placed: list[dict[str, Placement]] = [{} for _ in range(len(batch))]
        with self._files:
            for name, values in self.writer.arrays(batch).items():
                files = [self._file(batch, row, name) for row in range(len(batch))]
                inner = render_paths(PathTemplate(self.writer.inner), batch, name)
                row = 0
                for (relative, path), group in groupby(zip(files, inner, strict=True)):
                    stop = row + sum(1 for _ in group)
                    first = self._append(relative, path, dict(self._columns(batch, name, values, row, stop)))
                    for number, sample in enumerate(range(row, stop), first):
                        placed[sample][name] = Placement(relative, [path, number], values.shape[1:], values.dtype.str)
                    row = stop
        return list(placed)

    def _file(self, batch: Batch, row: int, name: str) -> str:
        return PathTemplate(self.writer.file).render(SampleValues(batch, row, name))

    def _columns(self, batch: Batch, name: str, values: NDArray, start: int, stop: int) -> Iterator[tuple[str, NDArray]]:
        """What is appended for some rows: suffix of the dataset's path -> (rows, ...) values."""
        yield "", values[start:stop]
        grids = [grid_of(self.writer, batch, name, row) for row in range(start, stop)]
        yield ".affine", np.stack([grid.affine for grid in grids]).astype("<f8")
        box = box_of(batch)
        if box is not None:
            yield ".start", box[0][start:stop]
            yield ".stop", box[1][start:stop]

    def _append(self, relative: str, path: str, columns: Mapping[str, NDArray]) -> int:
        """Put samples behind those that a stack has; returns the number of the first.

        Raises:
            StepError: they are of another kind.
        """
        key = (relative, path)
        kinds = {suffix: (values.shape[1:], values.dtype.str) for suffix, values in columns.items()}
        known = self._kinds.setdefault(key, kinds)
        if known != kinds:
            message = f"samples of different kinds cannot share {path} of {relative}: {known['']} and {kinds['']}"
            raise StepError(message, hint="pad them to one shape, or add a field to the path")
        groups = self._files.groups(relative)
        before = self._counts.get(key, 0)
        for suffix, values in columns.items():
            storage = beside(values.shape[1:]) if suffix else self.writer.stacked(values.shape[1:], values.itemsize)
            if before == 0:
                dataset = create_dataset(groups, path + suffix, values.dtype, values.shape, storage, grows=True)
            else:
                dataset = groups.file[encoded(path + suffix)]
                dataset.resize(before + len(values), axis=0)
            if values.size:
                dataset[before:] = values
            flush(dataset)
        self._counts[key] = before + len(columns[""])
        return before
