"""Two scans of a few rows, and a detector to their measure."""

import runpy
from pathlib import Path

scans = runpy.run_path(str(Path(__file__).parents[1] / "scans.py"))


def recipe(folder):
    scans["write_shifts"](folder, count=2, first=1000, angles=24, rows=6, columns=30)
    numbers = '{"size": 5, "length": 12, "depth": 4, "width": 4}'
    return [f"source.first={folder}/1000.nxs", "source.shifts=2", f"preprocess.1.gradients={numbers}"]
