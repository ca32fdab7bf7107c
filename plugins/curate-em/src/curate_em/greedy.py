"""Greedy removal of near-duplicates: exact, and as fast as the processor counts bits.

In a given order each hash that is left removes all later ones within a Hamming distance. Seen from the later one: it goes because of
the first survivor before it that lies within the distance, and is itself a survivor if there is none. That form needs no state but the
list of survivors, so a block of hashes is compared with all survivors found so far by several threads, and then within itself.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba  # noqa: TID253 - this module is imported where the filter works
import numpy as np
from attrs import frozen
from numba import types  # noqa: TID253
from numba.extending import intrinsic  # noqa: TID253

from curate_core import NDArray
from curate_em.compiled import compiled

BLOCK = 2048
"""Hashes compared with all survivors at once; what is compared within a block is done by one thread."""
TILE = 1024
"""Survivors compared before looking whether one of them was near enough; a tile stays in the first cache."""
WORTH_A_THREAD = 1 << 22
"""Pairs below which starting a thread costs more than it brings."""


@frozen(eq=False)
class Greedy:
    """What was decided.

    Attributes:
        because: (n,) int64: for a hash that goes, the survivor on whose account; -1 for survivors.
        distance: (n,) int64: its Hamming distance to that one; -1 for survivors.
    """

    because: NDArray
    distance: NDArray


def remove_near(hashes: NDArray, distance: int, order: NDArray, fixed: int = 0) -> Greedy:
    """Judge hashes in an order; the result does not depend on the number of threads.

    Args:
        hashes: (n, words) uint64.
        distance: bits; hashes that differ in this many or fewer are near.
        order: (n,) permutation: who comes first.
        fixed: so many first ones of the order survive whatever their distance.
    """
    words = hashes.shape[1]
    ordered = np.ascontiguousarray(hashes[order])
    because = np.full(len(order), -1, np.int64)
    found = np.full(len(order), -1, np.int64)
    same_as = np.concatenate([np.arange(fixed), fixed + _first_equal(ordered[fixed:])])
    candidates = np.flatnonzero(same_as[fixed:] == np.arange(fixed, len(order))) + fixed
    survivors = np.empty((words, fixed + len(candidates)), np.uint64)
    place = np.empty(fixed + len(candidates), np.int64)
    survivors[:, :fixed], place[:fixed] = ordered[:fixed].T, np.arange(fixed)
    count = fixed
    with _Threads() as threads:
        for first in range(0, len(candidates), BLOCK):
            block = candidates[first : first + BLOCK]
            mine = ordered[block]
            near = np.full(len(block), -1, np.int64)
            bits = np.full(len(block), -1, np.int64)
            threads.compare(mine, survivors, count, distance, near, bits)
            count = _within(mine, block, survivors, place, count, distance, near, bits)
            gone = near >= 0
            because[block[gone]], found[block[gone]] = place[near[gone]], bits[gone]
    copies = np.flatnonzero(same_as != np.arange(len(order)))
    originals = same_as[copies]  # equal hashes have equal first survivors; that of a survivor's copy is the survivor itself
    stays = because[originals] < 0
    because[copies] = np.where(stays, originals, because[originals])
    found[copies] = np.where(stays, 0, found[originals])
    result = Greedy(np.full(len(order), -1, np.int64), np.full(len(order), -1, np.int64))
    result.because[order] = np.where(because < 0, -1, order[because])
    result.distance[order] = found
    return result


def _first_equal(hashes: NDArray) -> NDArray:
    """(n,) index of the first hash that equals each."""
    if len(hashes) == 0:
        return np.zeros(0, np.int64)
    rows = hashes[:, 0] if hashes.shape[1] == 1 else hashes.view(np.dtype((np.void, 8 * hashes.shape[1])))[:, 0]
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    made: NDArray = first[inverse.reshape(-1)].astype(np.int64)
    return made


def thread_count() -> int:
    """Threads to use: the processors that this process may use, or fewer where NUMBA_NUM_THREADS says so."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(int(numba.config.NUMBA_NUM_THREADS), processors)


class _Threads:
    """Shares out the comparisons of a block; each hash is compared by one thread, so that sharing changes nothing."""

    def __init__(self) -> None:
        self.count = thread_count()
        self.pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> _Threads:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.pool is not None:
            self.pool.shutdown()

    def compare(self, mine: NDArray, survivors: NDArray, count: int, distance: int, near: NDArray, bits: NDArray) -> None:
        if self.count == 1 or len(mine) * count < WORTH_A_THREAD:
            _first_near(mine, survivors, count, distance, near, bits)
            return
        if self.pool is None:
            self.pool = ThreadPoolExecutor(self.count)
        edges = np.linspace(0, len(mine), 4 * self.count + 1).astype(int).tolist()  # more shares than threads: they end together
        shares = [slice(a, b) for a, b in pairwise(edges) if a < b]
        jobs = [self.pool.submit(_first_near, mine[s], survivors, count, distance, near[s], bits[s]) for s in shares]
        for job in jobs:
            job.result()


@intrinsic
def _popcount(typing_context, value):  # type: ignore[no-untyped-def]
    """Number of bits set in a uint64: one instruction, and one for eight of them where the processor has it."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@compiled
def _first_near(mine: NDArray, survivors: NDArray, count: int, distance: int, near: NDArray, bits: NDArray) -> None:
    """For each hash the first survivor within the distance, and how far it is.

    mine (n, words), survivors (words, m) uint64, contiguous, of which ``count`` are there; near, bits (n,) int64 are filled in where
    there is one.
    """
    for start in range(0, count, TILE):
        stop = min(start + TILE, count)
        for i in range(len(mine)):
            if near[i] < 0:
                near[i], bits[i] = _search(mine[i], survivors, start, stop, distance)


@compiled
def _within(
    mine: NDArray, block: NDArray, survivors: NDArray, place: NDArray, count: int, distance: int, near: NDArray, bits: NDArray
) -> int:
    """Judge a block's hashes that no earlier survivor is near to, one after the other; returns the new number of survivors."""
    before = count
    for i in range(len(mine)):
        if near[i] < 0:
            near[i], bits[i] = _search(mine[i], survivors, before, count, distance)
        if near[i] < 0:
            for w in range(len(survivors)):
                survivors[w, count] = mine[i, w]
            place[count] = block[i]
            count += 1
    return count


@compiled
def _search(one: NDArray, survivors: NDArray, start: int, stop: int, distance: int) -> tuple[int, int]:
    """Index of the first survivor in a range within the distance of a hash, and its distance; -1, -1 if none is."""
    if _least(one, survivors, start, stop) <= distance:
        for j in range(start, stop):
            total = 0
            for w in range(len(one)):
                total += _popcount(one[w] ^ survivors[w, j])
            if total <= distance:
                return j, total
    return -1, -1


@compiled
def _least(one: NDArray, survivors: NDArray, start: int, stop: int) -> int:
    """The smallest distance of a hash to survivors in a range, without a branch: this loop is where the time goes."""
    least = 1 << 62
    if len(one) == 1:
        word, row = one[0], survivors[0][start:stop]
        for j in range(len(row)):
            least = min(least, _popcount(word ^ row[j]))
        return least
    totals = np.zeros(stop - start, np.int64)
    for w in range(len(one)):
        word, row = one[w], survivors[w][start:stop]
        for j in range(len(row)):
            totals[j] += _popcount(word ^ row[j])
    for j in range(len(totals)):
        least = min(least, totals[j])
    return least
