"""The frames of a scan as one lazy array, read in chunks of detector rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from curate_core import ArrayLike, LazyArray, NDArray, read
from curate_core.arrays import Box

ANGLE, ROW, COLUMN = 0, 1, 2
_SLAB = 16 << 20


class Frames(LazyArray):
    """Some frames of a stack, in order.

    Args:
        base: (frame, row, column).
        frames: (n,) int64: which, ascending.
    """

    def __init__(self, base: ArrayLike, frames: NDArray) -> None:
        self.base, self.frames = base, np.asarray(frames, np.int64)
        self.shape = (len(self.frames), *(int(n) for n in base.shape[1:]))
        self.dtype = np.dtype(base.dtype)

    def read_box(self, where: Box) -> NDArray:
        chosen = self.frames[where[ANGLE]]
        if len(chosen) and int(chosen[-1]) - int(chosen[0]) == len(chosen) - 1:
            return read(self.base, (slice(int(chosen[0]), int(chosen[-1]) + 1), *where[1:]))
        out = np.empty((len(chosen), *(s.stop - s.start for s in where[1:])), self.dtype)
        edges = [0, *(np.flatnonzero(np.diff(chosen) != 1) + 1).tolist(), len(chosen)]
        for low, high in pairwise(edges):
            if high > low:
                out[low:high] = read(self.base, (slice(int(chosen[low]), int(chosen[high - 1]) + 1), *where[1:]))
        return out


class ScanArray(LazyArray):
    """The projections of a scan, with its flat and dark fields, (angle, row, column).

    A sinogram is a row of every frame: files keep frames, so that reading sinograms one by one would go through the file for each. What is
    read instead is a chunk of rows of the frames that are asked for, and kept: one such chunk at a time, of no more than ``memory``
    bytes unless a single row needs more. Boxes of more rows than a chunk are read as they are.

    Args:
        frames: projections.
        chunk: rows that are read at once, at most.
        memory: bytes that they may take.
        flats, darks: frames of fields, (n, row, column); None: there are none.
    """

    def __init__(self, frames: LazyArray, chunk: int, memory: int, flats: LazyArray | None = None, darks: LazyArray | None = None) -> None:
        self.frames, self.chunk, self.memory = frames, chunk, memory
        self.flats, self.darks = flats, darks
        self.shape, self.dtype = frames.shape, frames.dtype
        self._kept: tuple[int, int, int, NDArray] | None = None

    def rows(self, angles: int) -> int:
        """Rows of a chunk of so many frames: at most ``chunk``, fewer where they would not fit, at least one."""
        each = max(1, angles * self.shape[COLUMN] * self.dtype.itemsize)
        return max(1, min(self.chunk, self.memory // each, self.shape[ROW]))

    def read_box(self, where: Box) -> NDArray:
        first, last, row, end = where[ANGLE].start, where[ANGLE].stop, where[ROW].start, where[ROW].stop
        rows = self.rows(last - first)
        if end - row >= rows or last - first <= 1:
            return read(self.frames, where)
        if row // rows == (end - 1) // rows:
            return self._part(where, first, last, row // rows * rows, rows)
        middle = end // rows * rows if end % rows else end - rows
        lower, upper = (slice(row, middle), slice(middle, end))
        parts = [self.read_box((where[ANGLE], part, where[COLUMN])) for part in (lower, upper)]
        return np.concatenate(parts, axis=ROW)

    def _part(self, where: Box, first: int, last: int, start: int, rows: int) -> NDArray:
        """A box within one chunk; a view of what is kept."""
        kept = self._kept
        holds = kept is not None and kept[0] <= first and last <= kept[1] and kept[2] <= where[ROW].start
        if kept is None or not holds or where[ROW].stop > kept[2] + kept[3].shape[ROW]:
            self._kept = kept = None  # gone before its successor comes
            stop = min(start + rows, self.shape[ROW])
            values = np.empty((last - first, stop - start, self.shape[COLUMN]), self.dtype)
            step = max(1, min(len(values) // 8, _SLAB * len(values) // max(1, values.nbytes)))
            for low in range(0, len(values), step):  # piece by piece: no second copy of the whole
                high = min(low + step, len(values))
                values[low:high] = read(self.frames, (slice(first + low, first + high), slice(start, stop), slice(0, self.shape[COLUMN])))
            values.setflags(write=False)
            self._kept = kept = (first, last, start, values)
        angles = slice(first - kept[0], last - kept[0])
        inside = slice(where[ROW].start - kept[2], where[ROW].stop - kept[2])
        return kept[3][angles, inside, where[COLUMN]]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}
