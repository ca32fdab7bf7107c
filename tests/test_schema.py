"""The JSON Schema says what the validator says, as far as a schema can."""

import copy
import json

import jsonschema
import pytest

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


@pytest.fixture(scope="module")
def validator():
    schema, left_out = spec_schema(default_host())
    assert left_out == []
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


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
