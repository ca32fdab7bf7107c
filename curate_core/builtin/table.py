"""Cases written out: in the spec, or row by row in a table."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from attrs import frozen

from curate_core.errors import RequestError, StepError
from curate_core.jsonfile import parse_json
from curate_core.kinds import Source
from curate_core.model import CaseSource, LayerSource, Plain, Role
from curate_core.options import option
from curate_core.structure import Mistakes, fill, structure
from curate_core.templates import PathTemplate, fill_in

_SHOWN = 10
_WHOLE = re.compile(r"[+-]?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_RELATIVE = re.compile(r"^((?:\w+://)?file://)(?!/)(?:\./)*")
Given = dict[str, Any]


@frozen
class _Layer:
    """The keys of a layer that are not its reader's."""

    files: str | tuple[str, ...] = ()
    uri: str = ""
    join: str = ""
    spacing: tuple[float, ...] | None = option(doc="Voxel size along the spatial axes, array order.", default=None, gt=0)
    unit: str = ""


_KEYS = ("files", "uri", "join", "spacing", "unit")


@frozen
class ListSource(Source):
    """Cases written in the spec, or in a JSON or CSV table.

    A layer is an object with ``files`` (a path or a list) or ``uri``, optionally ``join``, ``spacing`` and ``unit``; its other keys are
    options of its reader. With a table, ``case`` names the column of the id, ``layers`` describes the layers with ``"{column}"`` in place
    of values, and all columns become attributes; what a row leaves empty comes from ``defaults``, and a key of a layer for which the row
    has null is left out. A JSON table may also hold ``layers`` in each of its objects. An address such as ``file://layers/a.zarr``, and
    one with a format in front of it, is relative to ``root``, as files are.

    Example::

        "source": {"use": "list", "cases": [{"case": "liver", "split": "train", "layers": {"ct": {"files": "liver.nii.gz"}}}]}
        "source": {"use": "list", "table": "em.csv", "case": "name", "layers": {"em": {"files": "{path}"}}}
    """

    version: ClassVar[int] = 1
    cases: tuple[Given, ...] = option(doc="Cases: id under the key that 'case' names, 'layers', and attributes.", default=())
    table: Path | None = option(doc="A CSV file (of commas or tabs) with a header line, or a JSON list of objects.", default=None)
    case: str = option(doc="Column, or key, that holds the id of the case.", default="case", min_length=1)
    layers: dict[str, Given] | None = option(doc="Layers of every case that does not describe its own.", default=None)
    defaults: Given = option(doc="Values of columns that a row leaves empty or has not; null where nothing is meant.", factory=dict)
    root: Path = option(doc="Folder where relative paths of files start.", default=Path())

    def find(self) -> Iterable[CaseSource]:
        if (self.table is None) == (not self.cases):
            message = 'give either "cases" or "table"'
            raise RequestError(message, where="source")
        rows = list(self.cases) if self.table is None else read_table(self.table, [self.case])
        rows = [{**self.defaults, **row} for row in rows]
        found = [self._case(row, f"source.cases.{i}" if self.table is None else f"{self.table}, row {i + 1}") for i, row in enumerate(rows)]
        missing = [str(file) for case in found for file in case.files() if not file.exists()]
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            message = f"{len(missing)} files are missing: {', '.join(missing[:_SHOWN])}{more}"
            raise RequestError(message, where="source")
        return found

    def _case(self, row: Mapping[str, Any], where: str) -> CaseSource:
        name = row.get(self.case)
        if name is None or isinstance(name, dict | list) or name == "":
            message = f"there is no case id under {self.case!r}"
            raise RequestError(message, where=where, hint=f"it has {', '.join(row)}")
        described = row.get("layers", self.layers)
        if not isinstance(described, dict) or not described:
            message = "no layers are described"
            raise RequestError(message, where=where, hint='give "layers"')
        attributes: dict[str, Plain] = {key: value for key, value in row.items() if key not in (self.case, "layers", "roles")}
        values = {**attributes, self.case: name}
        layers = {key: self._layer(layer, values, f"{where}, layer {key}") for key, layer in described.items()}
        try:
            roles = structure(row.get("roles", {}), dict[str, Role], self.root)
        except Mistakes as mistakes:
            raise RequestError("; ".join(map(str, mistakes.problems("roles"))), where=where) from mistakes
        return CaseSource(str(name), layers, attributes, roles, self.root)

    def _layer(self, described: Any, values: Mapping[str, Plain], where: str) -> LayerSource:
        if not isinstance(described, dict):
            message = 'a layer is an object with "files" or "uri"'
            raise RequestError(message, where=where)
        try:
            filled = {key: _fill(value, values) for key, value in described.items()}
            filled = {key: value for key, value in filled.items() if not _is_empty(value) or _is_empty(described[key])}
            own: _Layer = structure({key: value for key, value in filled.items() if key in _KEYS}, _Layer, self.root)
        except KeyError as error:
            message = f"there is no column {error.args[0]!r}"
            raise RequestError(message, where=where, hint=f"there are {', '.join(values)}") from error
        except (ValueError, StepError) as error:
            message = error.message if isinstance(error, StepError) else str(error)
            raise RequestError(message, where=where) from error
        except Mistakes as mistakes:
            raise RequestError("; ".join(map(str, mistakes.problems())), where=where) from mistakes
        files = (own.files,) if isinstance(own.files, str) else own.files
        options = {key: value for key, value in filled.items() if key not in _KEYS}
        uri = _RELATIVE.sub(lambda found: f"{found[1]}{self.root.absolute().as_posix()}/", own.uri)
        return LayerSource(tuple(self.root / file for file in files), uri, own.join, own.spacing, own.unit, options)


def _is_empty(value: Any) -> bool:
    """Null, or a list of nothing else: what columns that a row leaves empty make."""
    return value is None or (isinstance(value, list) and bool(value) and all(entry is None for entry in value))


def _fill(value: Any, values: Mapping[str, Plain]) -> Any:
    """Whole values keep their type (``"{mip}"``); text around a column makes text (``"raw/{name}.mrc"``)."""
    if isinstance(value, list):
        return [_fill(entry, values) for entry in value]
    filled = fill(value, values)
    if filled is not value or not isinstance(value, str) or "{" not in value:
        return filled
    for name in PathTemplate(value).fields:
        values[name]  # a KeyError names what is missing
    return fill_in(value, values, "text")


def read_table(path: Path, text: Sequence[str] = ()) -> list[Given]:
    """Rows of a CSV file with a header line, or of a JSON list of objects.

    In CSV, whole numbers, decimal numbers, ``true`` and ``false`` become values; an empty field is left out. Fields are separated by tabs
    where the header line has any, and else by commas.

    Args:
        path: the table.
        text: columns of a CSV file that stay text: ``1.10`` and ``1.1`` are two ids.

    Raises:
        RequestError: the file is missing or is neither.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            rows = parse_json(content, str(path))
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                message = "a JSON table is a list of objects"
                raise RequestError(message, where=str(path))
            return rows
        separator = "\t" if "\t" in content.partition("\n")[0] else ","
        reader = csv.DictReader(io.StringIO(content), delimiter=separator, strict=True)
        rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        message = f"the table cannot be read: {error}"
        raise RequestError(message, where=str(path)) from error
    names = reader.fieldnames or []
    if len(set(names)) < len(names):
        message = f"columns of the table share a name: {', '.join(names)}"
        raise RequestError(message, where=str(path))
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            message = f"row {number} has not as many fields as the header"
            raise RequestError(message, where=str(path))
    return [{key: value if key in text else parse_value(value) for key, value in row.items() if value != ""} for row in rows]


def parse_value(text: str) -> Plain:
    """A CSV field as a number or truth value where it plainly is one; ``007`` stays text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if _WHOLE.fullmatch(text):
            return int(text)
        if _DECIMAL.fullmatch(text):
            number = float(text)
            return number if math.isfinite(number) else text
    except ValueError:  # more digits than Python turns into a number
        pass
    return text
