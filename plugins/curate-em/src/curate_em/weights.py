"""The weights with which Pillow resizes 8-bit images.

A resize is two passes, along rows and then along columns, each a weighted sum with whole-number weights of 22 bits, rounded and clipped to
8 bits at its end. The formulas are those of ``precompute_coeffs`` and ``normalize_coeffs_8bpc`` in Pillow's ``Resample.c``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from attrs import frozen

from curate_core import NDArray

PRECISION_BITS = 32 - 8 - 2


def _sinc(x: float) -> float:
    return 1.0 if x == 0.0 else math.sin(x * math.pi) / (x * math.pi)


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3.0 <= x < 3.0 else 0.0


def _bilinear(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


FILTERS: dict[str, tuple[Callable[[float], float], float]] = {"lanczos": (_lanczos, 3.0), "bilinear": (_bilinear, 1.0)}


@frozen(eq=False)
class Weights:
    """How each pixel of a resized axis is made of the old ones.

    Attributes:
        first, count: (m,) int64: the old pixels that take part, first one and number.
        values: (m, k) int32: their weights times 2**22, zero from ``count`` on.
    """

    first: NDArray
    count: NDArray
    values: NDArray


@lru_cache(maxsize=64)
def weights(old: int, new: int, kind: str) -> Weights:
    """The weights that take ``old`` pixels to ``new``.

    Args:
        kind: ``lanczos`` or ``bilinear``.
    """
    function, support = FILTERS[kind]
    scale = old / new
    stretch = max(scale, 1.0)
    support *= stretch
    rows, first = [], []
    for i in range(new):
        center = (i + 0.5) * scale
        low = max(int(center - support + 0.5), 0)
        high = min(int(center + support + 0.5), old)
        raw = [function((x + low - center + 0.5) * (1.0 / stretch)) for x in range(high - low)]
        total = 0.0
        for value in raw:  # one by one, as Pillow adds: sum() may compensate rounding
            total += value
        first.append(low)
        rows.append([_fixed(value / total if total != 0.0 else value) for value in raw])
    values = np.zeros((new, max(map(len, rows))), np.int32)
    for i, row in enumerate(rows):
        values[i, : len(row)] = row
    made = Weights(np.array(first, np.int64), np.array([len(row) for row in rows], np.int64), values)
    for array in (made.first, made.count, made.values):
        array.setflags(write=False)
    return made


def _fixed(weight: float) -> int:
    """Rounded to the nearest, halves away from zero."""
    return int(math.copysign(0.5, weight) + weight * (1 << PRECISION_BITS)) if weight else 0
