"""Between the world and the voxels of a grid: dipy's spaces, with the origin at the corner of the first voxel.

Points are (P, 3) float32 and go through float64, so that the result has float32's own accuracy.
"""

from __future__ import annotations

import numpy as np

from curate_core import ArrayLike, Grid, NDArray, read

SPACES = ("rasmm", "vox", "voxmm")
_FEW = 1 << 14
"""Points for which compiled code is not worth its loading."""


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


def transformed(points: ArrayLike, matrix: NDArray) -> NDArray:
    """(P, 3) float32: the points through an affine map, computed in float64; the same values whichever way."""
    given = np.asarray(read(points), np.float32)
    out = np.empty((len(given), 3), np.float32)
    if len(given) > _FEW:
        from curate_dmri.kernels import affine

        affine(given, np.ascontiguousarray(matrix, np.float64), out)
        return out
    wide, columns = given.astype(np.float64), matrix[:3].T
    out[:] = wide[:, :1] * columns[0] + wide[:, 1:2] * columns[1] + wide[:, 2:] * columns[2] + columns[3]
    return out


def voxel_order(grid: Grid) -> str:
    """The direction in which each of x, y, z grows, such as ``RAS`` (nibabel's ``aff2axcodes``)."""
    import nibabel

    return "".join(nibabel.aff2axcodes(square(grid)))
