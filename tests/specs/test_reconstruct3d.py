"""specs/em/reconstruct3d.json behind patchify3d, on volumes of several formats and folders, against slices of numpy."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import SimpleITK
import tifffile
from scipy.ndimage import gaussian_filter

import curate_core
from curate_core.runner import run

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs/em/reconstruct3d.json"
SIZE = 32


def tissue(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32), 2)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Two folders of volumes, one dataset of two -ROI- volumes among them; their patches, curated."""
    folder = tmp_path_factory.mktemp("reconstruct")
    truth = {
        "one/liver-ROI-0-64_0-48_0-40": tissue(0, (40, 48, 64)),
        "two/liver-ROI-64-128_0-48_0-40": tissue(1, (40, 48, 64)),
        "two/brain": tissue(2, (34, 40, 36)),
        "one/flat": tissue(3, (6, 40, 70)),
    }
    for path, volume in truth.items():
        (folder / path).parent.mkdir(exist_ok=True)
        if "brain" in path:
            tifffile.imwrite(folder / f"{path}.tif", volume, photometric="minisblack")
        elif "flat" in path:
            with mrcfile.new(folder / f"{path}.mrc") as file:
                file.set_data(volume.astype(np.int16))
                file.voxel_size = (4, 4, 40)
        else:
            image = SimpleITK.GetImageFromArray(volume)
            image.SetSpacing((4.0, 4.0, 4.0))
            ending = "nii.gz" if "two" in path else "nrrd"
            SimpleITK.WriteImage(image, str(folder / f"{path}.{ending}"))
    common = [f"source.root={folder}", 'source.pattern=["one/{case}.{ext}", "two/{case}.{ext}"]']
    patchify = [*common, f"rois.0.size={SIZE}", "preprocess.0.range=min-max", "rois.0.spacing=3", 'filter=[{"use": "limit", "count": 60}]']
    run(ROOT / "specs/em/patchify3d.json", settings=patchify, output=folder / "patches", workers=0)
    return folder, {Path(path).name: volume for path, volume in truth.items()}, common


def rebuilt(lab, out: Path, *more: str):
    folder, _, common = lab
    settings = [*common, f"rois.0.patches={folder / 'patches/manifest.jsonl'}", "rois.0.max_overlap=1", *more]
    assert run(SPEC, settings=settings, output=out, workers=0).exit_code == 0
    return curate_core.open(out)


def expected(lab, depth: int) -> dict[str, np.ndarray]:
    """Every flipbook of every patch that has enough slices around it, by its file."""
    folder, truth, _ = lab
    found = {}
    for path in (folder / "patches").rglob("*.tiff"):
        volume, _, place = path.stem.partition("-LOC-")
        axis, index, rows, columns = place.split("_")
        voxels = np.moveaxis(truth[volume], int(axis), 0)
        first = int(index) - depth // 2
        if first < 0 or first + depth > len(voxels):
            continue
        (y0, y1), (x0, x1) = (map(int, edge.split("-")) for edge in (rows, columns))
        name = f"{volume.partition('-ROI-')[0]}/{volume}-LOC-{axis}_{first}-{first + depth}_{rows}_{columns}.tif"
        found[name] = voxels[first : first + depth, y0:y1, x0:x1]
    return found


@pytest.mark.parametrize("depth", [5, 12])
def test_flipbooks_are_the_slices_around_the_patches(lab, tmp_path, depth):
    dataset = rebuilt(lab, tmp_path / "out", f"rois.0.depth={depth}")
    truth = expected(lab, depth)
    files = {row["arrays"]["image"]["file"] for row in dataset.rows()}
    assert files == set(truth)
    assert {name.split("/")[0] for name in files} == ({"liver", "brain", "flat"} if depth == 5 else {"liver", "brain"})
    assert len({row["case"] for row in dataset.rows()}) == (4 if depth == 5 else 3)
    for name in files:
        np.testing.assert_array_equal(tifffile.imread(dataset.path / name), truth[name], err_msg=name)


def test_a_folder_of_names_serves_as_well(lab, tmp_path):
    """Filtered by hand, say: some patches moved into a folder of their own."""
    folder, _, _ = lab
    for path in sorted((folder / "patches").rglob("*.tiff"))[::4]:
        target = tmp_path / "kept" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    dataset = rebuilt(lab, tmp_path / "out", f"rois.0.patches={tmp_path / 'kept'}")
    stems = {path.stem for path in (tmp_path / "kept").rglob("*.tiff")}
    assert 0 < len(dataset) <= len(stems)
    assert {row["arrays"]["image"]["file"] for row in dataset.rows()} <= set(expected(lab, 5))


def test_limit_and_overlap(lab, tmp_path):
    few = rebuilt(lab, tmp_path / "few", "rois.0.limit=3")
    counts = {case: sum(row["case"] == case for row in few.rows()) for case in lab[1]}
    assert max(counts.values()) == 3
    assert len(few) == sum(counts.values()) > 6
    again = rebuilt(lab, tmp_path / "again", "rois.0.limit=3")
    assert [row["id"] for row in again.rows()] == [row["id"] for row in few.rows()]
    apart = rebuilt(lab, tmp_path / "apart", "rois.0.max_overlap=0")
    assert 0 < len(apart) < len(expected(lab, 5))
    seen: dict[str, np.ndarray] = {}
    for row in apart.rows():
        view = next(iter(row["views"].values()))
        taken = seen.setdefault(row["case"], np.zeros(lab[1][row["case"]].shape, bool))
        where = tuple(slice(a, b) for a, b in zip(view["start"], view["stop"], strict=True))
        assert not taken[where].any()
        taken[where] = True
