"""A dynamic scan of three frames and a few angles more; and another."""

import runpy
from pathlib import Path

scans = runpy.run_path(str(Path(__file__).parents[1] / "scans.py"))


def recipe(folder):
    for number in (1000, 1010):
        projections, flat = scans["counts"](angles=9, rows=4, columns=30, turns=3)
        scans["write_scan"](folder / f"{number}.nxs", projections, flat)
    firsts = f'["{folder}/1000.nxs", "{folder}/1010.nxs"]'
    return [f"source.first={firsts}", "source.samples=2", "rois.0.frame_angles=9", "transform.0.size=[8, 10]"]
