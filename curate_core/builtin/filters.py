"""Filters by value and by number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray
from curate_core.batch import Batch
from curate_core.kinds import CASE, Context, Features, Filter, Scope, Verdict
from curate_core.options import option


@frozen
class Intensity(Filter):
    """Drops blank or low-contrast samples.

    A sample stays when it meets every bound that is set; its score is its standard deviation. Values are those of the array as it is, so
    that bounds for bytes lie within 0..255.

    Example::

        "filter": [{"use": "intensity", "min_std": 4.0, "max_mean": 250}]
    """

    version: ClassVar[int] = 1
    min_std: float | None = option(doc="Least standard deviation (of the population).", default=None, ge=0)
    min_mean: float | None = option(doc="Least mean.", default=None)
    max_mean: float | None = option(doc="Greatest mean.", default=None)
    min_range: float | None = option(doc="Least distance from the 1st to the 99th percentile.", default=None, ge=0)
    max_constant: float | None = option(doc="Greatest share of voxels that have the sample's least value.", default=None, ge=0, le=1)
    array: str | None = option(doc="Array to look at; null: the only one.", default=None)

    def __attrs_post_init__(self) -> None:
        if all(bound is None for bound in (self.min_std, self.min_mean, self.max_mean, self.min_range, self.max_constant)):
            message = "no bound is set, so that nothing would ever be dropped: set min_std or another"
            raise ValueError(message)

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        rows = batch.array(self.array).reshape(len(batch), -1)
        columns = {"std": np.empty(len(rows)), "mean": np.empty(len(rows)), "range": np.zeros(len(rows)), "constant": np.zeros(len(rows))}
        for i, row in enumerate(rows):  # a row at a time stays in cache, and gives the same bits in any batch
            columns["mean"][i], columns["std"][i] = _mean_std(row)
            if self.min_range is not None:
                low, high = np.percentile(row.astype(np.float64) if row.dtype.kind in "bf" else row, [1, 99])
                columns["range"][i] = high - low
            if self.max_constant is not None:
                columns["constant"][i] = np.count_nonzero(row == row.min()) / row.size
        return columns

    def keep(self, features: Features, context: Context) -> Verdict:
        std, mean = features.columns["std"], features.columns["mean"]
        keep = np.ones(len(features), bool)
        bounds: tuple[tuple[float | None, Callable[[float], NDArray]], ...] = (
            (self.min_std, lambda b: std >= b),
            (self.min_mean, lambda b: mean >= b),
            (self.max_mean, lambda b: mean <= b),
            (self.min_range, lambda b: features.columns["range"] >= b),
            (self.max_constant, lambda b: features.columns["constant"] <= b),
        )
        for bound, good in bounds:
            if bound is not None:
                keep &= good(bound)  # NaN is never good
        return Verdict(keep, std)


def _mean_std(row: NDArray) -> tuple[float, float]:
    """Mean and population standard deviation: exact sums for bytes, numpy's pairwise sums in float64 for others."""
    if row.dtype == np.uint8:
        counts = np.bincount(row, minlength=256).astype(np.int64)
        values = np.arange(256, dtype=np.int64)
        total, squares, n = int(counts @ values), int(counts @ (values * values)), row.size
        return total / n, float(np.sqrt(max(0, n * squares - total * total)) / n)
    wide = row.astype(np.float64)
    return float(wide.mean()), float(wide.std())


@frozen
class Limit(Filter):
    """Keeps a seeded choice of so many samples.

    Every choice of that many is as likely as any other; samples that stay keep their order. In a dataset that is continued, those that
    were kept before are kept first.

    Example::

        "filter": [{"use": "limit", "count": 200, "within": "case"}]
    """

    version: ClassVar[int] = 1
    count: int = option(doc="Samples to keep, at most.", ge=0)
    within: Scope = option(doc="Among which samples.", default=CASE)

    def __attrs_post_init__(self) -> None:
        if self.within.over == "sample":
            message = 'within: "sample" would keep or drop all: use "case" or "dataset"'
            raise ValueError(message)

    def scope(self) -> Scope:
        return self.within

    def needs_pixels(self) -> bool:
        return False

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        return {}

    def keep(self, features: Features, context: Context) -> Verdict:
        order = context.rng().permutation(len(features))
        order = order[np.argsort(~features.existing[order], kind="stable")]
        keep = np.zeros(len(features), bool)
        keep[order[: self.count]] = True
        return Verdict(keep)
