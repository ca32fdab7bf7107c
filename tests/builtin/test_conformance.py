"""The built-in components through the kit that everybody's pass through."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from curate_core.builtin.preprocess import Crop, Invert, PickChannel, Transpose
from curate_core.builtin.readers import NpyReader, RawReader
from curate_core.host import Host
from curate_core.testing import PluginTests, PreprocessorTests, ReaderTests


class TestPlugin(PluginTests):
    """The built-ins are a plugin like any other."""

    plugin_module = "curate_core.builtin.plugin"
    distribution = "curate-core"

    def host(self):
        return Host([])

    def test_is_installed(self):
        pytest.skip("the host asks the built-ins itself")


DTYPES = ("uint8", "int8", "bool", ">u2", "int16", "uint32", "int64", "float16", ">f4", "float64", "complex64")


class TestNpyReader(ReaderTests):
    component = NpyReader
    suffix = ".npy"
    dtypes = DTYPES
    keeps_spacing = False

    def make_file(self, folder, array, spacing):
        """The format by hand, after numpy's description of it."""
        path = folder / "volume.npy"
        head = f"{{'descr': {array.dtype.str!r}, 'fortran_order': False, 'shape': {array.shape}, }}"
        head += " " * (-(10 + len(head) + 1) % 64) + "\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + array.tobytes())
        return path


class TestFortranNpy(TestNpyReader):
    def make_file(self, folder, array, spacing):
        np.save(folder / "volume.npy", np.asfortranarray(array), allow_pickle=False)
        return folder / "volume.npy"


class TestNpyReaderTold(TestNpyReader):
    """With the voxel size and axes said in the spec."""

    options: ClassVar = {"axes": "tyx", "spacing": [1.5, 0.75], "unit": "um"}
    axes = "tyx"
    spacing = (1.5, 0.75)
    unit = "um"
    keeps_spacing = True


class TestRawReader(ReaderTests):
    component = RawReader
    suffix = ".raw"
    dtypes = ("uint8",)
    unit = "nm"
    big_shape = (5, 7, 11)
    options: ClassVar = {"shape": [5, 7, 11], "dtype": "uint8", "offset": 3, "spacing": [3.0, 1.5, 0.75], "unit": "nm"}
    sniffs = False

    def make_file(self, folder, array, spacing):
        path = folder / "volume.raw"
        path.write_bytes(b"\x00\x01\x02" + array.tobytes())
        return path

    def test_opening_reads_no_voxels(self, tmp_path):
        pytest.skip("its one shape is too small to tell")

    test_reading_a_box_reads_little_else = test_opening_reads_no_voxels


class TestBigRawReader(TestRawReader):
    """One shape, several MB, Fortran order, big-endian."""

    dtypes = (">u2",)
    shape = big_shape = (32, 128, 512)
    options: ClassVar = {"shape": [32, 128, 512], "dtype": ">u2", "order": "F", "spacing": [3.0, 1.5, 0.75], "unit": "nm"}

    def make_file(self, folder, array, spacing):
        path = folder / "volume.raw"
        path.write_bytes(array.tobytes(order="F"))
        return path

    test_opening_reads_no_voxels = ReaderTests.test_opening_reads_no_voxels
    test_reading_a_box_reads_little_else = ReaderTests.test_reading_a_box_reads_little_else


class TestPickChannel(PreprocessorTests):
    component = PickChannel
    options: ClassVar = {"channel": 1}
    axes = "zyxc"
    shape = (3, 5, 7, 2)


class TestInvert(PreprocessorTests):
    component = Invert
    dtype = ">u2"


class TestCrop(PreprocessorTests):
    component = Crop
    options: ClassVar = {"start": {"z": 1, "x": 2}, "stop": {"y": 5}}


class TestTranspose(PreprocessorTests):
    component = Transpose
    options: ClassVar = {"axes": "xzy"}
