"""Projections as a beamline would measure them: the case's layer becomes a clean one and one for each vertical shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from attrs import frozen

from curate_core import ArrayLike, Case, Context, Image, Plain, Preprocessor, Scope, StepError, option, read, slabs
from curate_core.kinds import CASE
from curate_tomo.compat import CompatSinograms, Original
from curate_tomo.counts import Exposure, Scan, Sinograms
from curate_tomo.flats import Beam
from curate_tomo.geometry import AXES

_SLAB = 16 << 20


@frozen
class FlatFields(Preprocessor):
    """Photon noise and stripes of simulated flat fields.

    The photons of each pixel are drawn once, n ~ Poisson(I0 exp(-p)), and shared by the clean layer and all shifts: clean is
    -log(n / I0). Each shift i sees them through a detector that lies ``(i - shifts // 2) * shiftstep`` rows lower: counts are gain * n plus
    the offsets of miscalibrated pixels, divided by the mean of ``flatsnum`` noisy flat fields; then -log. So a shift and its clean sinogram
    differ by their stripes alone. The detector is taller than the field of view by what shifts need, so that nothing wraps around.

    Line integrals are scaled to an optical thickness of at most ``absorption`` and back, so that all layers are in the projections' units.
    The layer keeps its name for the clean sinograms; shifts are called ``shift00``, ``shift01``, ...

    ``compat`` reproduces the statistics of NoStripesNet's generator: all flat fields and all projections with one noise, Poisson noise
    of log data, detectors that are rolled, each layer scaled to the range of the projections. It keeps layers on disk and knows no zingers,
    blur or fractions of rows.

    Example::

        "preprocess": [{"use": "project"}, {"use": "flat-fields", "shifts": 5, "shiftstep": 2, "flatsnum": 20, "I0": 40000}]
    """

    version: ClassVar[int] = 1
    layer: str | None = option(doc="Layer of projections; null: the only image.", default=None)
    shifts: int = option(doc="Vertical shifts of the detector, each a layer.", default=5, ge=0, le=100)
    shiftstep: float = option(doc="Detector rows from one shift to the next; a fraction interpolates.", default=2, ge=0)
    flatsnum: int = option(doc="Flat fields that are averaged.", default=20, ge=1)
    I0: float = option(doc="Photons of a pixel in the full beam.", default=40000, gt=0, le=1e12)
    absorption: float = option(doc="Greatest optical thickness of the sample.", default=1.0, gt=0, le=50)
    noise: Literal["shared", "independent", "none"] = option(
        doc="Photon noise: one draw for clean and all shifts, a draw for each, or none (flat fields have theirs).", default="shared"
    )
    miscalibration: float = option(doc="Offset of the worst miscalibrated pixels, share of I0.", default=0.07, ge=0)
    bessel: tuple[float, float] = option(doc="Interval of the spherical Bessel function in the background.", default=(1.0, 25.0), gt=0)
    speckle_size: float = option(doc="Size of the background's speckles, pixels; 0: none.", default=3.0, ge=0)
    speckle_photons: float = option(doc="Mean photons a pixel of the background's speckle.", default=2.0, gt=0, le=1e6)
    speckle_weight: float = option(doc="Greatest value of the speckle beside the background.", default=0.5, ge=0)
    defect_size: float = option(doc="Size of the speckles that make miscalibrated pixels, pixels.", default=10.0, ge=1)
    defect_photons: float = option(doc="Mean photons a pixel of those speckles.", default=0.03, ge=0, le=1e6)
    defect_blur: float = option(doc="Sigma of their blur, pixels.", default=2.0, ge=0)
    defect_threshold: float = option(doc="Share of their maximum below which pixels are sound.", default=0.6, ge=0, le=1)
    zingers: float = option(doc="Share of pixels hit by a stray photon, in clean and shifts alike.", default=0.0, ge=0, lt=1)
    zinger_intensity: tuple[float, float] = option(doc="Least and greatest count of such a hit, times I0.", default=(0.5, 2.0), ge=0)
    blur: float = option(doc="Sigma of the optics' blur of the beam behind the sample, pixels.", default=0.0, ge=0)
    compat: bool = option(doc="Reproduce the statistics of NoStripesNet, faults included.", default=False)

    def __attrs_post_init__(self) -> None:
        for name in ("bessel", "zinger_intensity"):
            low, high = getattr(self, name)
            if low > high:
                message = f"{name}: [{low:g}, {high:g}] is no range, the first must not be greater"
                raise ValueError(message)
        if self.compat and (self.zingers or self.blur or self.noise != "shared" or not float(self.shiftstep).is_integer()):
            message = "compat: it goes with neither zingers, blur, another noise, nor a fraction of rows as shiftstep"
            raise ValueError(message)

    def statistics_scope(self) -> Scope:
        return CASE

    def merge(self, partials: Sequence[Plain]) -> Plain:
        return partials[0]

    def measure(self, case: Case, context: Context) -> Plain:
        array = self._projections(case)[1].array
        maximum = max((float(read(array, where).max()) for where in slabs(array, _SLAB)), default=0.0)
        if not self.compat:
            return {"maximum": maximum}
        original = self._original(array, maximum, context)
        return {"maximum": maximum, "layers": [original.measure(index, context) for index in (None, *range(self.shifts))]}

    def apply(self, case: Case, context: Context) -> Case:
        name, image = self._projections(case)
        known: Any = context.statistics
        indices = {name: None, **{f"shift{index:02}": index for index in range(self.shifts)}}
        clash = [to for to in indices if to != name and to in case.layers]
        if clash:
            message = f"the case has a layer {clash[0]!r} already, which a shift would replace"
            raise StepError(message, where=f"case {case.id}")
        arrays: dict[str, ArrayLike]
        if self.compat:
            original = self._original(image.array, known["maximum"], context)
            found = zip(indices.items(), known["layers"], strict=True)
            arrays = {to: CompatSinograms(original, index, measured, context) for (to, index), measured in found}
        else:
            scan = Scan(
                self.shifts, self.shiftstep, self.miscalibration, self.noise, self.zingers, self.zinger_intensity, self.blur,
                unit=known["maximum"] / self.absorption or 1.0,
            )  # fmt: skip
            exposure = Exposure(image.array, context.rng, self.beam(), scan)
            arrays = {to: Sinograms(exposure, index) for to, index in indices.items()}
        return case.with_layers({to: image.with_array(array) for to, array in arrays.items()})

    def beam(self) -> Beam:
        """What of the options is about flat fields."""
        return Beam(
            self.I0, self.flatsnum, self.bessel, self.speckle_size, self.speckle_photons, self.speckle_weight,
            self.defect_size, self.defect_photons, self.defect_blur, self.defect_threshold,
        )  # fmt: skip

    def _original(self, array: ArrayLike, maximum: float, context: Context) -> Original:
        return Original(array, context.rng, self.beam(), self.shifts, int(self.shiftstep), self.miscalibration, maximum)

    def _projections(self, case: Case) -> tuple[str, Image]:
        image = case.image(self.layer)
        name = next(key for key, found in case.images().items() if found is image)
        if image.grid.axes != AXES:
            message = f"layer {name!r} has the axes {image.grid.axes!r}, projections have {AXES!r} (detector row, angle, column)"
            raise StepError(message, where=f"case {case.id}", hint='put "project" in front')
        return name, image
