"""Back from kept patches to the volumes that they were cut from."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Batch, Case, Context, Grid, NDArray, RoiFinder, RoiTable, StepError, Transform, Worker, option
from curate_em.names import MARK, PLANES
from curate_em.patches import Patches, read_patches

ROI_MARK = "-ROI-"
_ORDERS = {"xy": (0, 1, 2), "xz": (1, 0, 2), "yz": (2, 0, 1)}


@frozen
class AroundPatches(RoiFinder):
    """Boxes of some slices around patches that were cut from a volume earlier: flipbooks and subvolumes.

    Patches belong to the volume whose name stands before ``-LOC-`` in theirs, so that each ``-ROI-`` volume of a dataset has its own; the
    attribute ``group`` is what stands before ``-ROI-``. The name of a box is ``<volume>-LOC-<axis>_<first slice>-<stop>_<rows>_<columns>``.
    Its axes are the volume's; the transform ``section-first`` puts the slices in front.

    Example::

        "rois": [{"use": "around-patches", "patches": "out/cem/manifest.jsonl", "depth": 5, "limit": 100, "max_overlap": 0.5}]
    """

    version: ClassVar[int] = 1
    patches: Path | tuple[Path, ...] = option(
        doc="A curated dataset, its manifest.jsonl (which is quicker to hash), a folder of files with -LOC- names, or several of these.",
        content=True,
    )
    depth: int = option(doc="Slices of a box, across the plane of the patch, which lies in their middle.", default=5, ge=1)
    edge: Literal["skip", "shift"] = option(
        doc="What becomes of a patch too near to the first or last slice: it is left out, or its box moved until it fits.", default="skip"
    )
    limit: int | None = option(doc="Boxes of a volume at the most, drawn with the seed; null: all.", default=None, ge=1)
    max_overlap: float = option(doc="Share of a box that may lie in another one; boxes that would exceed it go.", default=1.0, ge=0, le=1)
    layer: str | None = option(doc="The layer to cut; null: every image layer of the case, which need one grid.", default=None)

    def setup(self, worker: Worker) -> Patches:
        return read_patches([self.patches] if isinstance(self.patches, Path) else self.patches)

    def find(self, case: Case, context: Context) -> RoiTable:
        volume = case.id.rpartition("/")[2]
        shape = self._shape(case)
        rows = context.state.get(volume, np.zeros((0, 6), np.int64))
        start, stop = boxes(rows, self.depth)
        _check(start, stop, rows, shape, case)
        across = (np.arange(len(rows)), rows[:, 0])
        if self.edge == "shift":
            shift = np.maximum(0, -start[across]) - np.maximum(0, stop[across] - shape[rows[:, 0]])
            start[across] += shift
            stop[across] += shift
        fits = (start[across] >= 0) & (stop[across] <= shape[rows[:, 0]])
        rows, start, stop = rows[fits], start[fits], stop[fits]
        chosen = choose(start, stop, context.rng().permutation(len(rows)), self.max_overlap, self.limit)
        rows, start, stop = rows[chosen], start[chosen], stop[chosen]
        return self._table(volume, rows, start, stop)

    def _shape(self, case: Case) -> NDArray:
        images = case.images() if self.layer is None else {self.layer: case.image(self.layer)}
        for name, image in images.items():
            if image.grid.spatial_axes != "zyx":
                message = f"around-patches cuts volumes with the axes zyx, layer {name!r} has {image.grid.axes!r}"
                raise StepError(message, where=f"case {case.id}", hint="put transpose under preprocess")
        if not images:
            message = "the case has no image layer to cut"
            raise StepError(message, where=f"case {case.id}")
        return np.array(next(iter(images.values())).grid.spatial_shape)

    def _table(self, volume: str, rows: NDArray, start: NDArray, stop: NDArray) -> RoiTable:
        slices = [(int(start[i, axis]), int(stop[i, axis])) for i, axis in enumerate(rows[:, 0].tolist())]
        texts = [f"{r[0]}_{a}-{b}_{r[2]}-{r[3]}_{r[4]}-{r[5]}" for r, (a, b) in zip(rows.tolist(), slices, strict=True)]
        planes = np.array([plane.encode() for plane in PLANES], "S2")
        attributes = {
            "plane": planes[rows[:, 0]],
            "index": rows[:, 1].astype(np.int32),
            "group": np.full(len(rows), volume.partition(ROI_MARK)[0].encode("utf-8", "surrogateescape")),
            "loc": np.array(texts, "S") if texts else np.zeros(0, "S1"),
        }
        layers = () if self.layer is None else (self.layer,)
        name = volume.replace("{", "{{").replace("}", "}}") + MARK + "{loc}"
        return RoiTable.boxes(start, stop, "zyx", layers=layers, attributes=attributes, name=name)


def boxes(rows: NDArray, depth: int) -> tuple[NDArray, NDArray]:
    """(n, 3) int64 start and stop, zyx, of ``depth`` slices around patches: from ``index - depth // 2`` on."""
    start, stop = np.zeros((len(rows), 3), np.int64), np.zeros((len(rows), 3), np.int64)
    for axis in range(3):
        mine = rows[:, 0] == axis
        first = rows[mine, 1] - depth // 2
        edges = [(rows[mine, 2], rows[mine, 3]), (rows[mine, 4], rows[mine, 5])]
        edges.insert(axis, (first, first + depth))
        start[mine], stop[mine] = (np.stack([edge[i] for edge in edges], axis=1) for i in (0, 1))
    return start, stop


def _check(start: NDArray, stop: NDArray, rows: NDArray, shape: NDArray, case: Case) -> None:
    """Refuse patches that were cut from another volume.

    Raises:
        StepError: a patch lies outside.
    """
    inside = (start >= 0) & (stop <= shape) & (start < stop)
    across = (np.arange(len(rows)), rows[:, 0])
    inside[across] = (rows[:, 1] >= 0) & (rows[:, 1] < shape[rows[:, 0]])
    wrong = np.flatnonzero(~inside.all(axis=1))
    if len(wrong):
        axis, index, *edges = rows[wrong[0]].tolist()
        place = f"{axis}_{index}_{edges[0]}-{edges[1]}_{edges[2]}-{edges[3]}"
        message = f"the patch {place} lies outside of the volume of shape {shape.tolist()}; it was cut from another one of this name"
        raise StepError(message, where=f"case {case.id}", hint="give the volumes that the patches were cut from, uncropped")


def choose(start: NDArray, stop: NDArray, order: NDArray, most: float, limit: int | None) -> NDArray:
    """Boxes that stay: in ``order``, each that shares at most a share ``most`` with every one that stays already.

    The share is that of the smaller of two boxes.

    Args:
        start, stop: (n, d) int64.
        order: (n,) permutation.
        limit: how many at the most; None: no limit.

    Returns:
        (k,) int64 indices, ascending.
    """
    wanted = len(order) if limit is None else min(limit, len(order))
    if most >= 1:
        return np.sort(order[:wanted])
    volume = np.prod(stop - start, axis=1)
    kept: list[int] = []
    low, high, size = np.empty((wanted, start.shape[1]), np.int64), np.empty((wanted, start.shape[1]), np.int64), np.empty(wanted, np.int64)
    for row in order.tolist():
        if len(kept) == wanted:
            break
        count = len(kept)
        sides = np.minimum(high[:count], stop[row]) - np.maximum(low[:count], start[row])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        if (shared <= most * np.minimum(size[:count], volume[row])).all():
            low[count], high[count], size[count] = start[row], stop[row], volume[row]
            kept.append(row)
    return np.sort(np.array(kept, np.int64))


@frozen
class SectionFirst(Transform):
    """Put the axis across a sample's plane in front: z, y, x for xy; y, z, x for xz; x, z, y for yz.

    The plane is the sample's attribute ``plane``, as ``around-patches`` gives it; an axis behind the three, such as channels, stays behind.

    Example::

        "transform": [{"use": "section-first"}]
    """

    version: ClassVar[int] = 1
    array: str | None = option(doc="The array to turn; null: the only one.", default=None)

    def apply(self, batch: Batch, context: Context) -> Batch:
        name = batch.array_name(self.array)
        values, grids = batch.array(name), batch.grids[name]
        axes = grids(0).axes
        if "plane" not in batch.attributes or axes[:3] != "zyx":
            message = f"section-first turns samples with the axes zyx and an attribute plane, these have {axes!r}"
            raise StepError(message, where=f"case {batch.case.id}", hint="put it behind around-patches")
        planes = [value.decode() if isinstance(value, bytes) else str(value) for value in batch.attributes["plane"].tolist()]
        rest = tuple(range(3, len(axes)))
        turned = [values[row].transpose((*_ORDERS[plane], *rest)) for row, plane in enumerate(planes)]
        if len({sample.shape for sample in turned}) > 1:
            message = "samples of one shape get different ones when they are turned"
            raise StepError(message, where=f"case {batch.case.id}", hint="reconstruct each plane with a spec of its own")

        def grid_of(row: int) -> Grid:
            return grids(row).transpose((*_ORDERS[planes[row]], *rest))

        return batch.with_array(name, np.stack(turned), grid_of)
