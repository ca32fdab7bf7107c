"""Small layers of sections, as precomputed volumes of several mips, and files of pairs."""

import h5py
import numpy as np
import tensorstore as ts

OFFSET = (512, 1024, 100)
"""x, y and z of the first voxel, of mip 0."""
SIDE, DEPTH = 2048, 6
"""Voxels of mip 0 along x and y, and sections."""
FINEST = 8.0


def write_layer(folder, name, mip, values):
    """A precomputed layer whose scales go down to a mip, of which that alone is there; values (x, y, z, c)."""
    for level in range(mip + 1):
        scale = {
            "resolution": [FINEST * 2**level, FINEST * 2**level, 40.0],
            "size": [SIDE >> level, SIDE >> level, DEPTH],
            "voxel_offset": [OFFSET[0] >> level, OFFSET[1] >> level, OFFSET[2]],
            "chunk_size": [32, 32, 1],
            "encoding": "raw",
            "key": f"mip{level}",
        }
        kind = {"type": "image", "data_type": values.dtype.name, "num_channels": values.shape[3]}
        spec = {
            "driver": "neuroglancer_precomputed", "kvstore": f"file://{folder}/layers/{name}/", "multiscale_metadata": kind,
            "scale_metadata": scale,
        }  # fmt: skip
        store = ts.open(spec, create=True).result()
    store[ts.d[:].translate_to[0]].write(values).result()


def write_site(folder, seed=0):
    """Layers image (mip 5), field (mip 8), fold (mip 6) and tissue (mip 4), and three points."""
    rng = np.random.default_rng(seed)
    image = rng.integers(1, 256, (64, 64, DEPTH, 1)).astype(np.uint8)
    image[10:14, 20:30] = 0
    field = rng.normal(0, 60, (8, 8, DEPTH, 2)).astype(np.float32)
    fold, tissue = np.zeros((32, 32, DEPTH, 1), np.uint8), np.zeros((128, 128, DEPTH, 1), np.uint8)
    fold[5:9, 20:24], tissue[60:70, ::9] = 255, 200
    for name, mip, values in (("image", 5, image), ("field", 8, field), ("fold", 6, fold), ("tissue", 4, tissue)):
        write_layer(folder, name, mip, values)
    points = [(512 + 700.5, 1024 + 600, 103), (512 + 800, 1024 + 1000.25, 104), (512 + 600, 1024 + 700, 105)]
    rows = ["Coordinate 1,Description,Type", *(f'"({x}, {y}, {z})",spot {i},Point' for i, (x, y, z) in enumerate(points))]
    (folder / "points.csv").write_text("\n".join(rows) + "\n")


def write_pairs(folder, count=3, size=(40, 48), seed=0):
    """Two files of pairs (n, 2, x, y), the second image of each a little further, and their fields."""
    rng = np.random.default_rng(seed)
    for number in range(2):
        base = np.kron(rng.normal(size=(count, size[0] // 4, size[1] // 4)), np.ones((4, 4)))
        images = np.stack([base, np.roll(base, (1 + number, -2), (1, 2))], axis=1).astype(np.float32)
        for name, values in ((f"x{number}_y0_z0_MIP5", images), (f"field_0_x{number}_y0_z0_MIP5_test", np.zeros((count, 2, *size), "f4"))):
            with h5py.File(folder / f"{name}.h5", "w") as file:
                file["main"] = values
