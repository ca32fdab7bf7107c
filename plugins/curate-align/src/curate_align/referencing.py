"""Samples normalised by a region around them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_align.normalizing import measure, normalize
from curate_align.sections import Section, array_of, layer_of
from curate_core import Batch, Context, Grid, Image, NDArray, StepError, Transform, option


@frozen
class NormalizeByReference(Transform):
    """(image - mean) / standard deviation, of a region around the sample; masked and black pixels become 0.

    Mean and variance (n - 1) are those of the region's pixels that are unmasked, finite and not 0; a variance of 0 counts as 1. The region
    has its own size, the sample's centre, and may lie in a layer of another mip. Where it leaves the layer, what is there counts. A region
    without such a pixel refuses its sample. The result is float32.

    Example::

        "transform": [{"use": "normalize-by-reference", "reference_size": [2048, 2048], "mask": "mask"}]
    """

    version: ClassVar[int] = 1
    image: str = option(doc="Layer of the image.", default="image", min_length=1)
    mask: str | None = option(doc="Layer of the mask, on the grid of the image; null: none.", default=None)
    reference: str | None = option(doc="Layer of the reference; null: the image itself.", default=None)
    reference_mask: str | None = option(
        doc="Layer of the mask of the reference, on its grid; null: the mask, where the reference is the image.", default=None
    )
    reference_size: tuple[int, int] | None = option(
        doc="Pixels of the region, y and x, of its own layer; null: the sample.", default=None, ge=1
    )
    views: tuple[str, ...] = option(doc="Views of a pair.", default=("src", "tgt"), min_length=1)

    def __attrs_post_init__(self) -> None:
        if self.reference is not None and self.reference_size is None:
            message = "reference_size: a reference of its own needs a size of its own"
            raise ValueError(message)

    def estimate(self, nbytes: int) -> int:
        return 6 * nbytes  # float32 of bytes, reference regions, masks

    def apply(self, batch: Batch, context: Context) -> Batch:
        reference = layer_of(batch, self.reference or self.image)
        own_mask = self.reference_mask or (self.mask if self.reference is None else None)
        hidden = None if own_mask is None else layer_of(batch, own_mask)
        if hidden is not None and hidden.grid.shape != reference.grid.shape:
            message = f"the mask {own_mask!r} is {hidden.grid.describe()}, the reference {reference.grid.describe()}"
            raise StepError(message, hint='lay a mask over the reference: "mask-union" with "like"')
        for view in self.views:
            image = array_of(batch, view, self.image)
            values = batch.arrays[image]
            masks = None if self.mask is None else batch.arrays[array_of(batch, view, self.mask)]
            out = np.zeros(values.shape, np.float32)
            for row in range(len(batch)):
                masked = None if masks is None else masks[row]
                try:
                    region = self._region(values[row], masked, batch.grids[image](row), reference, hidden)
                    out[row] = normalize(values[row], masked, measure(*region))
                except StepError as error:
                    context.reject(row, f"{view}: {error}")
            batch = batch.with_array(image, out)
        return batch

    def _region(
        self, values: NDArray, masked: NDArray | None, grid: Grid, reference: Image, hidden: Image | None
    ) -> tuple[NDArray, NDArray | None]:
        """Pixels and mask of the reference region; those of the sample where they are the same."""
        if self.reference_size is None:
            return values, masked
        place = Section.around(grid, reference.grid, self.reference_size).clipped(reference.grid)
        if place is None:
            message = "the reference lies outside of its layer"
            raise StepError(message, hint="do both layers lie in one place?")
        if self.reference is None and place == Section.of(grid, reference.grid):
            return values, masked
        return place.read(reference), None if hidden is None else place.read(hidden)
