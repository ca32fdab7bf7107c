"""specs/em/mrc2byte.json: every mode of MRC, written by mrcfile or by hand, against the rule in whole numbers."""

import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import SimpleITK

import curate_core
from curate_core.errors import RequestError
from curate_core.runner import run

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs/em/mrc2byte.json"
SHAPE = (5, 6, 8)


def min_max(volume: np.ndarray) -> np.ndarray:
    """round_half_up((v - min) / (max - min) * 255), exactly for integers."""
    if volume.dtype.kind == "f":
        wide = volume.astype(np.float64)
        return np.floor((wide - wide.min()) / (wide.max() - wide.min()) * 255 + 0.5).astype(np.uint8)
    span = int(volume.max()) - int(volume.min())
    return np.array([(2 * 255 * (int(v) - int(volume.min())) + span) // (2 * span) for v in volume.ravel()], np.uint8).reshape(volume.shape)


def write(path: Path, values: np.ndarray) -> None:
    with mrcfile.new(path) as file:
        file.set_data(values)
        file.voxel_size = (40, 40, 60)  # Angstrom


def volumes(folder: Path) -> dict[str, np.ndarray]:
    """Case -> bytes to expect."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    truth = {}
    signed = rng.integers(-128, 127, SHAPE, dtype=np.int8, endpoint=True)
    write(folder / "mode0.mrc", signed)
    truth["mode0"] = (signed.astype(np.int16) + 128).astype(np.uint8)
    for mode, values in {
        "mode1": rng.integers(-900, 2100, SHAPE, dtype=np.int16),
        "mode2": rng.normal(12, 300, SHAPE).astype(np.float32),
        "mode6": rng.integers(30, 4000, SHAPE, dtype=np.uint16),
        "mode12": rng.normal(0, 1, SHAPE).astype(np.float16),
    }.items():
        write(folder / f"{mode}.mrc", values)
        truth[mode] = min_max(values)
    colours = rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    (folder / "mode16.mrc").write_bytes(header(16) + colours.tobytes())
    weights = np.array([19595, 38470, 7471])
    truth["mode16"] = ((colours.astype(np.int64) @ weights + 0x8000) >> 16).astype(np.uint8)
    packed = rng.integers(0, 16, SHAPE).astype(np.uint8)
    (folder / "mode101.mrc").write_bytes(header(101) + (packed[..., ::2] | packed[..., 1::2] << 4).tobytes())
    truth["mode101"] = packed
    write(folder / "mode4.mrc", (rng.normal(size=SHAPE) + 1j).astype(np.complex64))
    return truth


def header(mode: int) -> bytes:
    """MRC2014, 1024 bytes, for modes that mrcfile does not write."""
    z, y, x = SHAPE
    head = bytearray(1024)
    struct.pack_into("<10i", head, 0, x, y, z, mode, 0, 0, 0, x, y, z)
    struct.pack_into("<6f", head, 40, x * 40.0, y * 40.0, z * 60.0, 90, 90, 90)
    struct.pack_into("<3i", head, 64, 1, 2, 3)
    struct.pack_into("<i", head, 88, 1)
    head[208:216] = b"MAP DD\0\0"
    return bytes(head)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mrc")
    truth = volumes(folder / "volumes")
    summary = run(SPEC, settings=[f"source.root={folder / 'volumes'}"], output=folder / "out", workers=0)
    return truth, curate_core.open(folder / "out"), summary


def test_every_mode_becomes_bytes(made):
    truth, dataset, _ = made
    assert sorted(row["case"] for row in dataset.rows()) == sorted(truth)
    for name, values in truth.items():
        image = SimpleITK.ReadImage(str(dataset.path / f"{name}.nrrd"))
        found = SimpleITK.GetArrayFromImage(image)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, values, err_msg=name)
        assert image.GetSpacing() == pytest.approx((4e-6, 4e-6, 6e-6)), name  # millimetres, as NRRD files of this house have


def test_transforms_are_put_aside(made):
    _, dataset, summary = made
    assert summary.exit_code == 1
    (line,) = dataset.quarantined()
    assert line["case"] == "mode4"
    assert "complex" in line["reason"]


def test_two_volumes_of_one_name_are_an_error(tmp_path):
    """There, the patches of one overwrote those of the other."""
    for name in ("x.mrc", "x.rec"):
        write(tmp_path / name, np.zeros(SHAPE, np.int8))
    with pytest.raises(RequestError, match=r"case 'x' has two files for the layer 'image': .*x\.mrc and .*x\.rec"):
        run(SPEC, settings=[f"source.root={tmp_path}"], output=tmp_path / "out", workers=0)


def test_the_bytes_go_on_to_patchify3d(made, tmp_path):
    _, dataset, _ = made
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes/mode2.nrrd").write_bytes((dataset.path / "mode2.nrrd").read_bytes())
    settings = [f"source.root={tmp_path / 'volumes'}", "rois.0.size=4", "filter=[]"]
    run(ROOT / "specs/em/patchify3d.json", settings=settings, output=tmp_path / "out", workers=0)
    planes = {row["attributes"]["plane"] for row in curate_core.open(tmp_path / "out").rows()}
    assert planes == {"xy"}, "voxels are half as long again as they are wide"
