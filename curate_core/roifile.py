"""ROIs of many cases in one file: what ``curate rois`` writes and the finder ``list`` reads.

``.npz``: columns, a million ROIs in well under a second. ``.jsonl``: a line a ROI, for people and for other programs; it may be written by
hand: ``{"case": "liver", "axes": "zyx", "start": [0, 8, 8], "stop": [1, 24, 24], "attributes": {"score": 0.5}}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curate_core.arrays import NDArray
from curate_core.errors import RequestError
from curate_core.grid import Grid
from curate_core.npz import load_arrays, save_arrays
from curate_core.rois import RoiTable, View

Cases = Mapping[str, tuple[RoiTable, Mapping[str, Grid]]]


def save_rois(path: Path, cases: Cases) -> None:
    """Write the ROIs of cases with the grids that they were found on; the form follows the suffix.

    Raises:
        RequestError: the suffix is neither .npz nor .jsonl.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        _save_columns(path, cases)
    elif suffix == ".jsonl":
        _save_lines(path, cases)
    else:
        message = f"ROIs are written as .npz or .jsonl, not {path.suffix or 'without a suffix'}"
        raise RequestError(message, where=str(path))


def load_rois(path: Path) -> dict[str, tuple[RoiTable, dict[str, Grid]]]:
    """What ``save_rois`` wrote, or lines written by hand; those have no grids.

    Raises:
        RequestError: it is another file, or a damaged one.
    """
    if not path.exists():
        message = "there is no such file of ROIs"
        raise RequestError(message, where=str(path))
    try:
        return _load_lines(path) if path.suffix.lower() == ".jsonl" else _load_columns(path)
    except RequestError:
        raise
    except Exception as error:  # what a damaged archive raises is endless: zip, zlib, JSON, numpy, our own checks
        message = f"this is no file of ROIs: {error}"
        raise RequestError(message, where=str(path)) from error


def _save_columns(path: Path, cases: Cases) -> None:
    header: list[dict[str, Any]] = []
    arrays: dict[str, NDArray] = {}
    for number, (case, (table, grids)) in enumerate(cases.items()):
        described, columns = table.to_columns()
        header.append({"case": case, "table": described, "grids": {name: grid.to_json() for name, grid in grids.items()}})
        arrays |= {f"{number}.{name}": column for name, column in columns.items()}
    text = np.frombuffer(json.dumps({"version": 1, "cases": header}).encode(), np.uint8)
    aside = path.with_name(f".{path.name}.partial")
    save_arrays(aside, {"header": text, **arrays})
    aside.replace(path)


def _load_columns(path: Path) -> dict[str, tuple[RoiTable, dict[str, Grid]]]:
    arrays = load_arrays(path)
    header = json.loads(arrays.pop("header").tobytes())
    found = {}
    for number, entry in enumerate(header["cases"]):
        prefix = f"{number}."
        columns = {name.removeprefix(prefix): column for name, column in arrays.items() if name.startswith(prefix)}
        grids = {name: Grid.from_json(grid) for name, grid in entry["grids"].items()}
        found[entry["case"]] = (RoiTable.from_columns(entry["table"], columns), grids)
    return found


def _save_lines(path: Path, cases: Cases) -> None:
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("w", encoding="utf-8") as file:
        for case, (table, grids) in cases.items():
            head = {
                "case": case,
                "grids": {name: grid.to_json() for name, grid in grids.items()},
                "name": table.name,
                "identity": table.identity,
                "views": [{"axes": view.axes, "layers": list(view.layers), "name": view.name} for view in table.views],
            }
            file.write(json.dumps(head) + "\n")
            for row in range(len(table)):
                views = [_view_line(view, row) for view in table.views]
                line: dict[str, Any] = {"case": case, **views[0]} if len(views) == 1 else {"case": case, "views": views}
                file.write(json.dumps({**line, "attributes": table.row_attributes(row)}) + "\n")
    aside.replace(path)


def _view_line(view: View, row: int) -> dict[str, Any]:
    line: dict[str, Any] = {"axes": view.axes, "start": view.start[row].tolist(), "stop": view.stop[row].tolist()}
    if view.name:
        line["name"] = view.name
    if view.layers:
        line["layers"] = list(view.layers)
    if view.drop is not None and view.drop[row] >= 0:
        line["drop"] = view.axes[int(view.drop[row])]
    return line


def _load_lines(path: Path) -> dict[str, tuple[RoiTable, dict[str, Grid]]]:
    heads: dict[str, dict[str, Any]] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    with path.open(encoding="utf-8-sig") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
                if not isinstance(line["case"], str):
                    raise TypeError(f"the case {line['case']} is no text")
                found = rows.setdefault(line["case"], [])
                if "grids" in line:
                    heads[line["case"]] = line
                else:
                    found.append(_checked(line))
            except KeyError as error:
                message = f"line {number} is no ROI: it has no {error}"
                raise RequestError(message, where=str(path)) from error
            except (ValueError, TypeError, AttributeError) as error:
                message = f"line {number} is no ROI: {error}"
                raise RequestError(message, where=str(path)) from error
    return {case: _case(case, heads.get(case, {}), lines) for case, lines in rows.items()}


def _checked(line: dict[str, Any]) -> dict[str, Any]:
    """A line with its views in a list; an error says what is wrong with it."""
    line.setdefault("views", [line])
    for view in line["views"]:
        axes, start, stop = view["axes"], view["start"], view["stop"]
        if not len(start) == len(stop) == len(axes):
            message = f"start {start} and stop {stop} do not fit the axes {axes!r}"
            raise ValueError(message)
        if "drop" in view and view["drop"] not in axes:
            message = f"drop {view['drop']!r} is none of the axes {axes!r}"
            raise ValueError(message)
    for name, value in line.setdefault("attributes", {}).items():
        if isinstance(value, list | dict):
            message = f"the attribute {name!r} holds {value}, which is no plain value"
            raise ValueError(message)
    if not line["views"]:
        message = "it has no views"
        raise ValueError(message)
    return line


def _case(case: str, head: Mapping[str, Any], lines: list[dict[str, Any]]) -> tuple[RoiTable, dict[str, Grid]]:
    try:
        grids = {name: Grid.from_json(grid) for name, grid in head.get("grids", {}).items()}
        if lines:
            return _table(lines, head), grids
        views = [
            View(np.zeros((0, len(v["axes"]))), np.zeros((0, len(v["axes"]))), v["axes"], v["layers"], v["name"]) for v in head["views"]
        ]
        return RoiTable(views, name=head["name"], identity=""), grids  # no rows, so no column that could name them
    except (ValueError, TypeError) as error:
        message = f"case {case}: {error}"
        raise ValueError(message) from error


def _table(lines: list[dict[str, Any]], head: Mapping[str, Any]) -> RoiTable:
    described = [[(v["axes"], tuple(v.get("layers", ())), v.get("name", "")) for v in line["views"]] for line in lines]
    if any(kinds != described[0] for kinds in described):
        message = "the ROIs of one case need the same axes, layers and names of views"
        raise ValueError(message)
    views = []
    for index, (axes, layers, name) in enumerate(described[0]):
        entries = [line["views"][index] for line in lines]
        drops = [axes.index(entry["drop"]) if "drop" in entry else -1 for entry in entries]
        drop = drops if any(value >= 0 for value in drops) else None
        start, stop = ([entry[key] for entry in entries] for key in ("start", "stop"))
        views.append(View(start, stop, axes, layers, name, drop))
    columns = {}
    for name in dict.fromkeys(name for line in lines for name in line["attributes"]):
        column = _column(name, [line["attributes"].get(name) for line in lines])
        if column is not None:
            columns[name] = column
    return RoiTable(views, columns, head.get("name", ""), head.get("identity", ""))


def _column(name: str, values: list[Any]) -> NDArray | None:
    """Values as a column, masked where they are null; None where all are."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return None
    if len(kinds) > 1 and kinds != {int, float}:
        message = f"the attribute {name!r} holds numbers and text, or other kinds together"
        raise ValueError(message)
    fill = kinds.pop()()
    column = np.array([fill if value is None else value for value in values])
    missing = [value is None for value in values]
    return np.ma.MaskedArray(column, missing) if any(missing) else column
