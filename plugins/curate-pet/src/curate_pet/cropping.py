"""The preprocessor that leaves out the empty surroundings of what was scanned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Case, Context, Image, Plain, Preprocessor, Scope, StepError, option, read, slabs
from curate_core.arrays import CropArray
from curate_core.kinds import CASE
from curate_pet.grids import difference


@frozen
class CropToForeground(Preprocessor):
    """Keep the smallest box that holds every voxel of a layer above a threshold.

    The box, with its margin, is cut from every image of the case; they must lie on one grid. The layer is read once for a case.

    Example::

        "preprocess": [{"use": "crop-to-foreground", "layer": "ct", "threshold": -600, "margin": 4}]
    """

    version: ClassVar[int] = 1
    layer: str = option(doc="Layer that is looked at.", min_length=1)
    threshold: float = option(doc="Voxels above this are foreground.", default=0.0)
    margin: int | tuple[int, ...] = option(
        doc="Voxels kept around it: one number, or one for each spatial axis, array order.", default=0, ge=0
    )
    layers: tuple[str, ...] | None = option(doc="Layers to crop; null: all images.", default=None)
    empty: Literal["error", "keep"] = option(doc="What becomes of a case without foreground.", default="error")
    tolerance: float = option(doc="How far voxels of two layers may lie apart, in the grid's unit.", default=1e-3, ge=0)

    def statistics_scope(self) -> Scope:
        return CASE

    def measure(self, case: Case, context: Context) -> Plain:
        image = case.image(self.layer)
        found: list[Any] = [None] * len(image.grid.shape)
        for where in slabs(image.array):
            mask = read(image.array, where) > self.threshold
            for axis, part in enumerate(where):
                used = np.flatnonzero(mask.any(axis=tuple(i for i in range(mask.ndim) if i != axis)))
                if len(used):
                    low, high = int(used[0]) + part.start, int(used[-1]) + part.start + 1
                    known = found[axis] or [low, high]
                    found[axis] = [min(known[0], low), max(known[1], high)]
        return None if None in found else [found[i] for i in image.grid.spatial]

    def merge(self, partials: Sequence[Plain]) -> Plain:
        return partials[0]

    def apply(self, case: Case, context: Context) -> Case:
        reference = case.image(self.layer).grid
        box: Any = context.statistics
        if box is None:
            if self.empty == "keep":
                return case
            message = f"no voxel of layer {self.layer!r} lies above {self.threshold:g}"
            raise StepError(message, where=f"case {case.id}", hint='set another "threshold", or "empty": "keep"')
        margins = [self.margin] * len(box) if isinstance(self.margin, int) else list(self.margin)
        if len(margins) != len(box):
            message = f"margin has {len(margins)} numbers for the axes {reference.spatial_axes!r}"
            raise StepError(message)
        start = [max(0, low - m) for (low, _), m in zip(box, margins, strict=True)]
        stop = [min(n, high + m) for (_, high), m, n in zip(box, margins, reference.spatial_shape, strict=True)]
        changed: dict[str, Image] = {}
        for name, image in case.images(self.layers).items():
            problem = difference(reference, image.grid, self.tolerance)
            if problem:
                message = f"layers {self.layer!r} and {name!r} lie on different grids: {problem}"
                raise StepError(message, where=f"case {case.id}", hint='put resample before, or name the "layers" to crop')
            first, last = [0] * len(image.grid.shape), list(image.grid.shape)
            for position, a, b in zip(image.grid.spatial, start, stop, strict=True):
                first[position], last[position] = a, b
            changed[name] = image.with_array(CropArray(image.array, first, last), image.grid.crop(first, last))
        return case.with_layers(changed)
