"""specs/pet/*.json on studies that nibabel wrote, against nibabel's affines and scipy's resampling."""

import json
from pathlib import Path
from typing import Any

import blosc2
import h5py
import nibabel
import numpy as np
import pytest
from scipy import ndimage

import curate_core
from curate_core.cli.main import main
from curate_core.runner import run

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"
PATIENTS = ["a.01", "a.02.rescan", "b1", "b2", "b3", "c9"]
LACKS = ("b3", "ct")
"""A patient without CT."""


def body(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Uptake: an ellipsoid with hot and cold places; the last patient's reaches 80,000, which float16 does not hold."""
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    inside = (place**2).sum(0) < 0.8
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    uptake = np.where(inside, 2 + 5 * texture / texture.std(), 0).clip(0)
    if seed == len(PATIENTS) - 1:
        uptake[tuple(n // 2 for n in shape)] = 80_000
    return uptake.astype(np.float32)


def pet_affine(seed: int) -> np.ndarray:
    affine = np.diag([-4.0, -4.0, 5.0, 1.0])  # left-right flipped, as most scanners write it
    affine[:3, 3] = [60 + seed, 70, -80]
    return affine


def write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """x, y, z order on disk. The CT is finer, turned the other way, and covers the PET's grid in part only."""
    root = tmp_path_factory.mktemp("pet") / "long-term-storage"
    for seed, patient in enumerate(PATIENTS):
        shape = (30, 34, 38)
        full, affine = body(shape, seed), pet_affine(seed)
        rng = np.random.default_rng(100 + seed)
        for layer, noise in (("100pc", 0.0), ("50pc", 0.2), ("25pc", 0.4), ("10pc", 0.8)):
            write(root / f"d1/a/fdg/{layer}/{patient}.nii.gz", (full + noise * rng.random(shape)).astype(np.float32), affine)
        fine = np.diag([2.5, 2.5, 2.5, 1.0])
        fine[:3, 3] = [-60, -55, -75]
        if (patient, "ct") != LACKS:
            write(root / f"d1/a/fdg/ct/{patient}.nii.gz", rng.integers(-1000, 2000, (48, 52, 60)).astype(np.int16), fine)
        labels = np.zeros(shape, np.uint16)
        labels[6:12, 8:14, 10:20], labels[18:24, 20:26, 12:18] = 2049, 4097
        write(root / f"d1/a/fdg/organs/{patient}.nii.gz", labels, affine)
    return root


def make(name: str, storage: Path, out: Path, *settings: str, exit_code: int = 1) -> Any:
    """Run a shipped spec on the studies; 1: the patient without CT is set aside, the rest is there."""
    summary = run(SPECS / name, settings=[f"source.root={storage}", *settings], output=out, workers=0)
    assert summary.exit_code == exit_code
    dataset = curate_core.open(out)
    assert dataset.verify() == []
    return dataset


DRAW = ("source.cohorts.0.cases=3", "source.cohorts.1.cases=2")
SMALL = (*DRAW, "rois.0.size=[12, 10, 8]")


def zyx(storage: Path, layer: str, patient: str) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of a layer as nibabel has them, axes reversed."""
    image = nibabel.load(storage / f"d1/a/fdg/{layer}/{patient}.nii.gz")
    return np.asarray(image.dataobj).T, image.affine[:, [2, 1, 0, 3]]


def resampled(storage: Path, patient: str, fill: float = -1024) -> np.ndarray:
    """The CT on the PET's grid, place by place."""
    ct, source = zyx(storage, "ct", patient)
    pet, target = zyx(storage, "100pc", patient)
    index = np.stack([*np.meshgrid(*map(np.arange, pet.shape), indexing="ij"), np.ones(pet.shape)])
    place = np.tensordot(np.linalg.inv(source) @ target, index, 1)[:3]
    found = ndimage.map_coordinates(ct.astype(np.float64), place, order=3, mode="nearest")
    inside = ((place >= -0.5) & (place <= np.array(ct.shape).reshape(3, 1, 1, 1) - 0.5)).all(0)
    assert 0.3 < inside.mean() < 0.95, "the volumes overlap in part"
    return np.where(inside, found, fill)


def check_lacking(dataset: Any) -> None:
    (row,) = dataset.quarantined()
    assert row["case"] == LACKS[0]
    assert f"{LACKS[1]}/{LACKS[0]}.nii.gz" in row["reason"]
    assert "No such file" in row["reason"]


@pytest.fixture(scope="module")
def patches(storage, tmp_path_factory) -> Any:
    return make("pet/npy.json", storage, tmp_path_factory.mktemp("npy") / "out", *SMALL)


def test_npy(storage, patches):
    check_lacking(patches)
    splits = {name: {row["case"] for row in patches.select(split=name).rows()} for name in ("train", "val")}
    assert splits["train"] | splits["val"] == set(PATIENTS) - {LACKS[0]}
    assert not splits["train"] & splits["val"]
    assert patches.summary["pairs"] == [
        {"split": split, "pair": "main", "inputs": ["ct", "25pc"], "targets": ["100pc"], "cases": sorted(splits[split])}
        for split in sorted(splits, key=lambda s: min(splits[s]))
    ]
    stacks = {name: np.load(patches.path / name / "main.npy") for name in splits}
    full = {
        patient: [resampled(storage, patient), *(zyx(storage, layer, patient)[0] for layer in ("25pc", "100pc"))]
        for patient in PATIENTS[:2]
    }
    for row in patches.rows():
        assert row["attributes"]["pair"] == "main"
        view = row["views"][""]
        box = tuple(slice(a, b) for a, b in zip(view["start"], view["stop"], strict=True))
        found = stacks[row["attributes"]["split"]][row["arrays"]["main"]["place"]]
        assert found.dtype == np.float32
        assert (found[2] > 0.4).mean() > 0.5
        if row["case"] in full:
            for have, want in zip(found, full[row["case"]], strict=True):
                np.testing.assert_allclose(have, want[box], atol=1e-5 * np.ptp(want))
    assert sum(len(stack) for stack in stacks.values()) == len(patches) > 10


def test_pruned_boxes_overlap_no_more_than_allowed(patches):
    starts: dict[str, list[Any]] = {}
    for row in patches.rows():
        starts.setdefault(row["case"], []).append(row["views"][""]["start"])
    for found in starts.values():
        away = np.abs(np.array(found)[:, None] - np.array(found)[None])
        near = (away < 0.75 * np.array([12, 10, 8])).all(-1)
        assert near.sum() == len(found)


def test_coordinates(storage, patches, tmp_path):
    """The places that one spec finds are those that the next cuts: the same arrays."""
    settings = [argument for setting in (f"source.root={storage}", *SMALL) for argument in ("--set", setting)]
    complete = ("--set", 'source.incomplete="ignore"')
    assert main(["rois", str(SPECS / "pet/npy.json"), "-o", str(tmp_path / "coords"), *settings, *complete, "-q"]) == 0
    assert {file.name for file in (tmp_path / "coords").iterdir()} == {f"{p}.npy" for p in PATIENTS if p != LACKS[0]}
    dataset = make("pet/coordinates.json", storage, tmp_path / "out", *SMALL, f"rois.0.file={tmp_path / 'coords'}")
    for split in ("train", "val"):
        assert (dataset.path / split / "main.npy").read_bytes() == (patches.path / split / "main.npy").read_bytes()


def test_the_affine_counts_where_the_header_says_another_spacing(storage, tmp_path):
    """pixdim is what nobody updates; the affine places the voxels."""
    root = tmp_path / "long-term-storage"
    array, affine = body((20, 22, 24), 1), np.diag([-3.0, 3.0, 5.0, 1.0])
    for layer in ("ct", "25pc", "100pc"):
        write(root / f"d1/a/fdg/{layer}/a.nii.gz", array, affine)
    image = nibabel.Nifti1Image(array, affine)
    image.header["qform_code"] = 0
    image.header["pixdim"][1:4] = 7
    nibabel.save(image, root / "d1/a/fdg/25pc/a.nii.gz")
    assert nibabel.load(root / "d1/a/fdg/25pc/a.nii.gz").header.get_zooms() == (7, 7, 7)
    spec = json.loads((SPECS / "pet/npy.json").read_text())
    spec["source"]["cohorts"] = spec["source"]["cohorts"][:1]
    summary = run(
        {**spec, "rois": [{"use": "whole"}], "output": str(tmp_path / "out")}, settings=["source.cohorts.0.cases=1", f"source.root={root}"]
    )
    assert summary.exit_code == 0
    dataset = curate_core.open(tmp_path / "out")
    ct, low, full = dataset.read(next(dataset.rows())["arrays"]["main"])
    np.testing.assert_allclose(low, full, atol=1e-5 * np.ptp(full))
    np.testing.assert_allclose(ct, full, atol=1e-5 * np.ptp(full))


def test_slices(storage, tmp_path):
    dataset = make("pet/slices.json", storage, tmp_path / "out", *DRAW, "rois.0.size=[-1, 16, 20]", "rois.0.stride=[1, 4, 4]")
    stack = np.load(dataset.path / "train" / "main.npy")
    assert stack.shape[1:] == (3, 16, 20)
    assert len(dataset) > 20


def test_self_supervised(storage, tmp_path):
    size = ("rois.0.size=[24, 20, 16]", "preprocess.0.spacing=[5.0, 4.4, 4.2]")
    dataset = make("pet/self_supervised.json", storage, tmp_path / "out", *size, exit_code=0)
    assert [entry["targets"] for entry in dataset.summary["pairs"]] == [[]]
    assert dataset.summary["cases"].keys() == {f"d1/a/fdg/{patient}" for patient in PATIENTS}
    volume = zyx(storage, "100pc", "b1")[0].astype(np.float64)
    shape = tuple(round(a / b * n) for a, b, n in zip((5, 4, 4), (5.0, 4.4, 4.2), volume.shape, strict=True))
    factors = [m / n for m, n in zip(shape, volume.shape, strict=True)]
    expected = ndimage.zoom(volume, factors, order=3, mode="nearest", grid_mode=True).clip(volume.min(), volume.max())
    rows = [row for row in dataset.rows() if row["attributes"]["patient"] == "b1"]
    assert rows
    for row in rows:
        box = tuple(slice(a, b) for a, b in zip(row["views"][""]["start"], row["views"][""]["stop"], strict=True))
        np.testing.assert_allclose(dataset.read(row["arrays"]["main"])[0], expected[box], atol=1e-5 * np.ptp(expected))


def test_multi_dose(storage, tmp_path):
    dataset = make("pet/multi_dose.json", storage, tmp_path / "out", *SMALL)
    assert {(entry["split"], entry["pair"]) for entry in dataset.summary["pairs"]} == {
        (s, p) for s in ("train", "val") for p in ("low", "half")
    }
    files = {f"{split}/{pair}.npy" for split in ("train", "val") for pair in ("low", "half")}
    assert {name["file"] for row in dataset.rows() for name in row["arrays"].values()} == files
    row = next(dataset.select(split="train", pair="half").rows())
    assert row["attributes"]["pair"] == ["low", "half"]
    low, half = (dataset.read(row["arrays"][name]) for name in ("low", "half"))
    np.testing.assert_array_equal(low[[0, 2, 3]], half[[0, 2, 3]])
    assert (low[1] != half[1]).any()
    assert {2049.0, 4097.0} & set(np.unique(low[2]))
    assert {value for r in dataset.rows() for value in np.unique(dataset.read(r["arrays"]["low"])[2])} <= {0, 2049, 4097}
    labels = [r["attributes"]["label"] for r in dataset.rows()]
    assert labels.count(2049) > 0
    assert labels.count(4097) > 0


def test_steps_and_selections_of_one_pair(storage, tmp_path):
    """A step for the pair "half" takes the cases that have it beside another, and passes by those that have not."""
    spec = json.loads((SPECS / "pet/multi_dose.json").read_text())
    train, val = spec["source"]["cohorts"]
    val["pairs"] = {"low": val["pairs"]["low"]}
    train["cases"], val["cases"], spec["source"]["root"] = 3, 2, str(storage)
    spec["rois"] = [{"use": "whole"}]
    spec["filter"] = []
    spec["write"] = [
        {"use": "npy", "path": "{split}/{patient}/{array}.npy"},
        {"use": "npy", "path": "half/{patient}.npy", "layers": ["ct", "50pc"], "dtype": "float32", "when": {"pair": "half"}},
    ]
    summary = run(spec, output=tmp_path / "out", folder=tmp_path, workers=0)
    assert summary.exit_code == 1
    dataset = curate_core.open(tmp_path / "out")
    rows = list(dataset.rows())
    assert [row["attributes"]["pair"] for row in rows if row["attributes"]["split"] == "val"] == ["low"] * 2
    assert all(("stack" in row["arrays"]) == (row["attributes"]["split"] == "train") for row in rows)
    assert [len(dataset.select(pair=pair)) for pair in ("low", "half", ["low", "half"])] == [5, 3, 5]


def test_the_seed_decides_the_draw(storage, tmp_path):
    drawn = set()
    for seed in range(4):
        settings = ("source.cohorts.0.cases=2", "source.cohorts.1.cases=1", f"seed={seed}", 'rois=[{"use": "whole"}]', "filter=[]")
        write = 'write=[{"use": "npy", "path": "{case}.{array}.npy"}]'
        dataset = make("pet/npy.json", storage, tmp_path / f"out{seed}", *settings, write)
        drawn.add(tuple(row["case"] for row in dataset.select(split="train").rows()))
    assert len(drawn) > 1


def test_hdf5(storage, tmp_path):
    dataset = make("pet/hdf5.json", storage, tmp_path / "out", *DRAW, "preprocess.0.spacing=[6.0, 5.0, 3.0]")
    with h5py.File(dataset.path / "studies.h5") as file:
        for row in dataset.rows():
            group = file[row["attributes"]["split"]][row["case"]]
            assert set(group) == {"ct", "25pc", "100pc"}
            assert len({group[name].shape for name in group}) == 1
            volume, affine = zyx(storage, "100pc", row["case"])
            shape = tuple(round(a / b * n) for a, b, n in zip((5, 4, 4), (6.0, 5.0, 3.0), volume.shape, strict=True))
            assert group["100pc"].shape == shape
            factors = [m / n for m, n in zip(shape, volume.shape, strict=True)]
            expected = ndimage.zoom(volume.astype(np.float64), factors, order=3, mode="nearest", grid_mode=True)
            np.testing.assert_allclose(group["100pc"][...], expected, atol=1e-5 * np.ptp(expected))
            corner = np.asarray(group["100pc"].attrs["affine"]) @ [-0.5, -0.5, -0.5, 1]
            np.testing.assert_allclose(corner, affine @ [-0.5, -0.5, -0.5, 1], atol=1e-4)


def test_blosc2(storage, tmp_path):
    dataset = make("pet/blosc2.json", storage, tmp_path / "out", *DRAW)
    for row in dataset.rows():
        for layer in ("ct", "10pc", "50pc", "100pc", "organs"):
            stored = blosc2.open(str(dataset.path / f"d1/a/fdg/{layer}/{row['case']}.b2nd"), mode="r")
            values = np.asarray(stored[:]).reshape(38, 34, 30)
            if layer == "ct":
                expected = resampled(storage, row["case"])
                np.testing.assert_allclose(values, expected, atol=1e-5 * np.ptp(expected))
            else:
                np.testing.assert_array_equal(values, zyx(storage, layer, row["case"])[0])
                assert values.dtype == (np.uint16 if layer == "organs" else np.float32)


def test_what_a_type_would_lose_is_refused(storage, tmp_path):
    """80,000 Bq/ml are infinite in float16."""
    out = tmp_path / "out"
    summary = run(
        SPECS / "pet/npy.json", settings=[f"source.root={storage}", *SMALL, "rois.0.min_fraction=0.0", "write.0.dtype=float16"], output=out
    )
    assert summary.written == 0
    reasons = [row["reason"] for row in curate_core.open(out).quarantined() if row["case"] != LACKS[0]]
    assert len(reasons) == 5
    assert all("cannot become float16 without loss" in reason for reason in reasons)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_bytes(storage, patches, workers, tmp_path):
    run(SPECS / "pet/npy.json", settings=[f"source.root={storage}", *SMALL], output=tmp_path / "out", workers=workers)
    for name in ("manifest.jsonl", "train/main.npy", "val/main.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (patches.path / name).read_bytes()


CONFIG = """
train:
  d1: {{a: {{fdg: {{low: {{inputs: [ct, 10pc], targets: [organs, 10pc], patients: 3}},
                 half: {{inputs: [ct, 50pc], targets: [organs, 50pc], patients: 3}},
                 resample_to: 50pc}}}}}}
val:
  d1: {{a: {{fdg: {{low: {{inputs: [ct, 10pc], targets: [organs, 10pc], patients: 2}},
                 half: {{inputs: [ct, 50pc], targets: [organs, 50pc], patients: 2}},
                 resample_to: 50pc}}}}}}
patch_size: [8.0, 10.0, 12.0]
src_dir: {storage}
save_dir: {out}
"""


def test_a_configuration_of_nucli_train_runs(storage, tmp_path):
    """train and val at once; arrays in nibabel's order, x first."""
    (tmp_path / "data_cfg.yaml").write_text(CONFIG.format(storage=storage, out=tmp_path / "out"))
    spec = tmp_path / "spec.json"
    assert main(["import", "nucli", str(tmp_path / "data_cfg.yaml"), "--format", "npy", "-o", str(spec), "-q"]) == 0
    coords = tmp_path / "coords"
    written = json.loads(spec.read_text())
    written["source"]["incomplete"] = "ignore"
    spec.write_text(json.dumps(written))
    assert main(["run", str(spec), "-q"]) == 0
    dataset = curate_core.open(tmp_path / "out")
    row = next(dataset.rows())
    volume = np.asarray(nibabel.load(storage / f"d1/a/fdg/10pc/{row['attributes']['patient']}.nii.gz").dataobj)
    box = tuple(slice(a, b) for a, b in zip(row["views"][""]["start"], row["views"][""]["stop"], strict=True))
    arrays = dataset.read(row["arrays"]["low"])
    assert arrays.shape == (4, 8, 10, 12)
    np.testing.assert_allclose(arrays[1], volume[box], rtol=1e-6)
    np.testing.assert_array_equal(arrays[3], arrays[1])  # an input may be a target as well

    coords.mkdir()
    (coords / "d1/a/fdg").mkdir(parents=True)
    for patient in PATIENTS:
        np.save(coords / f"d1/a/fdg/{patient}.npy", np.array([[15, 17, 19], [10, 10, 10]]))
    command = ["import", "nucli", str(tmp_path / "data_cfg.yaml"), "--patch-coords", str(coords), "-o", str(spec), "--overwrite", "-q"]
    assert main(command) == 0
    assert main(["run", str(spec), "--output", str(tmp_path / "out2"), "-q"]) == 1
    dataset = curate_core.open(tmp_path / "out2")
    assert len(dataset) == 2 * 5
    row = next(dataset.rows())
    volume = np.asarray(nibabel.load(storage / f"d1/a/fdg/10pc/{row['attributes']['patient']}.nii.gz").dataobj)
    np.testing.assert_allclose(dataset.read(row["arrays"]["low"])[1], volume[11:19, 12:22, 13:25], rtol=1e-6)
