"""The first stage, a case at a time: open layers, preprocess, find ROIs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray
from curate_core.cut import block_edges, check_inside, row_bytes, without_pixels
from curate_core.errors import RequestError, StepError
from curate_core.host import Host
from curate_core.keys import statistic_name
from curate_core.kinds import Context, Preprocessor
from curate_core.model import Case, CaseSource, Image, Layer, Plain, Role
from curate_core.npz import save_array
from curate_core.opening import Opener
from curate_core.parts import load_json, save_json
from curate_core.paths import TWICE, duplicate_path, path_hashes
from curate_core.rois import RoiTable
from curate_core.spec import Spec, Step
from curate_core.stages import most_samples
from curate_core.steps import blame, merged
from curate_core.survey import Survey, early_survivors

ContextOf = Callable[..., Context]
"""(step or None for reading, case id, statistics=None, folder=None) -> context."""


_NOTHING = object()


@frozen(eq=False)
class Opened:
    """A case after its preprocessing.

    Attributes:
        case: with its layers open.
        statistics: what steps measured of this case alone.
        readers: layer -> the reader that opened it.
    """

    case: Case
    statistics: Mapping[str, Plain]
    readers: Mapping[str, str]


def open_case(
    spec: Spec,
    host: Host,
    source: CaseSource,
    context_of: ContextOf,
    statistics: Mapping[str, Plain],
    folder: Path | None = None,
    until: Step | None = None,
) -> Opened:
    """Open a case's layers and preprocess them.

    Args:
        statistics: known merged values; what a step measures of this case alone is added where it is missing.
        folder: where materialised layers are kept.
        until: stop before this step.
    """
    opener = Opener(spec, host, lambda step, case: context_of(step, case.id))
    opened = {name: opener.layer(source, name) for name in source.layers}
    case = Case(source.id, {name: layer for name, (layer, _) in opened.items()}, source.attributes, source.roles)
    own: dict[str, Plain] = {}
    for step in spec.preprocess:
        if step is until:
            break
        if not step.applies(case.attributes):
            continue
        component: Preprocessor = step.component_for(case)
        name = statistic_name(step)
        with blame(step, case.id):
            if component.statistics_scope() is not None and name not in statistics:
                own[name] = merged(component, [component.measure(case, context_of(step, case.id, folder=folder))])
            case = component.apply(case, context_of(step, case.id, statistics.get(name, own.get(name)), folder))
            if not isinstance(case, Case):
                message = f"apply must give a Case, not {type(case).__name__}"
                raise TypeError(message)
            changed = [key for key, value in source.attributes.items() if case.attributes.get(key, _NOTHING) not in (value,)]
            if changed:
                message = f"apply changed the attribute {changed[0]!r}; those that the source gave must stay, others may be added"
                raise TypeError(message)
    return Opened(case, own, {name: label for name, (_, label) in opened.items()})


def find_rois(
    spec: Spec, case: Case, context_of: ContextOf, early: Sequence[Step], survey: Survey, folder: Path | None = None
) -> tuple[RoiTable, NDArray]:
    """All ROIs of a case, in the order of the spec's finders, and the rows of those that are left.

    Args:
        early: filters that act while ROIs are found.
        survey: takes note of ROIs that finders or these filters refuse.

    Raises:
        StepError: no finder applies, or a ROI that its finder does not refuse leaves its layer.
    """
    tables: list[RoiTable] = []
    for step in spec.rois:
        if not step.applies(case.attributes):
            continue
        context = context_of(step, case.id, folder=folder)
        with blame(step, case.id):
            table = step.component_for(case).find(case, context)
            if not isinstance(table, RoiTable):
                message = f"find must give a RoiTable, not {type(table).__name__}"
                raise TypeError(message)
            beyond = [row for row in context.rejected if not 0 <= row < len(table)]
            if beyond:
                message = f"find refused row {beyond[0]} of {len(table)}"
                raise IndexError(message)
            check_inside(case, table, np.array(sorted(context.rejected), np.int64))
            first = sum(map(len, tables))
            survey.rejected.update({first + row: (step.name, reason) for row, reason in context.rejected.items()})
            tables.append(table)
    if not tables:
        message = 'no ROI finder applies to the case: the "when" of each excludes it'
        raise StepError(message, where=f"case {case.id}")
    table = RoiTable.concat(tables)
    rows = np.setdiff1d(np.arange(len(table)), list(survey.rejected))
    if early and len(rows):
        ids = table.ids(case.id)
        batch = without_pixels(case, table.take(rows), [ids[row] for row in rows.tolist()], rows)
        rows = early_survivors(survey, early, batch, [context_of(step, case.id) for step in early])
    return table, rows


def prepare(
    spec: Spec,
    host: Host,
    early: tuple[Step, ...],
    source: CaseSource,
    context_of: ContextOf,
    statistics: Mapping[str, Plain],
    folder: Path,
) -> tuple[dict[str, Plain], Case]:
    """Do the stage for one case and leave its results in ``folder``; returns what the runner needs to know of them, and the open case.

    Raises:
        RequestError: two samples would take one path.
    """
    opened = open_case(spec, host, source, context_of, statistics, folder)
    case = opened.case
    survey = Survey()
    table, rows = find_rois(spec, case, context_of, early, survey, folder)
    kept = table.take(rows)
    hashes = path_hashes(spec, case, kept)
    if hashes is not None:
        save_array(folder / "paths.npy", hashes)
        duplicate = duplicate_path(spec, case, kept, hashes)
        if duplicate:
            raise RequestError(duplicate, where=f"case {case.id}", hint=TWICE)
    table.save(folder / "rois.npz")
    save_array(folder / "rows.npy", rows)
    survey.save(folder)
    sizes = row_bytes(case, kept)
    edges = block_edges(sizes, most_samples(spec))
    layers = {name: _describe(layer, opened.readers.get(name, "")) for name, layer in case.layers.items()}
    roles = {name: attrs.asdict(role) for name, role in case.roles.items()}
    described = {"id": case.id, "attributes": dict(case.attributes), "roles": roles, "layers": layers}
    save_json(folder / "case.json", {**described, "edges": edges, "statistics": dict(opened.statistics)})
    block_sizes: list[Any] = np.add.reduceat(sizes, edges[:-1]).tolist() if len(sizes) else []
    found: dict[str, Plain] = {"found": len(table), "rejected": len(survey.rejected), "dropped": {**survey.dropped_counts()}}
    return {"edges": list(edges), **found, "sizes": block_sizes}, case


def _describe(layer: Layer, reader: str) -> dict[str, Plain]:
    described: dict[str, Plain] = {"grid": layer.grid.to_json(), "reader": reader, "notes": dict(layer.notes)}
    return {**described, "dtype": layer.dtype.str} if isinstance(layer, Image) else described


@frozen(eq=False)
class Prepared:
    """A case's prepared part, read back.

    Attributes:
        case: without its layers.
        table: all ROIs found.
        rows: those that early filters left, ascending; blocks are cut from these.
        edges: positions in ``rows`` where blocks begin, and the end.
        statistics: what preprocessors measured of this case alone.
        layers: name -> grid, dtype, reader and notes.
    """

    case: Case
    table: RoiTable
    rows: NDArray
    edges: tuple[int, ...]
    statistics: Mapping[str, Plain]
    layers: Mapping[str, Any]

    def block_rows(self, block: int | None) -> NDArray:
        """Rows of one block, or of all."""
        return self.rows if block is None else self.rows[self.edges[block] : self.edges[block + 1]]

    def ids(self, rows: NDArray) -> list[str]:
        """Ids of some rows; ordinals among equals count the whole table."""
        ids = self.table.ids(self.case.id)
        return ids if len(rows) == len(ids) else [ids[row] for row in rows.tolist()]


def load_prepared(folder: Path) -> Prepared:
    """Read a prepared part."""
    table, _ = RoiTable.load(folder / "rois.npz")
    found = load_json(folder / "case.json")
    roles = {name: Role(**role) for name, role in found["roles"].items()}
    case = Case(found["id"], {}, found["attributes"], roles)
    rows = np.load(folder / "rows.npy", allow_pickle=False)
    return Prepared(case, table, rows, tuple(found["edges"]), found["statistics"], found["layers"])
