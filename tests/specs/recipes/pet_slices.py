"""Small studies for specs/pet/slices.json."""

import runpy
from pathlib import Path

SHARED = runpy.run_path(str(Path(__file__).with_name("pet_studies.py")))
DRAW = SHARED["DRAW"]


def recipe(folder):
    return [*SHARED["studies"](folder), *DRAW, "rois.0.size=[-1, 6, 6]", "rois.0.stride=[1, 2, 2]"]
