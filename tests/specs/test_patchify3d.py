"""specs/em/patchify3d.json against the rules of patchify3d, computed independently: numpy slices, ImageHash, brute force."""

import hashlib
import json
from pathlib import Path

import imagehash
import mrcfile
import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

import curate_core
from curate_core.runner import run

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs/em/patchify3d.json"
SIZE, DISTANCE = 224, 12


def tissue(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32), 4)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """One volume in each format, written by the format's own library; uint8 truth in zyx order."""
    folder = tmp_path_factory.mktemp("volumes")
    truth = {}
    truth["isotropic"] = tissue(0, (230, 240, 250))
    image = SimpleITK.GetImageFromArray(truth["isotropic"])
    image.SetSpacing((4.0, 4.0, 4.8))  # z within a quarter of x
    SimpleITK.WriteImage(image, str(folder / "isotropic.nrrd"))
    truth["anisotropic"] = tissue(1, (9, 340, 560))
    with mrcfile.new(folder / "anisotropic.mrc") as file:
        file.set_data((truth["anisotropic"].astype(np.int32) * 257 - 32768).astype(np.int16))  # 257 = 65535 / 255: scales back exactly
        file.voxel_size = (40, 40, 400)
    truth["flight_video"] = tissue(2, (12, 230, 230))
    tifffile.imwrite(
        folder / "flight_video.tif", truth["flight_video"], photometric="minisblack", resolution=(300, 300), resolutionunit="inch"
    )
    mni = nibabel.load(ROOT / "specs/data/mni152_t1.nii.gz")
    truth["brain"] = np.asarray(mni.dataobj).T
    (folder / "brain.nii.gz").write_bytes((ROOT / "specs/data/mni152_t1.nii.gz").read_bytes())
    (folder / ".hidden.nrrd").write_bytes(b"")
    return folder, truth


def edges(length: int) -> list[tuple[int, int]]:
    return [(i * SIZE, min(i * SIZE + SIZE, length)) for i in range(max(1, round(length / SIZE)))]


def expected_tiles(name: str, volume: np.ndarray) -> dict[str, np.ndarray]:
    """Every tile by its name, as the rules say."""
    tiles = {}
    axes = (0,) if name in ("anisotropic", "flight_video") else (0, 1, 2)
    for axis in axes:
        for index in range(volume.shape[axis]):
            section = volume.take(index, axis)
            number = str(index).zfill(len(str(volume.shape[axis] - 1)))
            for y0, y1 in edges(section.shape[0]):
                for x0, x1 in edges(section.shape[1]):
                    tiles[f"{name}-LOC-{axis}_{number}_{y0}-{y1}_{x0}-{x1}"] = section[y0:y1, x0:x1]
    return tiles


def bits(tile: np.ndarray) -> np.ndarray:
    return imagehash.dhash(Image.fromarray(np.ascontiguousarray(tile))).hash.ravel()


@pytest.fixture(scope="module")
def dataset(volumes, tmp_path_factory):
    out = tmp_path_factory.mktemp("patchify3d") / "out"
    summary = run(SPEC, settings=[f"source.root={volumes[0]}"], output=out, workers=2)
    assert summary.exit_code == 0
    return curate_core.open(out)


def test_the_tiles_and_names_are_those_of_the_rules(volumes, dataset):
    tiles = {name: tile for case, volume in volumes[1].items() for name, tile in expected_tiles(case, volume).items()}
    assert any(name.startswith("isotropic-LOC-2_249_") for name in tiles), "last slices are taken"
    assert dataset.summary["found"] == len(tiles)
    for row, arrays in zip(dataset.rows(), dataset, strict=True):
        path = Path(row["arrays"]["image"]["file"])
        assert path.parent.name == row["case"]
        assert path.suffix == ".tiff"
        np.testing.assert_array_equal(arrays["image"], tiles[path.stem])
        np.testing.assert_array_equal(tifffile.imread(dataset.path / path), tiles[path.stem])


def test_the_kept_set_obeys_the_greedy_rule(volumes, dataset):
    """No two kept within the distance; every dropped one within it of the kept one that it names."""
    roi_of = {}
    for case, volume in volumes[1].items():
        for name, tile in expected_tiles(case, volume).items():
            _, _, place = name.partition("-LOC-")
            axis, index, rows, columns = place.split("_")
            spans = [rows, columns]
            spans.insert(int(axis), f"{int(index)}-{int(index) + 1}")
            roi_of[f"{case}:{','.join(spans)}"] = tile
    kept: dict[str, dict[str, np.ndarray]] = {}
    for row in dataset.rows():
        kept.setdefault(row["case"], {})[row["id"]] = bits(roi_of[row["id"]])
    for hashes in kept.values():
        codes = np.array(list(hashes.values()))
        distances = (codes[:, None] != codes[None]).sum(axis=2)
        assert distances[~np.eye(len(codes), dtype=bool)].min(initial=64) > DISTANCE
    dropped = list(dataset.dropped())
    assert len(dropped) + len(dataset) == len(roi_of)
    for row in dropped:
        distance = int((bits(roi_of[row["id"]]) != kept[row["case"]][row["because"]]).sum())
        assert distance <= DISTANCE
        assert row["score"] == distance
        assert row["step"] == "near-duplicates"


@pytest.mark.parametrize("workers", [0, 1, 5])
def test_any_number_of_workers_gives_the_same_bytes(volumes, dataset, workers, tmp_path):
    run(SPEC, settings=[f"source.root={volumes[0]}"], output=tmp_path / "out", workers=workers)

    def tree(folder: Path) -> dict[str, str]:
        files = (p for p in sorted(folder.rglob("*")) if p.is_file() and ".curate" not in p.relative_to(folder).parts)
        return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    assert tree(tmp_path / "out") == tree(dataset.path)


def test_the_manifest_says_where_each_sample_is_from(dataset):
    row = dataset.row(len(dataset) - 1)
    assert set(row) == {"id", "case", "attributes", "sources", "views", "scores", "arrays", "sha256"}
    assert all(r["sources"]["image"][0].split(".")[0] == r["case"] for r in dataset.rows())
    lock = json.loads((dataset.path / "spec.lock.json").read_text())
    readers = {case: entry["readers"]["image"] for case, entry in lock["cases"].items()}
    assert readers == {
        "isotropic": "curate-itk:itk",
        "anisotropic": "curate-mrc:mrc",
        "flight_video": "curate-tiff:tiff",
        "brain": "curate-nifti:nifti",
    }
    assert dataset.verify() == []
