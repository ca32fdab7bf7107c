"""Readers that need numpy alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray, number_type
from curate_core.errors import SourceError
from curate_core.grid import Grid
from curate_core.kinds import Context, Reader
from curate_core.model import Image, Layer, LayerSource
from curate_core.options import option

AXES = {1: "x", 2: "yx", 3: "zyx", 4: "zyxc"}
_MAGIC = b"\x93NUMPY"


def plain_grid(array: NDArray, axes: str | None, spacing: tuple[float, ...] | None, unit: str, where: Path) -> Grid:
    """The grid of an array whose file says nothing of space.

    Raises:
        SourceError: the axes do not fit the array.
    """
    chosen = AXES.get(array.ndim) if axes is None else axes
    if chosen is None or len(chosen) != array.ndim:
        message = f"the array has {array.ndim} axes, {'of which curate knows no names' if axes is None else f'not those of {axes!r}'}"
        raise SourceError(message, where=str(where), hint='name them with "axes"')
    try:
        return Grid.from_spacing(array.shape, chosen, spacing, unit)
    except ValueError as error:
        raise SourceError(str(error), where=str(where)) from error


@frozen
class NpyReader(Reader):
    """NumPy .npy files, memory-mapped.

    Example::

        "read": {"*": {"use": "npy", "axes": "zyx", "spacing": [40, 4, 4], "unit": "nm"}}
    """

    version: ClassVar[int] = 1
    axes: str | None = option(doc="Letters of the axes, array order; null: x, yx, zyx or zyxc by their number.", default=None)
    spacing: tuple[float, ...] | None = option(doc="Voxel size along the spatial axes, array order.", default=None, gt=0)
    unit: str = option(doc="Unit of the spacing.", default="", choices=("", "mm", "um", "nm"))

    def sniff(self, path: Path) -> str | None:
        with path.open("rb") as file:
            return None if file.read(len(_MAGIC)) == _MAGIC else "it does not start as a .npy file"

    def open(self, source: LayerSource, context: Context) -> Layer:
        path = _only(source)
        try:
            if path.stat().st_size == 0:
                message = "the file is empty"
                raise SourceError(message, where=str(path))
            foreign = self.sniff(path)
            if foreign:
                raise ValueError(foreign)  # np.load would take it for a zip archive or a pickle
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except SourceError:
            raise
        except OSError as error:
            message = f"the file cannot be read: {error.strerror or error}"
            raise SourceError(message, where=str(path)) from error
        except Exception as error:  # what a damaged header raises is endless: its text is parsed as Python
            message = f"this is no .npy file of numbers, or it is cut short: {error}"
            raise SourceError(message, where=str(path), hint="copy it again, or save plain numbers with numpy.save") from error
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
            message = "only .npy files of numbers or booleans are images"
            raise SourceError(message, where=str(path))
        if 0 in array.shape or array.ndim == 0:
            message = f"the array has shape {array.shape}, which holds no voxels"
            raise SourceError(message, where=str(path), hint="leave it out, or make it again")
        return Image(array, plain_grid(array, self.axes, self.spacing, self.unit, path))

    def resident(self, source: LayerSource) -> int:
        return 0


@frozen
class RawReader(Reader):
    """Bare voxels of given shape and dtype, memory-mapped.

    Example::

        "read": {"*": {"use": "raw", "shape": [256, 512, 512], "dtype": ">u2", "offset": 1024}}
    """

    version: ClassVar[int] = 1
    shape: tuple[int, ...] = option(doc="Voxels along each axis, array order.", ge=1, min_length=1)
    dtype: str = option(doc="NumPy name of the voxels' type, with byte order: uint8, <u2, >f4.")
    offset: int = option(doc="Bytes before the first voxel.", default=0, ge=0)
    order: Literal["C", "F"] = option(doc="C: the last axis runs fastest; F: the first.", default="C")
    axes: str | None = option(doc="Letters of the axes, array order; null: x, yx, zyx or zyxc by their number.", default=None)
    spacing: tuple[float, ...] | None = option(doc="Voxel size along the spatial axes, array order.", default=None, gt=0)
    unit: str = option(doc="Unit of the spacing.", default="", choices=("", "mm", "um", "nm"))

    def __attrs_post_init__(self) -> None:
        number_type(self.dtype)

    def open(self, source: LayerSource, context: Context) -> Layer:
        path = _only(source)
        dtype = np.dtype(self.dtype)
        expected = self.offset + math.prod(self.shape) * dtype.itemsize
        try:
            size = path.stat().st_size
            if size != expected:
                shape = " x ".join(map(str, self.shape))
                message = (
                    f"the file has {size} bytes, {shape} voxels of {dtype} after {self.offset} bytes are {expected} ({size - expected:+d})"
                )
                raise SourceError(message, where=str(path))
            array = np.memmap(path, dtype, "r", self.offset, self.shape, self.order)
        except OSError as error:
            message = f"the file cannot be read: {error.strerror or error}"
            raise SourceError(message, where=str(path)) from error
        return Image(array, plain_grid(array, self.axes, self.spacing, self.unit, path))

    def resident(self, source: LayerSource) -> int:
        return 0


def _only(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"one file is expected, the layer has {len(source.files)}"
        raise SourceError(message, where=source.describe())
    return source.files[0]
