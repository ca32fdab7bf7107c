"""Three small volumes of two formats; tiles of 32 instead of 224."""

import numpy as np
import SimpleITK
import tifffile


def recipe(folder):
    for number, name in enumerate(("cell.nrrd", "neuron.nrrd", "synapse.tif")):
        coarse = np.random.default_rng(number).integers(0, 256, (3, 10, 12), dtype=np.uint8)
        volume = coarse.repeat(16, 0).repeat(8, 1).repeat(8, 2)
        if name.endswith(".tif"):
            tifffile.imwrite(folder / name, volume, photometric="minisblack")
        else:
            image = SimpleITK.GetImageFromArray(volume)
            image.SetSpacing((4.0, 4.0, 4.0))
            SimpleITK.WriteImage(image, str(folder / name))
    return [f"source.root={folder}", "rois.0.size=32"]
