"""Greedy pruning of ROI candidates: ours against the loop over candidates that are left, in one run.

python benchmarks/prune_overlap.py [--shape 105 168 174] [--size 16] [--overlap 0.5]

Needs curate-pet. Every place of a volume is a candidate (3,069,360 by default). The quadratic loop judges the first of them only, as many
as --few says; its time grows with candidates times kept. Prints seconds and their ratio. Exit code 1 if results differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
from curate_pet.prune import PruneOverlap

from curate_core import Features, RoiTable
from curate_core.testing import context


def quadratic(start: Any, size: Any, order: Any, overlap: float) -> Any:
    """Each survivor against all that are left."""
    keep, left = np.zeros(len(start), bool), order
    while len(left):
        keep[left[0]] = True
        near = (np.abs(start[left] - start[left[0]]) < (1 - overlap) * size - 1e-9).all(axis=1)
        near[0] = True
        left = left[~near]
    return keep


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(105, 168, 174))
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--few", type=int, default=300_000)
    chosen = parser.parse_args()
    start = np.argwhere(np.ones(chosen.shape, bool))
    table = RoiTable.boxes(start, start + chosen.size, "zyx")
    judge = PruneOverlap(max_overlap=chosen.overlap)

    def ours(count: int) -> tuple[Any, float]:
        """What the filter keeps of the first candidates, its draw of an order included."""
        columns = {"start": table.views[0].start[:count], "size": table.views[0].shape[:count]}
        started = time.perf_counter()
        kept = judge.keep(Features(columns, np.zeros(count, bool), str), context("prune-overlap")).keep
        return kept, time.perf_counter() - started

    kept, seconds = min((ours(len(table)) for _ in range(3)), key=lambda found: found[1])
    few = min(chosen.few, len(table))
    mine, short = ours(few)
    order = context("prune-overlap").rng().permutation(few)
    started = time.perf_counter()
    theirs = quadratic(start[:few], np.full(3, chosen.size), order, chosen.overlap)
    long = time.perf_counter() - started
    same = bool((mine == theirs).all())
    print(f"{len(table):>10,} candidates, {int(kept.sum()):>6,} kept: {seconds:8.2f} s")
    print(f"{few:>10,} candidates, {int(mine.sum()):>6,} kept: {short:8.2f} s; quadratic {long:8.2f} s, {long / short:.0f} x")
    print("results are equal" if same else "RESULTS DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
