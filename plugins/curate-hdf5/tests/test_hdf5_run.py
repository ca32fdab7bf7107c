"""The writer on the whole path: the same bytes however they come about."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from curate_core import Dataset, RequestError, SpecError
from curate_core.testing import run_spec, values

VOLUMES = {name: values((24, 40, 40), "uint16", name) for name in ("a", "b", "c")}
WRITERS = {
    "samples": {"use": "hdf5", "patch": [8, 8, 8]},
    "stack": {"use": "hdf5", "stack": True, "path": "all"},
    "cut stack": {"use": "hdf5", "stack": True, "chunks": [4, 10, 10], "compression": "lzf"},
    "cases": {"use": "hdf5", "file": "cases/{case}.h5", "path": "{roi}", "master": "all.h5"},
    "alone": {"use": "hdf5", "file": "{case}/{roi}.h5", "path": "{array}", "master": "all.h5"},
    "float": {"use": "hdf5", "dtype": "float32"},
}
of_each_layout = pytest.mark.parametrize("layout", sorted(WRITERS))


def spec_of(folder: Path, layout: str, names: str = "abc", **more: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    for name in names:
        np.save(folder / f"{name}.npy", VOLUMES[name])
    rois = [{"use": "grid", "size": [8, 20, 20]}]
    return {"source": {"use": "files", "pattern": "{case}.npy"}, "rois": rois, "write": [WRITERS[layout]], **more}


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted((folder / "out").rglob("*.h5")) if ".curate" not in path.parts]
    return {path.relative_to(folder / "out").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@of_each_layout
def test_the_dataset_holds_what_was_cut(tmp_path: Path, layout: str) -> None:
    dataset = run_spec(spec_of(tmp_path, layout), tmp_path)
    assert len(dataset) == 3 * 3 * 2 * 2
    assert dataset.verify() == []
    for index, sample in enumerate(dataset):
        row = dataset.row(index)
        (view,) = row["views"].values()
        where = tuple(slice(a, b) for a, b in zip(view["start"], view["stop"], strict=True))
        (array,) = sample.values()
        assert np.array_equal(array, VOLUMES[row["case"]][where])
        assert np.array_equal(np.asarray(dataset.lazy(index)["image"][2:4]), VOLUMES[row["case"]][where][2:4])


@pytest.mark.slow
@of_each_layout
def test_the_same_bytes_for_any_workers_and_any_history(tmp_path: Path, layout: str) -> None:
    once = tmp_path / "once"
    run_spec(spec_of(once, layout), once)
    truth = digests(once)
    assert truth
    many = tmp_path / "many"
    run_spec(spec_of(many, layout, engine={"use": "local", "workers": 2}), many)
    assert digests(many) == truth
    grown = tmp_path / "grown"
    run_spec(spec_of(grown, layout, "ac"), grown)
    run_spec(spec_of(grown, layout), grown)
    assert digests(grown) == truth
    (grown / "b.npy").unlink()
    run_spec(spec_of(grown, layout, "ac"), grown)
    fresh = tmp_path / "fresh"
    run_spec(spec_of(fresh, layout, "ac"), fresh)
    assert digests(grown) == digests(fresh)


@pytest.mark.parametrize("layout", ["cases", "alone"])
def test_the_master_file(tmp_path: Path, layout: str) -> None:
    dataset = run_spec(spec_of(tmp_path, layout), tmp_path)
    with h5py.File(tmp_path / "out" / "all.h5") as file:
        for index in range(len(dataset)):
            placement = dataset.row(index)["arrays"]["image"]
            assert np.array_equal(file[placement["file"]][placement["place"]][()], dataset[index]["image"])
    before = digests(tmp_path)
    (tmp_path / "out" / "all.h5").unlink()
    assert Dataset(tmp_path / "out").verify() == ["all.h5: is not there"]
    assert run_spec(spec_of(tmp_path, layout), tmp_path).verify() == []
    assert digests(tmp_path) == before


def test_two_samples_of_one_path_are_refused(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "samples")
    spec["write"] = [{"use": "hdf5", "path": "{roi}"}]
    with pytest.raises(Exception, match="two arrays would take the path") as caught:
        run_spec(spec, tmp_path)
    assert "{case}" in str(caught.value)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_paths_in_a_spec_that_cannot_be_filled_in(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "samples")
    spec["read"] = {"*": {"use": "hdf5", "dataset": "{case!r}"}}
    with pytest.raises(SpecError, match=r"read.\*.dataset: .* is not a plain name"):
        run_spec(spec, tmp_path)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["raw"] = VOLUMES["a"]
    spec |= {"source": {"use": "files", "pattern": "{case}.h5"}, "read": {"*": {"use": "hdf5", "dataset": "{stain}"}}}
    dataset = run_spec(spec, tmp_path)
    (row,) = dataset.quarantined()
    assert "an option takes the attribute 'stain', which this case has not" in row["reason"]


def test_a_master_that_takes_the_place_of_a_file(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "cases")
    spec["write"] = [{"use": "hdf5", "file": "{case}.h5", "path": "{roi}", "master": "b.h5"}]
    with pytest.raises(RequestError, match="two writers take the path b.h5"):
        run_spec(spec, tmp_path)
