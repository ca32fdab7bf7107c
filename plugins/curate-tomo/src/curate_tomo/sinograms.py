"""One sample for each detector row, angle or column of a scan."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Case, Context, RoiFinder, RoiTable, StepError, option

_CUTS = {"sinogram": ("z", "row"), "projection": ("a", "angle"), "tangentogram": ("x", "column")}


@frozen
class SinogramRois(RoiFinder):
    """Sinograms: one sample for each detector row, with its number as the attribute ``row``.

    Other views of the same scan: a ``projection`` for each angle (attribute ``angle``, its index) and a ``tangentogram`` for each
    detector column (attribute ``column``). Layers need the axes a (angle), x (detector column) and z (detector row), in any order, which
    samples keep.

    Example::

        "rois": [{"use": "sinograms", "every": 4}]
    """

    version: ClassVar[int] = 1
    view: Literal["sinogram", "projection", "tangentogram"] = option(doc="What a sample is.", default="sinogram")
    every: int = option(doc="Rows (angles, columns) from one sample to the next.", default=1, ge=1)
    start: int = option(doc="First of them.", default=0, ge=0)
    stop: int | None = option(doc="First that is left out; null: all.", default=None, ge=1)
    layers: tuple[str, ...] = option(doc="Layers to cut; none named: all images, which must share a grid.", default=())

    def find(self, case: Case, context: Context) -> RoiTable:
        axis, name = _CUTS[self.view]
        images = case.images(self.layers or None)
        if not images:
            message = "the case has no image layer"
            raise StepError(message, where=f"case {case.id}")
        for layer, image in images.items():
            if sorted(image.grid.axes) != ["a", "x", "z"]:
                message = f"layer {layer!r} has the axes {image.grid.axes!r}, a scan has a (angle), x (column) and z (row)"
                raise StepError(message, where=f"case {case.id}", hint='put "project" in front, or name the scan under "layers"')
        grid = next(iter(images.values())).grid
        length = grid.shape[grid.axes.index(axis)]
        index = np.arange(self.start, length if self.stop is None else min(self.stop, length), self.every, dtype=np.int64)
        drop = np.zeros(len(index), np.int8)
        return RoiTable.boxes(index, index + 1, axis, layers=self.layers, drop=drop, attributes={name: index}, name=f"{{{name}:04}}")
