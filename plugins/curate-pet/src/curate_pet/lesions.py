"""Boxes around labelled lesions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Case, Context, NDArray, RoiFinder, RoiTable, StepError, option, read
from curate_pet.boxes import plain_volume, sizes_of


@frozen(eq=False)
class _Lesion:
    """A connected component: its label, its number among those of the label, and its voxels, (n, d) int64."""

    label: int
    number: int
    voxels: NDArray

    def middle(self) -> NDArray:
        """(d,) its voxel nearest to its centre of mass; the first of several."""
        away = ((self.voxels - self.voxels.mean(axis=0)) ** 2).sum(axis=1)
        chosen: NDArray = self.voxels[int(away.argmin())]
        return chosen


@frozen
class LabelCenters(RoiFinder):
    """Boxes around labelled lesions: connected components of each label.

    Without ``count`` every lesion gives one box, around the voxel of it that is nearest to its centre of mass. With ``count`` every label
    that a case has gives that many, so that rare labels count as much as frequent ones: its lesions take turns in a seeded order, the
    first time with their centre, later with a seeded voxel of theirs. Boxes that would leave the volume are moved back inside.

    Attributes: ``label``, ``lesion`` (number within the label, in array order, from 0) and ``voxels`` (of the lesion).

    Example::

        "rois": [{"use": "label-centers", "layer": "lesions", "size": [64, 64, 64], "count": 8}]
    """

    version: ClassVar[int] = 1
    layer: str = option(doc="Layer of labels; 0 is background.", min_length=1)
    size: int | tuple[int, ...] = option(
        doc="Voxels of a box: one number, or one for each spatial axis, array order; -1 along one axis: sections.", ge=-1
    )
    labels: tuple[int, ...] | None = option(doc="Labels to look for; null: all but 0.", default=None)
    count: int | None = option(doc="Boxes for each label that a case has; null: one for each lesion.", default=None, ge=1)
    connectivity: Literal["faces", "edges", "corners"] = option(
        doc="What voxels of one lesion share at least: faces (6 neighbours), edges (18) or corners (26).", default="corners"
    )
    min_voxels: int = option(doc="Lesions of fewer voxels are passed by.", default=1, ge=1)
    layers: tuple[str, ...] = option(doc="Layers to cut; none named: all images, which must share a grid.", default=())

    def find(self, case: Case, context: Context) -> RoiTable:
        image = plain_volume(case, self.layer, "label-centers")
        if image.dtype.kind not in "biu":
            message = f"layer {self.layer!r} holds {image.dtype} values, labels are whole numbers"
            raise StepError(message, where=f"case {case.id}", hint="was it interpolated? Name it under labels of resample")
        axes, shape = image.grid.axes, np.array(image.grid.shape)
        sizes, across = sizes_of(self.size, image.grid.shape, axes, case.id)
        chosen: list[tuple[_Lesion, NDArray]] = []
        for lesions in self._lesions(read(image.array)).values():
            if self.count is None:
                chosen += [(lesion, lesion.middle()) for lesion in lesions]
            else:
                rng = context.rng(lesions[0].label)
                order = rng.permutation(len(lesions))
                for turn in range(self.count):
                    lesion = lesions[int(order[turn % len(lesions)])]
                    chosen.append((lesion, lesion.middle() if turn < len(lesions) else lesion.voxels[rng.integers(len(lesion.voxels))]))
        size = np.array(sizes)
        centers = np.array([center for _, center in chosen], np.int64).reshape(-1, len(axes))
        start = np.clip(centers - size // 2, 0, shape - size)
        columns = {
            "label": np.array([lesion.label for lesion, _ in chosen], np.int64),
            "lesion": np.array([lesion.number for lesion, _ in chosen], np.int64),
            "voxels": np.array([len(lesion.voxels) for lesion, _ in chosen], np.int64),
        }
        drop = None if across is None else np.full(len(start), across, np.int8)
        return RoiTable.boxes(start, start + size, axes, layers=self.layers, drop=drop, attributes=columns)

    def _lesions(self, values: NDArray) -> dict[int, list[_Lesion]]:
        """Label -> its lesions that are large enough, in array order; labels ascending, those without any left out."""
        from scipy.ndimage import find_objects, generate_binary_structure, label

        steps = {"faces": 1, "edges": 2, "corners": 3}[self.connectivity]
        shape = generate_binary_structure(values.ndim, min(steps, values.ndim))
        there = [int(value) for value in np.unique(values) if value != 0]
        found: dict[int, list[_Lesion]] = {}
        for value in sorted(there if self.labels is None else set(there) & set(self.labels)):
            parts, _ = label(values == value, shape)
            boxes: list[Any] = find_objects(parts)
            for number, box in enumerate(boxes):
                inside = np.argwhere(parts[box] == number + 1)
                if len(inside) >= self.min_voxels:
                    corner = np.array([part.start for part in box])
                    found.setdefault(value, []).append(_Lesion(value, number, inside + corner))
        return found
