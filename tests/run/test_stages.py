"""What a unit of each stage passes through, and what its worker must have for that."""

import pytest

from curate_core.builtin.filters import Limit
from curate_core.builtin.rois import GridRois
from curate_core.builtin.transforms import Cast, Normalize, Pad
from curate_core.host import default_host
from curate_core.runner import run
from curate_core.spec import load
from curate_core.stages import derive

SPEC = {
    "version": 1,
    "name": "stages",
    "source": {"use": "files", "pattern": "{case}.npy"},
    "preprocess": [{"use": "to-uint8", "range": "percentile", "over": "dataset"}, {"use": "invert"}],
    "rois": [{"use": "grid", "size": 8}],
    "transform": [{"use": "pad", "size": 9}, {"use": "normalize", "over": "dataset"}, {"use": "cast", "dtype": "float32"}],
    "filter": [
        {"use": "limit", "count": 9, "within": "case"},
        {"use": "intensity", "min_std": 1},
        {"use": "limit", "count": 5, "within": "dataset"},
        {"use": "limit", "count": 4, "within": "dataset"},
        {"use": "intensity", "min_mean": -9},
    ],
    "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
    "output": "out",
}


@pytest.fixture
def stages(tmp_path):
    return derive(load(SPEC, default_host(), folder=tmp_path)).stages


def test_a_unit_passes_through_the_steps_before_its_barrier(stages):
    found = {stage.title: [step.path for step in stage.steps] for stage in stages}
    cut = ["preprocess.0", "preprocess.1", "transform.0", "transform.1", "transform.2"]
    assert found == {
        "measuring to-uint8": ["preprocess.0"],
        "finding ROIs": ["preprocess.0", "preprocess.1", "rois.0", "filter.0"],
        "measuring normalize": ["preprocess.0", "preprocess.1", "transform.0", "transform.1"],
        "scoring limit#1": [*cut, "filter.1", "filter.2"],
        "scoring limit#2": ["filter.3"],  # needs no pixels
        "writing": [*cut, "filter.4", "write.0"],
    }


def test_a_stage_needs_what_its_steps_need_and_the_most_of_it(monkeypatch, tmp_path):
    monkeypatch.setattr(GridRois, "needs", lambda self: {"scanner": 1})
    monkeypatch.setattr(Pad, "needs", lambda self: {"gpu": 2, "scratch": 0.5})
    monkeypatch.setattr(Normalize, "needs", lambda self: {"gpu": 1})
    monkeypatch.setattr(Limit, "needs", lambda self: {"licence": 1})
    on_samples = {"gpu": 2, "scratch": 0.5}
    assert derive(load(SPEC, default_host(), folder=tmp_path)).needs == (
        {},
        {"scanner": 1, "licence": 1, **on_samples},  # goes on with a block of the next
        on_samples,
        {"licence": 1, **on_samples},
        {"licence": 1},
        on_samples,
    )


def test_units_tell_engines(lab, monkeypatch):
    monkeypatch.setattr(Cast, "needs", lambda self: {"gpu": 1})
    found = set()

    def one(unit, budget):
        found.add((unit.task.stage, unit.resources.get("gpu", 0)))

    monkeypatch.setattr("curate_core.builtin.local.require", one)
    choice = {"use": "limit", "count": 2, "within": "dataset"}
    run({**lab.spec, "transform": [{"use": "cast", "dtype": "float32"}], "filter": [choice]}, folder=lab.folder)
    assert found == {(None, 0), (0, 0), (2, 1)}
