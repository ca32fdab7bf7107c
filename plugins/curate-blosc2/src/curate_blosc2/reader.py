"""Reader of Blosc2 files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import frozen

from curate_core import Context, Grid, Image, LayerSource, OpenedArray, Plain, Reader, SourceError, option

_TOLD: dict[str, Any] = {"axes": str, "unit": str, "oriented": bool, "calibrated": bool}
AXES = {1: "x", 2: "yx", 3: "zyx", 4: "czyx"}


@frozen
class Blosc2Reader(Reader):
    """Blosc2 arrays (.b2nd), memory-mapped, read by one thread.

    Files that curate wrote bring their axes, affine and unit. Others, nnU-Net's included, say nothing of space: their axes are ``czyx``,
    ``zyx``, ``yx`` or ``x`` by their number, or what the options name.

    Example::

        "read": {"*": {"use": "blosc2", "axes": "czyx", "spacing": [3, 1, 1], "unit": "mm"}}
    """

    version: ClassVar[int] = 1
    axes: str | None = option(doc="Letters of the axes, array order; null: as the file says, else by their number.", default=None)
    spacing: tuple[float, ...] | None = option(
        doc="Voxel size along the spatial axes, array order, instead of what the file says.", default=None, gt=0
    )
    unit: str = option(doc="Unit of the spacing.", default="", choices=("", "mm", "um", "nm"))

    verify: bool = option(doc="Read all voxels at opening and compare their digest with that in the file.", default=False)

    def sniff(self, path: Path) -> str | None:
        from curate_blosc2.storing import foreign

        if path.is_dir():
            return "is a folder (a sparse Blosc2 frame), expected a file"
        return foreign(path) or None

    def open(self, source: LayerSource, context: Context) -> Image:
        from curate_blosc2.storing import Guarded, check_content, meta_of

        path = _one_file(source)
        if path.is_dir():
            message = "is a folder (a sparse Blosc2 frame), expected a file"
            raise SourceError(message, where=str(path))
        opened = Guarded(path)
        if opened.dtype.kind not in "biuf":
            message = f"it holds {opened.dtype}, expected real numbers"
            raise SourceError(message, where=str(path))
        if 0 in opened.shape or not opened.shape:
            message = f"the array has shape {opened.shape}, which holds no voxels"
            raise SourceError(message, where=str(path))
        meta = meta_of(opened.array, path)
        if self.verify:
            check_content(opened, meta, path)
        array = OpenedArray(partial(Guarded, path), opened.shape, opened.dtype)
        notes: dict[str, Plain] = {} if meta is None else {"sample": str(meta.get("sample", "")), "array": str(meta.get("array", ""))}
        if meta is None or self.axes is not None or self.spacing is not None:
            return Image(array, self._grid(opened.shape, path), notes)
        return Image(array, _stored_grid(meta, opened.shape, path), notes)

    def _grid(self, shape: tuple[int, ...], path: Path) -> Grid:
        """The grid of a file that says nothing of space, or is not asked."""
        axes = self.axes or AXES.get(len(shape))
        if axes is None or len(axes) != len(shape):
            message = f"the array has {len(shape)} axes, {'of which curate knows no names' if axes is None else f'not those of {axes!r}'}"
            raise SourceError(message, where=str(path), hint='name them with "axes"')
        try:
            return Grid.from_spacing(shape, axes, self.spacing, self.unit)
        except ValueError as error:
            raise SourceError(str(error), where=str(path)) from error

    def resident(self, source: LayerSource) -> int:
        return 0


def _stored_grid(meta: dict[str, Any], shape: tuple[int, ...], path: Path) -> Grid:
    """The grid that a file states.

    Raises:
        SourceError: what it states is none.
    """
    try:
        told = {name: kind(meta[name]) for name, kind in _TOLD.items()}
        grid = Grid(shape=shape, affine=meta["affine"], **told)
        if not (np.isfinite(grid.affine).all() and all(grid.spacing)):
            message = "the affine is flat or not finite"
            raise ValueError(message)
        return grid
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else f"makes no sense: {error}"
        message = f"its metadata 'curate' {what}"
        raise SourceError(message, where=str(path), hint='state "axes" and "spacing" in the spec') from error


def _one_file(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"blosc2 reads one file a layer, got {len(source.files)}"
        raise SourceError(message, where=source.describe())
    return source.files[0]
