"""From objects to what a detector sees of them."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from curate_core import Case, Context, Image, Plain, Preprocessor, StepError, option
from curate_tomo.geometry import Detector
from curate_tomo.volume import Projections, Volume


@frozen
class Project(Preprocessor):
    """Exact parallel-beam projections of analytic objects.

    Line integrals in closed form, in units of attenuation times voxels, computed inside each object's footprint and only where they are
    read. The layer has the axes zax (detector row, angle, detector column); ``transpose`` gives other orders, ``sinograms`` cuts along any.
    The number of objects, and of those that found no place, become attributes of the case.

    Example::

        "preprocess": [{"use": "project", "layer": "clean", "angles": 180, "angle_range": [0, 179]}]
    """

    version: ClassVar[int] = 1
    layer: str | None = option(doc="Layer of objects (sphere-foam or phantom); null: the only image.", default=None)
    to: str | None = option(doc="Name of the projections; null: they take the place of the layer.", default=None, min_length=1)
    rows: int | None = option(doc="Detector rows; null: the cube's size.", default=None, ge=1)
    columns: int | None = option(doc="Detector columns; null: int(sqrt(2) size).", default=None, ge=1)
    angles: int | tuple[float, ...] | None = option(doc="How many, or degrees of each; null: int(pi/2 size).", default=None)
    angle_range: tuple[float, float] = option(doc="First and last angle, degrees, both included.", default=(0.0, 179.9))

    def __attrs_post_init__(self) -> None:
        if (isinstance(self.angles, int) and self.angles < 1) or self.angles == ():
            message = "angles: at least one is needed"
            raise ValueError(message)

    def apply(self, case: Case, context: Context) -> Case:
        name = self.layer if self.layer is not None else next((key for key, image in case.images().items() if image is case.image()), "")
        image = case.image(name)
        if not isinstance(image.array, Volume):
            message = f"layer {name!r} holds voxels that were read or changed, not objects of which the shape is known"
            raise StepError(message, where=f"case {case.id}", hint="read it with sphere-foam or phantom, and project it first")
        volume = image.array
        scan = Detector.usual(volume.size, self.rows, self.columns, self.angles, self.angle_range)
        to = name if self.to is None else self.to
        made = Image(Projections(volume.objects, scan), scan.grid(), {**image.notes, "angles": scan.angles.tolist()})
        return case.with_layers({to: made}).with_attributes(**_counts(case, image))


def _counts(case: Case, image: Image) -> dict[str, Plain]:
    """Objects of all layers that were projected so far."""
    counts = {}
    for name in ("objects", "unplaced"):
        before, found = case.attributes.get(name, 0), image.notes.get(name, 0)
        counts[name] = before + found if isinstance(before, int) and isinstance(found, int) else found
    return counts
