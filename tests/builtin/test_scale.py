"""Scaling to bytes, against exact rational arithmetic and numpy."""

import math
from fractions import Fraction

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from curate_core.arrays import read
from curate_core.builtin.scale import ToUint8, look_up, scale_floats, scale_integers, table_of
from curate_core.errors import StepError
from curate_core.structure import Mistakes, structure
from curate_core.testing import context, make_case, values


def exact(value, low, high):
    """Rounded half up, in rational arithmetic."""
    clipped = min(max(Fraction(value), Fraction(low)), Fraction(high))
    return math.floor((clipped - Fraction(low)) / (Fraction(high) - Fraction(low)) * 255 + Fraction(1, 2))


def made(**options):
    return structure(options, ToUint8, None)


def scaled(array, *, others=(), **options):
    """The layer after measuring it, and other cases, and merging."""
    step = made(**options)
    cases = [make_case(a) for a in (array, *others)]
    statistics = step.merge([step.measure(case, context()) for case in cases])
    return step.apply(cases[0], context(statistics=statistics)).image()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint16", 0, 65535), ("int16", -32768, 32767), ("uint16", 7, 60001), ("int16", -1000, 400), ("int16", 5, 6)]
)
def test_every_16_bit_value_is_exact(dtype, low, high):
    every = np.arange(65536, dtype="uint16").view(dtype)
    truth = [exact(int(v), low, high) for v in every]
    np.testing.assert_array_equal(table_of(np.dtype(dtype), low, high)[np.arange(65536)], truth)
    for order in "<>":
        swapped = every.astype(np.dtype(dtype).newbyteorder(order)).reshape(256, 256)
        np.testing.assert_array_equal(look_up(swapped, table_of(swapped.dtype, low, high)).reshape(-1), truth)


@pytest.mark.parametrize(("dtype", "low"), [("uint16", 0), ("int16", -32768)])
def test_every_16_bit_value_by_type_through_the_step(dtype, low):
    every = np.arange(65536, dtype="uint16").view(dtype).reshape(256, 256)
    image = scaled(every)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image.array[...].reshape(-1), [exact(int(v), low, low + 65535) for v in every.flat])
    assert image.notes["scaled"] == f"type: {low:.6g} to {low + 65535:.6g}"


def test_every_8_bit_value_by_type():
    every = np.arange(256, dtype="uint8").reshape(16, 16)
    assert scaled(every).array is every
    signed = every.view("int8")
    np.testing.assert_array_equal(scaled(signed).array[...], signed.astype(int) + 128)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=20), st.data())
def test_32_bit_integers_are_exact(numbers, data):
    array = np.array(numbers, "int32")
    low = data.draw(st.integers(-(2**31), 2**31 - 2))
    high = data.draw(st.integers(low + 1, 2**31 - 1))
    np.testing.assert_array_equal(scale_integers(array, low, high), [exact(v, low, high) for v in numbers])


@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=20))
def test_32_bit_integers_by_type_and_min_max_are_exact(numbers):
    array = np.array(numbers, "uint32")
    image = scaled(array, allow_dark=True)
    np.testing.assert_array_equal(image.array[...], [exact(v, 0, 2**32 - 1) for v in numbers])
    if min(numbers) < max(numbers):
        image = scaled(array, range="min-max")
        np.testing.assert_array_equal(image.array[...], [exact(v, min(numbers), max(numbers)) for v in numbers])


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_unit_floats_are_rounded_half_up(numbers):
    """In float64 the product v * 255 of a float32 is exact; only adding one half can round."""
    got = scaled(np.array(numbers, "float32")).array[...]
    for value, byte in zip(numbers, got, strict=True):
        truth = Fraction(value) * 255 + Fraction(1, 2)
        assert byte == math.floor(truth) or (abs(truth - byte) < Fraction(1, 10**10))


def test_floats_by_min_max_against_rational_arithmetic():
    array = values((40, 50), "float32")
    low, high = float(array.min()), float(array.max())
    image = scaled(array, range="min-max")
    wide = [(Fraction(float(v)) - Fraction(low)) / (Fraction(high) - Fraction(low)) * 255 + Fraction(1, 2) for v in array.flat]
    for byte, truth in zip(image.array[...].flat, wide, strict=True):
        assert byte == math.floor(truth) or abs(truth - round(truth)) < Fraction(1, 10**9)
    assert (image.array[...].min(), image.array[...].max()) == (0, 255)
    assert image.notes["scaled"] == f"min-max: {low:.6g} to {high:.6g}"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_float_types_by_type(dtype):
    array = np.linspace(0, 1, 256).reshape(16, 16)
    np.testing.assert_array_equal(scaled(array.astype(dtype)).array[...].reshape(-1), np.arange(256))


def test_booleans():
    image = scaled(np.array([[True, False]]))
    np.testing.assert_array_equal(image.array[...], [[255, 0]])
    assert image.notes["scaled"] == "true is 255"


def test_min_max_over_cases_and_real_images():
    camera, coins = skimage.data.camera(), skimage.data.coins()
    array, other = camera.astype("int32") * 1000 - 7, coins.astype("int32") * 1001
    low, high = min(array.min(), other.min()), max(array.max(), other.max())
    got = scaled(array, others=[other], range="min-max", over="dataset").array[...]
    truth = np.floor((array - np.longdouble(low)) / (np.longdouble(high) - low) * 255 + 0.5)
    np.testing.assert_array_equal(got, truth)


@pytest.mark.parametrize("image", ["camera", "coins", "moon", "cell"])
@pytest.mark.parametrize("percentiles", [[0.5, 99.5], [0, 100], [10, 50]])
def test_percentiles_of_integers_are_those_of_numpy(image, percentiles):
    array = getattr(skimage.data, image)().astype("uint16") * 3 + 11
    low, high = np.percentile(array, percentiles, method="inverted_cdf")
    step = made(range="percentile", percentiles=percentiles)
    case = make_case(array)
    got = step.apply(case, context(statistics=step.merge([step.measure(case, context())]))).image()
    assert got.notes["scaled"] == f"percentile: {low:.6g} to {high:.6g}"
    lut = np.array([exact(v, int(low), int(high)) for v in range(1024)])
    np.testing.assert_array_equal(got.array[...], lut[array])


@given(st.permutations(range(4)))
def test_percentiles_merge_in_any_order_to_those_of_all_cases(order):
    arrays = [values((30, 40), "int16", seed=n) // (n + 1) for n in range(4)]
    step = made(range="percentile", percentiles=[2, 97], over="dataset")
    partials = [step.measure(make_case(array), context()) for array in arrays]
    merged = step.merge([partials[i] for i in order])
    low, high = np.percentile(np.concatenate([a.reshape(-1) for a in arrays]), [2, 97], method="inverted_cdf")
    note = step.apply(make_case(arrays[0]), context(statistics=merged)).image().notes["scaled"]
    assert note == f"percentile: {low:.6g} to {high:.6g}"


def test_merged_percentiles_hold_each_value_once():
    """Otherwise a thousand cases would need a thousand histograms in every unit's key; numpy counts them over all cases at once."""
    arrays = [values((50, 60), "uint16", seed=n) // 512 for n in range(4)]
    step = made(range="percentile", over="dataset")
    partials = [step.measure(make_case(array), context()) for array in arrays]
    distinct, counts = np.unique(np.concatenate(arrays), return_counts=True)
    merged = step.merge(partials)["image"]
    assert (merged["values"], merged["counts"]) == (distinct.tolist(), counts.tolist())
    assert step.merge([step.merge(partials[:2]), step.merge(partials[2:])])["image"] == merged


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_percentiles_that_coincide_are_no_reason_to_turn_an_image_black(dtype):
    array = np.zeros((100, 100), dtype)
    array[0, :30] = 200  # too few to move the 99.5th percentile
    with pytest.raises(StepError) as caught:
        scaled(array, range="percentile")
    assert str(caught.value) == (
        "the percentiles 0.5 and 99.5 of layer 'image' are both 0, its values reach from 0 to 200"
        ' (choose "percentiles" further apart, or use "range": "min-max")'
    )
    got = scaled(array, range="percentile", percentiles=[0.5, 99.9]).array[...]
    np.testing.assert_array_equal(got, np.where(array > 0, 255, 0))


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_percentiles_of_wide_values_lie_within_a_bin(dtype):
    array = (values((200, 300), "float64") * 1e5).astype(dtype)
    step = made(range="percentile", percentiles=[1, 99])
    case = make_case(array)
    low, high = step._limits(step.merge([step.measure(case, context())])["image"])
    bin_width = (float(array.max()) - float(array.min())) / 65536
    truth = np.percentile(array, [1, 99], method="inverted_cdf")
    np.testing.assert_allclose([low, high], truth, atol=bin_width, rtol=0)


def test_huge_floats_do_not_overflow():
    array = np.array([[-3e38, 0, 3e38]], "float32")
    for kind in ("min-max", "percentile"):
        np.testing.assert_array_equal(scaled(array, range=kind, percentiles=[0, 100]).array[...][0, [0, 2]], [0, 255])
        with pytest.raises(StepError, match=r"^layer 'image' reaches from -1.7e\+308 to 1.7e\+308, a distance that no float64 holds$"):
            scaled(np.array([[-1.7e308, 0, 1.7e308]]), range=kind)


@pytest.mark.parametrize("kind", ["min-max", "percentile"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("value", [0, 7, 100])
def test_constant_layers_become_zero(kind, dtype, value):
    got = scaled(np.full((3, 4), value, dtype), range=kind).array[...]
    np.testing.assert_array_equal(got, np.zeros((3, 4)))


def test_a_tiny_range_of_large_floats_is_spread():
    array = np.array([[1e16, 1e16 + 2, 1e16 + 4]])
    np.testing.assert_array_equal(scaled(array, range="min-max").array[...], [[0, 128, 255]])
    got = scaled(array, range="percentile", percentiles=[0, 100]).array[...]
    np.testing.assert_array_equal(got[0, [0, 2]], [0, 255])
    one = np.full((2, 2), 1e16)
    np.testing.assert_array_equal(scaled(one, range="percentile").array[...], np.zeros((2, 2)))


NAN = np.array([[np.nan, 0.0, 0.5], [np.inf, -np.inf, 1.0]], "float32")


@pytest.mark.parametrize("kind", ["type", "min-max", "percentile"])
def test_nan_and_infinities_are_refused_unless_asked_for(kind):
    with pytest.raises(StepError) as caught:
        scaled(NAN, range=kind, percentiles=[0, 100]).array[...]
    assert str(caught.value) == '3 of 6 values are NaN or infinite (set "nan": "zero" to make NaN 0)'
    got = scaled(NAN, range=kind, percentiles=[0, 100], nan="zero").array[...]
    assert got[:, [0, 1]].tolist() == [[0, 0], [255, 0]]
    assert got[1, 2] == 255


@pytest.mark.parametrize("kind", ["min-max", "percentile"])
def test_a_layer_without_a_finite_value(kind):
    with pytest.raises(StepError, match="^layer 'image' has no finite value$"):
        scaled(np.full((2, 2), np.nan), range=kind, nan="zero")


def test_a_case_without_a_finite_value_does_not_spoil_the_others():
    nothing = np.full((2, 2), np.nan)
    for kind in ("min-max", "percentile"):
        got = scaled(np.array([[0.0, 2.0]]), others=[nothing], range=kind, percentiles=[0, 100], over="dataset").array[...]
        np.testing.assert_array_equal(got, [[0, 255]])


def test_floats_outside_of_0_to_1_are_refused_by_type():
    with pytest.raises(StepError) as caught:
        scaled(np.array([[-0.5, 200.25]])).array[...]
    assert str(caught.value) == (
        'float values are taken to lie within 0..1, these reach from -0.5 to 200.25 (use "range": "min-max" or "percentile")'
    )


@pytest.mark.parametrize(("dtype", "top"), [("uint16", 257), ("uint32", 16843009), ("int16", 257), ("int32", 16843009)])
def test_integers_that_use_too_little_of_their_type_are_refused(dtype, top):
    assert top * 255 == int(np.iinfo(dtype).max) - int(np.iinfo(dtype).min)
    dark = np.array([[0, top - 1]], dtype)
    with pytest.raises(StepError) as caught:
        scaled(dark)
    assert str(caught.value) == (
        f"{dtype} values of layer 'image' reach only from 0 to {top - 1:g}: by type they would be as good as constant "
        '(use "range": "min-max", or set "allow_dark": true)'
    )
    scaled(dark, allow_dark=True).array[...]
    bright = np.array([[0, top]], dtype)
    scaled(bright).array[...]
    scaled(dark, others=[np.array([[np.iinfo(dtype).max]], dtype)], over="dataset")


def test_an_empty_layer_is_not_called_dark():
    np.testing.assert_array_equal(scaled(np.zeros((2, 2), "uint16")).array[...], np.zeros((2, 2)))


def test_types_that_cannot_be_scaled():
    with pytest.raises(StepError, match=r"^voxels of type complex64 cannot be scaled \(layer 'image'\)$"):
        scaled(np.zeros((2, 2), "complex64"))
    for kind in ("type", "min-max"):
        with pytest.raises(StepError, match="^int64 values of layer 'image' are wider than 32 bits$"):
            scaled(np.array([[-1, 2**62]]), range=kind)


def test_percentiles_must_rise():
    with pytest.raises(Mistakes, match=r"^percentiles: \[99.0, 1.0\] do not rise$"):
        made(percentiles=[99, 1])
    with pytest.raises(Mistakes, match=r"^percentiles: \[5.0, 5.0\] do not rise$"):
        made(percentiles=[5, 5])


def test_only_the_named_layers_change():
    case = make_case({"a": values((2, 2), "uint16"), "b": values((2, 2), "uint16", 1)})
    step = made(layers=["b"])
    measured = step.measure(case, context())
    assert list(measured) == ["b"]
    done = step.apply(case, context(statistics=step.merge([measured])))
    assert done.layers["a"] is case.layers["a"]
    assert done.image("b").dtype == np.uint8


def test_foreign_byte_orders_and_no_changed_input():
    array = values((5, 6), ">u2")
    before = array.copy()
    for kind in ("type", "min-max", "percentile"):
        got = scaled(array, range=kind).array[...]
        np.testing.assert_array_equal(got, scaled(array.astype("<u2"), range=kind).array[...])
    np.testing.assert_array_equal(array, before)


def test_floats_outside_are_clipped():
    np.testing.assert_array_equal(scale_floats(np.array([-5.0, 1, 2, 3, 9]), 1, 3, fill=False), [0, 0, 128, 255, 255])


def test_statistics_are_plain_json():
    import json

    for dtype in ("uint16", "int16", "float32", "uint32"):
        for kind in ("type", "min-max", "percentile"):
            step = made(range=kind)
            array = values((4, 5), dtype) if dtype != "float32" else np.linspace(0, 1, 20, dtype="float32").reshape(4, 5)
            partial = step.measure(make_case(array), context())
            assert json.loads(json.dumps(partial)) == partial
            merged = step.merge([partial, partial])
            assert json.loads(json.dumps(merged, allow_nan=False)) == merged


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32"])
def test_bits_divides_by_two_to_the_bits(dtype):
    """value * 255 / 2**bits, signed shifted by the type's minimum; every 16-bit value."""
    info = np.iinfo(dtype)
    if info.bits == 16:
        every = np.arange(info.min, info.max + 1).astype(dtype).reshape(256, 256)
    else:
        every = np.random.default_rng(0).integers(info.min, info.max, (64, 64), dtype=dtype, endpoint=True)
        every[0, :2] = info.min, info.max
    truth = [(2 * 255 * (int(v) - int(info.min)) + 2**info.bits) // (2 * 2**info.bits) for v in every.ravel()]
    case = make_case(every)
    step = ToUint8(range="bits")
    measured = step.merge([step.measure(case, context())])
    found = read(step.apply(case, context(statistics=measured)).image().array)
    assert found.ravel().tolist() == truth


def test_bits_keeps_bytes_and_scales_floats():
    step = ToUint8(range="bits")
    for voxels, truth in [
        (np.arange(256, dtype=np.uint8).reshape(16, 16), list(range(256))),
        (np.arange(-128, 128).astype(np.int8).reshape(16, 16), list(range(256))),
        (np.array([[-2.0, 0.0, 2.0]]), [0, 128, 255]),
        (np.full((1, 3), 7.5), [0, 0, 0]),
    ]:
        case = make_case(voxels)
        measured = step.merge([step.measure(case, context())])
        found = read(step.apply(case, context(statistics=measured)).image().array)
        assert found.ravel().tolist() == truth


@pytest.mark.parametrize("wanted", ["min-max", "percentile"])
def test_bytes_are_kept_on_request(wanted):
    """Together with layers that are not bytes."""
    step = ToUint8(range=wanted, keep_bytes=True, percentiles=(0, 100))
    layers = {"a": np.array([[3, 9]], np.uint8), "b": np.array([[-3, 9]], np.int8), "c": np.array([[-3, 9]], np.int16)}
    case = make_case(layers)
    measured = step.merge([step.measure(case, context())])
    done = step.apply(case, context(statistics=measured))
    assert {name: read(done.image(name).array).ravel().tolist() for name in layers} == {"a": [3, 9], "b": [125, 137], "c": [0, 255]}
