"""Resampling along one axis as a sparse matrix: each new sample is a weighted sum of a few old ones.

A cubic spline through the samples needs its coefficients first, which depend on all of them; but the influence falls to 0.27 from one to
the next, so that coefficients and spline together are a band of about 25 weights. Sums of a row run in one fixed order, so that a sample's
bits do not depend on what else is computed with it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np

from curate_core import NDArray

Spline = Literal["cubic", "linear"]
PAD = 12
"""Samples of the edge that go on before and behind, as scipy has it for ``mode="nearest"``: 0.27**12 is below 2e-7."""
NEGLIGIBLE = 1e-7
"""Weights below this are left out, and their sum given to the largest of the row, so that constants stay what they are."""
OUTSIDE = 1e-6
"""Voxels: so far beyond the edge of the outermost voxel a place still counts as inside; rounding, not geometry."""


def inside(places: NDArray, count: int) -> NDArray:
    """Which places lie within the voxels of an axis: from half a voxel before the first centre to half a voxel behind the last."""
    return np.asarray((places >= -0.5 - OUTSIDE) & (places <= count - 0.5 + OUTSIDE))


def nearest(places: NDArray, count: int) -> NDArray:
    """Index of the nearest sample, the later one where two are as near; int64."""
    return np.clip(np.floor(places + 0.5), 0, count - 1).astype(np.int64)


def matrix(places: NDArray, count: int, kind: Spline, sigma: float, dtype: Any) -> Any:
    """Weights that take the samples of an axis to those at ``places``.

    Args:
        places: (m,) in units of the old samples; those outside go by the edge.
        count: old samples.
        kind: of the curve through the old samples.
        sigma: of a Gaussian that smooths first, in old samples; 0: none.
        dtype: of the weights.

    Returns:
        (m, count) ``scipy.sparse.csr_matrix``.
    """
    return _matrix(np.ascontiguousarray(places, np.float64).tobytes(), count, kind, float(sigma), np.dtype(dtype).str)


@lru_cache(maxsize=64)
def _matrix(packed: bytes, count: int, kind: Spline, sigma: float, dtype: str) -> Any:
    from scipy.sparse import csr_matrix

    places = np.clip(np.frombuffer(packed), -0.5, count - 0.5)
    rows = _cubic(places, count) if kind == "cubic" else _linear(places, count)
    if sigma > 0:
        rows = rows @ _smoothing(count, sigma)
    small = np.abs(rows) < NEGLIGIBLE
    lost = np.where(small, rows, 0.0).sum(axis=1)
    rows[small] = 0.0
    rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)] += lost
    return csr_matrix(rows.astype(dtype))


def _cubic(places: NDArray, count: int) -> NDArray:
    """(m, count): the cubic spline through the samples, whose ends go on as they are."""
    from scipy.ndimage import spline_filter1d

    known = np.pad(np.eye(count), ((PAD, PAD), (0, 0)), mode="edge")
    coefficients = spline_filter1d(known, 3, axis=0, mode="mirror")
    at = places + PAD
    first = np.floor(at).astype(np.int64)
    t = (at - first)[:, None]
    parts = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)  # the cubic B-spline, times 6
    total = np.zeros((len(places), count))
    for step, weight in enumerate(parts):
        total += weight / 6 * coefficients[first - 1 + step]
    return total


def _linear(places: NDArray, count: int) -> NDArray:
    """(m, count): two neighbours, by distance."""
    total = np.zeros((len(places), count))
    first = np.floor(places).astype(np.int64)
    rows, t = np.arange(len(places)), places - first
    np.add.at(total, (rows, np.clip(first, 0, count - 1)), 1 - t)
    np.add.at(total, (rows, np.clip(first + 1, 0, count - 1)), t)
    return total


def _smoothing(count: int, sigma: float) -> NDArray:
    """(count, count): a Gaussian, cut off at 4 sigma, over samples whose ends go on as they are."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(np.eye(count), sigma, axis=0, mode="nearest", truncate=4.0))
