"""The filter that keeps informative patches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import frozen

from curate_core import Batch, Context, Features, Filter, NDArray, Verdict, Worker, option

_ACTIVATION = 400
"""Bytes that the network holds at once for a pixel of its input, measured: about 20 MB for a patch of 224 x 224."""


@frozen
class InformativePatch(Filter):
    """Keep patches that a ResNet34 calls informative, the classifier behind CEM500K.

    A sample is resized bilinearly to what the network was trained on, normalised as ImageNet was, and stays where the sigmoid of the
    network's output exceeds the threshold; that probability is its score.

    Examples::

        "filter": [{"use": "informative-patch"}]
        "filter": [{"use": "informative-patch", "weights": "patch_quality_classifier_nn.pth", "threshold": 0.6}]
    """

    version: ClassVar[int] = 1
    weights: Path | None = option(doc="File of weights; null: the published ones, downloaded once.", default=None, content=True)
    threshold: float = option(doc="Probability above which a sample stays.", default=0.5, ge=0, le=1)
    batch: int = option(doc="Samples that the network sees at once; on a processor 16 is about the fastest.", default=16, ge=1)
    size: int = option(doc="Pixels a side that samples are resized to: what the network was trained on.", default=224, ge=32)
    device: str = option(doc='"auto": the worker\'s own accelerator, or any; else a name such as "cpu" or "cuda:1".', default="auto")
    array: str | None = option(doc="The array of the samples to look at; null: their only one.", default=None)
    url: str | None = option(doc="Where weights are downloaded from when no file is named; null: where they were published.", default=None)
    sha256: str | None = option(doc="Checksum that downloaded weights must have; null: that of the first download.", default=None)

    def setup(self, worker: Worker) -> Any:
        import torch

        from curate_classify.weights import PUBLISHED, fetch, load_model

        if worker.index:
            torch.set_num_threads(1)  # the workers share the cores; the result does not depend on it
        file = self.weights if self.weights is not None else fetch(self.url or PUBLISHED, self.sha256)
        device = _device(self.device, worker)
        return load_model(file).to(device).to(memory_format=torch.channels_last), device

    def needs(self) -> Mapping[str, float]:
        return {} if self.device == "cpu" else {"gpu": 1}

    def estimate(self, nbytes: int) -> int:
        return nbytes + self.batch * self.size**2 * _ACTIVATION

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        import torch

        from curate_classify.images import grey_images, to_input

        model, device = context.state
        images = grey_images(batch.array(self.array), f"case {batch.case.id}")
        found = []
        with torch.inference_mode():
            for first in range(0, len(images), self.batch):
                seen = to_input(images[first : first + self.batch], self.size).to(device).to(memory_format=torch.channels_last)
                found.append(torch.sigmoid(model(seen))[:, 0].cpu().numpy())
        return {"probability": np.concatenate(found).astype(np.float32)}

    def keep(self, features: Features, context: Context) -> Verdict:
        probability = features.columns["probability"]
        return Verdict(probability > np.float32(self.threshold), probability.astype(np.float64))


def _device(name: str, worker: Worker) -> str:
    import torch

    if name != "auto":
        return name
    if worker.device != "cpu":
        return worker.device
    return "cuda" if torch.cuda.is_available() else "cpu"
