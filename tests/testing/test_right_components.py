"""The kit's tests of ROI finders, filters, transforms and preprocessors pass what is right."""

from __future__ import annotations

import pytest
from kit_toys import ToyFilter, ToyFinder, ToyFloor, ToyLevel, ToyPreprocessor, ToyTransform, ToyUnique, failures

from curate_core.testing import FilterTests, PreprocessorTests, RoiFinderTests, TransformTests


@pytest.mark.parametrize(
    ("base", "component", "claims"),
    [
        (RoiFinderTests, ToyFinder, {"seeded": True, "reads_pixels": False}),
        (RoiFinderTests, ToyFinder, {"seeded": True, "axes": "yx", "shape": (12, 13), "options": {"size": 2}}),
        (FilterTests, ToyFilter, {"options": {"least": 127}}),
        (FilterTests, ToyUnique, {"keeps_existing": True}),
        (TransformTests, ToyTransform, {}),
        (TransformTests, ToyLevel, {}),
        (TransformTests, ToyLevel, {"statistics": {"greatest": 9, "sum": 20, "count": 5}, "count": 2}),
        (PreprocessorTests, ToyPreprocessor, {}),
        (PreprocessorTests, ToyFloor, {}),
    ],
)
def test_right_components_pass(tmp_path, base, component, claims):
    assert failures(tmp_path, base, component, **claims) == {}
