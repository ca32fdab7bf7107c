"""Scaling to bytes, exactly: which value becomes which is a formula over integers, never a float's luck."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core.arrays import MapArray, NDArray, read, slabs
from curate_core.errors import StepError
from curate_core.kinds import CASE, Context, Preprocessor, Scope
from curate_core.model import Case, Image, Plain
from curate_core.options import option

_BINS = 65536


def scale_integers(values: NDArray, low: int, high: int) -> NDArray:
    """round_half_up((v - low) / (high - low) * 255) as uint8, exact for integers of up to 32 bits; values outside are clipped."""
    span = high - low
    if span <= 0:
        return np.zeros(values.shape, np.uint8)
    offset = np.clip(values.astype(np.int64), low, high) - low
    return ((2 * 255 * offset + span) // (2 * span)).astype(np.uint8)


def table_of(dtype: np.dtype[Any], low: int, high: int) -> NDArray:
    """(2**bits,) uint8: the scaled value of every value of an integer type of at most 16 bits, indexed by its unsigned bits."""
    unsigned = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    return scale_integers(unsigned.view(f"{dtype.kind}{dtype.itemsize}"), low, high)


def look_up(values: NDArray, table: NDArray) -> NDArray:
    """Values of an integer type of at most 16 bits through a table that ``table_of`` made."""
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return table[native.view(f"u{native.dtype.itemsize}")]


def scale_floats(values: NDArray, low: float, high: float, fill: bool) -> NDArray:
    """floor((v - low) / (high - low) * 255 + 0.5) as uint8, in float64; values outside are clipped.

    Args:
        fill: NaN and infinities become 0, 255 and 0; otherwise they are refused.

    Raises:
        StepError: there are some.
    """
    wide = values.astype(np.float64)
    if not fill and not np.isfinite(wide).all():
        count = int((~np.isfinite(wide)).sum())
        message = f"{count} of {wide.size} values are NaN or infinite"
        raise StepError(message, hint='set "nan": "zero" to make NaN 0')
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = np.nan_to_num((np.clip(wide, low, high) - low) / (high - low) * 255, nan=0.0)
    return np.floor(scaled + 0.5).astype(np.uint8)


def scale_unit_floats(values: NDArray, fill: bool) -> NDArray:
    """``scale_floats`` for values that must lie within 0..1.

    Raises:
        StepError: some do not.
    """
    finite = values[np.isfinite(values)]
    if finite.size and (finite.min() < 0 or finite.max() > 1):
        message = f"float values are taken to lie within 0..1, these reach from {finite.min():.6g} to {finite.max():.6g}"
        raise StepError(message, hint='use "range": "min-max" or "percentile"')
    return scale_floats(values, 0.0, 1.0, fill)


@frozen
class ToUint8(Preprocessor):
    """Scale to 0..255 by type range, min-max or percentiles.

    ``type``: unsigned integers are divided by their type's maximum, signed ones are shifted by its minimum first, floats must lie
    within 0..1, bytes pass as they are. ``bits`` is that with 2**bits in place of the type's maximum, and floats over their own
    ``min-max``; signed bytes are shifted only. ``min-max`` and ``percentile`` map the measured range to 0..255 and clip what lies outside;
    constant layers become 0, percentiles that coincide although the values differ are refused.
    All results are rounded half up, exactly for integers. The layer's notes say what was done.

    Integers that use less than a 255th of their type's range, as 16-bit files that hold bytes do, would come out as good as constant by
    ``type``: that is refused unless ``allow_dark`` is set.

    Example::

        "preprocess": [{"use": "to-uint8", "range": "percentile", "percentiles": [0.5, 99.5]}]
    """

    version: ClassVar[int] = 1
    range: Literal["type", "bits", "min-max", "percentile"] = option(doc="Which values become 0 and 255.", default="type")
    percentiles: tuple[float, float] = option(doc="Percentiles that become 0 and 255.", default=(0.5, 99.5), ge=0, le=100)
    over: Scope = option(doc="Over what the range is measured.", default=CASE)
    layers: tuple[str, ...] | None = option(doc="Layers to change; null: all images.", default=None)
    nan: Literal["error", "zero"] = option(doc="What becomes of NaN.", default="error")
    keep_bytes: bool = option(doc="Leave layers of bytes unscaled, whatever the range; signed ones are shifted by 128.", default=False)
    allow_dark: bool = option(doc="Accept integers that use less than a 255th of their type's range.", default=False)

    def __attrs_post_init__(self) -> None:
        if self.percentiles[0] >= self.percentiles[1]:
            message = f"percentiles: {list(self.percentiles)} do not rise"
            raise ValueError(message)

    def statistics_scope(self) -> Scope:
        return self.over

    def measure(self, case: Case, context: Context) -> Plain:
        return {name: self._measure(image, name) for name, image in case.images(self.layers).items() if not self._passes(image)}

    def _passes(self, image: Image) -> bool:
        return image.dtype == np.uint8 and self._range_of(image.dtype) == "type"

    def _range_of(self, dtype: np.dtype[Any]) -> str:
        """What ``range`` means for a type."""
        if dtype.itemsize == 1 and dtype.kind in "iu" and (self.keep_bytes or self.range == "bits"):
            return "type"
        return "min-max" if self.range == "bits" and dtype.kind == "f" else self.range

    def _measure(self, image: Image, name: str) -> Plain:
        """Least and greatest finite value, and for percentiles a histogram."""
        if image.dtype.kind not in "biuf":
            message = f"voxels of type {image.dtype} cannot be scaled (layer {name!r})"
            raise StepError(message)
        low, high = np.inf, -np.inf
        wanted = self._range_of(image.dtype)
        if not (wanted in ("type", "bits") and (image.dtype.kind in "fb" or self.allow_dark)):
            for where in slabs(image.array):
                values = read(image.array, where)
                if values.dtype.kind == "f":
                    values = values[np.isfinite(values)]
                if values.size:
                    low, high = min(low, float(values.min())), max(high, float(values.max()))
        if low <= high and not np.isfinite(high - low):
            message = f"layer {name!r} reaches from {low:.6g} to {high:.6g}, a distance that no float64 holds"
            raise StepError(message)
        measured: dict[str, Plain] = {"low": low, "high": high} if low <= high else {"low": None, "high": None}
        if wanted == "percentile" and low <= high:
            edges = _edges(image.dtype, low, high)
            counts = np.zeros(len(edges) - 1, np.int64)
            for where in slabs(image.array):
                values = read(image.array, where)
                counts += np.histogram(values[np.isfinite(values)] if values.dtype.kind == "f" else values, edges)[0]
            used = np.flatnonzero(counts)
            measured |= {"values": edges[used].tolist(), "counts": counts[used].tolist()}
        return measured

    def merge(self, partials: Sequence[Plain]) -> Plain:
        names = dict.fromkeys(name for partial in partials if isinstance(partial, dict) for name in partial)
        return {name: self._merge([p[name] for p in partials if isinstance(p, dict) and name in p]) for name in names}

    def _merge(self, partials: Sequence[Any]) -> Plain:
        known = [p for p in partials if p["low"] is not None]
        if not known:
            return {"low": None, "high": None}
        merged: dict[str, Plain] = {"low": min(p["low"] for p in known), "high": max(p["high"] for p in known)}
        counted = [p for p in known if "values" in p]  # bytes that are kept have none
        if counted:
            values = np.concatenate([np.asarray(p["values"], np.float64) for p in counted])
            counts = np.concatenate([np.asarray(p["counts"], np.int64) for p in counted])
            distinct, place = np.unique(values, return_inverse=True)
            sums = np.zeros(len(distinct), np.int64)
            np.add.at(sums, place.reshape(-1), counts)  # exact; a value that many cases have is kept once
            merged |= {"values": distinct.tolist(), "counts": sums.tolist()}
        return merged

    def apply(self, case: Case, context: Context) -> Case:
        measured = context.statistics
        changed = {}
        for name, image in case.images(self.layers).items():
            if not self._passes(image):
                changed[name] = self._scale(image, name, measured.get(name) if isinstance(measured, dict) else None)
        return case.with_layers(changed)

    def _scale(self, image: Image, name: str, measured: Any) -> Image:
        dtype, fill = image.dtype, self.nan == "zero"
        wanted = self._range_of(dtype)
        if dtype.kind == "b":
            return image.with_array(MapArray(image.array, _booleans, np.uint8), scaled="true is 255")
        if wanted == "type" and dtype.kind == "f":
            return image.with_array(MapArray(image.array, partial(scale_unit_floats, fill=fill), np.uint8), scaled="0..1")
        if wanted in ("type", "bits"):
            info = np.iinfo(dtype)
            self._check_used(name, dtype, measured)
            low, high = float(info.min), float(info.max) + (wanted == "bits")
        elif measured is None or measured["low"] is None:
            message = f"layer {name!r} has no finite value"
            raise StepError(message)
        else:
            low, high = self._limits(measured)
            if low == high and measured["low"] < measured["high"]:
                first, last = self.percentiles
                reach = f"from {measured['low']:.6g} to {measured['high']:.6g}"
                message = f"the percentiles {first:g} and {last:g} of layer {name!r} are both {low:.6g}, its values reach {reach}"
                raise StepError(message, hint='choose "percentiles" further apart, or use "range": "min-max"')
        note = f"{wanted}: {low:.6g} to {high:.6g}"
        if dtype.kind == "f" or not (float(low).is_integer() and float(high).is_integer()):
            return image.with_array(MapArray(image.array, partial(scale_floats, low=low, high=high, fill=fill), np.uint8), scaled=note)
        if dtype.itemsize <= 2:
            table = table_of(dtype, int(low), int(high))
            return image.with_array(MapArray(image.array, partial(look_up, table=table), np.uint8), scaled=note)
        if dtype.itemsize > 4:
            message = f"{dtype} values of layer {name!r} are wider than 32 bits"
            raise StepError(message)
        return image.with_array(MapArray(image.array, partial(scale_integers, low=int(low), high=int(high)), np.uint8), scaled=note)

    def _limits(self, measured: Any) -> tuple[float, float]:
        if self.range != "percentile":
            return measured["low"], measured["high"]
        values, counts = np.asarray(measured["values"]), np.cumsum(measured["counts"])
        ranks = [int(np.ceil(p / 100 * counts[-1])) for p in self.percentiles]
        low, high = (float(values[int(np.searchsorted(counts, max(1, rank)))]) for rank in ranks)
        return low, high

    def _check_used(self, name: str, dtype: np.dtype[Any], measured: Any) -> None:
        if self.allow_dark or dtype.itemsize == 1 or measured is None or measured["low"] is None:
            return
        info = np.iinfo(dtype)
        used = max(abs(measured["high"]), abs(measured["low"]))
        if 0 < used * 255 < int(info.max) - int(info.min):
            low, high = measured["low"], measured["high"]
            message = f"{dtype} values of layer {name!r} reach only from {low:g} to {high:g}: by type they would be as good as constant"
            raise StepError(message, hint='use "range": "min-max", or set "allow_dark": true')


def _booleans(values: NDArray) -> NDArray:
    return values.astype(np.uint8) * np.uint8(255)


def _edges(dtype: np.dtype[Any], low: float, high: float) -> NDArray:
    """Histogram edges: a bin a value for integers of a modest range, else 65,536 equal bins, which tell values to 1/65536 of the range."""
    if dtype.kind in "iub" and high - low < _BINS:
        return np.arange(low, high + 2, dtype=np.float64)
    return np.linspace(low, high if high > low else low + 1, _BINS + 1)
