"""Standardisation of volumes: zero mean and unit variance, the statistics kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import ArrayLike, Case, Context, Image, LazyArray, NDArray, Plain, Preprocessor, Scope, StepError, option, read
from curate_core.arrays import Box, nbytes
from curate_core.context import CASE
from curate_core.grid import SPATIAL

SMALLEST = 1e-6
"""A standard deviation below this divides as this (dwi_ml's ``standardize_data``)."""
_SLAB = 4 << 20


@frozen
class Standardize(Preprocessor):
    """Zero mean and unit variance: (value - mean) / max(deviation, 1e-6) over all voxels, as float32.

    Mean and standard deviation (of the population) are taken inside ``mask``, where any of its channels is above 0; without one, where all
    features are other than 0 (those that are 0 everywhere apart): over the whole ``layer``, each ``feature`` of the last axis by itself,
    or each ``file`` of those joined. They are kept in the layer's notes, and by the writer ``dwi-ml-hdf5`` in the file.

    Example::

        "preprocess": [{"use": "standardize", "layer": "input", "over": "file", "mask": "wm_mask"}]
    """

    version: ClassVar[int] = 1
    layer: str = option(doc="Layer to change.", min_length=1)
    over: Literal["layer", "feature", "file"] = option(doc="What shares a mean and a deviation.", default="feature")
    mask: str | None = option(doc="Layer of voxels that count, where it is above 0; null: where no feature is 0.", default=None)

    def statistics_scope(self) -> Scope:
        return CASE

    def merge(self, partials: Sequence[Plain]) -> Plain:
        return partials[0]

    def apply(self, case: Case, context: Context) -> Case:
        kept: Any = context.statistics
        image = case.image(self.layer)
        mean, deviation = np.array(kept["mean"], np.float64), np.array(kept["std"], np.float64)
        array = Standardized(image.array, feature_axis(image, self.layer), mean, np.maximum(deviation, SMALLEST))
        return case.with_layers({self.layer: image.with_array(array, standardized=kept)})

    def measure(self, case: Case, context: Context) -> Plain:
        image = case.image(self.layer)
        axis = feature_axis(image, self.layer)
        count = 1 if axis is None else image.grid.shape[axis]
        mask = None if self.mask is None else self._mask(case, image)
        mean, deviation, voxels = np.empty(count), np.empty(count), []
        for group in self._groups(image, count):
            found = measure(image.array, axis, group, mask, separately=self.over == "feature")
            if found is None:
                where = f"features {group[0]} to {group[-1]}" if len(group) > 1 else f"feature {group[0]}"
                inside = f"in the mask {self.mask!r}" if self.mask else "at which they are all other than 0"
                message = f"{where} of layer {self.layer!r} have no voxel {inside}"
                raise StepError(message, where=f"case {case.id}", hint="give a mask that covers the subject")
            mean[group], deviation[group] = found[0], found[1]
            voxels.append(found[2])
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            message = f"layer {self.layer!r} holds NaN or infinity where it is measured"
            raise StepError(message, where=f"case {case.id}")
        return {"over": self.over, "mean": mean.tolist(), "std": deviation.tolist(), "voxels": [*voxels]}

    def _groups(self, image: Image, count: int) -> list[NDArray]:
        """Features that are measured together, or share a mask."""
        if self.over != "file":
            return [np.arange(count)]
        joined: Any = image.notes.get("joined", [count])
        edges = np.cumsum([0, *joined])
        return [np.arange(a, b) for a, b in itertools.pairwise(edges.tolist())]

    def _mask(self, case: Case, image: Image) -> NDArray:
        """(spatial axes of the layer) bool.

        Raises:
            StepError: the mask lies on another grid.
        """
        assert self.mask is not None
        given = case.image(self.mask)
        image.grid.require_same(given.grid, 1e-3, f"layer {self.layer!r} and its mask {self.mask!r}")
        values = read(given.array) > 0
        others = tuple(i for i in range(values.ndim) if i not in given.grid.spatial)
        return np.asarray(values.any(axis=others)) if others else values


def feature_axis(image: Image, name: str) -> int | None:
    """Position of the axis that is not in space; None where there is none.

    Raises:
        StepError: there are several.
    """
    others = [i for i, axis in enumerate(image.grid.axes) if axis not in SPATIAL]
    if len(others) > 1:
        message = f"layer {name!r} has the axes {image.grid.axes!r}, expected one at most that is not in space"
        raise StepError(message)
    return others[0] if others else None


def _feature(array: ArrayLike, axis: int | None, feature: int) -> NDArray:
    if axis is None:
        return read(array)
    where = tuple(slice(int(feature), int(feature) + 1) if i == axis else slice(0, n) for i, n in enumerate(array.shape))
    return read(array, where).squeeze(axis)


def measure(
    array: ArrayLike, axis: int | None, group: Sequence[int] | NDArray, mask: NDArray | None, *, separately: bool
) -> tuple[Any, Any, int] | None:
    """Mean and standard deviation of some features, in float64, and over how many voxels; None where there is no voxel.

    Args:
        axis: position of the features' axis.
        mask: voxels that count; None: those where all features of the group are other than 0.
        separately: one of each for each feature, otherwise one for all.
    """
    if mask is None:
        mask = _where_all(array, axis, group)
    voxels = int(np.count_nonzero(mask))
    if not voxels:
        return None
    inside = None if voxels == mask.size else np.flatnonzero(mask)
    means, squares = [], []
    for values in _values(array, axis, group, inside):
        own = values.mean()
        means.append(own)
        squares.append(np.square(values - own).mean())
    mean, square = np.array(means), np.array(squares)
    if separately:
        return mean, np.sqrt(square), voxels
    whole = mean.mean()  # all features have as many voxels
    return whole, float(np.sqrt(square.mean() + np.square(mean - whole).mean())), voxels


def _values(array: ArrayLike, axis: int | None, group: Sequence[int] | NDArray, inside: NDArray | None) -> Iterator[NDArray]:
    for feature in group:
        volume = _feature(array, axis, int(feature)).reshape(-1)
        yield (volume if inside is None else volume[inside]).astype(np.float64)


def _where_all(array: ArrayLike, axis: int | None, group: Sequence[int] | NDArray) -> NDArray:
    """Voxels at which no feature is 0; features that are 0 everywhere do not count."""
    mask: NDArray | None = None
    for feature in group:
        filled = _feature(array, axis, int(feature)) != 0
        if filled.any():
            mask = filled if mask is None else mask & filled
    if mask is None:  # nothing but zeros: their mean is 0, and so is what they become
        shape = tuple(n for i, n in enumerate(array.shape) if i != axis)
        return np.ones(shape, bool)
    return mask


class Standardized(LazyArray):
    """(value - mean) / deviation as float32, computed for what is read."""

    def __init__(self, base: ArrayLike, axis: int | None, mean: NDArray, deviation: NDArray) -> None:
        self.base, self.shape, self.dtype = base, tuple(base.shape), np.dtype(np.float32)
        shape = [len(mean) if i == axis else 1 for i in range(len(self.shape))]
        self.axis, self.mean, self.deviation = axis, mean.reshape(shape), deviation.reshape(shape)

    def read_box(self, where: Box) -> NDArray:
        out = np.empty([s.stop - s.start for s in where], np.float32)
        if not out.size:
            return out
        chosen = tuple(where[i] if i == self.axis else slice(None) for i in range(len(where)))
        wide = np.dtype(self.base.dtype).kind != "f" and np.dtype(self.base.dtype).itemsize > 2
        kind = np.float64 if wide or np.dtype(self.base.dtype).itemsize > 4 else np.float32
        mean, deviation = self.mean[chosen].astype(kind), self.deviation[chosen].astype(kind)
        step = max(1, int(_SLAB * len(out) // max(1, nbytes(out))))
        for first in range(0, len(out), step):
            start, stop = where[0].start + first, min(where[0].start + first + step, where[0].stop)
            slab = read(self.base, (slice(start, stop), *where[1:]))
            here = mean[start - where[0].start : stop - where[0].start] if self.axis == 0 else mean
            there = deviation[start - where[0].start : stop - where[0].start] if self.axis == 0 else deviation
            target = out[first : first + len(slab)]
            centred = np.subtract(slab, here, dtype=kind, out=target if kind == np.float32 else None)
            np.divide(centred, there, out=target, casting="same_kind")
        return out
