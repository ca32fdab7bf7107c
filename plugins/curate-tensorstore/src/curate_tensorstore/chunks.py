"""The chunks of a volume: which lie under a box, and which are known to be stored."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from attrs import frozen

from curate_core.arrays import Box

Index = tuple[int, ...]
"""Number of a chunk along each axis."""

KNOWN_CHUNKS = 1_000_000
"""More than these are not remembered of a volume: some hundred bytes each."""


@frozen
class ChunkGrid:
    """Where the chunks of an array lie.

    Attributes:
        shape: of the array.
        chunk: voxels of a whole chunk along each axis.
        origin: where chunk 0 begins along each axis; within the array or before it.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    origin: tuple[int, ...]

    def under(self, where: Box) -> Iterator[tuple[Index, Box]]:
        """The chunks that a box touches, and the part of the array that each is, in index order."""
        spans = [
            range((s.start - first) // step, -((first - s.stop) // step)) if s.start < s.stop else range(0)
            for s, step, first in zip(where, self.chunk, self.origin, strict=True)
        ]
        for index in product(*spans):
            yield index, self.box(index)

    def box(self, index: Index) -> Box:
        """The part of the array that a chunk is; chunks at the border are cut off there."""
        corners = [first + i * step for i, step, first in zip(index, self.chunk, self.origin, strict=True)]
        return tuple(slice(max(0, a), min(a + step, n)) for a, step, n in zip(corners, self.chunk, self.shape, strict=True))


def shared(a: Box, b: Box) -> Box:
    """What two boxes that touch have in common."""
    return tuple(slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a, b, strict=True))


def voxels(where: Box) -> int:
    """Voxels of a box."""
    count = 1
    for s in where:
        count *= s.stop - s.start
    return count


class Presence:
    """Which chunks of a volume are stored, as far as this process has asked."""

    def __init__(self) -> None:
        self._stored: dict[Index, bool] = {}

    def known(self, index: Index) -> bool | None:
        """Whether a chunk is stored; None: nobody has asked."""
        return self._stored.get(index)

    def note(self, index: Index, *, stored: bool) -> None:
        """Remember an answer."""
        if len(self._stored) >= KNOWN_CHUNKS:
            self._stored.clear()
        self._stored[index] = stored


_presence: dict[tuple[str, str, int], Presence] = {}


def presence_of(url: str, inside: str, level: int) -> Presence:
    """What is known of the chunks of a level: one record in a process, that lives as long as it does."""
    return _presence.setdefault((url, inside, level), Presence())
