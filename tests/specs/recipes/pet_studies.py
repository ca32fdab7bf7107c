"""What the recipes of PET share: four patients with CT, four doses and organs, of 1 x 14 x 12 x 10 voxels."""

import nibabel
import numpy as np


def studies(folder):
    """Write them, and return the settings that lead there and draw three for training and one for validation."""
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (14, 12, 10)], indexing="ij"))
    for seed, patient in enumerate(("p1", "p2", "p3", "p4")):
        rng = np.random.default_rng(seed)
        uptake = np.where((place**2).sum(0) < 0.8, 2 + rng.random((14, 12, 10)), 0)
        layers = {f"{dose}pc": (uptake + rng.random(uptake.shape) / dose).astype(np.float32) for dose in (100, 50, 25, 10)}
        layers["ct"] = rng.integers(-1000, 2000, (17, 15, 11)).astype(np.int16)
        layers["organs"] = (uptake > 0).astype(np.uint16) * 2049
        for layer, values in layers.items():
            path = folder / f"d1/a/fdg/{layer}/{patient}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image(values, np.diag([3.2, 3.2, 4.5, 1.0] if layer == "ct" else [4.0, 4.0, 5.0, 1.0]))
            image.header.set_xyzt_units("mm")
            nibabel.save(image, path)
    return [f"source.root={folder}"]


DRAW = ["source.cohorts.0.cases=3", "source.cohorts.1.cases=1"]
