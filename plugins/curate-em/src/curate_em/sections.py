"""The ROI finder of section patches."""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import frozen

from curate_core import Case, Context, Grid, NDArray, RoiFinder, RoiTable, StepError, option
from curate_core.builtin.tiling import Edge, boxes_of_grid, sections, tile_edges
from curate_em.names import IMAGE, MARK, PLANES


@frozen
class EmSections(RoiFinder):
    """Patches of the xy, xz and yz sections of a volume, and of single images, named as CEM500K names them.

    A patch is 2D. Its name, for path templates, is ``<case>-LOC-<axis>_<index>_<row0>-<row1>_<column0>-<column1>``. Sections that contain
    the z axis are cut only where x and z spacing are alike, and never where the case's name contains ``video``; a volume that does not
    state its voxel size counts as isotropic.

    Example::

        "rois": [{"use": "em-sections", "size": 224, "planes": ["xy", "xz", "yz"], "spacing": 4}]
    """

    size: int = option(doc="Pixels of a patch along each side.", default=224, ge=1)
    planes: tuple[Literal["xy", "xz", "yz"], ...] = option(doc="Planes to cut along.", default=("xy", "xz", "yz"), min_length=1)
    spacing: int = option(doc="Take every so many slices, from the first one on.", default=1, ge=1)
    isotropy_tolerance: float = option(
        doc="xz and yz sections are left out where |x spacing - z spacing| / x spacing is more than this.", default=0.25, ge=0
    )
    edge: Edge = option(
        doc="A remainder at the end of a row or column: half makes it a shorter patch if it is more than half a patch, and an axis"
        " shorter than a patch one patch; short keeps every remainder; drop none; shift moves the last patch back until it fits.",
        default="half",
    )
    label: str | None = option(
        doc="What stands before -LOC-, such as {number}, filled in with the case's attributes; null: the last part of the case's id.",
        default=None,
        template=True,
        min_length=1,
    )
    layer: str | None = option(doc="The layer to cut; null: every image layer of the case, which need one grid.", default=None)

    def find(self, case: Case, context: Context) -> RoiTable:
        label = case.id.rpartition("/")[2] if self.label is None else self.label
        if MARK in label or MARK in case.id:
            message = f"the name contains {MARK!r}, which marks the place of a patch in its name"
            raise StepError(message, where=f"case {case.id}", hint="give the case another name")
        grid = self._grid(case)
        layers = () if self.layer is None else (self.layer,)
        name = label.replace("{", "{{").replace("}", "}}") + MARK + "{loc}"
        if grid.spatial_axes == "yx":
            return self._image(case, grid, layers, name)
        shape = [grid.shape[grid.axes.index(axis)] for axis in "zyx"]
        planes = [plane for plane in PLANES if plane in self.planes and (plane == "xy" or self._isotropic(case, grid))]
        tables = [self._plane(shape, plane, layers, name) for plane in planes]
        if tables:
            return RoiTable.concat(tables)
        none = np.zeros((0, 3), np.int64)
        return RoiTable.boxes(
            none, none, "zyx", layers=layers, drop=none[:, 0], attributes=_attributes("xy", none[:, 0], _NO_TEXT), name=name
        )

    def _grid(self, case: Case) -> Grid:
        images = case.images() if self.layer is None else {self.layer: case.image(self.layer)}
        if not images:
            message = "the case has no image layer to cut"
            raise StepError(message, where=f"case {case.id}")
        layer, image = next(iter(images.items()))
        if image.grid.spatial_axes not in ("zyx", "yx"):
            message = f"em-sections cuts layers whose spatial axes are zyx or yx, in this order, layer {layer!r} has {image.grid.axes!r}"
            raise StepError(message, where=f"case {case.id}", hint="put transpose under preprocess")
        return image.grid

    def _isotropic(self, case: Case, grid: Grid) -> bool:
        if "video" in case.id.lower():
            return False
        x, z = grid.spacing_of("x"), grid.spacing_of("z")
        return abs(x - z) / x <= self.isotropy_tolerance

    def _edges(self, length: int) -> tuple[NDArray, NDArray]:
        return tile_edges(length, self.size, None, self.edge)

    def _plane(self, shape: list[int], plane: str, layers: tuple[str, ...], name: str) -> RoiTable:
        across = PLANES[plane]
        rows, columns = (self._edges(n) for i, n in enumerate(shape) if i != across)
        start, stop, drop = sections(shape, "zyx", plane, rows, columns, self.spacing)
        index = np.arange(0, shape[across], self.spacing)
        tiles = _tile_texts(rows, columns)
        digits = len(str(shape[across] - 1))
        texts = _joined(np.array([f"{across}_{i:0{digits}}_" for i in index.tolist()], "S"), tiles)
        attributes = _attributes(plane, np.repeat(index, len(tiles)), texts)
        return RoiTable.boxes(start, stop, "zyx", layers=layers, drop=drop, attributes=attributes, name=name)

    def _image(self, case: Case, grid: Grid, layers: tuple[str, ...], name: str) -> RoiTable:
        if "xy" not in self.planes:
            message = f"a single image has no sections but xy, the spec asks for {', '.join(self.planes)}"
            raise StepError(message, where=f"case {case.id}")
        rows, columns = (self._edges(grid.shape[grid.axes.index(axis)]) for axis in "yx")
        start, stop = boxes_of_grid([rows, columns])
        texts = _joined(np.array([f"{IMAGE}-".encode()]), _tile_texts(rows, columns))
        attributes = _attributes("xy", np.zeros(len(texts), np.int64), texts)
        return RoiTable.boxes(start, stop, "yx", layers=layers, attributes=attributes, name=name)


_NO_TEXT = np.zeros(0, "S1")


def _tile_texts(rows: tuple[NDArray, NDArray], columns: tuple[NDArray, NDArray]) -> NDArray:
    down = [f"{a}-{b}" for a, b in zip(rows[0].tolist(), rows[1].tolist(), strict=True)]
    right = [f"{a}-{b}" for a, b in zip(columns[0].tolist(), columns[1].tolist(), strict=True)]
    return np.array([f"{row}_{column}" for row in down for column in right], "S")


def _joined(fronts: NDArray, backs: NDArray) -> NDArray:
    """(n * m,) every front followed by every back; fronts are of one length. Joined as bytes: no loop over a million texts."""
    if not len(fronts) or not len(backs):
        return _NO_TEXT
    a, b = fronts.itemsize, backs.itemsize
    joined = np.empty((len(fronts), len(backs), a + b), np.uint8)
    joined[..., :a] = fronts.view(np.uint8).reshape(-1, 1, a)
    joined[..., a:] = backs.view(np.uint8).reshape(1, -1, b)
    return joined.reshape(-1).view(f"S{a + b}")


def _attributes(plane: str, index: NDArray, texts: NDArray) -> dict[str, NDArray]:
    return {"plane": np.full(len(index), plane, "S2"), "index": index.astype(np.int32), "loc": texts}
