"""Blank and noisy patches against patches of structure: the measure by its definition, its chance by counting, its verdicts on planted
noise, resin-like noise, membranes under noise and photographs of textures.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from curate_em.structure import Structure, coherence_of
from PIL import Image

from curate_core import StepError
from curate_core.batch import Batch
from curate_core.kinds import Features
from curate_core.testing import FilterTests, context, make_batch, values

scipy = pytest.importorskip("scipy.ndimage")
SIZE = 224


def as_bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def correlated(rng: np.random.Generator, blur: float, std: float, size: int = SIZE) -> np.ndarray:
    noise = rng.standard_normal((size, size))
    noise = scipy.gaussian_filter(noise, blur) if blur else noise
    return noise * (std / noise.std())


def shading(rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """Uneven illumination: 30 grey levels from side to side, in any direction."""
    y, x = np.mgrid[:size, :size] / size
    angle = rng.uniform(0, 2 * np.pi)
    return 30 * (np.cos(angle) * x + np.sin(angle) * y)


def membranes(rng: np.random.Generator, noise: float, cells: int = 30, contrast: float = 60, blur: float = 0.0) -> np.ndarray:
    """Dark lines between the cells of random points, and a faint grain inside, under noise."""
    points = rng.uniform(0, SIZE, (cells, 2))
    y, x = np.mgrid[:SIZE, :SIZE]
    near = np.partition(np.hypot(y[None] - points[:, 0, None, None], x[None] - points[:, 1, None, None]), 1, axis=0)
    image = 160 - contrast * np.exp(-(((near[1] - near[0]) / 5) ** 2)) + correlated(rng, 3, 5)
    return as_bytes(scipy.gaussian_filter(image, 1) + correlated(rng, blur, noise))


def textures() -> list[np.ndarray]:
    """Photographs in scikit-image's package: a cell, bricks, gravel, grass; tiles of them, also under noise of 20 grey levels."""
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
    rng = np.random.default_rng(0)
    tiles = []
    for name in ("cell", "brick", "gravel", "grass"):
        image = np.asarray(Image.open(folder / f"{name}.png").convert("L"))
        for y in range(0, image.shape[0] - SIZE + 1, SIZE):
            for x in range(0, image.shape[1] - SIZE + 1, SIZE):
                tiles.append(image[y : y + SIZE, x : x + SIZE])
                tiles.append(as_bytes(tiles[-1] + correlated(rng, 0, 20)))
    return tiles


def jpeg(image: np.ndarray) -> np.ndarray:
    """As remote layers are stored."""
    file = io.BytesIO()
    Image.fromarray(as_bytes(image)).save(file, "JPEG", quality=70)
    return np.asarray(Image.open(file))


def resin() -> list[np.ndarray]:
    """Noise alone, of one pixel or of neighbours that share some, shaded or not, in lines, of counted electrons, through JPEG."""
    rng = np.random.default_rng(1)
    found = [np.full((SIZE, SIZE), 140, np.uint8), as_bytes(120 + shading(rng)), as_bytes(jpeg(120 + shading(rng)))]
    for std in (1, 3, 10, 30, 60):
        for blur in (0, 0.6, 1, 1.5):
            found += [as_bytes(128 + correlated(rng, blur, std)), as_bytes(128 + shading(rng) + correlated(rng, blur, std))]
    found += [as_bytes(rng.poisson(mean, (SIZE, SIZE)) * 4.0) for mean in (5, 15, 30)]
    found += [as_bytes(140 + 3 * rng.standard_normal((SIZE, 1)) + correlated(rng, 0, 10)) for _ in range(3)]
    found += [jpeg(140 + shading(rng) + correlated(rng, 0, std)) for std in (3, 8, 15)]
    return found


def tissue() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    found = [membranes(rng, noise, blur=blur) for noise in (5, 15, 30, 45) for blur in (0, 1) for _ in range(2)]
    found += [membranes(rng, 10, cells=cells) for cells in (3, 8, 100)]
    found += [membranes(rng, 15, contrast=contrast) for contrast in (30, 100)]
    found += [jpeg(membranes(rng, 10).astype(float)) for _ in range(2)]
    return found


def shares(images: list[np.ndarray], **options: Any) -> np.ndarray:
    return Structure(**options).score(make_batch(np.stack(images), "yx"), context())["share"]


class TestStructure(FilterTests):
    component = Structure
    options: ClassVar[dict[str, Any]] = {"scales": [1, 2]}

    def batch(self) -> Batch:
        rng = np.random.default_rng(0)
        return make_batch(np.stack([as_bytes(128 + correlated(rng, blur, 20, 40)) for blur in (0, 0, 3, 5, 0)]), "yx")


@pytest.mark.slow
def test_precision_and_recall_on_planted_noise() -> None:
    blank, structured = shares(resin()), np.concatenate([shares(tissue()), shares(textures())])
    kept, wrong = int((structured >= 0.1).sum()), int((blank >= 0.1).sum())
    recall, precision = kept / len(structured), kept / (kept + wrong)
    assert len(blank) > 45
    assert len(structured) > 50
    assert precision == 1
    assert 0.85 < recall < 0.9, "those that are lost are the ones whose noise hides them, see the next test"
    assert blank.max() < 0.08


def test_what_is_lost_is_hidden_by_noise() -> None:
    """Membranes stay under noise of half their contrast; under noise of three quarters only where neighbours do not share it."""
    rng = np.random.default_rng(7)
    for noise, blur in ((30, 0), (45, 0), (20, 1)):
        assert shares([membranes(rng, noise, blur=blur) for _ in range(4)]).min() > 0.1
    assert shares([membranes(rng, 45, blur=1) for _ in range(4)]).max() < 0.1
    assert shares(textures()[::2]).min() > 0.1, "without noise"


def test_what_the_core_s_contrast_filter_cannot_tell() -> None:
    """The standard deviation of noise is that of structure."""
    assert max(image.std() for image in resin()) > np.median([image.std() for image in tissue()])


def test_the_chance_of_white_noise_is_as_stated() -> None:
    noise = np.random.default_rng(5).standard_normal((60, 330, 330))
    for chance in (0.1, 0.01):
        found = shares(list(noise), chance=chance, scales=(1,), min_gradient=0)
        # central differences of neighbours are not independent, as the formula takes them to be: up to three times what is stated
        assert chance * 0.8 < found.mean() < chance * 3
    assert coherence_of(0.001, 8) == pytest.approx(0.2336, abs=5e-4)
    tau = coherence_of(0.05, 6)
    assert ((1 - tau**2) / (1 + tau**2)) ** 35 == pytest.approx(0.05)


def test_the_measure_by_its_definition() -> None:
    """Singular values of each window's gradients, by numpy, window by window."""
    image = membranes(np.random.default_rng(3), 20)[:100, :90]
    reduced = image.astype(float).reshape(50, 2, 45, 2).mean(axis=(1, 3))
    y, x = (reduced[2:, 1:-1] - reduced[:-2, 1:-1]) / 2, (reduced[1:-1, 2:] - reduced[1:-1, :-2]) / 2
    counted = []
    for top in range(0, y.shape[0] - y.shape[0] % 4 - 4, 4):
        for left in range(0, y.shape[1] - y.shape[1] % 4 - 4, 4):
            part = np.s_[top : top + 8, left : left + 8]
            first, second = np.linalg.svd(np.stack([x[part].ravel(), y[part].ravel()], axis=1), compute_uv=False)
            counted.append((first - second) / (first + second) > coherence_of(0.001, 8) and first / 8 >= 1.5)
    assert shares([image], scales=(2,))[0] == pytest.approx(np.mean(counted), abs=1e-12)
    assert 0.2 < np.mean(counted) < 1


def test_brightness_and_orientation_do_not_matter() -> None:
    images = [membranes(np.random.default_rng(seed), 25) // 2 for seed in range(4)]
    expected = shares(images)
    for other in ([i + 100 for i in images], [i.T for i in images], [255 - i for i in images], [i.astype(np.float32) for i in images]):
        np.testing.assert_allclose(shares([np.ascontiguousarray(i) for i in other]), expected, atol=0.02)
    np.testing.assert_array_equal(shares([i.astype(np.uint16) * 257 for i in images], min_gradient=1.5 * 257), expected)


def test_short_patches() -> None:
    image = membranes(np.random.default_rng(4), 10)
    assert shares([image[:25, :112]])[0] > 0.1, "one scale fits"
    with pytest.raises(StepError, match=r'patches of 19 x 224 pixels hold no window, expected 20 or more \(lower "window" or "scales"'):
        shares([image[:19]])


def test_mistakes() -> None:
    with pytest.raises(StepError, match=r"structure looks at grey 2D samples, these are uint8 of shape \(30, 30, 3\)"):
        Structure().score(make_batch(values((2, 30, 30, 3)), "yxc"), context())
    with pytest.raises(ValueError, match="window: 7 is odd, windows overlap by half"):
        Structure(window=7)
    assert len(Structure().score(make_batch(values((2, 1, 30, 30)), "zyx"), context())["share"]) == 2


def test_the_share_is_the_score() -> None:
    features = Features({"share": np.array([0.05, 0.1, 0.7])}, np.zeros(3, bool), str)
    verdict = Structure().keep(features, context())
    assert verdict.keep.tolist() == [False, True, True]
    assert verdict.score is not None
    assert verdict.score.tolist() == [0.05, 0.1, 0.7]
