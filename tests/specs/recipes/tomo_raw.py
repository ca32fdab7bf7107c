"""Two samples of two shifts, of a few rows."""

import runpy
from pathlib import Path

scans = runpy.run_path(str(Path(__file__).parents[1] / "scans.py"))


def recipe(folder):
    for first in (1000, 1010):
        scans["write_shifts"](folder, count=2, first=first, angles=12, rows=4, columns=30)
    firsts = f'["{folder}/1000.nxs", "{folder}/1010.nxs"]'
    return [f"source.first={firsts}", "source.samples=2", "source.shifts=2", "transform.0.size=[8, 10]", "read.scan.memory=3000"]
