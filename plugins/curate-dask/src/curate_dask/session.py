"""Units on the workers of a Dask cluster: a few for each worker at a time, whatever their number."""

from __future__ import annotations

import logging
import math
import operator
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from attrs import define, field

from curate_core.builtin.local import attempt, portable, require
from curate_core.errors import StepError
from curate_core.kinds import EngineSession, Outcome, Unit, Worker

Work = Callable[[Unit, Worker], Any]
_DEPTH = 2
"""Units that a worker has at a time: one at work, one that waits, so that it need not wait for the coordinator."""
_LOOK = 0.5
"""Seconds between two looks at which workers there are."""
_IDLE = 60.0
"""Seconds without work after which an elastic cluster may let a worker go: the next round may be near."""
_one_at_a_time = threading.Lock()
_log = logging.getLogger("curate")


def perform(work: Work, unit: Unit, worker: Worker) -> tuple[Any, Any, Any]:
    """Status, value and error of a unit, in a worker. What units share in a process is made for one at a time, so threads wait."""
    with _one_at_a_time:
        return attempt(work, unit, worker)


@define(eq=False)
class _Place:
    """A worker: its name, how many units it has, since when it has none, and the case that it was given last."""

    name: str
    count: int = 0
    case: str = ""
    since: float = field(factory=time.monotonic)


@define(eq=False)
class ClusterSession(EngineSession):
    """Units go to the workers that a scheduler knows.

    Attributes:
        client: a ``distributed.Client``.
        work: picklable.
        each: memory that one unit may need, bytes; infinite: not known.
        budget: memory that all units at work may need together, bytes.
        device: of every worker.
        resources: Dask's worker resources that each unit takes.
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
    owned: tuple[Any, ...] = ()
    keep: Callable[[int, Collection[str], Collection[str]], Collection[str]] = lambda left, there, idle: ()
    _places: dict[str, _Place] = field(factory=dict, init=False)
    _flying: dict[Any, tuple[Unit, str]] = field(factory=dict, init=False)
    _looked: float = field(default=-math.inf, init=False)
    _given: int = field(default=0, init=False)

    def check(self, units: Iterable[Unit]) -> None:
        for unit in units:
            require(unit, min(self.each, self.budget))

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        left = operator.length_hint(units, 1)
        source = iter(units)
        waiting = next(source, None)
        alone_since, patience = time.monotonic(), 30.0
        try:
            while waiting is not None or self._flying:
                self._look(left)
                while waiting is not None and (place := self._room(waiting)) is not None:
                    self.check([waiting])
                    self._submit(waiting, place, ended)
                    waiting = next(source, None)
                if self._places:
                    alone_since, patience = time.monotonic(), 30.0
                elif time.monotonic() - alone_since > patience:
                    _log.warning("no worker has been there for %.0f s: units wait", patience)
                    patience *= 2
                try:
                    future = ended.get(timeout=_LOOK)
                except queue.Empty:
                    continue
                left -= 1
                yield self._received(future)
        finally:
            self._abandon()

    def _look(self, left: int) -> None:
        """Which workers are there now?"""
        now = time.monotonic()
        if now - self._looked < (_LOOK if self._places else _LOOK / 10):
            return
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        found = {address: self._places.get(address) or _Place(str(workers[address]["name"])) for address in sorted(workers)}
        idle = [place.name for place in found.values() if not place.count and now - place.since > _IDLE]
        leaving = self.keep(left, [place.name for place in found.values()], idle)
        self._places = {address: place for address, place in found.items() if place.name not in leaving}
        self._looked = now

    def _room(self, unit: Unit) -> str | None:
        """The worker for a unit: one that has room, at best the one that had its case, else the one that has least to do."""
        if self._flying and sum(other.nbytes for other, _ in self._flying.values()) + unit.nbytes > self.budget:
            return None
        free = [address for address, place in self._places.items() if place.count < _DEPTH]
        return min(free, key=lambda address: (self._places[address].case != unit.case, self._places[address].count), default=None)

    def _submit(self, unit: Unit, address: str, ended: queue.SimpleQueue[Any]) -> None:
        self._given += 1
        future = self.client.submit(
            perform,
            self.work,
            unit,
            Worker(1, self.device),
            key=f"curate-{id(self)}-{self._given}",
            workers=[address],
            allow_other_workers=True,
            resources=dict(self.resources) or None,
            pure=False,
        )
        self._flying[future] = (unit, address)
        place = self._places[address]
        place.count, place.case = place.count + 1, unit.case
        future.add_done_callback(ended.put)

    def _received(self, future: Any) -> Outcome:
        """What a worker sent, or how it died."""
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        unit, address = self._flying.pop(future)
        if address in self._places:
            self._places[address].count -= 1
            self._places[address].since = time.monotonic()
        try:
            return Outcome(unit, *future.result())
        except (KilledWorker, FutureCancelledError):
            self._looked = -math.inf
            hint = "its memory ended, its job's time was over, or it was taken away: the worker's own log says"
            return Outcome(unit, "lost", None, StepError("the worker was lost", where=unit.label, hint=hint))
        except Exception as error:  # the value does not pickle
            return Outcome(unit, "failed", None, portable(error))
        finally:
            future.release()

    def _abandon(self) -> None:
        """Take back what is not done."""
        if self._flying:
            with suppress(Exception):  # the scheduler may be what is gone
                self.client.cancel(list(self._flying), force=True)
        self._flying.clear()
        for place in self._places.values():
            place.count = 0

    def close(self) -> None:
        self._abandon()
        for thing in (self.client, *self.owned):
            with suppress(TimeoutError):  # workers that do not answer are killed
                thing.close()
