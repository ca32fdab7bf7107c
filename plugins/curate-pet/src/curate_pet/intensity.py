"""Values of whole layers, modality by modality: clipped, windowed, standardised; all lazy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from attrs import frozen

from curate_core import Case, Context, Image, MapArray, NDArray, Plain, Preprocessor, Scope, StepError, option, read, slabs
from curate_core.kinds import CASE


def _numbers(image: Image, name: str) -> Image:
    if image.dtype.kind not in "iuf":
        message = f"voxels of type {image.dtype} have no intensity (layer {name!r})"
        raise StepError(message)
    return image


@frozen
class Clip(Preprocessor):
    """Take values beyond two limits back to them; the type stays.

    Example::

        "preprocess": [{"use": "clip", "low": -1024, "high": 3071, "layers": ["ct"]}]
    """

    version: ClassVar[int] = 1
    low: float | None = option(doc="Least value; null: any.", default=None)
    high: float | None = option(doc="Greatest value; null: any.", default=None)
    layers: tuple[str, ...] | None = option(doc="Layers to change; null: all images.", default=None)

    def __attrs_post_init__(self) -> None:
        if self.low is None and self.high is None:
            message = 'neither "low" nor "high" is given, so that nothing would be clipped'
            raise ValueError(message)
        if self.low is not None and self.high is not None and self.low > self.high:
            message = f"low: {self.low:g} is greater than high: {self.high:g}"
            raise ValueError(message)

    def apply(self, case: Case, context: Context) -> Case:
        return case.with_layers({name: self._clipped(_numbers(image, name), name) for name, image in case.images(self.layers).items()})

    def _clipped(self, image: Image, name: str) -> Image:
        dtype = image.dtype.newbyteorder("=")
        low, high = (None if limit is None else _limit(limit, dtype, name) for limit in (self.low, self.high))
        return image.with_array(MapArray(image.array, partial(np.clip, a_min=low, a_max=high), dtype))


def _limit(limit: float, dtype: np.dtype[Any], name: str) -> Any:
    """The limit as a value of the type; one that lies beyond the type's range is the range's end."""
    if dtype.kind == "f":
        return dtype.type(limit)
    info = np.iinfo(dtype)
    if not float(limit).is_integer():
        message = f"a limit of {limit:g} does not exist among the {dtype} values of layer {name!r}"
        raise StepError(message, hint="give a whole number, or make the layer a float first")
    return dtype.type(min(max(int(limit), int(info.min)), int(info.max)))


@frozen
class Window(Preprocessor):
    """Map an intensity window to a range, as float32; what lies outside is clipped.

    ``low`` becomes the first number of ``to`` and ``high`` the second.

    Example::

        "preprocess": [{"use": "window", "low": -160, "high": 240, "layers": ["ct"]}]
    """

    version: ClassVar[int] = 1
    low: float = option(doc="Value that becomes the first number of 'to'.")
    high: float = option(doc="Value that becomes the second number of 'to'.")
    to: tuple[float, float] = option(doc="Range of the result.", default=(0.0, 1.0))
    layers: tuple[str, ...] | None = option(doc="Layers to change; null: all images.", default=None)

    def __attrs_post_init__(self) -> None:
        if not self.low < self.high:
            message = f"low: {self.low:g} is not less than high: {self.high:g}"
            raise ValueError(message)

    def apply(self, case: Case, context: Context) -> Case:
        scale = partial(_windowed, low=self.low, high=self.high, first=self.to[0], last=self.to[1])
        note = f"{self.low:g} to {self.high:g}"
        images = case.images(self.layers).items()
        return case.with_layers(
            {name: _numbers(image, name).with_array(MapArray(image.array, scale, np.float32), window=note) for name, image in images}
        )


def _windowed(values: NDArray, low: float, high: float, first: float, last: float) -> NDArray:
    share = (np.clip(values.astype(np.float64), low, high) - low) / (high - low)
    return (first + share * (last - first)).astype(np.float32)


@frozen
class ZScore(Preprocessor):
    """Scale whole layers to zero mean and unit variance, each layer by itself, as float32.

    Mean and standard deviation (of the population) are measured over the finite voxels of a case, of the dataset, or of the cases that
    share an attribute; ``above`` leaves out a background. Constant layers become 0. The core's ``normalize`` does the same to cut samples.

    Example::

        "preprocess": [{"use": "z-score", "layers": ["100pc"], "above": 0.1}]
    """

    version: ClassVar[int] = 1
    over: Scope = option(doc="Over what mean and deviation are measured: case, dataset or an attribute.", default=CASE)
    above: float | None = option(doc="Only voxels above this are measured (all are scaled); null: all.", default=None)
    layers: tuple[str, ...] | None = option(doc="Layers to change; null: all images.", default=None)

    def __attrs_post_init__(self) -> None:
        if self.over.over == "sample":
            message = "over: layers are whole here, expected case, dataset or an attribute"
            raise ValueError(message)

    def statistics_scope(self) -> Scope:
        return self.over

    def measure(self, case: Case, context: Context) -> Plain:
        return {name: self._measured(_numbers(image, name)) for name, image in case.images(self.layers).items()}

    def _measured(self, image: Image) -> Plain:
        total: dict[str, Any] = {"count": 0, "mean": 0.0, "moment": 0.0}
        for where in slabs(image.array):
            values = read(image.array, where).astype(np.float64)
            values = values[np.isfinite(values) if self.above is None else np.isfinite(values) & (values > self.above)]
            if values.size:
                mean = float(values.mean())
                total = _together(total, {"count": values.size, "mean": mean, "moment": float(((values - mean) ** 2).sum())})
        return total

    def merge(self, partials: Sequence[Plain]) -> Plain:
        merged: dict[str, Any] = {}
        for found in partials:
            for name, entry in found.items() if isinstance(found, dict) else ():
                merged[name] = _together(merged[name], entry) if name in merged else entry
        return merged

    def apply(self, case: Case, context: Context) -> Case:
        known: Any = context.statistics
        changed = {}
        for name, image in case.images(self.layers).items():
            found = known[name]
            if not found["count"]:
                message = f"layer {name!r} has no finite voxel" + ("" if self.above is None else f" above {self.above:g}")
                raise StepError(message, where=f"case {case.id}")
            deviation = math.sqrt(found["moment"] / found["count"])
            scale = partial(_standardised, mean=found["mean"], deviation=deviation)
            note = f"mean {found['mean']:.6g}, deviation {deviation:.6g}"
            changed[name] = image.with_array(MapArray(image.array, scale, np.float32), standardised=note)
        return case.with_layers(changed)


def _standardised(values: NDArray, mean: float, deviation: float) -> NDArray:
    wide = values.astype(np.float64) - mean
    constant = deviation <= 1e-12 * max(1.0, abs(mean))  # rounding gives constants a deviation
    return (np.zeros_like(wide) if constant else wide / deviation).astype(np.float32)


def _together(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Count, mean and second moment of two sets as one (Chan, Golub, LeVeque 1983)."""
    count = a["count"] + b["count"]
    if not count:
        return a
    delta = b["mean"] - a["mean"]
    moment = a["moment"] + b["moment"] + delta**2 * a["count"] * b["count"] / count
    return {"count": count, "mean": a["mean"] + delta * b["count"] / count, "moment": moment}
