"""Where the voxels of an array lie in the world.

Axes are letters in array order (``"zyx"``, ``"zyxc"``, ``"yx"``). The letters x, y and z are *spatial*; every other letter
names an axis that has no place in space (channel ``c``, time ``t``, angle ``a``). World coordinates are (x, y, z), RAS+ as in
NIfTI where the source knows its orientation, otherwise along the array's own axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core.errors import StepError

Affine = np.ndarray[Any, np.dtype[np.float64]]
SPATIAL = "xyz"


def _affine(value: object) -> Affine:
    """A private, read-only float64 copy: grids are values."""
    affine = np.array(value, dtype=np.float64)
    affine.setflags(write=False)
    return affine


def _shape(value: Iterable[int]) -> tuple[int, ...]:
    return tuple(int(n) for n in value)


@frozen
class Grid:
    """Shape, axes and geometry of an array.

    Attributes:
        shape: voxels along each axis, array order.
        axes: one letter an axis, array order.
        affine: (4, S+1) float64 for S spatial axes: maps (index along each spatial axis in array order, 1) to world
            (x, y, z, 1), at voxel centres. A plane of a volume keeps its place in space.
        unit: unit of world lengths: ``mm``, ``um``, ``nm``, or ``""`` where the source does not say.
        oriented: the world is RAS+; False where the source knows no orientation.
        calibrated: the source states the voxel size; False where it is a placeholder.
    """

    shape: tuple[int, ...] = attrs.field(converter=_shape)
    axes: str
    affine: Affine = attrs.field(converter=_affine, eq=attrs.cmp_using(eq=np.array_equal), repr=False)
    unit: str = ""
    oriented: bool = False
    calibrated: bool = True

    def __attrs_post_init__(self) -> None:
        if len(self.axes) != len(self.shape) or len(set(self.axes)) != len(self.axes):
            message = f"axes {self.axes!r} do not name the {len(self.shape)} axes of shape {self.shape}, each once"
            raise ValueError(message)
        expected = (4, len(self.spatial) + 1)
        if self.affine.shape != expected:
            message = f"affine has shape {self.affine.shape}, expected {expected} for axes {self.axes!r}"
            raise ValueError(message)

    @classmethod
    def from_spacing(
        cls, shape: Sequence[int], axes: str, spacing: Sequence[float] | None = None, unit: str = "", origin: Sequence[float] = (0, 0, 0)
    ) -> Grid:
        """A grid along the array's own axes.

        Args:
            shape: voxels along each axis, array order.
            axes: letters, array order.
            spacing: world length between voxel centres along each *spatial* axis, array order; None: not known (1 each).
            unit: unit of the spacing.
            origin: world (x, y, z) of the first voxel's centre.
        """
        spatial = [axis for axis in axes if axis in SPATIAL]
        steps = [1.0] * len(spatial) if spacing is None else [float(step) for step in spacing]
        if len(steps) != len(spatial):
            message = f"{len(steps)} spacings for the {len(spatial)} spatial axes of {axes!r}"
            raise ValueError(message)
        affine = np.zeros((4, len(spatial) + 1))
        affine[3, -1] = 1.0
        affine[:3, -1] = origin
        for column, (axis, step) in enumerate(zip(spatial, steps, strict=True)):
            affine[SPATIAL.index(axis), column] = step
        return cls(tuple(shape), axes, affine, unit, calibrated=spacing is not None)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Positions of the spatial axes in the array's shape."""
        return tuple(i for i, axis in enumerate(self.axes) if axis in SPATIAL)

    @property
    def spatial_axes(self) -> str:
        """Letters of the spatial axes, array order."""
        return "".join(axis for axis in self.axes if axis in SPATIAL)

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Voxels along the spatial axes, array order."""
        return tuple(self.shape[i] for i in self.spatial)

    @property
    def spacing(self) -> tuple[float, ...]:
        """World distance between voxel centres along each spatial axis, array order."""
        return tuple(float(np.linalg.norm(self.affine[:3, column])) for column in range(len(self.spatial)))

    def spacing_of(self, axis: str) -> float:
        """World distance between voxel centres along the spatial axis named ``axis``."""
        return self.spacing[self.spatial_axes.index(axis)]

    def world(self, index: object) -> Affine:
        """World (x, y, z) of spatial indices: (..., S) in array order -> (..., 3), float64."""
        points = np.asarray(index, dtype=np.float64)
        return np.asarray(points @ self.affine[:3, :-1].T + self.affine[:3, -1])

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> Grid:
        """The grid of ``array[start:stop]`` along every axis, array order."""
        shape = tuple(int(b) - int(a) for a, b in zip(start, stop, strict=True))
        affine = np.array(self.affine)
        affine[:3, -1] = self.world([start[i] for i in self.spatial])
        return attrs.evolve(self, shape=shape, affine=affine)

    def pad(self, before: Sequence[int], after: Sequence[int]) -> Grid:
        """The grid of an array padded along every axis."""
        stop = [n + a for n, a in zip(self.shape, after, strict=True)]
        return self.crop([-b for b in before], stop)

    def drop(self, axis: int) -> Grid:
        """The grid of ``array.take(0, axis)``: the plane keeps its place in space."""
        if not 0 <= axis < len(self.shape):
            message = f"axes {self.axes!r} have no position {axis}"
            raise ValueError(message)
        keep = [i for i in range(len(self.shape)) if i != axis]
        affine = self.affine
        if self.axes[axis] in SPATIAL:
            affine = np.delete(affine, self.spatial.index(axis), axis=1)
        shape, axes = tuple(self.shape[i] for i in keep), "".join(self.axes[i] for i in keep)
        return attrs.evolve(self, shape=shape, axes=axes, affine=affine)

    def add(self, axis: str, length: int, position: int) -> Grid:
        """The grid with one more, non-spatial axis of ``length`` before ``position``."""
        if axis in SPATIAL:
            message = f"only non-spatial axes can be added, not {axis!r}"
            raise ValueError(message)
        shape = (*self.shape[:position], length, *self.shape[position:])
        return attrs.evolve(self, shape=shape, axes=self.axes[:position] + axis + self.axes[position:])

    def transpose(self, order: Sequence[int]) -> Grid:
        """The grid of ``array.transpose(order)``."""
        if sorted(order) != list(range(len(self.shape))):
            message = f"{tuple(order)} is not an order of {len(self.shape)} axes"
            raise ValueError(message)
        axes = "".join(self.axes[i] for i in order)
        columns = [self.spatial.index(i) for i in order if i in self.spatial]
        affine = self.affine[:, [*columns, -1]]
        return attrs.evolve(self, shape=tuple(self.shape[i] for i in order), axes=axes, affine=affine)

    def distance(self, other: Grid) -> float:
        """The largest world distance between equal corners of two grids of one spatial shape; inf where shapes differ."""
        if self.spatial_axes != other.spatial_axes or self.spatial_shape != other.spatial_shape:
            return float("inf")
        if not self.spatial:
            return 0.0
        last = np.array(self.spatial_shape) - 1
        corners = np.array(np.meshgrid(*[(0, n) for n in last], indexing="ij")).reshape(len(last), -1).T
        return float(np.abs(self.world(corners) - other.world(corners)).max(initial=0.0))

    def require_same(self, other: Grid, tolerance: float, what: str) -> None:
        """Refuse grids that differ by more than ``tolerance`` (world units) at any corner.

        Raises:
            StepError: saying by how much they differ.
        """
        if self.spatial_axes != other.spatial_axes or self.spatial_shape != other.spatial_shape:
            message = f"{what} lie on different grids: {self.describe()} against {other.describe()}"
            raise StepError(message, hint="resample one onto the other first")
        if self.unit and other.unit and self.unit != other.unit:
            message = f"{what} lie on grids in different units: {self.unit} and {other.unit}"
            raise StepError(message, hint="give both one unit first")
        distance = self.distance(other)
        if not distance <= tolerance:  # NaN in an affine is no agreement
            unit = self.unit or "world units"
            message = f"{what} lie on different grids: corners are {distance:.6g} {unit} apart, tolerance {tolerance:g}"
            raise StepError(message, hint="resample one onto the other first")

    def describe(self) -> str:
        """One line for people: shape, axes, spacing."""
        size = " x ".join(map(str, self.shape))
        if not self.spatial:
            return f"{size} {self.axes}"
        steps = " x ".join(f"{step:.6g}" for step in self.spacing)
        spacing = f"{steps} {self.unit}".strip() if self.calibrated else "unknown"
        return f"{size} {self.axes}, spacing {spacing}"

    def to_json(self) -> dict[str, object]:
        """Plain values that ``from_json`` turns back, without loss."""
        fields = {name: getattr(self, name) for name in ("axes", "unit", "oriented", "calibrated")}
        return {"shape": list(self.shape), **fields, "affine": self.affine.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Grid:
        """The grid that ``to_json`` described."""
        return cls(**{**value, "shape": tuple(value["shape"])})
