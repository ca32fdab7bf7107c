"""Samples over chunks that their source does not store."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core import Batch, Context, Grid, Image, NDArray, StepError, Transform, View, option
from curate_core.arrays import Box, absent
from curate_core.errors import nearest


@frozen
class MissingChunks(Transform):
    """Tell how much of each sample its source does not store, and reject samples that lack too much.

    The attribute ``missing`` of a sample is the fraction of its voxels that lie in chunks that are not there: the largest of its
    layers. Chunks are looked up before anything is cut; what a preprocessor made of a layer counts as what it is made from. Readers that
    should give samples with holes need ``"missing": "fill"``.

    Example::

        "transform": [{"use": "missing-chunks", "layers": ["image"], "limit": 0.1}]
    """

    version: ClassVar[int] = 1
    layers: tuple[str, ...] | None = option(doc="Layers to look at; null: every image layer that is cut.", default=None, min_length=1)
    limit: float = option(doc="Samples that lack more than this fraction of a layer are rejected.", default=1.0, ge=0, le=1)

    def apply(self, batch: Batch, context: Context) -> Batch:
        worst = np.zeros(len(batch))
        cuts = self._cuts(batch)
        for row in range(len(batch)):
            for name, image, view in cuts:
                lacking = absent(image.array, _box(image.grid, view, row))
                worst[row] = max(worst[row], lacking)
                if lacking > self.limit:
                    context.reject(row, f"{100 * lacking:.4g} % of layer {name!r} is missing")
                    break
        return batch.with_attributes(missing=worst)

    def _cuts(self, batch: Batch) -> list[tuple[str, Image, View]]:
        """The layers that are looked at, each with a view that cuts it.

        Raises:
            StepError: a layer that was named is not cut.
        """
        found: list[tuple[str, Image, View]] = []
        for view in batch.rois.views:
            for name in view.cuts(batch.case).values():
                layer = batch.case.layers[name]
                if isinstance(layer, Image) and (self.layers is None or name in self.layers):
                    found.append((name, layer, view))
        there = {name for name, _, _ in found}
        for name in self.layers or ():
            if name not in there:
                cut = sorted({name for view in batch.rois.views for name in view.cuts(batch.case).values()})
                message = f"no image layer {name!r} is cut"
                raise StepError(message, hint=nearest(name, cut))
        return found


def _box(grid: Grid, view: View, row: int) -> Box:
    """One ROI of a view over all axes of a layer."""
    ends: NDArray = np.stack([view.start[row], view.stop[row]])
    spans = {axis: (int(a), int(b)) for axis, a, b in zip(view.axes, *ends, strict=True)}
    return tuple(slice(*spans.get(axis, (0, n))) for axis, n in zip(grid.axes, grid.shape, strict=True))
