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


@hookimpl
def curate_register_roi_finders() -> Iterator[Provider]:
    """Pairs of sections."""
    yield Provider("roi_finder", "point-pairs", "Pairs of sections at places from neuroglancer or a table.", f"{_HERE}.pairs:PointPairs")
    yield Provider("roi_finder", "stretch-pairs", "Pairs of consecutive sections of one box.", f"{_HERE}.stretch:StretchPairs")


@hookimpl
def curate_register_importers() -> Iterator[Provider]:
    """Configurations of other systems."""
    yield Provider("importer", "metroem", "The specification of a dataset of metroem.", f"{_HERE}.metroem:Metroem")


@hookimpl
def curate_register_commands() -> Iterator[Provider]:
    """Specifications from points."""
    yield Provider("command", "create-spec", "Fill metroem's template of a dataset with pairs.", f"{_HERE}.createspec:CreateSpec")
