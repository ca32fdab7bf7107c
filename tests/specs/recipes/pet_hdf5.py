"""Small studies for specs/pet/hdf5.json."""

import runpy
from pathlib import Path

SHARED = runpy.run_path(str(Path(__file__).with_name("pet_studies.py")))
DRAW = SHARED["DRAW"]


def recipe(folder):
    return [*SHARED["studies"](folder), *DRAW, "preprocess.0.spacing=[6.0, 5.0, 4.0]"]
