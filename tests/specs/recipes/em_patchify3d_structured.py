"""Two volumes of two formats, half of each noise; tiles of 64 instead of 224."""

import numpy as np
import SimpleITK
import tifffile


def recipe(folder):
    for number, name in enumerate(("cell.nrrd", "synapse.tif")):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (6, 16, 8), dtype=np.uint8)
        volume = np.concatenate([coarse.repeat(8, 1).repeat(8, 2), rng.integers(100, 140, (6, 128, 64), np.uint8)], axis=2)
        if name.endswith(".tif"):
            tifffile.imwrite(folder / name, volume, photometric="minisblack")
        else:
            image = SimpleITK.GetImageFromArray(volume)
            image.SetSpacing((4.0, 4.0, 4.0))
            SimpleITK.WriteImage(image, str(folder / name))
    return [f"source.root={folder}", "rois.0.size=64", 'rois.0.planes=["xy"]']
