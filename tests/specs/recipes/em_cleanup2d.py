"""Two groups of small images in three types."""

import numpy as np
import tifffile


def recipe(folder):
    rng = np.random.default_rng(0)
    for name, dtype in (("a/one", "uint16"), ("a/two", "float32"), ("b/three", "int16")):
        (folder / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(folder / f"{name}.tif", (rng.random((21, 30)) * 1000).astype(dtype))
    return [f"source.root={folder}"]
