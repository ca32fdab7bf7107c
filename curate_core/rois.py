"""Where samples will be cut: ROIs as columns, so that a million of them cost milliseconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray
from curate_core.errors import RequestError, StepError
from curate_core.grid import Grid
from curate_core.model import Case, Image, Plain
from curate_core.naming import RowValues, box_texts, column_texts, plain
from curate_core.npz import load_arrays, save_arrays
from curate_core.templates import fill_in, fill_in_columns

COLUMN_KINDS = "biufSU"


def _rows(given: object, width: int) -> NDArray:
    """Corners with a row for each ROI, also of none, of a single one and along one axis; others stay as they are, to be refused."""
    array = np.asarray(given)
    fits = array.ndim < 2 and (width == 1 or array.size in (0, width))
    return array.reshape(-1, width) if fits else array


def _corners(value: object) -> NDArray:
    given = np.atleast_2d(np.asarray(value))
    with np.errstate(invalid="ignore"):  # NaN is refused below
        corners = given.astype(np.int64, copy=False).view()  # a view: the caller's own array stays writeable
    if given.dtype.kind not in "iu" and given.size and not (given == corners).all():
        message = "corners of ROIs must be whole numbers of voxels"
        raise ValueError(message)
    corners.setflags(write=False)
    return corners


def _drop(value: object) -> NDArray | None:
    return None if value is None else np.asarray(value, dtype=np.int8)


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen(eq=False)
class View:
    """One box a ROI, in one or several layers.

    Attributes:
        start, stop: (n, d) int64, voxels, array order of ``axes``; stop is exclusive.
        axes: letters that the box covers; a layer's other axes are taken whole.
        layers: the layers it cuts, which need one grid; empty: every image layer of the case.
        name: what to call the sample's array when it is not the layer's name; empty for the usual, single view.
        drop: (n,) int8: position in ``axes`` of an axis of length one that the sample loses (a section becomes 2D); -1: none.
    """

    start: NDArray = attrs.field(converter=_corners)
    stop: NDArray = attrs.field(converter=_corners)
    axes: str
    layers: tuple[str, ...] = attrs.field(default=(), converter=_names)
    name: str = ""
    drop: NDArray | None = attrs.field(default=None, converter=_drop)

    def __attrs_post_init__(self) -> None:
        if self.start.shape != self.stop.shape or self.start.shape[1:] != (len(self.axes),):
            message = f"start {self.start.shape} and stop {self.stop.shape} are not (n, {len(self.axes)}) for axes {self.axes!r}"
            raise ValueError(message)
        if (self.stop <= self.start).any():
            row = int(np.argmax((self.stop <= self.start).any(axis=1)))
            message = f"ROI {row} is empty: start {self.start[row].tolist()}, stop {self.stop[row].tolist()}"
            raise ValueError(message)
        if self.drop is not None:
            rows = np.flatnonzero(self.drop >= 0)
            fits = self.drop.shape == (len(self.start),) and int(self.drop.max(initial=-1)) < len(self.axes)
            if not fits or (self.shape[rows, self.drop[rows]] != 1).any():
                message = "drop must name, for each ROI, an axis of length one, or -1"
                raise ValueError(message)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def shape(self) -> NDArray:
        """Voxels of each box along each of ``axes``, before ``drop``: (n, d) int64."""
        return self.stop - self.start

    def take(self, rows: Any) -> View:
        """Some of the rows: a slice, indices or a mask."""
        return attrs.evolve(self, start=self.start[rows], stop=self.stop[rows], drop=None if self.drop is None else self.drop[rows])

    def cuts(self, case: Case) -> dict[str, str]:
        """Array name -> layer that it is cut from."""
        layers = self.layers or tuple(case.images())
        if not self.name:
            return {layer: layer for layer in layers}
        if len(layers) == 1:
            return {self.name: layers[0]}
        return {f"{self.name}.{layer}": layer for layer in layers}

    def grid(self, case: Case, tolerance: float = 1e-3) -> Grid | None:
        """The one grid of the layers that the view cuts; None for tractograms.

        Raises:
            StepError: the layers differ by more than ``tolerance`` (world units), or lack an axis of the box.
        """
        found: tuple[str, Grid] | None = None
        for layer in self.cuts(case).values():
            if layer not in case.layers:
                message = f"a ROI wants layer {layer!r}, the case has {', '.join(case.layers) or 'none'}"
                raise StepError(message, where=f"case {case.id}")
            opened = case.layers[layer]
            if not isinstance(opened, Image):
                continue
            missing = [axis for axis in self.axes if axis not in opened.grid.axes]
            if missing:
                message = f"ROIs have axes {self.axes!r}, layer {layer!r} has {opened.grid.axes!r}"
                raise StepError(message, where=f"case {case.id}")
            if found is None:
                found = (layer, opened.grid)
            else:
                found[1].require_same(opened.grid, tolerance, f"layers {found[0]!r} and {layer!r} of case {case.id}")
        return None if found is None else found[1]


def _views(value: Iterable[View]) -> tuple[View, ...]:
    return tuple(value)


@frozen(eq=False)
class RoiTable:
    """The ROIs of one case.

    Attributes:
        views: one or several, of equal length.
        attributes: name -> (n,) column of numbers, booleans or text of fixed width; masked where a row has none.
        name: what ``{roi}`` becomes in path templates: a format string over the attributes, ``{case}`` and ``{z0}``, ``{z1}``, ...
            (corners along each axis); empty: the corners.
        identity: the attribute that names each ROI in its id; empty: its box does.
    """

    views: tuple[View, ...] = attrs.field(converter=_views)
    attributes: Mapping[str, NDArray] = attrs.field(factory=dict)
    name: str = ""
    identity: str = ""

    def __attrs_post_init__(self) -> None:
        lengths = {len(view) for view in self.views} | {len(column) for column in self.attributes.values()}
        if not self.views or len(lengths) > 1:
            message = f"views and attributes of a ROI table need one length, not {sorted(lengths)}"
            raise ValueError(message)
        for name, column in self.attributes.items():
            if "\0" in name:
                message = f"ROI attribute {name!r} needs a name without NUL"
                raise ValueError(message)
            if not isinstance(column, np.ndarray) or column.ndim != 1 or column.dtype.kind not in COLUMN_KINDS:
                message = f"ROI attribute {name!r} must be a 1D array of numbers, booleans or fixed-width text"
                raise ValueError(message)
        if self.identity and self.identity not in self.attributes:
            message = f"ROIs are named by the attribute {self.identity!r}, which they have not"
            raise ValueError(message)
        names = [view.name for view in self.views]
        if len(set(names)) != len(names):
            message = f"views need distinct names, not {names}"
            raise ValueError(message)

    @classmethod
    def boxes(
        cls,
        start: object,
        stop: object,
        axes: str,
        *,
        layers: Sequence[str] = (),
        drop: object = None,
        attributes: Mapping[str, NDArray] | None = None,
        name: str = "",
    ) -> RoiTable:
        """The usual table: one unnamed view.

        Args:
            start, stop: (n, d) int64 corners, array order of ``axes``; (d,) for a single box, (n,) along one axis.
            axes: letters that the boxes cover.
            layers: the layers to cut; empty: every image layer.
            drop: (n,) position in ``axes`` of the axis that each sample loses, or -1.
            attributes: columns of length n.
            name: format string for ``{roi}``.

        Raises:
            ValueError: the corners are not of that shape, or a box is empty.
        """
        corners, ends = _rows(start, len(axes)), _rows(stop, len(axes))
        return cls((View(corners, ends, axes, tuple(layers), drop=drop),), attributes or {}, name)

    def __len__(self) -> int:
        return len(self.views[0])

    def take(self, rows: Any) -> RoiTable:
        """Some of the rows: a slice, indices or a mask."""
        columns = {name: column[rows] for name, column in self.attributes.items()}
        return attrs.evolve(self, views=[view.take(rows) for view in self.views], attributes=columns)

    def row_attributes(self, row: int) -> dict[str, Plain]:
        """The attributes of one ROI as plain values, without those it has not."""
        values = {}
        for name, column in self.attributes.items():
            value = column[row]
            if value is not np.ma.masked:
                values[name] = plain(value)
        return values

    def corners(self, row: int) -> dict[str, int]:
        """``{z0, z1, y0, ...}`` of the first view, for names."""
        view = self.views[0]
        starts = {f"{axis}0": int(a) for axis, a in zip(view.axes, view.start[row], strict=True)}
        return starts | {f"{axis}1": int(b) for axis, b in zip(view.axes, view.stop[row], strict=True)}

    def roi_name(self, row: int, case: Case) -> str:
        """What ``{roi}`` becomes for one row.

        Raises:
            StepError: the name wants what the ROI has not.
        """
        if self.name:
            return fill_in(self.name, RowValues(self, row, case), "ROI name")
        corners, axes = self.corners(row), self.views[0].axes
        return "_".join(f"{axis}{corners[axis + '0']}-{corners[axis + '1']}" for axis in axes) or "whole"

    def roi_names(self, case: Case) -> list[str]:
        """What ``{roi}`` becomes for every row."""
        filled = fill_in_columns(self.name, lambda name: self.texts(name, case)) if self.name else None
        return [self.roi_name(row, case) for row in range(len(self))] if filled is None else filled

    def texts(self, name: str, case: Case) -> Iterable[str] | None:
        """What a field of a name becomes for every row, where it is text or whole numbers; None: see ``RowValues``."""
        if name in self.attributes:
            return column_texts(self.attributes[name])
        if name == "case":
            return repeat(case.id)
        view = self.views[0]
        if len(name) == 2 and name[1] in "01" and name[0] in view.axes:
            return column_texts((view.start if name[1] == "0" else view.stop)[:, view.axes.index(name[0])])
        value = case.attributes.get(name)
        return repeat(value) if isinstance(value, str) else None

    def ids(self, case_id: str) -> list[str]:
        """Sample ids: the case, each view's box, and an ordinal among equal boxes (``#1`` for the second).

        Never a position in the table: adding or removing other ROIs changes no id, equal boxes apart.
        """
        if self.identity:
            texts = [str(plain(value)) for value in self.attributes[self.identity]]
        else:
            columns = [box_texts(view) for view in self.views]
            texts = [";".join(parts) for parts in zip(*columns, strict=True)] if len(columns) > 1 else columns[0]
        if len(set(texts)) == len(texts):
            return [f"{case_id}:{text}" for text in texts]
        seen: dict[str, int] = {}
        result = []
        for text in texts:
            ordinal = seen.get(text, 0)
            seen[text] = ordinal + 1
            result.append(f"{case_id}:{text}#{ordinal}" if ordinal else f"{case_id}:{text}")
        return result

    def to_columns(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """What the table is, as a plain value and named columns, for files."""
        views = [{"axes": view.axes, "layers": list(view.layers), "name": view.name} for view in self.views]
        arrays: dict[str, NDArray] = {}
        for i, view in enumerate(self.views):
            arrays |= {f"view{i}.start": view.start, f"view{i}.stop": view.stop}
            if view.drop is not None:
                arrays[f"view{i}.drop"] = view.drop
        for name, column in self.attributes.items():
            arrays[f"attribute.{name}"] = np.ma.getdata(column)
            if isinstance(column, np.ma.MaskedArray):
                arrays[f"missing.{name}"] = np.ma.getmaskarray(column)
        return {"version": 1, "name": self.name, "identity": self.identity, "views": views}, arrays

    @classmethod
    def from_columns(cls, described: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> RoiTable:
        """The table that ``to_columns`` took apart."""
        views = [
            View(arrays[f"view{i}.start"], arrays[f"view{i}.stop"], v["axes"], v["layers"], v["name"], arrays.get(f"view{i}.drop"))
            for i, v in enumerate(described["views"])
        ]
        columns = {}
        for key, column in arrays.items():
            if key.startswith("attribute."):
                name = key.removeprefix("attribute.")
                missing = arrays.get(f"missing.{name}")
                columns[name] = column if missing is None else np.ma.MaskedArray(column, missing)
        return cls(views, columns, str(described["name"]), str(described["identity"]))

    def save(self, path: Path, **meta: Plain) -> None:
        """Write the table as an uncompressed .npz of its columns (no pickle); the same table gives the same bytes."""
        described, arrays = self.to_columns()
        header = np.frombuffer(json.dumps({**described, "meta": meta}).encode(), np.uint8)
        save_arrays(path, {"header": header, **arrays})

    @classmethod
    def load(cls, path: Path) -> tuple[RoiTable, dict[str, Any]]:
        """The table that ``save`` wrote, and its meta values.

        Raises:
            RequestError: it is not such a file, or a damaged one.
        """
        try:
            arrays = load_arrays(path)
            header = json.loads(arrays.pop("header").tobytes())
            return cls.from_columns(header, arrays), dict(header["meta"])
        except Exception as error:  # what a damaged archive raises is endless: zip, zlib, JSON, numpy, our own checks
            message = f"not a ROI table that curate wrote: {error}"
            raise RequestError(message, where=str(path)) from error

    @classmethod
    def concat(cls, tables: Sequence[RoiTable]) -> RoiTable:
        """Tables one after the other; an attribute that one of them lacks is missing in its rows.

        Raises:
            StepError: the tables have other views, axes, layers or names.
        """
        first = tables[0]
        if len(tables) == 1:
            return first
        shapes = {tuple((v.name, v.axes, v.layers) for v in table.views) for table in tables}
        if len(shapes) > 1:
            message = f"ROI finders of one spec must give the same views, these give {sorted(shapes)}"
            raise StepError(message, hint="use one spec for each")
        if len({(table.name, table.identity) for table in tables}) > 1:
            message = "ROI finders of one spec must name their ROIs alike"
            raise StepError(message, hint="use one spec for each")
        views = []
        for parts in zip(*(table.views for table in tables), strict=True):
            drops = [np.full(len(p), -1, np.int8) if p.drop is None else p.drop for p in parts]
            drop = None if all(p.drop is None for p in parts) else np.concatenate(drops)
            start, stop = np.concatenate([p.start for p in parts]), np.concatenate([p.stop for p in parts])
            views.append(attrs.evolve(parts[0], start=start, stop=stop, drop=drop))
        names = list(dict.fromkeys(name for table in tables for name in table.attributes))
        return cls(views, {name: _join_column(name, tables) for name in names}, first.name, first.identity)


def _join_column(name: str, tables: Sequence[RoiTable]) -> NDArray:
    present = [table.attributes[name] for table in tables if name in table.attributes]
    dtype = np.result_type(*present)
    if len(present) == len(tables) and not any(isinstance(column, np.ma.MaskedArray) for column in present):
        return np.concatenate(present).astype(dtype, copy=False)
    parts = []
    for table in tables:
        column = table.attributes.get(name)
        empty = np.ma.MaskedArray(np.zeros(len(table), dtype), mask=True)
        parts.append(empty if column is None else np.ma.asarray(column, dtype))
    joined: NDArray = np.ma.concatenate(parts)  # type: ignore[no-untyped-call, unused-ignore]  # by numpy release
    return joined
