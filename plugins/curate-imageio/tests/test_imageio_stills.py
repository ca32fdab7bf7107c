"""Still images against Pillow, scikit-image's pictures, and PNGs put together by hand."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from curate_imageio.still import ImageReader
from curate_imageio.stills import turned
from curate_imageio.writer import PngWriter
from PIL import Image, ImageOps

from curate_core import Grid, LayerSource, SourceError, StepError
from curate_core.arrays import read
from curate_core.testing import context

PICTURES = Path(skimage.__file__).parent / "data"
RNG = np.random.default_rng(0)


def opened(path: Path, **options: Any) -> Any:
    return ImageReader(**options).open(LayerSource((path,)), context())


def voxels(path: Path, **options: Any) -> Any:
    return read(opened(path, **options).array)


@pytest.mark.parametrize("name", sorted(p.name for p in PICTURES.iterdir() if p.suffix in (".png", ".jpg")))
def test_pictures_as_pillow_decodes_them(name: str) -> None:
    image = opened(PICTURES / name)
    with Image.open(PICTURES / name) as truth:
        if truth.mode == "P":
            truth = truth.convert("RGB")
        expected = np.asarray(truth)
    assert image.grid.axes == ("yx" if expected.ndim == 2 else "yxc")
    assert not image.grid.calibrated
    found = read(image.array)
    if name == "chessboard_RGB.png":  # has 16 bits, of which Pillow leaves out the lower
        assert found.dtype == np.uint16
        found = (found >> 8).astype(np.uint8)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG by the book: filter 0 in front of each row."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour", "channels"), [(0, 0), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_stay_sixteen(tmp_path: Path, colour: int, channels: int) -> None:
    """Pillow alone would cut colours to 8 bits."""
    values = RNG.integers(0, 65536, (5, 7, channels or 1)).astype(np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(7, 5, 16, colour, rows))
    np.testing.assert_array_equal(voxels(tmp_path / "a.png"), values if channels else values[..., 0])


def test_a_damaged_deep_png_is_refused(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + bytes(42) for _ in range(5))
    whole = bytearray(png(7, 5, 16, 2, rows))
    whole[-20] ^= 1  # within the checksum of the pixels
    (tmp_path / "a.png").write_bytes(bytes(whole))
    with pytest.raises(SourceError, match=r"a\.png: the image cannot be decoded"):
        voxels(tmp_path / "a.png")


def test_palettes_become_colours_or_grey(tmp_path: Path) -> None:
    index = RNG.integers(0, 4, (6, 9)).astype(np.uint8)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [1, 2, 3]], np.uint8)
    greys = np.repeat(np.array([[10], [250], [30], [90]], np.uint8), 3, axis=1)
    for name, table in (("colour.png", colours), ("grey.png", greys), ("colour.bmp", colours), ("grey.bmp", greys)):
        made = Image.frombytes("P", (9, 6), index.tobytes())
        made.putpalette(table.tobytes())
        made.save(tmp_path / name)
        expected = table[index] if "colour" in name else table[index][..., 0]
        np.testing.assert_array_equal(voxels(tmp_path / name), expected, err_msg=name)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_a_pixel(tmp_path: Path, bits: int) -> None:
    """One bit is a truth value; two and four reach from 0 to 255, as the standard asks of what shows them."""
    values = RNG.integers(0, 1 << bits, (3, 8)).astype(np.uint8)
    per_byte = 8 // bits
    rows = b""
    for row in values:
        rows += b"\0" + bytes(sum(int(v) << (8 - bits * (i + 1)) for i, v in enumerate(part)) for part in row.reshape(-1, per_byte))
    (tmp_path / "a.png").write_bytes(png(8, 3, bits, 0, rows))
    found = voxels(tmp_path / "a.png")
    np.testing.assert_array_equal(found, values.astype(bool) if bits == 1 else values * (255 // ((1 << bits) - 1)))
    if bits == 1:
        np.testing.assert_array_equal(found.view(np.uint8), values)  # Pillow's own truth values are bytes of 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    pixels = RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    with Image.open(path) as stored:
        upright, flat = np.asarray(ImageOps.exif_transpose(stored)), np.asarray(stored)
    image = opened(path)
    np.testing.assert_array_equal(read(image.array), upright)
    assert image.notes.get("turned from EXIF orientation") == (orientation if orientation > 1 else None)
    np.testing.assert_array_equal(voxels(path, orientation="ignore"), flat)


def test_turning_keeps_shapes() -> None:
    for orientation in range(1, 9):
        assert turned(np.zeros((2, 3, 4)), orientation).shape == ((3, 2, 4) if orientation >= 5 else (2, 3, 4))


def test_animations_are_stacks(tmp_path: Path) -> None:
    image = opened(PICTURES / "no_time_for_that_tiny.gif")
    with Image.open(PICTURES / "no_time_for_that_tiny.gif") as truth:
        assert image.array.shape == (truth.n_frames, truth.height, truth.width, 3)
        assert image.grid.axes == "zyxc"
        for number in range(truth.n_frames):
            truth.seek(number)
            np.testing.assert_array_equal(read(image.array)[number], np.asarray(truth.convert("RGB")))
    frames = RNG.integers(0, 256, (3, 8, 9), dtype=np.uint8)
    made = [Image.fromarray(frame) for frame in frames]
    made[0].save(tmp_path / "a.png", save_all=True, append_images=made[1:])
    assert opened(tmp_path / "a.png").grid.axes == "zyx"
    np.testing.assert_array_equal(voxels(tmp_path / "a.png"), frames)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (8, 8, 4), dtype=np.uint8)).convert("CMYK").save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as truth:
        assert truth.mode == "CMYK"
        np.testing.assert_array_equal(voxels(tmp_path / "a.jpg"), np.asarray(truth.convert("RGB")))


def test_big_images_need_no_leave_of_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's limit is 89 million pixels; ours says what to do, and holds for each reader."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((50, 60), np.uint8)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert voxels(path).shape == (50, 60)
        with pytest.raises(SourceError, match=r"announces 3,000 pixels \(1 x 50 x 60\), the limit is 2,999.*max_pixels"):
            opened(path, max_pixels=2999)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(30_000, 30_000, 8, 0, bytes(1000)))
    with pytest.raises(SourceError, match=r"announces 30000 x 30000 pixels, which its \d+ bytes do not hold"):
        opened(path)


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    reader = ImageReader()
    assert reader.sniff(tmp_path) == "is a folder, expected a file"
    (tmp_path / "a.png").write_bytes(b"not an image, but long enough to look at")
    assert reader.sniff(tmp_path / "a.png") == "does not begin as a PNG, JPEG, BMP, GIF or WebP image"
    with pytest.raises(SourceError, match="imageio reads one file a layer, got 2"):
        reader.open(LayerSource((tmp_path / "a.png", tmp_path / "b.png")), context())
    with pytest.raises(SourceError, match="is a folder, expected an image"):
        opened(tmp_path)


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(path)
    image = opened(path)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(path)
    with pytest.raises(SourceError, match=r"have shape \(5, 5\) and type uint8, its header announced \(4, 5\)"):
        read(image.array)


@pytest.mark.parametrize(
    ("values", "axes", "message"),
    [
        (np.zeros((2, 3, 4), np.uint8), "zyx", r"shape \(2, 3, 4\) with axes 'zyx' is no plane"),
        (np.zeros((3, 4), np.float32), "yx", "PNG holds no <f4 here"),
        (np.zeros((3, 4, 2), np.uint8), "yxc", "PNG holds no 2 channels of uint8"),
        (np.zeros((3, 4, 3), np.uint16), "yxc", "PNG holds no 3 channels of uint16"),
    ],
)
def test_what_png_does_not_hold(tmp_path: Path, values: Any, axes: str, message: str) -> None:
    with pytest.raises(StepError, match=message):
        PngWriter().write_array(tmp_path / "a.png", values, Grid.from_spacing(values.shape, axes), {})


def test_the_writers_path_ends_in_png() -> None:
    with pytest.raises(ValueError, match=r"path: 'a\.tif' must end in \.png"):
        PngWriter(path="a.tif")


def test_the_writers_files_by_pillow(tmp_path: Path) -> None:
    for dtype in ("uint8", "uint16"):
        values = RNG.integers(0, np.iinfo(dtype).max, (6, 5)).astype(dtype)
        PngWriter().write_array(tmp_path / "a.png", values, Grid.from_spacing((6, 5), "yx"), {})
        with Image.open(tmp_path / "a.png") as found:
            np.testing.assert_array_equal(np.asarray(found), values)
            assert not found.info
