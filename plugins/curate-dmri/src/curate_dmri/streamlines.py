"""Steps on streamlines: resampling, compression, removal of what leaves the volume."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np
from attrs import frozen

from curate_core import Case, Context, NDArray, Plain, Preprocessor, StepError, Tractogram, option, read
from curate_dmri import kernels
from curate_dmri.space import in_file_order, to_space


def plain_points(lines: Tractogram) -> NDArray:
    """(P, 3) float32 points as compiled code takes them."""
    return np.asarray(read(lines.points), np.float32)


def tractogram(case: Case, name: str) -> Tractogram:
    """The tractogram layer of a name.

    Raises:
        StepError: there is none.
    """
    layer = case.layers.get(name)
    if not isinstance(layer, Tractogram):
        there = [key for key, value in case.layers.items() if isinstance(value, Tractogram)]
        message = f"there is no tractogram layer {name!r}, only {', '.join(there) or 'none'}"
        raise StepError(message, where=f"case {case.id}")
    return layer


def offsets_of(lengths: NDArray) -> NDArray:
    """(N,) int64: where streamlines start that follow each other without a gap."""
    edges = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=edges[1:])
    return edges[:-1]


def inside(lines: Tractogram) -> NDArray:
    """(N,) bool: the streamline has a point, and all of its points lie in the volume (0 <= voxel < size, corner origin)."""
    shape = np.array(in_file_order(lines.grid).shape, np.int64)
    return kernels.inside(plain_points(lines), lines.offsets, lines.lengths, to_space(lines.grid, "vox"), shape)


def take(lines: Tractogram, rows: NDArray) -> Tractogram:
    """Some streamlines with their data; points stay where they are.

    Args:
        rows: (N,) bool.
    """
    data = {name: read(values)[rows] for name, values in lines.per_streamline.items()}
    return attrs.evolve(lines, offsets=lines.offsets[rows], lengths=lines.lengths[rows], per_streamline=data)


def compact(lines: Tractogram) -> tuple[NDArray, NDArray]:
    """(P, 3) points of the streamlines alone, one behind the other, and (N,) offsets in them."""
    points, offsets = plain_points(lines), offsets_of(lines.lengths)
    total = int(lines.lengths.sum())
    if len(points) == total and np.array_equal(offsets, lines.offsets):
        return points, offsets
    out = np.empty((total, 3), np.float32)
    kernels.gather(points, lines.offsets, lines.lengths, out)
    return out, offsets


def remove(case: Case, name: str, lines: Tractogram) -> Case:
    """The case without the streamlines that leave their volume; the attribute ``NAME_removed`` counts them."""
    keep = inside(lines)
    count = int(len(keep) - np.count_nonzero(keep))
    kept = lines if not count else take(lines, keep)
    before: Any = lines.notes.get("removed", 0)
    notes: dict[str, Plain] = {**kept.notes, "removed": before + count}
    return case.with_layers({name: attrs.evolve(kept, notes=notes)}).with_attributes(**{f"{name}_removed": before + count})


@frozen
class ResampleStreamlines(Preprocessor):
    """Points along each streamline at equal arc lengths, linear between the given ones; its ends stay as they are.

    With ``step_size`` every step is that long but the last, which leads to the end and may be shorter. With ``points`` every streamline
    gets so many, all its steps equal. A streamline of one point stays one, or is that point repeated. Data of points are left out, those of
    streamlines stay.

    Example::

        "preprocess": [{"use": "resample-streamlines", "layer": "streamlines", "step_size": 0.5, "remove_invalid": true}]
    """

    version: ClassVar[int] = 1
    layer: str = option(doc="Tractogram to change.", min_length=1)
    step_size: float | None = option(doc="Arc length from point to point, mm.", default=None, gt=0)
    points: int | None = option(doc="Points of every streamline.", default=None, ge=2)
    remove_invalid: bool = option(doc="Drop the streamlines of which a point lies outside of the volume; they are counted.", default=False)

    def __attrs_post_init__(self) -> None:
        if (self.step_size is None) == (self.points is None):
            message = "step_size: give either step_size or points"
            raise ValueError(message)

    def apply(self, case: Case, context: Context) -> Case:
        lines = tractogram(case, self.layer)
        points = plain_points(lines)
        if self.points is not None:
            counts = np.where(lines.lengths > 0, self.points, 0).astype(np.int64)
        else:
            assert self.step_size is not None
            steps = kernels.arc_lengths(points, lines.offsets, lines.lengths) / self.step_size
            if not np.isfinite(steps).all():
                row = int(np.argmin(np.isfinite(steps)))
                message = f"streamline {row} of layer {self.layer!r} holds NaN or infinity"
                raise StepError(message, where=f"case {case.id}")
            counts = np.ceil(steps - 1e-6).astype(np.int64) + 1  # a step that is missing by rounding alone is none
            counts = np.where(lines.lengths > 0, counts, 0)
        out = np.empty((int(counts.sum()), 3), np.float32)
        kernels.resample(points, lines.offsets, lines.lengths, counts, self.step_size or 0.0, out)
        done: dict[str, Plain] = {"step_size": self.step_size} if self.points is None else {"nb_points": self.points}
        made = attrs.evolve(lines, points=out, offsets=offsets_of(counts), lengths=counts, per_point={}, notes={**lines.notes, **done})
        return remove(case, self.layer, made) if self.remove_invalid else case.with_layers({self.layer: made})


@frozen
class CompressStreamlines(Preprocessor):
    """Fewer points: those go that lie within a tolerance of the line between points that stay.

    As dipy's ``compress_streamlines`` (Presseau et al., NeuroImage 109, 2015). Data of points that stay, stay.

    Example::

        "preprocess": [{"use": "compress-streamlines", "layer": "streamlines", "tolerance": 0.01}]
    """

    version: ClassVar[int] = 1
    layer: str = option(doc="Tractogram to change.", min_length=1)
    tolerance: float = option(doc="Distance of a removed point from the line, at most, mm.", default=0.01, gt=0)
    longest: float = option(doc="Length of a segment that is made, at most, mm.", default=10.0, gt=0)
    remove_invalid: bool = option(doc="Drop the streamlines of which a point lies outside of the volume; they are counted.", default=False)

    def apply(self, case: Case, context: Context) -> Case:
        lines = tractogram(case, self.layer)
        points = plain_points(lines)
        keep = np.zeros(len(points), np.bool_)
        kernels.keep_compressed(points, lines.offsets, lines.lengths, self.tolerance, self.longest, keep)
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep, dtype=np.int64)])
        lengths = before[lines.offsets + lines.lengths] - before[lines.offsets]
        data = {name: read(values)[keep] for name, values in lines.per_point.items()}
        notes: dict[str, Plain] = {**lines.notes, "compress": self.tolerance}
        made = attrs.evolve(lines, points=points[keep], offsets=before[lines.offsets], lengths=lengths, per_point=data, notes=notes)
        return remove(case, self.layer, made) if self.remove_invalid else case.with_layers({self.layer: made})


@frozen
class RemoveInvalid(Preprocessor):
    """Drop the streamlines that leave their volume, or have no points; the case's attribute ``LAYER_removed`` counts them.

    Example::

        "preprocess": [{"use": "remove-invalid-streamlines", "layer": "streamlines"}]
    """

    version: ClassVar[int] = 1
    layer: str = option(doc="Tractogram to change.", min_length=1)

    def apply(self, case: Case, context: Context) -> Case:
        return remove(case, self.layer, tractogram(case, self.layer))
