"""Blocks of two images compared by batched Fourier transforms: shifts below a pixel and how far to trust them."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from scipy import fft  # noqa: TID253 - this module is imported where fields are made

from curate_core.arrays import NDArray

_BATCH = 1 << 21
_LEAST_SEEN = 0.25
_LEAST_OVERLAP = 0.25
_NEAR = 2


@frozen
class Shifts:
    """What the blocks around the nodes of a grid tell.

    Attributes:
        shift: (2, ny, nx) float64, along y and x, pixels of the images: ``src`` at a place plus the shift looks like ``tgt`` at the place.
        trust: (ny, nx) float64 from 0 (nothing to be seen, or ambiguous) to 1.
    """

    shift: NDArray
    trust: NDArray


def shifts_of(src: NDArray, tgt: NDArray, rows: NDArray, columns: NDArray, block: int, reach: int) -> Shifts:
    """The shift of each block, by normalised cross-correlation over the pixels that can be seen.

    Each block is weighted by a Hann window and by what is seen of its pixels, less its weighted mean; so neither its brightness nor its
    contrast matters, and pixels that are not seen do not either. Their cross-spectrum is filtered by a band-pass, that is their gradients
    are compared, without the finest noise: the correlation of smooth images would have no sharp peak. The correlation is divided by that of
    the windows, which would pull shifts towards zero. The peak is refined by a parabola along each axis. Trust is the square of the peak,
    times how far it stands above the next one (the peak ratio of particle image velocimetry: Keane and Adrian 1992, doi 10.1007/BF00384623).

    Args:
        src, tgt: (2, y, x) float32: the image, 0 where it is not seen, and the share that is seen, from 0 to 1.
        rows, columns: (ny,) and (nx,) int64 centres of the blocks; parts of blocks may lie outside.
        block: even side of a block in pixels.
        reach: the largest shift that is looked for, pixels; at most ``block // 2 - 1``.
    """
    around = np.arange(block) - block // 2
    low = int(min(rows[0], columns[0], 0)) - block // 2
    margin = -low
    high = [max(0, int(last[-1]) + block // 2 - size) for last, size in zip((rows, columns), src.shape[1:], strict=True)]
    padded = [np.pad(image, ((0, 0), (margin, high[0]), (margin, high[1]))) for image in (src, tgt)]
    window = np.outer(_hann(block), _hann(block))
    band = _band(block)
    overlap = _overlap(window, reach)
    shift, trust = np.zeros((2, len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    step = max(1, _BATCH // (block * block * len(columns)))
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        spectra, seen, energy = [], [], []
        for image in padded:
            values, weights = (_cut(plane, rows[some] + around[:, None] + margin, columns + around[:, None] + margin) for plane in image)
            weights *= window
            total = weights.sum(axis=(2, 3), keepdims=True)
            mean = (values * weights).sum(axis=(2, 3), keepdims=True) / np.maximum(total, 1e-6)
            values -= mean
            values *= weights
            spectrum = fft.rfft2(values, workers=1)
            spectra.append(spectrum)
            seen.append(total[..., 0, 0] / window.sum())
            energy.append(_energy(spectrum, band))
        cross = np.conj(spectra[1], out=spectra[1])
        cross *= spectra[0]
        cross *= band
        correlation = fft.irfft2(cross, s=(block, block), workers=1)
        places = np.arange(-reach, reach + 1)
        correlation = correlation[..., places[:, None], places]
        # Blocks without contrast keep a correlation of nearly nothing.
        norm = np.sqrt(energy[0] * energy[1])
        correlation *= (block * block / np.maximum(norm, 1e-12))[..., None, None] / overlap
        visible = (np.minimum(*seen) >= _LEAST_SEEN) & (norm > 1e-6 * norm.max(initial=0))
        shift[:, some], found = _peaks(correlation)
        trust[some] = np.where(visible, found, 0)
    return Shifts(shift, trust)


def _hann(block: int) -> NDArray:
    """A periodic Hann window, float32, whose middle is pixel ``block // 2``."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(block) / block)).astype(np.float32)


def _band(block: int) -> NDArray:
    """(block, block // 2 + 1) float32: the squared gain of a gradient behind a Gaussian of 0.7 pixels."""
    y, x = fft.fftfreq(block)[:, None], fft.rfftfreq(block)
    gradient = np.sin(np.pi * y) ** 2 + np.sin(np.pi * x) ** 2
    gaussian = np.exp(-((2 * np.pi * 0.7) ** 2) * (y**2 + x**2))
    return (gradient * gaussian).astype(np.float32)


def _overlap(window: NDArray, reach: int) -> NDArray:
    """(2 reach + 1, 2 reach + 1) float32: how much of the two windows meets at each shift, 1 without one."""
    spectrum = fft.rfft2(window)
    meets = fft.irfft2(np.abs(spectrum) ** 2, s=window.shape)
    places = np.arange(-reach, reach + 1)
    return np.maximum(meets[places[:, None], places] / meets[0, 0], _LEAST_OVERLAP).astype(np.float32)


def _cut(plane: NDArray, rows: NDArray, columns: NDArray) -> NDArray:
    """(ny, nx, block, block) float32 copies: ``rows`` is (block, ny), ``columns`` (block, nx)."""
    block, ny = rows.shape
    nx = columns.shape[1]
    cut = plane.take(rows.T.ravel(), axis=0).take(columns.T.ravel(), axis=1)
    return np.ascontiguousarray(cut.reshape(ny, block, nx, block).transpose(0, 2, 1, 3))


def _energy(spectrum: NDArray, band: NDArray) -> NDArray:
    """(ny, nx) float64: block**2 times the filtered block's sum of squares, by Parseval's theorem on half a spectrum of an even side."""
    power = (spectrum.real**2 + spectrum.imag**2) * band
    columns = power.sum(axis=2, dtype=np.float64)
    return np.asarray(2 * columns.sum(axis=-1) - columns[..., 0] - columns[..., -1])


def _peaks(correlation: NDArray) -> tuple[NDArray, NDArray]:
    """The highest place of each correlation, refined: (2, ny, nx) shifts and (ny, nx) trust; none for peaks at the edge of the search."""
    ny, nx, side, _ = correlation.shape
    reach = side // 2
    flat = correlation.reshape(ny * nx, side * side)
    best = flat.argmax(axis=1)
    rows, columns = np.divmod(best, side)
    every = np.arange(len(flat))
    height = flat[every, best].astype(np.float64)
    inside = (rows > 0) & (rows < side - 1) & (columns > 0) & (columns < side - 1)
    y, x = np.clip(rows, 1, side - 2), np.clip(columns, 1, side - 2)
    middle = y * side + x
    found = []
    for place, stride in ((y, side), (x, 1)):
        before, at, after = (flat[every, middle + k * stride].astype(np.float64) for k in (-1, 0, 1))
        curve = before - 2 * at + after
        part = np.where(curve < 0, 0.5 * (before - after) / np.where(curve < 0, curve, 1), 0)
        found.append(place - reach + np.clip(part, -0.5, 0.5))
    line = np.arange(side)
    near = (np.abs(line - rows[:, None]) <= _NEAR)[:, :, None] & (np.abs(line - columns[:, None]) <= _NEAR)[:, None, :]
    others = np.where(near, -1, correlation.reshape(ny * nx, side, side)).max(axis=(1, 2))
    height = np.clip(height, 1e-6, 1)
    trust = np.where(inside, height**2 * np.clip(1 - np.maximum(others, 0) / height, 0, 1), 0)
    return np.reshape(found, (2, ny, nx)), trust.reshape(ny, nx)
