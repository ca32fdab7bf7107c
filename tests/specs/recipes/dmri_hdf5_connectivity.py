"""Three subjects for specs/dmri/hdf5_connectivity.json."""

import runpy
from pathlib import Path

SHARED = runpy.run_path(str(Path(__file__).with_name("dmri_subjects.py")))


def recipe(folder):
    return SHARED["subjects"](folder)[:3]
