"""Two files of three pairs, and their fields."""

import runpy
from pathlib import Path

sections = runpy.run_path(str(Path(__file__).parents[1] / "sections.py"))


def recipe(folder):
    sections["write_pairs"](folder)
    return [f"source.images={folder}/x*.h5", f"source.fields={folder}/field_0_*.h5", "transform.0.pairs=2", "transform.0.block=16"]
