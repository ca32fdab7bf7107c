"""Patches of two images, and an untrained network that looks at them small."""

import numpy as np
import pytest

from curate_core.runner import run


def recipe(folder):
    torch = pytest.importorskip("torch")
    resnet = pytest.importorskip("curate_classify.resnet")
    (folder / "images").mkdir()
    for number, name in enumerate(("one", "two")):
        np.save(folder / "images" / f"{name}.npy", np.random.default_rng(number).integers(0, 256, (3, 32, 64), dtype=np.uint8))
    spec = {
        "version": 1,
        "name": "patches",
        "source": {"use": "files", "pattern": "images/{case}.npy"},
        "rois": [{"use": "grid", "size": 32, "planes": ["xy"]}],
        "write": [{"use": "npy", "path": "{case}/{case}_{roi}.npy"}],
        "output": "patches",
    }
    run(spec, folder=folder, workers=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        torch.save(resnet.ResNet34().state_dict(), folder / "weights.pth")
    return [
        f'source.path=["{folder / "patches"}"]',
        f"filter.0.weights={folder / 'weights.pth'}",
        "filter.0.threshold=0",
        "filter.0.size=32",
    ]
