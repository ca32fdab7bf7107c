"""What every reader, writer and plugin must do, asked of these."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import imagecodecs
import numpy as np
from curate_imageio.still import ImageReader
from curate_imageio.video import VideoReader
from curate_imageio.writer import PngWriter
from PIL import Image

from curate_core.testing import PluginTests, ReaderTests, WriterTests


class TestPlugin(PluginTests):
    plugin_module = "curate_imageio.plugin"
    distribution = "curate-imageio"
    readme = Path(__file__).parents[1] / "README.md"


class StillTests(ReaderTests):
    component = ImageReader
    axes = "yx"
    shape: ClassVar[Sequence[int]] = (37, 53)
    big_shape: ClassVar[Sequence[int]] = (2048, 1024)
    dtypes: ClassVar[Sequence[str]] = ("uint8",)
    spacing = (1.0, 1.0)
    keeps_spacing = False
    memory_mapped = False

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / f"image{self.suffix}"
        Image.fromarray(array).save(path)
        return path


class TestPng(StillTests):
    suffix = ".png"
    dtypes = ("bool", "uint8", "uint16")


class TestColourPng(StillTests):
    suffix = ".png"
    axes = "yxc"
    shape = (19, 23, 3)
    big_shape = (1024, 1024, 3)


class TestDeepPng(TestColourPng):
    dtypes = ("uint16",)

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "image.png"
        path.write_bytes(imagecodecs.png_encode(array))
        return path


class TestDeepAlphaPng(TestDeepPng):
    shape = (19, 23, 4)


class TestDeepGreyAlphaPng(TestDeepPng):
    shape = (19, 23, 2)


class TestBmp(StillTests):
    suffix = ".bmp"


class TestColourBmp(TestColourPng):
    suffix = ".bmp"


class TestLosslessWebp(TestColourPng):
    suffix = ".webp"
    lazy = False  # the file, not its pixels, is read at once

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "image.webp"
        Image.fromarray(array).save(path, lossless=True)
        return path


class VideoTests(ReaderTests):
    """Lossless grey video, written by one of FFmpeg's encoders."""

    codec: ClassVar[str] = "ffv1"
    component = VideoReader
    axes = "zyx"
    shape = (9, 31, 45)
    big_shape = (40, 256, 256)
    dtypes: ClassVar[Sequence[str]] = ("uint8",)
    keeps_spacing = False
    memory_mapped = False

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / f"video{self.suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(self.codec, rate=Fraction(10))
            stream.height, stream.width = array.shape[1:3]
            name = {"uint8": "gray", "uint16": "gray16le"}[array.dtype.name]
            stream.pix_fmt = name
            if self.codec == "ffv1":
                stream.options = {"g": "4"}
            for values in array:
                for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(values), name)):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        return path


class TestAvi(VideoTests):
    suffix = ".avi"


class TestMkv(VideoTests):
    suffix = ".mkv"
    dtypes = ("uint8", "uint16")


class TestMov(VideoTests):
    suffix = ".mov"
    codec = "png"


class TestPngWriter(WriterTests):
    component = PngWriter
    dtypes = ("bool", "uint8", "uint16")


class TestColourPngWriter(WriterTests):
    component = PngWriter
    axes = "yxc"
    shape = (5, 7, 3)
    dtypes = ("uint8",)


class TestAlphaPngWriter(TestColourPngWriter):
    shape = (5, 7, 4)
