"""Reader of NRRD, MetaImage and NIfTI files."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from curate_core import Context, Image, LayerSource, LazyArray, OpenedArray, Plain, Reader, SourceError
from curate_itk.headers import Header, check_claim, kind_of, read_header, reading

if TYPE_CHECKING:
    from curate_core import Grid
    from curate_itk.simpleitk import Information


@frozen
class ItkReader(Reader):
    """NRRD, MetaImage and NIfTI volumes with exact spacing, direction and origin.

    Arrays have axes ``zyx``, ``yx`` for images and ``tzyx`` for series, with a last axis ``c`` where a voxel holds several values. World
    coordinates are RAS+, in millimetres unless the file names another unit. Uncompressed files are memory-mapped, others decompressed
    once a process.

    Example::

        "read": {"*": {"use": "itk"}}
    """

    def sniff(self, path: Path) -> str | None:
        if path.is_dir():
            return "is a folder, expected a file"
        kind = kind_of(path)
        return None if kind in ("nrrd", "nifti", "metaimage") else kind

    def open(self, source: LayerSource, context: Context) -> Image:
        path = _one_file(source)
        header = read_header(path)
        from curate_itk.simpleitk import information

        found = information(path)
        _check_elsewhere(path, header, found)
        notes: dict[str, Plain] = {}
        grid = _grid(path, header, found)
        if header.frame is not None and len(found.size) >= 3 and _differs(header, grid):
            notes["geometry"] = "qform; the file's sform lies elsewhere"
        return Image(_array(path, header, found), grid, notes)

    def companions(self, path: Path) -> tuple[Path, ...]:
        header = read_header(path)
        places = [header.layout.path] if header.layout is not None else [header.elsewhere[0]] if header.elsewhere is not None else []
        return tuple(place for place in places if place != path)

    def resident(self, source: LayerSource) -> int:
        path = _one_file(source)
        header = read_header(path)
        if header.layout is not None:
            return 0 if header.layout.encoding == "raw" else header.layout.nbytes
        from curate_itk.simpleitk import information

        found = information(path)
        _check_elsewhere(path, header, found)
        return 2 * math.prod(found.shape) * found.dtype.itemsize  # SimpleITK's image and the array made of it


def _one_file(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"itk reads one file a layer, got {len(source.files)}"
        raise SourceError(message, where=source.describe())
    return source.files[0]


def _check_elsewhere(path: Path, header: Header, found: Information) -> None:
    """Refuse a size that the file cannot hold, before SimpleITK asks for its memory."""
    if header.layout is None and header.elsewhere is not None:
        file, encoding = header.elsewhere
        voxels = math.prod(found.shape)
        with reading(file):
            check_claim(path, voxels if encoding == "text" else voxels * found.dtype.itemsize, file.stat().st_size, encoding)


def _grid(path: Path, header: Header, found: Information) -> Grid:
    from curate_itk.geometry import axes_of, grid_from_itk

    axes = axes_of(len(found.size), found.channels)
    if axes is None:
        message = f"has {len(found.size)} axes ({' x '.join(map(str, found.size))}), expected 2 to 4"
        raise SourceError(message, where=str(path), hint="split it into volumes first")
    matrix, origin = found.matrix, found.origin
    steps = np.linalg.norm(matrix, axis=0)
    if not (np.isfinite(matrix).all() and np.isfinite(origin).all() and steps.all()):
        message = f"has spacing {steps.tolist()} and origin {origin.tolist()}, expected finite numbers and no zero spacing"
        raise SourceError(message, where=str(path))
    if len(found.size) == 2 and header.frame is not None and np.abs(header.frame[2, :2]).max() > 1e-4 * steps.min():
        message = "is a plane that stands oblique in space, whose place SimpleITK's 2D images cannot hold"
        raise SourceError(message, where=str(path), hint="store it as a volume of one slice")
    if not header.oriented and header.frame is None and path.name.lower().endswith((".nii", ".nii.gz", ".hdr")):
        matrix = np.abs(matrix)  # ITK makes up a direction for NIfTI files without one
    return grid_from_itk(found.shape, axes, matrix, origin, unit=header.unit, oriented=header.oriented, calibrated=header.calibrated)


def _differs(header: Header, grid: Grid) -> bool:
    """Whether sform and chosen affine disagree by more than rounding: a hundredth of the smallest voxel side."""
    assert header.frame is not None
    stated = header.frame[:, [2, 1, 0, 3]]
    return bool(np.abs(stated - grid.affine[:3]).max() > 1e-2 * min(grid.spacing))


def _array(path: Path, header: Header, found: Information) -> LazyArray:
    """By the header's layout, where it and SimpleITK agree on shape and type; otherwise by SimpleITK, whole."""
    from curate_itk import simpleitk
    from curate_itk.voxels import array_of

    layout = header.layout
    scaled = (header.slope, header.inter) != (1.0, 0.0)
    if layout is not None and (scaled or layout.dtype.newbyteorder("=") == found.dtype):
        array = array_of(layout, header, found.dtype, path)
        if array.shape == found.shape:
            return array
    return OpenedArray(partial(simpleitk.voxels, path), found.shape, found.dtype)
