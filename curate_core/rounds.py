"""What can be done next: a pure function of the journal. Running and resuming are the same loop.

In each round every unit whose inputs are there is ready; groups whose units are all done are closed on the way. No ready unit means
that the run is complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from attrs import define, field, frozen

from curate_core.arrays import NDArray
from curate_core.cut import BATCH_BYTES, BRICK_BYTES
from curate_core.digest import key_of
from curate_core.errors import RequestError
from curate_core.journal import Journal
from curate_core.keys import Key, statistic_name
from curate_core.kinds import Unit
from curate_core.model import CaseSource, Plain
from curate_core.parts import load_json
from curate_core.paths import TWICE, duplicate_path, path_hashes, sample_paths, shared_hashes
from curate_core.prepare import load_prepared
from curate_core.samples import writer_of
from curate_core.stages import Stage
from curate_core.survey import close_filter, survivors
from curate_core.unit import Bench, Task, close_measure, pack, record_of

Groups = Literal["close", "look", "wait"]


@frozen
class Scored:
    """A scored part and its place in the verdict over its group."""

    stage: Stage
    key: str
    closing: str
    member: int


@define(eq=False)
class CaseState:
    """How far one case is, as the current round finds it.

    Attributes:
        source: the case.
        key: of its contents.
        statistics: merged values known so far.
        prepared: key of its prepared part, once that is done.
        blocks: number of its blocks, once prepared.
        alive: block -> mask over its rows; absent: all.
        measured: its measured parts, and the values that were merged of them.
        scored: its scored parts, closed.
        written: keys of its written parts, in block order.
        waits: it has units to do, or shares a group with a case that has.
        kept: for a case of the dataset that is continued: scored part -> which of its samples were kept; else None.
        fixed: for such a case: the merged values that it was made with.
    """

    source: CaseSource
    key: str
    statistics: dict[str, Plain] = field(factory=dict)
    prepared: Key | None = None
    blocks: int = 0
    edges: list[int] = field(factory=list)
    sizes: list[int] = field(factory=list)
    alive: dict[int, NDArray] = field(factory=dict)
    measured: list[str] = field(factory=list)
    scored: list[Scored] = field(factory=list)
    written: list[str] = field(factory=list)
    waits: bool = False
    kept: Callable[[str], NDArray | None] | None = None
    fixed: Mapping[str, Plain] = field(factory=dict)

    def restart(self) -> None:
        """Forget the last round's findings."""
        self.statistics, self.prepared, self.blocks, self.alive = {}, None, 0, {}
        self.edges, self.sizes, self.measured, self.scored, self.written, self.waits = [], [], [], [], [], False


@frozen
class Place:
    """A unit's key with where it belongs."""

    key: Key
    case: str
    stage: Stage
    block: int | None


class Rounds:
    """The rounds of one run.

    Args:
        bench: the coordinating process's own.
        journal: what is done.
        cases: all that are not quarantined, in manifest order.
        groups: ``close`` those that are complete; ``look`` which are closed already, and write nothing; ``wait``: not all cases are known.
        resident: case -> memory that its open layers hold, as far as that is known.

    Attributes:
        places: units of the last round, by their keys.
        unclosed: stage and group of what could be judged or merged in the last round, but was not to be.
    """

    def __init__(
        self,
        bench: Bench,
        journal: Journal,
        cases: Sequence[CaseState],
        *,
        groups: Groups = "close",
        resident: Mapping[str, int] | None = None,
    ) -> None:
        self.bench, self.journal, self.groups = bench, journal, groups
        self.resident = dict(resident or {})
        self._existing = any(state.kept is not None for state in cases)
        self.cases = list(cases)
        self.places: dict[str, Place] = {}
        self.unclosed: list[tuple[Stage, str]] = []
        self._hashes: dict[str, NDArray | None] = {}

    def exclude(self, case: str) -> None:
        """Go on without a case; groups that it belonged to are judged again without it."""
        self.cases = [state for state in self.cases if state.source.id != case]

    def ready(self) -> list[Unit]:
        """The units that can be done now, in manifest order; closes groups as it finds them complete.

        Raises:
            RequestError: two samples would take one path.
        """
        for state in self.cases:
            state.restart()
        self.places, self.unclosed = {}, []
        units: list[Unit] = []
        for stage in self.bench.stages.stages:
            for state in self.cases:
                if not state.waits:
                    units += self._undone(state, stage)
            if stage.kind == "prepare":
                self._check_paths()
            elif stage.scope is not None:
                self._close(stage)
        order = {state.source.id: i for i, state in enumerate(self.cases)}
        return sorted(units, key=lambda unit: order[unit.task.case.id])

    def looked_at(self, units: Iterable[Unit]) -> list[Unit]:
        """The same units; in the place of those of a case whose memory is not known stands one that finds it out."""
        return list(self._looked_at(units))

    def _looked_at(self, units: Iterable[Unit]) -> Iterator[Unit]:
        looks: set[str] = set()
        for unit in units:
            case = unit.task.case
            if case.id in self.resident:
                yield unit
            elif case.id not in looks:
                looks.add(case.id)
                yield Unit(f"look {case.id}", case.id, Task(case, unit.task.source, None), case=case.id)

    def title(self, unit: Unit) -> str:
        """What a unit does, in words."""
        return self.places[unit.key].stage.title if unit.key in self.places else "looking at sources"

    def _done(self, key: Key) -> bool:
        return key.name in self.journal.parts

    def _undone(self, state: CaseState, stage: Stage) -> Iterator[Unit]:
        """Units of a stage that one case has to do; takes note of those done."""
        keys, bench = self.bench.keys, self.bench
        if stage.kind == "measure-case":
            key = keys.measure_case(state.source, state.key, stage, state.statistics)
            if not self._done(key):
                yield self._unit(state, stage, None, key)
            state.measured.append(key.name)
            return
        if stage.kind == "prepare":
            key = keys.prepare(state.source, state.key, state.statistics)
            if not self._done(key):
                yield self._unit(state, stage, None, key)
                return
            info = self.journal.parts[key.name].info
            state.prepared, state.edges, state.sizes = key, info["edges"], info["sizes"]
            state.blocks = len(state.edges) - 1
            return
        assert state.prepared is not None
        for block in [None] if stage.whole else range(state.blocks):
            alive = self._alive(state, block)
            key = bench.keys.block(state.source, state.prepared.name, stage, block, alive, state.statistics)
            if not self._done(key):
                yield self._unit(state, stage, block, key, alive)
            elif stage.kind == "write":
                state.written.append(key.name)
            elif stage.kind == "measure":
                state.measured.append(key.name)

    def _alive(self, state: CaseState, block: int | None) -> NDArray:
        if block is not None:
            count = state.edges[block + 1] - state.edges[block]
            return state.alive.get(block, np.ones(count, bool))
        return np.concatenate([np.zeros(0, bool), *(self._alive(state, b) for b in range(state.blocks))])

    def _unit(self, state: CaseState, stage: Stage, block: int | None, key: Key, alive: NDArray | None = None) -> Unit:
        state.waits = True
        self.places[key.name] = Place(key, state.source.id, stage, block)
        task = Task(state.source, state.key, stage.index, block, state.statistics, None if alive is None else pack(alive))
        label = state.source.id if block is None or state.blocks == 1 else f"{state.source.id}, block {block + 1} of {state.blocks}"
        needs = self.bench.stages.needs[stage.index]
        return Unit(key.name, label, task, self._estimate(state, block), state.source.id, needs)

    def _estimate(self, state: CaseState, block: int | None) -> int:
        """Memory of a unit: what the open layers hold, a brick, and batches on their way through the steps."""
        largest = BATCH_BYTES
        if block is not None and state.edges[block + 1] - state.edges[block] == 1:
            largest = max(largest, state.sizes[block])
        steps = [*self.bench.spec.transform, *self.bench.spec.filter, *self.bench.spec.write]
        work = max(step.component.estimate(largest) for step in steps if step.component is not None)
        return self.resident.get(state.source.id, 0) + BRICK_BYTES + largest + work

    def _check_paths(self) -> None:
        """Where samples of different cases might take one path, all cases are found before any is cut."""
        there = [state for state in self.cases if state.prepared is not None]
        for state in there:
            if state.prepared is not None and self.journal.parts[state.prepared.name].info.get("paths") != self.bench.keys.paths:
                self._paths_of(state)
        if all(writer_of(step).unique_in_case() for step in self.bench.spec.write):
            return
        if any(state.waits for state in self.cases):
            for state in self.cases:
                state.waits = True
            return
        shared = shared_hashes(hashes for hashes in map(self._paths_of, there) if hashes is not None)
        if not len(shared):
            return
        seen: dict[str, str] = {}
        for state in there:
            hashes = self._paths_of(state)
            if hashes is None or not np.isin(hashes, shared).any():
                continue
            assert state.prepared is not None
            prepared = load_prepared(self.bench.parts.path(state.prepared.name))
            table = prepared.table.take(prepared.rows)
            ids = prepared.ids(prepared.rows)
            for path, row in sample_paths(self.bench.spec, prepared.case, table) or ():
                if path in seen:
                    message = f"two samples would be written to {path}: {seen[path]} and {ids[row]}"
                    raise RequestError(message, hint="add a field such as {case} to the writer's path")
                seen[path] = ids[row]

    def _paths_of(self, state: CaseState) -> NDArray | None:
        """Hashes of the paths of a case's samples, None where not known; looked at again if the case was prepared for other writers.

        Raises:
            RequestError: two samples would take one path.
        """
        assert state.prepared is not None
        key = state.prepared.name
        folder = self.bench.parts.path(key)
        if self.journal.parts[key].info.get("paths") == self.bench.keys.paths:
            file = folder / "paths.npy"
            return np.load(file, allow_pickle=False) if file.exists() else None
        if key not in self._hashes:
            prepared = load_prepared(folder)
            table = prepared.table.take(prepared.rows)
            hashes = self._hashes[key] = path_hashes(self.bench.spec, prepared.case, table)
            duplicate = "" if hashes is None else duplicate_path(self.bench.spec, prepared.case, table, hashes)
            if duplicate:
                raise RequestError(duplicate, where=f"case {state.source.id}", hint=TWICE)
        return self._hashes[key]

    def _close(self, stage: Stage) -> None:
        """Close every group of a stage whose cases are all through it; the cases of the others wait."""
        assert stage.scope is not None
        groups: dict[str, list[CaseState]] = {}
        for state in self.cases:
            groups.setdefault(stage.scope.group(state.source), []).append(state)
        for name, states in groups.items():
            if any(state.waits for state in states):
                for state in states:
                    state.waits = True
                continue
            self._close_group(stage, name, states)

    def _close_group(self, stage: Stage, name: str, states: Sequence[CaseState]) -> None:
        members = [(state, block, self._member_key(state, stage, block)) for state in states for block in self._blocks(state, stage)]
        names = [key for _, _, key in members]
        assert stage.step is not None
        parts = self.bench.parts
        name_of = statistic_name(stage.step)
        fixed = next((state.fixed[name_of] for state in states if name_of in state.fixed), None)
        if fixed is not None:
            for state in states:
                state.statistics[name_of] = fixed
            return
        existing, known = self._kept_before(stage, members)
        closing = self.bench.keys.closure(stage, names, known)
        if self.groups == "wait" or not self._done(closing):
            if self.groups != "close":
                self.unclosed.append((stage, name))
                for state in states:
                    state.waits = True
                return
            if stage.kind == "score":
                close_filter(parts, closing.name, stage.step, names, self.bench.context(stage.step, name), existing)
            else:
                close_measure(parts, closing.name, stage.step, names)
            self.journal.add_part(record_of(closing, name, stage, None, {"closes": stage.index}))
        if stage.kind != "score":
            value = load_json(parts.path(closing.name) / "statistics.json")
            for state in states:
                state.statistics[name_of] = value
                state.measured.append(closing.name)
            return
        for member, (state, block, key) in enumerate(members):
            state.scored.append(Scored(stage, key, closing.name, member))
            assert state.prepared is not None
            rows = survivors(parts, closing.name, member, key)
            prepared = load_prepared(parts.path(state.prepared.name))
            for b in range(state.blocks) if block is None else [block]:
                state.alive[b] = np.isin(prepared.block_rows(b), rows, assume_unique=True)

    def _kept_before(self, stage: Stage, members: Sequence[tuple[CaseState, int | None, str]]) -> tuple[list[NDArray | None] | None, str]:
        """For each member of a group what the dataset that is continued kept of it, None for new ones; and a name for that."""
        if not self._existing or stage.kind != "score":
            return None, ""
        before = [state.kept(key) if state.kept is not None else None for state, _, key in members]
        return before, key_of([None if kept is None else hashlib.sha256(kept.tobytes()).hexdigest() for kept in before])

    def _blocks(self, state: CaseState, stage: Stage) -> Sequence[int | None]:
        return [None] if stage.whole else list(range(state.blocks))

    def _member_key(self, state: CaseState, stage: Stage, block: int | None) -> str:
        if stage.kind == "measure-case":
            return self.bench.keys.measure_case(state.source, state.key, stage, state.statistics).name
        assert state.prepared is not None
        return self.bench.keys.block(state.source, state.prepared.name, stage, block, self._alive(state, block), state.statistics).name

    def bytes_left(self) -> int:
        """What the samples that are found, and not written, take at most: as they are cut, before filters and compression."""
        found = sum(sum(state.sizes) for state in self.cases)
        return max(0, found - sum(self.journal.parts[key].info.get("nbytes", 0) for state in self.cases for key in state.written))

    def live_keys(self) -> set[str]:
        """Keys of all parts that the cases' present state rests on."""
        keys: set[str] = set()
        for state in self.cases:
            keys.update(state.written, state.measured)
            keys.update(part for scored in state.scored for part in (scored.key, scored.closing))
            if state.prepared is not None:
                keys.add(state.prepared.name)
        return keys


def statistics_of(states: Sequence[CaseState]) -> Mapping[str, Plain]:
    """Group -> merged values, for the dataset: equal values once."""
    found: dict[str, Plain] = {}
    for state in states:
        for name, value in state.statistics.items():
            found.setdefault(name, value)
    return found
