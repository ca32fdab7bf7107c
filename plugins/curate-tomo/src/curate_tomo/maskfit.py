"""Which numbers of a detector suit a scan: tried on one whose stripes are known, because they were labelled or planted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from attrs import frozen

from curate_core import NDArray
from curate_tomo.masking import Detector


@frozen
class Trial:
    """How well a detector finds known stripes.

    Attributes:
        detector: with its numbers.
        precision: share of the masked voxels that are of a stripe; 1 where none is masked.
        recall: share of the stripes' voxels that are masked; 1 where there are none.
    """

    detector: Detector
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def mask_of(scan: NDArray, detector: Detector) -> NDArray:
    """(angle, row, column) bool of a scan of that shape, in memory."""
    return np.stack(list(detector.rows(scan, 0, scan.shape[1])), axis=1)


def trials(scan: NDArray, truth: NDArray, detectors: Iterable[Detector]) -> list[Trial]:
    """Try detectors; the best by F1 first, of equals the one named first.

    Args:
        scan: (angle, row, column) line integrals.
        truth: the same shape, bool: the stripes that are known.
        detectors: such as ``[Gradients(threshold=t) for t in (0.3, 0.5)]``.

    Raises:
        ValueError: the shapes differ.
    """
    if scan.shape != truth.shape:
        message = f"a scan of shape {scan.shape} and stripes of shape {truth.shape}"
        raise ValueError(message)
    found = []
    for detector in detectors:
        mask = mask_of(scan, detector)
        right, masked, stripes = (int(np.count_nonzero(which)) for which in (mask & truth, mask, truth))
        found.append(Trial(detector, right / masked if masked else 1.0, right / stripes if stripes else 1.0))
    return sorted(found, key=lambda trial: -trial.f1)


def plant(
    scan: NDArray, rng: np.random.Generator, count: int, *, strength: float, width: int = 3, least: float = 1.0
) -> tuple[NDArray, NDArray]:
    """Stripes of known places on a scan that has none, or few.

    Args:
        scan: (angle, row, column) line integrals.
        count: of stripes.
        strength: of a stripe at the most; each has from a third of it, brighter or darker.
        width: columns at the most.
        least: share of the angles that a stripe lasts at least.

    Returns:
        the scan with stripes, float32, and their voxels, bool.
    """
    angles, rows, columns = scan.shape
    made, truth = scan.astype(np.float32), np.zeros(scan.shape, bool)
    for _ in range(count):
        row, wide = int(rng.integers(rows)), int(rng.integers(1, width + 1))
        first = int(rng.integers(0, max(1, columns - wide)))
        length = round(angles * rng.uniform(least, 1))
        begin = int(rng.integers(0, angles - length + 1))
        where = (slice(begin, begin + length), row, slice(first, first + wide))
        made[where] += rng.choice([-1, 1]) * strength * rng.uniform(1 / 3, 1)
        truth[where] = True
    return made, truth
