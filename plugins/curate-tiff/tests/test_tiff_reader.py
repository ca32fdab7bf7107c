"""The reader against tifffile, Pillow and scikit-image's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import skimage
import tifffile
from curate_tiff.axes import letters
from curate_tiff.reader import TiffReader
from curate_tiff.spacing import imagej_spacing, ome_spacing
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from curate_core import Image, LayerSource, SourceError, read
from curate_core.testing import context

needs_fax = pytest.mark.skipif(not hasattr(imagecodecs, "ccittfax4_decode"), reason="imagecodecs reads fax compressions since 2026.3")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 50), dtype=np.uint8)
STACK = RNG.integers(0, 60000, (3, 40, 50)).astype(np.uint16)
SKIMAGE_DATA = Path(skimage.__file__).parent / "data"


def open_tiff(path: Path, **options: Any) -> Image:
    return TiffReader(**options).open(LayerSource((path,)), context("read"))


@pytest.mark.parametrize(
    ("axes", "ours"), [("YX", "yx"), ("IYX", "zyx"), ("QYX", "zyx"), ("TZCYX", "tzcyx"), ("YXS", "yxc"), ("CYXS", "cyxs"), ("QYXS", "zyxc")]
)
def test_letters(axes: str, ours: str) -> None:
    assert letters(axes) == ours


def test_letters_that_leave_a_choice(tmp_path: Path) -> None:
    assert letters("QQYX") is None
    array = np.zeros((2, 5, 6, 7), np.uint8)
    tifffile.imwrite(tmp_path / "v.tif", array, photometric="minisblack")
    with pytest.raises(SourceError, match=r"has axes QQYX .* which do not say") as caught:
        open_tiff(tmp_path / "v.tif")
    assert '"axes"' in caught.value.hint
    assert open_tiff(tmp_path / "v.tif", axes="tzyx").grid.axes == "tzyx"
    for wrong in ("zyx", "zzyx", "ZZYX", "t3yx"):
        with pytest.raises(SourceError, match="do not name the 4 axes"):
            open_tiff(tmp_path / "v.tif", axes=wrong)


def test_imagej_hyperstack(tmp_path: Path) -> None:
    array = RNG.integers(0, 99, (2, 3, 2, 8, 9)).astype(np.uint16)
    metadata = {"axes": "TZCYX", "spacing": 3.0, "unit": "micron"}
    tifffile.imwrite(tmp_path / "v.tif", array, imagej=True, resolution=(4.0, 2.0), metadata=metadata)
    image = open_tiff(tmp_path / "v.tif")
    assert (image.grid.axes, image.grid.spacing, image.grid.unit) == ("tzcyx", (3.0, 0.5, 0.25), "um")
    assert image.grid.calibrated
    assert np.array_equal(read(image.array), array)


@pytest.mark.parametrize("unit", ["inch", "cm", "pixel", ""])
def test_imagej_print_units_are_no_voxel_size(unit: str) -> None:
    assert imagej_spacing({"unit": unit, "spacing": 2.0}, (300, 1), (300, 1)) is None


def test_imagej_nonsense_is_no_voxel_size() -> None:
    assert imagej_spacing({"unit": "um"}, (0, 1), (1, 1)) is None
    assert imagej_spacing({"unit": "um"}, None, (1, 1)) is None
    assert imagej_spacing({"unit": "um", "spacing": float("nan")}, (1, 1), (1, 1)) is None


def test_ome_units_and_gaps() -> None:
    def xml(attributes: str) -> str:
        return f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels {attributes}/></Image></OME>'

    mixed = ome_spacing(
        xml('PhysicalSizeX="4" PhysicalSizeXUnit="nm" PhysicalSizeY="0.004" PhysicalSizeZ="300" PhysicalSizeZUnit="\u00c5"'), 0
    )
    assert mixed is not None
    assert mixed.unit == "nm"
    assert mixed.along("zyx") == pytest.approx([30.0, 4.0, 4.0])
    flat = ome_spacing(xml('PhysicalSizeX="4" PhysicalSizeY="4"'), 0)
    assert flat is not None
    assert flat.along("zyx") is None
    assert flat.along("yx") == [4.0, 4.0]
    for nothing in ("", 'PhysicalSizeX="0"', 'PhysicalSizeX="a"', 'PhysicalSizeX="4" PhysicalSizeXUnit="pixel"'):
        assert ome_spacing(xml(nothing), 0) is None
    assert ome_spacing("<OME", 0) is None
    assert ome_spacing(xml('PhysicalSizeX="4"'), 1) is None


def test_ome_pyramid_levels(tmp_path: Path) -> None:
    full = RNG.integers(0, 255, (64, 96), dtype=np.uint8)
    half = np.ascontiguousarray(full[::2, ::2])
    sizes = {"PhysicalSizeX": 4, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 4, "PhysicalSizeYUnit": "nm"}
    with tifffile.TiffWriter(tmp_path / "v.ome.tif", ome=True) as tif:
        tif.write(full, subifds=1, tile=(16, 16), metadata={"axes": "YX", **sizes})
        tif.write(half, subfiletype=1, tile=(16, 16))
    image = open_tiff(tmp_path / "v.ome.tif", level=1)
    assert np.array_equal(read(image.array), half)
    assert image.grid.spacing == (8.0, 8.0)
    with pytest.raises(SourceError, match="has 2 resolution levels, there is no level 2"):
        open_tiff(tmp_path / "v.ome.tif", level=2)


@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER"])
def test_print_resolution_is_no_voxel_size(tmp_path: Path, unit: str) -> None:
    tifffile.imwrite(tmp_path / "v.tif", GREY, resolution=(300, 150), resolutionunit=unit)
    grid = open_tiff(tmp_path / "v.tif").grid
    assert not grid.calibrated
    assert grid.spacing == (1.0, 1.0)
    Pillow.fromarray(GREY).save(tmp_path / "p.tif", dpi=(300, 150))
    assert not open_tiff(tmp_path / "p.tif").grid.calibrated


@pytest.mark.parametrize("name", ["multipage.tif", "multipage_rgb.tif"])
def test_files_of_scikit_image(name: str) -> None:
    path = SKIMAGE_DATA / name
    if not path.exists():
        pytest.skip("this scikit-image carries no test data")
    image = open_tiff(path)
    assert np.array_equal(read(image.array), tifffile.imread(path))
    with Pillow.open(SKIMAGE_DATA / "multipage.tif") as pages:
        pages.seek(1)
        second = np.asarray(pages)
    if name == "multipage.tif":
        assert image.grid.axes == "zyx"
        assert np.array_equal(read(image.array)[1], second)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits"])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 32)}, {"rowsperstrip": 7}])
def test_layouts(tmp_path: Path, byteorder: Any, compression: str | None, layout: dict[str, Any]) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, STACK, byteorder=byteorder, photometric="minisblack", compression=compression, metadata=None, **layout)
    image = open_tiff(path)
    assert image.dtype == np.dtype("uint16")
    assert np.array_equal(read(image.array), STACK)
    assert np.array_equal(image.array[1, 5:38, 17:49], STACK[1, 5:38, 17:49])
    mapped = compression is None and not layout.get("tile")
    assert (TiffReader().resident(LayerSource((path,))) == 0) == mapped


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"compression": "zlib", "rowsperstrip": 9}])
def test_colour(tmp_path: Path, planar: str, options: dict[str, Any]) -> None:
    colour = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    array = colour if planar == "contig" else np.ascontiguousarray(colour.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "v.tif", array, photometric="rgb", planarconfig=planar, metadata=None, **options)
    image = open_tiff(tmp_path / "v.tif")
    assert image.grid.axes == ("yxc" if planar == "contig" else "cyx")
    assert np.array_equal(read(image.array), array)
    where = (slice(3, 30), slice(20, 44), slice(1, 2)) if planar == "contig" else (slice(1, 2), slice(3, 30), slice(20, 44))
    assert np.array_equal(read(image.array, where), array[where])


def test_jpeg_tiles_share_their_tables(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "v.tif", smooth, tile=(16, 32), compression="jpeg", compressionargs={"level": 95})
    assert np.array_equal(read(open_tiff(tmp_path / "v.tif").array), tifffile.imread(tmp_path / "v.tif"))


def test_only_touched_tiles_are_decoded(tmp_path: Path) -> None:
    """A tile that is damaged harms only the boxes that touch it."""
    tifffile.imwrite(tmp_path / "v.tif", STACK, photometric="minisblack", tile=(16, 16), compression="zlib", metadata=None)
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        offset = tif.pages[1].dataoffsets[0]
    with (tmp_path / "v.tif").open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 12)
    image = open_tiff(tmp_path / "v.tif")
    assert np.array_equal(image.array[1, 16:, :], STACK[1, 16:, :])
    assert np.array_equal(image.array[0], STACK[0])
    with pytest.raises(SourceError, match="page 1 cannot be decoded") as caught:
        image.array[1, 15:17, 0:4]
    assert "v.tif" in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_box_of_a_tiled_stack(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(2, 4), st.integers(2, 40), st.integers(2, 40)))
    array = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("box") / "v.tif"
    layout = data.draw(st.sampled_from([{"tile": (16, 16)}, {"rowsperstrip": 3, "compression": "zlib"}, {"compression": "lzw"}]))
    tifffile.imwrite(path, array, photometric="minisblack", metadata=None, **layout)
    image = open_tiff(path)
    where = tuple(slice(a, data.draw(st.integers(a, n))) for n in shape for a in [data.draw(st.integers(0, n - 1))])
    assert np.array_equal(read(image.array, where), array[where])


def test_min_is_white_is_inverted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "v.tif", GREY, photometric="miniswhite")
    with Pillow.open(tmp_path / "v.tif") as truth:
        assert np.array_equal(read(open_tiff(tmp_path / "v.tif").array), np.asarray(truth))
    tifffile.imwrite(tmp_path / "w.tif", STACK, photometric="miniswhite", compression="zlib")
    assert np.array_equal(read(open_tiff(tmp_path / "w.tif").array), 65535 - STACK)


@pytest.mark.parametrize("compression", [None, "packbits", pytest.param("group4", marks=needs_fax)])
def test_bilevel(tmp_path: Path, compression: str | None) -> None:
    Pillow.fromarray(GREY).convert("1", dither=Pillow.Dither.NONE).save(tmp_path / "v.tif", compression=compression)
    image = open_tiff(tmp_path / "v.tif")
    assert image.dtype == np.dtype(bool)
    assert np.array_equal(read(image.array), GREY >= 128)


def test_palette(tmp_path: Path) -> None:
    picture = Pillow.fromarray(GREY % 4).convert("P")
    colours = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7]
    picture.putpalette(colours)
    picture.save(tmp_path / "v.tif")
    image = open_tiff(tmp_path / "v.tif")
    assert image.grid.axes == "yxc"
    assert image.dtype == np.dtype("uint8")
    assert np.array_equal(read(image.array), np.asarray(picture.convert("RGB")))
    assert np.array_equal(image.array[3:5, :, 1], np.asarray(picture.convert("RGB"))[3:5, :, 1])
    assert np.array_equal(read(open_tiff(tmp_path / "v.tif", palette="index").array), GREY % 4)


def test_grey_palette(tmp_path: Path) -> None:
    picture = Pillow.fromarray(GREY).convert("P")
    picture.putpalette([value for i in range(256) for value in (255 - i,) * 3])
    picture.save(tmp_path / "v.tif")
    image = open_tiff(tmp_path / "v.tif")
    assert image.grid.axes == "yx"
    assert np.array_equal(read(image.array), 255 - GREY)


def test_several_series(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "v.tif") as tif:
        tif.write(GREY, photometric="minisblack")
        tif.write(STACK, photometric="minisblack")
    assert np.array_equal(read(open_tiff(tmp_path / "v.tif").array), GREY)
    second = open_tiff(tmp_path / "v.tif", series=1)
    assert np.array_equal(read(second.array), STACK)
    assert second.notes == {"series": 2}
    with pytest.raises(SourceError, match="has 2 images, there is no number 2"):
        open_tiff(tmp_path / "v.tif", series=2)


def test_an_image_in_several_files_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, photometric="minisblack", ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        xml = str(tif.ome_metadata)
    uuid = xml.partition("<TiffData")[0].partition('UUID="')[2].partition('"')[0]
    assert uuid
    split = '<TiffData IFD="0" FirstZ="{0}" PlaneCount="1"><UUID FileName="{1}.ome.tif">{2}</UUID></TiffData>'
    start, end = xml.index("<TiffData"), xml.index("</Pixels>")
    other = "urn:uuid:00000000-0000-0000-0000-000000000000"
    planes = [split.format(0, "a", uuid), split.format(1, "b", other), split.format(2, "b", other)]
    text = (xml[:start] + "".join(planes) + xml[end:]).encode()
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK[0], photometric="minisblack", description=text, metadata=None)
    tifffile.imwrite(
        tmp_path / "b.ome.tif",
        STACK[1:],
        photometric="minisblack",
        description=text.replace(uuid.encode(), other.encode(), 1),
        metadata=None,
    )
    with pytest.raises(SourceError, match="several files"):
        open_tiff(tmp_path / "a.ome.tif")


def test_bigtiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "v.btf", STACK, bigtiff=True, photometric="minisblack")
    assert TiffReader().sniff(tmp_path / "v.btf") is None
    assert np.array_equal(read(open_tiff(tmp_path / "v.btf").array), STACK)


@pytest.mark.parametrize("options", [{"metadata": None}, {"compression": "zlib", "metadata": None}, {"imagej": True}, {"ome": True}])
def test_cut_files_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)
    content = path.read_bytes()
    for cut in (9, 300, len(content) // 2, len(content) * 9 // 10):
        path.write_bytes(content[:cut])
        with pytest.raises(SourceError, match=r"cut short|damaged"):
            read(open_tiff(path).array)


def test_a_broken_chain_of_pages_is_refused(tmp_path: Path) -> None:
    """tifffile logs it and gives the pages that it found."""
    pages = [Pillow.fromarray(page) for page in STACK]
    path = tmp_path / "v.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with tifffile.TiffFile(path) as tif:
        last = tif.pages[2].offset
    path.write_bytes(path.read_bytes()[:last])
    with pytest.raises(SourceError, match="damaged"):
        open_tiff(path)


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        open_tiff(tmp_path / "gone.tif")
    with pytest.raises(SourceError, match="is a folder"):
        open_tiff(tmp_path)
    assert TiffReader().sniff(tmp_path) == "is a folder, expected a file"
    (tmp_path / "v.tif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(90))
    with pytest.raises(SourceError, match="not a TIFF file"):
        open_tiff(tmp_path / "v.tif")
    (tmp_path / "e.tif").write_bytes(b"II*\0\0\0\0\0")
    with pytest.raises(SourceError, match=r"no pages|damaged"):
        open_tiff(tmp_path / "e.tif")
    with pytest.raises(SourceError, match="one file a layer, got 2"):
        TiffReader().open(LayerSource((tmp_path / "a.tif", tmp_path / "b.tif")), context("read"))
