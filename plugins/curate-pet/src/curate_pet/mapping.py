"""Where the voxels of one grid lie in another: through world space, by both affines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
from attrs import frozen

from curate_core import Grid, NDArray, StepError

ALIGNED = 1e-3
"""Voxels: grids whose axes part by no more than this from end to end count as parallel."""
COARSE = 3.0
"""A voxel is anisotropic beyond this ratio of its sides (``ANISO_THRESHOLD`` of nnU-Net)."""


@frozen(eq=False)
class Mapping:
    """Index along the spatial axes of a source as a function of the index in a target.

    Attributes:
        matrix: (S, S) float64: source index = matrix @ target index + offset.
        offset: (S,) float64.
        order: for each source axis the target axis that it runs along; None where the grids are oblique to each other.
    """

    matrix: NDArray
    offset: NDArray
    order: tuple[int, ...] | None

    def along(self, axis: int, count: int) -> NDArray:
        """(count,) float64: where on a source axis the voxels of the parallel target axis lie."""
        assert self.order is not None
        return np.asarray(self.matrix[axis, self.order[axis]] * np.arange(count) + self.offset[axis])


def mapping(source: Grid, target: Grid, what: str) -> Mapping:
    """How the voxels of ``target`` lie in ``source``.

    Args:
        what: what to call the two in a message.

    Raises:
        StepError: they cannot be related: other units, an unknown orientation, planes that are not the same.
    """
    if source.unit and target.unit and source.unit != target.unit:
        message = f"{what} lie on grids in different units: {source.unit} and {target.unit}"
        raise StepError(message, hint="give both one unit first")
    if source.oriented != target.oriented:
        message = f"{what}: one of them does not say how it lies in space, so that its place in the other is not known"
        raise StepError(message, hint="repair the header of the one without orientation")
    if len(source.spatial) != len(target.spatial):
        message = f"{what} have {len(source.spatial)} and {len(target.spatial)} spatial axes"
        raise StepError(message)
    inverse = np.linalg.pinv(source.affine[:3, :-1])
    difference = target.affine[:3] - np.column_stack([np.zeros((3, len(target.spatial))), source.affine[:3, -1]])
    solved = inverse @ difference
    extent = np.array([*(n - 1 for n in target.spatial_shape), 1.0])
    left = np.abs(difference - source.affine[:3, :-1] @ solved) @ extent
    if left.max() > 1e-2 * min(source.spacing):
        message = f"{what} lie in different planes, up to {left.max():.4g} {source.unit or 'world units'} apart"
        raise StepError(message)
    matrix, offset = solved[:, :-1], solved[:, -1]
    order = _parallel(matrix, target.spatial_shape)
    return Mapping(matrix, offset, order)


def _parallel(matrix: NDArray, shape: Sequence[int]) -> tuple[int, ...] | None:
    """For each source axis the one target axis that moves along it, if there is just one."""
    order = tuple(int(i) for i in np.abs(matrix).argmax(axis=1))
    if len(set(order)) != len(order):
        return None
    rest = np.abs(matrix)
    rest[np.arange(len(order)), order] = 0
    drift = rest @ np.array([n - 1 for n in shape], float)
    return order if drift.max(initial=0.0) <= ALIGNED else None


def at_spacing(grid: Grid, spacing: Sequence[float]) -> Grid:
    """The grid of the same extent, corners aligned, with about that spacing.

    The new shape is ``round(old spacing / new spacing * n)`` along each axis, at least 1; the spacing that results divides the extent
    evenly, and the affine tells it exactly.

    Args:
        spacing: of the spatial axes, array order, in the grid's unit.

    Raises:
        StepError: the grid's own spacing is not known, or the number of axes is another.
    """
    if len(spacing) != len(grid.spatial):
        message = f"{len(spacing)} spacings for the {len(grid.spatial)} spatial axes {grid.spatial_axes!r}"
        raise StepError(message)
    if not grid.calibrated:
        message = "the voxel size is not known, so that no other can be asked for"
        raise StepError(message, hint="say it in the source, or repair the file")
    shape = [max(1, round(old / new * n)) for old, new, n in zip(grid.spacing, spacing, grid.spatial_shape, strict=True)]
    factors = np.array([n / m for n, m in zip(grid.spatial_shape, shape, strict=True)])
    affine = np.array(grid.affine)
    affine[:3, :-1] = grid.affine[:3, :-1] * factors
    affine[:3, -1] = grid.world((factors - 1) / 2)
    whole = list(grid.shape)
    for position, n in zip(grid.spatial, shape, strict=True):
        whole[position] = n
    return attrs.evolve(grid, shape=tuple(whole), affine=affine)


def coarse_axis(spacing: Sequence[float], threshold: float | None) -> int | None:
    """The one axis along which voxels are longer than ``threshold`` times the shortest side; None where there is none, or several."""
    if threshold is None or len(spacing) < 3:
        return None
    longest = max(spacing)
    if longest <= threshold * min(spacing):
        return None
    found = [axis for axis, step in enumerate(spacing) if math.isclose(step, longest, rel_tol=1e-6)]
    return found[0] if len(found) == 1 else None


def onto(layer: Grid, target: Grid) -> Grid:
    """``target``'s place in space with the other axes (channels, time) of ``layer``, which keep their positions."""
    axes, shape = list(layer.axes), list(layer.shape)
    for position, letter, n in zip(layer.spatial, target.spatial_axes, target.spatial_shape, strict=True):
        axes[position], shape[position] = letter, n
    return Grid(tuple(shape), "".join(axes), target.affine, target.unit, target.oriented, target.calibrated)
