"""Small studies for specs/pet/multi_dose.json."""

import runpy
from pathlib import Path

SHARED = runpy.run_path(str(Path(__file__).with_name("pet_studies.py")))
DRAW = SHARED["DRAW"]


def recipe(folder):
    return [*SHARED["studies"](folder), *DRAW, "rois.0.size=[4, 4, 4]"]
