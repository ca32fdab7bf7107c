"""Plain values to components: strict, complete, exact in where mistakes lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core.errors import Problem, RequestError
from curate_core.kinds import CASE, DATASET, SAMPLE, Scope
from curate_core.options import option
from curate_core.structure import ByteSize, Mistake, Mistakes, check_templated, fill, names_path, structure, templated, unstructure

HERE = Path("/data")


@frozen
class Inner:
    """Nested options."""

    low: float = option(doc="Lower end.", ge=0)
    high: float | None = option(doc="Upper end.", default=None)


@frozen
class Everything:
    """One option of every type."""

    version: ClassVar[int] = 3
    count: int = option(doc="How many.", ge=1)
    rate: float = option(doc="How fast.", default=1.0, gt=0)
    flag: bool = option(doc="Whether.", default=False)
    name: str = option(doc="What.", default="x", min_length=1)
    path: Path = option(doc="Where.", default=Path("/nowhere"))
    mode: Literal["fast", "slow", 3] = option(doc="How.", default="fast")
    size: tuple[int, ...] = option(doc="Edges.", default=(1,), ge=1)
    pair: tuple[int, str] = option(doc="Two.", default=(1, "a"))
    names: Sequence[str] = option(doc="Several.", default=())
    either: int | tuple[int, ...] = option(doc="One or several.", default=1)
    maybe: int | None = option(doc="One or none.", default=None)
    mixed: Mapping[str, Any] = option(doc="Anything.", factory=dict)
    ranges: Mapping[str, Inner] = option(doc="By layer.", factory=dict)
    inner: Inner | None = option(doc="Nested.", default=None)
    within: Scope = option(doc="Judged together.", default=SAMPLE)
    memory: ByteSize = option(doc="Bytes.", default=ByteSize(0))
    derived: int = option(doc="Not an option.", default=7)


def mistakes(value: Any, cls: Any = Everything) -> list[Mistake]:
    with pytest.raises(Mistakes) as caught:
        structure(value, cls, HERE)
    return list(caught.value.found)


def test_every_type():
    value = {
        "count": 2, "rate": 3, "flag": True, "name": "n", "path": "a/b", "mode": 3, "size": [4, 5], "pair": [6, "b"], "names": ["p", "q"],
        "either": [7, 8], "maybe": 9, "mixed": {"a": [1, None]}, "ranges": {"ct": {"low": 1}}, "inner": {"low": 0, "high": 2.5},
        "within": {"attribute": "scan"}, "memory": "8 GB",
    }  # fmt: skip
    made = structure(value, Everything, HERE)
    assert made == Everything(
        count=2, rate=3.0, flag=True, name="n", path=HERE / "a/b", mode=3, size=(4, 5), pair=(6, "b"), names=("p", "q"), either=(7, 8),
        maybe=9, mixed={"a": [1, None]}, ranges={"ct": Inner(low=1.0)}, inner=Inner(low=0.0, high=2.5), within=Scope("attribute", "scan"),
        memory=ByteSize(8_000_000_000),
    )  # fmt: skip
    assert type(made.rate) is float
    assert type(made.memory) is ByteSize


WRONG = [
    ("count", "4", 'expected a whole number, got "4"'),
    ("count", 3.7, "expected a whole number, got 3.7"),
    ("count", 4.0, "expected a whole number, got 4.0"),
    ("count", True, "expected a whole number, got true"),
    ("count", None, "expected a whole number, got null"),
    ("count", [1], "expected a whole number, got a list"),
    ("count", {}, "expected a whole number, got an object"),
    ("count", 0, "0 must be at least 1"),
    ("rate", "fast", 'expected a number, got "fast"'),
    ("rate", False, "expected a number, got false"),
    ("rate", 0, "0.0 must be greater than 0"),
    ("rate", 10**400, "expected a number, got one that is not finite"),
    ("rate", float("inf"), "expected a number, got one that is not finite"),
    ("rate", float("nan"), "expected a number, got one that is not finite"),
    ("flag", 1, "expected true or false, got 1"),
    ("flag", "yes", 'expected true or false, got "yes"'),
    ("name", 5, "expected text, got 5"),
    ("name", "", "must not be empty"),
    ("path", 5, "expected a path, got 5"),
    ("path", "", 'expected a path, got ""'),
    ("path", "a\0b", 'expected a path, got "a\0b"'),
    ("path", "~no-such-user/x", 'expected a path, got "~no-such-user/x": Could not determine home directory.'),
    ("mode", "fats", 'expected one of "fast", "slow", 3, got "fats"'),
    ("mode", 3.0, 'expected one of "fast", "slow", 3, got 3.0'),
    ("mode", True, 'expected one of "fast", "slow", 3, got true'),
    ("size", "abc", 'expected a list, got "abc"'),
    ("size", 3, "expected a list, got 3"),
    ("size", [0], "0 must be at least 1"),
    ("pair", [1], "expected 2 entries, got 1"),
    ("names", {"a": 1}, "expected a list, got an object"),
    ("either", "a", 'expected a whole number or a list, got "a"'),
    ("maybe", "a", 'expected a whole number, got "a"'),
    ("mixed", [], "expected an object, got a list"),
    ("inner", 3, "expected an object, got 3"),
    ("within", "cases", 'expected "sample", "case", "dataset" or {"attribute": name}, got "cases"'),
    ("within", {"attribute": 3}, 'expected "sample", "case", "dataset" or {"attribute": name}, got an object'),
    ("memory", "8 XB", "expected bytes such as 8000000 or \"8 GB\", got '8 XB'"),
    ("memory", -1, 'expected bytes such as 8000000 or "8 GB", got -1'),
    ("name", ["a" * 100], "expected text, got a list"),
    ("count", "a" * 100, f'expected a whole number, got "{"a" * 57}..."'),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_wrong_values(key, value, message):
    (mistake,) = mistakes({"count": 1, key: value})
    assert (mistake.path, mistake.message) == ((key,), message)


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ({"count": 1, "size": [1, "2"]}, ("size", 1), 'expected a whole number, got "2"'),
        ({"count": 1, "pair": [1, 2]}, ("pair", 1), "expected text, got 2"),
        ({"count": 1, "ranges": {"ct": {"low": "x"}}}, ("ranges", "ct", "low"), 'expected a number, got "x"'),
        ({"count": 1, "inner": {"low": -1}}, ("inner", "low"), "-1.0 must be at least 0"),
        ({"count": 1, "either": [1, "a"]}, ("either", 1), 'expected a whole number, got "a"'),
        ({"count": 1, "inner": {"low": 1, "hihg": 2}}, ("inner", "hihg"), "unknown option 'hihg'"),
    ],
)
def test_places_inside(value, path, message):
    (mistake,) = mistakes(value)
    assert (mistake.path, mistake.message) == (path, message)


def test_hints():
    assert mistakes({"count": 1, "mdoe": "fast"}) == [Mistake(("mdoe",), "unknown option 'mdoe'", "did you mean 'mode'?")]
    assert mistakes({}) == [Mistake((), "option 'count' is missing", "How many")]
    assert mistakes({"count": 1, "mode": "fats"})[0].hint == "did you mean 'fast'?"
    assert mistakes({"count": 1, "within": "cases"})[0].hint == "did you mean 'case'?"
    assert mistakes({"count": 1, "version": 2})[0].message == "unknown option 'version'"


def test_all_mistakes_at_once():
    found = mistakes({"count": 0, "rate": "x", "size": [1, None, "a"], "nmae": 1, "inner": {"high": "y"}, "mode": 4})
    assert [m.path for m in found] == [("nmae",), ("count",), ("rate",), ("mode",), ("size", 1), ("size", 2), ("inner",), ("inner", "high")]
    error = Mistakes(found[:2])
    assert str(error) == "unknown option 'nmae'; 0 must be at least 1"
    assert error.problems("rois", 0)[1] == Problem("rois.0.count", "0 must be at least 1")


@frozen
class Picky:
    """Checks more than types."""

    low: int = option(doc="Low.")
    high: int = option(doc="High.")

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            message = f"low {self.low} is above high {self.high}"
            raise ValueError(message)
        if self.low < 0:
            message = "negative"
            raise RequestError(message, hint="use a positive one")


def test_a_components_own_checks():
    assert mistakes({"low": 3, "high": 1}, Picky) == [Mistake((), "low 3 is above high 1")]
    assert mistakes({"low": -1, "high": 1}, Picky) == [Mistake((), "negative", "use a positive one")]


def test_paths():
    for text in ("a/b", "/abs/b", "../x"):
        assert structure({"count": 1, "path": text}, Everything, HERE).path == HERE / text
    assert structure({"count": 1, "path": "~/x"}, Everything, HERE).path == Path.home() / "x"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (0, 0), (123, 123), ("123", 123), ("8 GB", 8 * 10**9), ("8GB", 8 * 10**9), ("8 GiB", 8 * 2**30), ("1.5 kB", 1500),
        ("1.5 KiB", 1536), ("2 TB", 2 * 10**12), ("0.1 PB", 10**14), ("64 MiB", 64 << 20), (" 5 B ", 5), ("1.005 kB", 1005),
        ("9" * 400 + " GB", int("9" * 400) * 10**9),
    ],
)  # fmt: skip
def test_bytes(text, count):
    assert ByteSize.parse(text) == count


@pytest.mark.parametrize("text", ["", "GB", "8 gb!", "-1", "1e9", "8 iB x", None, 1.5, True, [], "٣ GB x"])
def test_no_bytes(text):
    with pytest.raises(ValueError, match="expected bytes such as 8000000"):
        ByteSize.parse(text)


def test_scopes():
    for text, scope in (("sample", SAMPLE), ("case", CASE), ("dataset", DATASET), ({"attribute": "scan"}, Scope("attribute", "scan"))):
        assert structure(text, Scope, HERE) == scope
        assert unstructure(scope) == text


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=5), c, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
@settings(max_examples=300, deadline=None)
def test_any_json_gives_a_component_or_mistakes(value):
    for cls in (Everything, Inner, Picky, dict[str, int], tuple[float, ...], int | str, Scope, ByteSize, Path):
        try:
            structure(value, cls, HERE)
        except Mistakes as error:
            complaints = error.found
            assert complaints


@given(
    st.fixed_dictionaries(
        {"count": st.integers(1)},
        optional={
            "rate": st.floats(1e-300, 1e300), "flag": st.booleans(), "name": st.text(min_size=1),
            "mode": st.sampled_from(["fast", "slow", 3]), "size": st.lists(st.integers(1), max_size=4),
            "either": st.integers() | st.lists(st.integers(), max_size=3), "maybe": st.none() | st.integers(),
            "mixed": st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=3), max_size=3),
            "inner": st.none() | st.fixed_dictionaries({"low": st.floats(0, 1e9)}),
            "within": st.sampled_from(["sample", "case", {"attribute": "a"}]), "memory": st.integers(0) | st.just("8 GB"),
        },
    )
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_back_and_forth(value):
    """What ``unstructure`` gives is JSON, holds every default, and makes the same component."""
    made = structure(value, Everything, HERE)
    plain = unstructure(made)
    assert json.loads(json.dumps(plain)) == plain
    assert set(plain) == {f for f in Everything.__annotations__ if f != "version"}
    assert structure(plain, Everything, Path("/elsewhere")) == made


def test_templates():
    given = {
        "count": "{n}",
        "size": [1, "{n}"],
        "name": "{n}",
        "path": "{n}",
        "rate": "x{n}",
        "mode": "{m}",
        "names": ["{n}"],
        "other": "{n}",
    }
    assert templated(given, Everything) == ("count", "size", "mode")
    assert fill(given["size"], {"n": 5}) == [1, 5]
    assert fill("{n}", {"n": [1, 2]}) == [1, 2]
    assert fill("x{n}", {"n": 5}) == "x{n}"
    with pytest.raises(KeyError, match="n"):
        fill("{n}", {})


def test_what_is_known_before_templates_are_filled_in():
    check_templated({"count": "{n}", "size": [1, "{n}"]}, Everything, HERE, ("count", "size"))
    with pytest.raises(Mistakes) as caught:
        check_templated({"count": "{n}", "size": [0, "{n}"], "rate": "x", "odd": 1}, Everything, HERE, ("count", "size"))
    found = {(m.path, m.message) for m in caught.value.found}
    assert found == {
        (("odd",), "unknown option 'odd'"), (("rate",), 'expected a number, got "x"'), (("size",), "0 must be at least 1"),
    }  # fmt: skip


def test_names_path():
    assert names_path(Path)
    assert names_path(tuple[Path, ...])
    assert names_path(Path | None)
    assert not names_path(str)
    assert not names_path(tuple[int, ...])
