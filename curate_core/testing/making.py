"""Small cases, batches and contexts, made in one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from curate_core.arrays import Box, LazyArray, NDArray
from curate_core.batch import Batch, LazyArrays
from curate_core.grid import Grid
from curate_core.kinds import Component, Context, generator
from curate_core.model import Case, Image, Plain
from curate_core.rois import RoiTable
from curate_core.structure import structure

C = TypeVar("C", bound=Component)


def values(shape: Sequence[int], dtype: Any = "uint8", seed: object = 0) -> NDArray:
    """Random values over the whole range of an integer dtype, or about 0 for floats; read-only.

    Args:
        shape: voxels along each axis.
        dtype: any numeric dtype, foreign byte orders included.
        seed: the same seed gives the same values.
    """
    kind, rng = np.dtype(dtype), generator("values", seed, tuple(shape))
    if kind.kind == "b":
        made: NDArray = rng.integers(0, 2, shape).astype(bool)
    elif kind.kind in "iu":
        limits = np.iinfo(kind)
        made = rng.integers(limits.min, limits.max, shape, kind.newbyteorder("="), endpoint=True).astype(kind)
        made.flat[: min(2, made.size)] = (limits.min, limits.max)[: min(2, made.size)]
    else:
        made = rng.normal(0, 100, shape).astype(kind)
    made.setflags(write=False)
    return made


def make_image(array: Any, axes: str = "", spacing: Sequence[float] | None = None, unit: str = "nm") -> Image:
    """An image layer.

    Args:
        array: the voxels, numpy or lazy.
        axes: letters in array order; by default the last of ``"zyx"``.
        spacing: along each spatial axis, array order; None: not known.
        unit: of the spacing.
    """
    letters = axes or "zyx"[-len(array.shape) :]
    return Image(array, Grid.from_spacing(array.shape, letters, spacing, unit if spacing is not None else ""))


def make_case(
    array: Any, axes: str = "", spacing: Sequence[float] | None = None, *, id: str = "case", layer: str = "image", **attributes: Plain
) -> Case:
    """A case of one image layer, or of several: ``make_case({"ct": a, "pet": b})``.

    Args:
        array: voxels, or layer name -> voxels, all with the same axes and spacing.
        axes, spacing: as for ``make_image``.
        id: of the case.
        layer: name of the single layer.
        attributes: of the case.
    """
    layers = array if isinstance(array, Mapping) else {layer: array}
    return Case(id, {name: make_image(voxels, axes, spacing) for name, voxels in layers.items()}, attributes)


def make_batch(
    array: NDArray | Mapping[str, NDArray],
    axes: str = "",
    spacing: Sequence[float] | None = None,
    *,
    id: str = "case",
    first: int = 0,
    attributes: Mapping[str, NDArray] | None = None,
    case_attributes: Mapping[str, Plain] | None = None,
) -> Batch:
    """Samples of one case, as the runner would cut them.

    The samples lie one after the other along the first spatial axis of the case's layers.

    Args:
        array: (n, ...) values, a row a sample; or array name -> such values, of equal shapes.
        axes: letters of one sample.
        spacing: of its spatial axes.
        id: of the case.
        first: number of the first sample in the case: another one gives other ROIs, as a second batch of the case has.
        attributes: (n,) columns of the ROIs.
        case_attributes: of the case.
    """
    arrays = dict(array) if isinstance(array, Mapping) else {"image": array}
    shape = next(iter(arrays.values())).shape[1:]
    count = len(next(iter(arrays.values())))
    letters = axes or "zyx"[-len(shape) :]
    along = next(i for i, axis in enumerate(letters) if axis in "xyz")
    length = shape[along]
    layers = {}
    for name, stack in arrays.items():
        empty = np.zeros((first, *shape), stack.dtype)
        voxels = np.concatenate([*empty, *stack, np.zeros(shape, stack.dtype)], axis=along)
        layers[name] = make_image(voxels, letters, spacing)
    start = np.zeros((count, len(shape)), np.int64)
    start[:, along] = (np.arange(count) + first) * length
    stop = start + np.array(shape, np.int64)
    case = Case(id, layers, case_attributes or {})
    rois = RoiTable.boxes(start, stop, letters, attributes=attributes)
    grid = next(iter(layers.values())).grid

    def grid_of(row: int) -> Grid:
        return grid.crop(start[row].tolist(), stop[row].tolist())

    makers = {name: _giving(stack) for name, stack in arrays.items()}
    grids = dict.fromkeys(arrays, grid_of)
    return Batch(case, rois, rois.ids(id), LazyArrays(makers), grids, np.arange(count) + first, {}, rois.attributes)


def _giving(stack: NDArray) -> Callable[[], NDArray]:
    view = stack.view()
    view.setflags(write=False)
    return lambda: view


def context(
    step: str = "step", seed: int = 0, *, case: str = "case", state: Any = None, statistics: Plain = None, folder: Path | None = None
) -> Context:
    """What the runner would give a step."""
    return Context(step, seed, case, state, statistics, folder)


def make_component(cls: type[C], options: Mapping[str, Any], folder: Path | None = None) -> C:
    """The component as a spec would build it.

    Args:
        cls: its class.
        options: as a spec writes them.
        folder: where relative paths start; by default the current one.
    """
    made: C = structure(dict(options), cls, folder or Path.cwd())
    return made


class Untouchable(LazyArray):
    """An array whose voxels must not be asked for."""

    def __init__(self, shape: Sequence[int], dtype: Any, why: str) -> None:
        self.shape, self.dtype, self.why = tuple(shape), np.dtype(dtype), why

    def read_box(self, where: Box) -> NDArray:
        raise AssertionError(self.why)


def without_pixels(batch: Batch, why: str) -> Batch:
    """The batch, its arrays and layers failing with ``why`` when they are used."""

    def refuse() -> NDArray:
        raise AssertionError(why)

    layers = {
        name: layer.with_array(Untouchable(layer.array.shape, layer.dtype, why)) if isinstance(layer, Image) else layer
        for name, layer in batch.case.layers.items()
    }
    arrays = LazyArrays(dict.fromkeys(batch.arrays, refuse))
    case = batch.case.with_layers(layers)
    return Batch(case, batch.rois, batch.ids, arrays, batch.grids, batch.rows, batch.tractograms, batch.attributes)
