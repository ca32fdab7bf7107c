"""Sinograms as a detector counts them: photons, then the detector's gain and offsets, then normalisation and logarithm."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from attrs import frozen

from curate_core import ArrayLike, LazyArray, NDArray, read
from curate_core.arrays import Box
from curate_tomo.flats import Beam, Padding, Response, Rng, drift, make_response, moved, offsets

CHUNK_BYTES = 8 << 20
"""Rows that are simulated at once: at most so many bytes of float32, at least one row."""
LEAST = 0.5
"""Photons that a pixel is taken to have counted when it counted none: zero has no logarithm."""


@frozen
class Scan:
    """How a sample is scanned; the names are those of the options of ``flat-fields``.

    Attributes:
        unit: line integral of the layer that has the optical thickness 1.
    """

    shifts: int
    shiftstep: float
    miscalibration: float
    noise: Literal["shared", "independent", "none"]
    zingers: float
    zinger_intensity: tuple[float, float]
    blur: float
    unit: float


class Exposure:
    """What all sinograms of one sample share: its projections, the detector, and the photons of rows simulated last.

    Every row's photons come from a generator of their own, so that they do not depend on which rows are read, or when.

    Args:
        projections: (row, angle, column) line integrals.
        rng: key -> generator.
        beam, scan: parameters.
    """

    def __init__(self, projections: ArrayLike, rng: Rng, beam: Beam, scan: Scan) -> None:
        self.projections, self.rng, self.beam, self.scan = projections, rng, beam, scan
        self.moves = offsets(scan.shifts, scan.shiftstep)
        self.padding = Padding.of(self.moves)
        self._held: tuple[tuple[int, int], NDArray] | None = None

    @property
    def chunk(self) -> int:
        """Rows simulated at once."""
        _, angles, columns = self.projections.shape
        return max(1, CHUNK_BYTES // (4 * angles * columns))

    @cached_property
    def response(self) -> Response:
        """The detector, those rows included that only shifts bring into the field of view."""
        rows, _, columns = self.projections.shape
        return make_response(self.rng, self.padding.rows(rows), columns, self.beam)

    def transmission(self, start: int, stop: int) -> NDArray:
        """(rows, angles, columns) float64: the share of photons that passes the sample, blurred by the detector's optics."""
        rows, angles, columns = self.projections.shape
        margin = int(np.ceil(4 * self.scan.blur))
        low, high = max(0, start - margin), min(rows, stop + margin)
        lines = read(self.projections, (slice(low, high), slice(0, angles), slice(0, columns)))
        passed = np.exp(lines * (-1.0 / self.scan.unit), dtype=np.float64)
        if not margin:
            return passed
        from scipy.ndimage import gaussian_filter

        blurred = gaussian_filter(passed, (self.scan.blur, 0, self.scan.blur), mode="nearest", truncate=4)
        return np.asarray(blurred[start - low : stop - low])

    def photons(self, start: int, stop: int) -> NDArray:
        """(rows, angles, columns) float32: photons that reach the detector, one draw for all sinograms of the sample."""
        return self._once(start, stop, lambda: self._draw("photons", self.transmission(start, stop) * self.beam.I0, start))

    def _expected(self, start: int, stop: int) -> NDArray:
        return self._once(start, stop, lambda: self.transmission(start, stop) * self.beam.I0)

    def _once(self, start: int, stop: int, make: Callable[[], NDArray]) -> NDArray:
        """What was made for these rows last, or what is made now."""
        if self._held is None or self._held[0] != (start, stop):
            self._held = None
            self._held = ((start, stop), make())
        return self._held[1]

    def _draw(self, name: str, expected: NDArray, start: int) -> NDArray:
        """(rows, angles, columns) float32 counts of expected ones."""
        counts = np.empty(expected.shape, np.float32)
        for k, row in enumerate(expected):
            rng = self.rng(name, start + k)
            counts[k] = row if self.scan.noise == "none" else rng.poisson(row)
            if self.scan.zingers > 0:
                hit = rng.random(row.shape) < self.scan.zingers
                low, high = self.scan.zinger_intensity
                counts[k][hit] += self.beam.I0 * rng.uniform(low, high, int(hit.sum()))
        return np.maximum(counts, np.float32(LEAST), out=counts)

    def clean(self, start: int, stop: int) -> NDArray:
        """(rows, angles, columns) float32: photons through a perfectly calibrated detector, over I0."""
        if self.scan.noise != "independent":
            return self.photons(start, stop) * np.float32(1 / self.beam.I0)
        gain = moved(self.response.gain, start, stop, 0.0, self.padding)[:, None, :]
        counts = self._draw("clean", self._expected(start, stop) * gain, start)
        return np.asarray(counts / (gain * self.beam.I0), np.float32)

    @cached_property
    def _drifts(self) -> list[NDArray]:
        return [drift(self.rng("drift", index), self.projections.shape[1]) for index in range(self.scan.shifts)]

    def shifted(self, start: int, stop: int, index: int) -> NDArray:
        """(rows, angles, columns) float32: counts of a detector that was moved, over its mean flat field."""
        from curate_tomo.kernels import detect

        move, flux = self.moves[index], self.beam.I0
        gain, flat = (np.ascontiguousarray(moved(m, start, stop, move, self.padding)) for m in (self.response.gain, self.response.flat))
        defects = np.ascontiguousarray(moved(self.response.defects, start, stop, move, self.padding))
        extra = self._drifts[index] * (self.scan.miscalibration * flux)
        if self.scan.noise == "independent":
            offset = np.einsum("ia,irj->raj", extra, defects)
            expected = np.maximum(self._expected(start, stop) * gain[:, None, :] + offset, 0)
            counts = self._draw(f"shift-{index}", expected, start)
            return np.asarray(counts / (flat[:, None, :] * flux), np.float32)
        photons = self.photons(start, stop)
        out = np.empty(photons.shape, np.float32)
        detect(photons, gain, 1 / (flat * flux), defects, extra, LEAST, out)
        return out


class Sinograms(LazyArray):
    """-log of normalised counts, in the units of the projections, (row, angle, column) float32; whole rows are simulated at a time.

    Args:
        exposure: shared by all sinograms of a sample.
        index: of the shift; None: without stripes.
    """

    def __init__(self, exposure: Exposure, index: int | None) -> None:
        self.exposure, self.index = exposure, index
        self.shape, self.dtype = tuple(exposure.projections.shape), np.dtype(np.float32)

    def read_box(self, where: Box) -> NDArray:
        out = np.empty([part.stop - part.start for part in where], np.float32)
        rows, scale = where[0], np.float32(-self.exposure.scan.unit)
        edges = [*range(rows.start, rows.stop, self.exposure.chunk), rows.stop]
        for start, stop in pairwise(edges):
            if start == stop or not out.size:
                continue
            if self.index is None:
                ratio = self.exposure.clean(start, stop)
            else:
                ratio = self.exposure.shifted(start, stop, self.index)
            part = out[start - rows.start : stop - rows.start]
            np.log(ratio[:, where[1], where[2]], out=part)
            part *= scale
        return out
