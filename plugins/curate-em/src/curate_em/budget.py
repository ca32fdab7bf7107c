"""The filter that keeps a dataset within a number of gigabytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core import Batch, Context, Features, Filter, NDArray, Scope, StepError, Verdict, option
from curate_core.kinds import DATASET, SAMPLE

_GIGABYTE = 1_000_000_000


@frozen
class TotalGigabytes(Filter):
    """Keeps a seeded choice of samples of so many gigabytes together.

    Every sample is as likely to stay as any other of its size; in an order drawn from the seed, samples stay until the next one would
    exceed the budget. Sizes are those that ``sparse-cubes`` gives its cubes, so nothing is read for it. In a dataset that is continued,
    what was kept before is kept first.

    Example::

        "filter": [{"use": "total-gb", "gb": 100}]
    """

    version: ClassVar[int] = 1
    gb: float | None = option(
        doc="Gigabytes (10^9 bytes) of samples at the most, before they are compressed; null: all stay.", default=None, gt=0
    )
    within: Scope = option(doc="Among which samples: case, dataset, or the cases that share an attribute.", default=DATASET)

    def __attrs_post_init__(self) -> None:
        if self.within.over == "sample":
            message = 'within: "sample" would keep or drop all: use "case" or "dataset"'
            raise ValueError(message)

    def scope(self) -> Scope:
        return self.within if self.gb is not None else SAMPLE

    def needs_pixels(self) -> bool:
        return False

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        if self.gb is None:
            return {}
        if "nbytes" not in batch.attributes:
            message = "the samples have no attribute nbytes, which tells their size"
            raise StepError(message, where=f"case {batch.case.id}", hint="find them with sparse-cubes, or use limit")
        return {"nbytes": np.asarray(batch.attributes["nbytes"], np.int64)}

    def keep(self, features: Features, context: Context) -> Verdict:
        if self.gb is None:
            return Verdict(np.ones(len(features), bool))
        order = context.rng().permutation(len(features))
        order = order[np.argsort(~features.existing[order], kind="stable")]
        keep = np.zeros(len(features), bool)
        keep[order] = np.cumsum(features.columns["nbytes"][order]) <= self.gb * _GIGABYTE
        return Verdict(keep)
