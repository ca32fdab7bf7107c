"""Finding ROIs from Python, with the spec's finders or with a plain function in their place."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
from attrs import frozen

from curate_core.host import Host, default_host
from curate_core.kinds import Context, RoiFinder
from curate_core.model import Case, Plain
from curate_core.plan import case_rois
from curate_core.rois import RoiTable
from curate_core.spec import Step, load, validate

Finder = Callable[[Case, Context], RoiTable]


@frozen
class _Function(RoiFinder):
    """A plain function as a finder."""

    function: Finder

    def find(self, case: Case, context: Context) -> RoiTable:
        return self.function(case, context)


def find_rois(
    spec: str | os.PathLike[str] | Mapping[str, Plain],
    *,
    finder: Finder | None = None,
    max_overlap: float | None = None,
    settings: Sequence[str] = (),
    host: Host | None = None,
    folder: Path | None = None,
    allow_local_code: bool = False,
) -> dict[str, RoiTable]:
    """Find the ROIs of every case of a spec; nothing is written.

    The spec's filters that need no pixels, and judge no more than a case, have acted.

    Args:
        spec: a JSON file, or the spec as plain values.
        finder: takes the place of the spec's ROI finders: ``finder(case, context) -> RoiTable``. ``case.layers`` are the preprocessed
            layers, ``context.rng()`` draws.
        max_overlap: of two ROIs of a case along every axis at once, as a share of their size; needs curate-pet. None: any.
        settings: overrides, ``"rois.0.size=256"``.
        host: plugins; the installed ones by default.
        folder: where relative paths of a spec given as values start.
        allow_local_code: Python files that the spec names under ``plugins`` may run.

    Returns:
        case id -> its ROIs.

    Raises:
        RequestError: the spec is wrong.
        SourceError, StepError: a case cannot be read or searched.
    """
    host = host or default_host()
    loaded = load(spec, host, settings, folder, local_code=allow_local_code)
    if max_overlap is not None:
        given = dict(loaded.given)
        filters = given.get("filter", [])
        assert isinstance(filters, list)
        given["filter"] = [{"use": "prune-overlap", "max_overlap": max_overlap}, *filters]
        loaded = validate(given, host, loaded.folder, "spec", local_code=allow_local_code)
    if finder is not None:
        name = getattr(finder, "__name__", "finder")
        step = Step("roi_finder", name, name, "finder", None, {}, _Function(finder), None, {}, (), loaded.folder)
        loaded = attrs.evolve(loaded, rois=(step,))
    return {case: table for case, table, _ in case_rois(loaded, loaded.host)}
