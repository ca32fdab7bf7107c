"""Several masks of different mips as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_align.ongrid import Chosen
from curate_align.tomip import on_grid
from curate_core import ArrayLike, Case, Context, LazyArray, NDArray, Preprocessor, StepError, option, read
from curate_core.arrays import Box, absent


@frozen
class MaskUnion(Preprocessor):
    """Thresholds layers and joins them into one mask: true where any of them is at or above its threshold.

    Layers of other mips are brought to the grid of ``like`` first, and thresholded there.

    Example::

        "preprocess": [{"use": "mask-union", "layers": ["fold", "tissue"], "thresholds": [178], "like": "image", "to": "mask"}]
    """

    version: ClassVar[int] = 1
    layers: tuple[str, ...] = option(doc="Layers to join.", min_length=1)
    thresholds: tuple[float, ...] = option(doc="Least value that is masked: one for all layers, or one for each.", min_length=1)
    like: str = option(doc="Layer on whose grid the mask lies.", min_length=1)
    to: str = option(doc="Name of the mask.", default="mask", min_length=1)
    method: Chosen = option(
        doc="How layers are brought to that grid; auto: area going to coarser voxels, and else bilinear.", default="auto"
    )

    def __attrs_post_init__(self) -> None:
        if len(self.thresholds) not in (1, len(self.layers)):
            message = f"thresholds: {len(self.thresholds)} for {len(self.layers)} layers; one for all, or one for each"
            raise ValueError(message)

    def apply(self, case: Case, context: Context) -> Case:
        target = case.image(self.like)
        spatial = target.grid
        if spatial.axes != "zyx":
            message = f"the mask would lie on {self.like!r} with the axes {spatial.axes!r}; a grid of z, y and x is needed"
            raise StepError(message, where=f"case {case.id}")
        brought = [on_grid(case.image(name), spatial, self.method, f"layer {name!r}") for name in self.layers]
        for name, image in zip(self.layers, brought, strict=True):
            if image.grid.axes != "zyx":
                message = f"the mask {name!r} has the axes {image.grid.axes!r}; masks have z, y and x"
                raise StepError(message, where=f"case {case.id}", hint="pick one of its channels first")
        limits = self.thresholds * len(self.layers) if len(self.thresholds) == 1 else self.thresholds
        union = _Union([image.array for image in brought], limits)
        return case.with_layers({self.to: target.with_array(union, spatial, mask=", ".join(self.layers))})


class _Union(LazyArray):
    """True where one of several arrays is at or above its threshold."""

    def __init__(self, parts: Sequence[ArrayLike], thresholds: Sequence[float]) -> None:
        self.parts, self.thresholds = tuple(parts), tuple(thresholds)
        self.shape, self.dtype = tuple(parts[0].shape), np.dtype(bool)

    def read_box(self, where: Box) -> NDArray:
        found = [read(part, where) >= threshold for part, threshold in zip(self.parts, self.thresholds, strict=True)]
        return np.logical_or.reduce(found)

    def absent(self, where: Box) -> float:
        return max(absent(part, where) for part in self.parts)
