"""One run of one spec: hashing sources, rounds of units, the commit."""

from __future__ import annotations

import logging
import shutil
import time
import uuid
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from curate_core import __version__
from curate_core.commit import Commit, refuse_changed
from curate_core.continuing import Earlier, earlier_states, load_earlier
from curate_core.deprecation import tell_chosen
from curate_core.digest import source_key
from curate_core.durable import with_need, writing
from curate_core.errors import CurateError, DiskError, RequestError, RunError, SourceError, StepError, place_in
from curate_core.host import Host
from curate_core.journal import Journal, Lock, Quarantined
from curate_core.kinds import Engine, EngineSession, Outcome, Unit, Worker
from curate_core.lock import chosen_readers, dataset_base, lock_content
from curate_core.model import CaseSource
from curate_core.parts import Parts
from curate_core.preflight import check_output, find_cases
from curate_core.rounds import CaseState, Rounds
from curate_core.spec import Spec
from curate_core.summary import Summary
from curate_core.tidying import tidy
from curate_core.unit import Bench, Job, Look, Task

_log = logging.getLogger("curate")


class Run:
    """One run of one spec."""

    def __init__(self, spec: Spec, host: Host) -> None:
        self.spec, self.host, self.output = spec, host, spec.output
        self.started = time.monotonic()
        self.quarantined: dict[str, Quarantined] = {}
        self.counts = {"found": 0, "dropped": 0, "rejected": 0, "written": 0}
        self.done = 0
        self.muted: list[object] = []

    def run(self, *, overwrite: bool, append: bool, wait: bool) -> Summary:
        sources = find_cases(self.spec)
        check_output(self.output, self.spec.name, Journal(self.output), overwrite=overwrite)
        with Lock(self.output, wait=wait) as lock:
            journal = Journal(self.output)
            check_output(self.output, self.spec.name, journal, overwrite=overwrite)  # another run may have been here meanwhile
            if lock.waited:
                sources = find_cases(self.spec)
            try:
                with writing(self.output):
                    tidy(self.output, journal, self.spec.name, overwrite=overwrite)
                    return self._rounds(journal, sources, load_earlier(self.output, self.spec) if append and not overwrite else [])
            finally:
                self._flush_quietly(journal)

    def _tell(self, event: str, **values: Any) -> None:
        """Tell every listener; one that raises is named and left out of the rest of the run."""
        for heard in reversed(getattr(self.host.hook, event).get_hookimpls()):
            if heard.plugin in self.muted:
                continue
            try:
                heard.function(*(values[name] for name in heard.argnames))
            except Exception as error:
                self.muted.append(heard.plugin)
                name = type(heard.plugin).__name__ if heard.plugin_name == str(id(heard.plugin)) else heard.plugin_name
                place = place_in(heard.function.__module__, error)
                _log.warning("the listener %s failed at %s and is left out: %s: %s%s", name, event, type(error).__name__, error, place)

    @contextmanager
    def _told(self, cases: int) -> Iterator[dict[str, Any]]:
        """Listeners hear that the run begins and, once, of its end: what the block puts into the dictionary, or what stopped it."""
        self._tell("curate_run_started", name=self.spec.name, output=str(self.output), total_units=cases)
        end: dict[str, Any] = {}
        try:
            yield end
        except BaseException as error:
            stopped = f"{type(error).__name__}: {error}".removesuffix(": ")
            self._tell("curate_run_finished", summary={"name": self.spec.name, "counts": dict(self.counts), "stopped": stopped})
            raise
        self._tell("curate_run_finished", summary=end)

    def _flush_quietly(self, journal: Journal) -> None:
        """Keep what was done, whatever stopped the run."""
        with suppress(OSError):  # the disk is full: these parts will be made again
            journal.flush()
        journal.close()

    @contextmanager
    def _session(self) -> Iterator[tuple[Bench, EngineSession]]:
        """What this process uses of a run, and the engine at work."""
        bench = Bench(self.spec, self.host, self.output, Worker())
        engine = self.spec.engine.component
        assert isinstance(engine, Engine)
        job = Job(dict(self.spec.given), self.spec.folder, self.output, uuid.uuid4().hex)
        job.adopt(bench)  # where units are done in this process, they share what it has
        with engine.open(job) as session:
            yield bench, session

    def _rounds(self, journal: Journal, sources: Sequence[CaseSource], earlier: Sequence[Earlier]) -> Summary:
        there = frozenset(journal.parts)
        known = {e.source.id for e in earlier}
        added = [case for case in sources if case.id not in known]
        with self._told(len(earlier) + len(added)) as end:
            with self._session() as (bench, session):
                before = earlier_states(earlier, bench.parts)
                resident: dict[str, int] = {}
                new = self._fingerprint(session, journal, added, resident)
                rounds = Rounds(bench, journal, [*before, *new], resident=resident)
                while units := rounds.looked_at(rounds.ready()):
                    self._round(session, rounds, journal, units)
            journal.flush()
            return self._commit(bench, journal, rounds, there, end)

    def _fingerprint(
        self, session: EngineSession, journal: Journal, sources: Sequence[CaseSource], resident: dict[str, int]
    ) -> list[CaseState]:
        """Content hashes of all sources; files that look as before are not read again. Fills in ``resident`` of the others' cases."""
        files = dict.fromkeys(file for case in sources for file in case.files())
        digests = {file: known for file in files if (known := journal.unchanged(file)) is not None}
        waiting = list(sources)
        while waiting := [case for case in waiting if any(file not in digests for file in case.files())]:
            asked: set[Path] = set()
            now = []
            for case in waiting:
                missing = {file for file in case.files() if file not in digests}
                if not missing <= asked:  # else others hash the same files: a volume may belong to many cases
                    now.append(case)
                    asked |= missing
            self._hash(session, journal, now, digests, resident)
            tried = {case.id for case in now}
            waiting = [case for case in waiting if case.id not in tried]
        good = [case for case in sources if case.id not in self.quarantined]
        return [CaseState(case, source_key(case, digests, self.spec.seed)) for case in good]

    def _hash(
        self, session: EngineSession, journal: Journal, cases: Sequence[CaseSource], digests: dict[Path, str], resident: dict[str, int]
    ) -> None:
        """Hash the files of some cases; those of which one cannot be read are set aside."""
        self._tell("curate_round_started", title="hashing sources", total_units=len(cases))
        for outcome in _outcomes(session, [Unit(case.id, case.id, Task(case, stage=None), case=case.id) for case in cases]):
            if outcome.status == "done":
                look: Look = outcome.value
                resident[outcome.unit.task.case.id] = look.resident
                for path, found in look.files:
                    digests[Path(path)] = found.digest
                    journal.add_file(path, found)
                journal.flush_if_due()
            else:
                self._fail(outcome, outcome.unit.label)
            self._notify(outcome)

    def _round(self, session: EngineSession, rounds: Rounds, journal: Journal, units: Sequence[Unit]) -> None:
        title = " and ".join(dict.fromkeys(map(rounds.title, units)))
        self._tell("curate_round_started", title=title, total_units=len(units))
        try:
            for outcome in _outcomes(session, self._admitted(session, rounds, journal, units)):
                self._take(outcome, rounds, journal)
        except DiskError as error:
            raise with_need(error, rounds.bytes_left()) from error

    def _admitted(self, session: EngineSession, rounds: Rounds, journal: Journal, units: Sequence[Unit]) -> list[Unit]:
        """The units that can be done here. A case that asks for too much is set aside; where every case does, the budget is wrong.

        Raises:
            RequestError: none of the cases can be done.
        """
        refused: dict[str, RequestError] = {}
        for unit in units:
            try:
                session.check([unit])
            except RequestError as error:
                refused.setdefault(unit.case, error)
        if len(refused) == len(rounds.cases):
            raise next(iter(refused.values()))
        for unit in units:
            if unit.case in refused and unit.case not in self.quarantined:
                reason = refused[unit.case]
                said = SourceError(reason.message, where=reason.where, hint=reason.hint)
                self._take(Outcome(unit, "failed", None, said), rounds, journal)
        return [unit for unit in units if unit.case not in refused]

    def _take(self, outcome: Outcome, rounds: Rounds, journal: Journal) -> None:
        case = outcome.unit.task.case.id
        if outcome.status == "done" and isinstance(outcome.value, Look):
            rounds.resident[case] = outcome.value.resident
        elif outcome.status == "done" and (changed := journal.changed(outcome.unit.task.case.files())):
            message = "it changed while the run was at work"
            error = SourceError(message, where=str(changed), hint="run again when it is complete")
            self._fail(Outcome(outcome.unit, "failed", None, error), case)
            rounds.exclude(case)
        elif outcome.status == "done":
            if all(record.key != outcome.unit.key for record in outcome.value):
                message = "a worker gave another result than was asked for: the code of a component, or a file that one names, has changed"
                raise RunError(message, where=f"case {case}", hint="run again when it stays as it is: it continues")
            for record in outcome.value:
                journal.add_part(record)
                self._count(record.info)
                self.done += 1
            journal.flush_if_due()
        elif case not in self.quarantined:
            self._fail(outcome, case)
            rounds.exclude(case)
        self._notify(outcome)

    def _count(self, info: Mapping[str, Any]) -> None:
        for name in ("found", "rejected", "written"):
            self.counts[name] += info.get(name, 0)
        self.counts["dropped"] += sum(info.get("dropped", {}).values())

    def _notify(self, outcome: Outcome) -> None:
        self._tell("curate_unit_finished", outcome=outcome, counts=dict(self.counts))

    def _fail(self, outcome: Outcome, case: str) -> None:
        """Set a case aside, or stop, as the error and the spec demand."""
        error = outcome.error
        if isinstance(error, CurateError) and not isinstance(error, SourceError | StepError):
            raise error
        reason = str(error) if isinstance(error, CurateError) else f"{type(error).__name__}: {error}"
        if outcome.status == "lost":
            reason = f"its worker was lost twice, the second time alone: {reason}"
        if self.spec.settings.on_error == "stop":
            message = f"stopped at the first failure, as on_error asks: {reason}"
            raise RunError(
                message, where=f"case {case}", hint="mend it, or set on_error to quarantine, and run again: it continues"
            ) from error
        task: Task = outcome.unit.task
        stage = _stage_of(outcome, {step.name for step in self.spec.steps()})
        files = tuple(str(file) for file in task.case.files())
        self.quarantined[case] = Quarantined(case, stage, reason, files)

    def _commit(self, bench: Bench, journal: Journal, rounds: Rounds, there: frozenset[str], end: dict[str, Any]) -> Summary:
        """Make the dataset of what was done; ``end`` becomes what listeners are told of it."""
        refuse_changed(rounds.cases, journal, bench.parts, there)
        readers = lock_content(self.spec, self.host, bench, rounds.cases, journal)
        tell_chosen(self.host, chosen_readers(self.spec, rounds.cases, readers))
        order = [self.quarantined[name] for name in sorted(self.quarantined)]
        commit = Commit(bench, journal, self.output)
        found, fates = commit.run(rounds.cases, order, dataset_base(self.spec, self.host, rounds.cases, __version__), readers)
        live = rounds.live_keys()
        self._forget_unused(journal, live)
        summary = Summary(
            name=self.spec.name,
            output=self.output,
            cases=len(rounds.cases),
            found=found["found"],
            dropped={step.name: found["dropped"][step.name] for step in self.spec.filter},
            written=found["samples"],
            quarantined_cases=found["quarantined"]["cases"],
            quarantined_samples=found["quarantined"]["samples"],
            nbytes=found["bytes"],
            seconds=time.monotonic() - self.started,
            units_done=self.done,
            units_reused=len(there & live),
            fates=fates,
        )
        end.update(found)
        return summary

    def _forget_unused(self, journal: Journal, live: set[str]) -> None:
        """Parts that the dataset does not rest on go; what a later run needs to add cases stays."""
        parts = Parts(self.output)
        journal.compact(live)
        for key in parts.present():
            if key not in live:
                parts.remove(key)
        shutil.rmtree(parts.aside, ignore_errors=True)


def _outcomes(session: EngineSession, units: Sequence[Unit]) -> Iterator[Outcome]:
    """What becomes of units; one that is lost is tried once more, alone: perhaps it was the others that took the memory."""
    lost: list[Unit] = []
    for outcome in session.run(units):
        if outcome.status == "lost":
            lost.append(outcome.unit)
        else:
            yield outcome
    for unit in lost:
        yield session.run_alone(unit)


def _stage_of(outcome: Outcome, steps: Container[str]) -> str:
    """The step that an error names, or what the unit was doing."""
    error = outcome.error
    step = error.message.partition(":")[0] if isinstance(error, StepError) else ""
    return step if step in steps else "read" if isinstance(error, SourceError) else "unit"
