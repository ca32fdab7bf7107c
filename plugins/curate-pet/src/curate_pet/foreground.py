"""Boxes that hold enough of what is above a threshold."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Case, Context, NDArray, RoiFinder, RoiTable, StepError, option, read, slabs
from curate_pet.boxes import plain_volume, sizes_of
from curate_pet.pruning import prune


@frozen
class Foreground(RoiFinder):
    """Every box with enough foreground: the SUV heuristic.

    Foreground is what lies above ``threshold``, closed and then opened with the 6-neighbourhood (4 in planes), once each, as
    ``scipy.ndimage.binary_closing`` and ``binary_opening`` do, whose border counts as background. A box is taken where the mean of the
    foreground over it is at least ``min_fraction``; all places are tried, from the first voxel to the last at which the whole box lies
    inside, each ``stride`` voxels. The centre of n voxels is the one of index n // 2. The attribute ``fraction`` tells the mean.

    A size of -1 along one axis finds sections across it, which lose that axis.

    A volume has millions of such boxes. ``max_overlap`` and ``limit`` thin them out as the filter ``prune-overlap`` does, before they are
    noted one by one: what goes is neither kept nor listed in ``dropped.jsonl``.

    Example::

        "rois": [{"use": "foreground", "layer": "100pc", "size": [64, 64, 64], "min_fraction": 0.6, "max_overlap": 0.25, "limit": 200}]
    """

    version: ClassVar[int] = 1
    size: int | tuple[int, ...] = option(
        doc="Voxels of a box: one number, or one for each spatial axis, array order; -1 along one axis: sections.", ge=-1
    )
    layer: str | None = option(doc="Layer that is looked at; null: the only image.", default=None)
    threshold: float = option(doc="Values above this are foreground.", default=0.4)
    min_fraction: float = option(doc="Least share of foreground in a box.", default=0.2, ge=0, le=1)
    stride: int | tuple[int, ...] = option(doc="Voxels from one place to the next: one number, or one for each axis.", default=1, ge=1)
    smooth: bool = option(doc="Close and open the foreground first.", default=True)
    max_overlap: float | None = option(
        doc="Overlap that is allowed along an axis, as a share of the size; in a seeded order. null: any.", default=None, ge=0, le=1
    )
    limit: int | None = option(doc="Boxes of a case to keep, at most, a seeded choice; null: any number.", default=None, ge=0)
    empty: Literal["none", "center"] = option(doc="What a case without such a box gives: no ROI, or the box at its centre.", default="none")
    layers: tuple[str, ...] = option(doc="Layers to cut; none named: all images, which must share a grid.", default=())

    def find(self, case: Case, context: Context) -> RoiTable:
        image = plain_volume(case, self.layer, "foreground")
        axes, shape = image.grid.axes, image.grid.shape
        size, across = sizes_of(self.size, shape, axes, case.id)
        stride = [self.stride] * len(axes) if isinstance(self.stride, int) else list(self.stride)
        if len(stride) != len(axes):
            message = f"stride has {len(stride)} numbers for the axes {axes!r}"
            raise StepError(message)
        mask = np.empty(shape, bool)
        for where in slabs(image.array):
            np.greater(read(image.array, where), self.threshold, out=mask[where])
        if self.smooth:
            mask = _smoothed(mask)
        counts = window_sums(mask, size)[tuple(slice(None, None, step) for step in stride)]
        fraction = counts / float(np.prod(size, dtype=np.float64))  # both whole numbers: what is equal to min_fraction comes out equal
        valid = fraction >= self.min_fraction
        start = np.argwhere(valid) * np.array(stride)
        found = fraction[valid].astype(np.float32)
        if self.max_overlap is not None or self.limit is not None:
            overlap = 1.0 if self.max_overlap is None else self.max_overlap
            kept = prune(start, np.broadcast_to(size, start.shape), context.rng().permutation(len(start)), overlap, self.limit)
            start, found = start[kept], found[kept]
        if not len(start) and self.empty == "center":
            start = np.array([[(n - s) // 2 for n, s in zip(shape, size, strict=True)]])
            found = np.array([mask[tuple(slice(a, a + s) for a, s in zip(start[0], size, strict=True))].mean()], np.float32)
        drop = None if across is None else np.full(len(start), across, np.int8)
        return RoiTable.boxes(start, start + np.array(size), axes, layers=self.layers, drop=drop, attributes={"fraction": found})


def _smoothed(mask: NDArray) -> NDArray:
    from scipy.ndimage import binary_closing, binary_opening

    return np.asarray(binary_opening(binary_closing(mask)))


def window_sums(mask: NDArray, size: list[int]) -> NDArray:
    """How many voxels are set in the box of ``size`` that starts at each place: exact, by running sums along one axis after the other.

    Returns:
        (n - size + 1, ...) int32, or int64 where the box holds 2**31 voxels or more.
    """
    sums: Any = mask
    kind = np.int32 if mask.size < 2**31 else np.int64
    for axis, length in enumerate(size):
        if length == 1:
            continue
        running = np.cumsum(sums, axis=axis, dtype=kind)  # bounded by the number of voxels along the axes done so far
        last = [slice(None)] * mask.ndim
        first, rest = list(last), list(last)
        last[axis], first[axis], rest[axis] = slice(length - 1, None), slice(0, -length), slice(1, None)
        sums = running[tuple(last)].copy()
        sums[tuple(rest)] -= running[tuple(first)]
    return np.asarray(sums, kind)
