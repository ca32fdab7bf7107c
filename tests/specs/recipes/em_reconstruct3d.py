"""Two volumes, and patches of 16 that specs/em/patchify3d.json cuts from them."""

from pathlib import Path

import numpy as np
import SimpleITK

from curate_core.runner import run

PATCHIFY = Path(__file__).parents[3] / "specs" / "em" / "patchify3d.json"


def recipe(folder):
    for number, name in enumerate(("one", "two")):
        volume = np.random.default_rng(number).integers(0, 256, (20, 24, 32), dtype=np.uint8)
        image = SimpleITK.GetImageFromArray(volume)
        image.SetSpacing((4.0, 4.0, 4.0))
        SimpleITK.WriteImage(image, str(folder / f"{name}.nrrd"))
    common = [f"source.root={folder}", "source.pattern={case}.nrrd"]
    few = ["rois.0.size=16", "rois.0.spacing=4", 'filter=[{"use": "limit", "count": 6}]']
    run(PATCHIFY, settings=[*common, *few], output=folder / "patches", workers=0)
    return [*common, f"rois.0.patches={folder / 'patches' / 'manifest.jsonl'}"]
