"""Writer of Blosc2 files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import frozen

from curate_blosc2.partition import partition
from curate_blosc2.storing import Codec, Filter
from curate_core import ArrayLike, Batch, Context, Grid, NDArray, Placement, Plain, StepError, Writer, WriteSession, option
from curate_core.arrays import number_type
from curate_core.batch import GridOf
from curate_core.builtin.transforms import cast_checked
from curate_core.digest import digest_of
from curate_core.templates import PathTemplate
from curate_core.writing import SampleValues, render_paths, unique_in_case

SUFFIX = ".b2nd"
SEG = "_seg"
FORMAT = 1
"""Version of what the metalayer holds."""
_LOSSLESS = 'cast them in an earlier step ({"use": "cast", "lossy": true} accepts the loss), or name a "dtype" that holds them'


@frozen
class Blosc2Writer(Writer):
    """One Blosc2 file a sample array, cut into the blocks and chunks from which patches are read fastest.

    Blocks and chunks follow nnU-Net 2.8's rule for the ``patch`` that a training will read. Axes that are not spatial are cut into single
    planes. Affine, spacing, axes and unit are stored in the file. With ``channels`` the named arrays become one, along a first axis c;
    ``labels`` likewise, in a file of their own that ends in ``_seg.b2nd``: the arrays that nnU-Net's trainers open.

    Examples::

        "write": [{"use": "blosc2", "path": "{case}/{array}.b2nd", "patch": [128, 128, 128]}]
        "write": [{"use": "blosc2", "path": "plans/{case}.b2nd", "patch": [128, 128, 128], "channels": ["ct"], "labels": ["organs"]}]
    """

    version: ClassVar[int] = 1
    path: str = option(doc="Path template of the files, ending in .b2nd.", default="{case}/{roi}.b2nd")
    patch: tuple[int, ...] | None = option(
        doc="Voxels that are read at once along the spatial axes, array order; two for planes of a volume; null: whole samples.",
        default=None,
        ge=1,
        min_length=1,
    )
    channels: tuple[str, ...] | None = option(
        doc="Arrays to write as one, in this order, along a first axis c.", default=None, min_length=1
    )
    labels: tuple[str, ...] | None = option(doc="Arrays to write beside the channels, as <path>_seg.b2nd.", default=None, min_length=1)
    dtype: str | None = option(
        doc="Type to store (labels keep theirs); refused where it loses. null: as it is; channels need one type then.", default=None
    )
    codec: Codec = option(doc="Compression; the default is nnU-Net's, as is its level.", default="lz4hc")
    level: int = option(doc="Effort of the compression, 0 (none) to 9.", default=5, ge=0, le=9)
    filter: Filter = option(
        doc="What reorders bytes before they are compressed; auto: what makes the chunk in the middle of the array smallest.",
        default="auto",
    )

    def __attrs_post_init__(self) -> None:
        fields = PathTemplate(self.path).fields  # raises ValueError for a malformed template
        if not self.path.endswith(SUFFIX):
            message = f"path: {self.path!r} must end in {SUFFIX}"
            raise ValueError(message)
        if self.channels is not None and "array" in fields:
            message = "path: {array} has no meaning where channels are written as one"
            raise ValueError(message)
        if self.labels is not None and self.channels is None:
            message = "labels: they lie beside channels, of which none are named"
            raise ValueError(message)
        for name in ("channels", "labels"):
            named = getattr(self, name) or ()
            if len(set(named)) < len(named):
                message = f"{name}: {list(named)} names an array twice"
                raise ValueError(message)
        if self.dtype is not None:
            found = number_type(self.dtype)
            if found.kind == "c" or not found.isnative:
                message = f"dtype: {self.dtype!r} is not a type of real numbers in the machine's byte order"
                raise ValueError(message)

    def paths(self, batch: Batch) -> list[str]:
        return render_paths(PathTemplate(self.path), batch)

    def unique_in_case(self) -> bool:
        return unique_in_case(PathTemplate(self.path))

    def open(self, part: Path, context: Context) -> WriteSession:
        return _Session(self, part)

    def read(self, path: Path, place: Plain) -> NDArray:
        from curate_blosc2.storing import Guarded

        return Guarded(path)[()]

    def lazy(self, path: Path, place: Plain) -> ArrayLike:
        from curate_blosc2.storing import Guarded

        return Guarded(path)

    def write_array(self, path: Path, values: NDArray, grid: Grid, array: str, sample: str) -> None:
        """Write one array into a new file; its folder is there.

        Raises:
            StepError: Blosc2 holds no such type or shape, or the patch does not fit its axes.
        """
        from curate_blosc2.storing import store

        _check(path, values)
        blocks, chunks = partition(values.shape, grid.axes, self.patch, values.dtype.itemsize)
        meta = meta_for(values, grid, array, sample)
        store(path, values, blocks, chunks, meta, codec=self.codec, level=self.level, filter=self.filter)

    def arrays(self, batch: Batch) -> Iterator[tuple[str, str, NDArray, GridOf]]:
        """What is written of a batch: (array, what its path ends in, (n, ...) values of the stored type, row -> grid).

        Raises:
            StepError: arrays share a path, do not fit together, or would lose values.
        """
        if self.channels is not None:
            yield "data", SUFFIX, *_joined(batch, self.channels, self.dtype)
            if self.labels is not None:
                yield "seg", f"{SEG}{SUFFIX}", *_joined(batch, self.labels, None)
            return
        names = list(batch.arrays)
        if len(names) > 1 and "array" not in PathTemplate(self.path).fields:
            message = f"the samples have the arrays {', '.join(names)}, which would share the path {self.path!r}"
            raise StepError(message, hint='add {array} to the path, or name "channels" to write them as one')
        for name in names:
            yield name, SUFFIX, _as(batch.arrays[name], self.dtype, name), batch.grids[name]


def meta_for(values: NDArray, grid: Grid, array: str, sample: str) -> dict[str, Any]:
    """What a file says of its array; see the README."""
    return {
        "format": FORMAT,
        "array": array,
        "sample": sample,
        "dtype": values.dtype.name,
        "sha256": digest_of(values),
        "axes": grid.axes,
        "affine": grid.affine.tolist(),
        "spacing": list(grid.spacing),
        "origin": grid.affine[:3, -1].tolist(),
        "unit": grid.unit,
        "oriented": grid.oriented,
        "calibrated": grid.calibrated,
    }


class _Session(WriteSession):
    """Files of one part."""

    def __init__(self, writer: Blosc2Writer, part: Path) -> None:
        self.writer, self.part, self.template = writer, part, PathTemplate(writer.path)

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        placed: list[dict[str, Placement]] = [{} for _ in range(len(batch))]
        for name, ending, values, grid_of in self.writer.arrays(batch):
            for row in range(len(batch)):
                path = self.template.render(SampleValues(batch, row, name)).removesuffix(SUFFIX) + ending
                target = self.part / path
                target.parent.mkdir(parents=True, exist_ok=True)
                self.writer.write_array(target, values[row], grid_of(row), name, batch.ids[row])
                placed[row][name] = Placement(path, None, values.shape[1:], values.dtype.str)
        return list(placed)


def _joined(batch: Batch, names: Sequence[str], dtype: str | None) -> tuple[NDArray, GridOf]:
    """Several arrays as one, (n, c, ...), on the grid of the first.

    Raises:
        StepError: their shapes or types differ, or one has channels of its own.
    """
    parts = [_as(batch.array(name), dtype, name) for name in names]
    for what, kinds in (("shapes", [part.shape[1:] for part in parts]), ("types", [part.dtype for part in parts])):
        if len(set(kinds)) > 1:
            described = ", ".join(f"{name}: {kind}" for name, kind in zip(names, kinds, strict=True))
            message = f"arrays of different {what} cannot be written as one ({described})"
            raise StepError(message, hint="resample them onto one grid first" if what == "shapes" else 'name a "dtype" that holds them all')
    grid = batch.grids[names[0]]
    if len(batch) and "c" in grid(0).axes:
        message = f"array {names[0]!r} has channels of its own (axes {grid(0).axes!r})"
        raise StepError(message, hint="write it without naming channels, or pick one of them first")

    def of(row: int) -> Grid:
        return grid(row).add("c", len(names), 0)

    return np.stack(parts, axis=1), of


def _as(values: NDArray, dtype: str | None, name: str) -> NDArray:
    """Values of the stored type, in the machine's byte order."""
    wanted = values.dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
    return values if values.dtype == wanted else cast_checked(values, wanted, f"array {name!r}", hint=_LOSSLESS)


def _check(path: Path, values: NDArray) -> None:
    """Refuse what no trainer expects in a file.

    Raises:
        StepError: type or shape.
    """
    if values.dtype.kind not in "biuf":
        message = f"an array of {values.dtype.name} is no image of real numbers"
        raise StepError(message, where=path.name, hint='change the type first: {"use": "cast"}')
    if 0 in values.shape:
        message = f"a sample of shape {values.shape} is empty"
        raise StepError(message, where=path.name)
