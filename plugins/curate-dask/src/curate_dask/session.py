"""Units on the workers of a Dask cluster: a few for each worker at a time, whatever their number.

Which worker has which unit is decided here, and what becomes of units whose worker goes, too. Dask would find them another one, but not
always: a task that prefers a worker which is gone waits for ever if there is no other at that moment; and one that was done, whose result
went with its worker, is done again behind the back of who waits for it.
"""

from __future__ import annotations

import logging
import math
import operator
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from attrs import define, field

from curate_core import EngineSession, Outcome, RunError, StepError, Unit, Worker
from curate_core.builtin.local import attempt, portable, require
from curate_core.kinds import most_of

Work = Callable[[Unit, Worker], Any]
_DEPTH = 2
"""Tasks that a worker has at a time: one at work, one that waits, so that it need not wait."""
_TOGETHER, _SECONDS = 12, 0.12
"""Units of one task at most, and how long they may take together: small ones cost mostly their way there and back."""
_LOOK = 0.5
"""Seconds between two looks at which workers there are."""
_IDLE = 60.0
"""Seconds without work after which an elastic cluster may let a worker go: the next round may be near."""
_RESULT = 2.0
"""Seconds in which a worker that is there sends what a unit returned, which is small."""
_one_at_a_time = threading.Lock()
_log = logging.getLogger("curate")


def perform(work: Work, units: Sequence[Unit], worker: Worker) -> list[tuple[str, float, Any, Any, Any]]:
    """Key, seconds, status, value and error of units, in a worker, which does one after the other, whatever threads it has.

    It begins none after ``_SECONDS``: those that follow are not among the results, for others were slower than thought.
    """
    told: list[tuple[str, float, Any, Any, Any]] = []
    with _one_at_a_time:  # what units share in a process is made for one at a time
        until = time.monotonic() + _SECONDS
        for unit in units:
            started = time.monotonic()
            if told and started > until:
                break
            found = attempt(work, unit, worker)
            told.append((unit.key, time.monotonic() - started, *found))
    return told


@define(eq=False)
class _Place:
    """A worker: its name, its Dask resources, how many tasks it has, since when it has none, and the case that it was given last."""

    name: str
    resources: Mapping[str, float]
    count: int = 0
    case: str = ""
    since: float = field(factory=time.monotonic)


def _place(told: Mapping[str, Any]) -> _Place:
    """By what the scheduler tells of a worker."""
    return _Place(str(told["name"]), dict(told["resources"]))


@define(eq=False)
class _Trial:
    """Units that a worker gets as one task, how many workers were lost with them, and the address of the one that has them."""

    units: tuple[Unit, ...]
    losses: int = 0
    address: str = ""

    @property
    def nbytes(self) -> int:
        """Memory that they need, one after the other."""
        return max(unit.nbytes for unit in self.units)

    @property
    def needs(self) -> Mapping[str, float]:
        """What they need beside memory."""
        return most_of(unit.resources for unit in self.units)

    def apart(self) -> list[_Trial]:
        """The same, each alone."""
        return [_Trial((unit,), self.losses) for unit in self.units]


@define(eq=False)
class ClusterSession(EngineSession):
    """Units go to the workers that a scheduler knows.

    Attributes:
        client: a ``distributed.Client``.
        work: picklable.
        each: memory that one unit may need, bytes; infinite: not known.
        budget: memory that all units at work may need together, bytes.
        device: of every worker.
        resources: Dask's worker resources that each unit takes, beside those that its steps need.
        lost: how many workers may be lost with a unit before it is.
        owned: what to close at the end, in this order.
        keep: told now and then how many units are left, which workers are there, by name, and which of them have long had nothing to do: an
            elastic cluster starts workers and lets some go; those whose names it returns get nothing more.
    """

    client: Any
    work: Work
    each: float = math.inf
    budget: float = math.inf
    device: str = "cpu"
    resources: Mapping[str, float] = field(factory=dict)
    lost: int = 0
    owned: tuple[Any, ...] = ()
    keep: Callable[[int, Collection[str], Collection[str]], Collection[str]] = lambda left, there, idle: ()
    _places: dict[str, _Place] = field(factory=dict, init=False)
    _flying: dict[Any, _Trial] = field(factory=dict, init=False)
    _again: deque[_Trial] = field(factory=deque, init=False)
    _ended: queue.SimpleQueue[Any] = field(factory=queue.SimpleQueue, init=False)
    _seen: set[str] | None = field(default=None, init=False)
    _blamed: set[str] = field(factory=set, init=False)
    _looked: float = field(default=-math.inf, init=False)
    _given: int = field(default=0, init=False)
    _seconds: float = field(default=math.inf, init=False)

    def check(self, units: Iterable[Unit]) -> None:
        for unit in units:
            require(unit, min(self.each, self.budget))

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        left = operator.length_hint(units, 1)
        source = iter(units)
        alone_since, patience = time.monotonic(), 30.0
        try:
            while self._flying or self._fill(source):
                for outcome in self._look(left):
                    left -= 1
                    yield outcome
                while self._fill(source) and (address := self._room(self._again[0])) is not None:
                    self._submit(self._again.popleft(), address)
                if self._places:
                    alone_since, patience = time.monotonic(), 30.0
                elif time.monotonic() - alone_since > patience:
                    _log.warning("no worker has been there for %.0f s: units wait", patience)
                    patience *= 2
                for outcome in self._collect():
                    left -= 1
                    yield outcome
        finally:
            self._abandon()

    def _fill(self, source: Iterator[Unit]) -> bool:
        """Whether units wait; some are taken from the source for that: as many as take no time together."""
        if not self._again:
            count = min(max(1, int(_SECONDS / max(self._seconds, 1e-3))), _TOGETHER)
            if units := tuple(islice(source, count)):
                self.check(units)
                self._again.append(_Trial(units))
        return bool(self._again)

    def _look(self, left: int) -> Iterator[Outcome]:
        """Which workers are there now? Units of those that are not are given to others, or told to be lost."""
        now = time.monotonic()
        if now - self._looked < (_LOOK if self._places else _LOOK / 10):
            return
        self._looked = now
        try:
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError) as error:
            message = "the Dask scheduler does not answer any more"
            raise RunError(message, where="engine", hint="when it runs, run again: it continues") from error
        self._blamed -= {address for address in workers if address not in self._places}  # another worker may get an address again
        found = {address: self._places.get(address) or _place(workers[address]) for address in sorted(workers)}
        for future in [future for future, trial in self._flying.items() if trial.address not in found]:
            yield from self._lose(future)
        idle = [place.name for place in found.values() if not place.count and now - place.since > _IDLE]
        leaving = self.keep(left, [place.name for place in found.values()], idle)
        # A nanny does not replace a worker that dies the moment it comes (distributed 2026.8): newcomers get nothing yet.
        settled = found if self._seen is None else found.keys() & self._seen
        self._places = {address: place for address, place in found.items() if address in settled and place.name not in leaving}
        self._seen = set(found)

    def _room(self, trial: _Trial) -> str | None:
        """The worker for some units: one that has room and what they need, if any has it; at best the one that had their case, else the one
        that has least to do.
        """
        if self._flying and sum(other.nbytes for other in self._flying.values()) + trial.nbytes > self.budget:
            return None
        needs = self._known(trial.needs)
        free = [
            address
            for address, place in self._places.items()
            if place.count < _DEPTH and all(place.resources.get(name, 0) >= amount for name, amount in needs.items())
        ]
        case = trial.units[0].case
        return min(free, key=lambda address: (self._places[address].case != case, self._places[address].count), default=None)

    def _known(self, needs: Mapping[str, float]) -> dict[str, float]:
        """Of what steps need, what some worker has, as it spells it: where none has it, workers are taken as they are."""
        if not needs:
            return {}
        there = {name.casefold(): name for place in self._places.values() for name in sorted(place.resources)}
        spelt = {there.get(name.casefold(), name): amount for name, amount in needs.items()}
        return {n: amount for n, amount in spelt.items() if any(p.resources.get(n, 0) >= amount for p in self._places.values())}

    def _submit(self, trial: _Trial, address: str) -> None:
        self._given += 1
        takes = {**self.resources, **self._known(trial.needs)}
        future = self.client.submit(
            perform,
            self.work,
            trial.units,
            Worker(1, self.device),
            key=f"curate-{id(self)}-{self._given}",
            workers=[address],
            resources=takes or None,
            pure=False,
        )
        trial.address = address
        self._flying[future] = trial
        place = self._places[address]
        place.count, place.case = place.count + 1, trial.units[-1].case
        future.add_done_callback(self._ended.put)

    def _collect(self) -> Iterator[Outcome]:
        """What has ended; waits a little for the first."""
        with suppress(queue.Empty):
            future = self._ended.get(timeout=_LOOK if self._places else _LOOK / 10)
            if future in self._flying:
                yield from self._received(future)

    def _received(self, future: Any) -> Iterator[Outcome]:
        """What a worker sent, or how it died."""
        from distributed.client import FutureCancelledError
        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker

        try:
            told = future.result(timeout=_RESULT)
        except (KilledWorker, FutureCancelledError, CommClosedError):
            yield from self._lose(future)
        except TimeoutError:  # its worker went with what it returned: the next look shows it
            self._looked = -math.inf
            self._ended.put(future)
        except Exception as error:  # a value does not pickle: whose, is seen when each is alone
            trial = self._land(future)
            if len(trial.units) > 1:
                self._again.extend(trial.apart())
            else:
                yield Outcome(trial.units[0], "failed", None, portable(error))
        else:
            trial = self._land(future)
            self._again.extendleft(reversed(_Trial(trial.units[len(told) :], trial.losses).apart()))
            for unit, (key, seconds, *found) in zip(trial.units, told, strict=False):
                assert key == unit.key, "a worker tells of what it was given"
                # how long units take follows the longest of late
                self._seconds = seconds if self._seconds == math.inf else max(seconds, 0.9 * self._seconds + 0.1 * seconds)
                yield Outcome(unit, *found)

    def _land(self, future: Any) -> _Trial:
        """Forget a future."""
        trial = self._flying.pop(future)
        if place := self._places.get(trial.address):
            place.count -= 1
            place.since = time.monotonic()
        future.release()
        return trial

    def _lose(self, future: Any) -> Iterator[Outcome]:
        """The worker of some units is gone: others get them, each alone; a unit with which that happened too often is lost.

        A worker does what it is given in that order, so that only the first of its tasks may have to do with its end.
        """
        address = self._flying[future].address
        at_work = next(other for other, trial in self._flying.items() if trial.address == address)
        blamed = at_work.key == future.key and address not in self._blamed
        if blamed:
            self._blamed.add(address)
        with suppress(Exception):
            self.client.cancel([future], force=True)
        trial = self._land(future)
        self._looked = -math.inf
        if len(trial.units) > 1:  # whose fault it was, if any's, is seen when each is alone
            self._again.extend(trial.apart())
            return
        if not blamed:
            self._again.append(trial)
            return
        trial.losses += 1
        if trial.losses <= self.lost:
            self._again.append(trial)
            return
        hint = "its memory ended, its job's time was over, or it was taken away: the worker's own log says"
        times = "" if trial.losses == 1 else f", and {trial.losses - 1} before it"
        error = StepError(f"the worker was lost{times}", where=trial.units[0].label, hint=hint)
        yield Outcome(trial.units[0], "lost", None, error)

    def _abandon(self) -> None:
        """Take back what is not done."""
        if self._flying:
            with suppress(Exception):  # the scheduler may be what is gone
                self.client.cancel(list(self._flying), force=True)
        self._flying.clear()
        self._again.clear()
        for place in self._places.values():
            place.count = 0

    def close(self) -> None:
        self._abandon()
        for thing in (self.client, *self.owned):
            with suppress(TimeoutError):  # workers that do not answer are killed
                thing.close()
