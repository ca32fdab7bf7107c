"""From counts to line integrals: flat and dark fields, and the logarithm."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import ArrayLike, Case, Context, LazyArray, NDArray, Preprocessor, StepError, option, read
from curate_core.arrays import Box

LEAST_BEAM, LEAST_SHARE = 1e-6, 1e-9
_PIECE = 1 << 18
"""Values that are worked on at once: a piece stays in the processor's cache."""


@frozen
class NormalizeFlats(Preprocessor):
    """Divide by flat fields, take the logarithm.

    x = (raw - mean dark) / max(mean flat - mean dark, 1e-6); where x <= 0, x = 1e-9; the layer becomes -ln x, float32. The flat and
    dark fields are those that the reader ``nexus`` found with the scan. Their means are computed once a case; all else is computed
    where it is read.

    Example::

        "preprocess": [{"use": "normalize-flats", "layer": "scan"}]
    """

    version: ClassVar[int] = 1
    layer: str | None = option(doc="Layer of the scan, axes azx; null: the only image.", default=None)
    normalize: bool = option(doc="Divide by the fields; false: counts stay as they are, and no fields are needed.", default=True)
    log: bool = option(doc="Take the logarithm; false: x itself, the share of the beam that passes.", default=True)
    darks: Literal["required", "zero"] = option(doc="A scan without dark fields: refused, or taken to be dark at zero.", default="required")
    clip: tuple[float, float] | None = option(
        doc="Least and greatest value that is kept, so that dead pixels do not widen the scale; null: all.", default=None
    )

    def __attrs_post_init__(self) -> None:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            message = f"clip: [{self.clip[0]:g}, {self.clip[1]:g}] is no range, the first must be less"
            raise ValueError(message)

    def apply(self, case: Case, context: Context) -> Case:
        image = case.image(self.layer)
        name = next(key for key, found in case.images().items() if found is image)
        if not self.normalize:
            return case
        if not hasattr(image.array, "flats") or image.grid.axes != "azx":
            message = f"layer {name!r} does not carry flat fields as a scan does"
            raise StepError(message, where=f"case {case.id}", hint='read it with "nexus", and put "normalize-flats" before other steps')
        flats: Any = image.array.flats
        darks: Any = getattr(image.array, "darks", None)
        for what, found in (("flat", flats), ("dark", darks)):
            if found is None and (what == "flat" or self.darks == "required"):
                message = f"layer {name!r} has no {what} fields, neither its own nor those of another file"
                more = ', or set "darks": "zero"' if what == "dark" else ', or keep counts with "normalize": false'
                raise StepError(message, where=f"case {case.id}", hint=f'name a file with the option "flats" of the reader{more}')
        flat = context.materialise(f"{name}.flat", MeanArray(flats))
        dark = np.zeros(image.array.shape[1:], np.float32) if darks is None else context.materialise(f"{name}.dark", MeanArray(darks))
        array = NormalizedArray(image.array, flat, dark, self.log, self.clip)
        return case.with_layers({name: image.with_array(array, normalized="-log" if self.log else "share")})


class MeanArray(LazyArray):
    """The mean of a stack over its first axis, float32; summed in float64, an entry at a time."""

    def __init__(self, base: ArrayLike) -> None:
        self.base = base
        self.shape, self.dtype = tuple(base.shape[1:]), np.dtype(np.float32)

    def read_box(self, where: Box) -> NDArray:
        total = np.zeros([s.stop - s.start for s in where])
        for index in range(self.base.shape[0]):
            total += read(self.base, (slice(index, index + 1), *where))[0]
        return (total / self.base.shape[0]).astype(np.float32)


class NormalizedArray(LazyArray):
    """Counts over the beam, and the logarithm of that; (angle, row, column) float32.

    Args:
        base: counts.
        flat, dark: (row, column) means.
        log: take the negative logarithm.
        clip: least and greatest value; None: all.
    """

    def __init__(self, base: ArrayLike, flat: ArrayLike, dark: ArrayLike, log: bool, clip: tuple[float, float] | None = None) -> None:
        self.base, self.flat, self.dark, self.log, self.clip = base, flat, dark, log, clip
        self.shape, self.dtype = tuple(base.shape), np.dtype(np.float32)

    def read_box(self, where: Box) -> NDArray:
        raw = read(self.base, where)
        dark = read(self.dark, where[1:]).astype(np.float32)
        beam = np.maximum(read(self.flat, where[1:]).astype(np.float64) - dark, LEAST_BEAM).astype(np.float32)
        out = np.empty(raw.shape, np.float32)
        step = max(1, _PIECE // max(1, dark.size))
        for first in range(0, len(raw), step):
            piece = out[first : first + step]
            np.subtract(raw[first : first + step], dark, out=piece, dtype=np.float32, casting="unsafe")
            piece /= beam
            np.copyto(piece, LEAST_SHARE, where=piece <= 0)
            if self.log:
                np.negative(np.log(piece, out=piece), out=piece)
            if self.clip is not None:
                np.clip(piece, *self.clip, out=piece)
        return out
