"""What curate-blosc2 offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """Blosc2 arrays, nnU-Net's included."""
    yield Provider("reader", "blosc2", "Blosc2 arrays, memory-mapped.", "curate_blosc2.reader:Blosc2Reader", (".b2nd",))


@hookimpl
def curate_register_writers() -> Iterator[Provider]:
    """Blosc2 arrays cut for patches."""
    summary = "One Blosc2 file a sample array, in nnU-Net's blocks and chunks."
    yield Provider("writer", "blosc2", summary, "curate_blosc2.writer:Blosc2Writer")
