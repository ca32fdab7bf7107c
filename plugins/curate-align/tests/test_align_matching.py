"""Block matching on deformations that are known: images are deformed by scipy's cubic splines, not by the code under test."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import skimage.data
from curate_align.fields import warp
from curate_align.matching import BlockMatching, match
from scipy import ndimage
from skimage.registration import phase_cross_correlation

TAU = 2 * np.pi


@cache
def texture(name: str, size: int) -> Any:
    """(size, size) float64 without black pixels; real ones are photographs that scikit-image carries."""
    if name != "synthetic":
        return np.maximum(getattr(skimage.data, name)()[:size, :size].astype(np.float64), 1)
    rng = np.random.default_rng(0)
    parts = [ndimage.gaussian_filter(rng.normal(size=(size, size)), width) * width for width in (1.5, 3, 8)]
    image = sum(parts)
    return 120 + 25 * image / image.std()


def deformation(kind: str, size: int) -> Any:
    """(2, size, size) pixels."""
    y, x = np.mgrid[:size, :size] / size
    if kind == "sines":
        return np.stack([14 * np.sin(TAU * x + 0.3), 14 * np.cos(TAU * y)])
    if kind == "affine":
        return np.stack([0.04 * (y - 0.5) + 0.02 * (x - 0.5), -0.03 * (y - 0.5) + 0.02 * (x - 0.5)]) * size
    if kind == "shift":
        return np.stack([np.full((size, size), 28.3), np.full((size, size), -28.6)])
    return np.zeros((2, size, size))


def deformed(image: Any, field: Any) -> Any:
    """The image sampled along a field by cubic splines; 0 outside."""
    places = np.indices(image.shape) + field
    found = ndimage.map_coordinates(image, places, order=3, mode="mirror")
    inside = ((places >= 0) & (places <= np.array(image.shape)[:, None, None] - 1)).all(axis=0)
    return np.where(inside, np.maximum(found, 1), 0)


def noisy(image: Any, seed: int, share: float = 0.15) -> Any:
    """With noise of a share of the contrast; what is black stays so."""
    noise = np.random.default_rng(seed).normal(size=image.shape) * image[image != 0].std() * share
    return np.where(image == 0, 0, np.maximum(image + noise, 1))


def error(found: Any, wanted: Any, where: Any = slice(None)) -> float:
    """Mean length of the difference, pixels."""
    return float(np.hypot(*(found - wanted))[where].mean())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sines", "affine", "shift"])
@pytest.mark.parametrize("name", ["synthetic", "gravel", "grass", "brick"])
def test_a_known_deformation_is_found_in_spite_of_noise_and_contrast(name: str, kind: str) -> None:
    size = 512 if kind == "sines" else 320
    image, wanted = texture(name, size), deformation(kind, size)
    src = noisy(image, 1)
    tgt = np.where(deformed(image, wanted) == 0, 0, 1.4 * noisy(deformed(image, wanted), 2) + 30)
    found = match(src, tgt)
    assert found.dtype == np.float32
    assert found.shape == (2, size, size)
    seen = tgt != 0
    bound = {"sines": 0.5, "affine": 0.15, "shift": 0.25}[kind]
    assert error(found, wanted, seen) < bound
    assert np.hypot(*wanted)[seen].mean() > 10 * bound
    warped = warp(np.asarray(src, np.float32), found)
    both = seen & (warped != 0)
    assert np.corrcoef(warped[both], tgt[both])[0, 1] > 0.9


def test_twenty_pixels_over_a_thousand_are_found_to_a_tenth() -> None:
    image = texture("synthetic", 1024)
    y, x = np.mgrid[:1024, :1024] / 1024
    wanted = 20 * np.stack([np.sin(TAU * x + 0.3) * np.cos(TAU * y), np.cos(TAU * y) * np.sin(TAU * x + 1)])
    found = match(noisy(image, 1), noisy(deformed(image, wanted), 2))
    assert error(found, wanted) < 0.1


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (0.5, -0.25), (-7, 3), (0, 40), (-38.5, -10)])
def test_a_shift_is_the_one_that_phase_correlation_finds(dy: float, dx: float) -> None:
    image = texture("gravel", 384)
    wanted = np.stack([np.full((384, 384), dy), np.full((384, 384), dx)])
    tgt = deformed(image, wanted)
    found = match(image, tgt)[:, 64:-64, 64:-64].mean(axis=(1, 2))
    window = np.outer(np.hanning(256), np.hanning(256))
    parts = [(values[64:-64, 64:-64] - values[64:-64, 64:-64].mean()) * window for values in (image, tgt)]
    theirs, _, _ = phase_cross_correlation(*parts, upsample_factor=50, normalization=None)
    np.testing.assert_allclose(found, (dy, dx), atol=0.05)
    np.testing.assert_allclose(found, theirs, atol=0.5)  # of one block, whose window pulls towards 0


def test_the_same_image_twice_does_not_move() -> None:
    assert np.abs(match(texture("grass", 200), texture("grass", 200))).max() < 0.02


def test_sides_that_do_not_halve_shift_nothing() -> None:
    image, wanted = texture("grass", 512)[:301, :387], 0.3 * deformation("sines", 512)[:, :301, :387]
    tgt = deformed(image, wanted)
    difference = (match(image, tgt) - wanted)[:, tgt != 0]
    assert np.hypot(*difference).mean() < 0.1
    assert np.abs(difference.mean(axis=1)).max() < 0.02


def test_the_axes_are_treated_alike() -> None:
    image = texture("gravel", 256)
    tgt = deformed(image, 0.3 * deformation("sines", 256))
    turned = match(image.T, tgt.T)[::-1].transpose(0, 2, 1)
    np.testing.assert_allclose(turned, match(image, tgt), atol=0.02)


@pytest.mark.parametrize("name", ["gravel", "grass"])
def test_sections_that_are_half_different_are_matched(name: str) -> None:
    image, wanted = texture(name, 512), 0.5 * deformation("sines", 512)
    src, tgt = noisy(image, 1, 1.2), noisy(deformed(image, wanted), 2, 1.2)
    assert np.corrcoef(warp(src, wanted)[tgt != 0], tgt[tgt != 0])[0, 1] < 0.5
    assert error(match(src, tgt), wanted, tgt != 0) < 0.3


def test_there_and_back_is_nowhere() -> None:
    image = texture("grass", 512)
    other = deformed(image, 0.5 * deformation("sines", 512))
    there, back = match(image, other), match(other, image)
    places = np.mgrid[:512, :512] + back
    both = back + np.stack([ndimage.map_coordinates(values, places, order=1, mode="nearest") for values in there])
    assert error(both[:, 30:-30, 30:-30], 0) < 0.2
    assert np.hypot(*there).mean() > 4


def test_the_same_input_gives_the_same_bytes() -> None:
    image = texture("gravel", 256)
    src, tgt = noisy(image, 1), noisy(deformed(image, deformation("affine", 256)), 2)
    found = match(src, tgt)
    strided = np.repeat(src, 2, axis=1)[:, ::2]
    assert found.tobytes() == match(src.copy(), tgt.copy()).tobytes()
    assert found.tobytes() == match(strided, np.asfortranarray(tgt)).tobytes()


def test_whole_numbers_and_float32_are_as_good_as_float64() -> None:
    image = texture("grass", 256)
    src, tgt = (np.rint(values).clip(0, 255).astype(np.uint8) for values in (image, deformed(image, deformation("affine", 256))))
    found = match(src, tgt)
    assert found.tobytes() == match(src.astype(np.float32), tgt.astype(np.float64)).tobytes()
    assert found.tobytes() == match(src.astype(np.uint16), tgt.astype(np.int32)).tobytes()
    assert error(found, deformation("affine", 256), tgt != 0) < 0.1


def test_large_offsets_cost_no_precision() -> None:
    image, wanted = texture("grass", 256), deformation("affine", 256)
    tgt = deformed(image, wanted)
    found = match(image + 1e6, np.where(tgt != 0, tgt + 1e6, 0))
    assert error(found, wanted, tgt != 0) < 0.1


def test_blank_blocks_follow_their_neighbours() -> None:
    image, wanted = texture("gravel", 512), 0.5 * deformation("sines", 512)
    src, tgt = noisy(image, 1), noisy(deformed(image, wanted), 2)
    src[300:420, 60:180] = 0
    tgt[180:300, 200:320] = np.nan
    found = match(src, tgt)
    hole = np.zeros((512, 512), bool)
    hole[180:300, 200:320] = True
    assert np.isfinite(found).all()
    assert error(found, wanted, hole) < 1
    assert error(found, wanted, np.isfinite(tgt) & (tgt != 0)) < 0.3


def test_blocks_without_contrast_follow_their_neighbours() -> None:
    image, wanted = texture("gravel", 512), deformation("shift", 512) / 4
    src, tgt = image.copy(), deformed(image, wanted)
    src[200:330, 200:330] = tgt[200:330, 200:330] = 77
    found = match(src, tgt)
    assert error(found, wanted, np.s_[230:300, 230:300]) < 0.5


@pytest.mark.parametrize("garbage", [5.0, np.nan, 1e6])
def test_what_lies_under_a_mask_does_not_matter(garbage: float) -> None:
    image, wanted = texture("grass", 256), deformation("affine", 256)
    tgt = deformed(image, wanted)
    masks = np.zeros((2, 256, 256), bool)
    masks[0, :, :90] = True
    masks[1, 150:] = True
    plain = match(image, tgt, src_masked=masks[0], tgt_masked=masks[1])
    hidden = np.where(masks[0], garbage, image), np.where(masks[1], garbage * np.roll(image, 5), tgt)
    assert match(*hidden, src_masked=masks[0], tgt_masked=masks[1]).tobytes() == plain.tobytes()
    assert error(plain, wanted, np.s_[:150, 90:]) < 0.2
    assert np.isfinite(plain).all()


def test_a_masked_half_is_carried_on_from_the_other() -> None:
    image, wanted = texture("gravel", 512), deformation("affine", 512)
    masked = np.zeros((512, 512), bool)
    masked[:, 256:] = True
    found = match(image, deformed(image, wanted), src_masked=masked, tgt_masked=masked)
    assert error(found, wanted, np.s_[20:-20, 20:220]) < 0.1
    assert error(found, wanted, np.s_[20:-20, 256:384]) < 2  # extrapolated: the affine field goes on
    assert np.abs(found).max() < 64


def test_a_previous_field_is_where_the_search_begins() -> None:
    image, wanted = texture("gravel", 512), deformation("sines", 512)
    far = wanted + np.array([150.0, 0])[:, None, None]
    tgt = deformed(image, far)
    options = BlockMatching(max_displacement=12)
    previous = np.stack([np.full((512, 512), 150.0), np.zeros((512, 512))]) + 0.7 * wanted
    lost, found = match(image, tgt, options=options), match(image, tgt, previous, options=options)
    seen = tgt != 0
    assert error(lost, far, seen) > 50
    assert error(previous, far, seen) > 2
    assert error(found, far, seen) < 0.5


def test_a_good_previous_field_stays() -> None:
    image, wanted = texture("grass", 256), deformation("affine", 256)
    found = match(image, deformed(image, wanted), wanted.astype(np.float32))
    assert np.hypot(*(found - wanted)).max() < 0.3


def test_a_rough_previous_field_keeps_its_detail() -> None:
    """A fault: the two halves move apart, which a smooth field cannot follow, and a correction of a previous one need not."""
    image = texture("gravel", 256)
    wanted = np.zeros((2, 256, 256))
    wanted[1] = np.where(np.arange(256)[:, None] < 128, -6, 6)
    tgt = deformed(image, wanted)
    assert error(match(image, tgt, wanted), wanted, np.s_[120:136, 20:-20]) < 0.3
    assert error(match(image, tgt), wanted, np.s_[120:136, 20:-20]) > 1


@pytest.mark.parametrize("value", [0, 42, np.nan])
def test_a_blank_pair_has_the_previous_field_or_none(value: float) -> None:
    blank, image = np.full((100, 120), value), texture("gravel", 120)[:100]
    previous = np.random.default_rng(0).normal(size=(2, 100, 120)).astype(np.float32)
    for src, tgt in ((blank, blank), (image, blank), (blank, image)):
        assert (match(src, tgt) == 0).all()
        assert np.array_equal(match(src, tgt, previous), previous)
    masked = np.ones((100, 120), bool)
    assert np.array_equal(match(image, image, previous, src_masked=masked), previous)


def test_holes_of_the_previous_field_take_the_nearest_vector() -> None:
    blank = np.zeros((20, 30))
    previous = np.zeros((2, 20, 30))
    previous[:, :, 15:] = 8
    previous[0, :, 3] = np.nan
    previous[1, 5, 29] = np.inf
    found = match(blank, blank, previous)
    assert np.array_equal(found, np.broadcast_to(np.where(np.arange(30) < 15, 0, 8), (2, 20, 30)))
    assert (match(blank, blank, np.full((2, 20, 30), np.nan)) == 0).all()


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (1, 40), (2, 3), (15, 15), (33, 257), (31, 64)])
def test_images_of_any_size_have_a_field(shape: tuple[int, int]) -> None:
    image = texture("gravel", 512)[: shape[0], : shape[1]]
    found = match(image, image)
    assert found.shape == (2, *shape)
    assert np.isfinite(found).all()
    assert (np.abs(found) < 0.5).all()


def test_small_images_are_matched_too() -> None:
    image = texture("gravel", 512)
    found = match(image[100:148, 100:156], image[103:151, 98:154])
    assert np.abs(found.mean(axis=(1, 2)) - (3, -2)).max() < 0.3


def test_no_vector_is_longer_than_allowed() -> None:
    image, wanted = texture("gravel", 256), deformation("shift", 256)
    found = match(image, deformed(image, wanted), options=BlockMatching(max_displacement=10))
    assert np.hypot(*found).max() < 10.001


def test_pairs_of_noise_have_a_finite_field() -> None:
    rng = np.random.default_rng(0)
    found = match(rng.normal(size=(128, 128)), rng.normal(size=(128, 128)))
    assert np.isfinite(found).all()
    assert np.hypot(*found).max() < 64.001


@pytest.mark.parametrize("options", [BlockMatching(block=64, spacing=32), BlockMatching(levels=6), BlockMatching(smoothness=0)])
def test_other_options_find_it_as_well(options: BlockMatching) -> None:
    image, wanted = texture("gravel", 384), deformation("affine", 384)
    tgt = deformed(image, wanted)
    assert error(match(image, tgt, options=options), wanted, tgt != 0) < 0.3


def test_a_smoother_field_bends_less() -> None:
    image = texture("gravel", 256)
    src, tgt = noisy(image, 1, 0.8), noisy(deformed(image, deformation("none", 256)), 2, 0.8)
    rough, smooth = (match(src, tgt, options=BlockMatching(smoothness=s)) for s in (0, 30))
    assert error(smooth, 0) < 0.7 * error(rough, 0)


def test_nothing_given_is_changed() -> None:
    image = texture("grass", 64)
    given = image.copy(), image[::-1].copy(), np.ones((2, 64, 64), np.float32), image > 100, image < 50
    before = [values.copy() for values in given]
    match(*given[:3], src_masked=given[3], tgt_masked=given[4])
    assert all(np.array_equal(one, other) for one, other in zip(given, before, strict=True))


def test_what_does_not_fit_says_so() -> None:
    image = texture("grass", 64)
    with pytest.raises(ValueError, match=r"two planes \(y, x\) of one shape, not \(64, 64\) and \(63, 64\)"):
        match(image, image[1:])
    with pytest.raises(ValueError, match=r"has the shape \(2, 64, 64\), not \(2, 32, 32\)"):
        match(image, image, np.zeros((2, 32, 32)))
    with pytest.raises(ValueError, match=r"the mask of planes of shape \(64, 64\) has the same shape, not \(64,\)"):
        match(image, image, tgt_masked=np.zeros(64, bool))
    with pytest.raises(ValueError, match="block: 33 must be even"):
        BlockMatching(block=33)
    with pytest.raises(ValueError, match="spacing: 1 must be at least 2"):
        BlockMatching(spacing=1)
