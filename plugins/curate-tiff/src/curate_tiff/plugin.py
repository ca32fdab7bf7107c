"""What curate-tiff offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """TIFF in its dialects; ``.ome.tif`` and the like end in ``.tif`` too, named so that they win over shorter claims."""
    suffixes = (".tif", ".tiff", ".ome.tif", ".ome.tiff", ".btf")
    yield Provider("reader", "tiff", "TIFF pages, stacks, ImageJ hyperstacks and OME-TIFF.", "curate_tiff.reader:TiffReader", suffixes)


@hookimpl
def curate_register_writers() -> Iterator[Provider]:
    """Patches and stacks."""
    yield Provider("writer", "tiff", "One TIFF file a sample array.", "curate_tiff.writer:TiffWriter")
