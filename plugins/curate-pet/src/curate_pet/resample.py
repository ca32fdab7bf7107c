"""The preprocessor that puts layers onto another grid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Case, Context, Grid, Image, MapArray, NDArray, Plain, Preprocessor, Scope, StepError, option, read, slabs
from curate_core.kinds import CASE
from curate_pet.mapping import ALIGNED, COARSE, Mapping, at_spacing, coarse_axis, mapping, onto
from curate_pet.resampled import ObliqueArray, Rule, SeparableArray


@frozen
class Resample(Preprocessor):
    """Put layers onto another layer's grid, or lay them at another spacing, in world space.

    With ``to`` every other layer is resampled onto that layer's grid, by both affines: rotated, flipped and partly overlapping volumes
    come out where they belong. With ``spacing`` alone each layer is laid at that spacing over its own extent, corners aligned:
    ``round(old spacing / new spacing * n)`` voxels along each axis. With both, the grid of ``to`` is laid at the spacing first, and every
    layer, ``to`` included, is resampled once.

    ``cubic`` is the spline through the samples, the same as ``scipy.ndimage.zoom(order=3, mode="nearest", grid_mode=True)`` where corners
    are aligned. Where voxels, old or new, are longer than ``anisotropy`` times their shortest side along one axis, that axis is taken by
    the nearest sample and the others by the spline. Layers under ``labels``, and booleans, are taken by the nearest voxel and keep their
    type: they have no value that was not there. Interpolated layers become float32 (float64 from types of more than 24 bits).

    Voxels outside of the source's extent, which ends half a voxel beyond the outermost centres, get ``fill``. A cubic spline overshoots
    at edges; ``clip`` takes values back into the range that the source has.

    Examples::

        "preprocess": [{"use": "resample", "to": "100pc", "labels": ["organs"], "fill": {"ct": -1024}}]
        "preprocess": [{"use": "resample", "spacing": [2.0, 2.0, 2.0], "labels": ["organs"], "clip": true}]
    """

    version: ClassVar[int] = 1
    to: str | None = option(doc="Layer whose grid all take; null: each keeps its own extent.", default=None, min_length=1)
    spacing: float | tuple[float, ...] | None = option(
        doc="Voxel size in the grid's unit: one number, or one for each spatial axis, array order; null: that of 'to'.", default=None, gt=0
    )
    layers: tuple[str, ...] | None = option(doc="Layers to resample; null: all images.", default=None)
    labels: tuple[str, ...] = option(doc="Layers that hold labels; those that a case has not are passed by.", default=())
    interpolation: Literal["cubic", "linear", "nearest"] = option(doc="How images are interpolated.", default="cubic")
    anisotropy: float | None = option(
        doc="Ratio of a voxel's sides beyond which the long axis is taken by the nearest sample; null: never.", default=COARSE, gt=1
    )
    anti_aliasing: bool = option(
        doc="Smooth images first along axes that lose resolution, with a Gaussian of (factor - 1) / 2 voxels.", default=False
    )
    clip: bool = option(doc="Clip interpolated values to the source's range.", default=False)
    fill: float | dict[str, float] = option(
        doc="Value outside of the source: one, or one for each layer (0 for those not named); labels get 0 unless they are named.",
        default=0.0,
    )
    keep: bool = option(
        doc="Compute each layer once for a case and keep it on disk, for many overlapping samples; false: what is cut, when it is cut.",
        default=False,
    )

    def __attrs_post_init__(self) -> None:
        if self.to is None and self.spacing is None:
            message = 'neither "to" nor "spacing" is given, so that there is no grid to resample onto'
            raise ValueError(message)

    def statistics_scope(self) -> Scope | None:
        return CASE if self.clip else None

    def measure(self, case: Case, context: Context) -> Plain:
        return {name: _range(image) for name, image in self._chosen(case).items() if self._kind(name, image) != "nearest"}

    def merge(self, partials: Sequence[Plain]) -> Plain:
        merged: dict[str, Any] = {}
        for found in partials:
            for name, (low, high) in found.items() if isinstance(found, dict) else ():
                known = merged.get(name, [low, high])
                merged[name] = [min(known[0], low), max(known[1], high)]
        return merged

    def estimate(self, nbytes: int) -> int:
        return 6 * nbytes  # int16 becomes float32, and an oblique spline holds its coefficients as well

    def apply(self, case: Case, context: Context) -> Case:
        target = None
        if self.to is not None:
            target = case.image(self.to).grid
            target = target if self.spacing is None else self._laid(target, self.to)
        limits: Any = context.statistics or {}
        changed = {}
        for name, image in self._chosen(case).items():
            if name == self.to and self.spacing is None:
                continue
            goal = self._laid(image.grid, name) if target is None else target
            changed[name] = self._resampled(image, name, goal, limits.get(name), context)
        return case.with_layers(changed)

    def _chosen(self, case: Case) -> dict[str, Image]:
        images = case.images(self.layers)
        for name, image in images.items():
            if image.dtype.kind not in "biuf":
                message = f"voxels of type {image.dtype} cannot be resampled (layer {name!r})"
                raise StepError(message)
        return images

    def _laid(self, grid: Grid, name: str) -> Grid:
        assert self.spacing is not None
        spacing = [self.spacing] * len(grid.spatial) if isinstance(self.spacing, float) else list(self.spacing)
        try:
            return at_spacing(grid, spacing)
        except StepError as error:
            error.message = f"layer {name!r}: {error.message}"
            raise

    def _kind(self, name: str, image: Image) -> str:
        return "nearest" if name in self.labels or image.dtype.kind == "b" else self.interpolation

    def _resampled(self, image: Image, name: str, goal: Grid, limits: Any, context: Context) -> Image:
        what = f"layers {name!r} and {self.to!r}" if self.to is not None else f"layer {name!r} and its new grid"
        found = mapping(image.grid, goal, what)
        goal = onto(image.grid, goal)
        kind = self._kind(name, image)
        dtype = image.dtype.newbyteorder("=") if kind == "nearest" else interpolated(image.dtype)
        note = f"{kind} onto {self.to}" if self.to is not None else kind
        if image.grid.shape == goal.shape and _same(found):
            return image.with_array(MapArray(image.array, partial(np.asarray, dtype=dtype), dtype), goal, resampled=note)
        kinds = [kind] * len(found.offset)
        coarse = self._coarse(image.grid, goal, found) if kind != "nearest" else None
        if coarse is not None:
            kinds[coarse] = "nearest"
            note += f", nearest along {image.grid.spatial_axes[coarse]}"
        clipped = (limits[0], limits[1]) if self.clip and limits is not None else None
        rule = Rule(tuple(kinds), self.anti_aliasing, self._fill(name, dtype), clipped, dtype)
        made = SeparableArray if found.order is not None else ObliqueArray
        array = made(image.array, image.grid.spatial, goal.shape, found, rule)
        return image.with_array(context.materialise(name, array) if self.keep else array, goal, resampled=note)

    def _coarse(self, old: Grid, new: Grid, found: Mapping) -> int | None:
        """The source's axis that is taken by the nearest sample."""
        axis = coarse_axis(old.spacing, self.anisotropy)
        if axis is not None:
            return axis
        across = coarse_axis(new.spacing, self.anisotropy)
        return None if across is None else int(np.abs(found.matrix[:, across] * np.array(old.spacing)).argmax())

    def _fill(self, name: str, dtype: np.dtype[Any]) -> float:
        named = self.fill.get(name, 0.0) if isinstance(self.fill, dict) else 0.0 if name in self.labels else self.fill
        with np.errstate(all="ignore"):
            stored = np.asarray(named).astype(dtype)
        if not np.isfinite(stored) or (dtype.kind != "f" and stored != named):
            message = f"a fill of {named:g} does not exist among the {dtype} values of layer {name!r}"
            raise StepError(message, hint='give one for each layer: "fill": {"' + name + '": 0}')
        return named


def interpolated(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What interpolated values of a type are stored as: float32 where it holds every value of the type, float64 otherwise."""
    return np.dtype(np.float32 if np.can_cast(dtype, np.float32, "safe") else np.float64)


def _same(found: Mapping) -> bool:
    return bool(
        found.order == tuple(range(len(found.offset)))
        and np.abs(found.matrix - np.eye(len(found.offset))).max() <= 1e-6
        and np.abs(found.offset).max(initial=0.0) <= ALIGNED
    )


def _range(image: Image) -> list[float]:
    """Least and greatest finite value."""
    parts: list[NDArray] = []
    for where in slabs(image.array):
        values = read(image.array, where)
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if values.size:
            parts.append(np.array([values.min(), values.max()], np.float64))
    if not parts:
        return [0.0, 0.0]
    return [float(min(part[0] for part in parts)), float(max(part[1] for part in parts))]
