"""What every reader, writer and plugin must do, asked of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import blosc2
import numpy as np
from curate_blosc2.reader import Blosc2Reader
from curate_blosc2.writer import Blosc2Writer

from curate_core import Batch, Grid
from curate_core.testing import PluginTests, ReaderTests, WriterTests

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64", "bool")


class TestPlugin(PluginTests):
    plugin_module = "curate_blosc2.plugin"
    distribution = "curate-blosc2"
    readme = Path(__file__).parents[1] / "README.md"


class TestForeignFiles(ReaderTests):
    """Arrays that blosc2 alone wrote, as nnU-Net does."""

    component = Blosc2Reader
    suffix = ".b2nd"
    dtypes = DTYPES
    keeps_spacing = False

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "volume.b2nd"
        blosc2.asarray(array, urlpath=str(path), cparams={"nthreads": 1})
        return path


class TestForeignFilesWithSpacing(TestForeignFiles):
    keeps_spacing = True
    options: ClassVar[Mapping[str, Any]] = {"spacing": [3.0, 1.5, 0.75], "unit": "nm"}


class TestForeignChannels(TestForeignFiles):
    axes = "czyx"
    shape = (2, 5, 7, 11)
    big_shape = (2, 32, 128, 256)


class TestOurFiles(ReaderTests):
    component = Blosc2Reader
    suffix = ".b2nd"
    unit = "um"
    axes = "tzyx"
    shape = (2, 5, 7, 11)
    big_shape = (2, 32, 128, 256)

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "volume.b2nd"
        grid = Grid.from_spacing(array.shape, self.axes, spacing, self.unit)
        patch = (4, 4, 4) if array.size < 10_000 else (32, 64, 64)
        Blosc2Writer(patch=patch).write_array(path, array, grid, "image", "case")
        return path


class TestWriter(WriterTests):
    component = Blosc2Writer
    axes = "zyx"
    shape = (5, 7, 11)
    dtypes = DTYPES
    spacing = (3.0, 1.5, 0.75)


class TestPlanes(TestWriter):
    axes = "yx"
    shape = (7, 11)
    spacing = (3.0, 1.5)
    options: ClassVar[Mapping[str, Any]] = {"patch": [4, 4], "codec": "zstd", "level": 1, "filter": "bitshuffle"}


class TestSeveralArrays(TestWriter):
    arrays = ("ct", "pet")
    options: ClassVar[Mapping[str, Any]] = {"path": "{case}/{roi}-{array}.b2nd", "patch": [4, 4, 4]}


class TestLayoutOfNnunet(TestWriter):
    arrays = ("ct", "organs", "pet")
    options: ClassVar[Mapping[str, Any]] = {
        "path": "{case}/{roi}.b2nd", "patch": [4, 4, 4], "channels": ["ct", "pet"], "labels": ["organs"], "filter": "shuffle",
    }  # fmt: skip

    def expected(self, batch: Batch) -> Mapping[str, Any]:
        return {"data": np.stack([batch.array("ct"), batch.array("pet")], axis=1), "seg": batch.array("organs")[:, None]}
