"""ROI finders that follow from geometry, a file or a seed; all of columns, without a loop over ROIs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray
from curate_core.builtin.tiling import boxes_of_grid, sections, tile_edges
from curate_core.errors import StepError
from curate_core.grid import Grid
from curate_core.kinds import Context, RoiFinder
from curate_core.model import Case, Image
from curate_core.options import option
from curate_core.roifile import load_rois
from curate_core.rois import RoiTable, View


def image_of(case: Case, layer: str | None) -> Image:
    """The layer that ROIs are laid over: the named one, or the first."""
    images = case.images(None if layer is None else [layer])
    if not images:
        message = "the case has no image layer"
        raise StepError(message, where=f"case {case.id}")
    return next(iter(images.values()))


def sizes_of(size: int | Sequence[int], axes: str, name: str) -> list[int]:
    """One number for all axes, or one for each."""
    sizes = [size] * len(axes) if isinstance(size, int) else list(size)
    if len(sizes) != len(axes):
        message = f"{name} has {len(sizes)} numbers for the axes {axes!r}"
        raise StepError(message)
    return sizes


def extent_of(grid: Grid, axes: str) -> list[int]:
    """Voxels of a grid along some of its axes."""
    missing = [axis for axis in axes if axis not in grid.axes]
    if missing:
        message = f"the layer has the axes {grid.axes!r}, not {', '.join(missing)}"
        raise StepError(message)
    return [grid.shape[grid.axes.index(axis)] for axis in axes]


@frozen
class Whole(RoiFinder):
    """Each layer as a whole: one sample a case, of all its layers.

    Layers may lie on different grids.

    Example::

        "rois": [{"use": "whole"}]
    """

    version: ClassVar[int] = 1
    layers: tuple[str, ...] | None = option(doc="Layers to take; null: all.", default=None)

    def find(self, case: Case, context: Context) -> RoiTable:
        names = tuple(case.layers) if self.layers is None else self.layers
        missing = [name for name in names if name not in case.layers]
        if missing or not names:
            message = f"the case has the layers {', '.join(case.layers) or 'none'}, not {', '.join(missing) or 'any'}"
            raise StepError(message, where=f"case {case.id}")
        views = []
        for name in names:
            layer = case.layers[name]
            axes, shape = (layer.grid.axes, layer.grid.shape) if isinstance(layer, Image) else ("", ())
            views.append(View(np.zeros((1, len(shape))), np.array([shape]).reshape(1, -1), axes, (name,), name if len(names) > 1 else ""))
        return RoiTable(views, name="whole")


@frozen
class Each(RoiFinder):
    """One sample for each position along an axis, of all layers that have it; samples lose the axis.

    Layers may lie on different grids, but agree on how many there are.

    Example::

        "rois": [{"use": "each", "axis": "n"}]
    """

    version: ClassVar[int] = 1
    axis: str = option(doc="Letter of the axis.", min_length=1)
    layers: tuple[str, ...] | None = option(doc="Layers to take; null: all images.", default=None, min_length=1)

    def find(self, case: Case, context: Context) -> RoiTable:
        images = case.images(self.layers)
        without = [f"{name!r}, {image.grid.axes!r}" for name, image in images.items() if self.axis not in image.grid.axes]
        counts = {image.grid.shape[image.grid.axes.index(self.axis)] for image in images.values()} if not without else set()
        if without or not images:
            message = f"not every layer has the axis {self.axis!r}: {'; '.join(without)}" if without else "the case has no image layer"
            raise StepError(message, where=f"case {case.id}", hint="name those that have it, or its letter as the reader gives it")
        if len(counts) > 1:
            message = f"the layers {', '.join(images)} have {' and '.join(map(str, sorted(counts)))} positions along {self.axis!r}"
            raise StepError(message, where=f"case {case.id}", hint="are they of one series?")
        start = np.arange(counts.pop())[:, None]
        drop = np.zeros(len(start), np.int8)
        views = [View(start, start + 1, self.axis, (name,), name if len(images) > 1 else "", drop) for name in images]
        return RoiTable(views, {self.axis: start[:, 0]}, name=f"{{{self.axis}:05}}")


@frozen
class GridRois(RoiFinder):
    """A regular grid of 2D planes or 3D boxes.

    With ``planes``, sections parallel to each plane are tiled and lose the axis across; without, the layer's spatial axes are tiled.
    ``edge`` says what becomes of a remainder: ``drop``, a ``short`` tile, one that is shorter by less than ``half`` or none, or a tile that
    is ``shift``-ed back to fit. For tiles of full size with padding, take ``short`` and the transform ``pad``.

    Examples::

        "rois": [{"use": "grid", "size": 224, "planes": ["xy"], "spacing": 4}]
        "rois": [{"use": "grid", "size": [64, 128, 128], "stride": 64, "edge": "shift"}]
    """

    version: ClassVar[int] = 1
    size: int | tuple[int, ...] = option(doc="Voxels of a tile: one number, or one for each axis, array order.", ge=1)
    stride: int | tuple[int, ...] | None = option(doc="Voxels from tile to tile; null: the size.", default=None, ge=1)
    planes: tuple[str, ...] | None = option(doc='Planes such as "xy"; null: boxes over all spatial axes.', default=None, min_length=1)
    spacing: int = option(doc="Slices from one section to the next.", default=1, ge=1)
    edge: Literal["drop", "short", "half", "shift"] = option(doc="What becomes of a remainder.", default="drop")
    layer: str | None = option(doc="Layer that the grid is laid over; null: the first.", default=None)
    layers: tuple[str, ...] = option(doc="Layers to cut; none named: all images, which must share a grid.", default=())

    def find(self, case: Case, context: Context) -> RoiTable:
        grid = image_of(case, self.layer).grid
        axes = grid.spatial_axes
        shape = extent_of(grid, axes)
        if self.planes is None:
            start, stop = boxes_of_grid(self._edges(shape, axes))
            return RoiTable.boxes(start, stop, axes, layers=self.layers)
        found = []
        for plane in self.planes:
            if len(axes) == 2 and sorted(plane) == sorted(axes):
                start, stop = boxes_of_grid(self._edges(shape, axes))
                found.append((start, stop, np.full(len(start), -1, np.int8), plane))
                continue
            if len(axes) != 3 or len(plane) != 2 or len(set(plane) & set(axes)) != 2:
                message = f"{plane!r} is no plane of a layer with the axes {axes!r}"
                raise StepError(message, hint="name two of its spatial axes")
            inside = "".join(axis for axis in axes if axis in plane)
            rows, columns = self._edges([n for n, axis in zip(shape, axes, strict=True) if axis in plane], inside)
            found.append((*sections(shape, axes, plane, rows, columns, self.spacing), plane))
        start, stop, drop = (np.concatenate([entry[i] for entry in found]) for i in range(3))
        planes = np.concatenate([np.full(len(entry[0]), entry[3].encode()) for entry in found])
        index = np.where(drop >= 0, start[np.arange(len(start)), np.maximum(drop, 0)], 0)
        return RoiTable.boxes(start, stop, axes, layers=self.layers, drop=drop, attributes={"plane": planes, "index": index})

    def _edges(self, shape: Sequence[int], axes: str) -> list[tuple[NDArray, NDArray]]:
        sizes = sizes_of(self.size, axes, "size")
        strides = sizes if self.stride is None else sizes_of(self.stride, axes, "stride")
        return [tile_edges(n, size, stride, self.edge) for n, size, stride in zip(shape, sizes, strides, strict=True)]


@frozen
class RandomRois(RoiFinder):
    """Boxes at seeded random places, each place as likely as any other.

    Example::

        "rois": [{"use": "random", "size": [32, 64, 64], "count": 100}]
    """

    version: ClassVar[int] = 1
    size: int | tuple[int, ...] = option(doc="Voxels of a box: one number, or one for each spatial axis, array order.", ge=1)
    count: int = option(doc="Boxes a case.", ge=1)
    layer: str | None = option(doc="Layer that the boxes are laid over; null: the first.", default=None)
    layers: tuple[str, ...] = option(doc="Layers to cut; none named: all images, which must share a grid.", default=())

    def find(self, case: Case, context: Context) -> RoiTable:
        grid = image_of(case, self.layer).grid
        axes = grid.spatial_axes
        shape, size = np.array(extent_of(grid, axes)), np.array(sizes_of(self.size, axes, "size"))
        if (size > shape).any():
            message = f"boxes of {size.tolist()} do not fit into the layer of {shape.tolist()} ({axes})"
            raise StepError(message, where=f"case {case.id}")
        start = context.rng().integers(0, shape - size + 1, (self.count, len(axes)))
        return RoiTable.boxes(start, start + size, axes, layers=self.layers)


@frozen
class ListRois(RoiFinder):
    """ROIs from a file that ``curate rois`` wrote, or from lines written by hand.

    The file's grids are compared with the case's: a run on another grid is refused.

    Example::

        "rois": [{"use": "list", "file": "rois.npz"}]
    """

    version: ClassVar[int] = 1
    file: Path = option(doc="A .npz or .jsonl file of ROIs.", content=True)
    tolerance: float = option(doc="How far corners of the grids may lie apart, in world units.", default=1e-3, ge=0)
    missing: Literal["error", "none"] = option(doc="What a case that is not in the file gives: an error, or no ROI.", default="error")

    def find(self, case: Case, context: Context) -> RoiTable:
        known = _file(str(self.file), self.file.stat().st_mtime_ns if self.file.exists() else 0)
        if case.id not in known:
            if self.missing == "none":
                axes = image_of(case, None).grid.spatial_axes
                return RoiTable.boxes(np.zeros((0, len(axes))), np.zeros((0, len(axes))), axes)
            message = (
                f"{self.file} has no ROIs of this case, it has those of {', '.join(list(known)[:5])}{' ...' if len(known) > 5 else ''}"
            )
            raise StepError(message, where=f"case {case.id}", hint='set "missing": "none" to go on without')
        table, grids = known[case.id]
        images = case.images()
        for name, grid in grids.items():
            if name in images:
                grid.require_same(images[name].grid, self.tolerance, f"layer {name!r} and the layer that {self.file.name} is about")
        return table


@lru_cache(maxsize=2)
def _file(path: str, changed: int) -> dict[str, tuple[RoiTable, dict[str, Any]]]:
    """The last files read; a file that changes is read again."""
    return load_rois(Path(path))
