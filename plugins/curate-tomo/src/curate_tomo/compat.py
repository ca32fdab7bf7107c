"""The statistics of NoStripesNet's generator, faults included, for comparison with data that it made.

What it does, as told in ``flat-fields``: Poisson noise treats counts as line integrals (x becomes -max(x) log(n / max(n)), n ~ Poisson(I0
exp(-x / max(x)))), its generator starts anew for each flat field and each projection, detectors are rolled, and each layer is stretched to
[0, maximum of the projections] for itself.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from curate_core import ArrayLike, Context, LazyArray, NDArray, read, slabs
from curate_core.arrays import Box
from curate_tomo.flats import Beam, Rng, defects_of, drift, gain_of, offsets

_WHITE = 65535


def noisy(rng: np.random.Generator, values: NDArray, flux: float) -> NDArray:
    """Values with Poisson noise as if they were line integrals: float64 of the same shape, 0 where most photons were counted."""
    top = float(values.max())
    if top <= 0:
        return values
    counts = rng.poisson(flux * np.exp(-values / top))
    made: NDArray = -np.log(np.maximum(counts, 1) / counts.max()) * top
    return made


class Original:
    """One sample of the original's making.

    Args:
        projections: (row, angle, column) line integrals.
        rng: key -> generator.
        beam: parameters of flat fields.
        shifts, step: vertical shifts and their rows.
        miscalibration: share of I0.
        maximum: of the projections.
    """

    def __init__(self, projections: ArrayLike, rng: Rng, beam: Beam, shifts: int, step: int, miscalibration: float, maximum: float) -> None:
        self.projections, self.rng, self.beam, self.miscalibration = projections, rng, beam, miscalibration
        self.moves, self.maximum = [int(move) for move in offsets(shifts, step)], maximum or 1.0

    @cached_property
    def flat(self) -> NDArray:
        """(rows, columns) float64 in 0..1: the only flat field that there is, with its noise."""
        rows, _, columns = self.projections.shape
        found = noisy(self.rng("noise"), gain_of(self.rng, rows, columns, self.beam) * self.beam.I0, self.beam.I0)
        return np.asarray(found / found.max())

    @cached_property
    def defects(self) -> NDArray:
        """(3, rows, columns) float64."""
        rows, _, columns = self.projections.shape
        return defects_of(self.rng, rows, columns, self.beam)

    def rolled(self, values: NDArray, index: int | None) -> NDArray:
        """A map of (..., rows, columns) as a shift sees it."""
        return values if index is None else np.roll(values, self.moves[index], axis=-2)

    def raw(self, index: int | None, context: Context) -> ArrayLike:
        """(angle, row, column) float32: counts, kept on disk; None: without stripes."""
        name = "clean" if index is None else f"shift{index:02}"
        return context.materialise(name, _Raw(self, index))

    def measure(self, index: int | None, context: Context) -> dict[str, Any]:
        """The greatest count of a layer, and the range of its logarithms."""
        raw = self.raw(index, context)
        top = max(float(read(raw, where).max()) for where in slabs(raw))
        low, high = np.inf, -np.inf
        for where in slabs(raw):
            logs = self.logs(read(raw, where), top, self.rolled(self.flat, index))
            low, high = min(low, float(logs.min())), max(high, float(logs.max()))
        return {"top": top, "low": low, "high": high}

    def logs(self, raw: NDArray, top: float, flat: NDArray) -> NDArray:
        """-log of 16-bit counts over 16-bit flat fields; what is 0 stays 0.

        Args:
            raw: (..., rows, columns).
            flat: (rows, columns).
        """
        ratio = np.floor(raw * (_WHITE / (top or 1.0))) / np.maximum(np.floor(flat * _WHITE), 1)
        return np.asarray(np.where(ratio > 0, -np.log(np.where(ratio > 0, ratio, 1)), 0))


class _Raw(LazyArray):
    """(angle, row, column) float32: projections are simulated whole, one after the other."""

    def __init__(self, original: Original, index: int | None) -> None:
        rows, angles, columns = original.projections.shape
        self.original, self.index = original, index
        self.shape, self.dtype = (angles, rows, columns), np.dtype(np.float32)

    def read_box(self, where: Box) -> NDArray:
        made, flux, shape = self.original, self.original.beam.I0, self.original.projections.shape
        lines = read(made.projections, (slice(0, shape[0]), where[0], slice(0, shape[2]))) / made.maximum
        flat, defects = made.rolled(made.flat, self.index), made.rolled(made.defects, self.index)
        response = drift(made.rng("drift", self.index), shape[1]) * (made.miscalibration * flux)
        out = np.empty([part.stop - part.start for part in where], np.float32)
        for i in range(len(out)):
            expected = np.exp(-lines[:, i]) * flux * flat
            if self.index is not None:
                expected = expected + np.tensordot(response[:, where[0].start + i], defects, 1)
            out[i] = noisy(made.rng("noise"), expected, flux)[where[1], where[2]]
        return out


class CompatSinograms(LazyArray):
    """(row, angle, column) float32 of the original's making, stretched to [0, maximum of the projections].

    Args:
        original: the sample.
        index: of the shift; None: without stripes.
        measured: what ``Original.measure`` found.
        context: where counts are kept.
    """

    def __init__(self, original: Original, index: int | None, measured: dict[str, Any], context: Context) -> None:
        self.original, self.index, self.measured, self.context = original, index, measured, context
        self.shape, self.dtype = tuple(original.projections.shape), np.dtype(np.float32)

    @cached_property
    def _raw(self) -> ArrayLike:
        return self.original.raw(self.index, self.context)

    def read_box(self, where: Box) -> NDArray:
        raw = read(self._raw, (where[1], where[0], where[2])).transpose(1, 0, 2)
        flat = self.original.rolled(self.original.flat, self.index)[where[0], where[2]][:, None, :]
        low, high = self.measured["low"], self.measured["high"]
        logs = self.original.logs(raw, self.measured["top"], flat)
        return np.asarray((logs - low) * (self.original.maximum / ((high - low) or 1.0)), np.float32)
