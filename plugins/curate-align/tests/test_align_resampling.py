"""Resampling against closed forms, exact sums over areas, and PyTorch where it is installed."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from curate_align.resampling import METHODS, resample, shape_at

RNG = np.random.default_rng(5)
PLANE = RNG.normal(size=(24, 36)).astype(np.float32)


def ramp(shape: tuple[int, int], of: tuple[int, int]) -> Any:
    """3 y - 2 x + 1, in the coordinates of a grid of shape ``of`` over the same extent."""
    y, x = ((np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(shape, of, strict=True))
    return 3 * y[:, None] - 2 * x + 1


@pytest.mark.parametrize("shape", [(48, 72), (12, 18), (3, 9), (30, 50), (24, 18), (7, 200)])
def test_a_bilinear_ramp_stays_a_ramp_inside(shape: tuple[int, int]) -> None:
    found = resample(ramp((24, 36), (24, 36)), shape, "bilinear")
    wanted = ramp(shape, (24, 36))
    y, x = ((np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(shape, (24, 36), strict=True))
    inside = np.ix_((y >= 0) & (y <= 23), (x >= 0) & (x <= 35))
    assert found.dtype == np.float32
    assert found.shape == shape
    np.testing.assert_allclose(found[inside], wanted[inside], atol=2e-5)
    assert found.min() >= ramp((24, 36), (24, 36)).min()  # outside of the outer pixel centres the border holds


def test_bilinear_to_half_is_the_mean_of_two_by_two_and_to_a_quarter_that_of_the_middle_four() -> None:
    blocks = PLANE.reshape(12, 2, 18, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(resample(PLANE, (12, 18), "bilinear"), blocks, atol=1e-6)
    middle = PLANE.reshape(6, 4, 9, 4)[:, 1:3, :, 1:3].mean(axis=(1, 3))
    np.testing.assert_allclose(resample(PLANE, (6, 9), "bilinear"), middle, atol=1e-6)


def test_bilinear_to_double_mixes_three_to_one() -> None:
    found = resample(np.array([[0.0, 4.0, 8.0]]), (2, 6), "bilinear")
    assert found.tolist() == [[0, 1, 3, 5, 7, 8]] * 2


@pytest.mark.parametrize("factor", [(2, 2), (4, 4), (8, 12), (1, 3)])
def test_area_is_the_mean_of_blocks(factor: tuple[int, int]) -> None:
    shape = 24 // factor[0], 36 // factor[1]
    wanted = PLANE.astype(np.float64).reshape(shape[0], factor[0], shape[1], factor[1]).mean(axis=(1, 3))
    np.testing.assert_allclose(resample(PLANE, shape, "area"), wanted, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(7, 3), (5, 4), (3, 7), (10, 1), (1, 4), (9, 9)])
def test_area_counts_border_pixels_by_their_share(old: int, new: int) -> None:
    line = RNG.normal(size=old)
    wanted = []
    for place in range(new):
        low, high = Fraction(place * old, new), Fraction((place + 1) * old, new)
        shares = [max(Fraction(0), min(high, Fraction(i + 1)) - max(low, Fraction(i))) for i in range(old)]
        wanted.append(sum(float(share / (high - low)) * value for share, value in zip(shares, line.tolist(), strict=True)))
    np.testing.assert_allclose(resample(line[None], (1, new), "area")[0], wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(resample(line[:, None], (new, 1), "area")[:, 0], wanted, rtol=1e-6, atol=1e-6)


def test_pixels_that_are_not_finite_do_not_count_in_an_area() -> None:
    values = np.array([[1, np.nan, 5, 7], [3, np.inf, np.nan, np.nan]])
    assert resample(values, (1, 2), "area").tolist() == [[2, 6]]
    nothing = resample(np.full((4, 4), np.nan), (2, 2), "area")
    assert np.isnan(nothing).all()


def test_weights_say_how_much_a_pixel_counts() -> None:
    values = np.array([[1.0, 3.0, np.nan, 8.0], [100.0, 5.0, 6.0, 9.0]])
    weights = np.array([[1, 3, 1, 0], [0, 0, 1, 0]])
    assert resample(values, (1, 2), "area", weights).tolist() == [[2.5, 6]]
    assert np.isnan(resample(values, (1, 4), "area", weights))[0].tolist() == [False, False, False, True]
    even = resample(PLANE, (5, 7), "area", np.ones((24, 36)))
    np.testing.assert_allclose(even, resample(PLANE, (5, 7), "area"), atol=1e-6)


def test_a_bilinear_nan_spreads_to_those_only_who_need_it() -> None:
    values = np.zeros((5, 5), np.float32)
    values[2, 2] = np.nan
    assert np.argwhere(np.isnan(resample(values, (5, 5), "bilinear"))).tolist() == [[2, 2]]
    double = np.isnan(resample(values, (10, 10), "bilinear"))
    assert double[3:7, 3:7].all()
    assert double.sum() == 16
    thirds = resample(np.array([[1, np.nan, 3]]), (1, 1), "bilinear")  # the centre falls on the pixel itself
    assert np.isnan(thirds).all()


def test_nearest_takes_the_pixel_below_and_keeps_the_type() -> None:
    labels = (np.arange(8, dtype=np.uint64) + 2**60)[None].repeat(8, axis=0)
    found = resample(labels, (4, 4), "nearest")
    assert found.dtype == np.uint64
    assert found[0].tolist() == [2**60, 2**60 + 2, 2**60 + 4, 2**60 + 6]
    assert resample(labels, (8, 16), "nearest")[0, :4].tolist() == [2**60, 2**60, 2**60 + 1, 2**60 + 1]
    assert resample(np.array([[True, False]]), (1, 4), "nearest").tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("method", METHODS)
def test_channels_go_each_their_way_and_the_same_shape_changes_nothing(method: Any) -> None:
    stack = RNG.normal(size=(2, 3, 12, 10)).astype(np.float32)
    found = resample(stack, (5, 17), method)
    for place in np.ndindex(2, 3):
        assert np.array_equal(found[place], resample(stack[place], (5, 17), method))
    before = stack.copy()
    assert np.array_equal(resample(stack, (12, 10), method), stack)
    assert np.array_equal(stack, before)


@pytest.mark.parametrize("method", ["bilinear", "area"])
def test_whole_numbers_and_masks_become_shares(method: Any) -> None:
    assert resample(np.array([[255, 0], [255, 255]], np.uint8), (1, 1), method).tolist() == [[191.25]]
    assert resample(np.array([[True, False], [True, True]]), (1, 1), method).tolist() == [[0.75]]


@pytest.mark.parametrize("shapes", [((24, 36), (12, 18)), ((24, 36), (3, 9)), ((24, 36), (96, 72)), ((31, 17), (31, 68))])
@pytest.mark.parametrize("method", METHODS)
def test_torch_agrees(shapes: tuple[tuple[int, int], tuple[int, int]], method: Any) -> None:
    torch = pytest.importorskip("torch")
    values = RNG.normal(size=(2, *shapes[0])).astype(np.float32)
    extra = {"align_corners": False} if method == "bilinear" else {}
    theirs = torch.nn.functional.interpolate(torch.from_numpy(values)[None], size=shapes[1], mode=method, **extra)[0]
    np.testing.assert_allclose(resample(values, shapes[1], method), theirs.numpy(), atol=2e-6)


@pytest.mark.parametrize("shape", [(17, 29), (40, 50), (5, 90)])
def test_torch_agrees_on_bilinear_where_sizes_do_not_divide(shape: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.functional.interpolate(torch.from_numpy(PLANE)[None, None], size=shape, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resample(PLANE, shape, "bilinear"), theirs.numpy()[0, 0], atol=1e-5)


def test_the_shape_at_another_mip() -> None:
    assert shape_at((1000, 1024), 5, 8) == (125, 128)
    assert shape_at((125, 128), 8, 5) == (1000, 1024)
    assert shape_at((1001, 3), 0, 2) == (250, 1)


def test_what_cannot_be_resampled_says_why() -> None:
    with pytest.raises(ValueError, match="'cubic' is no way to resample; expected one of bilinear, nearest, area"):
        resample(PLANE, (2, 2), "cubic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weights are for area, not for nearest"):
        resample(PLANE, (2, 2), "nearest", PLANE)
    with pytest.raises(ValueError, match="an axis without pixels has no extent"):
        resample(np.zeros((0, 4)), (2, 2), "area")
    with pytest.raises(ValueError, match="an axis without pixels has no extent"):
        resample(PLANE, (2, 0), "nearest")
