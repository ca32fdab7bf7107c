"""The ROI finder of cubes drawn from a volume that is too large to take whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core import Case, Context, Image, NDArray, RoiFinder, RoiTable, StepError, option
from curate_core.arrays import nbytes
from curate_core.builtin.tiling import tile_edges
from curate_em.names import MARK
from curate_em.padding import Paddings, Unpadded, overview_of, paddings_of

GIGABYTE = 1_000_000_000
_CHUNK = 1024
_ROI = "-ROI-x{x0}-{x1}_y{y0}-{y1}_z{z0}-{z1}"


@frozen
class SparseCubes(RoiFinder):
    """Cubes at random places of a large volume, a few gigabytes of them, none that is mostly padding.

    The volume is a grid of cubes from its origin; a remainder over half a cube is a cube as well. In an order drawn from the seed, cubes
    are taken until ``gb`` or ``count`` is reached; those where padding covers ``max_padding`` or more, and those thinner than
    ``min_thickness``, are passed over. Padding is looked for in ``overview``, a coarser layer of the same extent, so that of the volume
    itself nothing is read; without one, in the volume, cube by cube as they are drawn. A volume in which none is found is an error.

    Cubes are called ``<label>-ROI-x<from>-<to>_y<from>-<to>_z<from>-<to>``. A volume of up to ``min_gb`` passes whole, called ``<label>``.
    The ROI attributes ``cropped``, ``padding`` (its share) and ``nbytes`` serve in ``when`` and in filters.

    Example::

        "rois": [{"use": "sparse-cubes", "size": 256, "overview": "overview", "padding_value": 0, "max_padding": 0.3, "gb": 5}]
    """

    version: ClassVar[int] = 1
    size: int | tuple[int, int, int] = option(
        doc="Voxels of a cube along each side: one number, or three along z, y, x.", default=256, ge=1
    )
    gb: float | None = option(doc="Gigabytes (10^9 bytes) of cubes of a volume at the most; null: no limit.", default=5.0, gt=0)
    count: int | None = option(doc="Cubes of a volume at the most; null: no limit.", default=None, ge=1)
    padding_value: float | None = option(doc="The value of voxels that hold no data; null: there are none.", default=0.0)
    max_padding: float = option(doc="Cubes are passed over where padding covers this share or more.", default=0.3, gt=0, le=1)
    min_thickness: int = option(doc="Cubes with fewer voxels along any side are passed over.", default=5, ge=1)
    min_gb: float = option(doc="Volumes of up to so many gigabytes pass whole.", default=0.0, ge=0)
    overview: str | None = option(
        doc="A coarser layer of the same extent, where padding is looked for; null: the layer itself.", default=None
    )
    layer: str | None = option(doc="The layer to cut; null: the only one besides the overview.", default=None)
    label: str | None = option(
        doc="What the names of cubes begin with, such as {name}_s{mip}, filled in with the case's attributes; null: the last part of the"
        " case's id.",
        default=None,
        template=True,
        min_length=1,
    )

    def find(self, case: Case, context: Context) -> RoiTable:
        label = case.id.rpartition("/")[2] if self.label is None else self.label
        if MARK in label:
            message = f"the name {label!r} contains {MARK!r}, which marks the place of a patch in its name"
            raise StepError(message, where=f"case {case.id}", hint="give the case another name")
        name, image = self._layer(case)
        axes, shape = image.grid.spatial_axes, np.array(image.grid.spatial_shape)
        voxel = nbytes(image.array) // max(1, math.prod(shape.tolist()))
        label = label.replace("{", "{{").replace("}", "}}")
        if nbytes(image.array) <= round(self.min_gb * GIGABYTE):
            return _table((np.zeros_like(shape)[None], shape[None], axes), np.zeros(1), voxel, name, label, cropped=False)
        if axes != "zyx":
            message = f"sparse-cubes cuts volumes with the axes zyx, layer {name!r} has {image.grid.axes!r}"
            raise StepError(message, where=f"case {case.id}", hint="put transpose under preprocess")
        edges = self._edges(shape)
        order = self._order(edges, context)
        paddings: Paddings = Unpadded()
        if self.padding_value is not None:
            paddings = paddings_of(overview_of(case, self.overview, name, image), edges, self.padding_value)
        rows, shares = self._choose(order, edges, voxel, paddings, case)
        if not len(rows):
            raise self._none(edges, case)
        starts, stops = (np.stack([edge[i][rows[:, axis]] for axis, edge in enumerate(edges)], axis=1) for i in (0, 1))
        return _table((starts, stops, axes), shares, voxel, name, label + _ROI, cropped=True)

    def _layer(self, case: Case) -> tuple[str, Image]:
        names = [name for name in case.images() if name != self.overview] if self.layer is None else [self.layer]
        if len(names) != 1:
            message = f"the case has {len(names)} layers to choose from ({', '.join(names) or 'none'})"
            raise StepError(message, where=f"case {case.id}", hint='name it with "layer"')
        return names[0], case.image(names[0])

    def _edges(self, shape: NDArray) -> list[tuple[NDArray, NDArray]]:
        """(starts, stops) of the cubes along z, y and x, without those that are too thin."""
        sizes = (self.size,) * 3 if isinstance(self.size, int) else self.size
        found = []
        for length, size in zip(shape.tolist(), sizes, strict=True):
            starts, stops = tile_edges(length, size, None, "half")
            thick = stops - starts >= self.min_thickness
            found.append((starts[thick], stops[thick]))
        return found

    def _order(self, edges: list[tuple[NDArray, NDArray]], context: Context) -> Iterator[NDArray]:
        """(k, 3) positions in the grid of cubes, all of them in an order drawn from the seed."""
        counts = [len(starts) for starts, _ in edges]
        order = context.rng().permutation(math.prod(counts))
        for first in range(0, len(order), _CHUNK):
            yield np.stack(np.unravel_index(order[first : first + _CHUNK], counts), axis=1)

    def _none(self, edges: list[tuple[NDArray, NDArray]], case: Case) -> StepError:
        """That no cube was found: a layer that gives nothing is told of, for it is mostly a mistake."""
        count = math.prod(len(starts) for starts, _ in edges)
        if not count:
            message = f"no cube is {self.min_thickness} voxels thick"
            return StepError(message, where=f"case {case.id}", hint='lower "min_thickness"')
        message = f"in each of {count:,} cubes, {self.max_padding:.0%} or more of the voxels have the padding value {self.padding_value:g}"
        return StepError(message, where=f"case {case.id}", hint='is "padding_value" right? Or raise "max_padding"')

    def _choose(
        self, order: Iterator[NDArray], edges: list[tuple[NDArray, NDArray]], voxel: int, paddings: Paddings, case: Case
    ) -> tuple[NDArray, NDArray]:
        """(n, 3) positions and (n,) padding of the cubes within the budget, in the order of the grid.

        Raises:
            StepError: the budget holds not even one.
        """
        budget = math.inf if self.gb is None else self.gb * GIGABYTE
        limit = math.inf if self.count is None else self.count
        rows: list[tuple[int, ...]] = []
        shares: list[float] = []
        used = 0
        for chunk in order:
            for row, share in paddings.shares(chunk):
                if share >= self.max_padding:
                    continue
                size = voxel * math.prod(int(stops[i] - starts[i]) for i, (starts, stops) in zip(row, edges, strict=True))
                if used + size > budget and not rows:
                    message = f"a cube has {size:,} bytes, more than the budget of {budget:,.0f}"
                    raise StepError(message, where=f"case {case.id}", hint='raise "gb" or lower "size"')
                if used + size > budget or len(rows) == limit:
                    return _sorted(rows, shares)
                rows.append(row)
                shares.append(share)
                used += size
        return _sorted(rows, shares)


def _sorted(rows: list[tuple[int, ...]], shares: list[float]) -> tuple[NDArray, NDArray]:
    order = sorted(range(len(rows)), key=rows.__getitem__)
    return np.array([rows[i] for i in order], np.int64).reshape(-1, 3), np.array([shares[i] for i in order], np.float64)


def _table(boxes: tuple[NDArray, NDArray, str], padding: NDArray, voxel: int, layer: str, name: str, *, cropped: bool) -> RoiTable:
    starts, stops, axes = boxes
    sizes = np.prod(stops - starts, axis=1, dtype=np.int64) * voxel
    attributes = {"cropped": np.full(len(starts), cropped), "padding": padding, "nbytes": sizes}
    return RoiTable.boxes(starts, stops, axes, layers=(layer,), attributes=attributes, name=name)
