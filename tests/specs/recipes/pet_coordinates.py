"""Small studies, and the places that specs/pet/npy.json finds in them."""

import runpy
from pathlib import Path

from curate_core.cli.main import main

SHARED = runpy.run_path(str(Path(__file__).with_name("pet_studies.py")))
NPY = Path(__file__).parents[3] / "specs" / "pet" / "npy.json"


def recipe(folder):
    settings = [*SHARED["studies"](folder / "studies"), *SHARED["DRAW"], "rois.0.size=[4, 4, 4]"]
    words = [word for setting in settings for word in ("--set", setting)]
    assert main(["rois", str(NPY), "-o", str(folder / "coords"), "-q", *words]) == 0
    return [*settings, f"rois.0.file={folder / 'coords'}"]
