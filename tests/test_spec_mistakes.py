"""Mistakes that people make in specs: each is found, with its place in the file, what was expected and the nearest right word."""

import copy
import json

import jsonschema
import pytest

from curate_core.cli.main import main
from curate_core.errors import SpecError
from curate_core.host import default_host
from curate_core.schema import spec_schema
from curate_core.spec import load

GOOD = {
    "version": 1,
    "name": "x",
    "source": {"use": "files", "pattern": "{case}.npy"},
    "read": {"*": {"use": "npy", "axes": "zyx"}},
    "preprocess": [{"use": "to-uint8", "range": "type"}],
    "rois": [{"use": "grid", "size": 8, "planes": ["xy"]}],
    "transform": [{"use": "pad", "size": 8}],
    "filter": [{"use": "intensity", "min_std": 1.0}, {"use": "limit", "count": 5, "within": "case"}],
    "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
    "output": "out",
    "engine": {"use": "local", "workers": 0, "memory": "1 GB"},
}


def change(path: str, value) -> dict:
    """The good spec with one value replaced, or removed where it is ``...``."""
    spec = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    target = spec
    for key in parents:
        target = target[int(key)] if isinstance(target, list) else target[key]
    key = int(last) if isinstance(target, list) else last
    if value is ...:
        del target[key]
    else:
        target[key] = value
    return spec


MISTAKES = [
    ("version", 2, "version: this curate reads specs of version 1, not 2"),
    ("version", ..., "option 'version' is missing (Version of the spec's grammar)"),
    ("name", ..., "option 'name' is missing (What the dataset is called)"),
    ("name", "", "name: must not be empty"),
    ("name", 7, "name: expected text, got 7"),
    ("output", ..., "option 'output' is missing (Folder of the dataset, relative to the spec file)"),
    ("seed", "1", 'seed: expected a whole number, got "1"'),
    ("seed", 1.5, "seed: expected a whole number, got 1.5"),
    ("seed", True, "seed: expected a whole number, got true"),
    ("on_error", "halt", 'on_error: expected one of "quarantine", "stop", got "halt"'),
    ("filters", [], "filters: unknown key (did you mean 'filter'?)"),
    ("source", ..., "source: a spec needs a source"),
    ("source", "files", 'source: expected a step: an object with "use"'),
    ("source.use", "flies", "source.use: there is no source 'flies' (did you mean 'files'?)"),
    ("source.patern", "x", "source.patern: unknown option 'patern' (did you mean 'pattern'?)"),
    ("source.when", {"a": 1}, "source.when: a spec has one source, which always applies"),
    ("read", [], 'read: expected an object: layer name, or "*", to reader'),
    ("read.*", {"use": "auto", "axes": "zyx"}, 'read.*.axes: "auto" has no options (name the reader instead)'),
    ("read.*.spacing", [1, -1, 1], "read.*.spacing: -1.0 must be greater than 0"),
    ("preprocess", {"use": "invert"}, "preprocess: expected a list of steps (put it in [ ])"),
    ("preprocess.0", {"used": "invert"}, "\"use\" must name a component (did you mean 'used'?)"),
    ("preprocess.0.range", "minmax", 'preprocess.0.range: expected one of "type", "bits", "min-max", "percentile", got "minmax" (did you mean \'min-max\'?)'),
    ("rois", ..., "rois: a spec needs at least one step under 'rois'"),
    ("rois", [], "rois: a spec needs at least one step under 'rois'"),
    ("rois.0.use", "intensity", "rois.0.use: 'intensity' is a filter, not a ROI finder"),
    ("rois.0.size", 0, "rois.0.size: 0 must be at least 1"),
    ("rois.0.size", ..., "rois.0: option 'size' is missing"),
    ("rois.0.planes", "xy", "rois.0.planes: expected a list, got \"xy\""),
    ("rois.0.planes", ["xy", 3], "rois.0.planes.1: expected text, got 3"),
    ("transform.0.when", "train", "transform.0.when: expected an object: attribute to value, or to a list of values"),
    ("transform.0.when", {"split": {"a": 1}}, "transform.0.when.split: expected a plain value or a list of them"),
    ("filter.0", {"use": "intensity"}, "filter.0: no bound is set, so that nothing would ever be dropped: set min_std or another"),
    ("filter.1.count", "{n}", 'filter.1.count: expected a whole number, got "{n}"'),
    ("filter.1.within", "cases", 'filter.1.within: expected "sample", "case", "dataset" or {"attribute": name}, got "cases" (did you mean \'case\'?)'),
    ("filter.1.within", "sample", 'filter.1: within: "sample" would keep or drop all: use "case" or "dataset"'),
    ("write.0.path", "{case}/{roi}", "write.0: path: '{case}/{roi}' must end with .npy"),
    ("write.0.path", "{case!r}.npy", "write.0: {case} in the path '{case!r}.npy' is not a plain name"),
    ("write.0.dtype", "float31", "write.0: dtype: 'float31' is not the name of a NumPy type"),
    ("engine.memory", "8 XB", 'engine.memory: expected bytes such as 8000000 or "8 GB", got \'8 XB\''),
    ("engine.workers", -1, "engine.workers: -1 must be at least 0"),
    ("engine.use", "teleport", "engine.use: there is no engine 'teleport' (one of "),
]  # fmt: skip


def problems(spec: dict, **options) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(spec, default_host(), **options)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture(scope="module")
def schema():
    return jsonschema.Draft202012Validator(spec_schema(default_host())[0])


def test_the_good_spec_is_good(schema):
    assert load(GOOD, default_host()).name == "x"
    assert schema.is_valid(GOOD)


@pytest.mark.parametrize(("path", "value", "said"), MISTAKES)
def test_a_mistake_is_named_with_its_place(path, value, said):
    (found,) = problems(change(path, value))
    assert found.startswith(said) or found.endswith(said), found


BEYOND_A_SCHEMA = (
    "no bound is set",
    "would keep or drop all",
    "must end with .npy",
    "is not a plain name",
    "is not the name of a NumPy type",
)
"""What only a component itself can judge."""


@pytest.mark.parametrize(("path", "value", "said"), MISTAKES)
def test_editors_see_it_too(schema, path, value, said):
    assert schema.is_valid(change(path, value)) == any(words in said for words in BEYOND_A_SCHEMA)


def test_all_mistakes_are_reported_at_once(tmp_path, capsys):
    spec = change("filters", [])
    spec["seed"] = "1"
    spec["source"]["use"] = "flies"
    spec["rois"][0]["size"] = 0
    spec["rois"][0]["plane"] = "xy"
    spec["engine"]["memory"] = "8 XB"
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert main(["check", str(tmp_path / "spec.json")]) == 2
    said = capsys.readouterr().err
    assert "6 mistakes" in said
    for place in ("filters:", "seed:", "source.use:", "rois.0.size:", "rois.0.plane:", "engine.memory:"):
        assert f"  {place} " in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"version": 1,}', r"this is not JSON: .* \(line 1, column"),
        ('{"name": "a", "name": "b"}', "the key 'name' stands twice in one object"),
        ('{"seed": NaN}', "this is not JSON: NaN is not a JSON number"),
        ("[" * 100 + "]" * 100, "nested"),
        ("[]", "a spec is an object"),
        ('"' + "x" * (17 << 20) + '"', "the file has 18 MB, a spec has at most 16"),
    ],
)
def test_files_that_are_no_specs(tmp_path, text, said):
    (tmp_path / "spec.json").write_text(text)
    with pytest.raises(SpecError, match=said) as caught:
        load(tmp_path / "spec.json", default_host())
    assert caught.value.exit_code == 2
    assert str(tmp_path / "spec.json") in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("rois.0.size", r"--set takes KEY=VALUE, such as rois.0.size=256, got 'rois.0.size'"),
        ("rois.4.size=3", "--set wants an index below 1, got '4'"),
        ("name.x=3", "--set cannot reach into"),
        ("rois.0.size=big", "rois.0.size: expected a whole number or a list, got \"big\""),
    ],
)  # fmt: skip
def test_overrides_that_lead_nowhere(setting, said):
    assert any(said in problem for problem in problems(GOOD, settings=[setting]))
