"""Specs, patterns and templates that nobody would write: a value, or an error that names its place; never another exception.

The number of examples is fixed and they are the same in every run; ``CURATE_FUZZ=200`` multiplies it by 200 and draws others each time.
"""

from __future__ import annotations

import copy
import json
import os
import re
import string
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate_core.cli.output import visible
from curate_core.errors import RequestError, SpecError, StepError
from curate_core.host import default_host
from curate_core.patterns import find, natural_key
from curate_core.spec import Spec, load
from curate_core.templates import MAX_NAME_BYTES, PathTemplate, check_relative

FACTOR = int(os.environ.get("CURATE_FUZZ", "1"))


def examples(count: int) -> settings:
    return settings(
        max_examples=count * FACTOR, derandomize=FACTOR == 1, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


GOOD: dict[str, Any] = {
    "version": 1,
    "name": "good",
    "seed": 3,
    "source": {"use": "files", "pattern": "data/{case}.{ext}", "root": "."},
    "read": {"*": {"use": "npy", "axes": "zyx", "spacing": [4, 1.5, 1]}, "mask": [{"use": "raw", "shape": [1, 2], "dtype": "<u2"}]},
    "preprocess": [{"use": "to-uint8", "range": "percentile", "percentiles": [1, 99], "when": {"split": ["train", None]}}],
    "rois": [{"use": "grid", "size": [8, 8], "planes": ["xy"], "edge": "shift"}, {"use": "random", "size": 4, "count": 2}],
    "transform": [],
    "filter": [{"use": "intensity", "min_mean": 0.5}],
    "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
    "output": "out",
    "on_error": "stop",
    "engine": {"use": "local", "workers": 2, "memory": "8 GB"},
}

WORDS = st.sampled_from(
    ["", "use", "when", "*", "files", "list", "grid", "npy", "raw", "auto", "local", "{case}", "{a}", "{", "}", "{}", "..", "/", "\0", "\n", "~nobody",
     "8 GB", "1e9 TB", "9" * 400, "zyx", "xx", "\udcff", "\ud800", "e\u0301", "\u202e", "[red]", "\x1b[31m", "curate-core:npy", "sample", "dataset"]
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**400), 1e308, 5e-324, float("nan"), float("inf")]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(WORDS, st.text(max_size=5)), inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where a value can be changed."""
    found = [above] if above else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        found += places(entry, (*above, key))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A good spec with one to three changes."""
    spec = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(spec)))
        target: Any = spec
        for key in way:
            target = target[key]
        what = draw(st.sampled_from(["replace", "replace", "remove", "add", "rename", "wrap"]))
        if what == "replace":
            target[last] = draw(VALUES)
        elif what == "remove":
            del target[last]
        elif what == "wrap":
            target[last] = draw(st.sampled_from([lambda v: [v], lambda v: {"use": v}, lambda v: [v, v]]))(target[last])
        elif what == "add" and isinstance(target, dict):
            target[draw(st.one_of(WORDS, st.text(max_size=5)))] = draw(VALUES)
        elif what == "rename" and isinstance(target, dict):
            target[draw(WORDS)] = target.pop(last)
        if not places(spec):
            break
    return spec


def judge(given_spec: Any, folder: Path, settings_: list[str] | None = None) -> Spec | None:
    """The spec, or None where it is refused in the way that it should be."""
    refused: RequestError
    try:
        return load(given_spec, default_host(), settings_ or [], folder)
    except RequestError as error:
        refused = error
    assert refused.exit_code == 2
    if not isinstance(refused, SpecError):
        assert refused.where or settings_
        return None
    assert refused.problems
    keys = set(GOOD) | {"$schema", "description"}
    for problem in refused.problems:
        assert problem.message
        top = problem.path.partition(".")[0]
        assert not top or top in keys or problem.message == "unknown key" or settings_, problem
        assert len(visible(str(problem))) < 20_000
    return None


@examples(150)
@given(mutated())
def test_changed_specs(tmp_path_factory: pytest.TempPathFactory, spec: dict[str, Any]) -> None:
    found = judge(spec, tmp_path_factory.getbasetemp())
    if found is not None:
        for step in found.steps():
            json.dumps(step.plain())
        assert load(json.loads(json.dumps(dict(found.given))), default_host(), (), found.folder).settings == found.settings


@examples(200)
@given(VALUES)
def test_any_values_as_a_file(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value))
    assert judge(path, path.parent) is None


@examples(200)
@given(st.one_of(st.binary(max_size=60), st.text('{}[]":,0123456789.-eEtrufalsn\\ud8', max_size=40).map(str.encode)))
def test_any_bytes_as_a_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    assert judge(path, path.parent) is None


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The text of a good spec with bytes changed, cut out or doubled."""
    text = bytearray(json.dumps(GOOD), "utf-8")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(text) - 1)))
        what = draw(st.sampled_from(["byte", "cut", "double", "end"]))
        if what == "byte":
            text[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif what == "cut":
            del text[at : at + draw(st.integers(1, 20))]
        elif what == "double":
            text[at:at] = text[at : at + draw(st.integers(1, 60))]
        else:
            del text[max(at, 1) :]
    return bytes(text)


@examples(200)
@given(damaged())
def test_damaged_text(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(content)
    judge(path, path.parent)


PATHS = st.one_of(
    st.sampled_from(
        ["rois.0.size", "rois.00.size", "rois.².size", "rois.-1", "rois.9" + "9" * 5000, "source", "read.*.axes", "", ".", "..", "x" * 300]
    ),
    st.lists(st.one_of(WORDS, st.text(max_size=4)), max_size=4).map(".".join),
)


@examples(250)
@given(PATHS, st.one_of(VALUES.map(json.dumps), st.text(max_size=10), st.sampled_from(["NaN", "[" * 2000, "9" * 5000, '"\\ud800"'])))
def test_settings_of_any_kind(tmp_path_factory: pytest.TempPathFactory, path: str, value: str) -> None:
    judge(GOOD, tmp_path_factory.getbasetemp(), [f"{path}={value}"])


# Templates and patterns.


FIELDS = st.dictionaries(
    st.sampled_from(["case", "roi", "split", "a1"]), st.one_of(st.text(max_size=12), st.integers(), NUMBERS, WORDS), max_size=4
)
TEMPLATES = st.lists(
    st.one_of(st.sampled_from(["{case}", "{roi}", "{split}", "{a1:04}", "{a1:>9}", "/", "/", "..", ".", "-", "{{", "}}", "x.npy", "{case!r}", "{0}"]),
              st.text(max_size=4)), max_size=6
).map("".join)  # fmt: skip


@examples(600)
@given(TEMPLATES, FIELDS)
def test_what_a_template_gives_stays_inside(text: str, values: dict[str, Any]) -> None:
    try:
        path = PathTemplate(text).render(values)
    except StepError:
        return
    assert path
    assert not path.startswith("/")
    assert ".." not in path.split("/")
    assert os.path.normpath(path) == path
    assert (Path("/out") / path).is_relative_to("/out")
    assert all(len(os.fsencode(part)) <= MAX_NAME_BYTES for part in path.split("/"))
    assert not re.search(r"[\x00-\x1f\x7f\\]", path)
    assert check_relative(path) == path


@examples(300)
@given(st.text(max_size=30), FIELDS)
def test_text_of_any_kind_as_a_template(text: str, values: dict[str, Any]) -> None:
    with suppress(StepError):
        PathTemplate(text).render(values)


NAMES = st.lists(st.text("ab01é_-. [](){}*?+^$\\|", min_size=1, max_size=6), min_size=1, max_size=5, unique=True)


@examples(150)
@given(NAMES, st.sampled_from(["{case}", "{case}-{n}", "{case}.{ext}", "{a}{b}", "*{case}", "?{case}", "{case}*"]))
def test_a_pattern_finds_names_and_their_fields(tmp_path_factory: pytest.TempPathFactory, names: list[str], pattern: str) -> None:
    """The fields put back into the pattern give the name again; what glob finds is found."""
    folder = tmp_path_factory.mktemp("names")
    for name in names:
        if name.strip(".") and not name.startswith("."):
            (folder / name).write_bytes(b"")
    found = find(folder, pattern)
    for match in found if not {"*", "?"} & set(pattern) else []:
        assert pattern.format_map(match.fields) == match.path.name
    if pattern == "{case}":
        assert {match.path.name for match in found} == {path.name for path in folder.iterdir()}
    names_found = [match.path.name for match in found]
    assert names_found == sorted(names_found, key=lambda name: (natural_key(name), name))


@examples(200)
@given(st.one_of(st.text(max_size=15), st.text("{}*/?.[a\\", max_size=12), WORDS))
def test_patterns_of_any_kind(tmp_path_factory: pytest.TempPathFactory, pattern: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "few"
    folder.mkdir(exist_ok=True)
    (folder / "a.npy").write_bytes(b"")
    if pattern.startswith("/") or ".." in pattern.split("/"):
        pattern = pattern.replace("/", "").replace("..", "")  # the rest of the machine takes long to look at
    with suppress(RequestError):
        find(folder, pattern)


@examples(300)
@given(st.text(max_size=30))
def test_nothing_that_is_shown_acts_on_a_terminal(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & {chr(code) for code in (*range(32), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x2028)}
    shown.encode("utf-8")
    if set(text) <= set(string.printable) - set("\t\n\r\x0b\x0c"):
        assert shown == text
