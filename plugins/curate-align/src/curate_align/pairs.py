"""Pairs of sections, from places that people collected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_align.places import corner_of, pixels_of, snapped, steps_of
from curate_align.points import Points, file_of, load_points
from curate_align.splits import check_leaks, deal, locations
from curate_core import Case, Context, Grid, NDArray, RequestError, RoiFinder, RoiTable, StepError, View, option

NAME = "x{x}_y{y}_z{z}_{tgt_z}"
_SHARED = 1e-3
"""How far corners of grids that count as one may lie apart, in world units."""
_UNITS = {"nm": 1.0, "um": 1e3, "mm": 1e6}


@frozen
class PairFinder(RoiFinder):
    """What finders of pairs share: where the boxes lie in a layer, columns, and splits by location."""

    size: tuple[int, int] = option(doc="Pixels of a sample along y and x.", ge=1)
    layer: str = option(doc="Layer on whose pixels the pairs are laid out.", default="image", min_length=1)
    layers: tuple[str, ...] = option(doc="Layers to cut; none named: all images on the grid of that layer.", default=())
    mip: int | None = option(doc="Mip of that layer's pixels; null: as its reader notes, or 0.", default=None, ge=0, le=40)
    permute: bool = option(doc="Give each pair the other way round, too.", default=False)
    splits: dict[str, float] | None = option(
        doc="Splits to draw and their shares of the pairs, which add up to 1; what overlaps stays together.", default=None
    )
    apart: int | None = option(
        doc="Sections within which boxes that overlap are one location; null: as far as pairs reach.", default=None, ge=0
    )

    def __attrs_post_init__(self) -> None:
        shares = [] if self.splits is None else list(self.splits.values())
        if self.splits is not None and (min(shares, default=0) <= 0 or abs(sum(shares) - 1) > 1e-6):
            message = f"splits: the shares {self.splits} must be above 0 and add up to 1"
            raise ValueError(message)

    def mip_of(self, case: Case) -> int:
        """Of the layer's pixels."""
        noted = case.image(self.layer).notes.get("mip")
        return self.mip if self.mip is not None else noted if isinstance(noted, int) else 0

    def table(self, case: Case, context: Context, src: NDArray, tgt: NDArray, columns: Mapping[str, NDArray]) -> RoiTable:
        """The ROIs of pairs whose boxes have their least corners at some places.

        Args:
            src, tgt: (n, 3) int64, x, y, z in voxels of mip 0.
            columns: name -> (n,) attributes; ``split`` among them is checked for leaks.
        """
        grid, mip = case.image(self.layer).grid, self.mip_of(case)
        size = np.array([1, *self.size], np.int64)
        starts = [pixels_of(places, mip, grid) for places in (src, tgt)]
        layers = self.layers or tuple(name for name, image in case.images().items() if _share(grid, image.grid))
        drop = np.zeros(len(src), np.int8)
        views = [View(start, start + size, "zyx", layers, name, drop) for name, start in zip(("src", "tgt"), starts, strict=True)]
        inside = np.ones(len(src), bool)
        shape = np.array(grid.spatial_shape)
        for name, start, places in zip(("src", "tgt"), starts, (src, tgt), strict=True):
            fits = ((start >= 0) & (start + size <= shape)).all(axis=1)
            for row in np.flatnonzero(inside & ~fits).tolist():
                context.reject(row, self._leaves(name, places[row].tolist(), grid, mip))
            inside &= fits
        first = int(np.argmax(inside)) if len(src) else 0
        own = {letter: src[:, i] for i, letter in enumerate("xyz")} | {f"tgt_{letter}": tgt[:, i] for i, letter in enumerate("xyz")}
        own |= {f"first_{letter}": np.full(len(src), src[first, i] if len(src) else 0) for i, letter in enumerate("xyz")}
        own |= {"pair": np.arange(len(src))} | self._grouping(case, context, src, tgt, inside, mip, columns)
        return RoiTable(views, {**own, **{name: column for name, column in columns.items() if name not in own}}, NAME)

    def _grouping(
        self, case: Case, context: Context, src: NDArray, tgt: NDArray, inside: NDArray, mip: int, columns: Mapping[str, NDArray]
    ) -> dict[str, NDArray]:
        """The columns ``location`` (-1 for pairs that are refused) and, where it is asked for, ``split``."""
        rows = np.flatnonzero(inside)
        boxes, steps = (src[rows], tgt[rows]), steps_of(mip)
        extent = (int(self.size[1] * steps[0]), int(self.size[0] * steps[1]))
        apart = int(np.abs(tgt - src)[:, 2].max(initial=0)) if self.apart is None else self.apart
        found = locations(*boxes, extent, apart)
        location = np.full(len(src), -1, np.int64)
        location[rows] = found
        if "split" in columns:
            names = np.array([f"{row} at {_shown(src[row].tolist())}" for row in rows.tolist()])
            try:
                check_leaks(columns["split"][rows], found, *boxes, extent, apart, names)
            except StepError as error:
                raise StepError(error.message, where=f"case {case.id}", hint=error.hint) from error
            return {"location": location}
        if self.splits is None:
            return {"location": location}
        places = boxes[0][np.unique(found, return_index=True)[1]].tolist()
        chances = [context.rng("split", *place).random() for place in places]  # each by its own place: others change nothing
        drawn = deal(found, np.array(chances), self.splits)
        split = np.zeros(len(src), drawn.dtype)
        split[rows] = drawn
        return {"location": location, "split": split if inside.all() else np.ma.MaskedArray(split, ~inside)}

    def _leaves(self, name: str, place: list[int], grid: Grid, mip: int) -> str:
        steps = steps_of(mip)
        low = corner_of(grid) * steps
        high = low + np.array(grid.spatial_shape[::-1]) * steps
        bounds = ", ".join(f"{letter} {a} to {b}" for letter, a, b in zip("xyz", low.tolist(), high.tolist(), strict=True))
        return (
            f"{name} at {_shown(place)} with {self.size[0]} x {self.size[1]} pixels (y, x) of mip {mip} "
            f"leaves the layer {self.layer!r}, which holds {bounds} in voxels of mip 0"
        )


def _shown(place: list[int]) -> str:
    return ", ".join(f"{letter} {value}" for letter, value in zip("xyz", place, strict=True))


def _share(grid: Grid, other: Grid) -> bool:
    return grid.unit == other.unit and grid.distance(other) <= _SHARED


Place = tuple[float, float, float]


@frozen
class PointPairs(PairFinder):
    """Pairs of sections at places that people collected, in neuroglancer or in a table.

    ``points`` is what neuroglancer exports (a CSV with ``Coordinate 1``), a CSV with x0, y0, z0, annotations or a whole state of
    neuroglancer as JSON, a specification of pairs, or a folder of such files. Places count voxels of mip 0 of the volume, wherever its
    layers begin; a place in between belongs to the voxel that it lies in. From each point, each of ``offsets`` makes a pair: the section of
    the point, ``src``, and the one so many further on, ``tgt``; ``permute`` adds (tgt, src). Sections are cut in 2D.

    Each pair has the attributes x, y, z and tgt_x, tgt_y, tgt_z (least corners, voxels of mip 0), first_x, first_y, first_z (those of the
    first pair), ``pair`` and ``point`` (numbers), ``location`` (pairs that overlap have one), and the file's other columns. A pair that
    leaves the layer is set aside, the others go on.

    Examples::

        "rois": [{"use": "point-pairs", "points": "points.csv", "mip": 5, "size": [2048, 2048], "offsets": [-1, -2, -3], "permute": true}]
        "rois": [{"use": "point-pairs", "points": "filled.json", "mip": 5, "size": [2048, 2048], "splits": {"train": 0.8, "val": 0.2}}]
    """

    version: ClassVar[int] = 1
    points: Path | None = option(
        doc="File of points or of pairs, or a folder with one for each case, called as it is; null: see pairs.", default=None, content=True
    )
    pairs: tuple[tuple[Place, Place], ...] = option(doc="Pairs written out: [[x, y, z], [x, y, z]] each.", default=())
    annotations: str | None = option(doc="Annotation layer of a state that has several.", default=None)
    offsets: tuple[int, ...] = option(doc="Sections from a point's to the other of a pair; one pair each.", default=())
    snap_mip: int = option(doc="x and y are rounded down to pixels of this mip.", default=0, ge=0, le=40)
    anchor: Literal["corner", "centre"] = option(
        doc="What a place is of its box: the least corner, or the middle; a specification of pairs says so itself.", default="corner"
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if (self.points is None) == (not self.pairs):
            message = 'points: give either a file of points, or "pairs"'
            raise ValueError(message)
        if 0 in self.offsets or len(set(self.offsets)) < len(self.offsets):
            message = f"offsets: {list(self.offsets)} pair a section with itself, or twice with another"
            raise ValueError(message)

    def find(self, case: Case, context: Context) -> RoiTable:
        points = self._points(case)
        mip = self.mip_of(case)
        half = np.array([self.size[1], self.size[0], 0]) * steps_of(mip) // 2
        scale = _scale(points, case.image(self.layer).grid, mip)
        src, tgt, number = paired(points, scale, self.offsets, self.snap_mip)
        if (points.anchor or self.anchor) == "centre":
            src, tgt = src - half, tgt - half
        if self.permute:
            src, tgt = both_ways(src, tgt)
            number = np.repeat(number, 2)
        columns = {name: column[number] for name, column in points.columns.items()}
        return self.table(case, context, src, tgt, {"point": number, **columns})

    def _points(self, case: Case) -> Points:
        if self.points is None:
            src, tgt = (np.array([pair[i] for pair in self.pairs], np.float64) for i in (0, 1))
            points = Points(src, tgt)
        else:
            try:
                points = load_points(file_of(self.points, case.id), self.annotations)
            except RequestError as error:
                raise StepError(error.message, where=error.where or f"case {case.id}", hint=error.hint) from error
        if (points.tgt is None) == (not self.offsets):
            where = str(self.points or "pairs")
            if self.offsets:
                message = "pairs are listed already, offsets have nothing to add"
                raise StepError(message, where=where, hint="leave offsets out, or give points")
            message = "points alone are no pairs"
            raise StepError(message, where=where, hint='give offsets, such as "offsets": [-1, -2, -3]')
        return points


def both_ways(src: NDArray, tgt: NDArray) -> tuple[NDArray, NDArray]:
    """Each pair, (n, 3) and (n, 3), and behind it the same the other way round: (2 n, 3) each."""
    return np.stack([src, tgt], axis=1).reshape(-1, 3), np.stack([tgt, src], axis=1).reshape(-1, 3)


def paired(points: Points, scale: NDArray, offsets: tuple[int, ...], snap_mip: int) -> tuple[NDArray, NDArray, NDArray]:
    """The two places of each pair, whole voxels of mip 0, and the number of its point.

    Args:
        points: n points, or pairs.
        scale: (3,) voxels of mip 0 that a step of the points' coordinates is.
        offsets: sections from a point to the other of its pair, k of them; none for pairs.
        snap_mip: x and y are rounded down to pixels of it.

    Returns:
        (n k, 3) int64 x, y, z of src and of tgt, point by point in the order of the offsets, and (n k,) int64.
    """
    src = snapped(points.src * scale, snap_mip)
    if points.tgt is not None:
        return src, snapped(points.tgt * scale, snap_mip), np.arange(len(src))
    number = np.repeat(np.arange(len(src)), len(offsets))
    tgt = src[number]
    tgt[:, 2] += np.tile(np.array(offsets, np.int64), len(src))
    return src[number], tgt, number


def _scale(points: Points, grid: Grid, mip: int) -> NDArray:
    """(3,) float64: voxels of mip 0 that the points' coordinates count; 1 where either does not say in lengths."""
    if points.voxel is None or not grid.calibrated or grid.unit not in _UNITS:
        return np.ones(3)
    finest = np.array(grid.spacing[::-1]) * _UNITS[grid.unit] / steps_of(mip)
    return np.round(np.array(points.voxel) / finest, 9)  # nanometres as multiples of a metre are inexact
