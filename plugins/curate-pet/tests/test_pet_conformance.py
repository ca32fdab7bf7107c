"""What every component must do, asked of these; resampling's are in test_pet_resample.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from curate_pet.cropping import CropToForeground
from curate_pet.foreground import Foreground
from curate_pet.grids import CheckGrids, Reorient
from curate_pet.intensity import Clip, Window, ZScore
from curate_pet.lesions import LabelCenters
from curate_pet.prune import PruneOverlap

from curate_core import Batch, Case, Grid, Image
from curate_core.testing import FilterTests, PluginTests, PreprocessorTests, RoiFinderTests, make_batch, make_case, values

COHORT = {"split": "train", "inputs": ["ct"]}


class TestPlugin(PluginTests):
    plugin_module = "curate_pet.plugin"
    distribution = "curate-pet"
    readme = Path(__file__).parents[1] / "README.md"
    examples: ClassVar[dict[str, Any]] = {
        "source:cohorts": {"pattern": "{layer}/{case}.nii.gz", "cohorts": [COHORT]},
        "preprocessor:resample": {"spacing": 2.0},
        "preprocessor:crop-to-foreground": {"layer": "ct"},
        "preprocessor:clip": {"low": 0},
        "preprocessor:window": {"low": 0, "high": 1},
        "roi_finder:foreground": {"size": 4},
        "roi_finder:label-centers": {"layer": "organs", "size": 4},
        "filter:prune-overlap": {"max_overlap": 0.25},
    }


class TestCheckGrids(PreprocessorTests):
    component = CheckGrids


class TestReorient(PreprocessorTests):
    component = Reorient
    options: ClassVar[dict[str, Any]] = {"to": "LPI"}

    def case(self) -> Case:
        affine = np.array([[0, -2, 0.1, 5], [0, 0.1, 3, 6], [1.5, 0, 0, 7], [0, 0, 0, 1]])
        return Case("case", {"image": Image(values((5, 7, 9), "int16"), Grid((5, 7, 9), "zyx", affine, "mm", True))})


class TestCropToForeground(PreprocessorTests):
    component = CropToForeground
    options: ClassVar[dict[str, Any]] = {"layer": "image", "threshold": 250, "margin": 1}


class TestClip(PreprocessorTests):
    component = Clip
    options: ClassVar[dict[str, Any]] = {"low": -100, "high": 5000}
    dtype = ">i2"


class TestWindow(PreprocessorTests):
    component = Window
    options: ClassVar[dict[str, Any]] = {"low": -160, "high": 240, "to": [-1, 1]}
    dtype = "int16"


class TestZScore(PreprocessorTests):
    component = ZScore
    dtype = "float32"


class TestForeground(RoiFinderTests):
    component = Foreground
    options: ClassVar[dict[str, Any]] = {"size": [3, 5, 8], "threshold": 100, "min_fraction": 0.5}


class TestForegroundThinnedOut(RoiFinderTests):
    component = Foreground
    options: ClassVar[dict[str, Any]] = {"size": 6, "threshold": 100, "max_overlap": 0.5}
    seeded = True


class TestForegroundSections(RoiFinderTests):
    component = Foreground
    options: ClassVar[dict[str, Any]] = {"size": [-1, 9, 9], "threshold": 100, "min_fraction": 0.5, "stride": 2, "empty": "center"}


class TestLabelCenters(RoiFinderTests):
    component = LabelCenters
    options: ClassVar[dict[str, Any]] = {"layer": "image", "size": [4, 5, 6], "connectivity": "faces"}

    def case(self) -> Case:
        return make_case((values(self.shape, "uint8", 1) > 240).astype(np.uint8) * values(self.shape, "uint8", 2) % 3)


class TestBalancedLabelCenters(TestLabelCenters):
    options: ClassVar[dict[str, Any]] = {"layer": "image", "size": 5, "count": 7}
    seeded = True


class TestPruneOverlap(FilterTests):
    component = PruneOverlap
    options: ClassVar[dict[str, Any]] = {"max_overlap": 0.3}
    keeps_existing = True

    def batch(self) -> Batch:
        """Samples that overlap: those of the kit lie one after the other."""
        made = make_batch(values((24, 16, 21), "uint8"))
        view = made.rois.views[0]
        start = np.stack([np.arange(24) * 5 % 37, np.zeros(24, np.int64)], 1)
        moved = type(made.rois).boxes(start, start + view.shape, view.axes)
        return type(made)(made.case, moved, moved.ids("case"), made.arrays, made.grids, made.rows)
