"""What the file of each spec holds, against nibabel, dipy and NumPy, and as its client reads it."""

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

import curate_core
from curate_core import RequestError
from curate_core.cli.main import main
from curate_core.runner import run

pytest.importorskip("curate_dmri")
stateful = pytest.importorskip("dipy.io.stateful_tractogram")

ROOT = Path(__file__).parents[2]
SPECS = {
    "hdf5": ROOT / "specs/dmri/hdf5.json",
    "hdf5_streamlines_only": ROOT / "specs/dmri/hdf5_streamlines_only.json",
    "hdf5_connectivity": ROOT / "specs/dmri/hdf5_connectivity.json",
}
SHARED = runpy.run_path(str(ROOT / "tests/specs/recipes/dmri_subjects.py"))
SUBJECTS = ["s2", "s10", "s1"]
RESAMPLE = {"use": "resample-streamlines", "layer": "streamlines", "step_size": 0.5, "remove_invalid": True}


def load(name: str) -> dict[str, Any]:
    return json.loads(SPECS[name].read_text())


def make(folder: Path, out: Path, name: str = "hdf5", **changes: Any) -> Any:
    """Run a spec on the subjects in a folder; ``changes`` replace whole parts of it."""
    spec = load(name)
    spec["source"] |= {"root": str(folder / "database")}
    spec["source"]["splits"] = {split: str(folder / f"{split}.txt") for split in spec["source"]["splits"]}
    spec |= {"output": str(out), "engine": {"use": "local", "workers": 0}, **changes}
    return run(spec, folder=folder)


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dmri")
    SHARED["subjects"](folder)
    return folder


@pytest.fixture
def own(database, tmp_path) -> Path:
    """A copy of the subjects, to be changed."""
    shutil.copytree(database, tmp_path / "study")
    for split in ("training", "validation", "testing"):
        assert (tmp_path / "study" / f"{split}.txt").exists()
    return tmp_path / "study"


@pytest.fixture(scope="module")
def plain(database, tmp_path_factory) -> Path:
    """The spec with its streamlines as they are, apart from those that leave the volume."""
    out = tmp_path_factory.mktemp("plain") / "out"
    preprocess = [load("hdf5")["preprocess"][0], {"use": "remove-invalid-streamlines", "layer": "streamlines"}]
    make(database, out, preprocess=preprocess)
    return out


class Client:
    """Reads a file as dwi_ml 1.0's MultiSubjectDataset does, lazily or not: written from the tree that the layout describes."""

    def __init__(self, path: Path, split: str, lazy: bool) -> None:
        self.file = h5py.File(path)
        assert self.file.attrs["version"] is not None
        self.subjects = sorted(self.file.attrs[split])
        self.lazy = lazy
        groups = list(self.file[self.subjects[0]].keys())
        kinds = {group: self.file[self.subjects[0]][group].attrs["type"] for group in groups}
        self.volumes = [group for group in groups if kinds[group] == "volume"]
        self.streamlines = [group for group in groups if kinds[group] == "streamlines"]
        assert len(self.volumes) + len(self.streamlines) == len(groups)

    def volume(self, subject: str, group: str) -> Any:
        node = self.file[subject][group]
        assert node["data"].shape[3] == node.attrs["nb_features"]
        data = node["data"] if self.lazy else np.array(node["data"], dtype=np.float32)
        return data, np.array(node.attrs["affine"], np.float32), np.array(node.attrs["voxres"], np.float32)

    def sft(self, subject: str, group: str, chosen: list[int]) -> Any:
        node = self.file[subject][group]
        space_attributes = tuple(node.attrs[name] for name in ("affine", "dimensions", "voxel_sizes")) + (str(node.attrs["voxel_order"]),)
        space = stateful.Space(str(node.attrs["space"]).lower().removeprefix("space."))
        origin = stateful.Origin[str(node.attrs["origin"]).removeprefix("Origin.")]
        assert len(node["euclidean_lengths"]) == len(node["lengths"])
        if self.lazy:
            lines = [node["data"][node["offsets"][i] : node["offsets"][i] + node["lengths"][i]] for i in chosen]
        else:
            everything = nibabel.streamlines.ArraySequence()
            everything._data, everything._offsets = np.array(node["data"]), np.array(node["offsets"])
            everything._lengths = np.array(node["lengths"])
            lines = everything[chosen]
        data = {name: np.array(values)[chosen] for name, values in node["data_per_streamline"].items()}
        return stateful.StatefulTractogram(lines, space_attributes, space, origin=origin, data_per_streamline=data)


def by_dipy(folder: Path, subject: str) -> Any:
    """All bundles of a subject in voxels, corner origin, valid ones only, by dipy."""
    from dipy.io.streamline import load_tractogram

    here = folder / f"database/dwi_ml_ready/{subject}"
    found = []
    for path in sorted((here / "bundles").iterdir()):
        reference = "same" if path.suffix == ".trk" else str(here / "dwi/fa.nii.gz")
        sft = load_tractogram(str(path), reference, bbox_valid_check=False)
        sft.remove_invalid_streamlines(epsilon=0)
        sft.to_vox()
        sft.to_corner()
        found.append(sft)
    return found


def volumes(folder: Path, subject: str) -> tuple[np.ndarray, np.ndarray]:
    here = folder / f"database/dwi_ml_ready/{subject}"
    dwi, t1 = (nibabel.load(here / name).get_fdata() for name in ("dwi/dwi_tractoflow.nii.gz", "anat/t1_tractoflow.nii.gz"))
    return np.concatenate([dwi, t1[..., None]], axis=3), nibabel.load(here / "masks/wm.nii.gz").get_fdata() > 0


@pytest.mark.parametrize("lazy", [True, False])
def test_an_unmodified_client_reads_the_file(plain, database, lazy):
    for split, subjects in (("training_subjs", ["s10", "s2"]), ("validation_subjs", ["s1"])):
        client = Client(plain / "tracto.hdf5", split, lazy)
        assert client.subjects == subjects
        assert (client.volumes, client.streamlines) == (["input", "wm_mask"], ["streamlines"])
        for subject in subjects:
            data, affine, voxres = client.volume(subject, "input")
            np.testing.assert_array_equal(affine, SHARED["AFFINE"].astype(np.float32))
            np.testing.assert_allclose(voxres, np.linalg.norm(SHARED["AFFINE"][:3, :3], axis=0), rtol=1e-6)
            given, mask = volumes(database, subject)
            for part in (slice(0, 5), slice(5, 6)):
                inside = given[mask][:, part]
                np.testing.assert_allclose(data[..., part], (given[..., part] - inside.mean()) / inside.std(), rtol=2e-5, atol=2e-5)
            expected = [line for sft in by_dipy(database, subject) for line in sft.streamlines]
            sft = client.sft(subject, "streamlines", list(range(len(expected))))
            assert sft.space == stateful.Space.VOX
            for mine, theirs in zip(sft.streamlines, expected, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=2e-5)


def test_the_root_says_what_dwi_mls_creator_says(plain):
    with h5py.File(plain / "tracto.hdf5") as file:
        assert list(file.attrs["training_subjs"]) == ["s2", "s10"]
        assert list(file.attrs["validation_subjs"]) == ["s1"]
        assert list(file.attrs["testing_subjs"]) == []
        assert list(file.attrs["chosen_subjs"]) == SUBJECTS
        assert file.attrs["version"] == 2
        assert {file.attrs[name] for name in ("step_size", "nb_points", "compress")} == {"Not defined by user"}
        config = json.loads(file.attrs["groups_config"])
        assert config["input"] == {
            "type": "volume", "files": ["dwi/dwi_tractoflow.nii.gz", "anat/t1_tractoflow.nii.gz"], "standardization": "per_file",
        }  # fmt: skip
        assert config["streamlines"] == {"type": "streamlines", "files": ["bundles/AF_L.trk", "bundles/CST.tck"]}


def test_types_are_those_of_the_layout(plain):
    with h5py.File(plain / "tracto.hdf5") as file:
        volume, lines = file["s1/input"], file["s1/streamlines"]
        assert (volume["data"].dtype, volume["data"].shape) == (np.float32, (*SHARED["SHAPE"], 6))
        assert volume.attrs["affine"].dtype == np.float64
        assert volume.attrs["voxres"].dtype == np.float32
        assert np.ndim(volume.attrs["nb_features"]) == 0
        kinds = {name: lines[name].dtype.str for name in ("data", "offsets", "lengths", "euclidean_lengths")}
        assert kinds == {"data": "<f4", "offsets": "<i8", "lengths": "<i8", "euclidean_lengths": "<f4"}
        assert {name: lines.attrs[name].dtype.str for name in ("affine", "dimensions", "voxel_sizes")} == {
            "affine": "<f4", "dimensions": "<i2", "voxel_sizes": "<f4",
        }  # fmt: skip
        assert (lines.attrs["origin"], lines.attrs["voxel_order"]) == ("Origin.TRACKVIS", "LAS")
        assert all(node.chunks and node.compression == "lzf" for node in (volume["data"], lines["data"]))
        assert lines["data"].shuffle


def test_lengths_are_those_of_dipy_in_mm(plain, database):
    from dipy.tracking.streamline import length

    with h5py.File(plain / "tracto.hdf5") as file:
        for subject in SUBJECTS:
            expected = []
            for sft in by_dipy(database, subject):
                sft.to_rasmm()
                expected += list(length(sft.streamlines))
            np.testing.assert_allclose(file[subject]["streamlines/euclidean_lengths"], expected, rtol=1e-4)


def test_statistics_are_kept_in_the_file(plain, database):
    given, mask = volumes(database, "s1")
    with h5py.File(plain / "tracto.hdf5") as file:
        group = file["s1/input"]
        assert group.attrs["standardization"] == "file"
        np.testing.assert_allclose(group.attrs["mean"], [given[mask][:, :5].mean()] * 5 + [given[mask][:, 5].mean()])
        np.testing.assert_allclose(group.attrs["std"], [given[mask][:, :5].std()] * 5 + [given[mask][:, 5].std()])


def test_the_spec_itself_resamples_and_counts_what_left_the_volume(database, tmp_path):
    make(database, tmp_path / "out")
    dataset = curate_core.open(tmp_path / "out")
    assert [dataset.row(i)["attributes"]["streamlines_removed"] for i in range(3)] == [1, 1, 1]
    with h5py.File(tmp_path / "out/tracto.hdf5") as file:
        assert file.attrs["step_size"] == 0.5
        lines = file["s2/streamlines"]
        assert lines.attrs["removed"] == 1
        points = nibabel.affines.apply_affine(SHARED["AFFINE"], lines["data"][:] - 0.5)
        for start, count, total in zip(lines["offsets"][:], lines["lengths"][:], lines["euclidean_lengths"][:], strict=True):
            steps = np.linalg.norm(np.diff(points[start : start + count], axis=0), axis=1)
            assert (steps < 0.5 + 1e-4).all()
            np.testing.assert_allclose(steps.sum(), total, rtol=1e-3)


@pytest.mark.parametrize("space", ["rasmm", "voxmm"])
def test_points_in_other_spaces_are_the_same_points(plain, database, tmp_path, space):
    preprocess = [{"use": "remove-invalid-streamlines", "layer": "streamlines"}]
    make(database, tmp_path / "out", preprocess=preprocess, write=[{"use": "dwi-ml-hdf5", "file": "tracto.hdf5", "space": space}])
    other, usual = (Client(path / "tracto.hdf5", "training_subjs", True) for path in (tmp_path / "out", plain))
    one, two = (client.sft("s2", "streamlines", [0, 3, 20]) for client in (other, usual))
    assert one.space == stateful.Space(space)
    one.to_vox()
    for mine, theirs in zip(one.streamlines, two.streamlines, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=3e-5)
    for name in ("lengths", "euclidean_lengths"):
        np.testing.assert_array_equal(other.file["s2/streamlines"][name], usual.file["s2/streamlines"][name])
    dataset = curate_core.open(tmp_path / "out")
    assert dataset.verify() == []
    np.testing.assert_allclose(dataset[0]["streamlines"].points, curate_core.open(plain)[0]["streamlines"].points, atol=1e-4)


def test_the_dataset_reads_single_streamlines_and_boxes_lazily(plain, database):
    dataset = curate_core.open(plain)
    lazy = dataset.lazy(2)
    whole = dataset[2]
    np.testing.assert_array_equal(lazy["input"][2:5, :3, 4, 1:], whole["input"][2:5, :3, 4, 1:])
    sft = by_dipy(database, "s1")[0]
    sft.to_rasmm()
    sft.to_center()
    assert len(lazy["streamlines"]) == len(whole["streamlines"]) == 28
    for i in (0, 7, 18):
        np.testing.assert_allclose(lazy["streamlines"].streamline(i), sft.streamlines[i], atol=3e-5)
        np.testing.assert_array_equal(lazy["streamlines"].streamline(i), whole["streamlines"].streamline(i))


def test_adding_a_subject_gives_the_file_of_a_fresh_run(own, tmp_path):
    (own / "training.txt").write_text("s2\n")
    make(own, tmp_path / "grown", preprocess=[RESAMPLE])
    written = sorted((tmp_path / "grown/.curate/parts").rglob("rows.tsv"))
    (own / "training.txt").write_text("s2\ns10\n")
    make(own, tmp_path / "grown", preprocess=[RESAMPLE])
    make(own, tmp_path / "fresh", preprocess=[RESAMPLE])
    assert set(written) < set((tmp_path / "grown/.curate/parts").rglob("rows.tsv"))
    one, two = ((tmp_path / name / "tracto.hdf5").read_bytes() for name in ("grown", "fresh"))
    assert one == two


def test_workers_change_no_byte(database, tmp_path):
    make(database, tmp_path / "none")
    make(database, tmp_path / "two", engine={"use": "local", "workers": 2})
    assert (tmp_path / "none/tracto.hdf5").read_bytes() == (tmp_path / "two/tracto.hdf5").read_bytes()


def test_streamlines_alone_with_data_of_each(database, tmp_path):
    make(database, tmp_path / "out", "hdf5_streamlines_only")
    trk = nibabel.streamlines.load(database / "database/dwi_ml_ready/s10/bundles/AF_L.trk")
    client = Client(tmp_path / "out/streamlines.hdf5", "training_subjs", False)
    assert (client.volumes, client.streamlines) == ([], ["streamlines"])
    sft = client.sft("s10", "streamlines", list(range(19)))
    np.testing.assert_array_equal(sft.data_per_streamline["mean_color"], trk.tractogram.data_per_streamline["mean_color"][:19])
    with h5py.File(tmp_path / "out/streamlines.hdf5") as file:
        assert file.attrs["compress"] == 0.01
    assert main(["verify", str(tmp_path / "out/streamlines.hdf5")]) == 0


def test_connectivity_lies_with_its_streamlines(database, tmp_path):
    make(database, tmp_path / "out", "hdf5_connectivity")
    here = database / "database/dwi_ml_ready/s2/connectivity"
    with h5py.File(tmp_path / "out/connectivity.hdf5") as file:
        group = file["s2/streamlines"]
        assert sorted(file["s2"]) == ["fa", "streamlines"]
        assert group.attrs["connectivity_matrix_type"] == "from_labels"
        assert group["connectivity_matrix"].dtype == bool
        np.testing.assert_array_equal(group["connectivity_matrix"], np.load(here / "matrix.npy") != 0)
        np.testing.assert_array_equal(group["connectivity_label_volume"], nibabel.load(here / "labels.nii.gz").get_fdata())
        assert group["connectivity_label_volume"].dtype == np.uint16
        assert set(np.diff(group["offsets"])) == {40}
        assert file.attrs["nb_points"] == 40
    assert curate_core.open(tmp_path / "out").verify() == []
    assert main(["verify", str(tmp_path / "out/connectivity.hdf5")]) == 0


def test_connectivity_of_blocs(own, tmp_path):
    for name in SUBJECTS:
        np.save(own / f"database/dwi_ml_ready/{name}/connectivity/matrix.npy", np.eye(12))
    spec = load("hdf5_connectivity")
    steps = [spec["preprocess"][0], {"use": "connectivity", "layer": "streamlines", "matrix": "matrix", "blocs": [2, 2, 3]}]
    rois = [{"use": "whole", "layers": ["fa", "streamlines", "matrix"]}]
    make(own, tmp_path / "out", "hdf5_connectivity", preprocess=steps, rois=rois)
    with h5py.File(tmp_path / "out/connectivity.hdf5") as file:
        assert list(file["s1/streamlines"].attrs["connectivity_nb_blocs"]) == [2, 2, 3]
        assert file["s1/streamlines"].attrs["connectivity_matrix_type"] == "from_blocs"


# What goes wrong.


def quarantined(out: Path) -> dict[str, str]:
    return {row["case"]: row["reason"] for row in curate_core.open(out).quarantined()}


def source(name: str = "hdf5", **changes: Any) -> Any:
    def at(folder: Path) -> dict[str, Any]:
        given = load(name)["source"]
        lists = {split: str(folder / f"{split}.txt") for split in given["splits"]}
        return {**given, "root": str(folder / "database"), "splits": lists, **changes}

    return at


def test_a_missing_file_stops_before_any_work(own, tmp_path):
    (own / "database/dwi_ml_ready/s10/anat/t1_tractoflow.nii.gz").unlink()
    with pytest.raises(RequestError, match=r"a file is missing: .*s10/anat/t1_tractoflow.nii.gz"):
        make(own, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.hdf5")) if (tmp_path / "out").exists() else True


def test_without_enforcement_a_missing_file_costs_its_subject_alone(own, tmp_path):
    (own / "database/dwi_ml_ready/s10/anat/t1_tractoflow.nii.gz").unlink()
    shutil.rmtree(own / "database/dwi_ml_ready/s1/bundles")
    make(own, tmp_path / "out", source=source(enforce=False)(own))
    found = quarantined(tmp_path / "out")
    assert set(found) == {"s10", "s1"}
    assert "t1_tractoflow.nii.gz" in found["s10"]
    with h5py.File(tmp_path / "out/tracto.hdf5") as file:
        assert list(file) == list(file.attrs["chosen_subjs"]) == ["s2"]


def test_streamlines_outside_are_refused_where_nobody_removes_them(database, tmp_path):
    make(database, tmp_path / "out", preprocess=[])
    reasons = quarantined(tmp_path / "out")
    assert set(reasons) == set(SUBJECTS)
    assert "1 of 29 streamlines of 'streamlines' leave the volume" in reasons["s1"]


def test_a_mask_of_another_grid_costs_its_subject_alone(own, tmp_path):
    path = own / "database/dwi_ml_ready/s2/masks/wm.nii.gz"
    moved = SHARED["AFFINE"].copy()
    moved[0, 3] += 1
    SHARED["save_volume"](path, np.ones(SHARED["SHAPE"], np.uint8), moved)
    make(own, tmp_path / "out")
    reasons = quarantined(tmp_path / "out")
    assert list(reasons) == ["s2"]
    assert "its mask 'wm_mask' lie on different grids: corners are 1 mm apart" in reasons["s2"]


def test_files_of_one_group_need_one_grid(own, tmp_path):
    path = own / "database/dwi_ml_ready/s2/anat/t1_tractoflow.nii.gz"
    SHARED["save_volume"](path, np.ones((14, 12, 11), np.float32))
    make(own, tmp_path / "out")
    assert "joined files dwi_tractoflow.nii.gz and t1_tractoflow.nii.gz lie on different grids" in quarantined(tmp_path / "out")["s2"]


def test_groups_of_a_subject_need_one_grid(own, tmp_path):
    path = own / "database/dwi_ml_ready/s2/masks/wm.nii.gz"
    SHARED["save_volume"](path, np.ones((14, 12, 11), np.uint8))
    make(own, tmp_path / "out", preprocess=[RESAMPLE])
    assert "groups 'input' and 'wm_mask' lie on different grids" in quarantined(tmp_path / "out")["s2"]


def test_a_tractogram_of_another_volume_costs_its_subject_alone(own, tmp_path):
    path = own / "database/dwi_ml_ready/s10/bundles/AF_L.trk"
    SHARED["save_trk"](path, SHARED["lines"](np.random.default_rng(0), 3), shape=(14, 12, 11))
    make(own, tmp_path / "out")
    assert "14 x 12 x 11 voxels against 14 x 12 x 10" in quarantined(tmp_path / "out")["s10"]


def test_odd_tractograms_pass(own, tmp_path):
    """None, one point alone, more points than int16 counts, data of points beside a .tck."""
    one = nibabel.affines.apply_affine(SHARED["AFFINE"], [[5, 5, 5]])
    bundles = own / "database/dwi_ml_ready/{}/bundles/AF_L.trk"
    SHARED["save_trk"](Path(str(bundles).format("s2")), [])
    (own / "database/dwi_ml_ready/s2/bundles/CST.tck").unlink()
    SHARED["save_trk"](Path(str(bundles).format("s10")), [one, one], data_per_point={"fa": [[[0.5]], [[0.25]]]})
    long = nibabel.affines.apply_affine(SHARED["AFFINE"], np.linspace([2, 2, 2], [9, 9, 7], 40_000))
    SHARED["save_trk"](Path(str(bundles).format("s1")), [long, one])
    make(own, tmp_path / "out", preprocess=[{"use": "remove-invalid-streamlines", "layer": "streamlines"}])
    assert quarantined(tmp_path / "out") == {}
    with h5py.File(tmp_path / "out/tracto.hdf5") as file:
        assert file["s2/streamlines/data"].shape == (0, 3)
        assert file["s10/streamlines/lengths"][:2].tolist() == [1, 1]
        assert file["s1/streamlines/lengths"][:2].tolist() == [40_000, 1]
        assert file["s1/streamlines/offsets"][:3].tolist() == [0, 40_000, 40_001]
    assert main(["verify", str(tmp_path / "out/tracto.hdf5")]) == 0
    assert curate_core.open(tmp_path / "out").verify() == []


@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_volumes_of_any_type_become_float32(own, tmp_path, dtype):
    values = np.random.default_rng(0).uniform(1, 99, (*SHARED["SHAPE"], 2)).astype(dtype)
    for name in SUBJECTS:
        SHARED["save_volume"](own / f"database/dwi_ml_ready/{name}/dwi/dwi_tractoflow.nii.gz", values)
    make(own, tmp_path / "out", preprocess=[RESAMPLE])
    with h5py.File(tmp_path / "out/tracto.hdf5") as file:
        np.testing.assert_array_equal(file["s1/input/data"][..., :2], values.astype(np.float32))


def test_gradient_tables_ride_along(own, tmp_path):
    for name in SUBJECTS:
        folder = own / f"database/dwi_ml_ready/{name}/dwi"
        np.savetxt(folder / "bval", [[0, 1000, 1000, 2000, 2000]])
        np.savetxt(folder / "bvec", np.eye(5)[:3])
    make(own, tmp_path / "out", source=source(gradients={"bvals": "dwi/bval", "bvecs": "dwi/bvec"})(own))
    attributes = curate_core.open(tmp_path / "out").row(0)["attributes"]
    assert attributes["bvals"] == [0, 1000, 1000, 2000, 2000]
    assert attributes["bvecs"] == np.eye(5)[:3].T.tolist()


def test_a_run_that_stops_leaves_nothing_that_looks_finished(own, tmp_path):
    (own / "database/dwi_ml_ready/s1/bundles/CST.tck").write_bytes(b"mrtrix tracks\nnothing")
    with pytest.raises(curate_core.CurateError):
        make(own, tmp_path / "out", engine={"use": "local", "workers": 0}, on_error="stop")
    assert not (tmp_path / "out/dataset.json").exists()
    assert not (tmp_path / "out/tracto.hdf5").exists()
