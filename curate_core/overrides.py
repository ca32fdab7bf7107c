"""``--set`` values in the place of a spec's own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from curate_core.errors import Problem, SpecError
from curate_core.jsonfile import check_plain, no_constant
from curate_core.model import Plain

LOCAL = {"use": "local"}
"""The engine of a spec that names none."""
_INDEX = re.compile(r"[0-9]{1,9}")


def override(given: Mapping[str, Plain], settings: Sequence[str]) -> dict[str, Plain]:
    """The spec with ``--set`` values in place: ``rois.0.size=256``; values are JSON, or else text.

    Raises:
        SpecError: a path leads nowhere.
    """
    try:
        value: Any = json.loads(json.dumps(dict(given)))
    except (TypeError, ValueError, RecursionError) as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SpecError([Problem("", f"the spec holds what JSON cannot: {detail}")]) from error
    if any(setting.startswith("engine.") for setting in settings):
        value.setdefault("engine", dict(LOCAL))
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise SpecError([Problem("", f"--set takes KEY=VALUE, such as rois.0.size=256, got {setting!r}")])
        try:
            new = json.loads(text, parse_constant=no_constant)
        except (ValueError, RecursionError):
            new = text
        *parents, last = path.split(".")
        target = value
        for depth, key in enumerate(parents):
            target = _descend(target, key, ".".join(parents[: depth + 1]))
        if isinstance(target, list):
            _descend(target, last, path)
            target[int(last)] = new
        elif isinstance(target, dict):
            target[last] = new
        else:
            raise SpecError([Problem(path, f"--set cannot reach into {json.dumps(target)[:60]}")])
    check_plain(value, "")
    return cast(dict[str, Plain], value)


def _descend(target: Any, key: str, path: str) -> Any:
    if isinstance(target, list):
        if not (_INDEX.fullmatch(key) and int(key) < len(target)):
            raise SpecError([Problem(path, f"--set wants an index below {len(target)}, got {key!r}")])
        return target[int(key)]
    if isinstance(target, dict):
        return target.setdefault(key, {})
    raise SpecError([Problem(path, f"--set cannot reach into {json.dumps(target)[:60]}")])
