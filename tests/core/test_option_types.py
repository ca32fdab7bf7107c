"""Which types an option may have: what loading admits, structuring takes values of and the schema describes."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
import jsonschema
import numpy as np
import pytest

from curate_core import loading, schema
from curate_core.kinds import Scope
from curate_core.model import Plain
from curate_core.options import option
from curate_core.structure import ByteSize, Mistakes, structure


@attrs.frozen
class Inner:
    """Options within options."""

    low: float = option(doc="An end.")
    more: tuple[Inner, ...] = option(doc="More of them.", default=())


class Colour(StrEnum):
    RED = "red"


class Number(Enum):
    ONE = 1


@attrs.frozen
class Odd:
    """A class with a field that no spec can give."""

    value: complex = 1j


ANYTHING: list[Any] = [None, True, 3, 0.5, "a", [1, "b"], {"a": [1]}]
TYPES: list[tuple[Any, list[Any], list[Any]]] = [
    (bool, [True, False], [1, "true", None]),
    (int, [3, -1], [0.5, "3", True, None]),
    (float, [3, 0.5], ["3", True, None]),
    (str, ["", "a"], [3, None, ["a"]]),
    (Path, ["a/b"], ["", 3, None]),
    (ByteSize, [8, "8 GB"], ["8 XB", -1, None]),
    (Scope, ["case", {"attribute": "a"}], ["cases", {"attribute": 3}, {}, None]),
    (type(None), [None], [3, ""]),
    (Any, ANYTHING, []),
    (object, ANYTHING, []),
    (Plain, ANYTHING, []),
    (Literal["fast", 3], ["fast", 3], ["slow", 4, None]),
    (Literal["fast", None], ["fast", None], ["slow"]),
    (int | None, [3, None], ["a", 0.5]),
    (int | tuple[str, ...], [3, ["a"]], ["a", [3]]),
    (tuple[int, ...], [[], [1, 2]], [3, ["a"], None]),
    (tuple[int, str], [[1, "a"]], [[1], ["a", 1], [1, "a", 2]]),
    (list[float], [[], [1, 0.5]], ["ab", [True]]),
    (Sequence[str], [[], ["a"]], ["ab", [1]]),
    (dict[str, int], [{}, {"a": 1}], [[], {"a": "b"}]),
    (Mapping[str, tuple[int, ...]], [{"a": [1]}], [{"a": 1}]),
    (dict[str, dict[str, float] | None], [{"a": {"b": 1}}, {"a": None}], [{"a": {"b": "c"}}]),
    (Inner, [{"low": 1}, {"low": 1, "more": [{"low": 2}]}], [{}, {"low": "a"}, {"low": 1, "hihg": 2}, 3]),
    (Mapping[str, Inner], [{"ct": {"low": 1}}], [{"ct": {}}]),
]
"""Types, what a spec may say of them, and what it may not."""
REFUSED = [
    complex, bytes, set[str], frozenset[int], dict, list, tuple, Sequence, Mapping, np.ndarray, np.dtype, type[int], Number, Colour, Odd,
    dict[int, str], dict[Path, int], Mapping[Literal["a"], int], dict[str, complex], tuple[complex, ...], int | complex, list[dict[int, int]],
    typing.Dict, typing.Mapping, typing.List, typing.Tuple,  # noqa: UP006
    Literal[b"a"], Literal[Colour.RED], Literal[Number.ONE], Annotated[int, "voxels"], None,
]  # fmt: skip


def holder(kind: Any) -> type[Any]:
    """A class with one option of a type."""
    return attrs.frozen(type("Holder", (), {"__annotations__": {"value": kind}, "__doc__": "Holds.", "value": option(doc="It.")}))


@pytest.mark.parametrize(("kind", "right", "wrong"), TYPES, ids=lambda value: str(value) if not isinstance(value, list) else "")
def test_what_loading_admits_has_values_and_a_schema(kind, right, wrong):
    assert loading.plain(kind, ())
    types = schema._Types()
    described = {**types.options(holder(kind)), "$defs": types.definitions}
    described = json.loads(json.dumps(described))
    jsonschema.Draft202012Validator.check_schema(described)
    validator = jsonschema.Draft202012Validator(described)
    for value in right:
        structure({"value": value}, holder(kind), Path("/data"))
        assert validator.is_valid({"value": value}), value
    for value in wrong:
        with pytest.raises(Mistakes):
            structure({"value": value}, holder(kind), Path("/data"))
        assert not validator.is_valid({"value": value}), value


@pytest.mark.parametrize("kind", REFUSED, ids=str)
def test_what_no_spec_can_say_is_not_admitted(kind):
    assert not loading.plain(kind, ())


def test_every_single_type_that_loading_or_the_schema_lists_stands_in_this_table():
    listed = {kind for kind, _, _ in TYPES}
    assert set(loading._SCALARS) | set(schema._SCALARS) <= listed
    assert set(schema._SCALARS) == set(loading._SCALARS) - {object}, "what may be anything has no keywords"
