"""Fields by block matching."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import frozen

from curate_align.generating import FieldGenerator
from curate_core import NDArray, option


@frozen
class BlockMatchingField(FieldGenerator):
    """Makes fields by matching blocks, coarse to fine: no model, no accelerator.

    Blocks are compared by normalised correlation, to a fraction of a pixel; those that disagree with their neighbours are dropped, the
    others are smoothed by a thin plate. What is 0 is not compared. Where nothing can be compared, the field follows its neighbours.

    Example::

        "transform": [{"use": "block-matching", "src": "src", "tgt": "tgt", "block": 32}]
    """

    version: ClassVar[int] = 1
    block: int = option(doc="Side of a block, pixels; even.", default=32, ge=8)
    spacing: int = option(doc="Distance between the centres of blocks, pixels.", default=16, ge=2)
    levels: int = option(doc="Levels of the pyramid, each half as large as the one before.", default=4, ge=1, le=12)
    max_displacement: float = option(doc="The longest vector, relative to the previous field, pixels.", default=64.0, gt=0)
    smoothness: float = option(doc="Resistance of the field to bending, relative to blocks that correlate perfectly.", default=1.0, ge=0)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.block % 2:
            message = f"block: {self.block} must be even"
            raise ValueError(message)

    def estimate(self, nbytes: int) -> int:
        return 24 * nbytes  # pyramids, warped images and their weights, spectra of blocks

    def field(self, src: NDArray, tgt: NDArray, previous: NDArray | None, state: Any) -> NDArray:
        from curate_align.matching import BlockMatching, match

        options = BlockMatching(
            block=self.block,
            spacing=self.spacing,
            levels=self.levels,
            max_displacement=self.max_displacement,
            smoothness=self.smoothness,
        )
        return match(src, tgt, previous, options=options)
