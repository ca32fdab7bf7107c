"""Between the world and the voxels of a grid: dipy's spaces, with the origin at the corner of the first voxel.

Points are (P, 3); a chunk at a time goes through float64, so that the result has float32's own accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from curate_core import Grid
from curate_core.arrays import ArrayLike, NDArray

SPACES = ("rasmm", "vox", "voxmm")
_CHUNK = 1 << 17


def in_file_order(grid: Grid) -> Grid:
    """The spatial part of a grid with its axes in the order x, y, z, as NIfTI headers and tractograms have them."""
    if grid.spatial_axes == grid.axes == "xyz":
        return grid
    for position in sorted((i for i in range(len(grid.axes)) if i not in grid.spatial), reverse=True):
        grid = grid.drop(position)
    return grid.transpose([grid.axes.index(axis) for axis in "xyz"])


def square(grid: Grid) -> NDArray:
    """(4, 4) float64: index along x, y, z at voxel centres to world."""
    return np.asarray(in_file_order(grid).affine)


def to_space(grid: Grid, space: str) -> NDArray:
    """(4, 4) float64: world to a space whose origin is the corner of the first voxel.

    As dipy's ``StatefulTractogram`` in the given space and the origin ``TRACKVIS``: ``vox`` in voxels, ``voxmm`` in voxels times their
    size, ``rasmm`` the world moved by half a voxel.

    Args:
        space: one of ``SPACES``.
    """
    affine = square(grid)
    half = np.eye(4)
    half[:3, 3] = 0.5
    vox: NDArray = half @ np.linalg.inv(affine)
    if space == "vox":
        return vox
    if space == "voxmm":
        return np.asarray(np.diag([*np.linalg.norm(affine[:3, :3], axis=0), 1.0]) @ vox)
    return np.asarray(affine @ vox)


def chunks(points: ArrayLike, matrix: NDArray, step: int = _CHUNK) -> Iterator[NDArray]:
    """The points through an affine map, (n, 3) float32 at a time, in order."""
    linear, moved = matrix[:3, :3].T, matrix[:3, 3]
    for start in range(0, len(points), step):  # type: ignore[arg-type]
        part = np.asarray(points[start : start + step], np.float64)
        yield (part @ linear + moved).astype(np.float32)


def transformed(points: ArrayLike, matrix: NDArray) -> NDArray:
    """(P, 3) float32: the points through an affine map."""
    out = np.empty(points.shape, np.float32)
    at = 0
    for part in chunks(points, matrix):
        out[at : at + len(part)] = part
        at += len(part)
    return out


def voxel_order(grid: Grid) -> str:
    """The direction in which each of x, y, z grows, such as ``RAS`` (nibabel's ``aff2axcodes``)."""
    import nibabel

    return "".join(nibabel.aff2axcodes(square(grid)))
