"""A precomputed volume at two sites, of which a coarse level alone is there: places count its voxels of mip 0."""

import json

import numpy as np
import tensorstore as ts


def recipe(folder):
    for seed, site in enumerate(("a", "b")):
        scales = [
            {
                "key": f"{4 << mip}_{4 << mip}_40",
                "size": [1536 >> mip, 1024 >> mip, 6],
                "resolution": [4 << mip, 4 << mip, 40],
                "voxel_offset": [512 >> mip, 256 >> mip, 100],
                "chunk_sizes": [[16, 16, 1]],
                "encoding": "raw",
            }
            for mip in range(6)
        ]
        info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": scales}
        (folder / "layers" / site).mkdir(parents=True)
        (folder / "layers" / site / "info").write_text(json.dumps(info))
        spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{folder}/layers/{site}/", "scale_index": 5}
        store = ts.open(spec, open=True).result()
        store.write(np.random.default_rng(seed).integers(1, 256, store.shape, np.uint8)).result()
    cases = [{"case": site, "layers": {"image": {"uri": f"precomputed://file://layers/{site}", "mip": 5}}} for site in ("a", "b")]
    box = ["rois.0.start=[320,608]", "rois.0.z=[100,106]", "rois.0.size=[24,32]"]
    return [f"source.cases={json.dumps(cases)}", f"source.root={folder}", *box]
