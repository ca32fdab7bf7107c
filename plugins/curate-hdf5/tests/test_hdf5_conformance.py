"""What every reader, writer and plugin must do, asked of these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from curate_hdf5.reader import Hdf5Reader
from curate_hdf5.writer import Hdf5Writer

from curate_core.testing import PluginTests, ReaderTests, WriterTests


class TestPlugin(PluginTests):
    plugin_module = "curate_hdf5.plugin"
    distribution = "curate-hdf5"
    readme = Path(__file__).parents[1] / "README.md"


class TestContiguous(ReaderTests):
    """Voxels in one piece, memory-mapped."""

    component = Hdf5Reader
    suffix = ".h5"
    unit = "um"
    dtypes = ("uint8", "int8", "uint16", ">u2", "int16", ">i4", "uint64", "float16", "float32", ">f4", "float64")
    layout: ClassVar[dict[str, Any]] = {}

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / f"volume{self.suffix}"
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("volume/data", data=array, **self.layout)
            dataset.attrs["element_size_um"] = spacing
        return path


class TestChunked(TestContiguous):
    memory_mapped = False
    suffix = ".hdf5"
    dtypes = ("bool", "uint8", ">u2", "float32", "float64", "complex64")
    layout: ClassVar[dict[str, Any]] = {"chunks": (2, 3, 4), "compression": "gzip", "shuffle": True}


class TestNexus(TestContiguous):
    """NXdata with evenly spaced axes."""

    suffix = ".nxs"
    unit = "nm"
    dtypes = ("uint16", "float32")

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "volume.nxs"
        with h5py.File(path, "w") as file:
            file.attrs["default"] = "entry"
            entry = file.create_group("entry")
            entry.attrs.update({"NX_class": "NXentry", "default": "plot"})
            plot = entry.create_group("plot")
            plot.attrs.update({"NX_class": "NXdata", "signal": "counts", "axes": ["z", "y", "x"]})
            plot["counts"] = array
            plot["errors"] = array
            for axis, length, step in zip("zyx", array.shape, spacing, strict=True):
                plot[axis] = 5 + step * np.arange(length)
                plot[axis].attrs["units"] = "nm"
        return path


class TestVirtual(TestContiguous):
    """A virtual dataset over another file."""

    memory_mapped = False
    detects_truncation = False  # the file that is cut is the small one; it ends before the voxels
    dtypes = ("uint16", "float32")

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        with h5py.File(folder / "voxels.h5", "w") as file:
            file["data"] = array
        layout = h5py.VirtualLayout(array.shape, array.dtype)
        layout[...] = h5py.VirtualSource("voxels.h5", "data", array.shape, array.dtype)
        path = folder / "volume.h5"
        with h5py.File(path, "w") as file:
            file.create_virtual_dataset("data", layout).attrs["element_size_um"] = spacing
        return path


class TestSamplesInOneFile(WriterTests):
    component = Hdf5Writer
    axes = "zyx"
    shape = (3, 5, 7)
    dtypes = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int64", "float16", "float32", "float64", "complex64", ">u2")
    arrays = ("ct", "pet")
    spacing = (3.0, 2.0, 1.0)


class TestFilePerCase(TestSamplesInOneFile):
    options: ClassVar[dict[str, Any]] = {"file": "cases/{case}.h5", "path": "{roi}/{array}", "compression": "gzip", "chunks": [2, 3, 4]}


class TestFilePerSample(TestSamplesInOneFile):
    options: ClassVar[dict[str, Any]] = {"file": "{case}/{roi}.h5", "path": "{array}", "compression": "none"}


class TestStacks(TestSamplesInOneFile):
    """Samples so small that they share chunks."""

    options: ClassVar[dict[str, Any]] = {"stack": True}


class TestStacksOfCutSamples(TestSamplesInOneFile):
    options: ClassVar[dict[str, Any]] = {"stack": True, "file": "{array}.h5", "path": "main", "chunks": [2, 3, 4], "compression": "gzip"}


class TestStacksInOnePiece(TestSamplesInOneFile):
    options: ClassVar[dict[str, Any]] = {"stack": True, "compression": "none"}


class TestLayersAsOne(WriterTests):
    component = Hdf5Writer
    options: ClassVar[dict[str, Any]] = {"stack": True, "path": "main", "layers": ["src", "tgt"], "dtype": "float32", "chunks": [1, 5, 7]}
    dtypes = ("uint8", "int16", "float32")
    arrays = ("src", "tgt")

    def expected(self, batch: Any) -> Any:
        return {"stack": np.stack([batch.array("src"), batch.array("tgt")], axis=1).astype("float32")}

    def test_unstored_dtypes_are_refused(self, tmp_path: Path) -> None:
        """A type is asked for: see the tests of the writer."""


def test_the_kit_sees_the_times_that_the_library_stamps(tmp_path: Path) -> None:
    """It takes them from the C library, in seconds."""

    class Tracking(WriterTests):
        component = Hdf5Writer

        def write(self, part: Path, *batches: Any) -> Any:
            written = super().write(part, *batches)
            with h5py.File(part / "data.h5", "a") as file:
                file.create_dataset("note", data=1, track_times=True)
            return written

    with pytest.raises(AssertionError, match=r"Hdf5Writer writes other bytes the second time .*: data\.h5"):
        Tracking().test_same_samples_same_bytes(tmp_path)
