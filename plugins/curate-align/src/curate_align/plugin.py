"""What curate-align offers. Every curate command imports this module, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1
_HERE = "curate_align"


@hookimpl
def curate_register_sources() -> Iterator[Provider]:
    """Files of pairs."""
    yield Provider("source", "pair-files", "HDF5 files of pairs of images, and of their fields.", f"{_HERE}.pairfiles:PairFiles")


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """Layers of such files; no suffix, as those are of every HDF5 file."""
    yield Provider("reader", "pair-hdf5", "One image, or the field, of every pair of a file.", f"{_HERE}.pairfiles:PairHdf5Reader")


@hookimpl
def curate_register_preprocessors() -> Iterator[Provider]:
    """Layers of different mips on one grid."""
    yield Provider("preprocessor", "to-mip", "Layers of different mips on one grid, lazily.", f"{_HERE}.tomip:ToMip")
    yield Provider("preprocessor", "mask-union", "Thresholds layers and joins them into one mask.", f"{_HERE}.masks:MaskUnion")


@hookimpl
def curate_register_roi_finders() -> Iterator[Provider]:
    """Pairs of sections."""
    yield Provider("roi_finder", "point-pairs", "Pairs of sections at places from neuroglancer or a table.", f"{_HERE}.pairs:PointPairs")
    yield Provider("roi_finder", "stretch-pairs", "Pairs of consecutive sections of one box.", f"{_HERE}.stretch:StretchPairs")


@hookimpl
def curate_register_transforms() -> Iterator[Provider]:
    """What becomes of the sections of a pair."""
    yield Provider("transform", "follow-field", "Reads samples where a coarse field says that they are.", f"{_HERE}.following:FollowField")
    summary = "Zero mean and unit variance of a region around the sample."
    yield Provider("transform", "normalize-by-reference", summary, f"{_HERE}.referencing:NormalizeByReference")
    yield Provider("transform", "warp", "Warps one section of a pair by its field.", f"{_HERE}.warping:Warp")
    summary = "Fields of pairs by matching blocks, coarse to fine."
    yield Provider("transform", "block-matching", summary, f"{_HERE}.blockmatching:BlockMatchingField")
    yield Provider(
        "transform", "field-model", "Fields of pairs by a model: TorchScript or an exported program.", f"{_HERE}.fieldmodel:ModelField"
    )


@hookimpl
def curate_register_writers() -> Iterator[Provider]:
    """The files that aligners are trained on."""
    yield Provider("writer", "pair-hdf5", "Two HDF5 files of pairs: images and fields.", f"{_HERE}.writer:PairHdf5Writer")


@hookimpl
def curate_register_importers() -> Iterator[Provider]:
    """Configurations of other systems."""
    yield Provider("importer", "metroem", "The specification of a dataset of metroem.", f"{_HERE}.metroem:Metroem")


@hookimpl
def curate_register_commands() -> Iterator[Provider]:
    """Specifications from points."""
    yield Provider("command", "create-spec", "Fill metroem's template of a dataset with pairs.", f"{_HERE}.createspec:CreateSpec")
