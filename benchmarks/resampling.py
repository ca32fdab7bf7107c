"""Resampling a volume: ours against scipy.ndimage.zoom (corners aligned) and map_coordinates (oblique), in one run, one thread.

python benchmarks/resampling.py [--shape 120 256 256] [--new 96 168 168]

Needs curate-pet. Prints seconds and ratios; a time is the best of three. Exit code 1 if results differ by more than 1e-5 of the range.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from curate_pet.resample import Resample
from curate_pet.weights import _matrix
from scipy import ndimage

from curate_core import Case, Grid, Image, read
from curate_core.structure import structure
from curate_core.testing import context

TOLERANCE = 1e-5


def best(act: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """Seconds of the fastest of some runs, and what it gave."""
    found, value = [], None
    for _ in range(times):
        _matrix.cache_clear()  # weights are computed anew, as for a volume of another shape
        started = time.perf_counter()
        value = act()
        found.append(time.perf_counter() - started)
    return min(found), value


def grid(shape: Any, spacing: Any, turn: float = 0.0, origin: Any = (0, 0, 0)) -> Grid:
    affine = np.zeros((4, 4))
    for column, step in enumerate(spacing):
        affine[2 - column, column] = step
    c, s = np.cos(turn), np.sin(turn)
    affine[:3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ affine[:3]
    affine[:3, 3], affine[3, 3] = origin, 1
    return Grid(shape, "zyx", affine, "mm", True)


def ours(source: Image, target: Grid, **options: Any) -> Any:
    """The layer on the target's grid, as a run computes it."""
    case = Case("a", {"s": source, "t": Image(np.zeros(target.shape, np.uint8), target)})
    step = structure({"to": "t", "anisotropy": None, **options}, Resample, Path())
    return read(step.apply(case, context()).image("s").array)


def row(what: str, mine: float, theirs: float, error: float) -> None:
    print(f"{what:<44} {mine:>10.3f} s {theirs:>10.3f} s {theirs / mine:>8.1f} x {error:>12.1e}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(120, 256, 256))
    parser.add_argument("--new", type=int, nargs=3, default=(96, 168, 168))
    chosen = parser.parse_args()
    shape, new = tuple(chosen.shape), tuple(chosen.new)
    noise = np.random.default_rng(0).normal(size=shape)
    worst = 0.0
    print(f"{'':<44} {'ours':>12} {'scipy':>12}      ratio   error/range")
    for dtype in (np.float32, np.int16, np.float64):
        array = (noise * 500).astype(dtype)
        spacing = [n / m for n, m in zip(shape, new, strict=True)]
        target = grid(new, spacing, origin=[(s - 1) / 2 for s in reversed(spacing)])
        factors = [m / n for n, m in zip(shape, new, strict=True)]
        kind = np.float64 if dtype == np.float64 else np.float32
        for order, name in ((3, "cubic"), (1, "linear")):
            if order != 3 and dtype != np.float32:
                continue
            mine, made = best(lambda a=array, n=name, t=target: ours(Image(a, grid(shape, (1, 1, 1))), t, interpolation=n))
            theirs, expected = best(
                lambda a=array, o=order, f=factors, k=kind: ndimage.zoom(a, f, output=k, order=o, mode="nearest", grid_mode=True)
            )
            error = float(np.abs(made - expected).max() / np.ptp(array))
            worst = max(worst, error)
            row(f"{name}, {np.dtype(dtype).name} {shape} to {new}", mine, theirs, error)
    array = noise.astype(np.float32)
    target = grid(new, (1, 1.2, 1.3), 0.2, (20, 0, 0))
    source = Image(array, grid(shape, (1, 1, 1)))
    index = np.stack([*np.meshgrid(*map(np.arange, new), indexing="ij"), np.ones(new)])
    place = np.tensordot(np.linalg.inv(source.grid.affine) @ target.affine, index, 1)[:3]
    inside = ((place >= -0.5) & (place <= np.array(shape).reshape(3, 1, 1, 1) - 0.5)).all(0)
    mine, made = best(lambda: ours(source, target))
    theirs, expected = best(lambda: ndimage.map_coordinates(array, place, order=3, mode="nearest"))
    error = float(np.abs(made - expected)[inside].max() / np.ptp(array))
    worst = max(worst, error)
    row("cubic, float32, oblique (map_coordinates)", mine, theirs, error)
    print("results agree" if worst <= TOLERANCE else f"RESULTS DIFFER by {worst:.1e} of the range")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
