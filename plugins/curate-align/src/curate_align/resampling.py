"""Planes brought from one mip to another.

Both grids cover the same extent, so the centre of output pixel ``i`` lies at ``(i + 0.5) * n_in / n_out - 0.5`` of the input's pixels
(half-pixel centres; ``align_corners=False`` of ``torch.nn.functional.interpolate``). Every method is a weighted sum of a few input pixels,
its taps, which are the same for all rows and, along the other axis, for all columns.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from curate_align.taps import METHODS, Method, taps
from curate_core import NDArray


def resample(values: NDArray, shape: tuple[int, int], method: Method, weights: NDArray | None = None) -> NDArray:
    """Bring planes to another number of pixels over the same extent.

    - ``bilinear``: the line between the two nearest pixel centres; going down, the pixels between are passed over, without anti-aliasing.
    - ``nearest``: the pixel ``floor(i * n_in / n_out)``; keeps the type, so it is the one for labels.
    - ``area``: the mean over the part of the input that an output pixel covers, where border pixels count by the share that is covered.
      Non-finite pixels do not count, nor do those of weight 0; where nothing counts, the mean is NaN.

    Args:
        values: (..., y, x) numbers or bools; not changed.
        shape: of the output's last two axes, (y, x).
        method: one of the three.
        weights: (y, x) or (..., y, x), not negative: how much each input pixel counts; for ``area`` only.

    Returns:
        (..., y, x): float32; for ``nearest``, the type of ``values``.

    Raises:
        ValueError: a method that does not exist, weights for a method without means, or an axis without pixels.
    """
    if method not in METHODS:
        message = f"{method!r} is no way to resample; expected one of {', '.join(METHODS)}"
        raise ValueError(message)
    if weights is not None and method != "area":
        message = f"weights are for area, not for {method}"
        raise ValueError(message)
    values = np.asarray(values)
    if 0 in (*values.shape[-2:], *shape):
        message = f"cannot bring planes of shape {values.shape[-2:]} to {tuple(shape)}: an axis without pixels has no extent"
        raise ValueError(message)
    if method == "nearest":
        rows, columns = (np.arange(new) * old // new for old, new in zip(values.shape[-2:], shape, strict=True))
        return values[..., rows[:, None], columns]
    if method == "bilinear":
        return _weighted(values.astype(np.float32, copy=False), shape, "bilinear")
    return _mean(values, shape, weights)


def shape_at(shape: tuple[int, int], from_mip: int, to_mip: int) -> tuple[int, int]:
    """The (y, x) shape at ``to_mip`` of a plane that has ``shape`` at ``from_mip``: the size divided, rounded down, at least 1."""
    rows, columns = (int(max(1, np.floor(size * 2.0 ** (from_mip - to_mip)))) for size in shape)
    return rows, columns


def _mean(values: NDArray, shape: tuple[int, int], weights: NDArray | None) -> NDArray:
    """Weighted means over the covered area; float32, summed in float64."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if weights is None and finite.all():
        return _weighted(values, shape, "area").astype(np.float32)
    share = finite * (1.0 if weights is None else np.asarray(weights, np.float64))
    total = _weighted(np.where(share > 0, values, 0) * share, shape, "area")
    counted = _weighted(share, shape, "area")
    means = np.full(total.shape, np.nan)
    np.divide(total, counted, out=means, where=counted > 0)
    return means.astype(np.float32)


def _weighted(values: NDArray, shape: tuple[int, int], method: Literal["bilinear", "area"]) -> NDArray:
    """Sums of taps along both axes, in the type of ``values``; the axis that shrinks more goes first, which is less work."""
    order = sorted((-2, -1), key=lambda axis: shape[axis] / values.shape[axis])
    for axis in order:
        old, new = values.shape[axis], shape[axis]
        if old != new:
            values = taps(0, new, ratio=old / new, edge=0.0, length=old, method=method).apply(values, values.ndim + axis)
    return values
