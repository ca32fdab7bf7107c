"""Images made comparable by the statistics of a reference region."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from curate_core import NDArray, StepError


@frozen
class Statistics:
    """What a reference region tells.

    Attributes:
        mean: of the pixels that count, in the image's unit.
        std: their standard deviation (n - 1), in the same unit; 1 where they do not vary.
        count: how many they are.
    """

    mean: float
    std: float
    count: int


def measure(reference: NDArray, masked: NDArray | None = None, *, where: str = "") -> Statistics:
    """Mean and standard deviation over the pixels that count: unmasked, not black (0), finite. In float64.

    Args:
        reference: (y, x) numbers, the reference region.
        masked: (y, x) bool, True where the region is masked; None: nowhere.
        where: what it is about, for the error.

    Raises:
        StepError: no pixel counts.
    """
    counts = _seen(reference, masked)
    if not counts.any():
        hidden = counts.size if masked is None else int(np.count_nonzero(masked))
        reason = "wholly masked" if masked is not None and hidden == counts.size else "masked, black or non-finite throughout"
        message = f"the reference region, {' x '.join(map(str, counts.shape))} pixels, is {reason}, so the image cannot be normalised"
        raise StepError(message, where=where, hint="leave this place out, or give the image a larger reference region")
    pixels = reference[counts].astype(np.float64)
    flat = bool((pixels == pixels[0]).all())  # rounding may give equal pixels a variance
    std = 1.0 if flat else float(pixels.std(ddof=1))
    return Statistics(mean=float(pixels.mean()), std=std, count=int(pixels.size))


def normalize(image: NDArray, masked: NDArray | None, statistics: Statistics) -> NDArray:
    """``(image - mean) / std``; masked, black (0) and non-finite pixels become 0.

    Args:
        image: (y, x) numbers.
        masked: (y, x) bool, True where the image is masked; None: nowhere.
        statistics: of its reference region.

    Returns:
        (y, x) float32, finite.
    """
    seen = _seen(image, masked)
    out = np.zeros(image.shape, np.float32)
    out[seen] = (image[seen].astype(np.float64) - statistics.mean) / statistics.std
    return out


def _seen(image: NDArray, masked: NDArray | None) -> NDArray:
    """Bool: pixels that are unmasked, not black and finite."""
    seen = np.isfinite(image) & (image != 0)
    return seen if masked is None else seen & ~np.asarray(masked, bool)
