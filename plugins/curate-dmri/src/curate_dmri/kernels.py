"""Loops over streamlines, compiled. Streamlines lie in ``points`` from ``offsets[i]`` on, ``lengths[i]`` points each."""

from __future__ import annotations

import math

import numpy as np

from curate_core import NDArray
from curate_dmri.compiled import compiled


@compiled
def scan_trk(words: NDArray, scalars: int, properties: int, announced: int) -> tuple[int, int, int]:
    """Count what a .trk file holds behind its header.

    Args:
        words: (n,) int32, the file from the first streamline on.
        scalars: values of each point besides its place.
        properties: values of each streamline.
        announced: number of streamlines by the header; 0: not known.

    Returns:
        Streamlines, points, and the word where what is there cannot be a streamline; -1: nowhere.
    """
    at, streamlines, points = 0, 0, 0
    while at < len(words) and (announced == 0 or streamlines < announced):
        count = int(words[at])
        if count < 0 or count > (len(words) - at - 1 - properties) // (3 + scalars):
            return streamlines, points, at
        at += 1 + count * (3 + scalars) + properties
        streamlines += 1
        points += count
    return streamlines, points, -1


@compiled
def fill_trk(
    words: NDArray,
    floats: NDArray,
    scalars: int,
    properties: int,
    matrix: NDArray,
    points: NDArray,
    lengths: NDArray,
    of_points: NDArray,
    of_streamlines: NDArray,
) -> None:
    """Fill the arrays that ``scan_trk`` gave the sizes of.

    Args:
        words, floats: the same bytes as int32 and float32.
        matrix: (4, 4) float64: from the file's coordinates to the world.
        points: (P, 3) float32. lengths: (N,) int64. of_points: (P, scalars) float32. of_streamlines: (N, properties) float32.
    """
    at, row = 0, 0
    for i in range(len(lengths)):
        count = int(words[at])
        lengths[i] = count
        at += 1
        for _ in range(count):
            x, y, z = float(floats[at]), float(floats[at + 1]), float(floats[at + 2])
            for axis in range(3):
                points[row, axis] = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z + matrix[axis, 3]
            for k in range(scalars):
                of_points[row, k] = floats[at + 3 + k]
            at += 3 + scalars
            row += 1
        for k in range(properties):
            of_streamlines[i, k] = floats[at + k]
        at += properties


@compiled
def affine(points: NDArray, matrix: NDArray, out: NDArray) -> None:
    """Points through an affine map, in float64.

    Args:
        points, out: (P, 3) float32.
        matrix: (4, 4) float64.
    """
    for p in range(len(points)):
        x, y, z = float(points[p, 0]), float(points[p, 1]), float(points[p, 2])
        for axis in range(3):
            out[p, axis] = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z + matrix[axis, 3]


@compiled
def arc_lengths(points: NDArray, offsets: NDArray, lengths: NDArray) -> NDArray:
    """(N,) float64: the length of each streamline, the sum of its segments."""
    out = np.zeros(len(offsets), np.float64)
    for i in range(len(offsets)):
        total = 0.0
        for p in range(offsets[i] + 1, offsets[i] + lengths[i]):
            dx = float(points[p, 0]) - float(points[p - 1, 0])
            dy = float(points[p, 1]) - float(points[p - 1, 1])
            dz = float(points[p, 2]) - float(points[p - 1, 2])
            total += math.sqrt(dx * dx + dy * dy + dz * dz)
        out[i] = total
    return out


@compiled
def inside(points: NDArray, offsets: NDArray, lengths: NDArray, matrix: NDArray, shape: NDArray) -> NDArray:
    """(N,) bool: every point of the streamline lies in the volume; streamlines without points, or with NaN, do not.

    Args:
        matrix: (4, 4) float64: from the points to voxels, corner origin.
        shape: (3,) int64 voxels along x, y, z.
    """
    out = np.zeros(len(offsets), np.bool_)
    for i in range(len(offsets)):
        good = lengths[i] > 0
        for p in range(offsets[i], offsets[i] + lengths[i]):
            x, y, z = float(points[p, 0]), float(points[p, 1]), float(points[p, 2])
            for axis in range(3):
                value = np.float32(matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z + matrix[axis, 3])
                if not 0.0 <= value < shape[axis]:
                    good = False
            if not good:
                break
        out[i] = good
    return out


@compiled
def gather(points: NDArray, offsets: NDArray, lengths: NDArray, out: NDArray) -> None:
    """Rows of the streamlines one behind the other, without what lies between them.

    Args:
        points: (P, k) values. out: (sum of lengths, k).
    """
    at = 0
    for i in range(len(offsets)):
        out[at : at + lengths[i]] = points[offsets[i] : offsets[i] + lengths[i]]
        at += lengths[i]


@compiled
def resample(points: NDArray, offsets: NDArray, lengths: NDArray, counts: NDArray, step: float, out: NDArray) -> None:
    """Points along each streamline by arc length, linear between the given ones; the first and the last stay as they are.

    Args:
        counts: (N,) int64 points that each streamline gets.
        step: arc length from point to point; 0: each streamline's own, so that all its steps are equal.
        out: (sum of counts, 3) float32.
    """
    at = 0
    for i in range(len(offsets)):
        first, last, count = offsets[i], offsets[i] + lengths[i] - 1, counts[i]
        if count == 0:
            continue
        total = 0.0
        for p in range(first + 1, last + 1):
            dx = float(points[p, 0]) - float(points[p - 1, 0])
            dy = float(points[p, 1]) - float(points[p - 1, 1])
            dz = float(points[p, 2]) - float(points[p - 1, 2])
            total += math.sqrt(dx * dx + dy * dy + dz * dz)
        stride = step if step > 0 else (total / (count - 1) if count > 1 else 0.0)
        out[at] = points[first]
        done, segment, here = 0.0, 0.0, first
        for k in range(1, count - 1):
            wanted = k * stride
            while here < last:
                dx = float(points[here + 1, 0]) - float(points[here, 0])
                dy = float(points[here + 1, 1]) - float(points[here, 1])
                dz = float(points[here + 1, 2]) - float(points[here, 2])
                segment = math.sqrt(dx * dx + dy * dy + dz * dz)
                if done + segment >= wanted and segment > 0:
                    break
                done += segment
                here += 1
            if here >= last:
                out[at + k] = points[last]
                continue
            part = (wanted - done) / segment
            for axis in range(3):
                out[at + k, axis] = float(points[here, axis]) * (1.0 - part) + float(points[here + 1, axis]) * part
        if count > 1:
            out[at + count - 1] = points[last]
        at += count


@compiled
def _off_line(points: NDArray, first: int, second: int, between: int) -> float:
    """Distance of a point from the line through two others."""
    ax, ay, az = (
        float(points[second, 0]) - float(points[first, 0]),
        float(points[second, 1]) - float(points[first, 1]),
        float(points[second, 2]) - float(points[first, 2]),
    )
    bx, by, bz = (
        float(points[between, 0]) - float(points[first, 0]),
        float(points[between, 1]) - float(points[first, 1]),
        float(points[between, 2]) - float(points[first, 2]),
    )
    cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    norm = math.sqrt(ax * ax + ay * ay + az * az)
    if norm == 0.0:
        return math.sqrt(bx * bx + by * by + bz * bz)
    return math.sqrt(cx * cx + cy * cy + cz * cz) / norm


@compiled
def keep_compressed(points: NDArray, offsets: NDArray, lengths: NDArray, tolerance: float, longest: float, keep: NDArray) -> None:
    """Mark the points that stay when streamlines are linearised (Presseau et al., NeuroImage 109, 2015, as in dipy).

    Args:
        tolerance: a point that lies no farther from the line may go.
        longest: of a segment that is made.
        keep: (P,) bool, all False; filled.
    """
    for i in range(len(offsets)):
        first, stop = offsets[i], offsets[i] + lengths[i]
        if lengths[i] == 0:
            continue
        keep[first] = True
        keep[stop - 1] = True
        last = first
        for end in range(first + 2, stop):
            dx = float(points[end, 0]) - float(points[last, 0])
            dy = float(points[end, 1]) - float(points[last, 1])
            dz = float(points[end, 2]) - float(points[last, 2])
            good = math.sqrt(dx * dx + dy * dy + dz * dz) < longest
            if good:
                for between in range(last + 1, end):
                    if _off_line(points, last, end, between) > tolerance:
                        good = False
                        break
            if not good:
                keep[end - 1] = True
                last = end - 1
