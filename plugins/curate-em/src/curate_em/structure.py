"""The filter of blank and noisy patches: gradients of structure have a direction, those of noise have none.

The measure is that of X. Zhu and P. Milanfar, "Automatic parameter selection for denoising algorithms using a no-reference measure of
image content", IEEE Transactions on Image Processing 19(12), 2010: in a window of N x N pixels, the singular values s1 >= s2 of the N^2 x 2
matrix of gradients give the coherence R = (s1 - s2) / (s1 + s2). For white noise, whose gradients count as independent, R exceeds tau with
the probability ((1 - tau^2) / (1 + tau^2))^(N^2 - 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core import Batch, Context, Features, Filter, NDArray, StepError, Verdict, option


@frozen
class Structure(Filter):
    """Drops blank and noisy patches, in which too few places have a direction.

    A patch is reduced by each of ``scales`` (means of that many pixels a side: noise that neighbours share becomes noise of its own, and
    weaker) and covered with windows that overlap by half. A window counts when its gradients point along one line more than those of
    noise would by chance, and are not tiny. The score is the share of such windows, the largest over the scales. Smooth shading, constant
    areas, noise and the blocks of JPEG in blank areas have next to none; membranes have many, also under noise that is stronger than they.

    Example::

        "filter": [{"use": "structure", "min_share": 0.1}]
    """

    version: ClassVar[int] = 1
    min_share: float = option(doc="Least share of windows with a direction.", default=0.1, ge=0, le=1)
    scales: tuple[int, ...] = option(doc="Pixels a side that are averaged into one; 1: none.", default=(2, 4), ge=1, min_length=1)
    window: int = option(doc="Reduced pixels of a window along each side, an even number.", default=8, ge=4, le=64)
    chance: float = option(doc="Probability that a window of white noise counts.", default=0.001, gt=0, lt=1)
    min_gradient: float = option(
        doc="Least root mean square of a window's gradient along its direction, in values a reduced pixel; the default suits bytes.",
        default=1.5,
        ge=0,
    )
    array: str | None = option(doc="Array to look at; null: the only one.", default=None)

    def __attrs_post_init__(self) -> None:
        if self.window % 2:
            message = f"window: {self.window} is odd, windows overlap by half"
            raise ValueError(message)

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        values = _patches(batch.array(self.array), batch)
        scales = [scale for scale in self.scales if min(values.shape[1:]) // scale >= self.window + 2]
        if not scales:
            message = f"patches of {values.shape[1]} x {values.shape[2]} pixels hold no window, expected {self._least()} or more"
            raise StepError(message, where=f"case {batch.case.id}", hint='lower "window" or "scales", or drop short patches ("edge")')
        shares = [[self._share(patch, scale) for scale in scales] for patch in values]
        return {"share": np.max(np.array(shares, np.float64), axis=1)}

    def keep(self, features: Features, context: Context) -> Verdict:
        shares = features.columns["share"]
        return Verdict(shares >= self.min_share, shares)

    def _least(self) -> int:
        return (self.window + 2) * min(self.scales)

    def _share(self, patch: NDArray, scale: int) -> float:
        """Share of windows whose gradients have a direction; sums of integers stay integers, so that they are exact."""
        xx, yy, xy = (_windows(product, self.window) for product in _products(_reduced(patch, scale)))
        trace, root = (xx + yy).astype(np.float64), np.sqrt((xx - yy).astype(np.float64) ** 2 + 4.0 * xy.astype(np.float64) ** 2)
        first, second = np.sqrt((trace + root) / 2), np.sqrt(np.maximum(trace - root, 0) / 2)
        directed = first - second > coherence_of(self.chance, self.window) * (first + second)
        strong = first / self.window >= self.min_gradient * 2 * scale**2  # differences of sums over two pixels, not slopes of means
        return float(np.count_nonzero(directed & strong) / directed.size)


def coherence_of(chance: float, window: int) -> float:
    """The coherence that a window of white noise exceeds with a given probability."""
    root = chance ** (1 / (window * window - 1))
    return math.sqrt((1 - root) / (1 + root))


def _patches(values: NDArray, batch: Batch) -> NDArray:
    """(n, h, w): grey images, an axis of length one left out; integers of 64 bits where sums of them are exact, else float64.

    Raises:
        StepError: the samples are something else.
    """
    shape = values.shape[1:]
    if len(shape) == 3 and 1 in (shape[0], shape[-1]):
        values = values[:, 0] if shape[0] == 1 else values[..., 0]
    if values.ndim != 3 or values.dtype.kind not in "biuf":
        message = f"structure looks at grey 2D samples, these are {values.dtype} of shape {shape}"
        raise StepError(message, where=f"case {batch.case.id}", hint="cut sections, for example with em-sections")
    return values.astype(np.int64 if values.dtype.kind in "biu" and values.dtype.itemsize <= 2 else np.float64)


def _reduced(patch: NDArray, scale: int) -> NDArray:
    """Sums over squares of ``scale`` pixels a side; a remainder is left out."""
    rows, columns = (n // scale for n in patch.shape)
    squares: NDArray = patch[: rows * scale, : columns * scale].reshape(rows, scale, columns, scale).sum(axis=(1, 3))
    return squares


def _products(image: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Products of central differences: x x, y y, x y; a pixel is lost at each side."""
    x = image[1:-1, 2:] - image[1:-1, :-2]
    y = image[2:, 1:-1] - image[:-2, 1:-1]
    return x * x, y * y, x * y


def _windows(values: NDArray, window: int) -> NDArray:
    """Sums over windows that overlap by half."""
    half = window // 2
    blocks = _reduced(values, half)
    pairs = blocks[1:] + blocks[:-1]
    return np.asarray(pairs[:, 1:] + pairs[:, :-1])
