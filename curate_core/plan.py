"""What a run would do, without doing it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from curate_core.arrays import NDArray
from curate_core.commit import gone, load_files, parts_files
from curate_core.continuing import earlier_states, load_earlier
from curate_core.cut import row_bytes
from curate_core.deprecation import tell_chosen
from curate_core.digest import known_content, source_key
from curate_core.errors import CurateError, RequestError, SourceError
from curate_core.grid import Grid
from curate_core.host import Host
from curate_core.journal import Journal, Record
from curate_core.kinds import Unit, Worker
from curate_core.layout import DATASET
from curate_core.model import Case, CaseSource, Image
from curate_core.opening import Opener
from curate_core.parts import Parts
from curate_core.preflight import check_output, find_cases
from curate_core.prepare import find_rois as find_table
from curate_core.prepare import open_case
from curate_core.rois import RoiTable
from curate_core.rounds import CaseState, Rounds
from curate_core.spec import Spec
from curate_core.survey import Survey
from curate_core.unit import Bench

_log = logging.getLogger("curate")


@frozen
class PlannedUnit:
    """Something to be done, and why."""

    label: str
    why: str


@frozen
class Plan:
    """What a run would do.

    Attributes:
        cases: cases that the source finds.
        units: what would be done first; what follows from their results is not known yet.
        up_to_date: parts that are there already and would be used again.
        samples: samples found so far, or with ``find`` all, before filters that need pixels; None: not known yet.
        exact: no filter can make ``samples`` smaller.
        nbytes: bytes of those samples once cut, before transforms and compression; None: not known yet.
        memory: what the largest unit needs.
        removed: what would go of the present dataset at commit: whose, and how many files.
        complete: the dataset is there, and nothing would be done.
    """

    cases: int
    units: tuple[PlannedUnit, ...]
    up_to_date: int
    samples: int | None
    exact: bool
    nbytes: int | None
    memory: int
    removed: tuple[str, ...]
    complete: bool


def make_plan(spec: Spec, host: Host, find: bool = False, append: bool = False) -> Plan:
    """Find out what a run would do; writes nothing.

    Args:
        find: find the ROIs of cases that have none yet, which may read pixels.
        append: of a run that keeps the cases of the present dataset.

    Raises:
        RequestError: the spec, its source or its output cannot be used.
    """
    cases = find_cases(spec)
    journal = Journal(spec.output)
    check_output(spec.output, spec.name, journal, overwrite=False)
    parts = Parts(spec.output)
    for key in gone(spec.output, journal):
        del journal.parts[key]
    journal.committed &= frozenset(journal.parts)
    bench = Bench(spec, host, spec.output, Worker())
    opener = Opener(spec, host, lambda step, case: bench.context(step, case.id))
    states = earlier_states(load_earlier(spec.output, spec), parts) if append else []
    known_ids = {state.source.id for state in states}
    new = [case for case in cases if case.id not in known_ids]
    states += [CaseState(case, source_key(case, _digests(case, journal, opener), spec.seed)) for case in new]
    earlier = {(r.case, r.stage, r.block): r for r in journal.parts.values() if "closes" not in r.info}
    rounds = Rounds(bench, journal, states, groups="look")
    units = rounds.ready()
    planned = tuple(PlannedUnit(unit.label, _why(unit, rounds, earlier)) for unit in units)
    planned += tuple(PlannedUnit(group or "all cases", f"{stage.title} together: not done yet") for stage, group in rounds.unclosed)
    removed = _removed(spec.output, journal, parts, states)
    counts = [(sum(_kept(journal, state)), sum(state.sizes)) if state.prepared is not None else None for state in states]
    if find:
        counts = [known or _count(spec, host, bench, state) for known, state in zip(counts, states, strict=True)]
    known = [count for count in counts if count is not None]
    complete = len(known) == len(states)
    return Plan(
        cases=len(states),
        units=planned,
        up_to_date=len(journal.parts),
        samples=sum(count for count, _ in known) if complete else None,
        exact=not any(step not in bench.stages.early for step in spec.filter),
        nbytes=sum(size for _, size in known) if complete else None,
        memory=_memory(units, opener),
        removed=removed,
        complete=not planned and not removed and journal.pending is None and (spec.output / DATASET).exists(),
    )


def _digests(case: CaseSource, journal: Journal, opener: Opener) -> Mapping[Path, str]:
    digests = {file: known for file in case.files() if (known := journal.unchanged(file)) is not None}
    if len(digests) == len(set(case.files())):
        return digests
    for file, others in opener.companions(case).items():
        try:
            digests[file] = journal.unchanged(file) or known_content(file, others).digest
        except CurateError:
            digests[file] = "unreadable"
    return digests


def _memory(units: Sequence[Unit], opener: Opener) -> int:
    """What the largest unit needs, the open layers of its case included."""
    sizes: dict[str, int] = {}
    for unit in units:
        sizes[unit.task.case.id] = max(unit.nbytes, sizes.get(unit.task.case.id, 0))
    found = [0]
    for case in {unit.task.case.id: unit.task.case for unit in units}.values():
        try:
            found.append(sizes[case.id] + opener.resident(case))
        except SourceError:
            continue  # it will be quarantined
    return max(found)


def _kept(journal: Journal, state: CaseState) -> list[int]:
    return [b - a for a, b in zip(state.edges[:-1], state.edges[1:], strict=True)]


def _why(unit: Unit, rounds: Rounds, earlier: Mapping[tuple[str, str, int | None], Record]) -> str:
    """Why a unit's part is not there: new, or what it rests on changed."""
    place = rounds.places[unit.key]
    record = earlier.get((place.case, place.stage.title, place.block))
    title = place.stage.title
    if record is None:
        return f"{title}: not done yet"
    words = {
        "source": "the source's content, attributes or seed",
        "survivors": "which samples are left",
        "prepare": "the ROIs",
        "statistics": "the values measured",
        "names": "the names of the source's files",
    }
    changed = [words.get(name, f"the step list {name!r}") for name, value in place.key.facets.items() if record.facets.get(name) != value]
    return f"{title}: {', '.join(changed)} changed"


def _count(spec: Spec, host: Host, bench: Bench, state: CaseState) -> tuple[int, int] | None:
    try:
        case = open_case(spec, host, state.source, bench.context, state.statistics).case
        table, rows = _find(spec, case, bench)
    except CurateError:
        return None  # it will be quarantined
    kept = table.take(rows)
    return len(kept), int(row_bytes(case, kept).sum())


def _find(spec: Spec, case: Case, bench: Bench) -> tuple[RoiTable, NDArray]:
    """The ROIs of a case, and the rows that are left; those that their finder refuses are told of in the log."""
    survey = Survey()
    table, rows = find_table(spec, case, bench.context, bench.stages.early, survey)
    if survey.rejected:
        (step, reason), *others = (survey.rejected[row] for row in sorted(survey.rejected))
        more = f", and {len(others)} more" if others else ""
        _log.warning("case %s: %s refuses a ROI%s: %s", case.id, step, more, reason)
    return table, rows


def _removed(output: Path, journal: Journal, parts: Parts, states: Sequence[CaseState]) -> tuple[str, ...]:
    """What of the present dataset its commit would remove: known of cases that leave it or are through, else a bound."""
    present = load_files(output)
    owned: dict[str, set[str]] = {}
    samples: dict[str, int] = {}
    for key in sorted(journal.committed):
        record = journal.parts[key]
        owned.setdefault(record.case, set()).update(name for name in parts_files(parts, key) if name in present)
        samples[record.case] = samples.get(record.case, 0) + record.info["written"]
    of_case = {state.source.id: state for state in states}
    stays = {name for state in states if not state.waits for key in state.written for name in parts_files(parts, key)}
    stays |= {name for case, names in owned.items() if case in of_case and of_case[case].waits for name in names}
    lines = []
    again = [names for case, names in owned.items() if case in of_case and of_case[case].waits]
    for case, names in sorted(owned.items()):
        files = f"{len(names - stays)} of {len(names)} files"
        if case not in of_case:
            lines.append(f"case {case}: {samples[case]} samples, {files}")
        elif names - stays:
            lines.append(f"case {case}: {files}")
    if again:
        count = sum(map(len, again))
        lines.append(f"what {len(again)} cases no longer want of their {count} files, once they are made again")
    return tuple(lines)


@frozen
class LayerReport:
    """One layer of one case, opened.

    Attributes:
        reader: which took it; empty when none did.
        grid: its geometry; None when it cannot be opened.
        problem: why not; empty when it can.
    """

    case: str
    layer: str
    reader: str
    grid: Grid | None
    problem: str


@frozen
class CheckReport:
    """What can be known of a spec without reading pixels."""

    cases: int
    layers: tuple[LayerReport, ...]
    problems: tuple[str, ...]


def check(spec: Spec, host: Host) -> CheckReport:
    """Open every layer of every case and look at its geometry.

    Raises:
        RequestError: the source finds no cases, or the output folder holds other things.
    """
    cases = find_cases(spec)
    check_output(spec.output, spec.name, Journal(spec.output), overwrite=False)
    bench = Bench(spec, host, spec.output, Worker())
    opener = Opener(spec, host, lambda step, case: bench.context(step, case.id))
    layers: list[LayerReport] = []
    chosen: list[tuple[str, str]] = []
    for case in cases:
        for name in case.layers:
            try:
                layer, reader = opener.layer(case, name)
                layers.append(LayerReport(case.id, name, reader, layer.grid if isinstance(layer, Image) else None, ""))
                if spec.reader_for(name, case.attributes) is None:
                    chosen.append((name, reader))
            except CurateError as error:
                layers.append(LayerReport(case.id, name, "", None, str(error)))
    tell_chosen(host, chosen)
    return CheckReport(len(cases), tuple(layers), tuple(f"{r.case}, layer {r.layer}: {r.problem}" for r in layers if r.problem))


def case_rois(spec: Spec, host: Host) -> Iterator[tuple[str, RoiTable, dict[str, Grid]]]:
    """The ROIs of each case, and the grids of its layers; nothing is written.

    Filters that need no pixels and judge no more than a case have acted; those that their finder refuses are left out.

    Raises:
        CurateError: a case cannot be read or searched.
    """
    bench = Bench(spec, host, spec.output, Worker())
    if len(bench.stages.stages) > 2 and bench.stages[0].kind == "measure-case":
        message = "a preprocessor measures over several cases, so that the ROIs of one cannot be found alone"
        raise RequestError(message, where="preprocess", hint="use curate run")
    for source in find_cases(spec):
        case = open_case(spec, host, source, bench.context, {}).case
        table, rows = _find(spec, case, bench)
        yield case.id, table.take(rows), {name: image.grid for name, image in case.images().items()}
