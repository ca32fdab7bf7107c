"""One scale for several arrays of many samples, so that their differences survive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Batch, Context, NDArray, Plain, Scope, StepError, Transform, option
from curate_core.kinds import CASE, SAMPLE


@frozen
class Scale(Transform):
    """Floats to integers by one scale for all arrays, stored with each sample.

    The least of all values becomes 0, the greatest 65535 (255 for uint8), others are rounded half up. The attributes ``scale_low`` and
    ``scale_high`` tell both, so that value = scale_low + stored / 65535 * (scale_high - scale_low). Arrays of integers (masks) stay as they
    are. ``float32`` keeps values and needs no pass to measure them.

    Example::

        "transform": [{"use": "scale", "to": "uint16", "over": "case"}]
    """

    version: ClassVar[int] = 1
    to: Literal["uint16", "uint8", "float32"] = option(doc="Type of the scaled arrays.", default="uint16")
    over: Scope = option(doc="Over what least and greatest value are measured.", default=CASE)
    arrays: tuple[str, ...] | None = option(doc="Arrays that share the scale; null: all of floats.", default=None)

    def statistics_scope(self) -> Scope | None:
        return None if self.over == SAMPLE or self.to == "float32" else self.over

    def _floats(self, batch: Batch) -> dict[str, NDArray]:
        names = list(batch.arrays) if self.arrays is None else [batch.array_name(name) for name in self.arrays]
        found = {name: batch.arrays[name] for name in names}
        if self.arrays is not None and (whole := [name for name, values in found.items() if values.dtype.kind != "f"]):
            message = f"array {whole[0]!r} holds {found[whole[0]].dtype}, only floats are scaled"
            raise StepError(message)
        return {name: values for name, values in found.items() if values.dtype.kind == "f"}

    def measure(self, batch: Batch, context: Context) -> Plain:
        low, high = np.inf, -np.inf
        for name, values in self._floats(batch).items():
            least, most = float(values.min()), float(values.max())
            _check_finite(name, least, most)
            low, high = min(low, least), max(high, most)
        return {"low": low, "high": high} if low <= high else None

    def merge(self, partials: Sequence[Plain]) -> Plain:
        known: list[Any] = [partial for partial in partials if partial is not None]
        return {"low": min(p["low"] for p in known), "high": max(p["high"] for p in known)} if known else None

    def apply(self, batch: Batch, context: Context) -> Batch:
        found = self._floats(batch)
        if not found:
            return batch
        if self.to == "float32":
            for name, values in found.items():
                batch = batch.with_array(name, values.astype(np.float32, copy=False))
            return batch
        if self.over == SAMPLE:
            rows = [values.reshape(len(batch), -1) for values in found.values()]
            low = np.min([values.min(axis=1) for values in rows], axis=0).astype(np.float64)
            high = np.max([values.max(axis=1) for values in rows], axis=0).astype(np.float64)
            for name, values in found.items():
                _check_finite(name, float(values.min()), float(values.max()))
        else:
            known: Any = context.statistics
            low, high = np.full(len(batch), known["low"]), np.full(len(batch), known["high"])
        for name, values in found.items():
            batch = batch.with_array(name, np.stack([scaled(v, a, b, self.to) for v, a, b in zip(values, low, high, strict=True)]))
        return batch.with_attributes(scale_low=low, scale_high=high)


def scaled(values: NDArray, low: float, high: float, to: str) -> NDArray:
    """floor((v - low) / (high - low) * top + 0.5) in float64, clipped to 0..top; zeros where low is high."""
    if not high > low:
        return np.zeros(values.shape, to)
    top = np.iinfo(to).max
    wide = values.astype(np.float64)
    wide -= low
    wide *= top / (high - low)
    wide += 0.5
    np.clip(wide, 0, top + 0.5, out=wide)
    return wide.astype(to)  # a cast of positive floats rounds down


def _check_finite(name: str, low: float, high: float) -> None:
    if not (np.isfinite(low) and np.isfinite(high)):
        message = f"array {name!r} has NaN or infinite values, which no scale holds"
        raise StepError(message, hint='clean them in an earlier step, or use "to": "float32"')
