"""Two groups of small images; tiles of 16 instead of 224."""

import numpy as np
import tifffile


def recipe(folder):
    rng = np.random.default_rng(0)
    for name, shape in (("a/one", (40, 50)), ("a/two", (33, 31)), ("b/three", (16, 70))):
        (folder / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(folder / f"{name}.tif", rng.integers(0, 256, shape, dtype=np.uint8))
    return [f"source.root={folder}", "rois.0.size=16"]
