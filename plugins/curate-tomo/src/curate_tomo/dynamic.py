"""Frames of a dynamic scan: sinograms of successive turns."""

from __future__ import annotations

import logging
from typing import ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Case, Context, RoiFinder, RoiTable, StepError, option
from curate_tomo.marks import require_scan

_log = logging.getLogger("curate_tomo")


@frozen
class SinogramFrames(RoiFinder):
    """Sinograms of the frames of a dynamic scan.

    A scan that goes on while the sample changes has all its frames behind each other along the angles: each ``frame_angles`` projections
    are one. The attributes ``frame`` and ``row`` number them, from 0 on. Trailing angles that fill no frame are left out, with a warning
    and their number as the attribute ``left_out``; or kept as a shorter frame. With ``every``, frames between are left out.

    Example::

        "rois": [{"use": "sinogram-frames", "frame_angles": 900, "every": 2}]
    """

    version: ClassVar[int] = 1
    frame_angles: int = option(doc="Angles of a frame.", default=900, ge=1)
    every: int = option(doc="Frames from one that is taken to the next.", default=1, ge=1)
    partial: Literal["drop", "keep"] = option(doc="Trailing angles that fill no frame.", default="drop")
    start: int = option(doc="First row.", default=0, ge=0)
    stop: int | None = option(doc="First row that is left out; null: all.", default=None, ge=1)
    layers: tuple[str, ...] = option(doc="Layers to cut; none named: all images, which must share a grid.", default=())

    def find(self, case: Case, context: Context) -> RoiTable:
        angles, length, _ = require_scan(case, self.layers)
        whole, rest = divmod(angles, self.frame_angles)
        if not whole and self.partial == "drop":
            message = f"the scan has {angles} angles, which fill no frame of {self.frame_angles}"
            raise StepError(message, where=f"case {case.id}", hint='lower "frame_angles", or set "partial": "keep"')
        left_out = rest if self.partial == "drop" else 0
        if left_out:
            _log.warning(
                'case %s: the last %d of %d angles fill no frame of %d and are left out; "partial": "keep" keeps them',
                case.id, left_out, angles, self.frame_angles,
            )  # fmt: skip
        count = whole + (rest > 0 and self.partial == "keep")
        rows = np.arange(self.start, length if self.stop is None else min(self.stop, length), dtype=np.int64)
        frame = np.repeat(np.arange(0, count, self.every, dtype=np.int64), len(rows))
        row = np.tile(rows, len(frame) // max(1, len(rows)))
        start = np.stack([frame * self.frame_angles, row], axis=1)
        stop = np.minimum(start + (self.frame_angles, 1), (angles, length))
        known = {"frame": frame, "row": row}
        if left_out:
            known["left_out"] = np.full(len(row), left_out)
        drop = np.ones(len(row), np.int8)
        return RoiTable.boxes(start, stop, "az", layers=self.layers, drop=drop, attributes=known, name="frame{frame:02}_{row:04}")
