"""Simulated tomography: our projections against a plain loop over the whole detector, and whole runs of both specs, in one run.

python benchmarks/tomo_simulated.py [--size 256] [--objects 300] [--times 3] [--only runs]

Needs curate-tomo and curate-tiff. The plain loop stands in for TomoPhantom, which walks the whole detector for each object. A rate is the
best of three; the loop runs once. Whole runs are processes of their own, with the kernels compiled before. Exit code 1 if results differ.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from curate_tomo.foam import SphereFoam
from curate_tomo.geometry import Detector
from curate_tomo.volume import Projections

from curate_core.kinds import generator

print = functools.partial(print, flush=True)  # a long run tells what it has
SPECS = Path(__file__).parents[1] / "specs" / "tomo"


@numba.njit(error_model="numpy")
def plain(spheres: Any, size: float, s: Any, t: Any, radians: Any, out: Any) -> None:
    """Each sphere over each pixel of each projection; (x, y, z, radius, value) a row."""
    for n in range(len(spheres)):
        x, y, z, r, value = spheres[n]
        for k in range(len(t)):
            dt = t[k] - z - 1 / size
            for a in range(len(radians)):
                s0 = (x + 1 / size) * math.sin(radians[a]) + (y + 1 / size) * math.cos(radians[a])
                for j in range(len(s)):
                    left = r * r - (s[j] - s0) ** 2 - dt * dt
                    if left > 0:
                        out[k, a, j] += value * size * math.sqrt(left)


def best(act: Callable[[], Any], times: int = 3) -> tuple[float, float]:
    """Seconds, by the clock and of the processor, of the fastest of some runs."""
    found = []
    for _ in range(times):
        clock, processor = time.perf_counter(), time.process_time()
        act()
        found.append((time.perf_counter() - clock, time.process_time() - processor))
    return min(seconds for seconds, _ in found), min(seconds for _, seconds in found)


def lost_in_float32(spheres: Any) -> float:
    """The greatest error of the plain loop in float32, as a share of the maximum."""
    scan = Detector.usual(64, None, None, None, (0.0, 179.9))
    exact, single = np.zeros(scan.shape), np.zeros(scan.shape, np.float32)
    given = (spheres, np.float64(64), scan.s, scan.t, np.deg2rad(scan.angles))
    plain(*given, exact)
    plain(*(value.astype(np.float32) for value in given), single)
    return float(np.abs(single - exact).max() / exact.max())


def run(mode: str, size: int, samples: int, workers: int) -> tuple[float, float, float]:
    """Seconds by the clock and of processors, and peak MB of the largest process, of a whole ``curate run``."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ["--set", f"read.clean.size={size}", "--set", f"source.samples={samples}", "--workers", str(workers)]
        command = [sys.executable, "-m", "curate_core", "run", str(SPECS / f"{mode}.json"), "--output", f"{folder}/out", *settings]
        probe = (
            "import json, resource, subprocess, sys, time; started = time.perf_counter();"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
            "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
            "print(json.dumps([time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000]))"
        )
        done = subprocess.run([sys.executable, "-c", probe, *command], check=True, capture_output=True, text=True)
        clock, processor, peak = (float(value) for value in done.stdout.strip("[]\n ").split(","))
        return clock, processor, peak


def compare_projections(size: int, count: int) -> bool:
    """Print seconds and errors of both ways; whether they agree."""
    objects = SphereFoam(size=size, objects=count).pack(generator("benchmark"))
    scan = Detector.usual(size, None, None, None, (0.0, 179.9))
    projections, radians = Projections(objects, scan), np.deg2rad(scan.angles)
    spheres = np.column_stack([objects.centres, 1 / objects.matrices[:, 0, 0], objects.values])
    projections[:1]
    plain(spheres[:1], float(size), scan.s, scan.t, radians, np.zeros(scan.shape))  # compiles, too

    expected = np.zeros(scan.shape)
    theirs = best(lambda: plain(spheres, float(size), scan.s, scan.t, radians, expected), 1)
    ours = best(lambda: projections[...])
    rows = best(lambda: [projections[row] for row in range(size)], 1)
    error = float(np.abs(projections[...] - expected).max() / expected.max())
    print(f"{len(objects)} spheres, detector {' x '.join(map(str, scan.shape))}; CPU seconds")
    print(f"{'plain loop over the detector':<44} {theirs[1]:8.2f}")
    print(f"{'footprints':<44} {ours[1]:8.2f} {theirs[1] / ours[1]:8.1f} x   ({ours[0]:.2f} s by the clock)")
    print(f"{'footprints, sinogram by sinogram':<44} {rows[1]:8.2f} {theirs[1] / rows[1]:8.1f} x")
    print(f"greatest error against float64, of the maximum: {error:.1e}; with float32 arithmetic, size 64: {lost_in_float32(spheres):.1e}")
    return error < 1e-6


def whole_runs(size: int, times: int) -> None:
    """Print what whole runs need."""
    print(f"\n{'whole runs, TIFFs included':<28} {'seconds':>8} {'CPU s':>8} {'peak MB':>8}")
    for mode in ("simple", "complex"):
        run(mode, 16, 1, 0)  # compiles what is not compiled yet
        one = run(mode, size, 1, 0)
        print(f"{mode + ', 1 sample':<28} {one[0]:8.1f} {one[1]:8.1f} {one[2]:8.0f}")
        pairs = [(run(mode, size, 2, 1)[0], run(mode, size, 2, 2)[0]) for _ in range(times)]
        alone, two = (min(seconds) for seconds in zip(*pairs, strict=True))
        print(f"{mode + ', 2 samples, 1 worker':<28} {alone:8.1f}")
        gain = f"{alone / two:.2f} x one worker, of {os.cpu_count()} processors (load {os.getloadavg()[0]:.1f})"
        print(f"{mode + ', 2 samples, 2 workers':<28} {two:8.1f}   {gain}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--objects", type=int, default=300)
    parser.add_argument("--times", type=int, default=3, help="runs with one and two workers, of which the fastest count")
    parser.add_argument("--only", choices=("projections", "runs"), help="leave the other out")
    chosen = parser.parse_args()
    size = chosen.size

    same = chosen.only == "runs" or compare_projections(size, chosen.objects)
    if chosen.only != "projections":
        whole_runs(size, chosen.times)
    print("results are equal" if same else "RESULTS DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
