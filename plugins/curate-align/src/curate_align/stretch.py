"""Pairs of consecutive sections within a box."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_align.pairs import PairFinder, both_ways
from curate_core import Case, Context, RoiTable, option


@frozen
class StretchPairs(PairFinder):
    """Pairs of consecutive sections of one box over a range of sections.

    Places count voxels of mip 0 of the volume, wherever its layers begin. The attributes are those of ``point-pairs``.

    Example::

        "rois": [{"use": "stretch-pairs", "start": [40960, 65536], "z": [17000, 17100], "mip": 5, "size": [1024, 1024]}]
    """

    version: ClassVar[int] = 1
    start: tuple[int, int] = option(doc="Least y and x of the box, in voxels of mip 0.")
    z: tuple[int, int] = option(doc="First section, and the one behind the last.")
    offset: int = option(doc="Sections from src to tgt; negative ones take src from the later section.", default=1)
    step: int = option(doc="Sections from one pair to the next.", default=1, ge=1)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.offset == 0:
            message = "offset: 0 pairs a section with itself"
            raise ValueError(message)
        if self.z[1] - self.z[0] <= abs(self.offset):
            message = f"z: from {self.z[0]} to {self.z[1]} there are no two sections {abs(self.offset)} apart"
            raise ValueError(message)

    def find(self, case: Case, context: Context) -> RoiTable:
        first, stop = self.z
        low = np.arange(first, stop - abs(self.offset), self.step)
        z = low if self.offset > 0 else low - self.offset
        src = np.stack([np.full(len(z), self.start[1]), np.full(len(z), self.start[0]), z], axis=1)
        tgt = src + np.array([0, 0, self.offset])
        if self.permute:
            src, tgt = both_ways(src, tgt)
        return self.table(case, context, src, tgt, {})
