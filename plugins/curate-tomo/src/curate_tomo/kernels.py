"""The loops that numba compiles: closed-form projections, voxels and packing. All arithmetic is float64, results are added up in float32.

A line of the detector position (s, t) is the set of points P + tau d. With the angle a: d = (cos a, -sin a, 0), and s runs along
(sin a, cos a, 0), t along z. The formulas of TomoPhantom (Kazantsev et al., SoftwareX 7, 2018) put the rotation axis half a voxel
beside the origin, in the middle of the voxel grid; so do these.
"""

from __future__ import annotations

import math

import numpy as np

from curate_core import NDArray
from curate_tomo.compiled import compiled

SHARP = 4.0 * math.log(2.0)
"""exp(-SHARP |u|^2) is a half at |u| = 1/2."""


@compiled
def _reach(low: float, high: float, origin: float, step: float, count: int) -> tuple[int, int]:
    """The part of ``count`` positions origin + j step that holds all within [low, high].

    There is one more at each end, so that rounding never decides what is inside: the position itself does.
    """
    first, last = math.ceil((low - origin) / step) - 1, math.floor((high - origin) / step) + 2
    return int(min(max(first, 0), count)), int(min(max(last, 0), count))


@compiled
def _slab(start: float, slope: float, low: float, high: float) -> tuple[float, float]:
    """The part of [low, high] where |start + tau slope| <= 1."""
    if slope == 0.0:
        return (low, high) if abs(start) <= 1.0 else (0.0, 0.0)
    a, b = (-1.0 - start) / slope, (1.0 - start) / slope
    return max(low, min(a, b)), min(high, max(a, b))


@compiled
def project(
    kinds: NDArray, values: NDArray, centres: NDArray, matrices: NDArray, inverses: NDArray, heights: NDArray,
    size: int, s: NDArray, t: NDArray, sines: NDArray, cosines: NDArray, out: NDArray,
) -> None:  # fmt: skip
    """Add the line integrals of all objects, in voxels' lengths, to a block of the detector.

    Args:
        kinds, values, centres, matrices, inverses: of the objects.
        heights: (n,): how far each reaches along z.
        size: voxels along an edge of the cube, so that one unit of length is size / 2 voxels.
        s, t: (columns,) and (rows,) evenly spaced positions, world units.
        sines, cosines: (angles,) of the angles.
        out: (rows, angles, columns) float32, added to.
    """
    shift, scale = 1.0 / size, 0.5 * size
    rows, columns = len(t), len(s)
    s_step = s[1] - s[0] if columns > 1 else 1.0
    t_step = t[1] - t[0] if rows > 1 else 1.0
    for n in range(len(kinds)):
        kind, value, m, inv = kinds[n], values[n] * scale, matrices[n], inverses[n]
        t0 = centres[n, 2] + shift
        first, last = _reach(t0 - heights[n], t0 + heights[n], t[0], t_step, rows)
        if first >= last:
            continue
        reach = 9.0 if kind == 1 else 1.0
        for a in range(len(sines)):
            sa, ca = sines[a], cosines[a]
            s0 = (centres[n, 0] + shift) * sa + (centres[n, 1] + shift) * ca
            v0, v1, v2 = m[0, 0] * ca - m[0, 1] * sa, m[1, 0] * ca - m[1, 1] * sa, m[2, 0] * ca - m[2, 1] * sa
            p0, p1, p2 = m[0, 0] * sa + m[0, 1] * ca, m[1, 0] * sa + m[1, 1] * ca, m[2, 0] * sa + m[2, 1] * ca
            if kind <= 2:
                # |u|^2 at its least along the line: a quadratic form in (s - s0, t - t0)
                vv = v0 * v0 + v1 * v1 + v2 * v2
                pv = p0 * v0 + p1 * v1 + p2 * v2
                zv = m[0, 2] * v0 + m[1, 2] * v1 + m[2, 2] * v2
                ss = p0 * p0 + p1 * p1 + p2 * p2 - pv * pv / vv
                st = p0 * m[0, 2] + p1 * m[1, 2] + p2 * m[2, 2] - pv * zv / vv
                tt = m[0, 2] ** 2 + m[1, 2] ** 2 + m[2, 2] ** 2 - zv * zv / vv
                tilt = st / ss
                bend = tt - st * tilt
                if kind == 0:
                    factor = 2.0 * value * math.sqrt(ss / vv)
                elif kind == 1:
                    factor = value * math.sqrt(math.pi / (SHARP * vv))
                else:
                    factor = 4.0 / 3.0 * value * ss * math.sqrt(ss / vv)
                for k in range(first, last):
                    dt = t[k] - t0
                    half = (reach - bend * dt * dt) / ss
                    if half <= 0.0:
                        continue
                    middle, width = s0 - tilt * dt, math.sqrt(half)
                    j0, j1 = _reach(middle - width, middle + width, s[0], s_step, columns)
                    line = out[k, a, j0:j1]
                    place = s[j0:j1]
                    if kind == 0:
                        for j in range(len(line)):
                            d = place[j] - middle
                            line[j] += factor * math.sqrt(max(half - d * d, 0.0))
                    elif kind == 1:
                        for j in range(len(line)):
                            w = half - (place[j] - middle) ** 2
                            if w > 0.0:
                                line[j] += factor * math.exp(-SHARP * (reach - ss * w))
                    else:
                        for j in range(len(line)):
                            d = place[j] - middle
                            w = max(half - d * d, 0.0)
                            line[j] += factor * w * math.sqrt(w)
                continue
            e0 = inv[0, 0] * sa + inv[1, 0] * ca
            e1 = inv[0, 1] * sa + inv[1, 1] * ca
            e2 = inv[0, 2] * sa + inv[1, 2] * ca
            width = abs(e0) + abs(e1) + abs(e2) if kind == 3 else math.sqrt(e0 * e0 + e1 * e1) + abs(e2)
            j0, j1 = _reach(s0 - width, s0 + width, s[0], s_step, columns)
            for k in range(first, last):
                dt = t[k] - t0
                for j in range(j0, j1):
                    ds = s[j] - s0
                    u0, u1, u2 = ds * p0 + dt * m[0, 2], ds * p1 + dt * m[1, 2], ds * p2 + dt * m[2, 2]
                    low, high = _slab(u2, v2, -1e30, 1e30)
                    if kind == 3:
                        low, high = _slab(u0, v0, low, high)
                        low, high = _slab(u1, v1, low, high)
                    elif low < high:
                        vv = v0 * v0 + v1 * v1
                        b = u0 * v0 + u1 * v1
                        g = u0 * u0 + u1 * u1 - 1.0
                        if vv < 1e-24:  # the line runs along the cylinder
                            if g > 0.0:
                                high = low
                        else:
                            root = b * b - vv * g
                            if root <= 0.0:
                                high = low
                            else:
                                root = math.sqrt(root)
                                low, high = max(low, (-b - root) / vv), min(high, (-b + root) / vv)
                    if low < high:
                        out[k, a, j] += value * (high - low)


@compiled
def fill(
    kinds: NDArray, values: NDArray, centres: NDArray, matrices: NDArray, extents: NDArray,
    x: NDArray, y: NDArray, z: NDArray, out: NDArray,
) -> None:  # fmt: skip
    """Add the values of all objects to a box of voxels, each taken at the voxel's point.

    Args:
        extents: (n, 3): how far each reaches along x, y and z.
        x, y, z: evenly spaced positions of the voxels, world units.
        out: (z, y, x) float32, added to.
    """
    x_step = x[1] - x[0] if len(x) > 1 else 1.0
    y_step = y[1] - y[0] if len(y) > 1 else 1.0
    z_step = z[1] - z[0] if len(z) > 1 else 1.0
    for n in range(len(kinds)):
        kind, value, m = kinds[n], values[n], matrices[n]
        cx, cy, cz = centres[n]
        ex, ey, ez = extents[n]
        k0, k1 = _reach(cz - ez, cz + ez, z[0], z_step, len(z))
        j0, j1 = _reach(cy - ey, cy + ey, y[0], y_step, len(y))
        i0, i1 = _reach(cx - ex, cx + ex, x[0], x_step, len(x))
        for k in range(k0, k1):
            dz = z[k] - cz
            for j in range(j0, j1):
                dy = y[j] - cy
                for i in range(i0, i1):
                    dx = x[i] - cx
                    u0 = m[0, 0] * dx + m[0, 1] * dy + m[0, 2] * dz
                    u1 = m[1, 0] * dx + m[1, 1] * dy + m[1, 2] * dz
                    u2 = m[2, 0] * dx + m[2, 1] * dy + m[2, 2] * dz
                    q = u0 * u0 + u1 * u1 + u2 * u2
                    if kind == 0:
                        inside = 1.0 if q <= 1.0 else 0.0
                    elif kind == 1:
                        inside = math.exp(-SHARP * q) if q <= 9.0 else 0.0
                    elif kind == 2:
                        inside = max(1.0 - q, 0.0)
                    elif kind == 3:
                        inside = 1.0 if max(abs(u0), abs(u1), abs(u2)) <= 1.0 else 0.0
                    else:
                        inside = 1.0 if u0 * u0 + u1 * u1 <= 1.0 and abs(u2) <= 1.0 else 0.0
                    out[k, j, i] += value * inside


@compiled
def first_fit(tries: NDArray, placed: NDArray) -> int:
    """The first of some balls that lies in the unit ball with its bounding cube's far corner, and touches none that is placed; -1: none.

    Args:
        tries: (m, 4): x, y, z, radius.
        placed: (n, 4): those there already.
    """
    for i in range(len(tries)):
        x, y, z, r = tries[i]
        if (abs(x) + r) ** 2 + (abs(y) + r) ** 2 + (abs(z) + r) ** 2 > 1.0:
            continue
        free = True
        for k in range(len(placed)):
            near = placed[k, 3] + r
            if (placed[k, 0] - x) ** 2 + (placed[k, 1] - y) ** 2 + (placed[k, 2] - z) ** 2 < near * near:
                free = False
                break
        if free:
            return i
    return -1


@compiled
def detect(photons: NDArray, gain: NDArray, factor: NDArray, defects: NDArray, extra: NDArray, least: float, out: NDArray) -> None:
    """What a miscalibrated detector counts of photons, times a factor.

    Args:
        photons: (rows, angles, columns) float32.
        gain, factor: (rows, columns).
        defects: (k, rows, columns) and
        extra: (k, angles): their products are added up to each pixel's count.
        least: photons that are counted at least, before the gain.
        out: (rows, angles, columns) float32.
    """
    rows, angles, columns = photons.shape
    for r in range(rows):
        for a in range(angles):
            for j in range(columns):
                added = 0.0
                for k in range(len(defects)):
                    added += extra[k, a] * defects[k, r, j]
                counted = max(gain[r, j] * photons[r, a, j] + added, gain[r, j] * least)
                out[r, a, j] = counted * factor[r, j]


def empty(*shape: int) -> NDArray:
    """A block to add to."""
    return np.zeros(shape, np.float32)
