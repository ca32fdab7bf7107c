"""Stripe masks: CPU time against sorting a window of 501 values for each voxel, and precision and recall on planted stripes.

python benchmarks/stripe_mask.py [--columns 200] [--rows 24]

Needs curate-tomo. The table is of simulated sinograms with noise of photons, to which stripes are added that last all angles, or a part
of them; numbers of the detectors are those of a search (curate_tomo.maskfit), and their defaults scaled to the number of angles.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from curate_tomo.maskfit import plant, trials
from curate_tomo.masking import Filtering, Gradients
from curate_tomo.maskkernels import mirrored, ranked

SIZE = 250


def sorted_windows(plane: np.ndarray) -> np.ndarray:
    """The rank filter, voxel by voxel: gather 501 values, sort them, take one."""
    angles, columns = plane.shape
    index = np.array([[mirrored(a, o, angles) for o in range(-SIZE, SIZE + 1)] for a in range(angles)])
    return np.stack([np.sort(plane[index, column], axis=1)[:, SIZE - 1] for column in range(columns)], axis=1)


def sinograms(angles: int, rows: int, columns: int) -> np.ndarray:
    """A ball and a rod that go round, through 20,000 photons a pixel."""
    a, r, c = np.mgrid[:angles, :rows, :columns]
    turn = np.pi * a / angles
    ball = 1.2 * np.sqrt(np.maximum(0, 0.06 - (c / columns - 0.5 - 0.2 * np.cos(turn)) ** 2 - (0.1 * (r / rows - 0.5)) ** 2))
    rod = 0.8 * np.sqrt(np.maximum(0, 0.004 - (c / columns - 0.5 - 0.35 * np.sin(turn)) ** 2))
    photons = np.random.default_rng(0).poisson(20_000 * np.exp(-4 * (ball + rod)))
    return -np.log(np.maximum(photons, 1) / 20_000)


def cpu(act) -> tuple[float, object]:
    started = time.process_time()
    found = act()
    return time.process_time() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--rows", type=int, default=24)
    arguments = parser.parse_args()
    plane = np.random.default_rng(0).random((1801, arguments.columns), np.float32)
    ranked(plane[:600, :2].copy(), SIZE)  # compiled
    ours, found = cpu(lambda: ranked(plane, SIZE))
    theirs, wanted = cpu(lambda: sorted_windows(plane[:, :8]))
    if not np.array_equal(found[:, :8], wanted):
        raise SystemExit("the two differ")
    slow, fast = theirs / (1801 * 8), ours / plane.size
    print(f"rank filter, ns a voxel: sorting {slow * 1e9:,.0f}, sliding {fast * 1e9:,.0f}, ratio {slow / fast:,.0f}; equal values")
    scan = sinograms(1801, 8, arguments.columns).astype(np.float32)
    list(Gradients().rows(scan[:, :2], 0, 1))
    whole, _ = cpu(lambda: list(Gradients().rows(scan, 0, 8)))
    print(f"whole detector, ns a voxel: {whole / scan.size * 1e9:,.0f}, ratio to the sorting alone {slow / (whole / scan.size):,.0f}\n")
    clean = sinograms(400, arguments.rows, arguments.columns)
    print(f"{'stripes':24}{'detector':46}{'precision':>10}{'recall':>8}{'F1':>6}")
    for title, strength, least in (("strong, all angles", 0.2, 1.0), ("weak, all angles", 0.05, 1.0), ("strong, from a third", 0.2, 0.35)):
        striped, truth = plant(clean, np.random.default_rng(1), arguments.rows, strength=strength, least=least)
        near = [Gradients(size=55, length=133, threshold=t) for t in (0.2, 0.3, 0.4, 0.5, 0.63)]
        off = [Filtering(snr=s, piece=p) for s in (4.0, 6.0, 10.0) for p in (None, 130)]
        scaled, default = Gradients(size=55, length=133), Filtering()
        for name, tried in (
            ("gradients, scaled", [scaled]), ("gradients, best threshold", near),
            ("filtering, as it is", [default]), ("filtering, best", off),
        ):  # fmt: skip
            best = trials(striped, truth, tried)[0]
            chosen = f" ({best.detector.threshold})" if "best" in name and isinstance(best.detector, Gradients) else ""
            if "best" in name and isinstance(best.detector, Filtering):
                chosen = f" (snr {best.detector.snr:g}, piece {best.detector.piece})"
            print(f"{title:24}{name + chosen:46}{best.precision:>10.2f}{best.recall:>8.2f}{best.f1:>6.2f}")


if __name__ == "__main__":
    main()
