"""Sections of layers around the samples of a batch: where they lie, and what is there."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from curate_core import Batch, Grid, Image, NDArray, StepError, read
from curate_core.arrays import Box


@frozen
class Section:
    """A box of one section of a layer.

    Attributes:
        z: index of the section.
        y, x: index of its first pixel; may be negative.
        height, width: pixels.
    """

    z: int
    y: int
    x: int
    height: int
    width: int

    @classmethod
    def of(cls, grid: Grid, layer: Grid) -> Section:
        """The box of a layer with voxels of one length that a sample's grid (y, x) covers."""
        first = _index(layer, grid.affine[:3, -1])
        height, width = (grid.shape[grid.axes.index(axis)] for axis in "yx")
        z, y, x = (int(np.rint(first[axis])) for axis in "zyx")
        return cls(z, y, x, height, width)

    @classmethod
    def around(cls, grid: Grid, layer: Grid, size: tuple[int, int]) -> Section:
        """The box of ``size`` pixels of a layer around the centre of a sample's grid (y, x)."""
        height, width = (grid.shape[grid.axes.index(axis)] for axis in "yx")
        middle = {"y": (height - 1) / 2, "x": (width - 1) / 2}
        index = _index(layer, grid.world([middle[axis] for axis in grid.spatial_axes]))
        first = {axis: int(np.floor(index[axis] + 0.5 - n / 2 + 1e-6)) for axis, n in zip("yx", size, strict=True)}
        return cls(int(np.rint(index["z"])), first["y"], first["x"], *size)

    def moved(self, rows: int, columns: int) -> Section:
        """The box so many pixels further along y and x."""
        return Section(self.z, self.y + rows, self.x + columns, self.height, self.width)

    def clipped(self, grid: Grid) -> Section | None:
        """What a layer has of it; None: nothing."""
        depth, height, width = (grid.shape[grid.axes.index(axis)] for axis in "zyx")
        top, left = max(self.y, 0), max(self.x, 0)
        bottom, right = min(self.y + self.height, height), min(self.x + self.width, width)
        if not 0 <= self.z < depth or top >= bottom or left >= right:
            return None
        return Section(self.z, top, left, bottom - top, right - left)

    def read(self, image: Image) -> NDArray:
        """The pixels of a layer in it: (height, width), or (height, width, c)."""
        return read(image.array, self._box(image.grid)).squeeze(image.grid.axes.index("z"))

    def grid(self, grid: Grid) -> Grid:
        """Where they lie."""
        box = self._box(grid)
        cropped = grid.crop([s.start for s in box], [s.stop for s in box])
        return cropped.drop(grid.axes.index("z"))

    def _box(self, grid: Grid) -> Box:
        spans = {"z": slice(self.z, self.z + 1), "y": slice(self.y, self.y + self.height), "x": slice(self.x, self.x + self.width)}
        return tuple(spans.get(axis, slice(0, n)) for axis, n in zip(grid.axes, grid.shape, strict=True))

    def describe(self) -> str:
        """For a message."""
        return f"z {self.z}, y {self.y} to {self.y + self.height}, x {self.x} to {self.x + self.width}"


def _index(layer: Grid, world: NDArray) -> dict[str, float]:
    """Index of a world place along z, y and x of a layer whose axes lie along the world's."""
    columns = [layer.spatial_axes.index(axis) for axis in "zyx"]
    matrix = layer.affine[:3, columns]
    found = np.linalg.solve(matrix, world - layer.affine[:3, -1])
    return dict(zip("zyx", found.tolist(), strict=True))


def layer_of(batch: Batch, name: str) -> Image:
    """An image layer of the batch's case, of sections.

    Raises:
        StepError: there is none, or it has no z, y and x.
    """
    image = batch.case.image(name)
    if any(axis not in image.grid.axes for axis in "zyx"):
        message = f"layer {name!r} has the axes {image.grid.axes!r}; sections have z, y and x"
        raise StepError(message, where=f"case {batch.case.id}")
    return image


def array_of(batch: Batch, view: str, layer: str) -> str:
    """What the samples call the array that a view cut from a layer.

    Raises:
        StepError: they have none.
    """
    for name in (f"{view}.{layer}", view):
        if name in batch.arrays:
            return name
    message = f"the samples have no array {view}.{layer}, only {', '.join(batch.arrays) or 'none'}"
    raise StepError(message, where=f"case {batch.case.id}", hint="which layers a pair's views cut is an option of its ROI finder")
