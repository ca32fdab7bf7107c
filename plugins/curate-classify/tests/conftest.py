"""A small world: two kinds of patches, weights that tell them apart or not, and datasets of them."""

import numpy as np
import pytest
import torch
from curate_classify.resnet import ResNet34

import curate_core

torch.set_num_threads(1)  # small tensors, and tests beside each other


def good_patch(generator, size=48):
    """Blobs with edges, as membranes have them."""
    y, x = np.mgrid[:size, :size]
    image = np.full((size, size), 120.0)
    for _ in range(6):
        cy, cx, radius = generator.uniform(0, size, 2).tolist() + [generator.uniform(4, 12)]
        ring = np.abs(np.hypot(y - cy, x - cx) - radius) < 1.5
        image[ring] = generator.uniform(0, 60)
    return np.clip(image + generator.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def bad_patch(generator, size=48):
    """Noisy resin."""
    return np.clip(generator.normal(generator.uniform(90, 170), 12, (size, size)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Weights of an untrained network: real in all but their worth."""
    file = tmp_path_factory.mktemp("weights") / "weights.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = ResNet34()
    torch.save(model.state_dict(), file)
    return file


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory):
    """Make a dataset of patches: case -> (n, h, w) uint8; gives its folder."""

    def make(name, cases):
        folder = tmp_path_factory.mktemp(name)
        (folder / "data").mkdir()
        for case, images in cases.items():
            np.save(folder / "data" / f"{case}.npy", images)
        size = next(iter(cases.values())).shape[1]
        spec = {
            "version": 1,
            "name": name,
            "source": {"use": "files", "pattern": "data/{case}.npy"},
            "rois": [{"use": "grid", "size": size, "planes": ["xy"]}],
            "write": [{"use": "npy", "path": "{case}/{case}-{index:03}.npy"}],
            "output": name,
        }
        curate_core.run(spec, folder=folder, workers=0)
        return folder / name

    return make


@pytest.fixture(scope="session")
def labelled(make_dataset):
    """A dataset of six sources, and which of its samples are good."""
    generator = np.random.default_rng(5)
    cases, truth = {}, []
    for case in "abcdef":
        good = generator.random(20) < 0.5
        cases[case] = np.stack([(good_patch if g else bad_patch)(generator) for g in good])
        truth += good.tolist()
    return make_dataset("labelled", cases), np.array(truth)
