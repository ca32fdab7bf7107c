"""Two samples of two shifts, of a few rows; masks that are there."""

import runpy
from pathlib import Path

scans = runpy.run_path(str(Path(__file__).parents[1] / "scans.py"))


def recipe(folder):
    for first in (1000, 1010):
        scans["write_shifts"](folder, count=2, first=first, angles=12, rows=6, columns=120)
        for number in (first, first + 1):
            scans["write_mask"](folder / f"m{number}.npy", (12, 6, 120), {1: [(30, 34)], 4: [(7, 8)]})
    firsts = f'["{folder}/1000.nxs", "{folder}/1010.nxs"]'
    return [
        f"source.first={firsts}", "source.samples=2", "source.shifts=2", "transform.1.size=[12, 100]", *scans["MASK_OF_A_FILE"],
    ]  # fmt: skip
