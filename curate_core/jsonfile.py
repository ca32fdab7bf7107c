"""JSON that people write: read strictly, with errors that say where."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from curate_core.errors import Problem, SpecError

MAX_BYTES = 16_000_000
MAX_DEPTH = 64
_HALF = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")  # between them stand bytes of file names that are not UTF-8


def check_size(size: int, where: str) -> None:
    """Refuse a file that is too large to be a spec, before it is read.

    Raises:
        SpecError: it is.
    """
    if size > MAX_BYTES:
        message = f"the file has {size / 1e6:.0f} MB, a spec has at most {MAX_BYTES / 1e6:.0f}"
        raise SpecError([Problem("", message)], where=where)


def parse_json(text: str, where: str) -> Any:
    """JSON, strictly: no repeated keys, no NaN, no nesting beyond reason.

    Raises:
        SpecError: what is wrong, with line and column where known.
    """
    repeated: list[str] = []

    def pairs(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in entries]
        repeated.extend(sorted(key for key, count in Counter(keys).items() if count > 1))
        return dict(entries)

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        hint = f"line {error.lineno}, column {error.colno}"
        raise SpecError([Problem("", f"this is not JSON: {error.msg}", hint)], where=where) from error
    except (ValueError, RecursionError) as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SpecError([Problem("", f"this is not JSON: {detail}")], where=where) from error
    if repeated:
        raise SpecError([Problem("", f"the key {key!r} stands twice in one object") for key in dict.fromkeys(repeated)], where=where)
    check_plain(value, where)
    return value


def check_plain(value: Any, where: str) -> None:
    """Refuse nesting beyond reason, and text that no file and no terminal can take.

    Raises:
        SpecError: there is some.
    """
    if _depth(value) > MAX_DEPTH:
        raise SpecError([Problem("", f"it is nested more than {MAX_DEPTH} deep")], where=where)
    half = [text for text in _texts(value) if _HALF.search(text)]
    if half:
        raise SpecError(
            [Problem("", f"{ascii(text)[:60]} holds half a character: \\ud800 to \\udfff come in pairs") for text in half], where=where
        )


def no_constant(name: str) -> Any:
    """Refuse ``NaN`` and ``Infinity``, which Python reads and JSON does not know."""
    message = f"{name} is not a JSON number"
    raise ValueError(message)


def _texts(value: Any) -> Iterator[str]:
    """All text in a value, keys included."""
    left = [value]
    while left:
        entry = left.pop()
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            left += [*entry, *entry.values()]
        elif isinstance(entry, list):
            left += entry


def _depth(value: Any) -> int:
    depth, level = 0, [value] if isinstance(value, dict | list) else []
    while level:
        depth += 1
        children = [child for v in level for child in (v.values() if isinstance(v, dict) else v)]
        level = [child for child in children if isinstance(child, dict | list)]
    return depth
