"""Random patches of finished samples."""

import pickle

import numpy as np
import pytest

import curate_core
from curate_core.errors import RequestError
from curate_core.testing import values


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "data").mkdir()
    for number, case in enumerate("abc"):
        for layer in ("ct", "pet"):
            np.save(tmp_path / "data" / f"{case}-{layer}.npy", values((10 + number, 20, 24), "uint16", (number, layer)))
    spec = {
        "version": 1,
        "name": "volumes",
        "source": {"use": "files", "pattern": "data/{case}-{layer}.npy"},
        "rois": [{"use": "whole"}],
        "write": [{"use": "npy", "path": "{case}/{array}.npy"}],
        "output": "out",
    }
    curate_core.run(spec, folder=tmp_path, workers=0)
    return curate_core.open(tmp_path / "out")


def test_patches_are_boxes_of_their_sample_at_one_place_in_all_arrays(dataset):
    patches = curate_core.Patches(dataset, (4, 5, 6), per_sample=20, seed=3)
    assert len(patches) == 60
    for i in range(60):
        found, whole = patches[i], dataset[i // 20]
        assert found["ct"].shape == (4, 5, 6)
        windows = np.lib.stride_tricks.sliding_window_view(whole["ct"], (4, 5, 6))
        places = np.argwhere((windows == found["ct"]).all(axis=(3, 4, 5)))
        assert len(places) == 1
        z, y, x = places[0]
        assert np.array_equal(found["pet"], whole["pet"][z : z + 4, y : y + 5, x : x + 6])


def test_every_place_is_drawn_the_last_ones_included(dataset):
    patches = curate_core.Patches(dataset, (9, 20, 24), per_sample=200)
    starts = {int(np.flatnonzero(dataset[0]["ct"][:, 0, 0] == patches[i]["ct"][0, 0, 0])[0]) for i in range(200)}
    assert starts == {0, 1}


def test_a_seed_an_epoch_and_an_index_say_it_all(dataset):
    patches = curate_core.Patches(dataset, (4, 5, 6), per_sample=3, seed=1, arrays=["pet"])
    first = [patches[i]["pet"] for i in range(9)]
    twin = pickle.loads(pickle.dumps(patches))
    assert list(twin[8]) == ["pet"]
    assert all(np.array_equal(twin[i]["pet"], first[i]) for i in reversed(range(9)))
    assert np.array_equal(patches[-1]["pet"], first[8])
    patches.set_epoch(1)
    assert not all(np.array_equal(patches[i]["pet"], first[i]) for i in range(9))
    assert not np.array_equal(curate_core.Patches(dataset, (4, 5, 6), seed=2)[0]["pet"], first[0])


def test_a_patch_may_be_changed(dataset):
    patch = curate_core.Patches(dataset, (4, 5, 6))[0]["ct"]
    patch += 1
    assert dataset.verify() == []


def test_samples_that_are_too_small(dataset):
    patches = curate_core.Patches(dataset, (16, 8, 8))
    with pytest.raises(
        RequestError, match=r"sample a:.*: patches of \[16, 8, 8\] do not fit into the sample of \[10, 20, 24\] \(give a pad"
    ):
        patches[0]
    padded = curate_core.Patches(dataset, (16, 8, 8), pad=7)[0]["ct"]
    assert padded.shape == (16, 8, 8)
    assert (padded[:3] == 7).all()
    assert (padded[13:] == 7).all()
    assert not (padded[3] == 7).all()


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"size": ()}, r"patches of \[\], 1 a sample: every number must be at least 1"),
        ({"size": (0, 4)}, "every number must be at least 1"),
        ({"size": (4,), "per_sample": 0}, "every number must be at least 1"),
    ],
)
def test_what_cannot_be(dataset, how, text):
    with pytest.raises(RequestError, match=text):
        curate_core.Patches(dataset, **how)


def test_mistakes_are_named(dataset):
    with pytest.raises(RequestError, match="sample 0 has the arrays ct, pet, not mr"):
        curate_core.Patches(dataset, (4, 4, 4), arrays=["mr"])[0]
    with pytest.raises(RequestError, match=r"need arrays of one shape along their last 4 axes"):
        curate_core.Patches(dataset, (1, 4, 4, 4))[0]
    with pytest.raises(IndexError, match="patch 3 of 3"):
        curate_core.Patches(dataset, (4, 4, 4))[3]
    with pytest.raises(IndexError, match="patch -4 of 3"):
        curate_core.Patches(dataset, (4, 4, 4))[-4]
