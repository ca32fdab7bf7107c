"""Greedy pruning of boxes that overlap: in a given order each box that is left removes all that overlap it too much.

Boxes of one size are marked off in a volume of truth values, one for each place that a box may have; a box that is kept clears its
neighbourhood there. So the work is that of looking up each candidate once and of clearing for each one kept, never of comparing pairs.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from curate_core import NDArray

MAX_PLACES = 1 << 30
"""Places of a volume to clear in; sparse boxes in a larger one are compared one with another."""


def reach(size: NDArray, max_overlap: float) -> NDArray:
    """Along each axis the greatest whole distance that is less than (1 - max_overlap) * size; exact, as the decimal number is written."""
    share = 1 - Fraction(repr(max_overlap))
    return np.array([math.ceil(share * int(n)) - 1 for n in size.ravel()], np.int64).reshape(size.shape)


def prune(start: NDArray, size: NDArray, order: NDArray, max_overlap: float, limit: int | None = None, fixed: int = 0) -> NDArray:
    """Which boxes stay.

    A box that stays removes every later one whose centre is nearer than (1 - max_overlap) * size, its own size, along every axis at once.

    Args:
        start, size: (n, d) int64, voxels.
        order: (n,) permutation: who comes first.
        max_overlap: 0 to 1; share of the size along an axis.
        limit: so many stay at most; None: any number.
        fixed: so many first ones of the order stay whatever lies near them.

    Returns:
        (n,) bool.
    """
    keep = np.zeros(len(start), bool)
    if not len(start) or not start.shape[1]:
        keep[order[: 1 if limit is None else limit]] = True
        return keep
    room = len(start) if limit is None else max(limit, fixed)
    if (size == size[0]).all():
        low = start.min(axis=0)
        step = np.maximum(np.gcd.reduce(start - low, axis=0), 1)  # places on a lattice: its voxels alone are marked
        places = (start - low) // step
        shape = places.max(axis=0) + 1
        if math.prod(shape.tolist()) <= MAX_PLACES:
            _clear(places, shape, reach(size[0], max_overlap) // step, order, room, fixed, keep)
            return keep
    _compare(2 * start + size, size, order, max_overlap, room, fixed, keep)
    return keep


def _clear(places: NDArray, shape: NDArray, near: NDArray, order: NDArray, room: int, fixed: int, keep: NDArray) -> None:
    """Boxes of one size; ``near`` is how far each clears, in places. Looks up candidates by the thousand, more as fewer are left."""
    free = np.ones(shape.tolist(), bool)
    flat = free.reshape(-1)
    index = np.ravel_multi_index(tuple(places[order].T), tuple(shape.tolist()))
    kept, first, count = 0, 0, 64
    while first < len(order) and kept < room:
        part = slice(first, first + count)
        left = np.flatnonzero(flat[index[part]] | (np.arange(first, min(first + count, len(order))) < fixed)) + first
        for position in left.tolist():
            if kept == room:
                break
            if not flat[index[position]] and position >= fixed:
                continue  # one of this very part has cleared it
            candidate = order[position]
            keep[candidate] = True
            kept += 1
            corner = np.maximum(places[candidate] - near, 0).tolist()
            end = (places[candidate] + near + 1).tolist()
            free[tuple(slice(a, b) for a, b in zip(corner, end, strict=True))] = False
        first += count
        count = min(2 * count, 1 << 18) if len(left) < count // 2 else count


def _compare(centers: NDArray, size: NDArray, order: NDArray, max_overlap: float, room: int, fixed: int, keep: NDArray) -> None:
    """Boxes of several sizes, or far apart: each that stays is compared with all that are left. ``centers`` are doubled."""
    share = 1 - Fraction(repr(max_overlap))
    left, kept = order, 0
    while len(left) and kept < room:
        chosen = left[0]
        keep[chosen] = True
        kept += 1
        bound = np.array([math.ceil(2 * share * int(n)) for n in size[chosen]], np.int64)
        fixed_left = max(0, fixed - kept)
        near = (np.abs(centers[left] - centers[chosen]) < bound).all(axis=1)
        near[0] = True
        near[1 : 1 + fixed_left] = False
        left = left[~near]
