"""specs/em/crop_rois.json on volumes that each format's own library wrote; nothing is loaded, by what a reader is asked for."""

import re
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import SimpleITK
import tifffile

import curate_core
from curate_core.runner import run

SPEC = Path(__file__).parents[2] / "specs/em/crop_rois.json"
NAME = re.compile(r"(\w+)-ROI-x(\d+)-(\d+)_y(\d+)-(\d+)_z(\d+)-(\d+)\.nrrd")
SHAPE = (64, 80, 96)


def planted(seed, dtype):
    """Padding but for 6 whole cubes of 16 and two halves: one of 60 % data, one of 80 %."""
    rng = np.random.default_rng(seed)
    voxels, cubes = np.zeros(SHAPE, dtype), []
    places = rng.permutation(4 * 5 * 6)[:8]
    for number, place in enumerate(places.tolist()):
        z, y, x = (16 * int(i) for i in np.unravel_index(place, (4, 5, 6)))
        rows = {6: 10, 7: 13}.get(number, 16)
        voxels[z : z + 16, y : y + rows, x : x + 16] = rng.integers(1, 100, (16, rows, 16))
        if number != 6:
            cubes.append((z, y, x))
    return voxels, sorted(cubes)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    truth = {
        name: planted(seed, dtype) for seed, (name, dtype) in enumerate({"a": "int16", "b": "uint8", "c": "uint8", "d": "uint16"}.items())
    }
    with mrcfile.new(folder / "a.mrc") as file:
        file.set_data(truth["a"][0])
        file.voxel_size = (40, 50, 60)
    image = SimpleITK.GetImageFromArray(truth["b"][0])
    image.SetSpacing((4e-6, 5e-6, 6e-6))
    SimpleITK.WriteImage(image, str(folder / "b.nrrd"))
    tifffile.imwrite(folder / "c.tif", truth["c"][0], photometric="minisblack")
    tifffile.imwrite(folder / "d.tif", truth["d"][0], photometric="minisblack", compression="zlib", tile=(32, 32))
    small = np.random.default_rng(9).integers(0, 256, (6, 9, 7), np.uint8)
    tifffile.imwrite(folder / "small.tif", small, photometric="minisblack")
    return folder, truth, small


def crop(volumes, out, *more):
    return run(SPEC, settings=[f"source.root={volumes[0]}", "rois.0.size=16", "rois.0.min_gb=1e-6", *more], output=out, workers=0)


def test_exactly_the_cubes_that_hold_data(volumes, tmp_path):
    _, truth, small = volumes
    assert crop(volumes, tmp_path / "out").exit_code == 0
    found = {}
    for file in sorted((tmp_path / "out").glob("*-ROI-*.nrrd")):
        name, *edges = NAME.fullmatch(file.name).groups()
        x, y, z = (slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))
        image = SimpleITK.ReadImage(str(file))
        values = SimpleITK.GetArrayFromImage(image)
        np.testing.assert_array_equal(values, truth[name][0][z, y, x])
        assert values.dtype == truth[name][0].dtype
        if name in "ab":
            np.testing.assert_allclose(image.GetSpacing(), (4e-6, 5e-6, 6e-6), rtol=1e-5)
        found.setdefault(name, []).append((z.start, y.start, x.start))
    assert {name: sorted(cubes) for name, cubes in found.items()} == {name: cubes for name, (_, cubes) in truth.items()}
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out/small.nrrd"))), small)
    assert curate_core.open(tmp_path / "out").verify() == []


def test_cropped_or_whole_by_size(volumes, tmp_path):
    _, truth, _ = volumes
    size = np.prod(SHAPE) / 1e9
    crop(volumes, tmp_path / "out", f"rois.0.min_gb={size}", "rois.0.count=2")
    names = sorted(file.name for file in (tmp_path / "out").glob("*.nrrd"))
    assert [name for name in names if "-ROI-" not in name] == ["b.nrrd", "c.nrrd", "small.nrrd"], (
        "bytes are as large as min_gb, not over it"
    )
    assert sum("-ROI-" in name for name in names) == 4
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out/b.nrrd"))), truth["b"][0])


def test_what_is_read_are_the_cubes_alone(volumes, tmp_path, monkeypatch):
    """Once the padding is known to be none, no box is asked for but the cubes."""
    import curate_core.arrays

    asked = []
    original = curate_core.arrays.OpenedArray.read_box
    monkeypatch.setattr(curate_core.arrays.OpenedArray, "read_box", lambda self, where: asked.append(where) or original(self, where))
    crop(volumes, tmp_path / "out", "rois.0.padding_value=null", "rois.0.count=2", 'source.pattern="{case}.mrc"')
    assert asked
    assert all(s.stop - s.start <= 16 for where in asked for s in where)
