from __future__ import annotations

import bz2
import gzip
import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from curate_mrc.reader import MrcReader

from curate_core import LayerSource, SourceError, read
from curate_core.testing import PluginTests, ReaderTests, context, values

IMOD_STAMP = 1146047817


class TestMrcReader(ReaderTests):
    component = MrcReader
    suffix = ".mrc"
    dtypes = ("int8", "int16", "uint16", "float32", "float16")
    unit = "nm"

    def make_file(self, folder: Path, array: Any, spacing: Any) -> Path:
        path = folder / "volume.mrc"
        with mrcfile.new(path) as file:
            file.set_data(np.array(array))
            file.voxel_size = tuple(10 * s for s in spacing[::-1])
        return path


class TestCompressedMrcReader(TestMrcReader):
    suffix = ".mrc.gz"
    lazy = False
    memory_mapped = False

    def make_file(self, folder: Path, array: Any, spacing: Any) -> Path:
        plain = super().make_file(folder, array, spacing)
        path = folder / "volume.mrc.gz"
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
        return path


class TestPlugin(PluginTests):
    plugin_module = "curate_mrc.plugin"
    distribution = "curate-mrc"
    readme = Path(__file__).parents[1] / "README.md"


def pack(
    body: bytes,
    shape: tuple[int, int, int],
    mode: int,
    *,
    order: str = "<",
    cell: tuple[float, float, float] = (0, 0, 0),
    intervals: tuple[int, int, int] | None = None,
    axes: tuple[int, int, int] = (1, 2, 3),
    starts: tuple[int, int, int] = (0, 0, 0),
    origin: tuple[float, float, float] = (0, 0, 0),
    low_high: tuple[float, float] = (0, -1),
    ispg: int = 1,
    extended: bytes = b"",
    imod: int | None = None,
    name: bytes = b"MAP ",
    stamp: bytes | None = None,
    angles: tuple[float, float, float] = (90, 90, 90),
) -> bytes:
    """A file packed field by field from the MRC2014 table; shape is (sections, rows, columns)."""
    nz, ny, nx = shape
    head = struct.pack(order + "3i", nx, ny, nz) + struct.pack(order + "i", mode) + struct.pack(order + "3i", *starts)
    head += struct.pack(order + "3i", *(intervals or (nx, ny, nz))) + struct.pack(order + "3f", *cell)
    head += struct.pack(order + "3f", *angles) + struct.pack(order + "3i", *axes)
    head += struct.pack(order + "3f", *low_high, 0) + struct.pack(order + "2i", ispg, len(extended))
    head = head.ljust(152, b"\0")
    if imod is not None:
        head += struct.pack(order + "2i", IMOD_STAMP, imod)
    head = head.ljust(196, b"\0") + struct.pack(order + "3f", *origin) + name
    head += stamp if stamp is not None else (b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    return head.ljust(1024, b"\0") + extended + body


def write(folder: Path, content: bytes, name: str = "file.mrc") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def open_mrc(path: Path, **options: Any) -> Any:
    return MrcReader(**options).open(LayerSource((path,)), context("read"))


def voxels(shape: tuple[int, ...], dtype: str) -> Any:
    return np.array(values(shape, dtype, "packed"))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("mode", "dtype"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")])
def test_modes_in_both_byte_orders_with_extended_header(tmp_path: Path, order: str, mode: int, dtype: str) -> None:
    array = voxels((3, 4, 5), dtype)
    body = array.astype(order + dtype).tobytes()
    image = open_mrc(write(tmp_path, pack(body, (3, 4, 5), mode, order=order, extended=b"x" * 1312)))
    assert image.dtype == np.dtype(dtype)
    assert image.dtype.isnative
    np.testing.assert_array_equal(read(image.array), array)
    np.testing.assert_array_equal(image.array[1:2, :, 2:4], array[1:2, :, 2:4])
    assert "oddities" not in image.notes


def test_big_endian_as_mrcfile_sees_it(tmp_path: Path) -> None:
    array = voxels((3, 4, 5), "i2")
    path = write(tmp_path, pack(array.astype(">i2").tobytes(), (3, 4, 5), 1, order=">", cell=(50, 80, 90)))
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data, array)
        theirs = [float(file.voxel_size[axis]) / 10 for axis in "zyx"]
    image = open_mrc(path)
    assert image.grid.spacing == pytest.approx(theirs)


@pytest.mark.parametrize("columns", [6, 7])
def test_four_bit_values(tmp_path: Path, columns: int) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 16, (2, 3, columns)).astype(np.uint8)
    padded = np.pad(array, ((0, 0), (0, 0), (0, columns % 2)))
    body = (padded[..., 0::2] | padded[..., 1::2] << 4).tobytes()  # the first value in the low half
    image = open_mrc(write(tmp_path, pack(body, (2, 3, columns), 101)))
    np.testing.assert_array_equal(read(image.array), array)
    for first in range(columns):
        for last in range(first + 1, columns + 1):
            np.testing.assert_array_equal(image.array[:, 1:3, first:last], array[:, 1:3, first:last])


def test_colour(tmp_path: Path) -> None:
    array = voxels((2, 4, 5, 3), "u1")
    image = open_mrc(write(tmp_path, pack(array.tobytes(), (2, 4, 5), 16)))
    assert image.grid.axes == "zyxc"
    np.testing.assert_array_equal(read(image.array), array)


@pytest.mark.parametrize(("mode", "size"), [(3, 4), (4, 8)])
def test_complex_is_refused(tmp_path: Path, mode: int, size: int) -> None:
    path = write(tmp_path, pack(bytes(8 * size), (2, 2, 2), mode))
    with pytest.raises(SourceError, match=rf"file.mrc: it holds complex numbers \(mode {mode}\).*expected real voxels"):
        open_mrc(path)


def test_unknown_mode_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, pack(bytes(8), (2, 2, 2), 7))
    with pytest.raises(SourceError, match="not an MRC file: there is no mode 7"):
        open_mrc(path)
    assert "there is no mode 7" in str(MrcReader().sniff(path))


@pytest.mark.parametrize(
    ("header", "options", "dtype", "note"),
    [
        ({}, {}, "int8", "signed, by MRC2014"),
        ({"imod": 1}, {}, "int8", "signed, by IMOD's flag"),
        ({"imod": 0}, {}, "uint8", "unsigned, by IMOD's flag"),
        ({"imod": 4, "low_high": (-100, 100)}, {}, "uint8", "unsigned, by IMOD's flag"),
        ({"low_high": (0, 255)}, {}, "uint8", "unsigned, by the maximum 255 in the header"),
        ({"low_high": (0, 127)}, {}, "int8", "signed, by MRC2014"),
        ({"low_high": (-128, 127)}, {}, "int8", "signed, by MRC2014"),
        ({"imod": 1}, {"bytes": "unsigned"}, "uint8", "unsigned, as the spec says"),
        ({"imod": 0}, {"bytes": "signed"}, "int8", "signed, as the spec says"),
        ({"imod": 0, "order": ">"}, {}, "uint8", "unsigned, by IMOD's flag"),
    ],
)
def test_bytes(tmp_path: Path, header: dict[str, Any], options: dict[str, Any], dtype: str, note: str) -> None:
    body = bytes(range(252)) + bytes([255] * 4)
    image = open_mrc(write(tmp_path, pack(body, (4, 8, 8), 0, **header)), **options)
    assert image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read(image.array).reshape(-1), np.frombuffer(body, dtype))
    assert image.notes["bytes"] == note


def test_two_values_in_a_byte_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, pack(bytes(8), (2, 2, 2), 0, imod=17))
    with pytest.raises(SourceError, match="packs two 4-bit values in a byte of mode 0"):
        open_mrc(path)


def test_voxel_size_is_cell_over_intervals_in_nanometres(tmp_path: Path) -> None:
    path = write(tmp_path, pack(bytes(24), (2, 3, 4), 0, cell=(80, 90, 100), intervals=(8, 6, 5)))
    grid = open_mrc(path).grid
    assert grid.spacing == pytest.approx((2.0, 1.5, 1.0))
    assert (grid.unit, grid.calibrated) == ("nm", True)


@pytest.mark.parametrize("cell", [(0, 0, 0), (10, 10, 0), (10, -1, 10), (float("nan"), 1, 1), (float("inf"), 1, 1)])
def test_no_voxel_size_is_not_calibrated(tmp_path: Path, cell: tuple[float, float, float]) -> None:
    grid = open_mrc(write(tmp_path, pack(bytes(8), (2, 2, 2), 0, cell=cell, origin=(5, 5, 5)))).grid
    assert not grid.calibrated
    assert (grid.spacing, grid.unit) == ((1.0, 1.0, 1.0), "")


@pytest.mark.parametrize(
    ("header", "origin"),
    [
        ({"origin": (10, 20, 30)}, (1, 2, 3)),
        ({"origin": (10, 20, 30), "imod": 5}, (1, 2, 3)),
        ({"origin": (10, 20, 30), "imod": 1}, (-1, -2, -3)),
        ({"starts": (3, 2, 1)}, (3, 4, 4)),
        ({"starts": (3, 2, 1), "axes": (3, 2, 1)}, (1, 4, 12)),
        ({"origin": (float("nan"), 0, 0)}, (0, 0, 0)),
    ],
)
def test_origin(tmp_path: Path, header: dict[str, Any], origin: tuple[float, ...]) -> None:
    path = write(tmp_path, pack(bytes(8), (2, 2, 2), 0, cell=(20, 40, 80), **header))
    assert open_mrc(path).grid.world((0, 0, 0)) == pytest.approx(origin)


@pytest.mark.parametrize("axes", [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)])
def test_axes_in_any_order(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    """Truth: a voxel's position along x, y, z by the definition of mapc, mapr and maps, one voxel at a time."""
    stored = voxels((3, 4, 5), "i2")
    path = write(tmp_path, pack(stored.tobytes(), (3, 4, 5), 1, axes=axes, cell=(12, 24, 36), intervals=(4, 4, 4)))
    image = open_mrc(path)
    assert image.grid.axes == "zyx"
    assert image.grid.spacing == pytest.approx((0.9, 0.6, 0.3))
    array = read(image.array)
    for section, row, column in np.ndindex(3, 4, 5):
        place = {axes[0]: column, axes[1]: row, axes[2]: section}
        assert array[place[3], place[2], place[1]] == stored[section, row, column]
    assert image.notes.get("stored axes") == (None if axes == (1, 2, 3) else "".join("xyz"[a - 1] for a in axes[::-1]))


@pytest.mark.parametrize(
    ("ispg", "sections", "mz", "axes", "shape"),
    [
        (0, 1, 1, "yx", (2, 2)),
        (1, 1, 1, "zyx", (1, 2, 2)),
        (0, 6, 1, "zyx", (6, 2, 2)),
        (1, 6, 6, "zyx", (6, 2, 2)),
        (401, 6, 3, "nzyx", (2, 3, 2, 2)),
    ],
)
def test_what_the_sections_are(tmp_path: Path, ispg: int, sections: int, mz: int, axes: str, shape: tuple[int, ...]) -> None:
    array = voxels((sections, 2, 2), "i1")
    path = write(tmp_path, pack(array.tobytes(), (sections, 2, 2), 0, ispg=ispg, intervals=(2, 2, mz), cell=(2, 2, 2)))
    image = open_mrc(path)
    assert (image.grid.axes, image.grid.shape) == (axes, shape)
    with mrcfile.open(path) as file:
        assert file.data.shape == shape
        np.testing.assert_array_equal(read(image.array), file.data)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"name": b"\0\0\0\0"}, "no 'MAP' at byte 208"),
        ({"stamp": b"\0\0\0\0"}, "machine stamp 00 00, but the sizes make sense as little-endian"),
        ({"stamp": b"\x44\x44\0\0", "order": ">"}, "machine stamp 44 44, but the sizes make sense as big-endian"),
        ({"axes": (0, 0, 0)}, "are not an order of 1, 2, 3"),
        ({"angles": (90, 90, 120)}, "cell angles 90, 90, 120 are not right angles"),
        ({"ispg": 401, "intervals": (4, 4, 3)}, "whose 4 sections are not a multiple of 3"),
    ],
)
def test_oddities_are_noted(tmp_path: Path, header: dict[str, Any], words: str) -> None:
    array = voxels((4, 4, 4), "i2")
    body = array.astype(header.get("order", "<") + "i2").tobytes()
    path = write(tmp_path, pack(body, (4, 4, 4), 1, **header))
    assert MrcReader().sniff(path) is None
    image = open_mrc(path)
    np.testing.assert_array_equal(read(image.array), array)
    assert any(words in text for text in image.notes["oddities"])


def test_bytes_of_either_order_without_a_stamp(tmp_path: Path) -> None:
    """Mode 0 reads the same in both orders, and 256 swapped is 65536: only the length of the file tells."""
    body = bytes(16 * 256 * 256)
    path = write(tmp_path, pack(body, (16, 256, 256), 0, order=">", stamp=bytes(4)))
    assert open_mrc(path).grid.shape == (16, 256, 256)


def test_more_bytes_than_voxels(tmp_path: Path) -> None:
    image = open_mrc(write(tmp_path, pack(bytes(8 + 5), (2, 2, 2), 0)))
    assert image.notes["oddities"] == ["5 bytes follow the voxels"]


@pytest.mark.parametrize("pack_with", [None, gzip.compress, bz2.compress])
def test_truncated(tmp_path: Path, pack_with: Any) -> None:
    content = pack(bytes(100), (4, 8, 8), 1)
    name = {None: "cut.mrc", gzip.compress: "cut.mrc.gz", bz2.compress: "cut.mrc.bz2"}[pack_with]
    path = write(tmp_path, pack_with(content) if pack_with else content, name)
    with pytest.raises(
        SourceError, match=rf"{name}: expected 512 bytes of voxels \(4 x 8 x 8 of mode 1\), found 100: the file is cut short"
    ):
        open_mrc(path)


def test_huge_size_in_a_small_compressed_file(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(pack(bytes(8), (1 << 20, 1 << 23, 1 << 23), 2)), "huge.mrc.gz")
    with pytest.raises(SourceError, match=r"huge\.mrc\.gz"):
        open_mrc(path)


def test_bzip2(tmp_path: Path) -> None:
    array = voxels((3, 4, 5), "f4")
    path = write(tmp_path, bz2.compress(pack(array.tobytes(), (3, 4, 5), 2)), "volume.mrc.bz2")
    np.testing.assert_array_equal(read(open_mrc(path).array), array)
    assert MrcReader().resident(LayerSource((path,))) == array.nbytes


def test_two_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected one MRC file, got 2"):
        MrcReader().open(LayerSource((tmp_path / "a.mrc", tmp_path / "b.mrc")), context("read"))
