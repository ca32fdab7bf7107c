"""The plugin, its source, its reader and its transforms against the kit."""

import warnings
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
from curate_align.fieldmodel import ModelField
from curate_align.following import FollowField
from curate_align.pairfiles import PairFiles, PairHdf5Reader
from curate_align.referencing import NormalizeByReference
from curate_align.warping import Warp

from curate_core import Case, Grid, Image, RoiTable, View
from curate_core.cut import cut
from curate_core.testing import PluginTests, ReaderTests, SourceTests, TransformTests


class TestPlugin(PluginTests):
    plugin_module = "curate_align.plugin"
    distribution = "curate-align"
    readme = Path(__file__).parents[1] / "README.md"
    examples: ClassVar = {
        "source:pair-files": {"images": "x*.h5"},
        "preprocessor:to-mip": {"mip": 5},
        "preprocessor:mask-union": {"layers": ["fold"], "thresholds": [178], "like": "image"},
        "roi_finder:point-pairs": {"pairs": [[[0, 0, 0], [0, 0, 1]]], "size": [8, 8]},
        "roi_finder:stretch-pairs": {"start": [0, 0], "z": [0, 2], "size": [8, 8]},
        "transform:field-model": {"model": "aligner.pt2"},
    }


class TestPairFiles(SourceTests):
    component = PairFiles
    cases = ("x1", "x10", "x2")

    def make_files(self, folder):
        for name in ("x2", "x1", "x10", "field_x1", "field_x10", "field_x2"):
            (folder / f"{name}.h5").touch()
        return {"images": str(folder / "x*.h5"), "fields": str(folder / "field_*.h5")}


class TestFieldsOfPairs(ReaderTests):
    """Fields as h5py stores them, (n, 2, x, y)."""

    component = PairHdf5Reader
    suffix = ".h5"
    axes = "ncyx"
    shape = (3, 2, 7, 11)
    big_shape = (16, 2, 256, 256)
    dtypes = ("float32", "float64", "int16")
    keeps_spacing = False

    def make_file(self, folder, array, spacing):
        path = folder / "pairs.h5"
        with h5py.File(path, "w") as file:
            file["main"] = array.swapaxes(2, 3)
        return path


class TestImagesOfPairs(TestFieldsOfPairs):
    """The second image of each pair, in chunks of one image as metroem writes them."""

    options: ClassVar = {"image": 1}
    axes = "nyx"
    shape = (3, 7, 11)
    big_shape = (16, 256, 256)
    memory_mapped = False

    def make_file(self, folder, array, spacing):
        path = folder / "pairs.h5"
        stored = np.stack([array[::-1], array], axis=1).swapaxes(2, 3)
        with h5py.File(path, "w") as file:
            file.create_dataset("img", data=stored, chunks=(1, 1, *stored.shape[2:]), compression="lzf")
        return path


class OfPairs(TransformTests):
    """Pairs of sections of layers image, field and mask."""

    def batch(self):
        rng = np.random.default_rng(0)
        shape = (8, 40, 48)
        grid = Grid.from_spacing(shape, "zyx", (40, 32, 32), "nm")
        layers = {
            "image": Image(rng.integers(1, 255, shape, np.uint8), grid, {"mip": 2}),
            "field": Image(rng.normal(0, 9, (*shape, 2)).astype("f4"), Grid.from_spacing((*shape, 2), "zyxc", grid.spacing, "nm")),
            "mask": Image(rng.random(shape) > 0.9, grid),
        }
        start = np.array([[z, 12, 9 + z] for z in range(self.count)])
        views = [
            View(start + [z, 0, 0], start + [z + 1, 12, 16], "zyx", tuple(layers), name, np.zeros(len(start)))
            for z, name in enumerate(("src", "tgt"))
        ]
        table = RoiTable(views)
        batch = cut(Case("case", layers), table, table.ids("case"), np.arange(self.count))
        return FollowField(step_mip=2).apply(batch, None) if self.component is Warp else batch


class TestFollowField(OfPairs):
    component = FollowField
    options: ClassVar = {"others": ["mask"], "reference_size": [20, 20], "step_mip": 3}


class TestNormalizeByReference(OfPairs):
    component = NormalizeByReference
    options: ClassVar = {"mask": "mask", "reference_size": [20, 24]}


class TestWarp(OfPairs):
    component = Warp


class TestModelField(OfPairs):
    component = ModelField

    @pytest.fixture(autouse=True)
    def model(self, tmp_path):
        torch = pytest.importorskip("torch")

        class Difference(torch.nn.Module):
            def forward(self, src, tgt, previous):
                return previous + torch.cat([src - tgt, torch.nn.functional.avg_pool2d(tgt, 3, 1, 1)], dim=1)

        plane = torch.zeros(1, 1, 16, 12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is on its way out
            torch.jit.save(torch.jit.trace(Difference(), (plane, plane, torch.zeros(1, 2, 16, 12))), tmp_path / "model.pt")
        self.options = {"src": "src.image", "tgt": "tgt.image", "model": str(tmp_path / "model.pt"), "device": "cpu"}
