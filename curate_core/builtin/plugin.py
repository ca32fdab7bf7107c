"""What the core offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core.hookspec import hookimpl
from curate_core.providers import Provider

CURATE_HOOK_API = 1
_HERE = "curate_core.builtin"


@hookimpl
def curate_register_sources() -> Iterator[Provider]:
    """Cases from files, from tables and from curated datasets."""
    yield Provider("source", "files", "Files that fit a pattern with named fields.", f"{_HERE}.files:FilesSource")
    yield Provider("source", "list", "Cases written in the spec, or in a JSON or CSV table.", f"{_HERE}.table:ListSource")
    yield Provider("source", "dataset", "Samples of curated datasets, to filter or rewrite.", f"{_HERE}.from_dataset:DatasetSource")


@hookimpl
def curate_register_readers() -> Iterator[Provider]:
    """Arrays without a format library."""
    yield Provider("reader", "npy", "NumPy .npy files, memory-mapped.", f"{_HERE}.readers:NpyReader", suffixes=(".npy",))
    yield Provider("reader", "raw", "Bare voxels of given shape and dtype, memory-mapped.", f"{_HERE}.readers:RawReader")
    yield Provider("reader", "samples", "The samples of one case of a curated dataset.", f"{_HERE}.from_dataset:SamplesReader")


@hookimpl
def curate_register_preprocessors() -> Iterator[Provider]:
    """Value and axis changes of whole layers, all lazy."""
    yield Provider("preprocessor", "to-uint8", "Scale to 0..255 by type range, min-max or percentiles.", f"{_HERE}.scale:ToUint8")
    yield Provider("preprocessor", "pick-channel", "Keep one channel, or the luminance.", f"{_HERE}.preprocess:PickChannel")
    yield Provider("preprocessor", "invert", "Swap dark and bright.", f"{_HERE}.preprocess:Invert")
    yield Provider("preprocessor", "crop", "Keep a box of each layer.", f"{_HERE}.preprocess:Crop")
    yield Provider("preprocessor", "transpose", "Put the axes in another order.", f"{_HERE}.preprocess:Transpose")


@hookimpl
def curate_register_roi_finders() -> Iterator[Provider]:
    """ROIs that follow from geometry, a file or a seed."""
    yield Provider("roi_finder", "whole", "Each layer as a whole.", f"{_HERE}.rois:Whole")
    yield Provider("roi_finder", "each", "One sample for each position along an axis.", f"{_HERE}.rois:Each")
    yield Provider("roi_finder", "grid", "A regular grid of 2D planes or 3D boxes.", f"{_HERE}.rois:GridRois")
    yield Provider("roi_finder", "samples", "The samples of a curated dataset as they are.", f"{_HERE}.from_dataset:SampleRois")
    yield Provider("roi_finder", "list", "ROIs from a file that curate rois wrote.", f"{_HERE}.rois:ListRois")
    yield Provider("roi_finder", "coordinates", "Boxes of one size at places listed in .npy files.", f"{_HERE}.coordinates:CoordinateRois")
    yield Provider("roi_finder", "random", "Boxes at seeded random places.", f"{_HERE}.rois:RandomRois")


@hookimpl
def curate_register_transforms() -> Iterator[Provider]:
    """Changes of cut samples."""
    yield Provider("transform", "pad", "Pad samples to a size.", f"{_HERE}.transforms:Pad")
    yield Provider("transform", "cast", "Change the dtype; refuses what would lose values unless asked for.", f"{_HERE}.transforms:Cast")
    yield Provider("transform", "normalize", "Scale values to a range or to zero mean and unit variance.", f"{_HERE}.transforms:Normalize")


@hookimpl
def curate_register_filters() -> Iterator[Provider]:
    """Filters by value and by number."""
    yield Provider("filter", "intensity", "Drops blank or low-contrast samples.", f"{_HERE}.filters:Intensity")
    yield Provider("filter", "limit", "Keeps a seeded choice of so many samples.", f"{_HERE}.filters:Limit")


@hookimpl
def curate_register_writers() -> Iterator[Provider]:
    """Arrays without a format library."""
    yield Provider("writer", "npy", "NumPy .npy files: one a sample, or stacks.", f"{_HERE}.npy:NpyWriter")


@hookimpl
def curate_register_engines() -> Iterator[Provider]:
    """This machine."""
    yield Provider("engine", "local", "Worker processes on this machine.", f"{_HERE}.local:LocalEngine")
