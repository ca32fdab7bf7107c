"""The mask of stripes as a layer of a scan: found, or read from an archive."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import attrs
from attrs import frozen

from curate_core import ArrayLike, Case, Context, LazyArray, NDArray, Preprocessor, StepError, option, read
from curate_core.arrays import Box, TransposeArray
from curate_tomo.maskarchive import Member
from curate_tomo.masking import Detector, Filtering, Gradients, MaskArray


@frozen
class StripeMask(Preprocessor):
    """Where a scan has stripes: a layer of booleans, found by one of two detectors or read from an .npz archive.

    ``gradients`` is the detector of Larix, with its numbers; ``filtering`` looks for columns that are off at all angles. The scan is
    one of line integrals (``normalize-flats``). ``archive`` holds masks (angle, row, column) that were made before, by
    ``curate stripe-mask`` or by NoStripesNet. A mask is computed once a case.

    Example::

        "preprocess": [
          {"use": "normalize-flats", "layer": "scan"},
          {"use": "stripe-mask", "layer": "scan", "archive": "stripe_masks.npz", "to": "mask"}
        ]
    """

    version: ClassVar[int] = 1
    layer: str | None = option(doc="Layer of the scan, axes azx; null: the only image.", default=None)
    to: str = option(doc="Name of the layer that the mask becomes.", default="mask", min_length=1)
    archive: Path | None = option(doc="The .npz archive of masks; null: the mask is found.", default=None, content=True)
    member: str | None = option(
        doc="Name of the mask in the archive, {attribute}s filled in; null: m and the attribute scan, the stem of the scan's file.",
        default=None,
        template=True,
    )
    method: Literal["gradients", "filtering"] = option(doc="Which detector.", default="gradients")
    gradients: Gradients = option(doc="Numbers of the detector of Larix.", factory=Gradients)
    filtering: Filtering = option(doc="Numbers of the detector that filters.", factory=Filtering)

    def apply(self, case: Case, context: Context) -> Case:
        image = case.image(self.layer)
        if image.grid.axes != "azx" or image.dtype.kind != "f":
            message = f"a mask of stripes is found in line integrals with axes 'azx', not in {image.dtype} with {image.grid.axes!r}"
            raise StepError(message, where=f"case {case.id}", hint='put "normalize-flats" before it')
        if self.to in case.images():
            message = f"there is a layer {self.to!r} already"
            raise StepError(message, where=f"case {case.id}", hint='name another under "to"')
        if self.archive is not None:
            name = self.member or f"m{case.attributes.get('scan', case.id)}"
            member = Member(self.archive, name)
            member.require(tuple(image.array.shape))
            array: ArrayLike = Computed(context, "mask", member)
            return case.with_layers({self.to: image.with_array(array, mask=f"{self.archive.name}: {name}")})
        detector: Detector = self.gradients if self.method == "gradients" else self.filtering
        rows = Computed(context, "mask", MaskArray(image.array, detector))
        numbers = ", ".join(f"{name} {value}" for name, value in attrs.asdict(detector).items())
        return case.with_layers({self.to: image.with_array(TransposeArray(rows, (1, 0, 2)), mask=f"{self.method}: {numbers}")})


class Computed(LazyArray):
    """An array that is computed as a whole, once a case, when any of it is read."""

    def __init__(self, context: Context, name: str, base: LazyArray) -> None:
        self.context, self.name, self.base = context, name, base
        self.shape, self.dtype = base.shape, base.dtype
        self._made: ArrayLike | None = None

    def read_box(self, where: Box) -> NDArray:
        if self._made is None:
            self._made = self.context.materialise(self.name, self.base)
        return read(self._made, where)
