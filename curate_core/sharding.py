"""Runs without a coordinator that lives for days: shards do units of the open stage, whoever commits closes stages between them.

A shard takes no lock and writes nothing but parts, which appear whole, and records in a file of its own. So shards may run in any
number and order, at the same time and again; what two of them do twice has the same bytes. ``commit`` takes the lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from curate_core.commit import gone
from curate_core.digest import source_key
from curate_core.durable import writing
from curate_core.errors import RequestError, WaitError
from curate_core.host import Host
from curate_core.journal import Journal
from curate_core.kinds import EngineSession, Outcome, Unit, Worker
from curate_core.model import CaseSource
from curate_core.preflight import check_output, find_cases
from curate_core.rounds import CaseState, Rounds
from curate_core.running import Run
from curate_core.spec import Spec
from curate_core.unit import Bench


@frozen
class Shard:
    """A fixed part of the units.

    Attributes:
        index: from 1.
        count: of all shards.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``"3/20"``.

        Raises:
            RequestError: it is no such thing.
        """
        found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            message = f"the shard {text!r} is not one of many"
            raise RequestError(message, where="--shard", hint="write 3/20 for the third of twenty; the first is 1/20")
        return cls(int(found[1]), int(found[2]))

    @property
    def file(self) -> str:
        """Name of the file that holds its records."""
        return f"{self.index}-of-{self.count}.jsonl"

    @property
    def text(self) -> str:
        """As it was asked for."""
        return f"{self.index}/{self.count}"

    def owns(self, number: int, block: int | None, cases: int) -> bool:
        """Whether a unit is its part: cases are dealt out in turn; where there are fewer of them than shards, blocks are.

        Args:
            number: of the case, in manifest order.
            block: of the case; None: a unit of the whole case.
            cases: how many there are.
        """
        turn = number if cases >= self.count else number + (block or 0)
        return turn % self.count == self.index - 1


@frozen
class PartSummary:
    """What a shard did.

    Attributes:
        name: of the dataset.
        output: its folder.
        shard: which part.
        cases: that are its part, those in quarantine included.
        units_done: parts made by this run.
        quarantined_cases: that failed.
        waiting: of its cases, those that wait for other shards or for a commit that closes a stage.
    """

    name: str
    output: Path
    shard: Shard
    cases: int
    units_done: int
    quarantined_cases: int
    waiting: int

    @property
    def exit_code(self) -> int:
        """0: its part is done; 1: but for cases that failed; 4: some of it waits."""
        return WaitError.exit_code if self.waiting else 1 if self.quarantined_cases else 0


class ShardRun(Run):
    """One shard's part of a run.

    Args:
        spec, host: as for a run.
        shard: which part.
    """

    def __init__(self, spec: Spec, host: Host, shard: Shard) -> None:
        super().__init__(spec, host)
        self.shard = shard

    def work(self) -> PartSummary:
        """Do what can be done of the shard's part now.

        Raises:
            RequestError: the request is wrong; nothing was changed.
            RunError: it had to stop; run it again to continue.
        """
        sources = find_cases(self.spec)
        journal = Journal(self.output, self.shard.file)
        check_output(self.output, self.spec.name, journal, overwrite=False)
        if journal.pending is not None:
            message = "a commit was begun and not ended"
            raise RequestError(message, where=str(self.output), hint="curate run SPEC --commit ends it")
        try:
            with writing(self.output):
                return self._part(journal, sources)
        finally:
            self._flush_quietly(journal)

    def _part(self, journal: Journal, sources: Sequence[CaseSource]) -> PartSummary:
        numbers = {case.id: number for number, case in enumerate(sources)}
        mine = [case for case in sources if self.shard.owns(numbers[case.id], None, len(sources))]
        own = {case.id for case in mine}
        for case in sorted(own & journal.failures.keys()):
            journal.add_trial(case, None)
        for key in gone(self.output, journal, own):
            del journal.parts[key]
        with self._told(len(mine)) as end:
            with self._session() as (bench, session):
                resident: dict[str, int] = {}
                states = self._fingerprint(session, journal, mine, resident)
                others = [case for case in sources if case.id not in own and case.id not in journal.failures]
                known = self._known(journal, others)
                states = sorted([*states, *known], key=lambda state: numbers[state.source.id])
                rounds = Rounds(bench, journal, states, groups="look" if len(known) == len(others) else "wait", resident=resident)
                while units := rounds.looked_at(self._own(rounds, numbers)):
                    self._round(session, rounds, journal, units)
            for case, failure in sorted(self.quarantined.items()):
                journal.add_trial(case, failure)
            journal.flush()
            end.update(name=self.spec.name, counts=dict(self.counts), shard=self.shard.text)
        waiting = sum(state.waits for state in rounds.cases if state.source.id in own)
        return PartSummary(self.spec.name, self.output, self.shard, len(mine), self.done, len(self.quarantined), waiting)

    def _own(self, rounds: Rounds, numbers: Mapping[str, int]) -> list[Unit]:
        """Those of the units that can be done now that are its part."""
        return [u for u in rounds.ready() if self.shard.owns(numbers[u.task.case.id], rounds.places[u.key].block, len(numbers))]

    def _known(self, journal: Journal, others: Sequence[CaseSource]) -> list[CaseState]:
        """The cases of other shards, as far as these have hashed them: groups are closed over all cases."""
        states = []
        for case in others:
            digests = {file: known for file in case.files() if (known := journal.unchanged(file)) is not None}
            if all(file in digests for file in case.files()):
                states.append(CaseState(case, source_key(case, digests, self.spec.seed)))
        return states


class CommitRun(Run):
    """Closes what shards have completed: a stage, or, where nothing is left, the dataset."""

    @contextmanager
    def _session(self) -> Iterator[tuple[Bench, EngineSession]]:
        yield Bench(self.spec, self.host, self.output, Worker()), _Shards()

    def _fingerprint(
        self, session: EngineSession, journal: Journal, sources: Sequence[CaseSource], resident: dict[str, int]
    ) -> list[CaseState]:
        failed = {case.id: journal.failures[case.id] for case in sources if case.id in journal.failures}
        self.quarantined.update(failed)
        found = super()._fingerprint(session, journal, [case for case in sources if case.id not in failed], resident)
        resident.update({state.source.id: 0 for state in found})  # nothing is opened here
        return found


class _Shards(EngineSession):
    """In the place of workers: what is not done yet, shards do."""

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """Raises ``WaitError`` where there are units."""
        left = sum(1 for _ in units)
        if left:
            message = f"{left} units of the open stage are not done"
            raise WaitError(message, hint="run all shards again, and then --commit")
        return iter(())
