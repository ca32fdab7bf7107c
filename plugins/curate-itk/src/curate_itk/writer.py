"""Writer of NRRD, MetaImage and NIfTI files."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from curate_core import Context, FileWriter, Grid, LayerSource, NDArray, Plain, StepError, Tractogram, option, read
from curate_core.templates import PathTemplate

if TYPE_CHECKING:
    from curate_itk.geometry import ItkGeometry

SUFFIXES = (".nrrd", ".mha", ".nii.gz", ".nii")
_NIFTI_HEADER = 352
_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


@frozen
class ItkWriter(FileWriter):
    """One NRRD, MetaImage or NIfTI file a sample array, with its place in space.

    The ending of ``path`` says the format. Lengths are written in millimetres, directions and origin in ITK's LPS. A grid without
    orientation, and a section outside the plane of x and y, is written with the identity direction: of those the spacing is kept, the
    directions are not. The same samples give the same bytes.

    Example::

        "write": [{"use": "itk", "path": "{case}/{roi}.nrrd", "compress": true}]
    """

    path: str = option(doc="Path template of the files, ending in .nrrd, .mha, .nii or .nii.gz.", default="{case}/{roi}.nrrd")
    compress: bool = option(doc="Compress the voxels of .nrrd and .mha (.nii.gz always is).", default=False)

    def __attrs_post_init__(self) -> None:
        PathTemplate(self.path).fields  # noqa: B018 - raises ValueError for a malformed template
        if not self.path.endswith(SUFFIXES):
            message = f"path: {self.path!r} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
            raise ValueError(message)
        if self.compress and self.path.endswith(".nii"):
            message = f"compress: {self.path!r} is not compressed; end the path in .nii.gz"
            raise ValueError(message)

    def write_array(self, path: Path, values: NDArray, grid: Grid, attributes: Mapping[str, Plain]) -> None:
        from curate_itk.geometry import itk_from_grid

        nifti = path.name.endswith((".nii", ".nii.gz"))
        _check(path, values, grid, nifti)
        geometry = itk_from_grid(grid)
        if nifti and not geometry.orthogonal:
            message = "NIfTI through SimpleITK cannot hold axes that are not at right angles"
            raise StepError(message, where=path.name, hint="write .nrrd, or resample onto an orthogonal grid")
        image = _image(values, grid, geometry)
        _write(image, path, self.compress or path.name.endswith(".gz"))

    def read(self, path: Path, place: Plain) -> NDArray | Tractogram:
        from curate_itk.reader import ItkReader

        return read(ItkReader().open(LayerSource((path,)), Context("read", 0)).array)


def _check(path: Path, values: NDArray, grid: Grid, nifti: bool) -> None:
    """Refuse what the file would not give back.

    Raises:
        StepError: type, byte order or axes.
    """
    if values.dtype.name not in _DTYPES or not values.dtype.isnative:
        message = f"SimpleITK files hold no {values.dtype.str} ({values.dtype.name}) without change, only {', '.join(_DTYPES)}"
        raise StepError(message, where=path.name, hint='change the type first: {"use": "cast"}')
    axes = grid.axes.removesuffix("c")
    if axes not in ("yx", "zx", "zy", "zyx", "tzyx") or ("c" in grid.axes and "t" in axes):
        message = f"a sample with axes {grid.axes!r} has no place in a SimpleITK file, expected zyx, yx, tzyx, zyxc or yxc"
        raise StepError(message, where=path.name, hint='order the axes first: {"use": "transpose"}')
    if 0 in values.shape:
        message = f"a sample of shape {values.shape} is empty"
        raise StepError(message, where=path.name)
    if "c" in grid.axes and values.shape[-1] == 1:
        message = "a channel axis of length one would be lost"
        raise StepError(message, where=path.name, hint='drop it first: {"use": "pick-channel"}')
    if nifti and "t" in axes and values.shape[0] == 1:
        message = "a time axis of length one would be lost in NIfTI"
        raise StepError(message, where=path.name, hint="write .nrrd")


def _image(values: NDArray, grid: Grid, geometry: ItkGeometry) -> Any:
    from curate_itk.simpleitk import sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(values), isVector="c" in grid.axes)
    spacing, origin, direction = geometry.spacing, geometry.origin, geometry.direction
    if "t" in grid.axes:
        spacing, origin = np.append(spacing, 1.0), np.append(origin, 0.0)
        direction = np.block([[direction, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(direction.ravel().tolist())
    return image


def _write(image: Any, path: Path, compress: bool) -> None:
    from curate_itk.simpleitk import shorten, sitk

    writer = sitk.ImageFileWriter()
    writer.SetNumberOfThreads(1)
    writer.SetFileName(str(path))
    writer.SetUseCompression(compress)
    try:
        writer.Execute(image)
    except RuntimeError as error:
        if not _is_whole(path, image, compress):
            raise _cut_short(path) from error
        message = f"SimpleITK cannot write it: {shorten(str(error), path)}"
        raise StepError(message, where=str(path)) from error
    if not _is_whole(path, image, compress):  # ITK does not look at what its last write says
        raise _cut_short(path)


def _is_whole(path: Path, image: Any, compress: bool) -> bool:
    """Whether a file is as long as its header and voxels; of gzip, by the length that its last bytes tell; of MetaImage's zlib, by its
    header.
    """
    if not path.exists():
        return True  # it was refused before anything was written
    nbytes = image.GetNumberOfPixels() * image.GetSizeOfPixelComponent() * image.GetNumberOfComponentsPerPixel()
    nifti = path.name.endswith((".nii", ".nii.gz"))
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(1 << 16)
        file.seek(max(0, size - 4))
        last = int.from_bytes(file.read(4), "little")
    end = _NIFTI_HEADER if nifti else _end_of(head, b"ElementDataFile = LOCAL\n" if path.suffix == ".mha" else b"\n\n")
    if compress and path.suffix == ".mha":
        told = re.search(rb"CompressedDataSize = (\d+)", head)
        return told is not None and size == end + int(told[1])
    if compress:
        return size > end * (not nifti) and last == (nbytes + end * nifti) % (1 << 32)
    return size == end + nbytes


def _end_of(head: bytes, mark: bytes) -> int:
    """Where a header ends; behind all that there is when it does not."""
    at = head.find(mark)
    return at + len(mark) if at >= 0 else len(head) + 1


def _cut_short(path: Path) -> OSError:
    path.unlink(missing_ok=True)
    return OSError(errno.ENOSPC, "the file came out too short, as on a disk that is full", str(path))
