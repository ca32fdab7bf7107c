"""specs/em/cleanup2d.json against its rules in whole numbers and fractions, and against what the published script lost."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import skimage
import tifffile
from PIL import Image

import curate_core
from curate_core.errors import RequestError
from curate_core.runner import run
from curate_core.swapping import swap

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs/em/cleanup2d.json"
PICTURES = Path(skimage.__file__).parent / "data"


def by_the_rule(image: np.ndarray) -> np.ndarray:
    """One value at a time, exactly, half rounded up."""

    def scaled(value: Fraction) -> int:
        return math.floor(value * 255 + Fraction(1, 2))

    if image.dtype.itemsize == 1 and image.dtype.kind == "u":
        return image
    if image.dtype.kind in "iu":
        bits, low = 8 * image.dtype.itemsize, int(np.iinfo(image.dtype).min)
        if bits == 8:
            return np.array([[int(v) - low for v in row] for row in image], np.uint8)
        return np.array([[scaled(Fraction(int(v) - low, 2**bits)) for v in row] for row in image], np.uint8)
    finite = image[np.isfinite(image)]
    low, high = Fraction(float(finite.min())), Fraction(float(finite.max()))

    def of(value: float) -> int:
        if math.isnan(value) or low == high:
            return 0
        if math.isinf(value):
            return 255 if value > 0 else 0
        return scaled((Fraction(value) - low) / (high - low))

    return np.array([[of(float(v)) for v in row] for row in image], np.uint8)


def images(folder: Path) -> dict[str, np.ndarray]:
    """Groups of images in all kinds; the channel that counts, by path."""
    rng = np.random.default_rng(0)
    truth = {}

    def tiff(name: str, values: np.ndarray, **options) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(folder / name, values, **options)
        truth[name] = values

    for dtype in ("uint16", "int8", "int16", "uint32", "int32"):
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, (23, 31), dtype=dtype, endpoint=True)
        values[0, :2] = info.min, info.max
        tiff(f"ints/{dtype}.tif", values)
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    tiff("ints/every.tif", every)
    tiff("floats/plain.tif", rng.normal(3, 500, (23, 31)).astype(np.float32))  # far above 1
    tiff("floats/double.tif", rng.normal(-4, 1e-3, (23, 31)))
    tiff("floats/constant.tif", np.full((8, 9), 0.7, np.float32))
    holes = rng.random((8, 9)).astype(np.float32)
    holes[0, 0], holes[1, 1], holes[2, 2] = np.nan, np.inf, -np.inf
    tiff("floats/holes.tif", holes)
    tiff("prints/dpi.tif", rng.integers(0, 256, (24, 24), dtype=np.uint8), resolution=(300, 300), resolutionunit="inch")
    (folder / "colours").mkdir()
    for name in ("camera.png", "astronaut.png", "rocket.jpg", "chelsea.png", "logo.png"):
        (folder / "colours" / name).write_bytes((PICTURES / name).read_bytes())
        pixels = np.asarray(Image.open(PICTURES / name))
        truth[f"colours/{name}"] = pixels if pixels.ndim == 2 else pixels[..., 0]
    Image.fromarray(truth["colours/camera.png"][:50, :61]).save(folder / "colours/part.bmp")
    truth["colours/part.bmp"] = truth["colours/camera.png"][:50, :61]
    deep = rng.integers(0, 65536, (20, 30)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "colours/deep.png")
    truth["colours/deep.png"] = deep
    return truth


def test_every_image_follows_the_rule(tmp_path):
    (tmp_path / "images").mkdir()
    truth = images(tmp_path / "images")
    summary = run(SPEC, settings=[f"source.root={tmp_path / 'images'}"], output=tmp_path / "out", workers=0)
    assert summary.exit_code == 0
    dataset = curate_core.open(tmp_path / "out")
    assert len(dataset) == len(truth)
    for row in dataset.rows():
        (name,) = row["sources"]["image"]
        group, file = name.split("/")
        stem, _, ending = file.rpartition(".")
        assert {key: row["attributes"][key] for key in ("group", "image", "ext")} == {"group": group, "image": stem, "ext": ending}
        written = tifffile.imread(dataset.path / group / f"{stem}.tiff")
        assert written.dtype == np.uint8
        np.testing.assert_array_equal(written, by_the_rule(truth[name]), err_msg=name)


def test_luminance_is_a_setting(tmp_path):
    (tmp_path / "images/a").mkdir(parents=True)
    (tmp_path / "images/a/x.png").write_bytes((PICTURES / "astronaut.png").read_bytes())
    settings = [f"source.root={tmp_path / 'images'}", "preprocess.0.channel=luminance"]
    run(SPEC, settings=settings, output=tmp_path / "out", workers=0)
    with Image.open(PICTURES / "astronaut.png") as truth:
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/a/x.tiff"), np.asarray(truth.convert("L")))


def test_an_unreadable_image_costs_only_itself(tmp_path):
    """There, it dropped its whole group, or was saved as a copy of the one before."""
    folder = tmp_path / "images/group"
    folder.mkdir(parents=True)
    for name in ("a", "b", "d"):
        Image.fromarray(np.full((9, 9), ord(name), np.uint8)).save(folder / f"{name}.png")
    (folder / "c.png").write_bytes((folder / "b.png").read_bytes()[:50])
    (folder / "notes.txt").write_text("beamtime 7")
    tifffile.imwrite(folder / "dark.tif", np.arange(256, dtype=np.uint16).reshape(16, 16))  # 16 bits that hold bytes: all zero there
    summary = run(SPEC, settings=[f"source.root={tmp_path / 'images'}"], output=tmp_path / "out", workers=0)
    assert summary.exit_code == 1
    dataset = curate_core.open(tmp_path / "out")
    assert [row["attributes"]["image"] for row in dataset.rows()] == ["a", "b", "d"]
    assert [int(sample["image"][0, 0]) for sample in dataset] == [ord("a"), ord("b"), ord("d")]
    reasons = {Path(line["files"][0]).name: line["reason"] for line in dataset.quarantined()}
    assert set(reasons) == {"c.png", "notes.txt", "dark.tif"}
    assert "the image cannot be decoded" in reasons["c.png"]
    assert "no installed reader takes files that end in '.txt'" in reasons["notes.txt"]
    assert "uint16 values of layer 'image' reach only from 0 to 255: by type they would be as good as constant" in reasons["dark.tif"]


def test_in_place_is_a_dataset_and_a_swap(tmp_path):
    """Sources are replaced when all copies are there, originals are kept, and nothing is cleaned twice."""
    (tmp_path / "images").mkdir()
    truth = images(tmp_path / "images")
    before = {name: (tmp_path / "images" / name).read_bytes() for name in truth}
    settings = [f"source.root={tmp_path / 'images'}"]
    run(SPEC, settings=settings, output=tmp_path / "out", workers=0)
    assert len(swap(tmp_path / "out").done) == len(truth)
    cleaned = {}
    for name, values in truth.items():
        path = (tmp_path / "images" / name).with_suffix(".tiff")
        np.testing.assert_array_equal(tifffile.imread(path), by_the_rule(values), err_msg=name)
        cleaned[path] = path.read_bytes()
        assert (tmp_path / "images.originals" / name).read_bytes() == before[name]
    assert sum(p.is_file() for p in (tmp_path / "images").glob("[!.]*/*")) == len(truth)
    run(SPEC, settings=settings, output=tmp_path / "out", workers=0)
    again = swap(tmp_path / "out")
    assert (again.done, len(again.already)) == ((), len(truth))
    assert {path: path.read_bytes() for path in cleaned} == cleaned


def test_one_name_for_two_images_is_an_error(tmp_path):
    """There, x.tif overwrote x.png."""
    folder = tmp_path / "images/group"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "x.png")
    tifffile.imwrite(folder / "x.tif", np.ones((9, 9), np.uint8))
    with pytest.raises(RequestError, match=r"case 'group-x' has two files for the layer 'image': .*x\.(png|tif) and .*x\.(png|tif)"):
        run(SPEC, settings=[f"source.root={tmp_path / 'images'}"], output=tmp_path / "out", workers=0)


def test_nan_is_refused_where_asked_for(tmp_path):
    (tmp_path / "images/a").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "images/a/x.tif", np.array([[1, np.nan], [2, 3]], np.float32))
    settings = [f"source.root={tmp_path / 'images'}", "preprocess.1.nan=error"]
    assert run(SPEC, settings=settings, output=tmp_path / "out", workers=0).exit_code == 1
    (line,) = curate_core.open(tmp_path / "out").quarantined()
    assert "1 of 4 values are NaN or infinite" in line["reason"]
