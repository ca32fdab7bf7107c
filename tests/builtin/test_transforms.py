"""Changes of cut samples, against numpy's own."""

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from curate_core.builtin.transforms import Cast, Normalize, Pad, lossless
from curate_core.errors import StepError
from curate_core.kinds import CASE, Scope
from curate_core.structure import Mistakes, structure
from curate_core.testing import context, make_batch, values


def step(cls, **options):
    return structure(options, cls, None)


def applied(cls, array, statistics=None, letters="", **options):
    return step(cls, **options).apply(make_batch(array, letters), context(statistics=statistics)).array()


# pad


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9)), min_size=1, max_size=3), st.sampled_from(["constant", "edge", "reflect"]))
def test_padding_is_that_of_numpy(lengths, mode):
    shape, size = [n for n, _ in lengths], [s for _, s in lengths]
    array = values((2, *shape), "int16")
    before = [max(0, s - n) // 2 for n, s in lengths]
    after = [max(0, s - n) - b for (n, s), b in zip(lengths, before, strict=True)]
    truth = np.pad(array, [(0, 0), *zip(before, after, strict=True)], mode)
    np.testing.assert_array_equal(applied(Pad, array, size=size, mode=mode), truth)


def test_padding_at_the_end_and_of_a_value():
    array = values((3, 4, 5), "float32")
    got = applied(Pad, array, size=[6, 4], value=-1.5, place="end")
    np.testing.assert_array_equal(got, np.pad(array, [(0, 0), (0, 2), (0, 0)], constant_values=-1.5))


def test_the_odd_voxel_goes_behind_and_grids_follow():
    batch = make_batch(values((2, 3, 4)), "yx", [2.0, 0.5])
    padded = step(Pad, size=8).apply(batch, context())
    for row in range(2):
        old, new = batch.grids["image"](row), padded.grids["image"](row)
        assert new.shape == (8, 8)
        np.testing.assert_array_equal(new.world([2, 2]), old.world([0, 0]))
        assert padded.array()[row, 2, 2] == batch.array()[row, 0, 0]


def test_samples_that_are_large_enough_are_not_touched():
    batch = make_batch(values((2, 9, 4)))
    assert step(Pad, size=[8, 4]).apply(batch, context()).array() is batch.array()
    assert step(Pad, size=[8, 5]).apply(batch, context()).array().shape == (2, 9, 5)


def test_pad_needs_a_size_for_each_axis():
    with pytest.raises(StepError, match=r"^size has 2 numbers, samples of 'image' have 3 axes$"):
        applied(Pad, values((2, 3, 4, 5)), size=[4, 4])


@pytest.mark.parametrize(("dtype", "value", "shown"), [("uint8", 256, "256"), ("uint8", -1, "-1"), ("int16", 0.5, "0.5"), ("bool", 2, "2")])
def test_padding_must_exist_among_the_values(dtype, value, shown):
    with pytest.raises(StepError, match=rf"^padding of {shown} does not exist among {dtype} values$"):
        applied(Pad, values((2, 3, 3), dtype), size=4, value=value)


def test_padding_floats_with_what_is_near_enough():
    got = applied(Pad, np.zeros((1, 1, 1), "float32"), size=[1, 2], value=0.1)
    assert got[0, 0, 1] == np.float32(0.1)


# cast

DTYPES = ["uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool"]


def holds(dtype, number):
    """Whether a type has a number, in rational arithmetic."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return number in (0, 1)
    if kind.kind in "iu":
        info = np.iinfo(kind)
        return number == int(number) and info.min <= number <= info.max
    with np.errstate(over="ignore"):
        near = kind.type(number)
    return bool(np.isfinite(near)) and Fraction(float(near)) == Fraction(number)


EDGE = sorted(
    {s * (2**p + d) for p in (0, 1, 7, 8, 10, 11, 15, 16, 23, 24, 25, 31, 32, 52, 53) for d in (-1, 0, 1) for s in (1, -1)}
    | {2**62, 2**63 - 1, -(2**63), 2**63 - 1024, 2**60 + 1}
)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(DTYPES, DTYPES)))
def test_casts_are_refused_exactly_where_they_lose(source, target):
    for number in [*EDGE, 0.5, -0.25, 1e10, 65504.0, 65520.0]:
        if not holds(source, number):
            continue
        array = np.array([[number]]).astype(source)
        kept = holds(target, number)
        assert (lossless(array, np.dtype(target)) == "") == kept, (number, source, target)
        if kept:
            got = applied(Cast, array, dtype=target)
            assert got.dtype == np.dtype(target)
            assert got.item() == number


def test_huge_floats_do_not_come_back_by_luck():
    for number in (2.0**63, -(2.0**63) - 2048, 1e300, 2.0**31, np.inf, -np.inf, np.nan):
        for target in ("int64", "int32", "uint32", "int16", "uint8"):
            if not (np.isfinite(number) and holds(target, int(number))):
                assert lossless(np.array([number]), np.dtype(target)) != "", (number, target)


def test_nan_and_infinities_stay_in_floats():
    array = np.array([[np.nan, np.inf, -np.inf, 1.5]])
    np.testing.assert_array_equal(applied(Cast, array, dtype="float16"), array)


def test_a_lossy_cast_is_refused_with_numbers():
    with pytest.raises(StepError) as caught:
        applied(Cast, np.array([[1.0, 2.5, 300.0]]), dtype="uint8")
    text = str(caught.value)
    assert text.startswith("array 'image' cannot become uint8 without loss: 2 of 3 float64 values would change, such as 2.5 to 2")
    assert text.endswith('(set "lossy": true to accept that)')
    with pytest.raises(StepError, match=r"1 of 2 int64 values would change, such as 9007199254740993 to 9007199254740992.0 \("):
        applied(Cast, np.array([[1, 2**53 + 1]]), dtype="float64")
    with pytest.raises(StepError, match=r"1 of 2 uint8 values would change, such as 2 to True \("):
        applied(Cast, np.array([[1, 2]], "uint8"), dtype="bool")


NUMBERS = st.floats(-1e19, 1e19) | st.floats(-300, 300) | st.integers(-(2**63), 2**63 - 1).map(float)


@given(st.lists(NUMBERS, min_size=1, max_size=10), st.sampled_from([d for d in DTYPES if "int" in d]))
def test_lossy_casts_of_floats_round_to_even_and_clip(numbers, dtype):
    info = np.iinfo(dtype)
    truth = [min(max(round(number), int(info.min)), int(info.max)) for number in numbers]
    assert applied(Cast, np.array([numbers]), dtype=dtype, lossy=True).reshape(-1).tolist() == truth


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=10), st.sampled_from([d for d in DTYPES if "int" in d]))
def test_lossy_casts_of_integers_clip(numbers, dtype):
    info = np.iinfo(dtype)
    truth = [min(max(number, int(info.min)), int(info.max)) for number in numbers]
    assert applied(Cast, np.array([numbers], "int64"), dtype=dtype, lossy=True).reshape(-1).tolist() == truth


def test_lossy_casts_of_values_that_are_no_numbers():
    array = np.array([[np.nan, np.inf, -np.inf]])
    for dtype in ("uint8", "int16", "int64"):
        info = np.iinfo(dtype)
        assert applied(Cast, array, dtype=dtype, lossy=True).tolist() == [[0, info.max, info.min]]
    top = float(np.finfo("float16").max)
    got = applied(Cast, np.array([[np.nan, 1e9, -1e9]]), dtype="float16", lossy=True)
    np.testing.assert_array_equal(got, [[np.nan, top, -top]])
    np.testing.assert_array_equal(applied(Cast, np.array([[True, False]]), dtype="uint8", lossy=True), [[1, 0]])
    np.testing.assert_array_equal(applied(Cast, np.array([[0.0, 0.3, -7]]), dtype="bool", lossy=True), [[False, True, True]])
    np.testing.assert_array_equal(applied(Cast, np.array([[2**64 - 1]], "uint64"), dtype="int64", lossy=True), [[2**63 - 1]])


def test_a_cast_to_what_it_is_changes_nothing():
    batch = make_batch(values((2, 3, 4)))
    assert step(Cast, dtype="uint8").apply(batch, context()).array() is batch.array()


# normalize


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "float32", "float64", "bool"])
def test_each_sample_alone(dtype):
    array = values((5, 6, 7), dtype)
    wide = array.astype("float64")
    mean, deviation = wide.mean((1, 2), keepdims=True), wide.std((1, 2), keepdims=True)
    got = applied(Normalize, array)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, (wide - mean) / deviation, rtol=0, atol=1e-6)
    low, high = wide.min((1, 2), keepdims=True), wide.max((1, 2), keepdims=True)
    np.testing.assert_allclose(applied(Normalize, array, mode="range"), (wide - low) / (high - low), rtol=0, atol=1e-7)


def test_a_sample_gives_the_same_bits_in_any_batch():
    array = values((9, 33, 17), "float32")
    for mode in ("z-score", "range"):
        together = applied(Normalize, array, mode=mode)
        alone = np.concatenate([applied(Normalize, array[i : i + 1], mode=mode) for i in range(9)])
        np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("mode", ["z-score", "range"])
@pytest.mark.parametrize("over", ["sample", "case"])
def test_constant_values_become_zero(mode, over):
    for value in (0, 7, 0.1, 1e9 + 0.1):
        array = np.full((2, 3, 5), value)
        normalize = step(Normalize, mode=mode, over=over)
        statistics = normalize.merge([normalize.measure(make_batch(array[i : i + 1]), context()) for i in (0, 1)])
        got = normalize.apply(make_batch(array), context(statistics=statistics)).array()
        np.testing.assert_array_equal(got, np.zeros((2, 3, 5)))


BATCHES = st.lists(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=12).map(lambda v: np.array([v])), min_size=1, max_size=6)


@given(BATCHES, st.randoms(use_true_random=False), st.sampled_from([0.0, 1e6]))
def test_merged_statistics_are_those_of_all_values_in_any_order(batches, random, offset):
    normalize = step(Normalize, over="dataset")
    batches = [batch + offset for batch in batches]
    partials = [normalize.measure(make_batch(batch), context()) for batch in batches]
    random.shuffle(partials)
    cut = random.randint(0, len(partials))
    groups = [group for group in (partials[:cut], partials[cut:]) if group]
    merged = normalize.merge([normalize.merge(group) for group in groups])["image"]
    every = np.concatenate([batch.reshape(-1) for batch in batches])
    assert merged["count"] == every.size
    assert (merged["low"], merged["high"]) == (every.min(), every.max())
    scale = max(1.0, float(np.abs(every).max()))
    assert abs(merged["mean"] - math.fsum(every) / every.size) <= 1e-12 * scale
    assert abs(math.sqrt(merged["moment"] / merged["count"]) - every.std()) <= 1e-12 * scale


@pytest.mark.parametrize("mode", ["z-score", "range"])
def test_over_a_case_of_real_images(mode):
    cells = skimage.data.camera()[:384].reshape(12, 128, 128) * np.uint16(201)
    normalize = step(Normalize, mode=mode, over="case")
    batches = [cells[i : i + 5] for i in range(0, 12, 5)]
    statistics = normalize.merge([normalize.measure(make_batch(batch), context()) for batch in batches])
    statistics = json.loads(json.dumps(statistics))
    got = np.concatenate([normalize.apply(make_batch(batch), context(statistics=statistics)).array() for batch in batches])
    shift, scale = (cells.mean(), cells.std()) if mode == "z-score" else (cells.min(), np.ptp(cells))
    np.testing.assert_allclose(got, (cells - shift) / scale, rtol=1e-6, atol=1e-6)
    if mode == "range":
        assert (got.min(), got.max()) == (0, 1)


def test_each_array_by_its_own_statistics():
    arrays = {"a": values((2, 4, 4), "uint8"), "b": values((2, 4, 4), "int16")}
    normalize = step(Normalize, over="case", arrays=["b"])
    batch = make_batch(arrays)
    statistics = normalize.merge([normalize.measure(batch, context())])
    assert list(statistics) == ["b"]
    done = normalize.apply(batch, context(statistics=statistics))
    assert done.array("a") is batch.array("a")
    np.testing.assert_allclose(done.array("b"), (arrays["b"] - arrays["b"].mean()) / arrays["b"].std(), rtol=1e-5, atol=1e-6)


def test_the_scope_of_the_statistics():
    assert step(Normalize).statistics_scope() is None
    assert step(Normalize, over="case").statistics_scope() == CASE
    assert step(Normalize, over={"attribute": "scan"}).statistics_scope() == Scope("attribute", "scan")


@pytest.mark.parametrize("over", ["sample", "case"])
def test_nan_and_infinities_are_refused(over):
    array = np.array([[[np.nan, 1, np.inf]]])
    normalize = step(Normalize, over=over)
    message = r"^array 'image' has 2 NaN or infinite values \(clean them in an earlier step\)$"
    with pytest.raises(StepError, match=message):
        normalize.measure(make_batch(array), context())
    with pytest.raises(StepError, match=message):
        normalize.apply(make_batch(array), context(statistics={}))


@pytest.mark.parametrize(("cls", "options"), [(Pad, {"size": 9}), (Cast, {"dtype": "float64"}), (Normalize, {})])
def test_only_the_named_arrays_change_and_unknown_ones_are_named(cls, options):
    batch = make_batch({"a": values((2, 4, 4)), "b": values((2, 4, 4), seed=1)})
    copy = batch.array("b").copy()
    done = step(cls, **options, arrays=["b"]).apply(batch, context())
    assert done.array("a") is batch.array("a")
    assert done.array("b") is not batch.array("b")
    np.testing.assert_array_equal(batch.array("b"), copy)
    with pytest.raises(StepError, match=r"the samples have no array 'c' \(a, b\)"):
        step(cls, **options, arrays=["c"]).apply(batch, context())


def test_options_out_of_bounds_are_mistakes():
    with pytest.raises(Mistakes, match="0 must be at least 1"):
        step(Pad, size=[3, 0])
    with pytest.raises(Mistakes, match="expected one of"):
        step(Cast, dtype="complex64")
