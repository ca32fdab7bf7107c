"""Normalisation by a reference region, against plain numpy and the rules of its document."""

from __future__ import annotations

import numpy as np
import pytest
from curate_align.normalizing import Statistics, measure, normalize

from curate_core import StepError

RNG = np.random.default_rng(3)


def test_only_pixels_that_are_unmasked_lit_and_finite_count() -> None:
    reference = np.array([[10, 20, 0, np.nan], [30, 1e9, np.inf, 0]])
    masked = np.zeros((2, 4), bool)
    masked[1, 1] = True
    found = measure(reference, masked)
    assert found == Statistics(mean=20, std=10, count=3)  # n - 1: (100 + 0 + 100) / 2


def test_numpy_agrees_and_large_offsets_cost_no_digits() -> None:
    image = RNG.normal(30_000, 0.5, (300, 300)).astype(np.float32)
    found = measure(image)
    assert found.mean == pytest.approx(image.astype(np.float64).mean(), rel=1e-12)
    assert found.std == pytest.approx(np.std(image.astype(np.float64), ddof=1), rel=1e-9)
    assert found.count == 90_000


def test_the_image_gets_mean_0_and_deviation_1_and_holes_get_0() -> None:
    image = RNG.integers(0, 255, (64, 64), dtype=np.uint8)
    masked = RNG.random((64, 64)) < 0.3
    found = normalize(image, masked, measure(image, masked))
    seen = ~masked & (image != 0)
    assert found.dtype == np.float32
    assert found[seen].mean(dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert found[seen].std(ddof=1, dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert (found[~seen] == 0).all()
    np.testing.assert_allclose(found[seen], (image[seen] - image[seen].mean()) / image[seen].std(ddof=1), atol=1e-5)


def test_pixels_without_a_number_become_0() -> None:
    image = np.array([[np.nan, np.inf, 5.0, -np.inf]])
    assert normalize(image, None, Statistics(1, 2, 10)).tolist() == [[0, 0, 2, 0]]


def test_regions_that_do_not_vary_have_deviation_1() -> None:
    assert measure(np.full((50, 51), 7.1, np.float32)).std == 1
    assert measure(np.array([[0, 4.0]])) == Statistics(mean=4, std=1, count=1)
    assert normalize(np.array([[7.0, 9.0]]), None, measure(np.full((3, 3), 7.0))).tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("reference", "masked", "reason"),
    [
        (np.ones((2, 3)), np.ones((2, 3), bool), "wholly masked"),
        (np.zeros((2, 3)), None, "masked, black or non-finite throughout"),
        (np.full((2, 3), np.nan), np.zeros((2, 3), bool), "masked, black or non-finite throughout"),
        (np.array([[0, 0, 0], [1, 1, 1]]), np.array([[False] * 3, [True] * 3]), "masked, black or non-finite throughout"),
    ],
)
def test_a_region_without_pixels_is_an_error_of_the_sample(reference: np.ndarray, masked: np.ndarray | None, reason: str) -> None:
    with pytest.raises(StepError, match=f"the reference region, 2 x 3 pixels, is {reason}") as caught:
        measure(reference, masked, where="sample 4")
    assert caught.value.where == "sample 4"
    assert "larger reference region" in caught.value.hint


def test_nothing_given_is_changed() -> None:
    image, masked = np.array([[1.0, 2.0, 0.0]]), np.array([[False, True, False]])
    before = image.copy(), masked.copy()
    normalize(image, masked, measure(image, masked))
    assert np.array_equal(image, before[0])
    assert np.array_equal(masked, before[1])
