"""The filter that thins out overlapping ROIs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core import Batch, Context, Features, Filter, NDArray, Scope, Verdict, option
from curate_core.kinds import CASE
from curate_pet.pruning import prune


@frozen
class PruneOverlap(Filter):
    """Drop ROIs that overlap another one too much; looks at boxes alone, so that nothing is cut for it.

    In an order drawn from the seed each ROI that is left removes all of its case whose centre is nearer than (1 - ``max_overlap``) times
    its size along every axis at once. ROIs that the dataset holds already come first and stay. Boxes are those of the first view.

    Example::

        "filter": [{"use": "prune-overlap", "max_overlap": 0.25, "limit": 200}]
    """

    version: ClassVar[int] = 1
    max_overlap: float = option(doc="Overlap that is allowed along an axis, as a share of the size.", ge=0, le=1)
    limit: int | None = option(doc="ROIs of a case to keep, at most; null: any number.", default=None, ge=0)

    def scope(self) -> Scope:
        return CASE

    def needs_pixels(self) -> bool:
        return False

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        view = batch.rois.views[0]
        return {"start": view.start, "size": view.shape}

    def keep(self, features: Features, context: Context) -> Verdict:
        if not len(features):
            return Verdict(np.zeros(0, bool))
        order = context.rng().permutation(len(features))
        held = int(features.existing.sum())
        if held:
            order = order[np.argsort(~features.existing[order], kind="stable")]
        return Verdict(prune(features.columns["start"], features.columns["size"], order, self.max_overlap, self.limit, held))
