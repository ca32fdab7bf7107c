"""Samples read where a coarse alignment says that they are."""

from __future__ import annotations

from typing import ClassVar

import attrs
import numpy as np
from attrs import frozen

from curate_align.fields import scale, translation
from curate_align.sections import Section, array_of, layer_of
from curate_align.tomip import mip_of
from curate_core import Batch, Context, Grid, Image, NDArray, StepError, Transform, option


@frozen
class FollowField(Transform):
    """Takes the translation out of a field, reads the image there, and keeps what is left of the field.

    The field holds vectors in pixels of mip 0, channel 0 along y and channel 1 along x. Of each section of a pair: the translation is the
    mean of the finite vectors around the sample's centre, rounded down to multiples of ``2 ** step_mip``; the image and the mask are read
    again, that much further; and ``VIEW.field`` becomes (field - translation) / 2 ** mip, vectors in the sample's own pixels of shape
    (2, y, x). A sample that leaves its layer thereby, or whose field has no finite vector, is refused. The attributes ``VIEW_dy`` and
    ``VIEW_dx`` are the translation, in pixels of mip 0.

    Example::

        "transform": [{"use": "follow-field", "field": "field", "reference_size": [2048, 2048], "step_mip": 5}]
    """

    version: ClassVar[int] = 1
    field: str = option(doc="Layer of the field, on the grid of the image.", default="field", min_length=1)
    image: str = option(doc="Layer of the image.", default="image", min_length=1)
    others: tuple[str, ...] = option(doc="Layers that are read further along with it, such as its mask.", default=())
    views: tuple[str, ...] = option(doc="Views of a pair.", default=("src", "tgt"), min_length=1)
    reference_size: tuple[int, int] | None = option(
        doc="Pixels, y and x, around the sample's centre whose vectors make the translation; null: the sample's own.", default=None, ge=1
    )
    step_mip: int = option(doc="The translation is a multiple of the pixels of this mip.", default=0, ge=0)

    def estimate(self, nbytes: int) -> int:
        return 5 * nbytes  # the field's two channels, larger reference regions

    def apply(self, batch: Batch, context: Context) -> Batch:
        layer, field = layer_of(batch, self.image), layer_of(batch, self.field)
        layer.grid.require_same(
            attrs.evolve(field.grid, unit=layer.grid.unit), 1e-3 * min(layer.grid.spacing), f"layers {self.image!r} and {self.field!r}"
        )
        channel = field.grid.axes.find("c")
        if channel < 0 or field.grid.shape[channel] != 2:
            message = f"layer {self.field!r} has the shape {field.grid.shape} ({field.grid.axes}); a field has two channels, c"
            raise StepError(message, where=f"case {batch.case.id}")
        mip = mip_of(layer, self.image)
        for view in self.views:
            batch = self._follow(batch, view, layer, field, mip, context)
        return batch

    def _follow(self, batch: Batch, view: str, layer: Image, field: Image, mip: int, context: Context) -> Batch:
        image = array_of(batch, view, self.image)
        places = [Section.of(batch.grids[image](row), layer.grid) for row in range(len(batch))]
        shifts, kept = np.zeros((len(batch), 2), np.int64), []
        residual = np.zeros((len(batch), 2, places[0].height, places[0].width), np.float32)
        for row, place in enumerate(places):
            try:
                shifts[row], residual[row] = self._split(place, batch.grids[image](row), layer.grid, field, mip)
                moved = place.moved(*(shifts[row] >> mip).tolist())
                if moved != moved.clipped(layer.grid):
                    message = (
                        f"{view}, moved by its field by {shifts[row].tolist()} pixels of mip 0 to {moved.describe()}, leaves the layer"
                    )
                    raise StepError(message)
                kept.append(moved)
            except StepError as error:
                context.reject(row, str(error))
                kept.append(place)
        grids = [place.grid(layer.grid) for place in kept]
        for name in (self.image, *self.others):
            source = layer_of(batch, name)
            values = np.stack([place.read(source) for place in kept])
            batch = batch.with_array(array_of(batch, view, name), values, grid=grids.__getitem__)
        with_channel = [grid.add("c", 2, 0) for grid in grids]
        batch = batch.with_array(f"{view}.field", residual, grid=with_channel.__getitem__)
        return batch.with_attributes(**{f"{view}_dy": shifts[:, 0], f"{view}_dx": shifts[:, 1]})

    def _split(self, place: Section, grid: Grid, layer: Grid, field: Image, mip: int) -> tuple[NDArray, NDArray]:
        """The translation, (2,) int64 in pixels of mip 0, and what is left, (2, y, x) float32 in pixels of the sample."""
        vectors = _channels_first(place.read(field), field.grid)
        region = vectors
        if self.reference_size is not None:
            reference = Section.around(grid, layer, self.reference_size).clipped(layer)
            assert reference is not None  # it has the sample's centre
            region = vectors if reference == place else _channels_first(reference.read(field), field.grid)
        shift = translation(region, 2**self.step_mip)
        return shift, scale(vectors - shift[:, None, None], 0, mip)


def _channels_first(values: NDArray, grid: Grid) -> NDArray:
    """(2, y, x) float32 of a section of a field layer."""
    axes = grid.axes.replace("z", "")
    return values.transpose([axes.index(axis) for axis in "cyx"]).astype(np.float32, copy=False)
