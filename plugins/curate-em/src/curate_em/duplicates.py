"""The filter of samples that look alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from attrs import frozen

from curate_core import Batch, Context, Features, Filter, NDArray, Scope, StepError, Verdict, option
from curate_core.kinds import CASE


@frozen
class NearDuplicates(Filter):
    """Drop samples that look like another one, by their difference hashes.

    The hash is ImageHash's ``dhash``, bit for bit. In an order drawn from the seed each sample that is left removes all that differ from it
    in ``distance`` bits or fewer: no two that stay are that near, and each that goes is that near to one that stays. A sample that goes
    has that distance as its score. Samples that the dataset holds already come first and stay.

    Example::

        "filter": [{"use": "near-duplicates", "distance": 12, "within": "dataset"}]
    """

    hash_size: int = option(doc="Bits of the hash along each axis: 8 gives 64 bits.", default=8, ge=2, le=64)
    distance: int = option(doc="Samples whose hashes differ in this many bits or fewer count as alike.", default=12, ge=0)
    within: Scope = option(doc="Among which samples a likeness counts: case, dataset, or the cases that share an attribute.", default=CASE)
    array: str | None = option(doc="The array of the samples to look at; null: their only one.", default=None)
    size: int | None = option(
        doc="Samples of another shape are resized to this many pixels a side before they are hashed; null: hashed as they are.",
        default=None,
        ge=1,
    )

    def __attrs_post_init__(self) -> None:
        if self.distance >= self.hash_size**2:
            message = f"distance: {self.distance} of the hash's {self.hash_size**2} bits would make all samples alike"
            raise ValueError(message)
        if self.within.over == "sample":
            message = "within: a sample alone has no duplicates, expected case, dataset or an attribute"
            raise ValueError(message)

    def scope(self) -> Scope:
        return self.within

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        from curate_em.hashing import difference_hashes

        tiles = _tiles(batch.array(self.array), batch)
        return {"hash": difference_hashes(tiles, self.hash_size, self.size)}

    def keep(self, features: Features, context: Context) -> Verdict:
        from curate_em.greedy import remove_near

        order = context.rng().permutation(len(features))
        old = features.existing[order]
        order = np.concatenate([order[old], order[~old]])
        judged = remove_near(features.columns["hash"], self.distance, order, int(old.sum()))
        stays = judged.because < 0
        return Verdict(stays, np.where(stays, np.nan, judged.distance), judged.because)


def _tiles(values: NDArray, batch: Batch) -> NDArray:
    """(n, h, w) uint8: samples that are grey images, an axis of length one before or after the image left out.

    Raises:
        StepError: they are something else.
    """
    where = f"case {batch.case.id}"
    if values.dtype != np.uint8:
        message = f"near-duplicates hashes uint8 samples, these are {values.dtype}"
        raise StepError(message, where=where, hint="put to-uint8 under preprocess")
    shape = values.shape[1:]
    if len(shape) == 3 and 1 in (shape[0], shape[-1]):
        values = values[:, 0] if shape[0] == 1 else values[..., 0]
    if values.ndim != 3:
        message = f"near-duplicates hashes 2D samples, these have shape {shape}"
        raise StepError(message, where=where, hint="cut sections, for example with em-sections, or keep one channel with pick-channel")
    return values
