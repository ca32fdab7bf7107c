"""Small studies for specs/pet/self_supervised.json."""

import runpy
from pathlib import Path

SHARED = runpy.run_path(str(Path(__file__).with_name("pet_studies.py")))


def recipe(folder):
    return [*SHARED["studies"](folder), "rois.0.size=[4, 4, 4]", "preprocess.0.spacing=[4.0, 4.0, 5.0]"]
