"""ROIs of one size at places that are listed in plain arrays."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core.builtin.rois import extent_of, image_of, sizes_of
from curate_core.coordinates import Anchor, load_coordinates, to_start
from curate_core.errors import RequestError, StepError
from curate_core.kinds import Context, RoiFinder
from curate_core.model import Case
from curate_core.options import option
from curate_core.rois import RoiTable


@frozen
class CoordinateRois(RoiFinder):
    """Boxes of one size at places listed in .npy files, N x D voxels in array order.

    ``file`` is a folder with ``<case>.npy`` for each case, or one .npy with ``<stem>.cases.json`` beside it; ``curate rois`` writes both.
    The places count voxels of the preprocessed layer.

    Example::

        "rois": [{"use": "coordinates", "file": "coords", "size": [64, 64, 64]}]
    """

    version: ClassVar[int] = 1
    file: Path = option(doc="Folder of .npy files, or one .npy file.", content=True)
    size: int | tuple[int, ...] = option(doc="Voxels of a box: one number, or one for each spatial axis, array order.", ge=1)
    anchor: Anchor = option(doc="What a place is of its box: the voxel size // 2 from its start, or the first.", default="center")
    missing: Literal["error", "none"] = option(doc="What a case that is not listed gives: an error, or no ROI.", default="error")
    layer: str | None = option(doc="Layer that the boxes are laid over; null: the first.", default=None)
    layers: tuple[str, ...] = option(doc="Layers to cut; none named: all images, which must share a grid.", default=())

    def find(self, case: Case, context: Context) -> RoiTable:
        axes = image_of(case, self.layer).grid.spatial_axes
        shape = np.array(extent_of(image_of(case, self.layer).grid, axes))
        size = np.array(sizes_of(self.size, axes, "size"))
        try:
            places = load_coordinates(self.file, case.id)
        except RequestError as error:
            raise StepError(error.message, where=error.where, hint=error.hint) from error
        if places is None:
            if self.missing == "error":
                message = f"{self.file} has no places of this case"
                raise StepError(message, where=f"case {case.id}", hint='set "missing": "none" to go on without')
            places = np.zeros((0, len(axes)), np.int64)
        if not len(places):
            places = places.reshape(0, len(axes))
        if places.shape[1] != len(axes):
            message = f"{self.file} has {places.shape[1]} numbers a place, the layer has the axes {axes!r}"
            raise StepError(message, where=f"case {case.id}")
        start = to_start(places, size, self.anchor)
        outside = np.flatnonzero(((start < 0) | (start + size > shape)).any(axis=1))
        if len(outside):
            row = int(outside[0])
            message = (
                f"{len(outside)} of {len(places)} boxes of {size.tolist()} leave the layer of {shape.tolist()} ({axes}), "
                f"the first at {places[row].tolist()}"
            )
            raise StepError(message, where=f"case {case.id}", hint="were the places found on another grid, or with another anchor?")
        return RoiTable.boxes(start, start + size, axes, layers=self.layers)
