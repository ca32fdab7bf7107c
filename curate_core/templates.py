"""Path templates: ``"{case:04}/{roi}.tiff"``. What fills them comes from data, so what they give is checked."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import repeat
from typing import Any

from attrs import frozen

from curate_core.errors import StepError
from curate_core.layout import WORK

_UNSAFE = re.compile(r"[\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")
_INTEGER = re.compile(r"-?[0-9]+")
_INTEGER_FORMAT = re.compile(r"[+ ]?[0-9]+d?|[+ ]?d")
_PLAIN = re.compile(r"(?:[A-Za-z0-9_-][\w.-]*/)*[A-Za-z0-9_-][\w.-]*", re.ASCII)
MAX_NAME_BYTES = 255


@frozen
class PathTemplate:
    """A relative path with named fields, each with an optional format (``{row:04}``)."""

    text: str

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that it uses, in order.

        Raises:
            ValueError: the template is malformed.
        """
        return tuple(_names(self.text, "path"))

    def render(self, values: Mapping[str, Any]) -> str:
        """The path for one sample.

        Raises:
            StepError: a field is missing or does not take its format, or the path would leave the output folder.
        """
        return check_relative(fill_in(self.text, values, "path"))


def fill_in(text: str, values: Mapping[str, Any], what: str) -> str:
    """A text with named fields, filled in; nothing but plain names is looked up.

    Args:
        text: such as ``"{case:04}/{roi}"``.
        values: name -> value; text that is a whole number takes number formats.
        what: what to call the text in a message.

    Raises:
        StepError: a field is missing or does not take its format, or the text is malformed.
    """
    try:
        _names(text, what)
        return text.format_map(_Values(values))
    except KeyError as error:
        known = ", ".join(sorted(values))
        message = f"the {what} {text!r} wants {{{error.args[0]}}}, the sample has {known}"
        raise StepError(message) from error
    except (ValueError, TypeError) as error:
        message = f"the {what} {text!r} cannot be filled in: {error}"
        raise StepError(message) from error


def fill_in_columns(text: str, column_of: Callable[[str], Iterable[str] | None]) -> list[str] | None:
    """A text filled in for many rows at once, as ``fill_in`` would row by row.

    Args:
        text: such as ``"{case}/{roi}"``.
        column_of: name -> the values of all rows as text; None where only ``fill_in`` knows what becomes of them.

    Returns:
        a text a row; None where a field has a format or no column, or where nothing varies.
    """
    parts: list[Iterable[str]] = []
    bounded = False
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError:
        return None
    for literal, name, spec, conversion in parsed:
        parts.append(repeat(literal))
        if name is None:
            continue
        column = None if spec or conversion else column_of(name)
        if column is None:
            return None
        bounded = bounded or not isinstance(column, repeat)
        parts.append(column)
    return list(map("".join, zip(*parts, strict=False))) if bounded else None


@lru_cache(maxsize=256)
def _names(text: str, what: str) -> tuple[str, ...]:
    """Names of the fields in a text, in order."""
    names = []
    for _, name, spec, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or conversion or "{" in (spec or ""):
            message = f"{{{name}}} in the {what} {text!r} is not a plain name"
            raise ValueError(message)
        names.append(name)
    return tuple(names)


class _Values:
    """Text that is a whole number takes number formats: ``{case:04}`` works for the case "7"."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        return _Text(value) if isinstance(value, str) else value


class _Text(str):
    """Text of an attribute; never brings a path separator of its own into a template unless it is a relative path."""

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if _INTEGER_FORMAT.fullmatch(spec) and _INTEGER.fullmatch(self):
            return format(int(self), spec)
        return format(str(self), spec)


def outside(template: object) -> str:
    """What is wrong with a template of paths in a dataset whatever fills it; empty when nothing is, or it is no template."""
    if not isinstance(template, str) or not template:
        return ""
    try:
        literal = "".join(text + ("x" if name is not None else "") for text, name, _, _ in string.Formatter().parse(template))
        check_relative(literal)
    except StepError as error:
        return error.message.replace(repr(literal), repr(template))
    except ValueError as error:
        return f"{template!r} is no template: {error}"
    return f"{WORK} is the folder that curate keeps its own in" if literal.split("/")[0] == WORK else ""


def check_relative(path: str) -> str:
    """The path itself, if it stays inside the folder it is relative to and every file system can hold it.

    Raises:
        StepError: it is absolute, has an empty, ``.`` or ``..`` part, a control character, or a name that is too long.
    """
    if len(path) <= MAX_NAME_BYTES and _PLAIN.fullmatch(path):
        return path  # nearly all are
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or any(part in ("", ".", "..") for part in parts) or (len(path) > 1 and path[1] == ":"):
        message = f"the path {path!r} would leave the output folder or is not a plain relative path"
        raise StepError(message)
    if _UNSAFE.search(path):
        message = f"the path {path!r} contains control characters, or others that no file name holds"
        raise StepError(message)
    for part in parts:
        if len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            message = f"the name {part[:40]!r}... has more than {MAX_NAME_BYTES} bytes"
            raise StepError(message)
    return path
