"""A layer on the grid of another mip, computed for the box that is read."""

from __future__ import annotations

from typing import Literal

import numpy as np

from curate_align.places import corner_of
from curate_align.taps import Method, Taps, taps
from curate_core import ArrayLike, Grid, LazyArray, NDArray, StepError, read
from curate_core.arrays import Box, absent

Chosen = Literal["auto", "bilinear", "nearest", "area"]
_SAME = 1e-4
"""Of a voxel: what differs by less is equal."""


class OnGrid(LazyArray):
    """An image layer brought to another grid along y and x; z and channels stay. Outside of the layer lie zeros.

    Args:
        base: the layer's array.
        source: its grid.
        target: the grid to bring it to.
        method: ``auto`` takes area going to coarser pixels, and else bilinear.
        what: the layer, for errors.

    Raises:
        StepError: the grids are turned against each other, or their sections have other places.
    """

    def __init__(self, base: ArrayLike, source: Grid, target: Grid, method: Chosen, what: str) -> None:
        self.base, self.target, self.what = base, target, what
        self._ratio, self._edge = mapping(source, target, what)
        coarser = max(self._ratio["y"], self._ratio["x"]) > 1 + _SAME
        self.method: Method = method if method != "auto" else "area" if coarser else "bilinear"
        self.axes = source.axes
        lengths = dict(zip(target.axes, target.shape, strict=True))
        self.shape = tuple(lengths[axis] if axis in "zyx" else n for axis, n in zip(source.axes, source.shape, strict=True))
        self.dtype = np.dtype(base.dtype).newbyteorder("=") if self.method == "nearest" else np.dtype(np.float32)

    def read_box(self, where: Box) -> NDArray:
        found, inner = self._under(where)
        values = read(self.base, inner)
        for axis in sorted(found, key=lambda position: -self._ratio[self.axes[position]]):  # what shrinks most first; never by the box
            tap = found[axis]
            keeps = self.method == "nearest" or self.axes[axis] == "z"
            values = (tap.pick if keeps else tap.apply)(values, axis, inner[axis].start)
        return values.astype(self.dtype, copy=False)

    def absent(self, where: Box) -> float:
        return absent(self.base, self._under(where)[1])

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        columns = [self.target.spatial_axes.index(axis) for axis in self.axes if axis in "zyx"]
        affine = self.target.affine[:, [*columns, -1]]
        return Grid(self.shape, self.axes, affine, self.target.unit, self.target.oriented, self.target.calibrated)

    def _under(self, where: Box) -> tuple[dict[int, Taps], Box]:
        """The taps along the spatial axes, and the box of the layer that they need."""
        found: dict[int, Taps] = {}
        inner = list(where)
        for position, (axis, wanted, length) in enumerate(zip(self.axes, where, self.base.shape, strict=True)):
            if axis in "zyx":
                method: Method = "nearest" if axis == "z" else self.method
                tap = taps(wanted.start, wanted.stop, ratio=self._ratio[axis], edge=self._edge[axis], length=length, method=method)
                found[position] = tap
                inner[position] = slice(tap.start, tap.stop)
        return found, tuple(inner)


def mapping(source: Grid, target: Grid, what: str) -> tuple[dict[str, float], dict[str, float]]:
    """For each of z, y and x: the source's voxels that a target voxel covers, and where target voxel 0 begins in the source's.

    Raises:
        StepError: an axis is missing, a grid is oblique or reversed, or sections lie elsewhere.
    """
    ratio, edge = {}, {}
    for axis in "zyx":
        (step, begin), (own, first) = _along(target, axis, what), _along(source, axis, what)
        ratio[axis] = step / own
        edge[axis] = (begin - first) / own
    if source.unit != target.unit and source.unit and target.unit:
        message = f"{what} has voxels in {source.unit}, the grid it should lie on in {target.unit}"
        raise StepError(message, hint="give all layers one unit")
    if abs(ratio["z"] - 1) > _SAME or abs(edge["z"] - round(edge["z"])) > _SAME:
        apart = f"{edge['z']:g} of its sections lie before the first of those, which are {ratio['z']:g} of its own thick"
        message = f"{what} has other sections than the grid to bring it to: {apart}"
        raise StepError(message, hint="layers are brought to other mips along y and x only")
    return ratio, edge


def _along(grid: Grid, axis: str, what: str) -> tuple[float, float]:
    """Voxel length along an axis, and where its first voxel begins, world units."""
    if axis not in grid.axes:
        message = f"{what} has the axes {grid.axes!r}, without {axis}"
        raise StepError(message, hint="volumes of sections have z, y and x")
    column = grid.spatial_axes.index(axis)
    direction = grid.affine[:3, column]
    step = float(direction["xyz".index(axis)])
    if step <= 0 or np.abs(np.delete(direction, "xyz".index(axis))).max() > _SAME * step:
        message = f"{what} is turned or mirrored against its own axes"
        raise StepError(message, hint="bring it to plain x, y and z first")
    return step, float(grid.affine["xyz".index(axis), -1]) - step / 2


def grid_at(grid: Grid, factor: float) -> Grid:
    """The grid of voxels that are ``factor`` times as long along y and x, numbered from the origin as those of a pyramid's levels are.

    Of coarser ones, only those that lie within the layer.
    """
    corner = dict(zip("xyz", corner_of(grid).tolist(), strict=True))
    affine = grid.affine.copy()
    shape = list(grid.shape)
    for axis in "yx":
        row, column, position = "xyz".index(axis), grid.spatial_axes.index(axis), grid.axes.index(axis)
        step, begin = _along(grid, axis, "the layer")
        first = int(np.ceil(corner[axis] / factor - _SAME))
        last = int(np.floor((corner[axis] + grid.shape[position]) / factor + _SAME))
        shape[position] = max(0, last - first)
        affine[row, column] = step * factor
        affine[row, -1] = begin + (first * factor - corner[axis]) * step + step * factor / 2
    return Grid(tuple(shape), grid.axes, affine, grid.unit, grid.oriented, grid.calibrated)
