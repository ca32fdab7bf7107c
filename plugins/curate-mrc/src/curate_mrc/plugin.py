"""What curate-mrc offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1
_PLAIN = (".mrc", ".mrcs", ".map", ".rec", ".st", ".ali")


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """MRC files, their IMOD relatives, and both compressed."""
    suffixes = (*_PLAIN, ".mrc.gz", ".mrc.bz2", ".mrcs.gz", ".map.gz", ".map.bz2", ".rec.gz", ".rec.bz2")
    yield Provider("reader", "mrc", "MRC volumes and images, memory-mapped.", "curate_mrc.reader:MrcReader", suffixes)
