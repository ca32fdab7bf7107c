"""The detector of a beamline: what it shows without a sample, and where it is miscalibrated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from attrs import frozen

from curate_core import NDArray
from curate_tomo.speckle import speckle

Rng = Callable[..., np.random.Generator]
"""Key -> generator, as ``Context.rng``."""
DEAD = 1e-3
"""The least gain of a pixel; one of zero could not be normalised."""


@frozen
class Beam:
    """Parameters of flat fields; the names are those of the options of ``flat-fields``."""

    I0: float
    flatsnum: int
    bessel: tuple[float, float]
    speckle_size: float
    speckle_photons: float
    speckle_weight: float
    defect_size: float
    defect_photons: float
    defect_blur: float
    defect_threshold: float


@frozen(eq=False)
class Response:
    """A detector, rows by columns.

    Attributes:
        gain: (rows, columns) float64, 1 at most: photons counted of each that would be.
        flat: (rows, columns) float64: the mean of the noisy flat fields, in units of I0.
        defects: (3, rows, columns) float64, 0 to 1: pixels with an offset that is constant, sinusoidal, exponential over the angles.
    """

    gain: NDArray
    flat: NDArray
    defects: NDArray


def background(rows: int, bessel: tuple[float, float]) -> NDArray:
    """(rows,) float64: the scintillator's profile: spherical Bessel y_1 over an interval, its least value 0, plus its mirror image."""
    from scipy.special import spherical_yn

    wave = np.asarray(spherical_yn(1, np.linspace(bessel[0], bessel[1], rows)))
    wave = wave - wave.min()
    return wave + wave[::-1]


def gain_of(rng: Rng, rows: int, columns: int, beam: Beam) -> NDArray:
    """(rows, columns) float64 in ``DEAD``..1: background plus ``speckle_weight`` of a speckle pattern of maximum 1, over their maximum."""
    texture = np.ones((rows, columns))
    if beam.speckle_size > 0:
        texture = speckle(rng("gain"), (rows, columns), beam.speckle_size, beam.speckle_photons)
    gain = background(rows, beam.bessel)[:, None] + beam.speckle_weight * texture / max(texture.max(), 1.0)
    return np.maximum(gain / gain.max(), DEAD)


def draw_flat(rng: Rng, gain: NDArray, flux: float, index: int) -> NDArray:
    """(rows, columns) int64: photons of one flat field; each index has its own noise."""
    return rng("flat", index).poisson(gain * flux)


def mean_flat(rng: Rng, gain: NDArray, beam: Beam) -> NDArray:
    """(rows, columns) float64: the mean of ``flatsnum`` flat fields over I0; half a photon where none was counted."""
    total = np.zeros(gain.shape, np.int64)
    for index in range(beam.flatsnum):
        total += draw_flat(rng, gain, beam.I0, index)
    return np.maximum(total, 0.5) / (beam.flatsnum * beam.I0)


def defects_of(rng: Rng, rows: int, columns: int, beam: Beam) -> NDArray:
    """(3, rows, columns) float64 in 0..1: few photons in coarse speckle, blurred, cut off below a share of their maximum."""
    from scipy.ndimage import gaussian_filter

    maps = np.zeros((3, rows, columns))
    for index in range(3):
        found = gaussian_filter(speckle(rng("defects", index), (rows, columns), beam.defect_size, beam.defect_photons), beam.defect_blur)
        maps[index] = np.where(found < beam.defect_threshold * found.max(), 0, found)
    return maps / (maps.max() or 1.0)


def make_response(rng: Rng, rows: int, columns: int, beam: Beam) -> Response:
    """A detector of so many rows and columns; the same key gives the same."""
    gain = gain_of(rng, rows, columns, beam)
    return Response(gain, mean_flat(rng, gain, beam), defects_of(rng, rows, columns, beam))


def drift(rng: np.random.Generator, angles: int) -> NDArray:
    """(3, angles) float64: the offsets of the three kinds of defects over a scan: -1, a sine and an exponential of maximum 1."""
    sine = np.sin(np.linspace(0, 1.5 * np.pi, angles)) + 0.1 * rng.random(angles)
    growth = np.exp(np.linspace(0, np.pi, angles)) + 0.1 * rng.random(angles)
    return np.stack([np.full(angles, -1.0), sine / (sine.max() or 1.0), growth / growth.max()])


def offsets(shifts: int, step: float) -> list[float]:
    """Rows by which the detector of each shift lies lower: -int(shifts / 2) step, then ``step`` more each time."""
    return [(index - shifts // 2) * step for index in range(shifts)]


@frozen
class Padding:
    """Rows that the detector has beyond the field of view, so that no shift needs to wrap around.

    Attributes:
        above, below: so many rows.
    """

    above: int
    below: int

    @classmethod
    def of(cls, moves: list[float]) -> Padding:
        """What a list of offsets needs."""
        return cls(max(0, int(np.ceil(max(moves, default=0.0)))), max(0, int(np.ceil(-min(moves, default=0.0)))))

    def rows(self, rows: int) -> int:
        """Rows of the whole detector."""
        return self.above + rows + self.below


def moved(values: NDArray, start: int, stop: int, offset: float, padding: Padding) -> NDArray:
    """Rows of a map whose detector lies lower by an offset; between rows by linear interpolation.

    Args:
        values: (..., rows, columns) over the whole detector.
        start, stop: rows of the field of view.
    """
    whole = int(np.floor(offset))
    part = offset - whole
    first = start + padding.above - whole
    above = values[..., first : first + stop - start, :]
    if part == 0:
        return above
    return above * (1 - part) + values[..., first - 1 : first - 1 + stop - start, :] * part
