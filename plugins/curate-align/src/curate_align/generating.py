"""Fields between the sections of pairs: what generators of fields share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_align.resampling import resample, shape_at
from curate_core import Batch, Context, Grid, NDArray, StepError, Transform, option
from curate_core.batch import GridOf


@frozen
class FieldGenerator(Transform):
    """A transform that makes a field of each pair; subclasses say how, in ``field``.

    The images are planes of one shape (y, x). A field is (2, y, x) float32, channel 0 along y and channel 1 along x: sampling ``src`` at
    (y, x) + field gives something like ``tgt``. With ``src_mip`` and ``dst_mip`` the result is brought from the mip of the images to
    another: on its grid, bilinearly, and in its pixels.
    """

    src: str = option(doc="Array of the image that the field warps.", default="src", min_length=1)
    tgt: str = option(doc="Array of the image that it should look like then.", default="tgt", min_length=1)
    previous: str | None = option(
        doc="Array of an earlier field, (2, y, x) in pixels of the images, to be refined; null: none.", default=None
    )
    to: str = option(doc="Name of the field.", default="field", min_length=1)
    src_mip: int | None = option(doc="Mip of the images.", default=None, ge=0)
    dst_mip: int | None = option(doc="Mip of the field that is made; null: that of the images.", default=None, ge=0)
    pairs: int = option(doc="Pairs of a unit: what a worker makes before they are kept.", default=16, ge=1)

    def __attrs_post_init__(self) -> None:
        if self.dst_mip is not None and self.src_mip is None:
            message = "dst_mip: it has a meaning beside src_mip only"
            raise ValueError(message)

    def unit_samples(self) -> int:
        return self.pairs

    @abstractmethod
    def field(self, src: NDArray, tgt: NDArray, previous: NDArray | None, state: Any) -> NDArray:
        """The field of one pair.

        Args:
            src, tgt: (y, x) float32; 0 where there is no image.
            previous: (2, y, x) float32 in pixels of the images, or None.
            state: what ``setup`` returned.

        Returns:
            (2, y, x) float32 in pixels of the images.
        """

    def apply(self, batch: Batch, context: Context) -> Batch:
        src, tgt = (self._planes(batch, name) for name in (self.src, self.tgt))
        if src.shape != tgt.shape:
            message = f"{self.src} has the shape {src.shape[1:]}, {self.tgt} {tgt.shape[1:]}; the images of a pair share one"
            raise StepError(message, where=f"case {batch.case.id}")
        previous = None if self.previous is None else batch.array(self.previous)
        if previous is not None and previous.shape[1:] != (2, *src.shape[1:]):
            message = f"{self.previous} has the shape {previous.shape[1:]}; beside images of {src.shape[1:]} it is {(2, *src.shape[1:])}"
            raise StepError(message, where=f"case {batch.case.id}", hint="fields and images need one mip, the fields in pixels of it")
        dst = self.dst_mip if self.dst_mip is not None else self.src_mip
        factor = 1.0 if self.src_mip is None or dst is None else 2.0 ** (self.src_mip - dst)
        shape = src.shape[1:] if factor == 1 else shape_at((src.shape[1], src.shape[2]), self.src_mip or 0, dst or 0)
        out = np.zeros((len(batch), 2, *shape), np.float32)
        for row in range(len(batch)):
            earlier = None if previous is None else previous[row].astype(np.float32)
            found = np.asarray(self.field(src[row].astype(np.float32), tgt[row].astype(np.float32), earlier, context.state))
            if found.shape != (2, *src.shape[1:]):
                message = f"a field of the shape {found.shape} was made for images of {src.shape[1:]}, expected {(2, *src.shape[1:])}"
                raise StepError(message, where=f"case {batch.case.id}")
            if not np.isfinite(found).all():
                context.reject(row, "the field has vectors that are not finite")
                continue
            out[row] = found if factor == 1 else resample(found, shape, "bilinear") * np.float32(factor)
        return batch.with_array(self.to, out, self._grids(batch, factor, shape))

    def _planes(self, batch: Batch, name: str) -> NDArray:
        values = batch.array(name)
        if values.ndim != 3:
            message = f"{name} has the shape {values.shape[1:]}; images are planes (y, x)"
            raise StepError(message, where=f"case {batch.case.id}")
        return values

    def _grids(self, batch: Batch, factor: float, shape: tuple[int, ...]) -> GridOf:
        return lambda row: _finer(batch.grids[self.src](row), factor, shape).add("c", 2, 0)


def _finer(grid: Grid, factor: float, shape: tuple[int, ...]) -> Grid:
    """A plane's grid with ``factor`` times as many pixels over the same extent."""
    if factor == 1:
        return grid
    affine = grid.affine.copy()
    affine[:3, :-1] /= factor
    affine[:3, -1] += (affine[:3, :-1] - grid.affine[:3, :-1]).sum(axis=1) / 2
    return attrs.evolve(grid, shape=shape, affine=affine)
