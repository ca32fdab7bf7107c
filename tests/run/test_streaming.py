"""A spec opened without a dataset gives the samples that its run would write."""

import gc
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import curate_core
from curate_core.errors import RequestError, SourceError, SpecError
from curate_core.testing import values


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "data").mkdir()
    for number, case in enumerate("abc"):
        np.save(tmp_path / "data" / f"{case}.npy", values((6, 20, 24), "uint16", number))
    np.save(tmp_path / "data" / "torn.npy", np.zeros(3))
    return {
        "version": 1,
        "name": "trial",
        "source": {"use": "files", "pattern": "data/{case}.npy"},
        "preprocess": [{"use": "to-uint8", "range": "min-max", "over": "dataset"}],
        "rois": [{"use": "random", "size": [1, 8, 8], "count": 20}],
        "transform": [{"use": "normalize", "over": "dataset"}],
        "filter": [{"use": "intensity", "min_std": 0.9}, {"use": "limit", "count": 30, "within": "dataset"}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
        "output": "out",
    }


def same(stream, dataset):
    assert len(stream) == len(dataset) > 5
    for i in range(len(dataset)):
        left, right = stream[i], dataset[i]
        assert list(left) == list(right)
        assert all(np.array_equal(left[name], right[name]) and left[name].dtype == right[name].dtype for name in left)
        assert {**stream.row(i), "arrays": None} == {**dataset.row(i), "arrays": None}


def test_a_stream_gives_what_a_run_writes(tmp_path, spec):
    stream = curate_core.open(spec, folder=tmp_path)
    assert not (tmp_path / "out").exists()
    curate_core.run(spec, folder=tmp_path, workers=0)
    dataset = curate_core.open(tmp_path / "out")
    same(stream, dataset)
    same(stream.select(lambda row: row["case"] == "b"), dataset.select(lambda row: row["case"] == "b"))
    assert [row["id"] for row in stream.dropped()] == [row["id"] for row in dataset.dropped()]
    assert [row["case"] for row in stream.quarantined()] == ["torn"]
    assert stream.verify() == []
    assert repr(stream) == f"Stream('trial', {len(dataset)} samples)"


def test_a_spec_file_with_settings(tmp_path, spec):
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert len(curate_core.open(tmp_path / "spec.json", settings=["filter.1.count=12"])) == 12
    with pytest.raises(SpecError, match="rois.0.size"):
        curate_core.open(tmp_path / "spec.json", settings=["rois.0.size=0"])
    with pytest.raises(RequestError, match="there is no curated dataset here"):
        curate_core.open(tmp_path / "nothing")


def test_workers_of_a_loader_can_have_it(tmp_path, spec):
    stream = curate_core.open(spec, folder=tmp_path)
    twin = pickle.loads(pickle.dumps(stream.select(lambda row: row["case"] == "a")))
    assert [row["case"] for row in twin.rows()] == ["a"] * len(twin)
    assert np.array_equal(twin[0]["image"], stream[0]["image"])
    del twin
    gc.collect()
    assert stream[1]["image"].shape == (1, 8, 8), "the notes stay as long as the one that made them"


@pytest.mark.slow
def test_its_notes_go_with_it(tmp_path, spec):
    stream = curate_core.open(spec, folder=tmp_path)
    part, notes = stream.select(lambda row: row["case"] == "a"), Path(stream.path)
    assert notes.is_dir()
    del stream
    gc.collect()
    assert part[0]["image"].shape == (1, 8, 8)
    del part
    gc.collect()
    assert not notes.exists()


def test_a_source_that_is_gone_is_named(tmp_path, spec):
    stream = curate_core.open(spec, folder=tmp_path)
    (tmp_path / "data" / "c.npy").unlink()
    assert stream[0]["image"].shape == (1, 8, 8)
    with pytest.raises(SourceError, match="c.npy"):
        stream[len(stream) - 1]
