"""Configurations of nucli-train, in each dialect, as specs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from curate_pet.nucli import NucliImporter

from curate_core import RequestError
from curate_core.host import default_host
from curate_core.spec import validate
from curate_core.structure import structure
from curate_core.testing import ImporterTests

FOLDER = Path("/data")
BASE = "src_dir: /storage\nsave_dir: out/pet\n"
PLAIN = """
train:
  d1:
    a:
      fdg:
        inputs: [ct, 25pc]
        targets: [100pc, organs]
        patients: 12
"""


class TestNucliImporter(ImporterTests):
    component = NucliImporter
    text = BASE + PLAIN
    needs = ("curate-blosc2",)


def convert(text: str, **options: Any) -> Any:
    made = structure(options, NucliImporter, FOLDER).convert(text, FOLDER)
    assert json.loads(json.dumps(made)) == made
    return made


def refused(text: str, **options: Any) -> str:
    with pytest.raises(RequestError) as caught:
        convert(text, **options)
    return str(caught.value)


def test_the_documents_own_shape():
    spec = convert(
        BASE
        + """
train:
        dataset:
                center:
                        tracer:
                                inputs : [ct, 25pc] # just an example
                                targets: [100pc, organs] # just an example
                                patients : 40
val:
        dataset:
                center:
                        tracer:
                                inputs : [ct, 25pc] # just an example
                                targets: [100pc, organs] # just an example
                                patients : [a001, a.2, 007, 1.10, yes]
                                resample_to : 100pc #optional
                                target_spacing : [2.0, 2.0, 3.5] # optional

patch_size : [128.0, 128., 96] # if one of three is -1, save 2D slices
"""
    )
    where = {"dataset": "dataset", "center": "center", "tracer": "tracer"}
    layers = {"inputs": ["ct", "25pc"], "targets": ["100pc", "organs"]}
    name = "100pc at 2 x 2 x 3.5"
    assert spec["source"] == {
        "use": "cohorts",
        "root": "/storage",
        "pattern": "{dataset}/{center}/{tracer}/{layer}/{case}.nii.gz",
        "id": "{dataset}/{center}/{tracer}/{case}",
        "person": ["dataset", "center", "case"],
        "cohorts": [
            {"split": "train", "where": where, "cases": 40, **layers},
            {"split": "val", "where": where, "cases": ["a001", "a.2", "007", "1.10", "yes"], **layers, "attributes": {"grid": name}},
        ],
    }
    assert spec["preprocess"] == [
        {"use": "transpose", "axes": "xyz"},
        {"use": "resample", "to": "100pc", "spacing": [2.0, 2.0, 3.5], "labels": ["organs"], "when": {"grid": name}},
    ]
    assert spec["rois"] == [{"use": "whole"}]
    assert spec["write"] == [{"use": "blosc2", "path": "{dataset}/{center}/{tracer}/{array}/{patient}.b2nd", "patch": [128, 128, 96]}]
    assert spec["output"] == "/data/out/pet"
    assert spec["name"] == "pet"


def test_named_pairs_have_one_set_of_patients():
    pairs = "\n".join(
        f"        {name}:\n          inputs: [ct, {dose}]\n          targets: [organs, {dose}]\n          patients: {{}}"
        for name, dose in (("pair1", "10pc"), ("pair2", "50pc"))
    )
    head = BASE + "train:\n  d1:\n    a:\n      fdg:\n"
    cohort = convert(head + pairs.format(3, 3))["source"]["cohorts"][0]
    assert cohort["cases"] == 3
    assert cohort["pairs"] == {
        "pair1": {"inputs": ["ct", "10pc"], "targets": ["organs", "10pc"]},
        "pair2": {"inputs": ["ct", "50pc"], "targets": ["organs", "50pc"]},
    }
    assert refused(head + pairs.format("3", "4")) == (
        "train.d1.a.fdg: the pairs pair1, pair2 ask for different patients, and a tracer's pairs have one set "
        "(ask for the same in all, or set share_patients: false (--separate-patients))"
    )
    for text, options in ((pairs + "\n        share_patients: false", {}), (pairs, {"separate_patients": True})):
        own = convert(head + text.format("3", "[x, y]"), **options)["source"]["cohorts"][0]
        assert own["share_patients"] is False
        assert [pair["cases"] for pair in own["pairs"].values()] == [3, ["x", "y"]]
    assert convert(head + pairs.format("[x, y]", "[y, x]"))["source"]["cohorts"][0]["cases"] == ["x", "y"]


def test_the_other_dialects():
    around = convert(BASE + "train: {d1: {a: {fdg: {pairs: {low: {inputs: [10pc], targets: [100pc]}}, patients: all}}}}")
    assert around["source"]["cohorts"][0]["pairs"] == {"low": {"inputs": ["10pc"], "targets": ["100pc"]}}
    assert around["source"]["cohorts"][0]["cases"] == "all"
    other = convert(BASE + "train: {d1: {a: {fdg: {modalities: [ct], segmentations: [tumour], patients: [a]}}}}\ntarget_spacing: [1, 1, 1]")
    assert other["source"]["cohorts"][0]["inputs"] == ["ct"]
    assert other["source"]["cohorts"][0]["targets"] == ["tumour"]
    assert other["preprocess"][1] == {"use": "resample", "spacing": [1.0, 1.0, 1.0], "labels": ["organs", "tumour"]}
    anchors = BASE + "train: {d1: {a: {fdg: &it {inputs: [ct], targets: [], patients: 2}, psma: {<<: *it, patients: 1}}}}"
    assert [cohort["cases"] for cohort in convert(anchors)["source"]["cohorts"]] == [2, 1]
    assert convert(anchors)["source"]["cohorts"][1]["targets"] == []


def test_the_top_level_overrides_a_tracers_spacing():
    text = BASE + "train: {d: {a: {t: {inputs: [ct], targets: [], patients: 1, target_spacing: [3, 3, 3], resample_to: ct}}}}"
    assert convert(text)["preprocess"][1]["spacing"] == [3.0, 3.0, 3.0]
    assert convert(text + "\ntarget_spacing: [2, 2, 2]")["preprocess"][1]["spacing"] == [2.0, 2.0, 2.0]
    assert "when" not in convert(text)["preprocess"][1], "all are resampled alike"


def test_coordinates_imply_npy():
    coords = BASE + PLAIN + "patch_size: [64.0, 64.0, 32.0]\npatch_coords: coords.npy\n"
    spec = convert(coords)
    assert spec["rois"] == [{"use": "coordinates", "file": "/data/coords.npy", "size": [64, 64, 32]}]
    assert spec["write"] == [{"use": "npy", "path": "{split}/{array}.npy", "stack": True, "pairs": True, "dtype": "float32"}]
    flag = convert(BASE + PLAIN + "patch_size: [64, 64, 32]", patch_coords="/elsewhere/coords", format="npy")
    assert flag["rois"][0]["file"] == "/elsewhere/coords"
    assert refused(coords, format="blosc2") == (
        "patch_coords: coordinates of patches are for npy, not for blosc2 (leave out --format or the coordinates)"
    )
    assert refused(BASE + PLAIN + "patch_coords: c.npy") == "patch_size: patches need a size (such as patch_size: [128, 128, 128])"


def test_without_coordinates_npy_tiles_the_volumes():
    assert convert(BASE + PLAIN + "patch_size: [64, 64, 32]", format="npy")["rois"] == [
        {"use": "grid", "size": [64, 64, 32], "edge": "shift"}
    ]


@pytest.mark.parametrize("kind", ["npy", "blosc2", "hdf5"])
def test_minus_one_makes_slices(kind):
    spec = convert(BASE + PLAIN + "patch_size: [128, -1, 96]", format=kind)
    assert spec["rois"] == [{"use": "grid", "planes": ["xz"], "size": [128, 96], "edge": "shift"}]
    assert spec["write"][0]["use"] == kind


def test_hdf5():
    step = {"use": "hdf5", "file": "data.h5", "path": "{split}/{dataset}/{center}/{tracer}/{patient}/{array}"}
    assert convert(BASE + PLAIN, format="hdf5")["write"] == [step]
    assert convert(BASE + PLAIN + "patch_size: [9, 8, 7]", format="hdf5")["write"] == [{**step, "patch": [9, 8, 7]}]


FULL = "train: {d: {a: {t: %s}}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- train", "expected keys such as train, val, src_dir and save_dir, got a list"),
        ("", "expected keys such as train, val, src_dir and save_dir, got nothing"),
        ("trian: {}", "trian: unknown key (did you mean 'train'?)"),
        ("train:", "train: no split asks for any patients (put dataset, center and tracer under train or val)"),
        ("train: [a]", "train: expected a mapping from dataset to what it holds, got a list"),
        ("train: {d: {a: 3}}", "train.d.a: expected a mapping from tracer to what it holds, got '3'"),
        ("train: {d: {inputs: [ct]}}", "train.d.inputs: inputs stands where a center should be named (the levels are dataset > center > tracer)"),
        (FULL % "{}", "train.d.a.t: no pair asks for any layers (give inputs, targets and patients)"),
        (FULL % "{inputs: [ct], targets: [], patients: 3, patient: 4}", "train.d.a.t.patient: unknown key (did you mean 'patients'?)"),
        (FULL % "{pairs: {p: {inputs: [ct], target: []}}, patients: 1}", "train.d.a.t.pairs.p.target: unknown key (did you mean 'targets'?)"),
        (FULL % "{p: [ct]}", "train.d.a.t.p: expected inputs, targets and patients, got a list"),
        (FULL % "{inputs: [ct], patients: 1}", "train.d.a.t: targets are missing (an empty list, [], is self-supervised)"),
        (FULL % "{inputs: [ct], modalities: [ct], targets: [], patients: 1}", "train.d.a.t: inputs and modalities say the same"),
        (FULL % "{inputs: [], targets: [], patients: 1}", "train.d.a.t.inputs: there is no layer to go in"),
        (FULL % "{inputs: [ct, ct], targets: [], patients: 1}", "train.d.a.t.inputs: ct, ct names one twice"),
        (FULL % "{inputs: [[ct]], targets: [], patients: 1}", "train.d.a.t.inputs.0: expected a name, got a list"),
        (FULL % "{inputs: [ct], targets: []}", "train.d.a.t.patients: patients are missing"),
        (FULL % "{inputs: [ct], targets: [], patients: 2.5}",
         "train.d.a.t.patients: expected a number of patients, a list of their ids, or all, got '2.5'"),
        (FULL % "{inputs: [ct], targets: [], patients: []}", "train.d.a.t.patients: the list of patients is empty"),
        (FULL % "{inputs: [ct], targets: [], patients: 1, share_patients: 7}",
         "train.d.a.t.share_patients: expected true or false, got '7'"),
        (FULL % "{inputs: [ct], targets: [], patients: 1, target_spacing: [1, 2]}",
         "train.d.a.t.target_spacing: expected three numbers, got ['1', '2']"),
        (FULL % "{inputs: [ct], targets: [], patients: 1, target_spacing: [1, 2, 0]}",
         "train.d.a.t.target_spacing: expected three lengths above 0, got ['1', '2', '0']"),
        (FULL % "{inputs: [ct], targets: [], patients: 1, resample_to: cz}",
         "train.d.a.t.resample_to: layer 'cz' is none of the inputs and targets (one of 'ct')"),
        (PLAIN + "patch_size: [64, -1, -1]",
         "patch_size: expected three whole numbers of voxels, of which one may be -1, got ['64', '-1', '-1']"),
        (PLAIN + "patch_size: [64, 64.5, 64]",
         "patch_size: expected three whole numbers of voxels, of which one may be -1, got ['64', '64.5', '64']"),
        (PLAIN + "patch_size: [64, 64, x]", "patch_size: expected three numbers, got ['64', '64', 'x']"),
        ("train: {d: {a: {t: {inputs: [ct], inputs: [pet]}}}}",
         "line 3, column 35: the configuration is no plain YAML: the key 'inputs' is there twice, on line 3 too"),
        ("train: !!python/object/apply:os.system [ls]",
         "line 3, column 8: the configuration is no plain YAML: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("train: {", "line 3, column 9: the configuration is no plain YAML: expected the node content, but found '<stream end>'"),
    ],
)  # fmt: skip
def test_mistakes_are_named_by_their_place(text, message):
    base = BASE if text and not text.startswith("-") else ""
    assert refused(base + text) == message


def test_folders_must_be_given():
    assert refused(PLAIN + "src_dir: /x") == "save_dir: the folder is missing"
    assert refused(PLAIN + "save_dir: /x") == "src_dir: the folder is missing"


@pytest.mark.parametrize("kind", ["npy"])
def test_what_comes_out_is_a_valid_spec(kind, tmp_path):
    for extra in ("patch_size: [64, 64, 32]", "patch_size: [64, -1, 32]\ntarget_spacing: [2, 2, 2]"):
        validate(convert(BASE + PLAIN + extra, format=kind), default_host(), tmp_path, "spec")
