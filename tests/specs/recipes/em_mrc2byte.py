"""Three small volumes in three modes."""

import mrcfile
import numpy as np


def recipe(folder):
    rng = np.random.default_rng(0)
    for name, dtype in (("one.mrc", "int16"), ("two.mrc", "float32"), ("three.rec", "uint16")):
        with mrcfile.new(folder / name) as file:
            file.set_data((rng.random((4, 12, 15)) * 1000).astype(dtype))
            file.voxel_size = (40, 40, 60)
    return [f"source.root={folder}"]
