"""Blocks of two images compared by batched Fourier transforms: shifts below a pixel and how far to trust them."""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen
from scipy import fft  # noqa: TID253 - this module is imported where fields are made

from curate_core import NDArray

_BATCH = 1 << 21
_LEAST_SEEN = 0.25
_LEAST_OVERLAP = 0.25
_NEAR = 2
_SAMPLED = 256
_BLUR = 0.6
"""Pixels, of the Gaussian that images are compared through."""
_LEAST_COHERENT, _MOST_COHERENT = 0.02, 0.95


@frozen
class Shifts:
    """What the blocks around the nodes of a grid tell.

    Attributes:
        shift: (2, ny, nx) float64, along y and x, pixels of the images: ``src`` at a place plus the shift looks like ``tgt`` at the place.
        trust: (ny, nx) float64 from 0 (nothing to be seen, or ambiguous) to 20.
    """

    shift: NDArray
    trust: NDArray


@frozen
class Pair:
    """Two images and the blocks to compare.

    Attributes:
        src, tgt: (2, y, x) float32: the image, 0 where it is not seen, and the share that is seen, from 0 to 1.
        block: even side of a block in pixels.
        reach: the largest shift that is looked for, pixels; at most ``block // 2 - 1``.
    """

    src: NDArray
    tgt: NDArray
    block: int
    reach: int


def shifts_of(pair: Pair, rows: NDArray, columns: NDArray) -> Shifts:
    """The shift of each block, by normalised cross-correlation over the pixels that can be seen.

    Each block is weighted by a Hann window and by what is seen of its pixels, less its weighted mean; so neither its brightness nor its
    contrast matters, and pixels that are not seen do not either. Frequencies count by how alike the two images are there, which some of
    the blocks tell first (``_likeness``). The correlation is divided by that of the windows, which would pull shifts towards zero. The peak
    is refined by a parabola along each axis. Trust is ``c**2 / (1.05 - c**2)`` of the peak ``c``, which is the inverse variance of a shift
    but for a factor, times how far the peak stands above the next one (the peak ratio of particle image velocimetry: Keane and Adrian
    1992, doi 10.1007/BF00384623).

    Args:
        pair: the images.
        rows, columns: (ny,) and (nx,) int64 centres of the blocks; parts of blocks may lie outside.
    """
    every = max(1, math.isqrt(len(rows) * len(columns) // _SAMPLED))
    band = _likeness(pair, *(line[min(every, len(line)) // 2 :: every] for line in (rows, columns)))
    shift, trust = np.zeros((2, len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    step = max(1, _BATCH // (pair.block**2 * len(columns)))
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        spectra, visible = _spectra(pair, rows[some], columns)
        shift[:, some], trust[some] = _compared(pair, spectra, visible, band)
    return Shifts(shift, trust)


def _likeness(pair: Pair, rows: NDArray, columns: NDArray) -> NDArray:
    """How much each frequency is to count: (block, block // 2 + 1) float32, the maximum likelihood weights of Hannan and Thomson.

    That is ``c**2 / (1 - c**2)`` over the power, ``c`` being the coherence of the images (Knapp and Carter 1976, doi
    10.1109/TASSP.1976.1162830): frequencies where noise prevails do not count, the others count alike. The coherence is measured over
    rings of frequencies, once each block is shifted back by what its gradients say. A Gaussian makes the peak as wide as a parabola needs.
    """
    band = _gradients(pair.block)
    spectra, visible = _spectra(pair, rows, columns)
    shift, trust = _compared(pair, spectra, visible, band)
    if not trust.any():
        return band
    y, x = fft.fftfreq(pair.block)[:, None], fft.rfftfreq(pair.block)
    turn = np.exp(2j * np.pi * (shift[0, :, :, None, None] * y + shift[1, :, :, None, None] * x)).astype(np.complex64)
    share = (trust / trust.sum())[..., None, None].astype(np.float32)
    shared = (spectra[0] * np.conj(spectra[1]) * turn * share).real.sum(axis=(0, 1), dtype=np.float64)
    power = [((s.real**2 + s.imag**2) * share).sum(axis=(0, 1), dtype=np.float64) for s in spectra]
    ring = np.rint(np.hypot(y, x) * pair.block).astype(np.int64)
    shared, one, two = (np.bincount(ring.ravel(), values.ravel()) for values in (shared, *power))
    both = np.sqrt(one * two)
    coherent = np.clip(np.divide(shared, both, out=np.zeros_like(both), where=both > 0), _LEAST_COHERENT, _MOST_COHERENT) ** 2
    weight = coherent / (1 - coherent) / np.maximum(both, 1e-9 * both.max())
    weight[0] = 0
    weight = weight * np.exp(-((2 * np.pi * _BLUR * np.arange(len(weight)) / pair.block) ** 2))
    return (weight / weight.max())[ring].astype(np.float32)


def _spectra(pair: Pair, rows: NDArray, columns: NDArray) -> tuple[list[NDArray], NDArray]:
    """Spectra of the blocks of ``src`` and ``tgt``, (ny, nx, block, block // 2 + 1) complex64, and where enough is seen of both, bool."""
    window = np.outer(_hann(pair.block), _hann(pair.block))
    around = np.arange(pair.block)[:, None] - pair.block // 2
    spectra, seen = [], np.ones((len(rows), len(columns)), bool)
    for image in (pair.src, pair.tgt):
        inside = [(rows + around, image.shape[1]), (columns + around, image.shape[2])]
        weights = _cut(image[1], inside) * window
        values = _cut(image[0], inside)
        total = weights.sum(axis=(2, 3), keepdims=True)
        values -= (values * weights).sum(axis=(2, 3), keepdims=True) / np.maximum(total, 1e-6)
        values *= weights
        seen &= total[..., 0, 0] >= _LEAST_SEEN * window.sum()
        spectra.append(fft.rfft2(values, workers=1))
    return spectra, seen


def _compared(pair: Pair, spectra: list[NDArray], visible: NDArray, band: NDArray) -> tuple[NDArray, NDArray]:
    """(2, ny, nx) shifts and (ny, nx) trust of blocks, their frequencies weighted by ``band``."""
    cross = spectra[0] * np.conj(spectra[1])
    cross *= band
    places = np.arange(-pair.reach, pair.reach + 1)
    correlation = fft.irfft2(cross, s=(pair.block, pair.block), workers=1)[..., places[:, None], places]
    norm = np.sqrt(_energy(spectra[0], band) * _energy(spectra[1], band))
    correlation *= (pair.block**2 / np.maximum(norm, 1e-12))[..., None, None]
    correlation /= _overlap(pair.block, pair.reach)
    shift, trust = _peaks(correlation)
    return shift, np.where(visible & (norm > 1e-9 * norm.max(initial=0)), trust, 0)


def _hann(block: int) -> NDArray:
    """A periodic Hann window, float32, whose middle is pixel ``block // 2``."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(block) / block)).astype(np.float32)


def _gradients(block: int) -> NDArray:
    """(block, block // 2 + 1) float32: the squared gain of a gradient behind a Gaussian."""
    y, x = fft.fftfreq(block)[:, None], fft.rfftfreq(block)
    gradient = np.sin(np.pi * y) ** 2 + np.sin(np.pi * x) ** 2
    gaussian = np.exp(-((2 * np.pi * _BLUR) ** 2) * (y**2 + x**2))
    return (gradient * gaussian).astype(np.float32)


def _overlap(block: int, reach: int) -> NDArray:
    """(2 reach + 1, 2 reach + 1) float32: how much of the two windows meets at each shift, 1 without one."""
    line = fft.irfft(np.abs(fft.rfft(_hann(block))) ** 2, n=block)[np.arange(-reach, reach + 1)]
    meets = np.outer(line, line) / line[reach] ** 2
    return np.maximum(meets, _LEAST_OVERLAP).astype(np.float32)


def _cut(plane: NDArray, inside: list[tuple[NDArray, int]]) -> NDArray:
    """(ny, nx, block, block) float32 copies, 0 outside of the plane.

    ``inside`` holds the rows, (block, ny), and the columns, (block, nx), each with the plane's size.
    """
    (rows, height), (columns, width) = inside
    block, ny = rows.shape
    nx = columns.shape[1]
    cut = plane.take(np.clip(rows.T.ravel(), 0, height - 1), axis=0)
    cut[(rows.T.ravel() < 0) | (rows.T.ravel() >= height)] = 0
    cut = cut.take(np.clip(columns.T.ravel(), 0, width - 1), axis=1)
    cut[:, (columns.T.ravel() < 0) | (columns.T.ravel() >= width)] = 0
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
    trust = np.where(inside, height**2 / (1.05 - height**2) * np.clip(1 - np.maximum(others, 0) / height, 0, 1), 0)
    return np.reshape(found, (2, ny, nx)), trust.reshape(ny, nx)
