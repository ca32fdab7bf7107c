"""What curate-tensorstore offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """Folders of chunks."""
    suffixes = (".zarr/", ".n5/", ".precomputed/")  # of folders
    summary = "OME-Zarr, N5 and neuroglancer precomputed, local and remote, at any level."
    yield Provider("reader", "tensorstore", summary, "curate_tensorstore.reader:TensorStoreReader", suffixes)


@hookimpl
def curate_register_transforms() -> Iterator[Provider]:
    """What is asked of chunks before samples are cut."""
    summary = "Tells how much of each sample its source does not store."
    yield Provider("transform", "missing-chunks", summary, "curate_tensorstore.missing:MissingChunks")


@hookimpl
def curate_register_writers() -> Iterator[Provider]:
    """Layers for neuroglancer."""
    summary = "Samples as sections of one neuroglancer precomputed layer."
    yield Provider("writer", "precomputed", summary, "curate_tensorstore.precomputed:PrecomputedWriter")
