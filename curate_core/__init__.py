"""curate: raw scientific images become training sets.

What plugin authors and users import stands here; each name is loaded at first use, so that ``import curate_core`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

_HOMES = {
    "curate_core.arrays": ["ArrayLike", "LazyArray", "MapArray", "NDArray", "OpenedArray", "read", "slabs"],
    "curate_core.batch": ["Batch"],
    "curate_core.dataset": ["Dataset"],
    "curate_core.deprecation": ["CurateDeprecationWarning", "deprecated"],
    "curate_core.errors": ["CurateError", "PluginError", "RequestError", "RunError", "SourceError", "SpecError", "StepError"],
    "curate_core.finding": ["find_rois"],
    "curate_core.functions": ["filter", "preprocessor", "reader", "roi_finder", "transform"],
    "curate_core.grid": ["Grid"],
    "curate_core.hookspec": ["hookimpl"],
    "curate_core.kinds": [
        "Command", "Context", "Engine", "EngineSession", "Features", "Filter", "HOOK_API", "Importer", "Outcome", "Piece", "Placement",
        "Preprocessor", "Reader", "RoiFinder", "Scope", "Source", "Transform", "Unit", "Verdict", "Worker", "WriteSession", "Writer",
    ],
    "curate_core.model": ["Case", "CaseSource", "Image", "LayerSource", "Plain", "Role", "Tractogram"],
    "curate_core.options": ["option"],
    "curate_core.patches": ["Patches"],
    "curate_core.providers": ["Provider"],
    "curate_core.rois": ["RoiTable", "View"],
    "curate_core.runner": ["run"],
    "curate_core.streaming": ["open"],
    "curate_core.structure": ["ByteSize"],
    "curate_core.summary": ["Summary"],
    "curate_core.writing": ["FileWriter"],
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

if TYPE_CHECKING:
    from curate_core.arrays import ArrayLike, LazyArray, MapArray, NDArray, OpenedArray, read, slabs
    from curate_core.batch import Batch
    from curate_core.dataset import Dataset
    from curate_core.deprecation import CurateDeprecationWarning, deprecated
    from curate_core.errors import CurateError, PluginError, RequestError, RunError, SourceError, SpecError, StepError
    from curate_core.finding import find_rois
    from curate_core.functions import filter, preprocessor, reader, roi_finder, transform
    from curate_core.grid import Grid
    from curate_core.hookspec import hookimpl
    from curate_core.kinds import (
        HOOK_API,
        Command,
        Context,
        Engine,
        EngineSession,
        Features,
        Filter,
        Importer,
        Outcome,
        Piece,
        Placement,
        Preprocessor,
        Reader,
        RoiFinder,
        Scope,
        Source,
        Transform,
        Unit,
        Verdict,
        Worker,
        Writer,
        WriteSession,
    )
    from curate_core.model import Case, CaseSource, Image, LayerSource, Plain, Role, Tractogram
    from curate_core.options import option
    from curate_core.patches import Patches
    from curate_core.providers import Provider
    from curate_core.rois import RoiTable, View
    from curate_core.runner import run
    from curate_core.streaming import open
    from curate_core.structure import ByteSize
    from curate_core.summary import Summary
    from curate_core.writing import FileWriter

__version__ = "0.1.0"

__all__ = [
    "HOOK_API", "ArrayLike", "Batch", "ByteSize", "Case", "CaseSource", "Command", "Context", "CurateDeprecationWarning", "CurateError",
    "Dataset", "Engine", "EngineSession", "Features", "FileWriter", "Filter", "Grid", "Image", "Importer", "LayerSource", "LazyArray",
    "MapArray", "NDArray", "OpenedArray", "Outcome", "Patches", "Piece", "Placement", "Plain", "PluginError", "Preprocessor", "Provider",
    "Reader", "RequestError", "RoiFinder", "RoiTable", "Role", "RunError", "Scope", "Source", "SourceError", "SpecError", "StepError",
    "Summary", "Tractogram", "Transform", "Unit", "Verdict", "View", "Worker", "WriteSession", "Writer", "deprecated", "filter",
    "find_rois", "hookimpl", "open", "option", "preprocessor", "read", "reader", "roi_finder", "run", "slabs", "transform",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        from importlib import import_module

        return getattr(import_module(_HOME_OF[name]), name)
    if name.startswith("_"):
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from curate_core.deprecation import moved

    return moved(name)
