"""Writer of the two HDF5 files of an aligner's training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import attrs
import numpy as np
from attrs import frozen
from curate_hdf5.session import StackSession
from curate_hdf5.writer import Hdf5Writer

from curate_align.sections import array_of
from curate_core import ArrayLike, Batch, Context, Grid, NDArray, Piece, Placement, Plain, StepError, Writer, WriteSession, option
from curate_core.batch import GridOf

_ALL = 1 << 30
"""Longer than any axis: chunks are cut to the array."""


@frozen
class PairHdf5Writer(Writer):
    """Two HDF5 files of pairs, as metroem's loader reads them: the images, (pairs, 2, x, y), and the fields, (pairs, 2, x, y), float32.

    Each has one dataset, ``main``, in manifest order; the images in chunks of one image, the fields of one field, compressed by LZF. Fields
    have channel 0 along y and channel 1 along x, and are those of the first view. Beside it lie ``main.ids``, ``main.attributes`` and
    ``main.affine``. ``decimals`` 2 is what metroem stores.

    Example::

        "write": [{"use": "pair-hdf5", "images": "x{first_x}_y{first_y}_z{first_z}_MIP5.h5", "field": "field_0_{case}_MIP5_test.h5"}]
    """

    version: ClassVar[int] = 1
    images: str | None = option(doc="Path of the file of the images; null: none.", default="images.h5", min_length=1)
    field: str | None = option(doc="Path of the file of the fields; null: none.", default=None, min_length=1)
    image: str = option(doc="Layer of the images.", default="image", min_length=1)
    field_array: str = option(doc="Array of the fields, (2, y, x).", default="src.field", min_length=1)
    views: tuple[str, ...] = option(doc="Views of a pair, in this order.", default=("src", "tgt"), min_length=1)
    dataset: str = option(doc="Path of the dataset in each file.", default="main", min_length=1)
    decimals: int | None = option(
        doc="Fields are stored to 10 to the power of minus this, in pixels; null: as they are.", default=None, ge=0, le=15
    )

    _reader: Hdf5Writer = attrs.field(init=False, factory=lambda: Hdf5Writer(stack=True), eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.images is None and self.field is None:
            message = "neither images nor field names a file"
            raise ValueError(message)
        if self.images == self.field:
            message = f"images and field share the file {self.images!r}; give each its own"
            raise ValueError(message)
        self._writers()

    def _writers(self) -> dict[str, Hdf5Writer]:
        """Name of an array of the dataset -> the writer of its file."""
        found: dict[str, Hdf5Writer] = {}
        common = Hdf5Writer(path=self.dataset, stack=True, dtype="float32", compression="lzf")
        if self.images is not None:
            found["images"] = attrs.evolve(common, file=self.images, chunks=(1, _ALL, _ALL))
        if self.field is not None:
            found["field"] = attrs.evolve(common, file=self.field, chunks=(2, _ALL, _ALL), decimals=self.decimals)
        return found

    def paths(self, batch: Batch) -> list[str] | None:
        return None

    def unique_in_case(self) -> bool:
        return True

    def open(self, part: Path, context: Context) -> WriteSession:
        return _PairSession(self, part)

    def assembles(self) -> bool:
        return True

    def assemble(self, out: Path, pieces: Sequence[Piece], context: Context) -> list[Plain]:
        return self._writers()[pieces[0].array].assemble(out, pieces, context)

    def read(self, path: Path, place: Plain) -> NDArray:
        return self._reader.read(path, place)

    def lazy(self, path: Path, place: Plain) -> ArrayLike:
        return self._reader.lazy(path, place)

    def forget(self, path: Path) -> None:
        """Close a file that ``read`` has open: it will be written to."""
        self._reader.forget(path)

    def stacks(self, batch: Batch) -> dict[str, tuple[NDArray, GridOf]]:
        """What is written: ``images``, (n, views, x, y), and ``field``, (n, 2, x, y), with their grids.

        Raises:
            StepError: an array is missing, or has another shape.
        """
        found: dict[str, tuple[NDArray, GridOf]] = {}
        if self.images is not None:
            names = [array_of(batch, view, self.image) for view in self.views]
            values = [batch.arrays[name] for name in names]
            if any(array.ndim != 3 or array.shape != values[0].shape for array in values):
                shapes = ", ".join(f"{name}: {array.shape[1:]}" for name, array in zip(names, values, strict=True))
                message = f"the images of a pair are planes of one shape, these are {shapes}"
                raise StepError(message)
            first = batch.grids[names[0]]
            found["images"] = (np.stack([array.transpose(0, 2, 1) for array in values], axis=1), _turned(first, len(names)))
        if self.field is not None:
            if self.field_array not in batch.arrays:
                message = f"the samples have no array {self.field_array!r}, only {', '.join(batch.arrays)}"
                raise StepError(message, hint='"follow-field" makes it; without fields, leave out the file of the fields')
            field = batch.arrays[self.field_array]
            if field.ndim != 4 or field.shape[1] != 2:
                message = f"{self.field_array} has the shape {field.shape[1:]}, a field has (2, y, x)"
                raise StepError(message)
            found["field"] = (field.transpose(0, 1, 3, 2), _as_xy(batch.grids[self.field_array]))
        return found


def _turned(grid: GridOf, count: int) -> GridOf:
    return lambda row: _xy(grid(row)).add("c", count, 0)


def _as_xy(grid: GridOf) -> GridOf:
    return lambda row: _xy(grid(row))


def _xy(grid: Grid) -> Grid:
    """The grid with its last two axes exchanged."""
    last = len(grid.axes)
    return grid.transpose([*range(last - 2), last - 1, last - 2])


class _PairSession(WriteSession):
    """Both files of one part."""

    def __init__(self, writer: PairHdf5Writer, part: Path) -> None:
        self.writer, self.part = writer, part
        self._files: set[str] = set()
        self._sessions = {name: StackSession(inner, part) for name, inner in writer._writers().items()}  # noqa: SLF001

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        placed: list[dict[str, Placement]] = [{} for _ in range(len(batch))]
        for file in sorted(self._files):
            self.writer.forget(self.part / file)
        for name, (values, grid) in self.writer.stacks(batch).items():
            alone = batch.without_arrays(list(batch.arrays)).with_array(name, np.ascontiguousarray(values), grid)
            for row, placements in enumerate(self._sessions[name].write(alone)):
                placed[row] |= placements
                self._files |= {placement.file for placement in placements.values()}
        return list(placed)
