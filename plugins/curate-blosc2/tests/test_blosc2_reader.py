"""Files of others, damaged files, and files that would run code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
from curate_blosc2.reader import Blosc2Reader
from curate_blosc2.writer import Blosc2Writer

from curate_core import Grid, Image, LayerSource, SourceError, read
from curate_core.testing import context

VALUES = np.random.default_rng(0).normal(0, 1, (20, 30, 40)).astype(np.float32)


def open_b2nd(path: Path, **options: Any) -> Image:
    return Blosc2Reader(**options).open(LayerSource((path,)), context("read"))


def foreign(path: Path, values: Any = VALUES, **vlmeta: Any) -> Path:
    array = blosc2.asarray(values, urlpath=str(path), cparams={"nthreads": 1})
    for name, value in vlmeta.items():
        array.schunk.vlmeta[name] = value
    return path


@pytest.mark.parametrize(("dimension", "axes"), [(1, "x"), (2, "yx"), (3, "zyx"), (4, "czyx")])
def test_axes_by_their_number(tmp_path: Path, dimension: int, axes: str) -> None:
    image = open_b2nd(foreign(tmp_path / "v.b2nd", np.zeros([3] * dimension, np.int8)))
    assert image.grid.axes == axes
    assert not image.grid.calibrated


def test_axes_by_option(tmp_path: Path) -> None:
    path = foreign(tmp_path / "v.b2nd", np.zeros((2, 3, 4, 5, 6), np.int8))
    with pytest.raises(SourceError, match="has 5 axes, of which curate knows no names") as caught:
        open_b2nd(path)
    assert "axes" in caught.value.hint
    assert open_b2nd(path, axes="tczyx").grid.axes == "tczyx"
    with pytest.raises(SourceError, match="has 5 axes, not those of 'zyx'"):
        open_b2nd(path, axes="zyx")
    with pytest.raises(SourceError, match="2 spacings for the 3 spatial axes"):
        open_b2nd(path, axes="tczyx", spacing=(1.0, 2.0))


def test_options_go_before_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "v.b2nd"
    Blosc2Writer().write_array(path, VALUES, Grid.from_spacing(VALUES.shape, "zyx", (3, 2, 1), "mm"), "a", "b")
    assert open_b2nd(path).grid.spacing == (3, 2, 1)
    assert open_b2nd(path, spacing=(5.0, 5.0, 5.0), unit="um").grid.spacing == (5, 5, 5)
    assert open_b2nd(path, axes="xyz").grid.axes == "xyz"


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("text", "its metadata 'curate' is str, expected a mapping"),
        ({"axes": "zyx"}, "its metadata 'curate' has no 'unit'"),
        ({"axes": "zy", "affine": np.eye(4).tolist(), "unit": "", "oriented": True, "calibrated": True}, "makes no sense: axes 'zy'"),
        ({"axes": "zyx", "affine": "no", "unit": "", "oriented": True, "calibrated": True}, "makes no sense"),
        ({"axes": "zyx", "affine": [[np.nan] * 4] * 4, "unit": "", "oriented": True, "calibrated": True}, "flat or not finite"),
        ({"axes": "zyx", "affine": [[0.0] * 4] * 4, "unit": "", "oriented": True, "calibrated": True}, "flat or not finite"),
    ],
)
def test_metadata_that_makes_no_sense(tmp_path: Path, meta: Any, message: str) -> None:
    path = foreign(tmp_path / "v.b2nd", curate=meta)
    with pytest.raises(SourceError, match=message):
        open_b2nd(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2), np.complex64), "holds complex64, expected real numbers"),
        (np.zeros((2, 2), "S3"), "expected real numbers"),
        (np.zeros((0, 2), np.uint8), "which holds no voxels"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_b2nd(foreign(tmp_path / "v.b2nd", values))


def test_what_is_no_array(tmp_path: Path) -> None:
    path = tmp_path / "v.b2nd"
    blosc2.SChunk(chunksize=1000, data=bytes(5000), urlpath=str(path), contiguous=True)
    with pytest.raises(SourceError, match="it holds no plain array"):
        open_b2nd(path)


def test_a_lazy_expression_is_not_computed(tmp_path: Path) -> None:
    """``blosc2.open`` of other versions would rebuild it, functions included."""
    operand = blosc2.asarray(VALUES, urlpath=str(tmp_path / "a.b2nd"))
    path = tmp_path / "v.b2nd"
    (operand + 1).save(urlpath=str(path))
    with pytest.raises(SourceError, match="it holds no plain array, but") as caught:
        open_b2nd(path)
    assert "blosc2.asarray" in caught.value.hint


def test_a_sparse_frame_is_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "v.b2nd"
    path.mkdir()
    assert Blosc2Reader().sniff(path) == "is a folder (a sparse Blosc2 frame), expected a file"
    with pytest.raises(SourceError, match="is a folder"):
        open_b2nd(path)


def test_truncated(tmp_path: Path) -> None:
    path = foreign(tmp_path / "v.b2nd")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match=f"its frame has {size} bytes, the file {size - 100}: it was cut short"):
        open_b2nd(path)


def damaged(path: Path, start: int, stop: int) -> Path:
    """A file of ours with zeros in some place."""
    values = (VALUES * 100).astype(np.int16)
    Blosc2Writer(codec="zstd").write_array(path, values, Grid.from_spacing(values.shape, "zyx"), "a", "b")
    content = bytearray(path.read_bytes())
    content[start:stop] = bytes(stop - start)
    path.write_bytes(bytes(content))
    return path


def test_a_damaged_chunk(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="blosc2 cannot decompress it") as caught:
        read(open_b2nd(damaged(tmp_path / "v.b2nd", 200, 400)).array)
    assert "v.b2nd" in caught.value.where


def test_damaged_voxels_are_found_by_their_digest(tmp_path: Path) -> None:
    """Blosc2 has no checksums: zeros in a block decompress to something."""
    path = damaged(tmp_path / "v.b2nd", 10_000, 12_000)
    read(open_b2nd(path).array)
    with pytest.raises(SourceError, match="its voxels are not those that were written"):
        open_b2nd(path, verify=True)
    assert open_b2nd(damaged(tmp_path / "w.b2nd", 0, 0), verify=True).grid.shape == VALUES.shape
    with pytest.raises(SourceError, match="it holds no digest to verify its voxels by"):
        open_b2nd(foreign(tmp_path / "x.b2nd"), verify=True)


def test_a_false_shape_costs_nothing(tmp_path: Path) -> None:
    """The shape stands in the metalayer b2nd: a marker and eight bytes an axis, big-endian."""
    path = foreign(tmp_path / "v.b2nd")
    content = path.read_bytes()
    shape = b"".join(b"\xd3" + n.to_bytes(8, "big") for n in VALUES.shape)
    assert content.count(shape) == 1
    path.write_bytes(content.replace(shape, b"\xd3" + (1 << 47).to_bytes(8, "big") + shape[9:]))
    with pytest.raises(SourceError, match=r"it has \d+ chunks, 140737488355328 x 30 x 40 voxels in chunks of .* are \d+"):
        open_b2nd(path)


def test_one_file_a_layer(tmp_path: Path) -> None:
    path = foreign(tmp_path / "v.b2nd")
    with pytest.raises(SourceError, match="reads one file a layer, got 2"):
        Blosc2Reader().open(LayerSource((path, path)), context("read"))
