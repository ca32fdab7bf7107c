"""What a sinogram with stripes may look like without them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core import Batch, Context, NDArray, StepError, Transform, option


@frozen
class EstimateClean(Transform):
    """Masked pixels of sinograms, interpolated.

    Of sinograms with real stripes no clean one is known. Their array becomes ``stripe``, and ``clean`` is the same with masked pixels
    interpolated linearly along the columns, angle by angle; at an edge, the nearest unmasked pixel's value. Where a whole angle is
    masked, its values stay. The attribute ``estimate`` marks such samples. With ``"clean": null`` there is none.

    Example::

        "transform": [{"use": "estimate-clean", "array": "scan", "mask": "mask", "when": {"artifact": "real"}}]
    """

    version: ClassVar[int] = 1
    array: str | None = option(doc="Array of sinograms, the angles along its first axis; null: the only one.", default=None)
    mask: str = option(doc="Array of the mask, set where the stripes are.", default="mask", min_length=1)
    clean: str | None = option(doc="Name of the estimate; null: none is made.", default="clean", min_length=1)
    stripe: str = option(doc="Name that the sinograms get.", default="stripe", min_length=1)

    def apply(self, batch: Batch, context: Context) -> Batch:
        name = batch.array_name(self.array)
        striped, mask = batch.array(name), batch.array(self.mask)
        if striped.ndim != 3 or striped.dtype.kind != "f" or mask.shape != striped.shape:
            message = f"array {name!r} holds {striped.dtype} of shape {striped.shape[1:]}, its mask has shape {mask.shape[1:]}"
            raise StepError(message, hint='2D samples of floats are wanted, with a mask of their shape; put it before "scale"')
        taken = [new for new in (self.clean, self.stripe) if new is not None and new != name and new in batch.arrays]
        if taken:
            message = f"the samples have an array {taken[0]!r} already, which would be replaced"
            raise StepError(message, hint='name another with "clean" or "stripe"')
        grid = batch.grids[name]
        if name != self.stripe:
            batch = batch.without_arrays([name]).with_array(self.stripe, striped, grid)
        if self.clean is None:
            return batch
        estimates = np.stack([interpolated(sample, where != 0) for sample, where in zip(striped, mask, strict=True)])
        return batch.with_array(self.clean, estimates, grid).with_attributes(estimate=True)


def interpolated(sinogram: NDArray, mask: NDArray) -> NDArray:
    """(angle, column): masked pixels by linear interpolation between the nearest unmasked ones of their angle."""
    out, columns = sinogram.copy(), np.arange(sinogram.shape[1])
    for angle in np.flatnonzero(mask.any(axis=1) & ~mask.all(axis=1)):
        hidden = mask[angle]
        out[angle, hidden] = np.interp(columns[hidden], columns[~hidden], sinogram[angle, ~hidden])
    return out
