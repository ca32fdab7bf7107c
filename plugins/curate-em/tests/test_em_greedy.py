from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from curate_em import greedy
from curate_em.greedy import remove_near


def one_by_one(hashes: Any, distance: int, order: Any, fixed: int = 0) -> tuple[Any, Any]:
    """The rule as it is stated: in order, each hash that is left removes all later ones within the distance."""
    as_bits = np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8), axis=1).astype(bool)
    because, found = np.full(len(hashes), -1), np.full(len(hashes), -1)
    left = list(order)
    while left:
        survivor = left.pop(0)
        far = (as_bits[left] != as_bits[survivor]).sum(axis=1) if left else np.zeros(0, int)
        still = []
        for other, bits in zip(left, far.tolist(), strict=True):
            if bits <= distance and other not in set(order[:fixed].tolist()):
                because[other], found[other] = survivor, bits
            else:
                still.append(other)
        left = still
    return because, found


def clustered(rng: Any, count: int, words: int, centres: int, flips: float) -> Any:
    """Hashes around a few centres, some of them equal."""
    middle = rng.integers(0, 2, (centres, 64 * words)).astype(bool)
    made = middle[rng.integers(0, centres, count)] ^ (rng.random((count, 64 * words)) < flips)
    return np.packbits(made, axis=1).view(np.uint64)


@pytest.mark.parametrize("words", [1, 2, 4])
@pytest.mark.parametrize("kind", ["random", "clusters", "tight", "equal"])
def test_exactly_the_greedy_rule(words: int, kind: str) -> None:
    rng = np.random.default_rng(words)
    count = 400
    hashes = {
        "random": lambda: rng.integers(0, 2**64, (count, words), dtype=np.uint64),
        "clusters": lambda: clustered(rng, count, words, 20, 0.08),
        "tight": lambda: clustered(rng, count, words, 5, 0.01),
        "equal": lambda: clustered(rng, count, words, 7, 0.0),
    }[kind]()
    order = rng.permutation(count)
    for distance in (0, 1, 5, 12, 20, 26, 33, 64 * words):
        judged = remove_near(hashes, distance, order)
        because, found = one_by_one(hashes, distance, order)
        np.testing.assert_array_equal(judged.because, because)
        np.testing.assert_array_equal(judged.distance, found)


def test_every_distance_on_few_bits() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**16, (150, 1), dtype=np.uint64)  # 4 x 4 bits: near ones abound
    order = rng.permutation(150)
    for distance in range(17):
        np.testing.assert_array_equal(remove_near(hashes, distance, order).because, one_by_one(hashes, distance, order)[0])


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_blocks_tiles_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    rng = np.random.default_rng(5)
    hashes = clustered(rng, 900, 1, 250, 0.05)
    order = rng.permutation(900)
    expected = one_by_one(hashes, 6, order)
    monkeypatch.setattr(greedy, "BLOCK", 37)
    monkeypatch.setattr(greedy, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(greedy, "thread_count", lambda: threads)
    judged = remove_near(hashes, 6, order)
    np.testing.assert_array_equal(judged.because, expected[0])
    np.testing.assert_array_equal(judged.distance, expected[1])


def test_more_survivors_than_a_tile() -> None:
    """Blocks and tiles at their real sizes; truth: pairwise distances by numpy."""
    rng = np.random.default_rng(9)
    hashes = clustered(rng, 6000, 1, 4000, 0.03)
    order = rng.permutation(6000)
    judged = remove_near(hashes, 4, order)
    stays = np.flatnonzero(judged.because < 0)
    assert greedy.TILE < greedy.BLOCK < len(stays) < 6000
    rank = np.empty(6000, int)
    rank[order] = np.arange(6000)
    kept = stays[np.argsort(rank[stays])]
    far = np.bitwise_count(hashes[:, 0][:, None] ^ hashes[kept, 0][None, :]) if hasattr(np, "bitwise_count") else None
    if far is None:
        pytest.skip("numpy 1 counts no bits")
    near = (far <= 4) & (rank[kept][None, :] < rank[:, None])
    np.testing.assert_array_equal(judged.because < 0, ~near.any(axis=1))
    gone = judged.because >= 0
    np.testing.assert_array_equal(judged.because[gone], kept[near[gone].argmax(axis=1)])


def test_fixed_ones_stay_whatever_their_distance() -> None:
    hashes = np.array([[0], [1], [0], [0b111], [2**40 - 1]], np.uint64)
    order = np.array([1, 0, 2, 3, 4])
    judged = remove_near(hashes, 2, order, fixed=2)
    assert judged.because.tolist() == [-1, -1, 1, 1, -1]
    assert judged.distance.tolist() == [-1, -1, 1, 2, -1]
    rng = np.random.default_rng(3)
    many = clustered(rng, 300, 1, 20, 0.04)
    order = rng.permutation(300)
    expected = one_by_one(many, 8, order, 40)
    judged = remove_near(many, 8, order, 40)
    assert (judged.because[order[:40]] == -1).all()
    np.testing.assert_array_equal(judged.because, expected[0])
    np.testing.assert_array_equal(judged.distance, expected[1])


def test_one_and_none() -> None:
    assert remove_near(np.zeros((1, 1), np.uint64), 12, np.zeros(1, int)).because.tolist() == [-1]
    assert remove_near(np.zeros((0, 2), np.uint64), 12, np.zeros(0, int)).because.tolist() == []
