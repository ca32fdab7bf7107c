"""Near-duplicates: our hashes and our greedy pass against what one would write with ImageHash and numpy, in one run.

python benchmarks/near_duplicates.py [--hashes 200000] [--tiles 2000] [--size 224]

Needs curate-em, ImageHash and Pillow. Prints a table of rates and their ratios; a rate is the best of three. Exit code 1 if results differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import imagehash
import numpy as np
from curate_em.greedy import remove_near, thread_count
from curate_em.hashing import difference_hashes
from PIL import Image

THEIR_TILES = 500
THEIR_HASHES = 12_000


def best(act: Callable[[], Any], times: int = 3) -> float:
    """Seconds of the fastest of some runs."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        act()
        found.append(time.perf_counter() - started)
    return min(found)


def tiles_of(count: int, size: int) -> Any:
    """Half noise, half smooth."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (count // 2, size, size), dtype=np.uint8)
    coarse = rng.integers(0, 256, (count - count // 2, 8, 8), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(tile).resize((size, size), Image.Resampling.BICUBIC)) for tile in coarse]
    return np.concatenate([noise, np.stack(smooth)])


def loop_of_imagehash(tiles: Any) -> Any:
    return np.stack([imagehash.dhash(Image.fromarray(tile)).hash.reshape(-1) for tile in tiles])


def loop_of_numpy(hashes: Any, order: Any, distance: int) -> tuple[Any, int]:
    """The quadratic loop: each survivor against all that are left. Returns the survivors and the pairs that were compared."""
    left, kept, pairs = order, [], 0
    while len(left):
        near = np.bitwise_count(hashes[left] ^ hashes[left[0]]) <= distance
        pairs += len(left) - 1
        kept.append(left[0])
        left = left[~near]
    return np.array(kept), pairs


def pairs_of(kept: int, count: int) -> float:
    """Pairs that the greedy rule needs when nearly all hashes stay."""
    return kept * (kept - 1) / 2 + (count - kept) * kept / 2


def row(what: str, ours: str, theirs: str, ratio: float) -> None:
    print(f"{what:<44} {ours:>16} {theirs:>16} {ratio:>8.1f} x")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hashes", type=int, default=200_000)
    parser.add_argument("--tiles", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224)
    chosen = parser.parse_args()
    same = True
    print(f"{'':<44} {'ours':>16} {'theirs':>16}     ratio")

    tiles = tiles_of(chosen.tiles, chosen.size)
    few = tiles[:: max(1, len(tiles) // THEIR_TILES)]
    words = difference_hashes(few, 8).astype(">u8").view(np.uint8).reshape(len(few), -1)  # compiles, too
    same &= bool((np.unpackbits(words, axis=1).astype(bool) == loop_of_imagehash(few)).all())
    ours = len(tiles) / best(lambda: difference_hashes(tiles, 8))
    theirs = len(few) / best(lambda: loop_of_imagehash(few))
    row(f"hashes of {chosen.size} x {chosen.size} tiles a second, 1 thread", f"{ours:,.0f}", f"{theirs:,.0f}", ours / theirs)

    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, (chosen.hashes, 1), dtype=np.uint64)
    small = hashes[:THEIR_HASHES]
    orders = rng.permutation(len(hashes)), rng.permutation(len(small))
    kept, pairs = loop_of_numpy(small[:, 0], orders[1], 12)
    same &= np.array_equal(np.sort(kept), np.flatnonzero(remove_near(small, 12, orders[1]).because < 0))
    slow = pairs / best(lambda: loop_of_numpy(small[:, 0], orders[1], 12), 1) / 1e9
    for distance in (0, 12):
        stays = int((remove_near(hashes, distance, orders[0]).because < 0).sum())
        seconds = best(lambda d=distance: remove_near(hashes, d, orders[0]))
        fast = pairs_of(stays, len(hashes)) / seconds / 1e9
        label = f"10^9 pairs a second, {len(hashes):,} unique, distance {distance}"
        row(label, f"{fast:.2f} ({seconds:.2f} s)", f"{slow:.2f}", fast / slow)
    print(f"threads: {thread_count()}; theirs: ImageHash {imagehash.__version__}, numpy {np.__version__} on {len(small):,} hashes")
    print("results are equal" if same else "RESULTS DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
