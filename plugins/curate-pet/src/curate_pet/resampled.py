"""Layers on another grid, computed box by box: a voxel's bits do not depend on the box that it is read with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from attrs import frozen

from curate_core import ArrayLike, LazyArray, NDArray, read
from curate_core.arrays import Box
from curate_pet import weights
from curate_pet.mapping import Mapping

CHUNK = 1 << 20
"""Voxels of an oblique box computed at once: their places take 24 bytes each."""


@frozen(eq=False)
class Rule:
    """How the values of a layer become those of another grid.

    Attributes:
        kinds: for each spatial axis of the source ``cubic``, ``linear`` or ``nearest``.
        smooth: smooth first along axes that lose resolution.
        fill: value of voxels that lie outside of the source.
        limits: what interpolated values are clipped to; None: nothing.
        dtype: of the result.
    """

    kinds: tuple[str, ...]
    smooth: bool
    fill: float
    limits: tuple[float, float] | None
    dtype: np.dtype[Any]

    @property
    def picks(self) -> bool:
        """Every value is one of the source's."""
        return all(kind == "nearest" for kind in self.kinds)

    def sigma(self, axis: int, step: float) -> float:
        """Standard deviation of the smoothing along a source axis, in its voxels: (step - 1) / 2, as in scikit-image's resize."""
        return max(0.0, (step - 1) / 2) if self.smooth and self.kinds[axis] != "nearest" else 0.0

    def limited(self, values: NDArray) -> NDArray:
        """Values clipped to the limits."""
        return values if self.limits is None else np.clip(values, *self.limits)


class _Resampled(LazyArray):
    """What both kinds share: where the spatial axes are in the array, and the shape that comes out."""

    def __init__(self, base: ArrayLike, spatial: Sequence[int], shape: Sequence[int], mapping: Mapping, rule: Rule) -> None:
        self.base, self.spatial, self.mapping, self.rule = base, tuple(spatial), mapping, rule
        self.shape, self.dtype = tuple(int(n) for n in shape), rule.dtype

    def lengths(self) -> list[int]:
        """Voxels of the source along its spatial axes."""
        return [int(self.base.shape[position]) for position in self.spatial]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}


class SeparableArray(_Resampled):
    """A layer on a grid whose axes run along its own (in any order, either way): one axis after the other."""

    def read_box(self, where: Box) -> NDArray:
        order = self.mapping.order
        assert order is not None
        out = np.full([s.stop - s.start for s in where], self.rule.fill, self.dtype)
        wanted, places = list(where), {}
        target = [slice(None)] * len(where)
        for axis, length in enumerate(self.lengths()):
            slot = self.spatial[order[axis]]
            whole = self.mapping.along(axis, self.shape[slot])
            within = np.flatnonzero(weights.inside(whole[where[slot]], length))
            if not len(within):
                return out
            target[slot] = slice(int(within[0]), int(within[-1]) + 1)  # places rise or fall steadily, so that these are neighbours
            places[axis] = whole[where[slot]][target[slot]]
        weigh = {axis: self._weights(axis, at) for axis, at in places.items()}
        for axis in places:
            wanted[self.spatial[axis]] = weigh[axis].span
        values = read(self.base, tuple(wanted))
        if not self.rule.picks:
            values = values.astype(self.dtype, copy=False)
        for axis in self._sequence():
            values = weigh[axis].apply(values, self.spatial[axis])
        back = list(range(len(where)))
        for axis, place in enumerate(order):
            back[self.spatial[place]] = self.spatial[axis]
        out[tuple(target)] = self.rule.limited(values.transpose(back))
        return out

    def _sequence(self) -> list[int]:
        """Axes that shrink most come first, for the others then have less to do; the same for every box."""
        assert self.mapping.order is not None
        shrink = [self.shape[self.spatial[place]] / n for place, n in zip(self.mapping.order, self.lengths(), strict=True)]
        return sorted(range(len(shrink)), key=lambda axis: shrink[axis])

    def _weights(self, axis: int, places: NDArray) -> _Pick | _Weigh:
        length, kind = self.lengths()[axis], self.rule.kinds[axis]
        if kind == "nearest":
            return _Pick(weights.nearest(places, length))
        assert self.mapping.order is not None
        step = abs(float(self.mapping.matrix[axis, self.mapping.order[axis]]))
        spline: weights.Spline = "cubic" if kind == "cubic" else "linear"
        return _Weigh(weights.matrix(places, length, spline, self.rule.sigma(axis, step), self.dtype))


class _Pick:
    """The samples at some indices of an axis."""

    def __init__(self, index: NDArray) -> None:
        self.span = slice(int(index.min()), int(index.max()) + 1)
        self.index = index - self.span.start

    def apply(self, values: NDArray, axis: int) -> NDArray:
        return values if np.array_equal(self.index, np.arange(values.shape[axis])) else values.take(self.index, axis)


class _Weigh:
    """Weighted sums along an axis."""

    def __init__(self, matrix: Any) -> None:
        self.span = slice(int(matrix.indices.min()), int(matrix.indices.max()) + 1)
        self.matrix = matrix[:, self.span]

    def apply(self, values: NDArray, axis: int) -> NDArray:
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        inner = int(np.prod(after, dtype=np.int64))
        rows = self.matrix.shape[0]
        if inner == 1:  # along the last axis: blocks of rows, turned so that sums run over whole rows
            flat = values.reshape(-1, values.shape[axis])
            out = np.empty((len(flat), rows), values.dtype)
            step = max(1, (1 << 16) // max(1, values.shape[axis]))
            for first in range(0, len(flat), step):
                out[first : first + step] = (self.matrix @ np.ascontiguousarray(flat[first : first + step].T)).T
            return out.reshape(*before, rows, *after)
        stack = np.ascontiguousarray(values).reshape(-1, values.shape[axis], inner)
        made = np.empty((len(stack), rows, inner), values.dtype)
        for i, plane in enumerate(stack):
            made[i] = self.matrix @ plane
        return made.reshape(*before, rows, *after)


class ObliqueArray(_Resampled):
    """A layer on a grid that lies across its own: each voxel's place is computed, and the spline evaluated there."""

    def read_box(self, where: Box) -> NDArray:
        out = np.full([s.stop - s.start for s in where], self.rule.fill, self.dtype)
        last = tuple(range(len(where) - len(self.spatial), len(where)))
        view = np.moveaxis(out, self.spatial, last)
        others = [range(s.start, s.stop) for i, s in enumerate(where) if i not in self.spatial]
        for box, place in _chunks([where[i] for i in self.spatial]):
            places = self._places(box)
            within = np.ones(places.shape[1:], bool)
            for at, length in zip(places, self.lengths(), strict=True):
                within &= weights.inside(at, length)
            if not within.any():
                continue
            points = places[:, within]
            for index in product(*map(enumerate, others)):
                chosen: Any = (*(i for i, _ in index), *place)
                part = view[chosen]
                part[within] = self._values(points, tuple(number for _, number in index))
        return out

    def _places(self, box: Sequence[slice]) -> NDArray:
        """(S, ...) float64: where in the source the voxels of a box lie; from whole indices, so that no box changes a bit."""
        index = np.ogrid[tuple(box)]
        rows = []
        for row, shift in zip(self.mapping.matrix.tolist(), self.mapping.offset.tolist(), strict=True):
            total: Any = shift
            for factor, along in zip(row, index, strict=True):
                total = total + factor * along
            rows.append(total)
        return np.stack(rows)

    def _values(self, points: NDArray, others: tuple[int, ...]) -> NDArray:
        """Values at (S, n) places of the source, for one index along its other axes."""
        from scipy.ndimage import map_coordinates

        at = np.empty_like(points)
        for axis, (place, length, kind) in enumerate(zip(points, self.lengths(), self.rule.kinds, strict=True)):
            at[axis] = weights.nearest(place, length) if kind == "nearest" else place
        if self.rule.picks or ("cubic" not in self.rule.kinds and not self.rule.smooth):
            low = np.maximum(np.floor(at.min(axis=1)).astype(np.int64), 0)
            high = np.minimum(np.ceil(at.max(axis=1)).astype(np.int64) + 1, self.lengths())
            part = read(self.base, self._box(others, [slice(int(a), int(b)) for a, b in zip(low, high, strict=True)]))
            part, at = part.reshape([int(b - a) for a, b in zip(low, high, strict=True)]), at - low[:, None]
            if self.rule.picks:
                return np.asarray(part[tuple(at.astype(np.int64))])
            part = part.astype(self.dtype, copy=False)
            return self.rule.limited(map_coordinates(part, at, order=1, mode="nearest", prefilter=False))
        order, pad = (3, weights.PAD) if "cubic" in self.rule.kinds else (1, 0)
        return self.rule.limited(map_coordinates(self._prepared(others), at + pad, order=order, mode="nearest", prefilter=False))

    def _box(self, others: tuple[int, ...], spatial: Sequence[slice]) -> Box:
        single = iter(others)
        inner = dict(zip(self.spatial, spatial, strict=True))
        return tuple(
            inner[i] if i in inner else slice(n, n + 1) for i in range(len(self.shape)) for n in [0 if i in inner else next(single)]
        )

    def _prepared(self, others: tuple[int, ...]) -> NDArray:
        """The whole source, smoothed, and as the coefficients of its spline; held, for it serves every box."""
        from scipy.ndimage import gaussian_filter1d, spline_filter

        held: dict[tuple[int, ...], NDArray] = self.__dict__.setdefault("_held", {})
        if others not in held:
            held.clear()
            lengths = self.lengths()
            values = read(self.base, self._box(others, [slice(0, n) for n in lengths])).reshape(lengths).astype(self.dtype)
            for axis in range(len(lengths)):
                sigma = self.rule.sigma(axis, float(np.linalg.norm(self.mapping.matrix[axis])))
                if sigma > 0:
                    values = gaussian_filter1d(values, sigma, axis, mode="nearest", truncate=4.0)
            if "cubic" in self.rule.kinds:
                values = spline_filter(np.pad(values, weights.PAD, mode="edge"), 3, output=self.dtype, mode="mirror")
            held[others] = values
        return held[others]


def _chunks(box: Sequence[slice]) -> Iterator[tuple[list[slice], tuple[slice, ...]]]:
    """A box in parts along its first axis, and where each part lies in it."""
    plane = int(np.prod([s.stop - s.start for s in box[1:]], dtype=np.int64))
    step = max(1, CHUNK // max(1, plane))
    for first in range(box[0].start, box[0].stop, step):
        stop = min(first + step, box[0].stop)
        rest = tuple(slice(0, s.stop - s.start) for s in box[1:])
        yield [slice(first, stop), *box[1:]], (slice(first - box[0].start, stop - box[0].start), *rest)
