"""The JSON Schema says what the validator says, as far as a schema can."""

import copy
import json
import re
from functools import cache

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate_core.errors import SpecError
from curate_core.host import default_host
from curate_core.schema import spec_schema
from curate_core.spec import load

GOOD = {
    "$schema": "x.json",
    "version": 1,
    "name": "x",
    "source": {"use": "files", "pattern": ["{case}.npy", "more/{case}.npy"]},
    "read": {
        "*": {"use": "auto"},
        "ct": [{"use": "npy", "spacing": [1, 2.5, 3], "when": {"center": ["a", "b"]}}, {"use": "curate-core:npy"}],
    },
    "preprocess": [{"use": "to-uint8", "over": {"attribute": "scan"}}, {"use": "crop", "start": {"z": 3}, "when": {"a": True}}],
    "rois": [{"use": "grid", "size": "{tile}", "planes": None}],
    "transform": [{"use": "normalize", "over": "dataset"}],
    "filter": [{"use": "intensity", "min_std": 1}],
    "write": [{"use": "npy"}],
    "output": "out",
    "engine": {"use": "local", "memory": "8 GB", "workers": None},
}

BROKEN = {
    "no name": lambda s: s.pop("name"),
    "unknown key": lambda s: s.update(filters=[]),
    "wrong version": lambda s: s.update(version=2),
    "text for a number": lambda s: s.update(seed="1"),
    "unknown component": lambda s: s["rois"][0].update(use="grit"),
    "component of another kind": lambda s: s["rois"][0].update(use="intensity"),
    "unknown option": lambda s: s["rois"][0].update(siez=3),
    "missing option": lambda s: s["rois"][0].pop("size"),
    "below its bound": lambda s: s["rois"][0].update(size=0),
    "above its bound": lambda s: s["preprocess"][0].update(percentiles=[0, 101]),
    "a word that is none": lambda s: s["preprocess"][0].update(range="minmax"),
    "a list of the wrong length": lambda s: s["preprocess"][0].update(percentiles=[1]),
    "a step that is none": lambda s: s.update(rois=["grid"]),
    "no steps": lambda s: s.update(write=[]),
    "steps that are no list": lambda s: s.update(filter={"use": "intensity"}),
    "a scope that is none": lambda s: s["transform"][0].update(over="datasets"),
    "bytes that are none": lambda s: s["engine"].update(memory="8 XB"),
    "a template where none may be": lambda s: s["engine"].update(workers="{n}"),
    "options of auto": lambda s: s["read"]["*"].update(axes="zyx"),
}


@cache
def made():
    schema, left_out = spec_schema(default_host())
    assert left_out == []
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def validator():
    return made()


def test_both_take_a_good_spec(validator):
    assert [error.message for error in validator.iter_errors(GOOD)] == []
    assert load(GOOD, default_host()).name == "x"


@pytest.mark.parametrize("how", sorted(BROKEN))
def test_both_refuse_a_broken_spec(validator, how):
    spec = copy.deepcopy(GOOD)
    BROKEN[how](spec)
    assert not validator.is_valid(spec)
    with pytest.raises(SpecError):
        load(spec, default_host())


def test_every_option_is_described_with_its_default_and_bounds(validator):
    text = json.dumps(validator.schema)
    assert "Voxels of a tile" in text
    assert '"default": "case"' in text
    for step in ("source", "reader", "preprocessor", "roi_finder", "transform", "filter", "writer", "engine"):
        assert validator.schema["$defs"][step]
    assert '"minimum": 1' in text


def components(schema):
    """``kind.distribution:name`` -> its schema."""
    return {name: value for name, value in schema["$defs"].items() if ":" in name}


def test_every_option_has_a_description_and_a_default_that_it_takes_itself(validator):
    seen = 0
    for name, component in components(validator.schema).items():
        assert component["description"], name
        for option, described in component["properties"].items():
            if described is True:
                assert option in ("use", "when")
                continue
            assert described.get("description"), f"{name}: {option}"
            assert ("default" in described) == (option not in component.get("required", [])), f"{name}: {option}"
            if "default" in described:
                checked = validator.evolve(schema={**described, "$defs": validator.schema["$defs"]})
                assert checked.is_valid(described["default"]), f"{name}: {option}: {described['default']!r}"
                seen += 1
    assert seen > 20


def test_every_component_that_specs_can_name_is_in_it(validator):
    kinds = ("source", "reader", "preprocessor", "roi_finder", "transform", "filter", "writer", "engine")
    offered = {f"{kind}.{offer.qualified}" for kind in kinds for offer in default_host().offers(kind)}
    assert set(components(validator.schema)) == offered
    uses = validator.schema["$defs"]["roi_finder"]["properties"]["use"]["enum"]
    assert {"grid", "curate-core:grid"} <= set(uses)


def test_every_word_of_use_says_what_it_is(validator):
    """Editors show it beside the word."""
    for kind in ("source", "reader", "preprocessor", "roi_finder", "transform", "filter", "writer", "engine"):
        use = validator.schema["$defs"][kind]["properties"]["use"]
        said = dict(zip(use["enum"], use["enumDescriptions"], strict=True))
        for offer in default_host().offers(kind):
            assert said[offer.qualified] == offer.provider.summary
        assert all(said.values())


RICH = {
    **GOOD,
    "rois": [{"use": "grid", "size": ["{tile}", 8], "planes": ["xy"]}, {"use": "random", "size": 8, "count": 3}, {"use": "whole"}],
    "transform": [{"use": "normalize", "over": "dataset"}, {"use": "pad", "size": [8, 8]}, {"use": "cast", "dtype": "float32"}],
    "filter": [{"use": "intensity", "min_std": 1}, {"use": "limit", "count": 5, "within": "case", "when": {"split": ["a", None, 1]}}],
    "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
}
VALUES = [
    None, True, False, 0, 1, -1, 3, 8, 0.5, -2.5, 101, "", "a", "xy", "{a}", "{a}b", "case", "dataset", "8 GB", "~", "auto", "grid",
    "curate-core:grid", "uint8", [], [1], [1, 2], ["{a}", 2], ["{a}", "b"], ["{a}", -1], [[1]], ["xy", "xz"], {}, {"use": "auto"},
    {"use": "grid", "size": 4}, {"use": "npy"}, {"attribute": "a"}, {"attribute": 1}, {"a": 1}, {"a": [1, "b"]}, {"a": []}, {"a": {"b": 1}},
    {"z": 3}, {"z": -1}, [{"use": "npy"}], [{"use": "files", "pattern": "x"}],
]  # fmt: skip


def places(value, path=()):
    """Every place in a spec, from the top down."""
    yield path
    for key, entry in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(entry, (*path, key))


def option_names(schema):
    return sorted({name for component in components(schema).values() for name in component["properties"]} | set(schema["properties"]))


def mutated(spec, where, how, key, value):
    spec = copy.deepcopy(spec)
    target = spec
    for part in where[:-1]:
        target = target[part]
    last = where[-1]
    if how == "remove":
        del target[last]
    elif how == "add" and isinstance(target[last], dict):
        target[last][key] = copy.deepcopy(value)
    elif how == "add" and isinstance(target[last], list):
        target[last].append(copy.deepcopy(value))
    else:
        target[last] = copy.deepcopy(value)
    return spec


def refusals(spec):
    try:
        load(spec, default_host())
    except SpecError as error:
        return error.problems
    return ()


CHANGE = st.tuples(st.integers(0, 999), st.sampled_from(["replace", "add", "remove"]), st.integers(0, 999), st.sampled_from(VALUES))


@pytest.mark.slow
@given(changes=st.lists(CHANGE, min_size=1, max_size=2))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_schema_and_validator_agree_on_specs_that_nobody_wrote_down(changes):
    spec, validator = RICH, made()
    names = option_names(validator.schema)
    for place, how, name, value in changes:
        inside = [where for where in places(spec) if where]
        spec = mutated(spec, inside[place % len(inside)], how, names[name % len(names)], value)
    refused = refusals(spec)
    if validator.is_valid(spec):
        alone = re.compile(r"source|engine|read\.[^.]+(\.\d+)?|\w+\.\d+")  # a component's own judgement of its options taken together
        assert [str(problem) for problem in refused if not alone.fullmatch(problem.path)] == [], spec
    else:
        assert refused, (spec, [error.message for error in validator.iter_errors(spec)])
