"""Two layers, N5 and Zarr, with a coarser level each and a corner of padding; cubes of 16."""

import json

import numpy as np
import tensorstore as ts


def recipe(folder):
    for seed, (name, driver) in enumerate({"fly.n5": "n5", "worm.zarr": "zarr3"}.items()):
        voxels = np.random.default_rng(seed).integers(1, 256, (48, 48, 64), np.uint8)
        voxels[:20, :20] = 0
        for level in range(2):
            part = voxels[:: 1 + level, :: 1 + level, :: 1 + level]
            spec = {"driver": driver, "kvstore": f"file://{folder}/{name}/s{level}/"}
            if driver == "n5":
                spec["metadata"] = {"downsamplingFactors": [1 + level] * 3, "pixelResolution": {"dimensions": [4, 4, 8], "unit": "nm"}}
            store = ts.open(spec, dtype="uint8", shape=part.shape[:: -1 if driver == "n5" else 1], create=True).result()
            store.write(part.transpose() if driver == "n5" else part).result()
    (folder / "fly.n5/attributes.json").write_text("{}")
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    datasets = [
        {"path": f"s{i}", "coordinateTransformations": [{"type": "scale", "scale": [8 * (1 + i), 4 * (1 + i), 4 * (1 + i)]}]}
        for i in range(2)
    ]
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}},
    }
    (folder / "worm.zarr/zarr.json").write_text(json.dumps(group))
    rows = ["volume_name,download_url,mip,voxel_x,voxel_y,voxel_z,crop_size,invert"]
    rows += ["fly,n5://file://fly.n5,0,4,4,8,16,true", "worm,zarr://file://worm.zarr,0,,,,16,false"]
    (folder / "layers.csv").write_text("\n".join(rows) + "\n")
    return [f"source.table={folder / 'layers.csv'}", f"source.root={folder}", "rois.0.count=5", "source.layers.overview.coarser=4"]
