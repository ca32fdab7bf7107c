"""The informative-patch filter against the loop that one would write with torch, on one thread: patches a second of CPU time.

python benchmarks/classify.py [--patches 96]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from curate_classify.informative import InformativePatch
from curate_classify.resnet import ResNet34

from curate_core import Worker
from curate_core.testing import context, make_batch

BATCHES = (4, 8, 16, 32, 64)
ROUNDS = 3


def plain(model: torch.nn.Module, images: np.ndarray, batch: int) -> np.ndarray:
    """As the example of any tutorial has it."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found = []
    with torch.no_grad():
        for first in range(0, len(images), batch):
            grey = torch.from_numpy(images[first : first + batch].astype(np.float32) / 255)[:, None]
            found.append(torch.sigmoid(model((grey.expand(-1, 3, -1, -1) - mean) / std))[:, 0].numpy())
    return np.concatenate(found)


def cpu(function) -> float:
    before = time.process_time()
    function()
    return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=96)
    count = parser.parse_args().patches
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (count, 224, 224), dtype=np.uint8)
    model = ResNet34().eval()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        torch.save(model.state_dict(), weights)
        judge = InformativePatch(weights=weights)
        batch, told = make_batch(images), context(state=judge.setup(Worker()))
        ours = judge.score(batch, told)["probability"]
        np.testing.assert_allclose(ours, plain(model, images, 16), atol=1e-5)
        times: dict[object, list[float]] = {"curate": [], **{size: [] for size in BATCHES}}
        for _ in range(ROUNDS):  # interleaved, so that a busy machine slows all alike
            times["curate"].append(cpu(lambda: judge.score(batch, told)))
            for size in BATCHES:
                times[size].append(cpu(lambda size=size: plain(model, images, size)))
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        print(f"{f'plain loop, batches of {name}' if name != 'curate' else 'informative-patch':28} {count / median:6.1f} patches/s")
    best = min(median for name, median in medians.items() if name != "curate")
    print(f"ratio to the fastest plain loop: {best / medians['curate']:.2f}")


if __name__ == "__main__":
    main()
