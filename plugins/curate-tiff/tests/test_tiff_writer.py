"""What the writer leaves, read by tifffile, Pillow and imagecodecs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from curate_tiff import baseline
from curate_tiff.reader import TiffReader
from curate_tiff.writer import TiffWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from curate_core import Grid, LayerSource, StepError
from curate_core.testing import context

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (224, 224), dtype=np.uint8)


def write(path: Path, values: Any, axes: str, spacing: Any = None, **options: Any) -> Path:
    grid = Grid.from_spacing(values.shape, axes, spacing, "nm" if spacing else "")
    TiffWriter(path=path.name, **options).write_array(path, values, grid, {})
    return path


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]),
)
def test_baseline_by_tifffile_and_imagecodecs(tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int], dtype: str) -> None:
    path = tmp_path_factory.mktemp("baseline") / "v.tiff"
    values = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    baseline.write(path, values)
    with tifffile.TiffFile(path) as tif:
        assert len(tif.pages) == 1
        found = tif.pages[0].asarray()
        assert tif.series[0].axes == "YX"
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, values)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_baseline_by_pillow(tmp_path: Path, dtype: str) -> None:
    values = RNG.integers(0, 200, (7, 11)).astype(dtype)
    with Pillow.open(write(tmp_path / "v.tiff", values, "yx")) as found:
        assert np.array_equal(np.asarray(found), values)
        assert found.info.get("compression") == "raw"


def test_plain_patches_are_baseline_tiff_of_one_strip(tmp_path: Path) -> None:
    with tifffile.TiffFile(write(tmp_path / "v.tiff", GREY, "yx")) as tif:
        tags = {tag.name: tag.value for tag in tif.pages[0].tags.values()}
    assert sorted(set(tags) & {"DateTime", "Software", "ImageDescription", "HostComputer"}) == []
    required = {"ImageWidth", "ImageLength", "BitsPerSample", "Compression", "PhotometricInterpretation", "StripOffsets", "RowsPerStrip"}
    assert required | {"StripByteCounts", "XResolution", "YResolution", "ResolutionUnit"} <= set(tags)
    assert tags["StripOffsets"][0] % 2 == 0
    assert (tmp_path / "v.tiff").stat().st_size == GREY.nbytes + tags["StripOffsets"][0]


def test_what_the_baseline_does_not_hold() -> None:
    assert not baseline.can_hold(np.zeros((2, 3, 4), np.uint8))
    assert not baseline.can_hold(np.zeros((2, 3), bool))
    assert not baseline.can_hold(np.zeros((2, 3), complex))
    assert not baseline.can_hold(np.zeros((0, 3), np.uint8))


@pytest.mark.parametrize("compression", ["deflate", "zstd"])
def test_compression(tmp_path: Path, compression: Any) -> None:
    path = write(tmp_path / "v.tiff", np.zeros((224, 224), np.uint8), "yx", compression=compression)
    assert path.stat().st_size < 3000
    assert not tifffile.imread(path).any()
    with tifffile.TiffFile(path) as tif:
        names = {tag.name for tag in tif.pages[0].tags.values()}
    assert not names & {"DateTime", "Software", "ImageDescription"}


def test_stack_by_pillow(tmp_path: Path) -> None:
    stack = RNG.integers(0, 255, (3, 8, 9), dtype=np.uint8)
    with Pillow.open(write(tmp_path / "v.tif", stack, "zyx", stack=True)) as found:
        assert found.n_frames == 3  # type: ignore[attr-defined]
        for index in range(3):
            found.seek(index)
            assert np.array_equal(np.asarray(found), stack[index])


def test_colour_by_pillow(tmp_path: Path) -> None:
    colour = RNG.integers(0, 255, (8, 9, 3), dtype=np.uint8)
    with Pillow.open(write(tmp_path / "v.tif", colour, "yxc")) as found:
        assert found.mode == "RGB"
        assert np.array_equal(np.asarray(found), colour)


@pytest.mark.parametrize("axes", ["zyx", "yx"])
def test_imagej_metadata_reads_back(tmp_path: Path, axes: str) -> None:
    shape, spacing = (3, 8, 9)[-len(axes) :], (30.0, 4.0, 2.5)[-len(axes) :]
    path = write(tmp_path / "v.tif", np.ones(shape, np.uint16), axes, spacing, stack=True, metadata="imagej")
    grid = TiffReader().open(LayerSource((path,)), context("read")).grid
    assert (grid.axes, grid.unit) == (axes, "nm")
    assert grid.spacing == pytest.approx(spacing, rel=1e-6)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_imagej


def test_imagej_without_a_known_voxel_size(tmp_path: Path) -> None:
    path = write(tmp_path / "v.tif", np.ones((8, 9), np.uint8), "yx", metadata="imagej")
    assert not TiffReader().open(LayerSource((path,)), context("read")).grid.calibrated


@pytest.mark.parametrize(
    ("shape", "axes", "dtype"), [((3, 8, 9), "zyx", "int16"), ((1, 8, 9), "zyx", "uint8"), ((3, 2, 8, 9), "ztyx", "uint8")]
)
def test_what_imagej_does_not_hold(tmp_path: Path, shape: tuple[int, ...], axes: str, dtype: str) -> None:
    with pytest.raises(StepError, match="ImageJ files hold no"):
        write(tmp_path / "v.tif", np.zeros(shape, dtype), axes, stack=True, metadata="imagej")


def test_several_planes_need_a_stack(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="has 3 planes, a file holds one") as caught:
        write(tmp_path / "v.tif", np.zeros((3, 8, 9), np.uint8), "zyx")
    assert '"stack": true' in caught.value.hint


@pytest.mark.parametrize("dtype", ["complex64", ">u2"])
def test_types_it_cannot_hold(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(StepError, match="without change") as caught:
        write(tmp_path / "v.tif", np.zeros((8, 9), dtype), "yx")
    assert "cast" in caught.value.hint


@pytest.mark.parametrize(("shape", "axes", "message"), [((8, 9, 3), "yxt", "does not end in a plane"), ((0, 9), "yx", "empty")])
def test_shapes_it_cannot_hold(tmp_path: Path, shape: tuple[int, ...], axes: str, message: str) -> None:
    with pytest.raises(StepError, match=message):
        write(tmp_path / "v.tif", np.zeros(shape, np.uint8), axes, stack=True)


@pytest.mark.parametrize("axes", ["ax", "za"])
def test_angles_are_a_side_of_an_image(tmp_path: Path, axes: str) -> None:
    sinogram = np.arange(63, dtype=np.uint16).reshape(7, 9)
    write(tmp_path / "v.tif", sinogram, axes)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "v.tif"), sinogram)


def test_paths_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"must end in \.tif or \.tiff"):
        TiffWriter(path="{case}.png")
    with pytest.raises(ValueError, match="not a plain name"):
        TiffWriter(path="{case!r}.tif")
