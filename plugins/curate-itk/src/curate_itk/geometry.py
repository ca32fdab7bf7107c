"""Between ITK's geometry and a grid.

ITK: axes fastest first, direction and spacing apart, world LPS in millimetres. A grid: axes in array order, one affine, world RAS+. LPS and
RAS differ by the signs of x and y alone, so that nothing is lost either way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from curate_core import Grid, NDArray

_AXES = {2: "yx", 3: "zyx", 4: "tzyx"}
_RAS = np.array([-1.0, -1.0, 1.0])
MILLIMETRES = {"mm": 1.0, "um": 1e-3, "nm": 1e-6, "": 1.0}


def axes_of(dimension: int, channels: int) -> str | None:
    """Letters for an image of so many axes, array order; None where there are too many or too few."""
    axes = _AXES.get(dimension)
    return axes and axes + ("c" if channels > 1 else "")


def grid_from_itk(
    shape: Sequence[int], axes: str, matrix: NDArray, origin: NDArray, *, unit: str = "mm", oriented: bool = True, calibrated: bool = True
) -> Grid:
    """The grid of an image.

    Args:
        shape: array order.
        axes: letters, array order.
        matrix: (d, d) direction times spacing, ITK's order; a fourth axis (time) has no place in space.
        origin: (d,).
        unit: unit of both.
        oriented: the world is LPS; False: the image's own axes, whose directions are kept as they are.
        calibrated: the spacing is stated.
    """
    space = min(3, len(matrix))
    signs = _RAS if oriented else np.ones(3)
    affine = np.zeros((4, space + 1))
    affine[:space, :space] = matrix[:space, :space][:, ::-1]
    affine[:space, -1] = origin[:space]
    affine[:3] *= signs[:, None]
    affine[3, -1] = 1.0
    return Grid(tuple(shape), axes, affine + 0.0, unit, oriented, calibrated)  # + 0.0: no negative zeros


@frozen(eq=False)
class ItkGeometry:
    """What an ITK image of 2 or 3 axes wants to be told.

    Attributes:
        spacing, origin: (d,), millimetres, ITK's order.
        direction: (d, d), column i along axis i.
        orthogonal: the axes are at right angles, which NIfTI through ITK needs.
        flat: the image lies in a plane of constant z, or is 3D: a 2D image elsewhere loses its place.
    """

    spacing: NDArray
    origin: NDArray
    direction: NDArray
    orthogonal: bool
    flat: bool


def itk_from_grid(grid: Grid) -> ItkGeometry:
    """The inverse of ``grid_from_itk``; grids without orientation get the identity direction.

    A section (two spatial axes of which one is z) has no 2D geometry in ITK: it keeps its spacing alone.
    """
    scale = MILLIMETRES.get(grid.unit, 1.0)
    space = len(grid.spatial)
    steps = grid.affine[:3, -2::-1] * scale
    spacing = np.array(grid.spacing[::-1]) * scale
    spacing[spacing == 0] = 1.0
    origin = grid.affine[:3, -1] * scale
    direction = steps / spacing
    if grid.oriented:
        direction, origin = direction * _RAS[:, None], origin * _RAS
    if space == 2:
        flat = bool(np.allclose(direction[2], 0, atol=1e-9))
        direction = direction[:2]
    else:
        flat = True
    gram = direction.T @ direction
    orthogonal = bool(np.allclose(gram, np.eye(space), atol=1e-6))
    if not grid.oriented or not flat:
        direction, orthogonal = np.eye(space), True
    return ItkGeometry(spacing, origin[:space] + 0.0, direction + 0.0, orthogonal, flat)
