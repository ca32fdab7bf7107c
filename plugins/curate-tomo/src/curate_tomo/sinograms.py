"""One sample for each detector row, angle or column of a scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Case, Context, NDArray, RoiFinder, RoiTable, StepError, option
from curate_tomo.marks import Mark, mark_columns, require_scan

_CUTS = {"sinogram": ("z", "row"), "projection": ("a", "angle"), "tangentogram": ("x", "column")}


@frozen
class SinogramRois(RoiFinder):
    """Sinograms: one sample for each detector row, with its number as the attribute ``row``.

    Other views of the same scan: a ``projection`` for each angle (attribute ``angle``, its index) and a ``tangentogram`` for each
    detector column (attribute ``column``). Layers need the axes a (angle), x (detector column) and z (detector row), in any order,
    which samples keep. ``attributes`` tells rows apart by a mask: with ``{"artifact": {"any": "mask", "true": "real", "false":
    "fake"}}`` a sinogram without any masked pixel is ``fake``.

    Example::

        "rois": [{"use": "sinograms", "every": 4}]
    """

    version: ClassVar[int] = 1
    view: Literal["sinogram", "projection", "tangentogram"] = option(doc="What a sample is.", default="sinogram")
    every: int = option(doc="Rows (angles, columns) from one sample to the next.", default=1, ge=1)
    start: int = option(doc="First of them.", default=0, ge=0)
    stop: int | None = option(doc="First that is left out; null: all.", default=None, ge=1)
    layers: tuple[str, ...] = option(doc="Layers to cut; none named: all images, which must share a grid.", default=())
    attributes: Mapping[str, Mark] = option(doc='Attributes by a mask: name -> {"any": layer, "true": word, "false": word}.', factory=dict)

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
        known = {name: index, **self._marked(case, axis, index)} if self.attributes else {name: index}
        drop = np.zeros(len(index), np.int8)
        return RoiTable.boxes(index, index + 1, axis, layers=self.layers, drop=drop, attributes=known, name=f"{{{name}:04}}")

    def _marked(self, case: Case, axis: str, index: NDArray) -> dict[str, NDArray]:
        if axis != "z":
            message = f"a mask tells sinograms apart, not a {self.view}"
            raise StepError(message, hint='leave "attributes" out')
        shape = require_scan(case, self.layers)
        start = np.zeros((len(index), 3), np.int64)
        stop = np.tile(np.array(shape, np.int64), (len(index), 1))
        start[:, 1], stop[:, 1] = index, index + 1
        return mark_columns(case, self.attributes, start, stop, shape)
