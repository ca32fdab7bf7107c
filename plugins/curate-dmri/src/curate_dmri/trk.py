"""TrackVis files: a header of 1000 bytes, and each streamline behind its number of points.

https://trackvis.org/docs/?subsect=fileformat
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from nibabel.streamlines import trk  # noqa: TID253 - this module is imported where the reader works
from nibabel.streamlines.header import Field  # noqa: TID253

from curate_core import Grid, NDArray, Plain, SourceError
from curate_dmri.kernels import fill_trk, scan_trk

HEADER_BYTES = 1000
MARK = b"TRACK\0"


@frozen(eq=False)
class Parsed:
    """A tractogram file, read.

    Attributes: as of :class:`curate_core.Tractogram`; ``grid`` is None where the file says nothing of its voxels.
    """

    points: NDArray
    offsets: NDArray
    lengths: NDArray
    grid: Grid | None
    per_streamline: Mapping[str, NDArray]
    per_point: Mapping[str, NDArray]
    notes: Mapping[str, Plain]


def read_trk(path: Path) -> Parsed:
    """A .trk file, its points in the world as nibabel has them.

    Raises:
        SourceError: the header is none, or the file ends within a streamline.
    """
    header, oddities = _header(path)
    order = header[Field.ENDIANNESS]
    start = int(header["_offset_data"])
    nbytes = path.stat().st_size - start
    usable = nbytes // 4
    words = np.memmap(path, f"{order}i4", "r", start, (usable,)) if usable else np.zeros(0, f"{order}i4")
    native = np.asarray(words) if words.dtype.isnative else words.astype(np.int32)
    scalars, properties = int(header[Field.NB_SCALARS_PER_POINT]), int(header[Field.NB_PROPERTIES_PER_STREAMLINE])
    announced = int(header[Field.NB_STREAMLINES])
    streamlines, points, bad = scan_trk(native, scalars, properties, announced)
    if bad >= 0 or (announced and streamlines < announced):
        message = f"the file ends within streamline {streamlines} of {announced or 'an unknown number'}, or is damaged there"
        raise SourceError(message, where=str(path), hint="copy it again")
    made = _arrays(streamlines, points, scalars, properties)
    matrix = np.asarray(trk.get_affine_trackvis_to_rasmm(header), np.float64)
    fill_trk(native, native.view(np.float32), scalars, properties, matrix, *made)
    xyz, lengths, of_points, of_streamlines = made
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)[:-1]]) if streamlines else np.zeros(0, np.int64)
    notes: dict[str, Plain] = {"oddities": list(oddities)} if oddities else {}
    named = _named(path, header["property_name"], properties, "properties")
    by_point = _named(path, header["scalar_name"], scalars, "scalars")
    return Parsed(
        xyz, offsets, lengths, _grid(header),
        {name: of_streamlines[:, where] for name, where in named.items()},
        {name: of_points[:, where] for name, where in by_point.items()}, notes,
    )  # fmt: skip


def _header(path: Path) -> tuple[Mapping[str, Any], list[str]]:
    """The header in nibabel's hands, and what it had to say."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if not start.startswith(MARK) or len(start) < HEADER_BYTES:
        message = "has no TrackVis header" if not start.startswith(MARK[:-1]) else f"has {len(start)} bytes, fewer than a TrackVis header"
        raise SourceError(message, where=str(path))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            return trk.TrkFile.load(path, lazy_load=True).header, [str(warning.message) for warning in said]
        except Exception as error:  # what a damaged header raises is endless
            message = f"has a header that nibabel refuses: {error}"
            raise SourceError(message, where=str(path)) from error


def _arrays(streamlines: int, points: int, scalars: int, properties: int) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    return (
        np.empty((points, 3), np.float32),
        np.empty(streamlines, np.int64),
        np.empty((points, scalars), np.float32),
        np.empty((streamlines, properties), np.float32),
    )


def _named(path: Path, names: Iterable[bytes], count: int, rest: str) -> dict[str, slice]:
    """Name -> columns, as nibabel decodes the header's names; columns that have none share one."""
    found, at = {}, 0
    for encoded in names if count else ():
        try:
            name, width = trk.decode_value_from_name(encoded)
        except Exception as error:
            message = f"has a header that nibabel refuses: {error}"
            raise SourceError(message, where=str(path)) from error
        if width:
            found[name] = slice(at, at + width)
            at += width
    if at < count:
        found[rest] = slice(at, count)
    return found


def _grid(header: Mapping[str, Any]) -> Grid | None:
    """The volume that the header is about; None where it states no affine or no size."""
    affine = np.asarray(header[Field.VOXEL_TO_RASMM], np.float64)
    shape = [int(n) for n in header[Field.DIMENSIONS]]
    if min(shape) < 1 or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        return None
    return Grid(tuple(shape), "xyz", affine, "mm", oriented=True)
