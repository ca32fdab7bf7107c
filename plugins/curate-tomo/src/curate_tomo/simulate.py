"""Cases without files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from attrs import frozen

from curate_core import CaseSource, LayerSource, Source, option


@frozen
class SimulateSource(Source):
    """Simulated samples: numbered cases without files, whose layers come from readers that compute.

    The id of a case is its number; a sample is the same whichever others are made with it. ``--append --set source.start=5`` continues a
    dataset of samples 0 to 4.

    Example::

        "source": {"use": "simulate", "samples": 10, "start": 0},
        "read": {"clean": {"use": "sphere-foam", "size": 256}}
    """

    version: ClassVar[int] = 1
    samples: int = option(doc="Samples to make.", default=1, ge=1)
    start: int = option(doc="Number of the first.", default=0, ge=0)
    layers: tuple[str, ...] = option(doc="Layers of each, to be named under read.", default=("clean",), min_length=1)

    def __attrs_post_init__(self) -> None:
        if len(set(self.layers)) < len(self.layers):
            message = f"layers: {list(self.layers)} names a layer twice"
            raise ValueError(message)

    def find(self) -> Iterable[CaseSource]:
        for number in range(self.start, self.start + self.samples):
            yield CaseSource(str(number), {name: LayerSource() for name in self.layers}, {"sample": number})
