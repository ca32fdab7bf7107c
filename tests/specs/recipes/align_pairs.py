"""Layers of 64 x 64 x 6 pixels of mip 5, and three points in them."""

import runpy
from pathlib import Path

sections = runpy.run_path(str(Path(__file__).parents[1] / "sections.py"))


def recipe(folder):
    sections["write_site"](folder)
    sizes = ["rois.0.size=[16,24]", "transform.1.reference_size=[24,24]", "transform.2.reference_size=[32,40]"]
    return [f"source.root={folder}", f"rois.0.points={folder}/points.csv", "rois.0.offsets=[-1,-2]", *sizes]
