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
                if "grids" in line:
                    heads[line["case"]] = line
                    rows.setdefault(line["case"], [])
                else:
                    line.setdefault("views", [line])
                    rows.setdefault(line["case"], []).append(line)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                message = f"line {number} is no ROI: {error}"
                raise RequestError(message, where=str(path)) from error
    found = {}
    for case, lines in rows.items():
        head = heads.get(case, {})
        grids = {name: Grid.from_json(grid) for name, grid in head.get("grids", {}).items()}
        if lines:
            found[case] = (_table(lines, head), grids)
    return found


def _table(lines: list[dict[str, Any]], head: Mapping[str, Any]) -> RoiTable:
    views = []
    for index, first in enumerate(lines[0]["views"]):
        entries = [line["views"][index] for line in lines]
        axes = first["axes"]
        if any(entry["axes"] != axes for entry in entries):
            message = "the ROIs of one case need the same axes"
            raise ValueError(message)
        drops = [axes.index(entry["drop"]) if "drop" in entry else -1 for entry in entries]
        drop = drops if any(value >= 0 for value in drops) else None
        start, stop = ([entry[key] for entry in entries] for key in ("start", "stop"))
        views.append(View(start, stop, axes, first.get("layers", ()), first.get("name", ""), drop))
    names = dict.fromkeys(name for line in lines for name in line.get("attributes", {}))
    columns: dict[str, NDArray] = {}
    for name in names:
        values = [line.get("attributes", {}).get(name) for line in lines]
        fill = type(next(value for value in values if value is not None))()
        column = np.array([fill if value is None else value for value in values])
        missing = [value is None for value in values]
        columns[name] = np.ma.MaskedArray(column, missing) if any(missing) else column
    return RoiTable(views, columns, head.get("name", ""), head.get("identity", ""))
