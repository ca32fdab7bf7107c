"""MRC files on the whole path, found by their suffix."""

from __future__ import annotations

import gzip
from pathlib import Path

import mrcfile
import numpy as np

from curate_core.testing import run_spec, values


def test_volumes_become_samples(tmp_path: Path) -> None:
    voxels = {}
    for name, dtype in (("a", "int8"), ("b", "uint16"), ("c", "float32")):
        voxels[name] = np.array(values((5, 6, 7), dtype, name))
        path = tmp_path / f"{name}.mrc"
        with mrcfile.new(path) as file:
            file.set_data(voxels[name])
            file.voxel_size = 40.0
    packed = tmp_path / "c.mrc"
    (tmp_path / "c.mrc.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    spec = {
        "source": {"use": "files", "pattern": "{case}.{ext}"},
        "rois": [{"use": "grid", "size": [2, 3, 7]}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
    }
    dataset = run_spec(spec, tmp_path)
    assert len(dataset) == 3 * 2 * 2
    for name, array in voxels.items():
        np.testing.assert_array_equal(np.load(tmp_path / "out" / name / "z2-4_y3-6_x0-7.npy"), array[2:4, 3:6])
