"""Filters by value and by number, against numpy and counting."""

import itertools
from collections import Counter

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from curate_core.builtin.filters import Intensity, Limit
from curate_core.kinds import CASE, DATASET, SAMPLE, Features
from curate_core.structure import Mistakes, structure
from curate_core.testing import context, make_batch, values


def made(cls, **options):
    return structure(options, cls, None)


def features(columns, existing=None):
    count = len(next(iter(columns.values())))
    known = np.zeros(count, bool) if existing is None else np.array(existing, bool)
    return Features(columns, known, str)


def kept(array, **options):
    step = made(Intensity, **options)
    return step.keep(features(step.score(make_batch(array), context())), context())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", ">i2", "uint32", "float32", "float64", "bool"])
def test_features_are_those_of_numpy(dtype):
    array = values((6, 9, 11), dtype)
    wide = array.astype("float64").reshape(6, -1)
    got = made(Intensity, min_range=0, max_constant=1).score(make_batch(array), context())
    np.testing.assert_allclose(got["mean"], wide.mean(1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got["std"], wide.std(1), rtol=1e-12)
    low, high = np.percentile(wide, [1, 99], axis=1)
    np.testing.assert_allclose(got["range"], high - low, rtol=1e-5)
    assert got["constant"].tolist() == [sum(v == min(row) for v in row) / 99 for row in array.reshape(6, -1).tolist()]


@given(arrays.arrays("uint8", st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))))
def test_sums_of_bytes_are_exact(array):
    got = made(Intensity, min_std=0).score(make_batch(array), context())
    for row, mean, std in zip(array.reshape(len(array), -1).tolist(), got["mean"], got["std"], strict=True):
        n, total, squares = len(row), sum(row), sum(v * v for v in row)
        assert mean == total / n
        assert std == pytest.approx((n * squares - total * total) ** 0.5 / n, rel=1e-15)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_sample_gives_the_same_bits_in_any_batch(dtype):
    array = values((7, 33, 31), dtype)
    step = made(Intensity, min_range=0, max_constant=1)
    together = step.score(make_batch(array), context())
    for i in range(7):
        for name, column in step.score(make_batch(array[i : i + 1]), context()).items():
            assert column[0] == together[name][i]


BLANK = np.zeros((8, 8), "uint8")
BRIGHT = np.full((8, 8), 200, "uint8")
CHECKS = np.indices((8, 8)).sum(0).astype("uint8") % 2 * 100  # mean 50, deviation 50, range 100, half constant
SPECK = np.where(np.arange(64).reshape(8, 8) == 0, 255, 0).astype("uint8")  # mean 3.98, range 94.35 by linear percentiles
SAMPLES = np.stack([BLANK, BRIGHT, CHECKS, SPECK])


@pytest.mark.parametrize(
    ("bounds", "stay"),
    [
        ({"min_std": 50}, [False, False, True, False]),
        ({"min_std": 50.001}, [False, False, False, False]),
        ({"min_mean": 50}, [False, True, True, False]),
        ({"max_mean": 50}, [True, False, True, True]),
        ({"min_range": 100}, [False, False, True, False]),
        ({"max_constant": 0.5}, [False, False, True, False]),
        ({"max_constant": 63 / 64}, [False, False, True, True]),
        ({"min_std": 1, "max_mean": 10}, [False, False, False, True]),
        ({"min_std": 0}, [True, True, True, True]),
    ],
)
def test_bounds_are_inclusive_and_all_must_hold(bounds, stay):
    verdict = kept(SAMPLES, **bounds)
    assert verdict.keep.tolist() == stay
    np.testing.assert_allclose(verdict.score, SAMPLES.astype(float).std((1, 2)))


def test_blank_tiles_of_a_real_image_go():
    tiles = skimage.data.camera().reshape(16, 32, 16, 32).swapaxes(1, 2).reshape(256, 32, 32)
    verdict = kept(tiles, min_std=12.0)
    np.testing.assert_array_equal(verdict.keep, tiles.astype(float).std((1, 2)) >= 12)
    assert 20 < verdict.keep.sum() < 236


def test_nan_is_never_good():
    array = np.full((1, 2, 2), np.nan)
    for bound in ({"min_std": 0}, {"min_mean": -9}, {"max_mean": 9}, {"min_range": 0}):
        assert kept(array, **bound).keep.tolist() == [False]


def test_the_array_to_look_at():
    batch = make_batch({"a": BLANK[None], "b": CHECKS[None]})
    assert made(Intensity, min_std=1, array="b").score(batch, context())["std"].tolist() == [50]
    assert made(Intensity, min_std=1).scope() == SAMPLE


def test_without_a_bound_nothing_would_be_dropped():
    with pytest.raises(Mistakes, match="^no bound is set, so that nothing would ever be dropped: set min_std or another$"):
        made(Intensity)
    with pytest.raises(Mistakes, match=r"-1.0 must be at least 0"):
        made(Intensity, min_std=-1)
    with pytest.raises(Mistakes, match=r"1.5 must be at most 1"):
        made(Intensity, max_constant=1.5)


def chosen(count, total, *, seed=0, case="case", existing=None):
    step = made(Limit, count=count)
    return np.flatnonzero(step.keep(features({"x": np.zeros(total)}, existing), context(seed=seed, case=case)).keep).tolist()


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 99))
def test_so_many_stay_and_no_more(count, total, seed):
    got = chosen(count, total, seed=seed)
    assert len(got) == min(count, total)
    assert got == chosen(count, total, seed=seed)


def test_every_choice_is_as_likely_as_any_other():
    counts = Counter(tuple(chosen(2, 5, seed=seed)) for seed in range(4000))
    assert set(counts) == set(itertools.combinations(range(5), 2))
    chi_square = sum((n - 400) ** 2 / 400 for n in counts.values())
    assert chi_square < 27.9  # nine degrees of freedom: one in a thousand lies above


def test_cases_and_seeds_choose_differently():
    assert len({tuple(chosen(5, 50, seed=seed, case=case)) for seed in (0, 1) for case in "abc"}) == 6


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 30))
def test_those_kept_before_are_kept_first(existing, count):
    got = set(chosen(count, len(existing), existing=existing))
    before = {i for i, flag in enumerate(existing) if flag}
    assert before <= got if len(before) <= count else got <= before


def test_limit_needs_no_pixels_and_says_its_scope():
    step = made(Limit, count=3)
    assert not step.needs_pixels()
    assert step.score(make_batch(values((2, 3, 3))), context()) == {}
    assert (step.scope(), made(Limit, count=3, within="dataset").scope()) == (CASE, DATASET)


def test_limit_within_a_sample_makes_no_sense():
    with pytest.raises(Mistakes, match=r'^within: "sample" would keep or drop all: use "case" or "dataset"$'):
        made(Limit, count=3, within="sample")
