"""Layers of different mips on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from attrs import frozen

from curate_align.ongrid import Chosen, OnGrid, grid_at
from curate_core import Case, Context, Grid, Image, Plain, Preprocessor, StepError, option


@frozen
class ToMip(Preprocessor):
    """Brings layers of different mips to the grid of one of them, lazily.

    Mips halve voxels along y and x from one to the next; sections stay. The grid is that of ``like`` at ``mip``, whose voxels count from
    the volume's origin as those of a pyramid do. What another layer does not cover is 0. ``bilinear`` interpolates between the centres of
    voxels, going down without anti-aliasing; ``nearest`` takes the voxel in which the new one begins; ``area`` is the mean over what the
    new one covers. All are as in ``torch.nn.functional.interpolate`` with ``align_corners=False``, but for borders: what lies beyond a
    sample's edge is known and used.

    Example::

        "preprocess": [{"use": "to-mip", "mip": 5, "layers": ["image", "field"], "methods": {"field": "bilinear"}}]
    """

    version: ClassVar[int] = 1
    mip: int = option(doc="The mip to bring them to; 0 is the finest.", ge=0)
    layers: tuple[str, ...] | None = option(doc="Layers to bring there; null: all images.", default=None, min_length=1)
    like: str | None = option(doc="The layer whose grid is taken, at that mip; null: the first of the layers.", default=None)
    like_mip: int | None = option(doc="The mip that it has; null: its reader says.", default=None, ge=0)
    method: Chosen = option(doc="How values are found; auto: area going to coarser voxels, and else bilinear.", default="auto")
    methods: Mapping[str, Chosen] = option(doc="Layer -> its own method.", factory=dict)

    def apply(self, case: Case, context: Context) -> Case:
        chosen = case.images(self.layers)
        unknown = [name for name in self.methods if name not in chosen]
        if unknown:
            message = f"methods names {unknown[0]!r}, which is none of the layers {', '.join(chosen)}"
            raise StepError(message, where=f"case {case.id}")
        like = self.like or next(iter(chosen), None)
        if like is None:
            message = "the case has no image layer"
            raise StepError(message, where=f"case {case.id}")
        image = case.image(like)
        known = self.like_mip if self.like_mip is not None else mip_of(image, like)
        target = grid_at(image.grid, 2.0 ** (self.mip - known))
        return case.with_layers({name: self._brought(layer, name, target) for name, layer in chosen.items()})

    def _brought(self, image: Image, name: str, target: Grid) -> Image:
        return on_grid(image, target, self.methods.get(name, self.method), f"layer {name!r}", mip=self.mip)


def mip_of(image: Image, name: str) -> int:
    """The mip of a layer, as its reader or a step noted it.

    Raises:
        StepError: nobody did.
    """
    mip = image.notes.get("mip")
    if not isinstance(mip, int):
        message = f"nothing says which mip layer {name!r} has"
        raise StepError(message, hint='say it: "to-mip" with "like_mip", or read the layer with tensorstore')
    return mip


def on_grid(image: Image, target: Grid, method: Chosen, what: str, **notes: Plain) -> Image:
    """A layer on another grid; as it is where that is its own.

    Raises:
        StepError: the layer cannot be brought there.
    """
    if image.dtype.kind not in "biuf":
        message = f"{what} holds {image.dtype}, which cannot be interpolated"
        raise StepError(message)
    if image.grid.spatial_shape == target.spatial_shape and image.grid.distance(target) <= 1e-6 * min(target.spacing):
        return image.with_array(image.array, None, **notes)
    array = OnGrid(image.array, image.grid, target, method, what)
    return image.with_array(array, array.grid, **notes, interpolated=array.method)
