"""Writing one subject: a file in the part, with the subject's group as the dataset's file will have it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from curate_hdf5.create import Groups, Storage, append_to, close_file, create_dataset, create_file, encoded, flush, write_attributes

from curate_core import ArrayLike, Batch, Grid, Image, NDArray, Placement, Plain, StepError, Tractogram, WriteSession, read, slabs
from curate_core.arrays import CropArray
from curate_core.digest import digest_of
from curate_dmri import kernels
from curate_dmri.connectivity import BELONGS
from curate_dmri.space import in_file_order, to_space, transformed, voxel_order
from curate_dmri.stored import as_tractogram
from curate_dmri.streamlines import compact, inside

if TYPE_CHECKING:
    from curate_dmri.writer import DwiMlHdf5Writer

TOLERANCE = 1e-3
"""Distance of equal corners of the grids of one subject, at most, mm."""
_CHUNK = 1 << 20
_EDGES = (32, 24, 16, 12, 8, 6, 4, 2, 1)
_ROWS = 1 << 12
"""Rows of a chunk of what is one number a streamline."""
_POINTS = 1 << 10
"""Points of a chunk: some ten streamlines."""
_SLAB = 4 << 20
_BLOCK = 40 << 20
TREATMENTS = ("step_size", "nb_points", "compress")
_KEPT = (*TREATMENTS, "removed")


class SubjectSession(WriteSession):
    """The subjects of a part, which usually is one."""

    def __init__(self, writer: DwiMlHdf5Writer, part: Path) -> None:
        self.writer, self.part = writer, part

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        target = self.part / self.writer.file
        self.writer.forget(target)
        file = append_to(target) if target.exists() else create_file(target)
        try:
            groups = Groups(file)
            return [self._subject(groups, batch, row) for row in range(len(batch))]
        finally:
            close_file(file)

    def _subject(self, groups: Groups, batch: Batch, row: int) -> Mapping[str, Placement]:
        subject = batch.case.id
        if encoded(subject) in groups.file:
            message = f"subject {subject!r} has several samples, the file holds one a subject"
            raise StepError(message, where=f"case {subject}", hint='use the ROI finder "whole"')
        beside = {name: image for name, image in batch.case.images().items() if name in batch.arrays and BELONGS in image.notes}
        _check_grids(batch, row, beside)
        placed: dict[str, Placement] = {}
        for name, lines in batch.tractograms.items():
            own = {key: layer for key, layer in beside.items() if layer.notes[BELONGS] == name}
            placed[name] = self._streamlines(groups, f"{subject}/{name}", lines[row], subject)
            for key, layer in own.items():
                placed[key] = self._connectivity(groups, f"{subject}/{name}", layer, batch.arrays[key][row], batch.grids[key](row))
        for name in batch.arrays:
            if name not in beside:
                values = batch.arrays.row(name, row)
                placed[name] = self._volume(groups, f"{subject}/{name}", values, batch.grids[name](row), _notes(batch, name))
        return placed

    def _storage(self, chunks: Sequence[int] | None) -> Storage:
        return Storage(None if chunks is None or 0 in chunks else tuple(chunks), self.writer.compression)

    def _volume(self, groups: Groups, path: str, values: ArrayLike, grid: Grid, notes: Mapping[str, Plain]) -> Placement:
        order = file_axes(values, grid, path)
        shape = (*(values.shape[axis] for axis in order), 1)[:4]
        chunks = volume_chunks(shape)
        sample = part_of(values, order, middle_of(shape, chunks))
        storage = attrs.evolve(self._storage(chunks), shuffle=shuffle_pays(sample, self.writer.compression))
        dataset = create_dataset(groups, f"{path}/data", np.dtype("<f4"), shape, storage)
        digest = hashlib.sha256()
        step = chunks[0] * max(1, _BLOCK // max(1, math.prod(shape[1:]) * 4 * chunks[0]))
        for start in range(0, shape[0], step):
            slab = part_of(values, order, [slice(start, min(start + step, shape[0])), *(slice(0, n) for n in shape[1:])])
            if slab.size:
                dataset[start : start + step] = slab
            digest.update(slab.view(np.uint8).data)
        flush(dataset)
        square = in_file_order(grid)
        attributes: dict[str, Any] = {
            "type": "volume",
            "affine": np.asarray(square.affine, "<f8"),
            "voxres": np.array(square.spacing, "<f4"),
            "nb_features": np.int64(shape[3]),
        }
        kept: Any = notes.get("standardized")
        if kept is not None:
            attributes |= {"standardization": kept["over"], "mean": np.array(kept["mean"], "<f8"), "std": np.array(kept["std"], "<f8")}
        write_attributes(groups.file[encoded(path)], attributes)
        return Placement(self.writer.file, path, shape, "<f4", digest.hexdigest())

    def _streamlines(self, groups: Groups, path: str, lines: Tractogram, subject: str) -> Placement:
        outside = int(len(lines) - np.count_nonzero(inside(lines)))
        if outside:
            message = f"{outside} of {len(lines)} streamlines of {path.rpartition('/')[2]!r} leave the volume, or have no points"
            raise StepError(message, where=f"case {subject}", hint='drop them first: {"use": "remove-invalid-streamlines"}')
        world, offsets = compact(lines)
        stored = transformed(world, to_space(lines.grid, self.writer.space))
        grid = in_file_order(lines.grid)
        arrays: dict[str, NDArray] = {
            "data": stored,
            "offsets": offsets,
            "lengths": lines.lengths.astype(np.int64),
            "euclidean_lengths": kernels.arc_lengths(world, offsets, lines.lengths).astype(np.float32),
        }
        for name, values in lines.per_streamline.items():
            if "/" in name or name in (".", ""):
                message = f"data per streamline called {name!r} cannot be stored: it is no name of a dataset"
                raise StepError(message, where=f"case {subject}")
            arrays[f"data_per_streamline/{name}"] = read(values).reshape(len(lines), -1).astype(np.float32)
        groups.parent_of(f"{path}/data_per_streamline/-")  # there even without data, as dwi_ml makes it
        for name, array in arrays.items():
            chunks = (min(len(array), _POINTS if name == "data" else _ROWS), *array.shape[1:])
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            dataset = create_dataset(groups, f"{path}/{name}", little.dtype, little.shape, self._storage(chunks))
            if little.size:
                dataset[...] = little
            flush(dataset)
        attributes: dict[str, Any] = {
            "type": "streamlines",
            "space": f"Space.{self.writer.space.upper()}",
            "origin": "Origin.TRACKVIS",
            "affine": np.asarray(grid.affine, "<f4"),
            "dimensions": np.array(grid.shape, "<i2"),
            "voxel_sizes": np.array(grid.spacing, "<f4"),
            "voxel_order": voxel_order(grid),
        }
        for key in _KEPT:
            if lines.notes.get(key) is not None:
                attributes[key] = np.asarray(lines.notes[key])
        if "connectivity_matrix_type" in lines.notes:
            attributes["connectivity_matrix_type"] = str(lines.notes["connectivity_matrix_type"])
        if "connectivity_nb_blocs" in lines.notes:
            attributes["connectivity_nb_blocs"] = np.asarray(lines.notes["connectivity_nb_blocs"], "<i8")
        write_attributes(groups.file[encoded(path)], attributes)
        back = as_tractogram(attributes, arrays)
        return Placement(self.writer.file, path, stored.shape, "<f4", digest_of(back))

    def _connectivity(self, groups: Groups, path: str, layer: Image, values: NDArray, grid: Grid) -> Placement:
        what = str(layer.notes["connectivity"])
        matrix = what == "matrix"
        made = (values != 0) if matrix else np.ascontiguousarray(values.transpose(file_axes(values, grid, path)), "<u2")
        place = f"{path}/connectivity_{what}"
        dataset = create_dataset(
            groups, place, made.dtype, made.shape, self._storage(tuple(min(n, 256 if matrix else 32) for n in made.shape))
        )
        if made.size:
            dataset[...] = made
        flush(dataset)
        return Placement(self.writer.file, place, made.shape, made.dtype.str, digest_of(np.ascontiguousarray(made)))


def _notes(batch: Batch, name: str) -> Mapping[str, Plain]:
    layer = batch.case.layers.get(name)
    return {} if layer is None else layer.notes


def _check_grids(batch: Batch, row: int, beside: Mapping[str, object]) -> None:
    """All volumes and tractograms of a subject lie on one grid.

    Raises:
        StepError: saying which do not, and by how much.
    """
    grids = {
        name: in_file_order(batch.grids[name](row))
        for name in batch.arrays
        if name not in beside and len(batch.grids[name](row).spatial) == 3
    }
    grids |= {name: in_file_order(lines[row].grid) for name, lines in batch.tractograms.items()}
    first = next(iter(grids), "")
    for name, grid in grids.items():
        grids[first].require_same(grid, TOLERANCE, f"groups {first!r} and {name!r}")


def file_axes(values: ArrayLike, grid: Grid, path: str) -> list[int]:
    """Positions in an array of x, y, z and the features; the last may be missing.

    Raises:
        StepError: it has no three spatial axes, or more than one other.
    """
    others = [i for i in range(len(values.shape)) if i not in grid.spatial]
    if len(grid.spatial) != 3 or len(others) > 1 or len(values.shape) != len(grid.axes):
        message = f"{path} has the axes {grid.axes!r}, expected x, y, z and one more at most"
        raise StepError(message, hint="join, pick or average the others first")
    return [*(grid.axes.index(axis) for axis in "xyz"), *others]


def part_of(values: ArrayLike, order: Sequence[int], where: Sequence[slice]) -> NDArray:
    """(x, y, z, f) float32, little-endian: a box of a volume, read slab by slab.

    Args:
        order: positions of x, y, z and the features in the array; the last may be missing.
        where: along x, y, z and the features.
    """
    start, stop = [0] * len(order), [0] * len(order)
    for position, axis in enumerate(order):
        start[axis], stop[axis] = where[position].start, where[position].stop
    cropped = CropArray(values, start, stop)
    out = np.empty([cropped.shape[axis] for axis in order], "<f4")
    target = out.transpose(np.argsort(order))
    for box in slabs(cropped, _SLAB):
        target[box] = read(cropped, box)
    return out if len(order) == 4 else out[..., None]


def volume_chunks(shape: Sequence[int]) -> tuple[int, ...]:
    """Chunks for a volume of which boxes are read, all features of a voxel together: cubes of 1 MiB at most."""
    features = max(1, shape[3])
    edge = next((e for e in _EDGES if e**3 * features * 4 <= _CHUNK), 1)
    return (*(max(1, min(n, edge)) for n in shape[:3]), features)


def middle_of(shape: Sequence[int], chunks: Sequence[int]) -> list[slice]:
    """The chunk in the middle of a volume; the first where there is no whole one."""
    firsts = [min(n // 2 // c, n // c - 1) * c if n >= c > 0 else 0 for n, c in zip(shape, chunks, strict=True)]
    return [slice(a, min(a + c, n)) for a, c, n in zip(firsts, chunks, shape, strict=True)]


def shuffle_pays(sample: NDArray, compression: str) -> bool:
    """Whether a part of a volume gets smaller with shuffle than without.

    It does for values that are floats from the start. Values that were integers, as scanners write them, come again bit for bit after they
    are standardised; shuffle would hide that.
    """
    import h5py

    if compression == "none" or not sample.size:
        return True
    sizes = {}
    with h5py.File("sample", "w", driver="core", backing_store=False) as file:
        for shuffle in (True, False):
            made = file.create_dataset(str(shuffle), data=sample, chunks=sample.shape, compression=compression, shuffle=shuffle)
            sizes[shuffle] = made.id.get_storage_size()
    return sizes[True] <= sizes[False]


def config_text(config: object) -> str:
    """A configuration as JSON on one line."""
    return json.dumps(config, ensure_ascii=False)
