from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import imagehash
import numba
import numpy as np
import PIL
import pytest
from curate_em import compiled as compiling
from curate_em.hashing import difference_hashes, resized
from PIL import Image

SHAPES = [(224, 224), (224, 113), (120, 224), (9, 8), (8, 9), (1, 1), (1, 40), (40, 1), (3, 5), (17, 16), (50, 301), (257, 255)]


RESIZES = [
    ((31, 47), (8, 9)),
    ((5, 4), (64, 33)),
    ((20, 20), (20, 7)),
    ((20, 20), (7, 20)),
    ((12, 9), (12, 9)),
    ((90, 50), (8, 9)),
    ((91, 50), (8, 9)),
    ((40, 5), (20, 20)),
]


def contents(shape: tuple[int, int], count: int, seed: int) -> Iterator[Any]:
    """Tiles of every kind: noise, few values, saturated, smooth, constant, ramps, edges."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    for i in range(count):
        noise = rng.integers(0, 256, shape)
        yield (
            [
                noise,
                rng.integers(120, 124, shape),
                255 * rng.integers(0, 2, shape),
                127 + 127 * np.sin(x / rng.uniform(2, 90) + y / rng.uniform(2, 90)),
                np.full(shape, rng.integers(0, 256)),
                x * rng.uniform(-4, 4) + y * rng.uniform(-4, 4),
                np.where(x > rng.integers(0, shape[1] + 1), 250, 5) + rng.integers(0, 5, shape),
                np.clip(noise * 3.0 - 250, 0, 255),
            ][i % 8]
            .astype(np.int64)
            .astype(np.uint8)
        )


def resize(image: Any, width: int, height: int, resample: Any) -> Any:
    """As Pillow 13; before it, tall images have to be told in which order."""
    if int(PIL.__version__.split(".")[0]) < 13 and image.height > height and image.height - height > 2 * (image.width - width):
        image = image.resize((image.width, height), resample=resample)
    return image.resize((width, height), resample=resample)


def theirs(tile: Any, hash_size: int, size: int | None = None) -> Any:
    image = Image.fromarray(tile)
    if size is not None:
        image = resize(image, size, size, Image.Resampling.BILINEAR)
    if int(PIL.__version__.split(".")[0]) < 13:
        image = resize(image, hash_size + 1, hash_size, Image.Resampling.LANCZOS)
    return imagehash.dhash(image, hash_size=hash_size).hash.reshape(-1)


def bits(hashes: Any, hash_size: int) -> Any:
    return np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(len(hashes), -1), axis=1)[:, : hash_size**2].astype(bool)


@pytest.mark.slow
@pytest.mark.parametrize("hash_size", [2, 4, 8, 11, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_same_bits_as_imagehash(shape: tuple[int, int], hash_size: int) -> None:
    tiles = np.stack(list(contents(shape, 64, hash_size)))
    hashes = difference_hashes(tiles, hash_size)
    assert hashes.dtype == np.uint64
    assert hashes.shape == (64, -(-(hash_size**2) // 64))
    np.testing.assert_array_equal(bits(hashes, hash_size), [theirs(tile, hash_size) for tile in tiles])


@pytest.mark.parametrize("shape", [(224, 224), (224, 113), (120, 224), (150, 150), (1, 30), (300, 10)])
def test_short_tiles_resized_first_as_patchify3d_does(shape: tuple[int, int]) -> None:
    tiles = np.stack(list(contents(shape, 48, 7)))
    np.testing.assert_array_equal(bits(difference_hashes(tiles, 8, 224), 8), [theirs(tile, 8, 224) for tile in tiles])


@pytest.mark.parametrize("kind", ["lanczos", "bilinear"])
@pytest.mark.parametrize(
    ("old", "new"), [((31, 47), (8, 9)), ((5, 4), (64, 33)), ((20, 20), (20, 7)), ((20, 20), (7, 20)), ((12, 9), (12, 9))]
)
def test_resizes_as_pillow(kind: str, old: tuple[int, int], new: tuple[int, int]) -> None:
    tiles = np.stack(list(contents(old, 40, 3)))
    resample = {"lanczos": Image.Resampling.LANCZOS, "bilinear": Image.Resampling.BILINEAR}[kind]
    expected = [np.asarray(resize(Image.fromarray(tile), new[1], new[0], resample)) for tile in tiles]
    np.testing.assert_array_equal(resized(tiles, *new, kind), expected)


def test_64_bits_print_as_imagehash_does() -> None:
    tiles = np.stack(list(contents((60, 70), 8, 1)))
    ours = [f"{int(word):016x}" for word in difference_hashes(tiles, 8)[:, 0]]
    assert ours == [str(imagehash.dhash(Image.fromarray(tile))) for tile in tiles]


def test_tiles_that_are_views() -> None:
    """Strided and read-only input, as a cut of a volume may be."""
    volume = np.random.default_rng(0).integers(0, 256, (40, 41, 42)).astype(np.uint8)
    volume.setflags(write=False)
    across = volume.transpose(2, 0, 1)
    np.testing.assert_array_equal(bits(difference_hashes(across, 8), 8), [theirs(np.ascontiguousarray(t), 8) for t in across])


def test_no_tiles() -> None:
    assert difference_hashes(np.zeros((0, 20, 20), np.uint8), 8).shape == (0, 1)


def test_compiles_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def read_only(**options: Any) -> Any:
        if options.get("cache"):
            message = "cannot cache function: no locator available"
            raise RuntimeError(message)
        return njit(**options)

    monkeypatch.setattr(compiling.numba, "njit", read_only)

    def double(x: int) -> int:
        return 2 * x

    assert compiling.compiled(double)(21) == 42
