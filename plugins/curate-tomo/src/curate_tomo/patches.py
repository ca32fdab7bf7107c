"""Patches of sinograms, on a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core import Case, Context, RoiFinder, RoiTable, StepError, option
from curate_tomo.marks import AXES, Mark, mark_columns, require_scan


@frozen
class SinogramPatches(RoiFinder):
    """A grid of patches on each sinogram, centre-cropped.

    As many whole patches as fit; what is left over is cropped on both sides alike. The attributes ``row`` and ``patch`` number
    sinograms, and patches down each column of patches first; ``angle`` and ``column`` are a patch's first ones.

    Example::

        "rois": [{"use": "sinogram-patches", "size": [1801, 256], "layers": ["scan"]}]
    """

    version: ClassVar[int] = 1
    size: tuple[int, int] = option(doc="Angles and columns of a patch.", default=(1801, 256), ge=1)
    every: int = option(doc="Rows from one sinogram to the next.", default=1, ge=1)
    start: int = option(doc="First row.", default=0, ge=0)
    stop: int | None = option(doc="First row that is left out; null: all.", default=None, ge=1)
    layers: tuple[str, ...] = option(doc="Layers to cut; none named: all images, which must share a grid.", default=())
    attributes: Mapping[str, Mark] = option(doc='Attributes by a mask: name -> {"any": layer, "true": word, "false": word}.', factory=dict)

    def find(self, case: Case, context: Context) -> RoiTable:
        shape = require_scan(case, self.layers)
        angles, length, columns = shape
        down, across = angles // self.size[0], columns // self.size[1]
        if not down or not across:
            message = f"no patch of {self.size[0]} angles x {self.size[1]} columns fits into sinograms of {angles} x {columns}"
            raise StepError(message, where=f"case {case.id}", hint='lower "size"; a scan that lacks angles wants fewer of them')
        rows = np.arange(self.start, length if self.stop is None else min(self.stop, length), self.every, dtype=np.int64)
        corner = np.array([(angles - down * self.size[0]) // 2, (columns - across * self.size[1]) // 2])
        patch = np.arange(down * across, dtype=np.int64)
        places = np.stack([patch % down, patch // down], axis=1) * self.size + corner
        grid = np.empty((len(rows), len(patch), 3), np.int64)
        grid[..., 1] = rows[:, None]
        grid[..., [0, 2]] = places
        start = grid.reshape(-1, 3)
        stop = start + (self.size[0], 1, self.size[1])
        known = {"row": start[:, 1].copy(), "patch": np.tile(patch, len(rows)), "angle": start[:, 0].copy(), "column": start[:, 2].copy()}
        known |= mark_columns(case, self.attributes, start, stop, shape)
        drop = np.full(len(start), AXES.index("z"), np.int8)
        return RoiTable.boxes(start, stop, AXES, layers=self.layers, drop=drop, attributes=known, name="{row:04}_w{patch:02}")
