"""What curate-pet offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1
_HERE = "curate_pet"


@hookimpl
def curate_register_sources() -> Iterator[Provider]:
    """Studies of many centers."""
    yield Provider("source", "cohorts", "Patients of a layered tree, drawn into splits and pairs.", f"{_HERE}.cohorts:CohortsSource")


@hookimpl
def curate_register_preprocessors() -> Iterator[Provider]:
    """Geometry and intensity of whole layers."""
    yield Provider("preprocessor", "resample", "Onto another layer's grid, or to a spacing, in world space.", f"{_HERE}.resample:Resample")
    yield Provider("preprocessor", "check-grids", "Refuse layers that do not share a grid, saying why.", f"{_HERE}.grids:CheckGrids")
    yield Provider("preprocessor", "reorient", "Turn and flip axes to RAS or another orientation.", f"{_HERE}.grids:Reorient")
    yield Provider("preprocessor", "crop-to-foreground", "Keep the box around a layer's foreground.", f"{_HERE}.cropping:CropToForeground")
    yield Provider("preprocessor", "clip", "Take values beyond limits back to them.", f"{_HERE}.intensity:Clip")
    yield Provider("preprocessor", "window", "Map an intensity window to a range.", f"{_HERE}.intensity:Window")
    yield Provider("preprocessor", "z-score", "Zero mean and unit variance of whole layers.", f"{_HERE}.intensity:ZScore")


@hookimpl
def curate_register_roi_finders() -> Iterator[Provider]:
    """Where there is something to learn from."""
    yield Provider("roi_finder", "foreground", "Every box with enough voxels above a threshold.", f"{_HERE}.foreground:Foreground")
    yield Provider("roi_finder", "label-centers", "Boxes around labelled lesions, balanced by label.", f"{_HERE}.lesions:LabelCenters")


@hookimpl
def curate_register_filters() -> Iterator[Provider]:
    """By the boxes of ROIs alone."""
    yield Provider("filter", "prune-overlap", "Drops ROIs that overlap another one too much.", f"{_HERE}.prune:PruneOverlap")


@hookimpl
def curate_register_importers() -> Iterator[Provider]:
    """Configurations of other systems."""
    yield Provider("importer", "nucli", "data_cfg.yaml of nucli-train.", f"{_HERE}.nucli:NucliImporter")
