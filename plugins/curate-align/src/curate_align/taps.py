"""Which input pixels make an output pixel, where two rows of pixels of different length lie over each other.

Positions are edges: pixel ``i`` covers ``i`` to ``i + 1``. Output pixel ``j`` covers ``edge + j * ratio`` to ``edge + (j + 1) * ratio`` of
the input, so that grids of different mips, whose corners and not whose centres coincide, need no half pixels added.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from attrs import frozen

from curate_core import NDArray

Method = Literal["bilinear", "nearest", "area"]
METHODS: tuple[Method, ...] = ("bilinear", "nearest", "area")
_ROUNDING = 1e-6
"""Of a pixel: edges that differ by less are one."""


@frozen(eq=False)
class Taps:
    """Weighted sums of input pixels.

    Attributes:
        pixels: (n, k) int64, ascending from row to row.
        weights: (n, k) float64; they sum to 1, or to 0 where the output pixel lies outside of the input.
    """

    pixels: NDArray
    weights: NDArray

    @property
    def start(self) -> int:
        """The first input pixel that is needed."""
        return int(self.pixels.min())

    @property
    def stop(self) -> int:
        """The pixel after the last."""
        return int(self.pixels.max()) + 1

    def apply(self, values: NDArray, axis: int, first: int = 0) -> NDArray:
        """The sums along an axis.

        Args:
            values: any shape; input pixel ``first`` is the first along ``axis``.

        Returns:
            n along ``axis``; float64 of float64, else float32. A non-finite input pixel reaches the sums in which it has a weight.
        """
        dtype = np.float64 if values.dtype == np.float64 else np.float32
        shape = [1] * values.ndim
        shape[axis] = len(self.pixels)
        finite = values.dtype.kind != "f" or bool(np.isfinite(values).all())
        total: NDArray | None = None
        for pixels, weights in zip(self.pixels.T, self.weights.T, strict=True):
            if not weights.any():
                continue
            weight: Any = weights.astype(dtype).reshape(shape) if (weights != weights[0]).any() else dtype(weights[0])
            part = np.multiply(_along(values, axis, pixels - first), weight, dtype=dtype)
            if not finite:
                part = np.where(weight > 0, part, dtype(0))  # nothing times NaN is nothing
            total = part if total is None else np.add(total, part, out=total)
        if total is None:
            return np.zeros([len(self.pixels) if i == axis else n for i, n in enumerate(values.shape)], dtype)
        return total

    def pick(self, values: NDArray, axis: int, first: int = 0) -> NDArray:
        """The single pixels that ``nearest`` takes, of the type of ``values``; 0 outside."""
        shape = [1] * values.ndim
        shape[axis] = len(self.pixels)
        picked = _along(values, axis, self.pixels[:, 0] - first)
        inside = self.weights[:, 0] > 0
        return picked if inside.all() else np.where(inside.reshape(shape), picked, np.zeros((), values.dtype))


def _along(values: NDArray, axis: int, pixels: NDArray) -> NDArray:
    """Some pixels along an axis; a view where they are evenly apart."""
    steps = np.diff(pixels)
    if len(steps) and steps[0] > 0 and (steps == steps[0]).all():
        key = (slice(None),) * axis + (slice(int(pixels[0]), int(pixels[-1]) + 1, int(steps[0])),)
        view: NDArray = values[key]
        return view
    return values.take(pixels, axis)


def taps(start: int, stop: int, *, ratio: float, edge: float, length: int, method: Method) -> Taps:
    """The taps of some output pixels.

    - ``bilinear``: between the two nearest centres; at the border of the input, its last pixel.
    - ``nearest``: the pixel in which the output pixel begins.
    - ``area``: all that it covers, by the share that is covered; at the border, the part that is there.

    Args:
        start, stop: which output pixels.
        ratio: input pixels that an output pixel covers.
        edge: where output pixel 0 begins, in input pixels.
        length: number of input pixels.
        method: one of the three.
    """
    low = edge + np.arange(start, stop) * ratio
    low = np.where(abs(low - np.rint(low)) < _ROUNDING, np.rint(low), low)
    middle = low + ratio / 2
    if method == "nearest":
        pixels = np.floor(low).astype(np.int64)[:, None]
        weights = ((pixels >= 0) & (pixels < length)).astype(np.float64)
        return Taps(np.clip(pixels, 0, length - 1), weights)
    if method == "bilinear":
        inside = (middle > 0) & (middle < length)
        centre = np.clip(middle - 0.5, 0, length - 1)
        first = np.floor(centre).astype(np.int64)
        share = centre - first
        second = np.where(share > 0, np.minimum(first + 1, length - 1), first)
        weights = np.stack([1 - share, share], axis=1) * inside[:, None]
        return Taps(np.stack([first, second], axis=1), weights)
    high = low + ratio
    first = np.floor(low).astype(np.int64)
    count = int((np.ceil(high - _ROUNDING).astype(np.int64) - first).max(initial=1))
    pixels = first[:, None] + np.arange(count)
    covered = np.minimum(pixels + 1, high[:, None]) - np.maximum(pixels, low[:, None])
    weights = np.where((pixels >= 0) & (pixels < length) & (covered > _ROUNDING), covered, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    nearest = np.clip(first, 0, length - 1)[:, None]
    return Taps(np.where(weights > 0, pixels, nearest), weights)
