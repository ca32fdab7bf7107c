"""Two samples of two shifts, of a few rows with four patches each; masks that are there."""

import runpy
from pathlib import Path

scans = runpy.run_path(str(Path(__file__).parents[1] / "scans.py"))


def recipe(folder):
    for first in (1000, 1010):
        scans["write_shifts"](folder, count=2, first=first, angles=25, rows=6, columns=90)
        for number in (first, first + 1):
            scans["write_mask"](folder / f"m{number}.npy", (25, 6, 90), {1: [(30, 34)], 4: [(7, 8)]})
    firsts = f'["{folder}/1000.nxs", "{folder}/1010.nxs"]'
    return [
        f"source.first={firsts}", "source.samples=2", "source.shifts=2", "rois.0.size=[12, 40]", "transform.1.percentage=6",
        *scans["MASK_OF_A_FILE"],
    ]  # fmt: skip
