"""Changes of cut samples, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray
from curate_core.batch import Batch, GridOf
from curate_core.errors import StepError
from curate_core.grid import Grid
from curate_core.kinds import SAMPLE, Context, Scope, Transform
from curate_core.model import Plain
from curate_core.options import option


def _names(batch: Batch, arrays: tuple[str, ...] | None) -> list[str]:
    return list(batch.arrays) if arrays is None else [batch.array_name(name) for name in arrays]


@frozen
class Pad(Transform):
    """Pad samples to a size, the surplus split evenly, the odd voxel behind.

    Samples that are larger along an axis stay as they are along it.

    Example::

        "transform": [{"use": "pad", "size": 224, "mode": "reflect"}]
    """

    version: ClassVar[int] = 1
    size: int | tuple[int, ...] = option(doc="Least voxels: one number, or one for each axis of the sample.", ge=1)
    mode: Literal["constant", "edge", "reflect"] = option(doc="What the padding holds.", default="constant")
    value: float = option(doc="Value of constant padding.", default=0.0)
    place: Literal["both", "end"] = option(doc="Where the padding goes.", default="both")
    arrays: tuple[str, ...] | None = option(doc="Arrays to change; null: all.", default=None)

    def apply(self, batch: Batch, context: Context) -> Batch:
        for name in _names(batch, self.arrays):
            values = batch.arrays[name]
            shape = values.shape[1:]
            sizes = [self.size] * len(shape) if isinstance(self.size, int) else list(self.size)
            if len(sizes) != len(shape):
                message = f"size has {len(sizes)} numbers, samples of {name!r} have {len(shape)} axes"
                raise StepError(message)
            missing = [max(0, size - n) for size, n in zip(sizes, shape, strict=True)]
            if not any(missing):
                continue
            before = [m // 2 if self.place == "both" else 0 for m in missing]
            after = [m - b for m, b in zip(missing, before, strict=True)]
            width = [(0, 0), *zip(before, after, strict=True)]
            options: dict[str, Any] = {"constant_values": self._value(values.dtype)} if self.mode == "constant" else {}
            batch = batch.with_array(name, np.pad(values, width, self.mode, **options), _padded(batch.grids[name], before, after))
        return batch

    def _value(self, dtype: np.dtype[Any]) -> Any:
        with np.errstate(all="ignore"):
            value = np.asarray(self.value).astype(dtype)
        if not np.isfinite(value) or (dtype.kind != "f" and value != self.value):  # floats take the nearest that they have
            message = f"padding of {self.value:g} does not exist among {dtype} values"
            raise StepError(message)
        return value


def _padded(grid: GridOf, before: Sequence[int], after: Sequence[int]) -> GridOf:
    def of(row: int) -> Grid:
        return grid(row).pad(before, after)

    return of


def lossless(values: NDArray, dtype: np.dtype[Any]) -> str:
    """What a cast would lose, in words; empty when nothing. NaN counts as kept by floats."""
    into_float = values.dtype.kind in "iu" and dtype.kind == "f"
    if np.can_cast(values.dtype, dtype, "safe") and not (into_float and values.dtype.itemsize == 8):  # NumPy calls int64 to float64 safe
        return ""
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
        back = cast.astype(values.dtype)
        same = (back == values) | ((values != values) & (back != back))
        if dtype.kind in "iu" and values.dtype.kind == "f":  # huge floats wrap and may come back by luck
            info = np.iinfo(dtype)
            same &= (values >= float(info.min)) & (values < float(int(info.max) + 1))
        if into_float:  # and so may those that a huge integer became
            same &= cast.astype(np.float64) < float(int(np.iinfo(values.dtype).max) + 1)
            same &= np.isfinite(cast)
        if dtype.kind in "iu" and values.dtype.kind in "iu":
            same &= (cast < 0) == (values < 0)
    if same.all():
        return ""
    example = values[~same][0].item()
    return f"{int((~same).sum())} of {values.size} {values.dtype} values would change, such as {example} to {cast[~same][0].item()}"


def cast_checked(
    values: NDArray, dtype: np.dtype[Any], what: str, *, lossy: bool = False, hint: str = 'set "lossy": true to accept that'
) -> NDArray:
    """Values as another type.

    Args:
        what: what to call the values in a message.
        hint: what to do about a loss.

    Raises:
        StepError: some would change and ``lossy`` is not set; says how many and to what.
    """
    if not lossy:
        problem = lossless(values, dtype)
        if problem:
            message = f"{what} cannot become {dtype} without loss: {problem}"
            raise StepError(message, hint=hint)
    with np.errstate(all="ignore"):
        return values.astype(dtype)


@frozen
class Cast(Transform):
    """Change the dtype; refuses what would lose values unless asked for.

    With ``lossy``, floats are rounded to the nearest even integer and values outside of the new type's range are clipped to it.

    Example::

        "transform": [{"use": "cast", "dtype": "float32"}]
    """

    version: ClassVar[int] = 1
    dtype: Literal["uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool"] = option(
        doc="NumPy name of the new type."
    )
    lossy: bool = option(doc="Round and clip instead of refusing.", default=False)
    arrays: tuple[str, ...] | None = option(doc="Arrays to change; null: all.", default=None)

    def apply(self, batch: Batch, context: Context) -> Batch:
        dtype = np.dtype(self.dtype)
        for name in _names(batch, self.arrays):
            values = batch.arrays[name]
            if values.dtype == dtype:
                continue
            if self.lossy:
                values = _into_range(values, dtype)
            batch = batch.with_array(name, cast_checked(values, dtype, f"array {name!r}", lossy=self.lossy))
        return batch


def _into_range(values: NDArray, dtype: np.dtype[Any]) -> NDArray:
    """Values rounded and clipped to what a type holds; NaN becomes 0 for integers."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        if values.dtype.kind == "f":
            rounded = np.rint(np.nan_to_num(values.astype(np.float64), nan=0.0))
            beyond = float(int(info.max) + 1)  # a power of two, which a float holds; the greatest int64 is none
            inside = np.clip(rounded, float(info.min), np.nextafter(beyond, 0)).astype(dtype)
            return np.where(rounded >= beyond, dtype.type(info.max), inside)
        return (
            np.clip(values, max(info.min, np.iinfo(values.dtype).min), min(info.max, np.iinfo(values.dtype).max))
            if values.dtype.kind != "b"
            else values
        )
    if dtype.kind == "f" and dtype.itemsize < 8:
        limit = float(np.finfo(dtype).max)
        return np.clip(values.astype(np.float64), -limit, limit)
    return values


@frozen
class Normalize(Transform):
    """Scale values to a range or to zero mean and unit variance, as float32.

    ``z-score``: (x - mean) / standard deviation (of the population); ``range``: (x - min) / (max - min). Over a sample alone, its case, a
    group of cases or the dataset. Constant values become 0. Sums are merged by Chan's formula (Chan, Golub, LeVeque 1983).

    Example::

        "transform": [{"use": "normalize", "mode": "z-score", "over": "case"}]
    """

    version: ClassVar[int] = 1
    mode: Literal["z-score", "range"] = option(doc="What becomes of the values.", default="z-score")
    over: Scope = option(doc="Over what mean and range are measured.", default=SAMPLE)
    arrays: tuple[str, ...] | None = option(doc="Arrays to change; null: all.", default=None)

    def statistics_scope(self) -> Scope | None:
        return None if self.over == SAMPLE else self.over

    def measure(self, batch: Batch, context: Context) -> Plain:
        found: dict[str, Plain] = {}
        for name in _names(batch, self.arrays):
            values = _finite(batch.arrays[name], name).astype(np.float64)
            mean = float(values.mean())
            moment = float(((values - mean) ** 2).sum())
            found[name] = {"count": values.size, "mean": mean, "moment": moment, "low": float(values.min()), "high": float(values.max())}
        return found

    def merge(self, partials: Sequence[Plain]) -> Plain:
        merged: dict[str, Any] = {}
        for partial in partials:
            assert isinstance(partial, dict)
            for name, found in partial.items():
                merged[name] = _together(merged[name], found) if name in merged else found
        return merged

    def apply(self, batch: Batch, context: Context) -> Batch:
        for name in _names(batch, self.arrays):
            values = _finite(batch.arrays[name], name).astype(np.float64)
            if self.over == SAMPLE:
                rows = values.reshape(len(values), -1)
                low, high, mean, deviation = rows.min(1), rows.max(1), rows.mean(1), rows.std(1)
            else:
                found: Any = context.statistics
                known = found[name]
                low, high, mean = (np.array([known[key]]) for key in ("low", "high", "mean"))
                deviation = np.array([np.sqrt(known["moment"] / known["count"])])
            shift, scale = (mean, deviation) if self.mode == "z-score" else (low, high - low)
            shape = (-1,) + (1,) * (values.ndim - 1)
            scale = np.where((scale > 0) & (high > low), scale, np.inf).reshape(shape)  # rounding gives constants a deviation
            batch = batch.with_array(name, ((values - shift.reshape(shape)) / scale).astype(np.float32))
        return batch


def _finite(values: NDArray, name: str) -> NDArray:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        message = f"array {name!r} has {int((~np.isfinite(values)).sum())} NaN or infinite values"
        raise StepError(message, hint="clean them in an earlier step")
    return values


def _together(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Count, mean and second moment of two sets as one."""
    count = a["count"] + b["count"]
    delta = b["mean"] - a["mean"]
    mean = a["mean"] + delta * b["count"] / count
    moment = a["moment"] + b["moment"] + delta**2 * a["count"] * b["count"] / count
    return {"count": count, "mean": mean, "moment": moment, "low": min(a["low"], b["low"]), "high": max(a["high"], b["high"])}
