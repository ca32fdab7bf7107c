"""One section of a pair warped by its field."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_align.fields import warp
from curate_align.sections import array_of
from curate_core import Batch, Context, StepError, Transform, option


@frozen
class Warp(Transform):
    """Samples an image along the field of its view: what lies at (y, x) comes from (y, x) + field, in the sample's own pixels.

    Bilinear; 0 outside of the sample, and where a vector is not finite.

    Example::

        "transform": [{"use": "warp", "view": "tgt"}]
    """

    version: ClassVar[int] = 1
    view: str = option(doc="The view to warp.", default="tgt", min_length=1)
    image: str = option(doc="Layer of the image.", default="image", min_length=1)
    field: str = option(doc="Array of the field, (2, y, x), after the view's name.", default="field", min_length=1)

    def estimate(self, nbytes: int) -> int:
        return 8 * nbytes  # places in float64, four taps

    def apply(self, batch: Batch, context: Context) -> Batch:
        image, field = array_of(batch, self.view, self.image), f"{self.view}.{self.field}"
        if field not in batch.arrays:
            message = f"the samples have no array {field!r}, only {', '.join(batch.arrays)}"
            raise StepError(message, where=f"case {batch.case.id}", hint='"follow-field" makes it')
        values, vectors = batch.arrays[image], batch.arrays[field]
        if vectors.shape[1:] != (2, *values.shape[1:]):
            message = (
                f"{field} has the shape {vectors.shape[1:]}; an image of {values.shape[1:]} needs (2, {values.shape[1]}, {values.shape[2]})"
            )
            raise StepError(message, where=f"case {batch.case.id}")
        warped = np.stack([warp(values[row].astype(np.float32), vectors[row]) for row in range(len(batch))])
        return batch.with_array(image, warped)
