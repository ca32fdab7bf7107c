"""YAML without guesses: every scalar is the text that stands there, so that a patient called 007 keeps his name."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml  # noqa: TID253 - this module is imported where a configuration is read

from curate_core import RequestError

_MERGE = re.compile(r"^(?:<<)$")


class _TextLoader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
    """The safe loader, which makes plain values alone, with no type but text; merge keys (``<<``) work as ever."""

    yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", _MERGE)]}  # noqa: RUF012 - as the base class has it

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                if key.value in seen and isinstance(key.value, str):
                    message = f"the key {key.value!r} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, f"{message}, on line {seen[key.value]} too", key.start_mark)
                seen[str(key.value)] = line
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


def load_text(text: str) -> Any:
    """Mappings, lists and texts; empty values are empty text.

    Raises:
        RequestError: it is no YAML, a key is repeated, or a tag asks for anything else than plain values; names the line.
    """
    loader = None
    try:
        loader = _TextLoader(text)  # which looks at the characters at once
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        message = f"the configuration is no plain YAML: {error.problem or error.context}"
        raise RequestError(message, where=where) from error
    except (yaml.YAMLError, RecursionError) as error:
        message = f"the configuration is no plain YAML: {error}"
        raise RequestError(message) from error
    finally:
        if loader is not None:
            loader.dispose()
