"""Writer of TIFF files."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import frozen

from curate_core import FileWriter, Grid, NDArray, Plain, StepError, Tractogram, option
from curate_core.templates import PathTemplate
from curate_tiff import baseline

_CODECS = {"none": None, "deflate": "zlib", "zstd": "zstd"}
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")


@frozen
class TiffWriter(FileWriter):
    """One TIFF file a sample array: grey or coloured planes, stacks where asked for.

    A channel axis that comes last and has 3 or 4 bytes a voxel becomes RGB or RGBA. No time stamp and no name of a program is written: the
    same samples give the same bytes.

    Example::

        "write": [{"use": "tiff", "path": "{case}/{roi}.tiff", "compression": "zstd"}]
    """

    path: str = option(doc="Path template of the files, ending in .tif or .tiff.", default="{case}/{roi}.tiff")
    stack: bool = option(doc="Write samples of several planes as files of several pages; without it they are an error.", default=False)
    compression: Literal["none", "deflate", "zstd"] = option(doc="Lossless compression of the voxels.", default="none")
    metadata: Literal["none", "imagej"] = option(
        doc="Whether axes and voxel size (where it is known) are written the way ImageJ and Fiji read them.", default="none"
    )

    def __attrs_post_init__(self) -> None:
        PathTemplate(self.path).fields  # noqa: B018 - raises ValueError for a malformed template
        if not self.path.endswith((".tif", ".tiff")):
            message = f"path: {self.path!r} must end in .tif or .tiff"
            raise ValueError(message)

    def write_array(self, path: Path, values: NDArray, grid: Grid, attributes: Mapping[str, Plain]) -> None:
        plane = _plane_axes(path, values, grid)
        pages = math.prod(values.shape[: values.ndim - plane])
        if pages > 1 and not self.stack:
            message = f"a sample of shape {values.shape} ({grid.axes}) has {pages} planes, a file holds one"
            raise StepError(message, where=path.name, hint='write "stack": true, or find ROIs that are planes')
        if self.metadata == "imagej":
            self._write_imagej(path, values, grid)
        elif self.compression == "none" and baseline.can_hold(values):
            baseline.write(path, values)
        else:
            self._write(path, values, plane)

    def _write(self, path: Path, values: NDArray, plane: int) -> None:
        """Through tifffile; the shape is noted in the file where its pages alone would not tell it."""
        options = _photometric(values, plane)
        told = values.ndim == plane or (values.ndim == plane + 1 and values.shape[0] > 1)
        self._imwrite(path, values, metadata=None if told and 1 not in values.shape else {}, **options)

    def _write_imagej(self, path: Path, values: NDArray, grid: Grid) -> None:
        """As an ImageJ hyperstack.

        Raises:
            StepError: ImageJ has no such type or order of axes, or would lose an axis.
        """
        axes = grid.axes.upper()
        if axes.endswith("YXC") and values.shape[-1] == 3:
            axes = axes[:-1] + "S"
        order = iter("TZCYXS")
        if values.dtype.name not in _IMAGEJ_DTYPES or not all(axis in order for axis in axes) or 1 in values.shape:
            message = f"ImageJ files hold no {values.dtype.name} of shape {values.shape} with axes {grid.axes!r}"
            hint = f'{", ".join(_IMAGEJ_DTYPES)} with axes in the order tzcyx, none of length one; or "metadata": "none"'
            raise StepError(message, where=path.name, hint=hint)
        metadata: dict[str, Any] = {"axes": axes}
        options: dict[str, Any] = {}
        if grid.calibrated and grid.unit:
            metadata["unit"] = grid.unit
            if "z" in grid.axes:
                metadata["spacing"] = grid.spacing_of("z")
            options["resolution"] = (1 / grid.spacing_of("x"), 1 / grid.spacing_of("y"))
        self._imwrite(path, values, imagej=True, metadata=metadata, **options)

    def _imwrite(self, path: Path, values: NDArray, **options: Any) -> None:
        import tifffile

        codec = _CODECS[self.compression]
        with _Stream(io.FileIO(path, "w")) as file:
            tifffile.imwrite(file, np.ascontiguousarray(values), compression=codec, software=False, datetime=False, maxworkers=1, **options)

    def read(self, path: Path, place: Plain) -> NDArray | Tractogram:
        import tifffile

        with tifffile.TiffFile(path) as tif:
            series = tif.series[0]
            if series.kind == "shaped":
                return np.asarray(tif.asarray(squeeze=False))
            return np.asarray(series.asarray())


class _Stream(io.BufferedWriter):
    """A file that tifffile writes as such, not through NumPy's ``tofile``, which leaves short files on a full disk and says nothing."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation


def _plane_axes(path: Path, values: NDArray, grid: Grid) -> int:
    """How many of the last axes make one page: 2, or 3 with channels.

    Raises:
        StepError: the last axes are no plane, or the type has no place in TIFF.
    """
    if values.dtype.kind not in "buif" or values.dtype.itemsize > 8 or not values.dtype.isnative:
        message = f"TIFF holds no {values.dtype.str} ({values.dtype.name}) without change"
        raise StepError(message, where=path.name, hint='change the type first: {"use": "cast"}')
    spatial = [axis in "xyza" for axis in grid.axes]  # the angles of a sinogram are a side of an image
    plane = 3 if grid.axes.endswith("c") else 2
    last = spatial[-2:] if plane == 2 else spatial[-3:-1]
    if last != [True, True]:
        message = f"a sample with axes {grid.axes!r} does not end in a plane (yx, or yxc in colour)"
        raise StepError(message, where=path.name, hint='order the axes first: {"use": "transpose"}')
    if plane == 3 and values.dtype.kind == "b":
        message = "TIFF holds no channels of one bit without change"
        raise StepError(message, where=path.name, hint='change the type first: {"use": "cast"}')
    if 0 in values.shape:
        message = f"a sample of shape {values.shape} is empty"
        raise StepError(message, where=path.name)
    return plane


def _photometric(values: NDArray, plane: int) -> dict[str, Any]:
    """Options of tifffile for what a page holds."""
    if plane == 2:
        return {"photometric": "minisblack"}
    colours = values.dtype.name in ("uint8", "uint16") and values.shape[-1] in (3, 4)
    return {"photometric": "rgb" if colours else "minisblack", "planarconfig": "contig"}
