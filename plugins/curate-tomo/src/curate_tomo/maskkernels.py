"""The two halves of the stripe detector of Larix, on planes (angle, column) of one detector row each.

Formulas after ``STRIPES_DETECT`` and ``STRIPES_MERGE`` of Larix. An index that leaves the array is mirrored at the element that it is
counted from: i + o becomes i - o; where that leaves it as well, the border's element stands.
"""

from __future__ import annotations

import numpy as np

from curate_core import NDArray
from curate_tomo.compiled import compiled


@compiled
def mirrored(i: int, o: int, n: int) -> int:
    """Where index i + o of n lies."""
    if 0 <= i + o < n:
        return i + o
    if 0 <= i - o < n:
        return i - o
    return 0 if i + o < 0 else n - 1


@compiled
def _fill_steps(plane: NDArray, out: NDArray) -> None:
    angles, columns = plane.shape
    for a in range(angles):
        for c in range(columns):
            out[a, c] = abs(plane[a, mirrored(c, 2, columns)] - plane[a, c])


@compiled
def _fill_likeness(total: NDArray, near: NDArray, radius: int, out: NDArray) -> None:
    angles, columns = total.shape
    side = 2 * radius + 1
    plate = np.empty(columns)
    for a in range(angles):
        plate[:] = 0.0
        for o in range(-radius, radius + 1):
            b = mirrored(a, o, angles)
            for c in range(columns):
                plate[c] += total[b, c]
        for c in range(columns):
            right = left = 0.0
            for o in range(1, radius + 1):
                right += near[a, mirrored(c, o, columns)]
                left += near[a, mirrored(c, -o, columns)]
            middle = plate[c] / (side * side)
            right, left = right / (3 * radius), left / (3 * radius)
            high, low = max(middle, right), min(middle, right)
            one = low / high if high > 0.0 else 0.0
            high, low = max(middle, left), min(middle, left)
            other = low / high if high > 0.0 else 0.0
            out[a, c] = min(one, other)


@compiled
def _fill_ranked(plane: NDArray, size: int, out: NDArray) -> None:
    """A window's ordered values are kept as counts by rank; from one angle to the next four of them change at most."""
    angles, columns = plane.shape
    signal, ranks, counts = np.empty(angles, plane.dtype), np.empty(angles, np.int64), np.empty(angles, np.int64)
    wanted = size - 1
    slides = angles > 2 * size
    for c in range(columns):
        for a in range(angles):
            signal[a] = plane[a, c]
        order = np.argsort(signal)
        for position in range(angles):
            ranks[order[position]] = position
        at = below = 0
        for a in range(angles):
            if a == 0 or not slides:
                counts[:] = 0
                for o in range(-size, size + 1):
                    counts[ranks[mirrored(a, o, angles)]] += 1
                at = below = 0
            else:
                i = a - 1  # the window of i becomes that of i + 1; where it is mirrored, elements stand twice in it
                if i < size:
                    gone1, gone2, new1, new2 = 2 * i + 1, 2 * i + 2, i + 1 + size, i + 1 + size
                elif i + 1 + size < angles:
                    gone1, gone2, new1, new2 = i - size, -1, i + 1 + size, -1
                else:
                    d = angles - 1 - i
                    gone1, gone2, new1, new2 = i - size, i - size, i - d, i - d + 1
                for index in (gone1, gone2):
                    if index >= 0:
                        counts[ranks[index]] -= 1
                        if ranks[index] < at:
                            below -= 1
                for index in (new1, new2):
                    if index >= 0:
                        counts[ranks[index]] += 1
                        if ranks[index] < at:
                            below += 1
            while below > wanted:
                at -= 1
                below -= counts[at]
            while below + counts[at] <= wanted:
                below += counts[at]
                at += 1
            out[a, c] = signal[order[at]]


def steps(plane: NDArray) -> NDArray:
    """|x[i + 2] - x[i]| along columns: (angle, column) float32."""
    out = np.empty(plane.shape, np.float32)
    _fill_steps(np.ascontiguousarray(plane, np.float32), out)
    return out


def likeness(around: list[NDArray], near: list[NDArray], size: int, radius: int) -> NDArray:
    """How alike a voxel's neighbourhood is to both of its sides; small at the edges of stripes.

    Args:
        around: steps of 2 * radius + 1 rows, the row's own in the middle.
        near: steps of the row and those beside it.
        size: angles on each side among which the ``size``-th smallest value is taken.
        radius: columns and angles on each side that count.

    Returns:
        (angle, column) float32, from 0 to 1.
    """
    raw = np.empty(around[0].shape, np.float32)
    _fill_likeness(_total(around), _total(near), radius, raw)
    return ranked(raw, size)


def ranked(plane: NDArray, size: int) -> NDArray:
    """The ``size``-th smallest of the 2 * size + 1 values around each one along angles; (angle, column), of the plane's type."""
    out = np.empty_like(plane)
    _fill_ranked(plane, size, out)
    return out


def _total(planes: list[NDArray]) -> NDArray:
    total = planes[0].astype(np.float64)
    for plane in planes[1:]:
        total += plane
    return total


@compiled
def _ahead(sums: NDArray, i: int, reach: int) -> int:
    """How many of the elements i + 1 ... i + reach are set, mirrored where they leave the array.

    Args:
        sums: (n + 1,) how many are set before each index.
    """
    n = len(sums) - 1
    left = n - 1 - i
    found = sums[min(n, i + reach + 1)] - sums[i + 1]
    if min(reach, i) > left:
        found += sums[i - left] - sums[i - min(reach, i)]
    if reach > max(left, i):
        found += (reach - max(left, i)) * (sums[n] - sums[n - 1])
    return found


@compiled
def _behind(sums: NDArray, i: int, reach: int) -> int:
    """The same of i - 1 ... i - reach."""
    n = len(sums) - 1
    left = n - 1 - i
    found = sums[i] - sums[max(0, i - reach)]
    if min(reach, left) > i:
        found += sums[i + min(reach, left) + 1] - sums[2 * i + 1]
    if reach > max(left, i):
        found += (reach - max(left, i)) * sums[1]
    return found


@compiled
def _sums_along_angles(mask: NDArray) -> NDArray:
    """(column, angle + 1) counts of the masked ones before each angle."""
    angles, columns = mask.shape
    sums = np.zeros((columns, angles + 1), np.int32)
    for c in range(columns):
        for a in range(angles):
            sums[c, a + 1] = sums[c, a] + mask[a, c]
    return sums


@compiled
def _fill_long(mask: NDArray, half: int, least: float, out: NDArray) -> None:
    """Whether a masked voxel has ``least`` such ones among the angles around it, itself included."""
    angles, columns = mask.shape
    sums = _sums_along_angles(mask)
    for a in range(angles):
        for c in range(columns):
            out[a, c] = mask[a, c] and 1 + _ahead(sums[c], a, half) + _behind(sums[c], a, half) >= least


@compiled
def _grow_once(mask: NDArray, across: int, along: int, out: NDArray) -> bool:
    """Set what lies between set ones, as they were before; returns whether there was any."""
    angles, columns = mask.shape
    lengthwise = _sums_along_angles(mask)
    beside = np.zeros(columns + 1, np.int32)
    changed = False
    for a in range(angles):
        for c in range(columns):
            beside[c + 1] = beside[c] + mask[a, c]
        for c in range(columns):
            grows = not mask[a, c] and (
                (_behind(beside, c, across) > 0 and _ahead(beside, c, across) > 0)
                or (_behind(lengthwise[c], a, along) > 0 and _ahead(lengthwise[c], a, along) > 0)
            )
            out[a, c] = mask[a, c] or grows
            changed |= grows
    return changed


def merged(mask: NDArray, rows: NDArray, length: int, depth: int, width: int, sensitivity: float) -> NDArray:
    """Stripes of one row: what is long enough, and no edge of the sample, with gaps filled.

    Args:
        mask: (angle, column) bool: small likeness.
        rows: (angle, column) count of such voxels among the rows around, depth // 2 on each side.
        length: angles that a stripe is to be long.
        depth: rows around.
        width: columns that a stripe may be wide.
        sensitivity: percent of ``depth`` that is too many rows, and of ``length`` that is enough.

    Returns:
        (angle, column) bool.
    """
    half = length // 2
    long_enough = np.empty_like(mask)
    _fill_long(mask, half, float(int(0.01 * sensitivity * length)), long_enough)
    kept = long_enough & (rows <= int(0.01 * sensitivity * depth))
    found = np.empty_like(mask)
    _fill_long(kept, half, length / 2, found)
    for _ in range(width if found.any() else 0):
        grown = np.empty_like(found)
        if not _grow_once(found, width // 2, 2 * width, grown):
            break
        found = grown
    return found
