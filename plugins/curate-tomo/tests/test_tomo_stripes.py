"""Synthetic stripes, the scale and the ROI finder: what they promise, sample by sample."""

import json
from typing import Any, ClassVar

import numpy as np
import pytest
from curate_tomo.scale import Scale, scaled
from curate_tomo.sinograms import SinogramRois
from curate_tomo.stripes import AddStripes

from curate_core import Batch, StepError
from curate_core.arrays import NDArray
from curate_core.cut import batches
from curate_core.kinds import CASE, SAMPLE
from curate_core.testing import RoiFinderTests, TransformTests, context, make_batch, make_case, values

ANGLES, COLUMNS = 50, 400


def sinograms(count: int = 6, low: float = 1.0) -> NDArray:
    return np.random.default_rng(0).uniform(low, 10, (count, ANGLES, COLUMNS)).astype(np.float32)


def add(samples: NDArray, **options: Any) -> Batch:
    step = AddStripes(**options)
    batch = make_batch({"clean": samples})
    known = None if step.statistics_scope() is None else step.merge([step.measure(batch, context())])
    return step.apply(batch, context("add-stripes", statistics=known))


def parameters(batch: Batch) -> list[list[list[float]]]:
    return [json.loads(text) for text in batch.attributes["stripe_parameters"]]


class TestAddStripes(TransformTests):
    component = AddStripes
    options: ClassVar[dict[str, Any]] = {"percentage": 20, "variability": 0.01}
    shape = (20, 40)
    dtype = "float32"


class TestScaleConforms(TransformTests):
    component = Scale
    dtype = "float32"


class TestScaleOfSamples(TransformTests):
    component = Scale
    options: ClassVar[dict[str, Any]] = {"to": "uint8", "over": "sample"}
    dtype = "float64"


class TestSinograms(RoiFinderTests):
    component = SinogramRois
    axes = "zax"
    reads_pixels = False


class TestTangentograms(RoiFinderTests):
    component = SinogramRois
    options: ClassVar[dict[str, Any]] = {"view": "tangentogram", "every": 3}
    axes = "azx"
    reads_pixels = False


def test_the_mask_is_where_the_difference_is() -> None:
    clean = sinograms()
    found = add(clean)
    np.testing.assert_array_equal(found.array("clean"), clean)
    np.testing.assert_array_equal(found.array("mask"), (found.array("stripe") != clean).astype(np.uint8))
    assert found.array("mask").any(axis=(1, 2)).all()


def test_the_parameters_rebuild_the_stripes() -> None:
    clean = sinograms()
    found = add(clean)
    for row, stripes in enumerate(parameters(found)):
        expected, mask = clean[row].astype(float), np.zeros(clean[row].shape)
        for column, width, amplitude, first, last in stripes:
            expected[first:last, column - width : column + width + 1] += amplitude
            mask[first:last, column - width : column + width + 1] = 1
        np.testing.assert_allclose(found.array("stripe")[row], expected, atol=1e-5)
        np.testing.assert_array_equal(found.array("mask")[row], mask)
        assert found.attributes["stripes"][row] == len(stripes)


def test_statistics_of_many_stripes() -> None:
    """int(400 * 1.2 %) a sinogram less those at the edge; widths, amplitudes and kinds as the defaults say."""
    clean = sinograms(500)
    stripes = np.array([stripe for sample in parameters(add(clean)) for stripe in sample])
    assert 0.97 * 4 * 500 < len(stripes) <= 4 * 500
    column, width, amplitude, first, last = stripes.T
    assert set(width) == {0, 1, 2, 3}
    assert np.bincount(width.astype(int)) == pytest.approx([len(stripes) / 4] * 4, rel=0.15)
    assert (width < column).all()
    assert (column < COLUMNS - width).all()
    assert column.mean() == pytest.approx(200, abs=10)
    share = amplitude / (0.25 * clean.max())
    assert -1 <= share.min() < -0.99
    assert 0.49 < share.max() <= 0.5
    assert share.mean() == pytest.approx(-0.25, abs=0.03)
    full = (first == 0) & (last == ANGLES)
    assert full.mean() == pytest.approx(0.5, abs=0.05)
    assert (first < last).all()
    assert np.array_equal(np.unique(last - first)[[0, -1]], [1, ANGLES])


def test_full_stripes_are_constant_along_the_angle() -> None:
    clean = sinograms()
    found = add(clean, kind="full")
    difference = found.array("stripe") - clean
    assert np.ptp(difference, axis=1).max() < 5e-6
    assert (np.ptp(found.array("mask"), axis=1) == 0).all()


@pytest.mark.parametrize(("kind", "seen"), [("full", {0.0}), ("partial", {1.0}), ("random", {0.0, 1.0})])
def test_kinds(kind: str, seen: set[float]) -> None:
    """``random`` decides for a whole sinogram; a partial stripe over all angles by chance is rare."""
    found = parameters(add(sinograms(30), kind=kind, percentage=3))
    shares = {float(np.mean([stripe[4] - stripe[3] < ANGLES for stripe in sample]) > 0.5) for sample in found}
    assert shares == seen


def test_variability_walks_from_angle_to_angle() -> None:
    clean = sinograms(1)
    found = add(clean, kind="full", variability=0.005, percentage=0.3)
    column = int(parameters(found)[0][0][0])
    steps = np.diff((found.array("stripe") - clean)[0, :, column])
    np.testing.assert_allclose(np.abs(steps), 0.005 * clean.max(), atol=1e-5)
    assert {-1, 1} == set(np.sign(steps).astype(int))


def test_columns_of_zeros_are_avoided() -> None:
    clean = sinograms(50)
    clean[:, :, :200] = 0
    columns = np.array([stripe[0] for sample in parameters(add(clean)) for stripe in sample])
    assert (columns >= 200).all()  # twenty more draws: one in two million falls into the zeros


def test_the_maximum_is_the_cases_or_the_samples() -> None:
    clean = sinograms()
    clean[0] *= 100
    of_case, of_sample = add(clean), add(clean, over=SAMPLE)
    for a, b in zip(parameters(of_case)[1], parameters(of_sample)[1], strict=True):
        assert a[2] / b[2] == pytest.approx(clean.max() / clean[1].max(), rel=1e-4)
    assert AddStripes().statistics_scope() == CASE


def test_clipped_to_the_clean_range() -> None:
    clean = sinograms()
    found = add(clean, clip=True, intensity=2).array("stripe")
    for row in range(len(clean)):
        assert found[row].min() >= clean[row].min()
        assert found[row].max() <= clean[row].max()


def test_names_and_no_mask() -> None:
    found = add(sinograms(), stripe="bad", mask=None)
    assert list(found.arrays) == ["clean", "bad"]


def test_what_stripes_cannot_be_added_to() -> None:
    with pytest.raises(StepError, match="2D samples of float values, array 'clean' has 2 axes and type uint16"):
        add(np.zeros((3, 4, 5), np.uint16))
    with pytest.raises(StepError, match="have an array 'clean' already"):
        add(sinograms(1), stripe="clean")


def scale(given: dict[str, NDArray], **options: Any) -> Batch:
    step = Scale(**options)
    batch = make_batch(given)
    known = None if step.statistics_scope() is None else step.merge([step.measure(batch, context()), None])
    return step.apply(batch, context(statistics=known))


def test_one_scale_for_all_arrays_and_it_comes_back() -> None:
    clean, shift = values((4, 7, 9), "float32", 1), 2 * values((4, 7, 9), "float32", 2)
    mask = np.zeros((4, 7, 9), np.uint8)
    found = scale({"clean": clean, "shift00": shift, "mask": mask})
    low, high = found.attributes["scale_low"], found.attributes["scale_high"]
    assert set(low) == {float(min(clean.min(), shift.min()))}
    assert set(high) == {float(max(clean.max(), shift.max()))}
    step = (high[0] - low[0]) / 65535
    for name, original in (("clean", clean), ("shift00", shift)):
        assert found.array(name).dtype == np.uint16
        back = low[0] + found.array(name) * step
        assert np.abs(back - original).max() <= step / 2 * (1 + 1e-9)
    np.testing.assert_array_equal(found.array("mask"), mask)
    both = np.concatenate([found.array("clean"), found.array("shift00")])
    assert both.min() == 0
    assert both.max() == 65535


def test_differences_survive() -> None:
    clean = sinograms()
    batch = add(clean)
    found = scale({name: batch.array(name) for name in ("clean", "stripe", "mask")})
    changed = found.array("clean") != found.array("stripe")
    assert (changed <= found.array("mask").astype(bool)).all()  # nothing else is different
    assert changed.sum() > 0.99 * found.array("mask").sum()


def test_rounding_is_half_up() -> None:
    np.testing.assert_array_equal(scaled(np.array([0, 0.5, 1.5, 254.4, 255]), 0, 255, "uint8"), [0, 1, 2, 254, 255])
    np.testing.assert_array_equal(scaled(np.array([-5.0, 300.0]), 0, 255, "uint8"), [0, 255])
    np.testing.assert_array_equal(scaled(np.array([3.0, 3.0]), 3, 3, "uint16"), [0, 0])


def test_a_scale_for_each_sample() -> None:
    found = scale({"a": sinograms(3)}, over=SAMPLE)
    assert len(set(found.attributes["scale_high"])) == 3
    assert (found.array("a").max(axis=(1, 2)) == 65535).all()


def test_floats_stay_floats() -> None:
    clean = sinograms(2)
    found = scale({"a": clean, "b": clean.astype(np.float64)}, to="float32")
    assert found.array("a").dtype == found.array("b").dtype == np.float32
    assert "scale_low" not in found.attributes
    assert Scale(to="float32").statistics_scope() is None


def test_what_has_no_scale() -> None:
    bad = sinograms(1)
    bad[0, 0, 0] = np.nan
    with pytest.raises(StepError, match="array 'a' has NaN or infinite values"):
        scale({"a": bad})
    with pytest.raises(StepError, match="array 'a' has NaN or infinite values"):
        scale({"a": bad}, over=SAMPLE)
    with pytest.raises(StepError, match="array 'm' holds uint8, only floats are scaled"):
        scale({"m": np.zeros((1, 4, 4), np.uint8)}, arrays=("m",))
    assert scale({"m": np.zeros((1, 4, 4), np.uint8)}).array("m").dtype == np.uint8


@pytest.mark.parametrize("axes", ["zax", "azx", "xza"])
@pytest.mark.parametrize(
    ("view", "axis", "name"), [("sinogram", "z", "row"), ("projection", "a", "angle"), ("tangentogram", "x", "column")]
)
def test_views_cut_one_axis(axes: str, view: str, axis: str, name: str) -> None:
    volume = values((5, 6, 7), "float32")
    case = make_case(volume, axes)
    finder = SinogramRois(view=view, every=2, start=1)
    table = finder.find(case, context())
    position = axes.index(axis)
    expected = np.arange(1, volume.shape[position], 2)
    np.testing.assert_array_equal(table.attributes[name], expected)
    batch = next(iter(batches(case, table, np.arange(len(table)), table.ids("case"))))
    np.testing.assert_array_equal(batch.array(), np.moveaxis(volume, position, 0)[expected])
    assert batch.grids["image"](0).axes == axes.replace(axis, "")
    assert table.roi_name(0, case) == "0001"


def test_some_rows_of_some_layers() -> None:
    case = make_case({"a": values((9, 4, 5)), "b": values((9, 4, 5))}, "zax")
    table = SinogramRois(start=2, stop=5, layers=("b",)).find(case, context())
    assert table.attributes["row"].tolist() == [2, 3, 4]
    assert table.views[0].cuts(case) == {"b": "b"}


def test_volumes_have_no_sinograms() -> None:
    with pytest.raises(StepError, match="layer 'image' has the axes 'zyx', a scan has a"):
        SinogramRois().find(make_case(np.zeros((3, 3, 3))), context())
