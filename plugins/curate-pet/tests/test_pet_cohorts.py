"""Who is taken: splits, draws, pairs, patients who lack a layer."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, ClassVar

import pytest
from curate_pet.cohorts import CohortsSource

from curate_core import RequestError, Role
from curate_core.structure import structure
from curate_core.testing import SourceTests

PATTERN = "{dataset}/{center}/{tracer}/{layer}/{case}.nii.gz"
LAYERS = ("ct", "10pc", "50pc", "100pc", "organs")


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        file = root / f"{path}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Twelve patients with all layers, ids with dots; ``p03`` has no CT, ``p.07.b`` no organs."""
    root = tmp_path / "storage"
    for i in range(12):
        name = f"p.{i:02}.b" if i % 7 == 0 else f"p{i:02}"
        for layer in LAYERS:
            if (name, layer) not in (("p03", "ct"), ("p.07.b", "organs")):
                touch(root, f"d1/a/fdg/{layer}/{name}")
    return root


COMPLETE = ["p01", "p02", "p04", "p05", "p06", "p08", "p09", "p10", "p11", "p.00.b"]
FDG = {"where": {"tracer": "fdg"}, "inputs": ["ct", "10pc"], "targets": ["organs", "100pc"]}


def find(root: Path, cohorts: Any, seed: int = 0, **options: Any) -> dict[str, Any]:
    given = {"root": str(root), "pattern": PATTERN, "cohorts": cohorts, "incomplete": "ignore", **options}
    return {case.id: case for case in structure(given, CohortsSource, root).find_seeded(seed)}


def split(found: dict[str, Any], name: str) -> list[str]:
    return [case for case, source in found.items() if source.attributes["split"] == name]


def refused(root: Path, cohorts: Any, **options: Any) -> str:
    with pytest.raises(RequestError) as caught:
        find(root, cohorts, **options)
    return str(caught.value)


def test_all_who_have_every_layer(storage):
    found = find(storage, [{"split": "train", **FDG}])
    assert list(found) == COMPLETE
    case = found["p.00.b"]
    assert list(case.layers) == ["ct", "10pc", "organs", "100pc"], "those asked for, in that order"
    assert case.layers["organs"].files == (storage / "d1/a/fdg/organs/p.00.b.nii.gz",)
    assert case.attributes == {"patient": "p.00.b", "dataset": "d1", "center": "a", "tracer": "fdg", "split": "train", "pair": "main"}
    assert case.roles == {"main": Role(("ct", "10pc"), ("organs", "100pc"))}


def test_patients_who_lack_a_layer_are_set_aside_with_the_path_that_was_looked_for(storage):
    found = find(storage, [{"split": "train", "cases": 3, **FDG}, {"split": "val", "cases": 2, **FDG}], incomplete="report")
    lacking = {name: case for name, case in found.items() if any(not file.exists() for file in case.files())}
    assert list(lacking) == ["p03", "p.07.b"], "each once, in natural order"
    assert lacking["p03"].layers["ct"].files == (storage / "d1/a/fdg/ct/p03.nii.gz",)
    assert lacking["p.07.b"].layers["organs"].files == (storage / "d1/a/fdg/organs/p.07.b.nii.gz",)
    assert len(found) == 3 + 2 + 2
    assert refused(storage, [{"split": "train", **FDG}], incomplete="error") == (
        "source.cohorts.0.cases: 2 patients lack a layer: p03 (no ct), p.07.b (no organs)"
    )


def test_numbers_are_drawn_by_the_seed(storage):
    cohorts = [{"split": "train", "cases": 4, **FDG}]
    draws = [list(find(storage, cohorts, seed)) for seed in range(20)]
    assert all(len(draw) == 4 for draw in draws)
    assert all(draw == list(find(storage, cohorts, seed)) for seed, draw in enumerate(draws))
    assert len({tuple(draw) for draw in draws}) > 15
    assert set(itertools.chain(*draws)) == set(COMPLETE)


def test_a_new_patient_changes_a_draw_little(storage):
    before = [set(find(storage, [{"split": "train", "cases": 4, **FDG}], seed)) for seed in range(10)]
    touch(storage, *(f"d1/a/fdg/{layer}/p99" for layer in LAYERS))
    after = [set(find(storage, [{"split": "train", "cases": 4, **FDG}], seed)) for seed in range(10)]
    assert all(len(old - new) <= 1 for old, new in zip(before, after, strict=True))


def test_nobody_is_in_two_splits(storage):
    for seed in range(10):
        found = find(storage, [{"split": "train", "cases": 6, **FDG}, {"split": "val", "cases": 4, **FDG}], seed)
        assert sorted(split(found, "train") + split(found, "val")) == sorted(COMPLETE)
        rest = find(storage, [{"split": "train", "cases": 6, **FDG}, {"split": "val", "cases": "all", **FDG}], seed)
        assert split(rest, "val") == split(found, "val")
        listed = find(storage, [{"split": "train", "cases": 8, **FDG}, {"split": "val", "cases": ["p01", "p.00.b"], **FDG}], seed)
        assert set(split(listed, "train")) == set(COMPLETE) - {"p01", "p.00.b"}, "a number draws among those whom no list names"


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (["p01", "p02"], ["p02"],
         "source.cohorts.1.cases: patient 'p02' would be in the split 'val' and, by source.cohorts.0.cases, in 'train' "
         "(a patient belongs to one split)"),
        ("all", ["p02"], "source.cohorts.0.cases: patient 'p02' would be in the split 'train' and, by source.cohorts.1.cases, in 'val' "
         "(a patient belongs to one split)"),
        ("all", "all", "source.cohorts.1.cases: no patient is left: 10 of 12 patients have ct, 10pc, organs, 100pc, 10 of them in other splits"),
        (8, 3, "source.cohorts.1.cases: 3 patients are asked for, 2 are left: 10 of 12 patients have ct, 10pc, organs, 100pc, "
         "8 of them in other splits (ask for fewer)"),
        (11, 1, "source.cohorts.0.cases: 11 patients are asked for, 10 are left: 10 of 12 patients have ct, 10pc, organs, 100pc, "
         "0 of them in other splits (ask for fewer)"),
        (["p01", "p1"], 1, "source.cohorts.0.cases: there is no case 'p1' among the 12 of this cohort (did you mean 'p11'?)"),
        (["p03"], 1, "source.cohorts.0.cases: case 'p03' has no ct (it has 100pc, 10pc, 50pc, organs)"),
        (["p01", "p01"], 1, "source.cohorts.0.cases: case 'p01' is named twice"),
    ],
)  # fmt: skip
def test_splits_that_cannot_be(storage, train, val, message):
    assert refused(storage, [{"split": "train", "cases": train, **FDG}, {"split": "val", "cases": val, **FDG}]) == message


PAIRS = {
    "low": {"inputs": ["ct", "10pc"], "targets": ["organs", "100pc"]},
    "half": {"inputs": ["ct", "50pc"], "targets": ["organs", "100pc"]},
}


def test_a_patient_of_two_pairs_is_one_case(storage):
    (storage / "d1/a/fdg/50pc/p11.nii.gz").unlink()
    found = find(storage, [{"split": "train", "cases": "all", "pairs": PAIRS}])
    assert list(found) == [name for name in COMPLETE if name != "p11"], "candidates have the layers of all pairs"
    case = found["p01"]
    assert list(case.layers) == ["ct", "10pc", "organs", "100pc", "50pc"]
    assert case.attributes["pair"] == ["low", "half"]
    assert case.roles == {"low": Role(("ct", "10pc"), ("organs", "100pc")), "half": Role(("ct", "50pc"), ("organs", "100pc"))}


def test_pairs_of_other_patients_must_say_so(storage):
    pairs = {"low": {**PAIRS["low"], "cases": 3}, "half": {**PAIRS["half"], "cases": ["p01", "p02"]}}
    assert refused(storage, [{"split": "train", "pairs": pairs}]) == (
        "source.cohorts.0: the pairs ask for different patients (low: 3, half: 'p01' or 'p02') "
        '(give all one set, or set "share_patients": false)'
    )
    same = {name: {**pair, "cases": order} for (name, pair), order in zip(PAIRS.items(), (["p01", "p02"], ["p02", "p01"]), strict=True)}
    assert list(find(storage, [{"split": "train", "pairs": same}])) == ["p01", "p02"]
    for seed in range(5):
        found = find(storage, [{"split": "train", "pairs": pairs, "share_patients": False}], seed)
        of = {name: [case for case, source in found.items() if name in source.roles] for name in PAIRS}
        assert len(of["low"]) == 3
        assert of["half"] == ["p01", "p02"]
        for source in found.values():
            names = list(source.roles)
            assert source.attributes["pair"] == (names[0] if len(names) == 1 else names)
            assert ("50pc" in source.layers) == ("half" in names)


def test_several_cohorts_may_have_a_patient_if_they_agree(storage):
    one, other = ({"split": "train", "cases": ["p01"], "pairs": {name: pair}} for name, pair in PAIRS.items())
    assert find(storage, [one, other])["p01"].attributes["pair"] == ["low", "half"]
    changed = {**other, "attributes": {"spacing": 2.0}}
    assert refused(storage, [one, changed]) == (
        "source.cohorts.1.cases: case 'p01' is also in source.cohorts.0.cases, which gives it another spacing"
    )
    again = {"split": "train", "cases": ["p01"], "pairs": {"low": PAIRS["half"]}}
    assert refused(storage, [one, again]) == (
        "source.cohorts.1.cases: case 'p01' is also in source.cohorts.0.cases, where the pair 'low' has other layers "
        "(give the pairs different names)"
    )


def test_self_supervised_cohorts_have_no_targets(storage):
    found = find(storage, [{"split": "train", "cases": ["p03"], "inputs": ["100pc"], "attributes": {"spacing": [2.0, 2.0, 2.0]}}])
    assert found["p03"].roles == {"main": Role(("100pc",), ())}
    assert list(found["p03"].layers) == ["100pc"]
    assert found["p03"].attributes["spacing"] == [2.0, 2.0, 2.0]


def test_one_name_in_two_centers(storage):
    touch(storage, *(f"d1/b/fdg/{layer}/p01" for layer in LAYERS))
    message = refused(storage, [{"split": "train", "inputs": ["ct"]}])
    assert message == (
        f"source.id: two patients are called 'p01': {storage}/d1/a/fdg/100pc/p01.nii.gz and {storage}/d1/b/fdg/100pc/p01.nii.gz "
        '(tell them apart, for example with "id": "{dataset}/{center}/{tracer}/{case}")'
    )
    unique = {"id": "{center}/{case}"}
    found = find(
        storage,
        [{"split": "train", "where": {"center": "b"}, "inputs": ["ct"]}, {"split": "val", "cases": ["p02"], "inputs": ["ct"]}],
        **unique,
    )
    assert list(found) == ["a/p02", "b/p01"]
    assert refused(storage, [{"split": "train", "cases": ["p01"], "inputs": ["ct"]}], **unique) == (
        "source.cohorts.0.cases: 'p01' may be a/p01 or b/p01 (name the case by its whole id)"
    )
    assert list(find(storage, [{"split": "train", "cases": ["a/p01"], "inputs": ["ct"]}], **unique)) == ["a/p01"]


def test_a_patient_scanned_with_two_tracers_is_one_person(storage):
    touch(storage, *(f"d1/a/psma/{layer}/p01" for layer in LAYERS), *(f"d1/a/psma/{layer}/p77" for layer in LAYERS))
    cohorts = [
        {"split": "train", "where": {"tracer": "fdg"}, "cases": ["p01"], "inputs": ["ct"]},
        {"split": "val", "where": {"tracer": ["psma", "dotatate"]}, "cases": "all", "inputs": ["ct"]},
    ]
    options = {"id": "{tracer}/{case}", "person": ["dataset", "center", "case"]}
    assert list(find(storage, cohorts, **options)) == ["fdg/p01", "psma/p77"]
    listed = [cohorts[0], {**cohorts[1], "cases": ["p01"]}]
    assert refused(storage, listed, **options) == (
        "source.cohorts.1.cases: patient 'd1/a/p01' would be in the split 'val' and, by source.cohorts.0.cases, in 'train' "
        "(a patient belongs to one split)"
    )
    assert list(find(storage, listed, id="{tracer}/{case}")) == ["fdg/p01", "psma/p01"], "by default the id tells the patient"


def test_any_layout(tmp_path):
    touch(tmp_path, "sub-1/CT/scan", "sub-1/pet_v2", "sub-2/CT/scan", "sub-2/pet_v1")
    pattern = {"ct": "sub-{case}/CT/*.nii.gz", "pet": "sub-{case}/pet_*.{ext}"}
    found = find(tmp_path, [{"split": "train", "inputs": ["ct"], "targets": ["pet"]}], pattern=pattern)
    assert list(found) == ["1", "2"]
    assert found["2"].layers["pet"].files == (tmp_path / "sub-2/pet_v1.nii.gz",)
    (tmp_path / "sub-2/pet_v1.nii.gz").unlink()
    found = find(tmp_path, [{"split": "train", "inputs": ["ct"], "targets": ["pet"]}], pattern=pattern, incomplete="report")
    assert found["2"].layers["pet"].files == (tmp_path / "sub-2/pet_*.*",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "{layer}/x.nii.gz"}, "source.pattern: the pattern '{layer}/x.nii.gz' has no field {case} (put it where the case is named)"),
        ({"pattern": "{case}.nii.gz"}, "source.pattern: the pattern '{case}.nii.gz' has no field {layer} (put it where the layer is named, or "
         'give one pattern for each layer: {"ct": "{case}/ct.nii.gz"})'),
        ({"pattern": {"ct": "{layer}/{case}.nii"}}, "source.pattern: the pattern of layer 'ct' has a field {layer}: '{layer}/{case}.nii' "
         "(patterns that are named after their layer have none)"),
        ({"pattern": {"ct": "{case}.nii", "pet": "{day}/{case}.nii"}},
         "source.pattern: the patterns tell patients by different fields: case, and for 'pet' case, day"),
        ({"pattern": "{layer}/{case}.mha"}, "source.pattern: no file fits '{layer}/{case}.mha' below "),
        ({"id": "{site}"}, "source.id: there is no field 'site' in the pattern (it has dataset, center, tracer, case)"),
        ({"person": ["site"]}, "source.person: there is no field 'site' in the pattern (it has dataset, center, tracer, case)"),
    ],
)  # fmt: skip
def test_patterns_that_do_not_fit(storage, options, message):
    assert refused(storage, [{"split": "train", "inputs": ["ct"]}], **options).startswith(message)


@pytest.mark.parametrize(
    ("cohort", "message"),
    [
        ({"where": {"site": "a"}, "inputs": ["ct"]}, "source.cohorts.0.where: there is no field 'site' in the pattern (it has dataset, center, tracer, case)"),
        ({"where": {"tracer": "psma"}, "inputs": ["ct"]}, "source.cohorts.0.where: no patient has tracer 'psma' (tracer is one of 'fdg')"),
        ({}, "source.cohorts.0: no layer is asked for (name some under \"inputs\", and under \"targets\" unless it is self-supervised)"),
        ({"pairs": {"low": {}}}, "source.cohorts.0.pairs.low: no layer is asked for (name some under \"inputs\", and under \"targets\" unless it "
         "is self-supervised)"),
        ({"pairs": PAIRS, "inputs": ["ct"]}, "source.cohorts.0: a cohort has either inputs and targets, or named pairs"),
    ],
)  # fmt: skip
def test_cohorts_that_make_no_sense(storage, cohort, message):
    assert refused(storage, [{"split": "train", **cohort}]) == message


def test_two_files_for_one_layer(tmp_path):
    touch(tmp_path, "ct/v1/p", "ct/v2/p")
    assert refused(tmp_path, [{"split": "train", "inputs": ["ct"]}], pattern="{layer}/*/{case}.nii.gz") == (
        f"source.pattern: two files are the layer 'ct' of one patient: {tmp_path}/ct/v1/p.nii.gz and {tmp_path}/ct/v2/p.nii.gz (narrow the pattern)"
    )


def test_links_that_lead_out_of_the_root(storage, tmp_path):
    touch(tmp_path, "elsewhere/x")
    (storage / "d1/a/fdg/ct/p50.nii.gz").symlink_to(tmp_path / "elsewhere/x.nii.gz")
    assert refused(storage, [{"split": "train", "inputs": ["ct"]}]) == (
        f"source.pattern: a symbolic link leads out of the root: {storage}/d1/a/fdg/ct/p50.nii.gz is {tmp_path}/elsewhere/x.nii.gz "
        '(set "follow_links": true to take it)'
    )
    assert "p50" in find(storage, [{"split": "train", "inputs": ["ct"]}], follow_links=True)


class TestCohortsSource(SourceTests):
    component = CohortsSource
    options: ClassVar = {
        "pattern": PATTERN,
        "cohorts": [
            {"split": "train", "where": {"tracer": "fdg"}, "cases": ["p01", "p.02.b"], "inputs": ["ct"], "targets": ["100pc"]},
            {"split": "val", "where": {"tracer": "fdg"}, "inputs": ["ct"], "targets": ["100pc"]},
        ],
    }
    cases = ("p01", "p10", "p.02.b")  # natural order

    def make_files(self, folder):
        touch(folder, *(f"d1/a/fdg/{layer}/{case}" for case in ("p10", "p01", "p.02.b") for layer in ("ct", "100pc")))
        return {"root": str(folder)}


class TestCohortsDrawn(TestCohortsSource):
    """Numbers of patients, by the seed."""

    options: ClassVar = {"pattern": PATTERN, "cohorts": [{"split": "train", "cases": 2, "inputs": ["ct"], "targets": ["100pc"]}]}
    cases = ()
    seeded = True
