"""What every reader, writer and plugin must do, asked of these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import tifffile
from curate_tiff.reader import TiffReader
from curate_tiff.writer import TiffWriter
from PIL import Image as Pillow

from curate_core.testing import PluginTests, ReaderTests, WriterTests


class TestPlugin(PluginTests):
    plugin_module = "curate_tiff.plugin"
    distribution = "curate-tiff"
    readme = Path(__file__).parents[1] / "README.md"


class TestOme(ReaderTests):
    component = TiffReader
    suffix = ".ome.tif"
    dtypes = ("uint8", "int8", "uint16", ">u2", "int16", "int32", "float32", ">f4", "float64")

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "volume.ome.tif"
        metadata: dict[str, Any] = {"axes": "ZYX"}
        for axis, step in zip("ZYX", spacing, strict=True):
            metadata |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": "nm"}
        order = ">" if array.dtype.byteorder == ">" else "<"
        tifffile.imwrite(path, array, byteorder=order, photometric="minisblack", ome=True, metadata=metadata)
        return path


class TestImageJ(ReaderTests):
    component = TiffReader
    suffix = ".tif"
    unit = "um"
    dtypes = ("uint8", "uint16", ">u2", "float32")

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "volume.tif"
        order = ">" if array.dtype.byteorder == ">" else "<"
        metadata = {"axes": "ZYX", "spacing": spacing[0], "unit": "um"}
        tifffile.imwrite(path, array, byteorder=order, imagej=True, resolution=(1 / spacing[2], 1 / spacing[1]), metadata=metadata)
        return path


class TestTiled(ReaderTests):
    component = TiffReader
    suffix = ".tif"
    keeps_spacing = False
    memory_mapped = False
    shape = (3, 37, 41)

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "volume.tif"
        tifffile.imwrite(path, array, photometric="minisblack", tile=(16, 32), compression="zlib", predictor=True, metadata=None)
        return path


class TestPillowStack(ReaderTests):
    """Pages scattered through the file, in strips."""

    component = TiffReader
    suffix = ".tif"
    keeps_spacing = False
    memory_mapped = False
    dtypes = ("uint8", "uint16", "float32")

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "volume.tif"
        pages = [Pillow.fromarray(page) for page in array]
        pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
        return path


class TestPatchWriter(WriterTests):
    component = TiffWriter
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.tiff"}
    dtypes = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")


class TestDeflateWriter(TestPatchWriter):
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.tiff", "compression": "deflate"}


class TestStackWriter(TestPatchWriter):
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.tif", "stack": True, "compression": "zstd"}
    axes = "zyx"
    shape = (3, 5, 7)


class TestPlainStackWriter(TestPatchWriter):
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.tif", "stack": True}
    axes = "zyx"
    shape = (4, 5, 7)


class TestOnePageWriter(TestPatchWriter):
    axes = "zyx"
    shape = (1, 5, 7)


class TestThinWriter(TestPatchWriter):
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.tif", "stack": True}
    axes = "tzyx"
    shape = (2, 1, 1, 7)


class TestRowWriter(TestPatchWriter):
    shape = (1, 9)


class TestColourWriter(WriterTests):
    component = TiffWriter
    axes = "yxc"
    shape = (5, 7, 3)
    dtypes = ("uint8", "uint16", "float32")


class TestTwoChannelWriter(TestColourWriter):
    shape = (5, 7, 2)


class TestImageJWriter(WriterTests):
    component = TiffWriter
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.tif", "stack": True, "metadata": "imagej"}
    axes = "zyx"
    shape = (3, 5, 7)
    spacing = (3.0, 2.0, 1.0)
