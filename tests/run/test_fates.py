"""Samples whose fate changed since the last commit: told, and named."""

import json
import shutil

import pytest

from curate_core.cli.main import main
from curate_core.fates import Fates

TWINS = {"filter": [{"use": "toy-unique", "within": "dataset"}]}


def named(lab):
    return [json.loads(line) for line in (lab.out / ".curate" / "fates.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def twins(lab):
    """A dataset, and then a case more that comes first and holds what another one held: that one's samples go."""
    assert lab.run(spec=TWINS).fates == Fates()
    assert named(lab) == []
    had = [row["id"] for row in lab.open().rows() if row["case"] == "a1"]
    shutil.copy(lab.data / "a1.toy", lab.data / "a0.toy")
    return lab, had


def test_samples_that_a_new_case_drives_out(twins):
    lab, had = twins
    summary = lab.run(spec=TWINS)
    assert summary.fates == Fates(left=len(had))
    assert named(lab) == [{"id": sample, "case": "a1", "now": "dropped", "step": "toy-unique"} for sample in had]
    assert lab.run(spec=TWINS).fates == Fates(), "told once"
    assert len(named(lab)) == len(had)


def test_they_come_back_when_it_goes(twins):
    lab, had = twins
    lab.run(spec=TWINS)
    (lab.data / "a0.toy").unlink()
    assert lab.run(spec=TWINS).fates == Fates(joined=len(had))
    assert named(lab) == [{"id": sample, "case": "a1", "now": "kept", "step": None} for sample in had]


def test_nothing_leaves_a_dataset_that_is_added_to(twins):
    lab, _ = twins
    assert lab.run(spec=TWINS, append=True).fates == Fates()


def test_what_is_no_longer_found(lab):
    lab.run()
    had = len(lab.open())
    summary = lab.run(spec={"rois": [{"use": "toy-grid", "size": 16}]})
    assert summary.fates == Fates(left=had, joined=summary.written)
    assert {row["now"] for row in named(lab)} == {"not found", "kept"}


def test_the_file_is_no_part_of_the_dataset(twins):
    """A dataset that came about in two runs is the one that a single run makes."""
    lab, _ = twins
    lab.run(spec=TWINS)
    grown = lab.tree()
    shutil.rmtree(lab.out)
    lab.run(spec=TWINS)
    assert lab.tree() == grown


@pytest.mark.parametrize("damage", ["manifest.jsonl", "manifest.index.npy", "dataset.json"])
def test_a_damaged_dataset_tells_nothing_and_stops_nothing(twins, damage):
    lab, _ = twins
    (lab.out / damage).write_bytes(b"\x93NUMPY" if damage.endswith("npy") else b'{"cases": 3\n')
    assert lab.run(spec=TWINS).fates == Fates()
    assert lab.open().verify() == []


def test_it_is_said(twins, capsys):
    lab, had = twins
    (lab.folder / "spec.json").write_text(json.dumps({**lab.spec, **TWINS}))
    assert main(["run", str(lab.folder / "spec.json")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Of the cases that it had before, {len(had)} samples left the dataset: " in said
    assert ".curate/fates.jsonl says which, and why." in said
