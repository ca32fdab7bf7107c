"""The check that layers share a grid, which says by how much they do not; and axes turned towards the world's."""

from __future__ import annotations

from itertools import permutations
from typing import ClassVar

import attrs
import numpy as np
from attrs import frozen

from curate_core import ArrayLike, Case, Context, Grid, Image, LazyArray, NDArray, Preprocessor, StepError, option, read
from curate_core.arrays import Box, TransposeArray


@frozen
class CheckGrids(Preprocessor):
    """Refuse cases whose layers do not lie on one grid, saying by how much they differ.

    Example::

        "preprocess": [{"use": "check-grids", "layers": ["ct", "organs"], "tolerance": 0.01}]
    """

    version: ClassVar[int] = 1
    layers: tuple[str, ...] | None = option(doc="Layers that must agree; null: all images.", default=None)
    tolerance: float = option(doc="How far voxels of two layers may lie apart, in the grid's unit (mm for NIfTI).", default=1e-3, ge=0)

    def apply(self, case: Case, context: Context) -> Case:
        images = list(case.images(self.layers).items())
        for name, image in images[1:]:
            problem = difference(images[0][1].grid, image.grid, self.tolerance)
            if problem:
                message = f"layers {images[0][0]!r} and {name!r} lie on different grids: {problem}"
                raise StepError(message, where=f"case {case.id}", hint="put resample under preprocess")
        return case


def difference(one: Grid, other: Grid, tolerance: float) -> str:
    """How two grids differ, in words; empty where no voxel lies farther from its counterpart than ``tolerance``."""
    if one.spatial_axes != other.spatial_axes:
        return f"axes {one.spatial_axes} and {other.spatial_axes}"
    unit = f" {one.unit}" if one.unit else ""
    if one.unit and other.unit and one.unit != other.unit:
        return f"units {one.unit} and {other.unit}"
    apart = one.distance(other)
    if apart <= tolerance:
        return ""
    parts = []
    if one.spatial_shape != other.spatial_shape:
        parts.append(f"{' x '.join(map(str, one.spatial_shape))} and {' x '.join(map(str, other.spatial_shape))} voxels")
    steps = [" x ".join(f"{step:.6g}" for step in grid.spacing) for grid in (one, other)]
    if steps[0] != steps[1]:
        parts.append(f"spacing {steps[0]} and {steps[1]}{unit}")
    moved = float(np.linalg.norm(one.affine[:3, -1] - other.affine[:3, -1]))
    if moved > tolerance:
        parts.append(f"first voxels {moved:.6g}{unit} apart")
    turned = _angle(one, other)
    if turned > 1e-3:
        parts.append(f"axes turned by {turned:.4g} degrees")
    if np.isfinite(apart):
        parts.append(f"corners up to {apart:.6g}{unit} apart along an axis, tolerance {tolerance:g}")
    return ", ".join(parts)


def _angle(one: Grid, other: Grid) -> float:
    """The largest angle between corresponding axes, degrees."""
    a, b = (grid.affine[:3, :-1] / np.array(grid.spacing) for grid in (one, other))
    cross = np.linalg.norm(np.cross(a.T, b.T), axis=1)
    return float(np.degrees(np.arctan2(cross, (a * b).sum(axis=0))).max(initial=0.0))


@frozen
class Reorient(Preprocessor):
    """Turn and flip axes until they run along the world's, as near as they come: lazy, and no voxel changes.

    ``to`` says where x, y and z rise to: ``RAS`` is right, anterior, superior, what nibabel calls canonical. The letters of the array's
    axes keep their order, so that a ``zyx`` layer in RAS has the superior direction first.

    Example::

        "preprocess": [{"use": "reorient", "to": "RAS"}]
    """

    version: ClassVar[int] = 1
    to: str = option(doc="Three letters for x, y and z, each of R or L, A or P, S or I.", default="RAS")
    layers: tuple[str, ...] | None = option(doc="Layers to change; null: all images.", default=None)

    def __attrs_post_init__(self) -> None:
        if sorted(_WORLD.get(letter, (3, 0))[0] for letter in self.to) != [0, 1, 2]:
            message = f"to: {self.to!r} does not name three directions, such as RAS: one each of R or L, A or P, S or I"
            raise ValueError(message)

    def apply(self, case: Case, context: Context) -> Case:
        return case.with_layers({name: self._turned(image, name) for name, image in case.images(self.layers).items()})

    def _turned(self, image: Image, name: str) -> Image:
        grid = image.grid
        if sorted(grid.spatial_axes) != ["x", "y", "z"]:
            message = f"layer {name!r} has the axes {grid.axes!r}; only volumes with x, y and z can be turned"
            raise StepError(message)
        if not grid.oriented:
            message = f"layer {name!r} does not say which way it lies, so that it cannot be turned"
            raise StepError(message, hint="repair its header")
        cosines = grid.affine[:3, :3] / np.array(grid.spacing)
        nearest = max(permutations(range(3)), key=lambda world: sum(abs(cosines[w, i]) for i, w in enumerate(world)))
        source_of = {world: axis for axis, world in enumerate(nearest)}
        order, flips = list(range(len(grid.shape))), []
        for position, letter in zip(grid.spatial, grid.spatial_axes, strict=True):
            world, sign = _WORLD[self.to["xyz".index(letter)]]
            axis = source_of[world]
            order[position] = grid.spatial[axis]
            if cosines[world, axis] * sign < 0:
                flips.append(position)
        array: ArrayLike = image.array if order == sorted(order) else TransposeArray(image.array, order)
        turned = grid.transpose(order)
        affine, shape = np.array(turned.affine), turned.spatial_shape
        for column, position in enumerate(grid.spatial):
            if position in flips:
                affine[:3, -1] += affine[:3, column] * (shape[column] - 1)
                affine[:3, column] *= -1
        final = attrs.evolve(turned, axes=grid.axes, affine=affine)
        return image.with_array(FlipArray(array, flips) if flips else array, final)


_WORLD = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


class FlipArray(LazyArray):
    """An array read backwards along some axes."""

    def __init__(self, base: ArrayLike, axes: list[int]) -> None:
        self.base, self.axes = base, tuple(axes)
        self.shape, self.dtype = tuple(base.shape), np.dtype(base.dtype)

    def read_box(self, where: Box) -> NDArray:
        inner = [slice(n - s.stop, n - s.start) if i in self.axes else s for i, (s, n) in enumerate(zip(where, self.shape, strict=True))]
        return np.flip(read(self.base, tuple(inner)), self.axes)
