"""Random-phase speckle: the pattern that coherent light leaves (Goodman, Speckle Phenomena in Optics, appendix G)."""

from __future__ import annotations

import numpy as np

from curate_core import NDArray


def speckle(rng: np.random.Generator, shape: tuple[int, int], size: float, photons: float) -> NDArray:
    """Photons counted in a fully developed speckle pattern.

    The intensity is |FFT|^2 of unit phasors of random phase that fill 1 / ``size`` of each axis; photons fall where it is bright.

    Args:
        shape: (rows, columns).
        size: of a speckle, pixels.
        photons: mean number a pixel; their sum is exactly ``round(photons * pixels)``.

    Returns:
        (rows, columns) float64 counts.
    """
    field = np.zeros(shape, np.complex128)
    filled = tuple(max(1, round(n / size)) for n in shape)
    field[: filled[0], : filled[1]] = np.exp(2j * np.pi * rng.random(filled))
    intensity = np.abs(np.fft.fft2(field)) ** 2
    share = (intensity / intensity.sum()).ravel()
    counts = rng.multinomial(round(photons * share.size), share / share.sum())
    return counts.reshape(shape).astype(np.float64)
