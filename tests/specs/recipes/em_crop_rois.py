"""Two volumes that are large enough to be cropped, and a small one."""

import mrcfile
import numpy as np
import SimpleITK
import tifffile


def recipe(folder):
    rng = np.random.default_rng(0)
    with mrcfile.new(folder / "cell.mrc") as file:
        file.set_data(rng.integers(1, 100, (40, 40, 48), np.int16))
        file.voxel_size = (40, 40, 60)
    image = SimpleITK.GetImageFromArray(rng.integers(1, 100, (36, 50, 40), np.uint8))
    image.SetSpacing((4e-6, 4e-6, 8e-6))
    SimpleITK.WriteImage(image, str(folder / "neuron.nrrd"))
    tifffile.imwrite(folder / "small.tif", rng.integers(1, 100, (5, 12, 15), np.uint8), photometric="minisblack")
    return [f"source.root={folder}", "rois.0.size=16", "rois.0.count=4", "rois.0.min_gb=5e-5"]
