"""Where a place of a volume, given in voxels of mip 0, lies in one of its layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curate_core import Grid, NDArray, RequestError, StepError

FARTHEST = 2.0**52
"""Beyond it, floats hold no fractions."""
_TOLERANCE = 1e-3
"""Share of a voxel by which a grid's origin may be inexact."""


def steps_of(mip: int) -> NDArray:
    """(3,) int64: voxels of mip 0 that a pixel of ``mip`` is long along x, y and z: sections are never merged."""
    return np.array([1 << mip, 1 << mip, 1], np.int64)


def corner_of(grid: Grid) -> NDArray:
    """(3,) int64: the pixel along x, y and z, counted as the volume counts them, that is the layer's first.

    A precomputed volume counts from its world's zero, where voxel i reaches from i to i + 1 (``voxel_offset`` is the first that is stored),
    so that centres lie at halves. Zarr and N5 put the centre of the finest voxel 0 at zero, with those of coarser levels at less than half
    a pixel; so do layers without any geometry. Rounding up tells the same of all.

    Raises:
        StepError: the layer's axes are not z, y and x along the world's.
    """
    letters = grid.spatial_axes
    straight = np.zeros((3, len(letters)))
    for column, (letter, spacing) in enumerate(zip(letters, grid.spacing, strict=True)):
        straight["xyz".index(letter), column] = spacing
    if letters != "zyx" or not np.allclose(grid.affine[:3, :-1], straight, rtol=1e-6, atol=0):
        message = f"places count along x, y and z, which the layer does not: {grid.describe()}"
        raise StepError(message, hint="take a layer with the axes z, y and x, neither flipped nor turned")
    return np.ceil(grid.affine[:3, -1] / grid.spacing[::-1] - 0.5 - _TOLERANCE).astype(np.int64)


def pixels_of(places: NDArray, mip: int, grid: Grid) -> NDArray:
    """The pixels of a layer that hold some places.

    Args:
        places: (n, 3) x, y, z in voxels of mip 0, fractional or not, as the volume counts them.
        mip: of the layer's pixels.
        grid: of the layer, axes zyx or with others behind.

    Returns:
        (n, 3) int64, z, y, x; outside of the layer they are negative or beyond its end.

    Raises:
        StepError: see ``corner_of``.
    """
    return (np.floor(places / steps_of(mip)).astype(np.int64) - corner_of(grid))[:, ::-1]


def snapped(places: NDArray, mip: int) -> NDArray:
    """Places (n, 3) as whole voxels of mip 0, int64: x and y rounded down to pixels of ``mip``, z to its section."""
    steps = steps_of(mip)
    return np.floor(places / steps).astype(np.int64) * steps


def numbers(values: Sequence[object], where: str, what: str) -> list[float]:
    """Three numbers, x, y and z.

    Args:
        values: numbers, or text of numbers.
        where, what: the file and the place in it, for the message.

    Raises:
        RequestError: they are none.
    """
    try:
        found = [float(value) for value in values if not isinstance(value, bool) and isinstance(value, int | float | str)]
    except ValueError:
        found = []
    if len(found) != 3 or len(values) != 3 or not all(abs(value) < FARTHEST for value in found):
        shown = ", ".join(map(str, values))[:60]
        message = f"{what}: {shown!r} is no place"
        raise RequestError(message, where=where, hint="a place is three numbers, x, y and z, such as (1024, 2048.5, 17)")
    return found
