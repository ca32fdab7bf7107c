"""Sinograms of another size, by a product with two thin matrices."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import attrs
import numpy as np
from attrs import frozen

from curate_core import Batch, Context, Grid, NDArray, StepError, Transform, option
from curate_core.batch import GridOf

_TRUNCATE = 4.0


@frozen
class Resize(Transform):
    """Resize 2D samples, anti-aliased.

    What ``skimage.transform.resize(order=1, anti_aliasing=True)`` does: a gaussian of sigma (factor - 1) / 2 along each axis that
    shrinks, cut at 4 sigma, mirrored at the borders; then linear interpolation between pixel centres. Both are linear and separable, so
    that they are one matrix an axis. Arrays become float32. Masks become uint8: 1 where a pixel covers any masked one.

    Example::

        "transform": [{"use": "resize", "size": [402, 362]}]
    """

    version: ClassVar[int] = 1
    size: tuple[int, int] | None = option(doc="Angles and columns; null: samples stay as they are.", default=(402, 362), ge=1)
    masks: tuple[str, ...] = option(doc="Arrays that are masks, where samples have them.", default=("mask",))

    def estimate(self, nbytes: int) -> int:
        return 4 * nbytes  # counts may be of 16 bits, and become floats

    def apply(self, batch: Batch, context: Context) -> Batch:
        if self.size is None:
            return batch
        for name in batch.arrays:
            values = batch.arrays[name]
            if values.ndim != 3 or values.dtype.kind not in "biuf":
                message = f"array {name!r} has {values.ndim - 1} axes and type {values.dtype}, only 2D samples of real numbers are resized"
                raise StepError(message)
            change = covered if name in self.masks else resized
            made = np.stack([change(sample, self.size) for sample in values])
            batch = batch.with_array(name, made, _grids(batch.grids[name], self.size))
        return batch


def _grids(grid_of: GridOf, size: tuple[int, int]) -> GridOf:
    return lambda row: resized_grid(grid_of(row), size)


def resized_grid(grid: Grid, size: tuple[int, ...]) -> Grid:
    """The grid of an array that was resized: the same extent, other pixels."""
    affine = np.array(grid.affine)
    for column, axis in enumerate(grid.spatial):
        factor = grid.shape[axis] / size[axis]
        affine[:3, -1] += affine[:3, column] * (factor - 1) / 2
        affine[:3, column] *= factor
    return attrs.evolve(grid, shape=size, affine=affine)


def resized(sample: NDArray, size: tuple[int, int]) -> NDArray:
    """(angle, column) -> ``size``, float32."""
    values = sample.astype(np.float32, copy=False)
    if values.shape[0] != size[0]:
        values = np.asarray(matrix(values.shape[0], size[0]) @ values)
    if values.shape[1] != size[1]:
        values = np.asarray(matrix(values.shape[1], size[1]) @ np.ascontiguousarray(values.T)).T
    return np.ascontiguousarray(values)


@lru_cache(maxsize=16)
def matrix(length: int, size: int) -> Any:
    """(size, length) sparse float32: the weights of what resizing along one axis does."""
    from scipy.sparse import csr_matrix

    factor = length / size
    sigma = max(0.0, (factor - 1) / 2)
    radius = int(_TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2) if radius else np.ones(1)
    kernel /= kernel.sum()
    centres = (np.arange(size) + 0.5) * factor - 0.5
    lower = np.floor(centres).astype(np.int64)
    share = centres - lower
    rows, columns, weights = [], [], []
    for step, part in ((0, 1 - share), (1, share)):
        place = _mirrored(lower + step, length)[:, None] + offsets
        rows.append(np.broadcast_to(np.arange(size)[:, None], place.shape).ravel())
        columns.append(_mirrored(place, length).ravel())
        weights.append((part[:, None] * kernel).ravel())
    joined = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    made = csr_matrix(joined, shape=(size, length))
    made.eliminate_zeros()
    made.sort_indices()
    return made.astype(np.float32)


def _mirrored(index: NDArray, length: int) -> NDArray:
    """Indices outside, mirrored at the centres of the first and last pixel (d c b | a b c d | c b a)."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    folded = np.mod(index, period)
    return np.where(folded < length, folded, period - folded)


def covered(mask: NDArray, size: tuple[int, int]) -> NDArray:
    """(angle, column) -> ``size`` uint8: 1 where a pixel of the result covers any part of a masked one."""
    found = (mask != 0).astype(np.uint8)
    for axis, count in enumerate(size):
        length = found.shape[axis]
        if length == count:
            continue
        first = np.arange(count) * length // count
        last = -(-np.arange(1, count + 1) * length // count)
        sums = np.concatenate([np.zeros_like(found.take([0], axis), np.int64), np.cumsum(found, axis=axis, dtype=np.int64)], axis=axis)
        found = (sums.take(last, axis) > sums.take(first, axis)).astype(np.uint8)
    return found
