"""Warping, composing and the translation of fields, against closed forms, scipy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from curate_align.fields import scale, translation, warp
from scipy import ndimage

from curate_core import StepError

RNG = np.random.default_rng(11)
IMAGE = RNG.normal(size=(40, 52)).astype(np.float32)


def constant(dy: float, dx: float, shape: tuple[int, int] = (40, 52)) -> Any:
    return np.stack([np.full(shape, dy, np.float32), np.full(shape, dx, np.float32)])


def smooth(shape: tuple[int, int], size: float, seed: int = 0) -> Any:
    """A smooth random field, vectors of up to about ``size`` pixels."""
    rng = np.random.default_rng(seed)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 6) for _ in range(2)])
    return (field * (size / np.abs(field).max())).astype(np.float32)


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (3, 0), (0, -5), (-2, 7)])
def test_whole_shifts_move_pixels(dy: int, dx: int) -> None:
    found = warp(IMAGE, constant(dy, dx))
    rolled = np.roll(IMAGE, (-dy, -dx), axis=(0, 1))
    y, x = np.arange(40)[:, None] + dy, np.arange(52) + dx
    inside = (y >= 0) & (y < 40) & (x >= 0) & (x < 52)
    assert found.dtype == np.float32
    assert np.array_equal(found[inside], rolled[inside])
    assert (found[~inside] == 0).all()


def test_half_a_pixel_is_the_mean_of_two_neighbours() -> None:
    along_x = warp(IMAGE, constant(0, 0.5))
    np.testing.assert_allclose(along_x[:, :-1], (IMAGE[:, :-1] + IMAGE[:, 1:]) / 2, atol=1e-6)
    np.testing.assert_allclose(along_x[:, -1], IMAGE[:, -1] / 2, atol=1e-6)  # the other half is the zero outside
    along_y = warp(IMAGE, constant(-0.5, 0), fill=2)
    np.testing.assert_allclose(along_y[1:], (IMAGE[:-1] + IMAGE[1:]) / 2, atol=1e-6)
    np.testing.assert_allclose(along_y[0], (IMAGE[0] + 2) / 2, atol=1e-6)


def test_an_affine_field_on_a_ramp() -> None:
    y, x = np.mgrid[:40, :52].astype(np.float64)
    field = np.stack([0.1 * (x - 26), -0.07 * (y - 20) + 0.02 * (x - 26)])
    found = warp(4 * y - 3 * x, field)
    at_y, at_x = y + field[0], x + field[1]
    inside = (at_y >= 0) & (at_y <= 39) & (at_x >= 0) & (at_x <= 51)
    assert inside.mean() > 0.8
    np.testing.assert_allclose(found[inside], (4 * at_y - 3 * at_x)[inside], atol=1e-4)


@pytest.mark.parametrize("fill", [0.0, -3.0])
def test_scipy_agrees(fill: float) -> None:
    field = smooth((40, 52), 15)
    places = np.mgrid[:40, :52] + field.astype(np.float64)
    theirs = ndimage.map_coordinates(IMAGE, places, order=1, mode="grid-constant", cval=fill, output=np.float64)
    np.testing.assert_allclose(warp(IMAGE, field, fill), theirs, atol=1e-5)


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch")
    field = smooth((40, 52), 15, seed=1)
    y, x = np.mgrid[:40, :52] + field
    grid = np.stack([(2 * x + 1) / 52 - 1, (2 * y + 1) / 40 - 1], axis=-1).astype(np.float32)
    theirs = torch.nn.functional.grid_sample(
        torch.from_numpy(IMAGE)[None, None], torch.from_numpy(grid)[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )
    np.testing.assert_allclose(warp(IMAGE, field), theirs[0, 0].numpy(), atol=5e-5)


def test_vectors_without_a_value_give_the_fill() -> None:
    field = constant(0, 1)
    field[0, 3, 4], field[1, 5, 6] = np.nan, np.inf
    found = warp(IMAGE, field, fill=9)
    assert (found[3, 4], found[5, 6]) == (9, 9)
    assert np.array_equal(np.delete(found[3], [4, 51]), np.delete(IMAGE[3, 1:], 4))


def test_far_vectors_are_outside() -> None:
    assert (warp(IMAGE, constant(1e30, 0), fill=4) == 4).all()
    assert (warp(IMAGE, constant(0, -1e9), fill=4) == 4).all()


def test_values_without_a_number_reach_only_those_who_read_them() -> None:
    image = IMAGE.copy()
    image[10, 10], image[20, 20] = np.nan, np.inf
    assert np.argwhere(~np.isfinite(warp(image, constant(1, 0)))).tolist() == [[9, 10], [19, 20]]
    assert np.argwhere(np.isnan(warp(image, constant(0, 0.5)))).tolist()[:2] == [[10, 9], [10, 10]]


def test_planes_are_warped_each_and_may_have_another_shape() -> None:
    stack = RNG.normal(size=(2, 3, 40, 52)).astype(np.float32)
    field = smooth((30, 60), 4)
    found = warp(stack, field)
    assert found.shape == (2, 3, 30, 60)
    for place in np.ndindex(2, 3):
        assert np.array_equal(found[place], warp(stack[place], field))
    assert np.array_equal(warp(np.full((8, 8), 200, np.uint8), constant(0, 0, (8, 8))), np.full((8, 8), 200, np.float32))


def test_scaling_changes_units_and_is_exact() -> None:
    field = smooth((9, 9), 100)
    assert np.array_equal(scale(field, 0, 5), field / 32)
    assert np.array_equal(scale(scale(field, 0, 5), 5, 0), field)
    assert scale(np.array([[[6.0]], [[3.0]]]), 3, 1).tolist() == [[[24]], [[12]]]


def test_a_translation_is_the_mean_rounded_down() -> None:
    field = constant(70.9, -0.5, (6, 6))
    assert translation(field, 1).tolist() == [70, -1]
    assert translation(field, 32).tolist() == [64, -32]
    assert translation(field, 256).tolist() == [0, -256]
    assert translation(constant(64, -64), 32).tolist() == [64, -64]
    assert translation(field, 32).dtype == np.int64


def test_vectors_that_are_half_known_do_not_count_in_a_translation() -> None:
    field = constant(10, 20, (2, 2))
    field[:, 0, 0] = 1e6, np.nan
    field[:, 0, 1] = np.inf, 1e6
    assert translation(field, 1).tolist() == [10, 20]


def test_translations_of_far_fields_are_summed_exactly() -> None:
    field = np.full((2, 1024, 1024), 200_000.25, np.float32)
    assert translation(field, 1).tolist() == [200_000, 200_000]


def test_a_region_without_vectors_is_an_error_of_the_sample() -> None:
    with pytest.raises(StepError, match="no finite vector") as caught:
        translation(np.full((2, 4, 4), np.nan), 8, where="pair 3")
    assert str(caught.value).startswith("pair 3: the reference region of the field")
    assert "larger reference region" in caught.value.hint


def test_wrong_shapes_and_steps_say_so() -> None:
    with pytest.raises(ValueError, match=r"a field has the shape \(2, y, x\), not \(40, 52\)"):
        warp(IMAGE, IMAGE)
    with pytest.raises(ValueError, match=r"not \(3, 4, 4\)"):
        translation(np.zeros((3, 4, 4)), 1)
    with pytest.raises(ValueError, match="multiple of 1 pixel or more, not of 0"):
        translation(constant(0, 0), 0)
