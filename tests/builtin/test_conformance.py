"""The built-in components through the kit that everybody's pass through."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from curate_core.builtin.files import FilesSource
from curate_core.builtin.filters import Intensity, Limit
from curate_core.builtin.npy import NpyWriter
from curate_core.builtin.preprocess import Crop, Invert, PickChannel, Transpose
from curate_core.builtin.readers import NpyReader, RawReader
from curate_core.builtin.rois import Each, GridRois, ListRois, RandomRois, Whole
from curate_core.builtin.scale import ToUint8
from curate_core.builtin.table import ListSource
from curate_core.builtin.transforms import Cast, Normalize, Pad
from curate_core.host import Host
from curate_core.testing import (
    FilterTests,
    PluginTests,
    PreprocessorTests,
    ReaderTests,
    RoiFinderTests,
    SourceTests,
    TransformTests,
    WriterTests,
    run_spec,
    values,
)


class TestPlugin(PluginTests):
    """The built-ins are a plugin like any other."""

    plugin_module = "curate_core.builtin.plugin"
    distribution = "curate-core"
    examples: ClassVar = {
        "source:files": {"pattern": "{case}.npy"},
        "source:list": {"cases": [{"case": "a", "layers": {"image": "a.npy"}}]},
        "source:dataset": {"path": "out"},
        "reader:raw": {"shape": [1, 2], "dtype": "uint8"},
        "reader:samples": {"dataset": "out", "case": "a", "array": "image"},
        "reader:sample": {"dataset": "out", "case": "a", "array": "image"},
        "preprocessor:transpose": {"axes": "xyz"},
        "roi_finder:each": {"axis": "n"},
        "roi_finder:grid": {"size": 8},
        "roi_finder:random": {"size": 8, "count": 2},
        "roi_finder:list": {"file": "rois.npz"},
        "roi_finder:coordinates": {"file": "coords", "size": 8},
        "transform:pad": {"size": 8},
        "transform:cast": {"dtype": "uint8"},
        "filter:intensity": {"min_std": 1},
        "filter:limit": {"count": 3},
    }

    def host(self):
        return Host([])

    def test_is_installed(self):
        pytest.skip("the host asks the built-ins itself")

    def test_bounds_the_core(self):
        pytest.skip("they are the core")


class TestFilesSource(SourceTests):
    component = FilesSource
    options: ClassVar = {"pattern": "{split}/{case}.npy"}
    cases = ("a", "b2", "b10")  # numbers in names count as numbers

    def make_files(self, folder):
        for name in ("test/b10.npy", "train/a.npy", "train/b2.npy", "train/notes.txt"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
        return {"root": str(folder)}


class TestListSource(SourceTests):
    component = ListSource
    cases = ("b", "a")
    from_files = False

    def make_files(self, folder):
        for name in ("a.npy", "b.npy"):
            (folder / name).touch()
        return {"cases": [{"case": name, "layers": {"image": {"files": [str(folder / f"{name}.npy")]}}} for name in ("b", "a")]}


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


class TestToUint8(PreprocessorTests):
    component = ToUint8
    dtype = "int16"
    options: ClassVar = {"range": "min-max"}


class TestPercentiles(PreprocessorTests):
    component = ToUint8
    dtype = "float32"
    options: ClassVar = {"range": "percentile"}


class TestEach(RoiFinderTests):
    component = Each
    options: ClassVar = {"axis": "z"}


class TestWhole(RoiFinderTests):
    component = Whole
    reads_pixels = False


class TestGridOfBoxes(RoiFinderTests):
    component = GridRois
    options: ClassVar = {"size": [4, 8, 16], "stride": [2, 8, 10], "edge": "shift"}
    reads_pixels = False


class TestGridOfSections(RoiFinderTests):
    component = GridRois
    options: ClassVar = {"size": 8, "planes": ["xy", "xz", "yz"], "edge": "short"}
    reads_pixels = False


class TestGridOfAnImage(RoiFinderTests):
    component = GridRois
    options: ClassVar = {"size": 8, "planes": ["xy"]}
    axes = "yxc"
    shape = (33, 41, 3)
    reads_pixels = False


class TestRandomRois(RoiFinderTests):
    component = RandomRois
    options: ClassVar = {"size": [2, 8, 8], "count": 20}
    seeded = True
    reads_pixels = False


class TestListRois(RoiFinderTests):
    component = ListRois
    reads_pixels = False

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path, monkeypatch):
        """One line written by hand."""
        (tmp_path / "rois.jsonl").write_text('{"case": "case", "axes": "zyx", "start": [0, 1, 2], "stop": [3, 4, 5]}\n')
        monkeypatch.chdir(tmp_path)

    options: ClassVar = {"file": "rois.jsonl"}

    def test_nothing_to_find(self):
        pytest.skip("the file says what there is; the runner refuses what leaves a layer")


class TestIntensity(FilterTests):
    component = Intensity
    options: ClassVar = {"min_std": 70, "max_mean": 130, "min_range": 10, "max_constant": 0.5}


class TestIntensityOfFloats(FilterTests):
    component = Intensity
    options: ClassVar = {"min_std": 98, "min_mean": -2}
    dtype = "float32"


class TestLimit(FilterTests):
    component = Limit
    options: ClassVar = {"count": 10}
    keeps_existing = True


class TestLimitOfAll(FilterTests):
    component = Limit
    options: ClassVar = {"count": 100, "within": "dataset"}
    keeps_existing = True


class TestPad(TransformTests):
    component = Pad
    options: ClassVar = {"size": [9, 16], "mode": "reflect"}
    spacing = (2.0, 0.5)


class TestCast(TransformTests):
    component = Cast
    options: ClassVar = {"dtype": "uint8", "lossy": True}
    dtype = "float64"


class TestNormalize(TransformTests):
    component = Normalize
    dtype = "int16"


class TestNormalizeOverTheCase(TransformTests):
    component = Normalize
    options: ClassVar = {"mode": "range", "over": "case"}


WRITTEN = ("bool", "uint8", "int8", "uint16", ">u2", "int16", "uint32", "int32", "float16", "float32", ">f4", "float64")


class TestNpyWriter(WriterTests):
    component = NpyWriter
    dtypes = WRITTEN


class TestNpyWriterOfPairs(WriterTests):
    component = NpyWriter
    options: ClassVar = {"path": "{case}/{array}/{roi}.npy"}
    arrays = ("noisy", "clean")
    axes = "zyx"
    shape = (2, 3, 5)


class TestNpyWriterOfLayers(WriterTests):
    """Two arrays as one, in the order that the spec names them."""

    component = NpyWriter
    options: ClassVar = {"layers": ["clean", "noisy"]}
    arrays = ("noisy", "clean")

    def expected(self, batch):
        return {"stack": np.stack([batch.array("clean"), batch.array("noisy")], axis=1)}

    def test_paths_agree_with_the_files(self, tmp_path):
        writer, batch = self.writer(), self.batch()
        (written,) = self.write(tmp_path / "part", batch)
        assert [sample["stack"].file for sample in written.places] == writer.paths(batch)


class TestNpyStacks(WriterTests):
    component = NpyWriter
    options: ClassVar = {"path": "all.npy", "stack": True}
    dtypes = WRITTEN


def test_run_spec(tmp_path):
    """The kit's way to a dataset: the tiles are numpy's own, in order."""
    volume = values((2, 16, 24))
    np.save(tmp_path / "a.npy", volume)
    spec = {
        "source": {"use": "files", "pattern": "{case}.npy"},
        "rois": [{"use": "grid", "size": 8, "planes": ["xy"]}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
    }
    dataset = run_spec(spec, tmp_path)
    tiles = [volume[z, y : y + 8, x : x + 8] for z in range(2) for y in (0, 8) for x in (0, 8, 16)]
    assert len(dataset) == len(tiles)
    for i, tile in enumerate(tiles):
        (array,) = [v for v in dataset[i].values() if isinstance(v, np.ndarray)]
        np.testing.assert_array_equal(array, tile)
