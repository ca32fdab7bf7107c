"""Random patches of samples in one file."""

import pickle

import numpy as np

from curate_core import Dataset, Patches
from curate_core.testing import run_spec, values


def test_random_patches_are_read_without_the_rest(tmp_path):
    volumes = {case: values((20, 24, 28), "int16", case) for case in "ab"}
    for case, volume in volumes.items():
        np.save(tmp_path / f"{case}.npy", volume)
    spec = {
        "version": 1,
        "name": "patches",
        "source": {"use": "files", "pattern": "{case}.npy"},
        "rois": [{"use": "whole"}],
        "write": [{"use": "hdf5", "file": "data.h5", "path": "{case}/{array}"}],
        "output": "out",
    }
    run_spec(spec, tmp_path)
    dataset = Dataset(tmp_path / "out")
    assert not isinstance(dataset.lazy(0)["image"], np.ndarray)
    patches = Patches(dataset, (8, 9, 10), per_sample=10)
    twin = pickle.loads(pickle.dumps(patches))
    for i in range(20):
        found, volume = patches[i]["image"], volumes["ab"[i // 10]]
        windows = np.lib.stride_tricks.sliding_window_view(volume, (8, 9, 10))
        assert (windows == found).all(axis=(3, 4, 5)).any()
        assert np.array_equal(twin[i]["image"], found)
