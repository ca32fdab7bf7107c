"""Synthetic stripes, whose place is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Batch, Context, NDArray, Plain, Scope, StepError, Transform, option
from curate_core.kinds import CASE, SAMPLE

_REDRAWS = 20


@frozen
class Stripe:
    """Columns ``column - width`` to ``column + width`` of the angles from ``first`` up to ``last``, changed by ``amplitude``."""

    column: int
    width: int
    amplitude: float
    first: int
    last: int


@frozen
class AddStripes(Transform):
    """Stripes on clean sinograms, with the exact mask of where they are.

    int(columns * percentage / 100) stripes a sinogram. Each has a random column (drawn again, up to 20 times, where the first angle is
    zero), a half width of 0 to ``max_thickness``, and adds U(-1, 0.5) * intensity * maximum to its columns: over all angles (``full``),
    some (``partial``), one or the other for each stripe (``mix``) or for each sinogram (``random``). A stripe that would touch the edge is
    left out. With ``variability`` its height walks by that share of the maximum, up or down, from angle to angle. The attributes
    ``stripes`` and ``stripe_parameters`` (column, half width, amplitude, first angle, angle behind the last) tell what was added.

    The samples' array stays as it is, under the name ``clean`` if that is given; arrays with stripes and the mask (uint8, 1 in stripes) are
    added. A mask of stripes that the samples have already, under the mask's name, gets the new ones as well.

    Example::

        "transform": [{"use": "add-stripes", "array": "clean", "percentage": 1.2, "max_thickness": 3, "intensity": 0.25, "kind": "mix"}]
    """

    version: ClassVar[int] = 1
    array: str | None = option(doc="Array of clean sinograms, the angles along its first axis; null: the only one.", default=None)
    clean: str | None = option(doc="Name that the array gets; null: it keeps its own.", default=None, min_length=1)
    stripe: str = option(doc="Name of the array with stripes.", default="stripe", min_length=1)
    mask: str | None = option(doc="Name of the mask; null: none.", default="mask", min_length=1)
    percentage: float = option(doc="Stripes in percent of the columns.", default=1.2, ge=0, le=100)
    max_thickness: int = option(doc="Greatest half width, columns.", default=3, ge=0)
    intensity: float = option(doc="Strength, as a share of the maximum.", default=0.25, ge=0)
    kind: Literal["full", "partial", "mix", "random"] = option(doc="Over which angles.", default="mix")
    variability: float = option(doc="Step of the walk from angle to angle, as a share of the maximum.", default=0.0, ge=0)
    over: Scope = option(doc="Over what the maximum is measured.", default=CASE)
    clip: bool = option(doc="Keep values within the range of the clean sample.", default=False)

    def statistics_scope(self) -> Scope | None:
        return None if self.over == SAMPLE else self.over

    def measure(self, batch: Batch, context: Context) -> Plain:
        return float(batch.array(self.array).max())

    def merge(self, partials: Sequence[Plain]) -> Plain:
        return max(float(partial) for partial in partials if isinstance(partial, int | float))

    def apply(self, batch: Batch, context: Context) -> Batch:
        name = batch.array_name(self.array)
        clean = batch.array(name)
        if clean.ndim != 3 or clean.dtype.kind != "f":
            message = f"stripes are added to 2D samples of float values, array {name!r} has {clean.ndim - 1} axes and type {clean.dtype}"
            raise StepError(message, hint='put "add-stripes" before "scale", and find ROIs with "sinograms"')
        before = None if self.mask is None or self.mask == name else batch.arrays.get(self.mask)
        held = before is not None and before.shape == clean.shape and before.dtype.kind in "bu"
        new_names = [self.stripe, None if held else self.mask, None if self.clean == name else self.clean]
        taken = [new for new in new_names if new is not None and new in batch.arrays]
        if taken:
            message = f"the samples have an array {taken[0]!r} already, which would be replaced"
            raise StepError(message, hint='name another with "stripe" or "mask"')
        known: Any = context.statistics
        striped, found = clean.copy(), []
        mask = (before != 0).astype(np.uint8) if before is not None and held else np.zeros(clean.shape, np.uint8)
        for row, sample in enumerate(clean):
            maximum = float(sample.max()) if self.over == SAMPLE else float(known)
            rng = context.rng(batch.ids[row])
            stripes = self.draw(rng, sample, maximum)
            for stripe in stripes:
                self._add(rng, stripe, maximum, striped[row], mask[row])
            if self.clip:
                np.clip(striped[row], sample.min(), sample.max(), out=striped[row])
            found.append(json.dumps([[s.column, s.width, round(s.amplitude, 6), s.first, s.last] for s in stripes]))
        batch = batch.with_array(self.stripe, striped, like=name)
        if self.mask is not None:
            batch = batch.with_array(self.mask, mask, like=name)
        if self.clean is not None and self.clean != name:
            batch = batch.with_array(self.clean, clean, like=name).without_arrays([name])
        return batch.with_attributes(stripes=np.array([len(json.loads(text)) for text in found]), stripe_parameters=np.array(found))

    def draw(self, rng: np.random.Generator, sample: NDArray, maximum: float) -> list[Stripe]:
        """The stripes of one sample, (angle, column)."""
        angles, columns = sample.shape
        kind = rng.choice(["full", "partial"]) if self.kind == "random" else self.kind
        stripes = []
        for _ in range(int(columns * self.percentage / 100)):
            column = int(rng.integers(columns))
            for _ in range(_REDRAWS):
                if sample[0, column] != 0:
                    break
                column = int(rng.integers(columns))
            width = int(rng.integers(self.max_thickness + 1))
            amplitude = maximum * float(rng.uniform(-1.0, 0.5)) * self.intensity
            partial = kind == "partial" or (kind == "mix" and rng.random() < 0.5)
            first, last = sorted(rng.choice(angles + 1, 2, replace=False).tolist()) if partial else (0, angles)
            if width < column < columns - width:
                stripes.append(Stripe(column, width, amplitude, first, last))
        return stripes

    def _add(self, rng: np.random.Generator, stripe: Stripe, maximum: float, striped: NDArray, mask: NDArray) -> None:
        where = (slice(stripe.first, stripe.last), slice(stripe.column - stripe.width, stripe.column + stripe.width + 1))
        height: NDArray = np.full(stripe.last - stripe.first, stripe.amplitude)
        if self.variability > 0:
            height[1:] += np.cumsum(rng.choice([-1.0, 1.0], len(height) - 1)) * (self.variability * maximum)
        striped[where] += height[:, None].astype(striped.dtype)
        mask[where] = 1
