"""Shifts of blocks and smooth fields through them, against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from curate_align.correlating import Pair, shifts_of
from curate_align.smoothing import Nodes, noise_of, smoothed, trusted
from scipy import ndimage

RNG = np.random.default_rng(8)


def planes(image: Any) -> Any:
    return np.stack([image, np.ones_like(image)]).astype(np.float32)


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (3, -5), (-7, 7), (2.5, 0.25)])
def test_blocks_tell_the_shift(dy: float, dx: float) -> None:
    image = ndimage.gaussian_filter(RNG.normal(size=(160, 160)), 1, mode="wrap")
    tgt = ndimage.shift(image, (-dy, -dx), order=5, mode="grid-wrap")
    line = np.arange(32, 129, 16)
    found = shifts_of(Pair(planes(image), planes(tgt), 32, 10), line, line)
    assert found.trust.min() > 0.1
    wanted = np.array([dy, dx])
    assert (np.abs(np.median(found.shift, axis=(1, 2)) - wanted) <= 0.1 + 0.02 * np.abs(wanted)).all()
    assert np.abs(found.shift - wanted[:, None, None]).max() < 0.5


def test_blocks_that_see_too_little_are_not_trusted() -> None:
    image = RNG.normal(size=(128, 128))
    src, tgt = planes(image), planes(image)
    src[:, :, :64] = 0
    tgt[0, 90:] = 5
    found = shifts_of(Pair(src, tgt, 32, 8), np.array([40, 112]), np.array([16, 112]))
    assert (found.trust > 0).tolist() == [[False, True], [False, False]]


def test_an_outlier_is_found_and_its_neighbours_are_not() -> None:
    y, x = np.mgrid[:9, :11]
    vectors = np.stack([0.9 * y - 0.4 * x, 0.3 * x + 2.0 * y]) + RNG.normal(size=(2, 9, 11)) * 0.05
    trust = np.full((9, 11), 0.5)
    vectors[:, 4, 4] += 9
    vectors[0, 8, 10] -= 12
    trust[0, 0], vectors[:, 0, 0] = 0, np.nan
    found = trusted(vectors, trust)
    assert np.argwhere(found == 0).tolist() == [[0, 0], [4, 4], [8, 10]]
    assert set(found.ravel().tolist()) == {0, 0.5}


def test_few_vectors_are_not_judged() -> None:
    vectors = np.zeros((2, 2, 2))
    vectors[0, 0, 0] = 100
    assert np.array_equal(trusted(vectors, np.ones((2, 2))), np.ones((2, 2)))


def test_noise_is_measured_and_smooth_fields_are_none() -> None:
    noise = RNG.normal(size=(2, 60, 60)) * 0.3
    y, x = np.mgrid[:60, :60]
    smooth = np.stack([3 * y + 5 * np.sin(x / 10), 0.1 * x**2 - y])
    trust = np.ones((60, 60))
    assert noise_of(noise, trust) == pytest.approx(0.3, rel=0.1)
    assert noise_of(smooth + noise, trust) == pytest.approx(0.3, rel=0.1)
    assert noise_of(smooth, trust) < 1e-9
    assert np.isnan(noise_of(noise[:, :2], trust[:2]))
    assert np.isnan(noise_of(noise, np.zeros((60, 60))))


def test_affine_fields_do_not_bend_and_go_on_where_nothing_is_known() -> None:
    y, x = np.mgrid[:12, :10].astype(float)
    affine = np.stack([0.5 * y - 0.2 * x + 3, 0.1 * x - y])
    known = np.ones((12, 10))
    prior = np.zeros((2, 12, 10))
    kept = smoothed(affine, known, 0.01, prior, 1e-6)
    np.testing.assert_allclose(kept, affine, atol=2e-2)
    known[4:8, 3:7] = 0
    holed = smoothed(np.where(known > 0, affine, np.nan), known, 0.01, prior, 1e-6)
    np.testing.assert_allclose(holed, affine, atol=5e-2)


def test_the_smooth_field_is_the_minimum() -> None:
    """The energy, written out, grows whichever node is moved."""
    vectors, trust = RNG.normal(size=(2, 6, 7)), RNG.random((6, 7)) + 0.1
    trust /= np.median(trust)
    prior = RNG.normal(size=(2, 6, 7))

    def energy(u: Any) -> float:
        bend = sum((np.diff(u, 2, axis=axis) ** 2).sum() for axis in (1, 2)) + 2 * (np.diff(np.diff(u, axis=1), axis=2) ** 2).sum()
        stretch = sum((np.diff(u, axis=axis) ** 2).sum() for axis in (1, 2))
        return float((trust * (u - vectors) ** 2).sum() + 0.1 * ((u - prior) ** 2).sum() + 0.7 * (bend + 0.02 * stretch))

    found = smoothed(vectors, trust, 0.7, prior, 0.1)
    least = energy(found)
    for place in np.ndindex(2, 6, 7):
        for step in (-1e-3, 1e-3):
            moved = found.copy()
            moved[place] += step
            assert energy(moved) > least


def test_without_any_trust_the_field_is_the_one_expected() -> None:
    prior = RNG.normal(size=(2, 4, 5))
    assert np.array_equal(smoothed(np.full((2, 4, 5), np.nan), np.zeros((4, 5)), 1, prior, 1e-6), prior)


@pytest.mark.parametrize("size", [1, 2, 16, 17, 33, 100, 1024])
def test_nodes_cover_an_image(size: int) -> None:
    nodes = Nodes.over((size, 50), 16)
    assert set(np.diff(nodes.rows).tolist()) == {16}
    assert -16 <= nodes.rows[0] <= 0
    assert size - 1 <= nodes.rows[-1] <= size + 15
    assert len(nodes.rows) >= 2


def test_between_nodes_cubic_polynomials_are_exact_and_beyond_them_the_last_vector_holds() -> None:
    nodes = Nodes.over((100, 80), 16)

    def cubic(y: Any, x: Any) -> Any:
        return np.stack([1e-4 * y**3 - 0.02 * y * x + x, 2e-4 * x**3 + y**2 * 1e-2 - 5])

    vectors = cubic(nodes.rows[:, None].astype(float), nodes.columns.astype(float))
    rows, columns = np.arange(100), np.arange(0, 80, 0.5)
    np.testing.assert_allclose(nodes.at(vectors, rows, columns), cubic(rows[:, None], columns), atol=1e-9)
    np.testing.assert_allclose(nodes.at(vectors, np.array([-1e6, 1e6]), nodes.columns), vectors[:, [0, -1]], atol=1e-9)
