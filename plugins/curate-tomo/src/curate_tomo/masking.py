"""Where real sinograms have stripes, row by row: the detector of Larix, and one that filters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from attrs import frozen

from curate_core import ArrayLike, LazyArray, NDArray, option, read
from curate_core.arrays import Box

_BLOCK = 128 << 20


@frozen
class Gradients:
    """Larix: voxels whose neighbourhood is unlike that to one side, where they form long lines.

    The numbers are those of Larix; lengths are in angles and columns.
    """

    size: int = option(doc="Angles on each side among which the size-th smallest likeness is taken.", default=250, ge=1)
    radius: int = option(doc="Columns, angles and rows on each side that make a neighbourhood.", default=3, ge=1)
    threshold: float = option(doc="Likeness, 0 to 1, at or below which a voxel may be of a stripe.", default=0.63, gt=0, le=1)
    length: int = option(doc="Angles that a stripe is long.", default=600, ge=2)
    depth: int = option(doc="Rows around: what most of them have is an edge of the sample.", default=30, ge=0)
    width: int = option(doc="Columns that a stripe may be wide: gaps up to this are filled.", default=22, ge=1)
    sensitivity: float = option(doc="Percent of length that is long enough, and of depth that is an edge.", default=85.0, gt=0, le=100)

    def rows(self, scan: ArrayLike, first: int, stop: int) -> Iterator[NDArray]:
        """(angle, column) bool for each of the rows ``first`` to ``stop`` of a scan (angle, row, column)."""
        from curate_tomo.maskkernels import likeness, merged, mirrored, steps

        count, half = scan.shape[1], self.depth // 2
        planes = _Rows(scan)
        gradients = _Window(lambda row: steps(planes[row]), self.radius + 1)

        def small(row: int) -> NDArray:
            around = [gradients[mirrored(row, o, count)] for o in range(-self.radius, self.radius + 1)]
            near = [gradients[mirrored(row, o, count)] for o in (-1, 0, 1)]
            found: NDArray = likeness(around, near, self.size, self.radius) <= self.threshold
            return found

        masks = _Window(small, half + 1)
        for row in range(first, stop):
            rows = np.zeros((scan.shape[0], scan.shape[2]), np.int32)
            for o in range(-half, half + 1):
                rows += masks[mirrored(row, o, count)]
            yield merged(masks[row], rows, self.length, self.depth, self.width, self.sensitivity)


@frozen
class Filtering:
    """Columns that stay off their neighbours' at all angles, while what belongs to the sample moves.

    A median over columns is taken away, and of what is left the median over angles (the averaged high-pass of Rivers, 1998, and the
    statistical threshold of Anas, Lee and Hasan, Physics in Medicine and Biology 55, 6911, 2010, with medians for means). Columns that
    lie far outside its noise are candidates; those stand that also differ from a line between the columns beside the candidates,
    for a stripe on a slope drags its neighbours along.
    """

    window: int = option(doc="Columns of the median; more than twice the widest stripe.", default=11, ge=3)
    snr: float = option(doc="How far off a column must lie, in standard errors.", default=6.0, gt=0)
    share: float = option(
        doc="Of the greatest deviation among candidates side by side, what others need to stand.", default=0.3, ge=0, le=1
    )
    piece: int | None = option(
        doc="Angles that are judged at once, for stripes that begin or end during a scan; null: all.", default=None, ge=16
    )

    def rows(self, scan: ArrayLike, first: int, stop: int) -> Iterator[NDArray]:
        """(angle, column) bool for each of the rows ``first`` to ``stop`` of a scan (angle, row, column)."""
        planes = _Rows(scan)
        for row in range(first, stop):
            sinogram = planes[row]
            found = np.zeros(sinogram.shape, bool)
            count = max(1, round(len(sinogram) / self.piece)) if self.piece else 1
            for part in np.array_split(np.arange(len(sinogram)), count):
                found[part] = self.columns(sinogram[part])
            yield found

    def columns(self, sinogram: NDArray) -> NDArray:
        """(column,) bool of a sinogram (angle, column)."""
        from scipy.ndimage import median_filter

        half = min(self.window // 2, sinogram.shape[1] - 1)
        wide = np.pad(sinogram, ((0, 0), (half, half)), mode="reflect", reflect_type="odd")
        left = sinogram - median_filter(wide, (1, 2 * half + 1))[:, half : wide.shape[1] - half]
        middle = np.median(left, axis=0)
        noise = _spread(np.diff(sinogram, 2, axis=0)) / np.sqrt(6) * _MEDIAN_ERROR / np.sqrt(len(left))
        candidates = np.abs(middle) > self.snr * max(noise, _spread(middle))
        if not candidates.any() or candidates.all():
            return candidates
        deviation = np.where(candidates, np.abs(np.median(sinogram - _bridged(sinogram, candidates), axis=0)), 0)
        stands = deviation > self.snr * noise
        group = np.cumsum(np.diff(candidates, prepend=False) & candidates)
        peaks = np.zeros(group[-1] + 1)
        np.maximum.at(peaks, group[candidates], deviation[candidates])
        return candidates & stands & (deviation >= self.share * peaks[group])


Detector = Gradients | Filtering
_MEDIAN_ERROR = 1.2533
"""Standard error of a median over that of a mean, of normal values."""


def _spread(values: NDArray) -> float:
    """Standard deviation of normal values, by the median of their absolute ones."""
    return 1.4826 * float(np.median(np.abs(values)))


def _bridged(sinogram: NDArray, away: NDArray) -> NDArray:
    """The sinogram with some columns replaced by lines between the nearest others."""
    columns, known = np.arange(sinogram.shape[1]), np.flatnonzero(~away)
    at = np.searchsorted(known, columns, side="right")
    before, after = known[np.maximum(at - 1, 0)], known[np.minimum(at, len(known) - 1)]
    share = np.where(after > before, (columns - before) / np.maximum(1, after - before), 0)
    made: NDArray = sinogram[:, before] * (1 - share) + sinogram[:, after] * share
    return made


class _Rows:
    """Rows of a scan, (angle, column) float32, read some at a time."""

    def __init__(self, scan: ArrayLike) -> None:
        self.scan = scan
        plane = scan.shape[0] * scan.shape[2] * 4
        self.step = max(1, _BLOCK // max(1, plane))
        self.first, self.block = 0, np.empty((scan.shape[0], 0, scan.shape[2]), np.float32)

    def __getitem__(self, row: int) -> NDArray:
        if not self.first <= row < self.first + self.block.shape[1]:
            angles, rows, columns = self.scan.shape
            self.first = row
            self.block = read(self.scan, (slice(0, angles), slice(row, min(rows, row + self.step)), slice(0, columns)))
        return np.ascontiguousarray(self.block[:, row - self.first], np.float32)


class _Window:
    """Values by row, kept as long as rows near the last one are asked for."""

    def __init__(self, make: Callable[[int], NDArray], reach: int) -> None:
        self.make, self.reach = make, reach
        self.made: dict[int, NDArray] = {}

    def __getitem__(self, row: int) -> NDArray:
        if row not in self.made:
            self.made = {known: value for known, value in self.made.items() if known >= row - 2 * self.reach}
            self.made[row] = self.make(row)
        return self.made[row]


class MaskArray(LazyArray):
    """The mask of a scan, (row, angle, column) bool; cheapest when read in the order of rows.

    Args:
        scan: (angle, row, column).
        detector: finds it.
    """

    def __init__(self, scan: ArrayLike, detector: Detector) -> None:
        self.scan, self.detector = scan, detector
        self.shape, self.dtype = (scan.shape[1], scan.shape[0], scan.shape[2]), np.dtype(bool)
        self._next = -1
        self._coming: Iterator[NDArray] = iter(())

    def read_box(self, where: Box) -> NDArray:
        if where[0].start != self._next:
            self._coming = self.detector.rows(self.scan, where[0].start, self.shape[0])
        out = np.empty([s.stop - s.start for s in where], bool)
        for plane in out:
            plane[...] = next(self._coming)[where[1:]]
        self._next = where[0].stop
        return out

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_next": -1, "_coming": iter(())}
