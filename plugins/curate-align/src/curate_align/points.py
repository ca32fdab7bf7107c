"""Places that people collect: tables and states of neuroglancer, tables of coordinates, lists of pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import frozen

from curate_align.pairspec import is_pair_spec, read_pairs
from curate_align.places import numbers
from curate_core import NDArray, RequestError
from curate_core.builtin.table import parse_value, read_table
from curate_core.jsonfile import parse_json

_COORDINATE = "coordinate 1"
_SUFFIXES = (".csv", ".tsv", ".txt", ".json")
_TABLES = (("x0", "y0", "z0"), ("x", "y", "z"))
_OWN = {
    "x", "y", "z", "tgt_x", "tgt_y", "tgt_z", "first_x", "first_y", "first_z", "point", "pair", "location", "case", "roi", "id", "array",
    "x0", "x1", "y0", "y1", "z0", "z1",
}  # fmt: skip
_NUMBERS = re.compile(r"\s*[(\[]?\s*([^\s,;()\[\]]+)[\s,;]+([^\s,;()\[\]]+)[\s,;]+([^\s,;()\[\]]+)\s*[)\]]?\s*")
_EXPECTED = "a .csv with the column 'Coordinate 1' or the columns x0, y0 and z0, or a .json of neuroglancer annotations or of pairs"


@frozen(eq=False)
class Points:
    """What a file lists.

    Attributes:
        src: (n, 3) float64: x, y, z.
        tgt: the other place of each pair, likewise; None: there are only points.
        anchor: what a place is of its box, where the file says so; empty where it does not.
        columns: name -> (n,) what else it says, masked where a row has none.
        voxel: nanometres along x, y and z that the places count; None: voxels of mip 0.
    """

    src: NDArray
    tgt: NDArray | None = None
    anchor: Literal["", "corner", "centre"] = ""
    columns: Mapping[str, NDArray] = {}
    voxel: tuple[float, float, float] | None = None

    def __len__(self) -> int:
        return len(self.src)


def file_of(path: Path, case: str) -> Path:
    """The file itself, or the one in a folder that is called as the case.

    Raises:
        RequestError: there is none in the folder, or there are several.
    """
    if not path.is_dir():
        return path
    found = [path / f"{case}{suffix}" for suffix in _SUFFIXES if (path / f"{case}{suffix}").is_file()]
    if len(found) != 1:
        message = f"the folder has {len(found)} files of points for the case {case}"
        raise RequestError(message, where=str(path), hint=f"put one there: {case} with {', '.join(_SUFFIXES)}")
    return found[0]


def load_points(path: Path, annotations: str | None = None) -> Points:
    """The places in a file.

    Args:
        path: a table (.csv, .tsv, .txt) or .json: annotations, a neuroglancer state, or a dataset's specification with ``pairs``.
        annotations: name of the annotation layer of a state that has several.

    Raises:
        RequestError: there is no such file, it is of another kind, a place is none, or it has no places.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        message = "there is no such file of points"
        raise RequestError(message, where=str(path))
    if suffix in _SUFFIXES[:3]:
        points = _table(path)
    elif suffix == ".json":
        points = _json(path, annotations)
    else:
        message = f"points are not read from files that end in {path.suffix!r}"
        raise RequestError(message, where=str(path), hint=f"give {_EXPECTED}")
    if not len(points):
        message = "there are no points in it"
        raise RequestError(message, where=str(path), hint="collect some in neuroglancer, and export them again")
    return points


def _table(path: Path) -> Points:
    names = {name for row in read_table(path) for name in row}
    rows = read_table(path, sorted(names))  # again, all as text: a column decides what it holds as a whole
    known = {name.strip().lower(): name for name in sorted(names)}
    if not rows:
        return Points(np.zeros((0, 3)))
    if _COORDINATE in known:
        used = [known[_COORDINATE]]
        texts = [_three(row.get(used[0], "")) for row in rows]
    else:
        columns = next((columns for columns in _TABLES if all(column in known for column in columns)), None)
        if columns is None:
            message = f"the table has no places: neither a column 'Coordinate 1' nor x0, y0 and z0, but {', '.join(sorted(names))}"
            raise RequestError(message, where=str(path), hint="export the annotations from neuroglancer again, or rename the columns")
        used = [known[column] for column in columns]
        texts = [[row.get(name, "") for name in used] for row in rows]
    places = [numbers(text, f"{path}, row {i}", ", ".join(used)) for i, text in enumerate(texts, 1)]
    others = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in used]
    return Points(np.array(places), columns=_columns({name: [row.get(name) for row in rows] for name in others}, str(path)))


def _three(text: str) -> Sequence[str]:
    match = _NUMBERS.fullmatch(text)
    return match.groups() if match else [text]


def _columns(given: Mapping[str, Sequence[Any]], where: str) -> dict[str, NDArray]:
    """Columns under names that path templates take: ``Segment IDs`` is ``segment_ids``; ours get ``point_`` in front."""
    columns: dict[str, NDArray] = {}
    for name, values in given.items():
        word = re.sub(r"\W+", "_", name.strip().lower(), flags=re.ASCII).strip("_")
        word = f"point_{word}" if word in _OWN or not word.isidentifier() else word
        if word in columns:
            message = f"two columns would both be called {word!r}, one of them {name!r}"
            raise RequestError(message, where=where, hint="rename one")
        column = _column(values)
        if column is not None:
            columns[word] = column
    return columns


def _column(values: Sequence[Any]) -> NDArray | None:
    """Numbers where all are, else truth values, else text; masked where there is none; None where none is there."""
    missing = np.array([value is None for value in values])
    if missing.all():
        return None
    parsed = [parse_value(value) if isinstance(value, str) else value for value in values]
    kinds = {type(value) for value in parsed if value is not None}
    large = any(isinstance(value, int) and abs(value) >= 2**63 for value in parsed)
    if large or (len(kinds) > 1 and kinds != {int, float}):
        parsed, kinds = [None if value is None else str(value) for value in values], {str}
    fill = next(iter(kinds))()
    column = np.array([fill if value is None else value for value in parsed])
    return np.ma.MaskedArray(column, missing) if missing.any() else column


def _json(path: Path, annotations: str | None) -> Points:
    where = str(path)
    try:
        content = parse_json(path.read_text(encoding="utf-8-sig"), where)
    except (OSError, UnicodeDecodeError) as error:
        message = f"the file cannot be read: {error}"
        raise RequestError(message, where=where) from error
    if is_pair_spec(content):
        src, tgt, anchor = read_pairs(content["pairs"], where)
        return Points(src, tgt, anchor)
    if isinstance(content, dict) and isinstance(content.get("layers"), list):
        layer = _layer(content["layers"], annotations, where)
        return _annotations(layer["annotations"], layer.get("annotationProperties", []), where, _voxel(content, layer, where))
    listed = content.get("annotations") if isinstance(content, dict) else content
    if isinstance(listed, list):
        head = content if isinstance(content, dict) else {}
        return _annotations(listed, head.get("annotationProperties", []), where, _voxel({}, head, where))
    message = "the file holds neither annotations nor a neuroglancer state nor pairs"
    raise RequestError(message, where=where, hint=f"give {_EXPECTED}")


def _layer(layers: Sequence[Any], wanted: str | None, where: str) -> Mapping[str, Any]:
    """The annotation layer of a state."""
    own = [layer for layer in layers if isinstance(layer, dict) and isinstance(layer.get("annotations"), list)]
    found = {str(layer.get("name", "")): layer for layer in own}
    names = ", ".join(map(repr, found)) or "none"
    if wanted is not None and wanted not in found:
        message = f"the state has no annotation layer {wanted!r} of its own, only {names}"
        raise RequestError(message, where=where)
    if wanted is None and len(found) != 1:
        message = f"the state has {len(found)} annotation layers of its own: {names}"
        hint = "name one, as the option annotations" if found else "its points lie elsewhere: export them, and give that file"
        raise RequestError(message, where=where, hint=hint)
    layer: Mapping[str, Any] = found[wanted] if wanted is not None else next(iter(found.values()))
    return layer


def _annotations(listed: Sequence[Any], described: Sequence[Any], where: str, voxel: tuple[float, float, float] | None) -> Points:
    places, given = [], dict[str, list[Any]]()
    names = [str(entry.get("id", "")) for entry in described if isinstance(entry, dict)] if isinstance(described, list) else []
    for number, annotation in enumerate(listed):
        at = f"annotation {number}"
        entry = annotation if isinstance(annotation, dict) else {}
        place = next((entry[key] for key in ("point", "pointA", "center") if key in entry), None)
        if not isinstance(place, list):
            message = f"{at} has no point, pointA or center"
            raise RequestError(message, where=where, hint="expected annotations as neuroglancer writes them")
        places.append(numbers(place[:3], where, at))
        props = entry.get("props")
        values = entry | dict(zip(names, props if isinstance(props, list) else [], strict=False))
        values = {name: value for name, value in values.items() if isinstance(value, str | int | float)}
        for name in values:
            given.setdefault(name, [None] * number)
        for name, column in given.items():
            column.append(values.get(name))
    return Points(np.array(places).reshape(-1, 3), columns=_columns(given, where), voxel=voxel)


def _voxel(state: Mapping[str, Any], layer: Mapping[str, Any], where: str) -> tuple[float, float, float] | None:
    """Nanometres that coordinates of a layer's annotations count; None where nothing says so.

    Source: neuroglancer's states: ``dimensions`` are name -> [scale, unit], ``transform.outputDimensions`` of a layer's source go before.
    Those of earlier years have ``voxelSize`` in nanometres.
    """
    source = layer.get("source")
    source = source[0] if isinstance(source, list) and source else source
    transform = source.get("transform", {}) if isinstance(source, dict) else {}
    if isinstance(transform, dict) and "matrix" in transform:
        message = "the annotation layer is transformed by a matrix, which its points do not know of"
        raise RequestError(message, where=where, hint="remove the transform in neuroglancer, or export the points as a table")
    dimensions = (transform.get("outputDimensions") if isinstance(transform, dict) else None) or state.get("dimensions")
    try:
        if dimensions:
            if list(dimensions)[:3] != ["x", "y", "z"]:
                message = f"the dimensions of the annotations are {', '.join(dimensions)}, not x, y and z"
                raise RequestError(message, where=where, hint="order them so in neuroglancer")
            scales = [dimensions[axis] for axis in "xyz"]
            x, y, z = (float(scale) * 1e9 if unit == "m" else 0.0 for scale, unit in scales)
            return (x, y, z) if x and y and z else None
        if "voxelSize" not in layer:
            return None
        x, y, z = numbers(layer["voxelSize"], where, "voxelSize")
        return x, y, z
    except (TypeError, ValueError) as error:
        message = f"the dimensions of the annotations cannot be understood: {error}"
        raise RequestError(message, where=where) from error
