"""What curate-align offers. Every curate command imports this module, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1
_HERE = "curate_align"


@hookimpl
def curate_register_preprocessors() -> Iterator[Provider]:
    """Layers of different mips on one grid."""
    yield Provider("preprocessor", "to-mip", "Layers of different mips on one grid, lazily.", f"{_HERE}.tomip:ToMip")
    yield Provider("preprocessor", "mask-union", "Thresholds layers and joins them into one mask.", f"{_HERE}.masks:MaskUnion")


@hookimpl
def curate_register_transforms() -> Iterator[Provider]:
    """What becomes of the sections of a pair."""
    yield Provider("transform", "follow-field", "Reads samples where a coarse field says that they are.", f"{_HERE}.following:FollowField")
    summary = "Zero mean and unit variance of a region around the sample."
    yield Provider("transform", "normalize-by-reference", summary, f"{_HERE}.referencing:NormalizeByReference")
    yield Provider("transform", "warp", "Warps one section of a pair by its field.", f"{_HERE}.warping:Warp")


@hookimpl
def curate_register_writers() -> Iterator[Provider]:
    """The files that aligners are trained on."""
    yield Provider("writer", "pair-hdf5", "Two HDF5 files of pairs: images and fields.", f"{_HERE}.writer:PairHdf5Writer")
