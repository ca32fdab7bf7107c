"""What every engine must do."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from curate_core.errors import SourceError
from curate_core.hookspec import hookimpl
from curate_core.kinds import Engine, EngineSession, Outcome, Unit, Worker
from curate_core.testing.checks import sent, snapshot
from curate_core.testing.making import make_component, values
from curate_core.testing.running import run_spec

MANY = 1000


def work(unit: Unit, worker: Worker) -> Any:
    """What the kit's units do, wherever the engine does it: square a number, fail in a known way, end their process, or wait."""
    verb, number, *rest = unit.task
    if verb == "where":
        return [platform.node(), os.getpid()]
    if verb == "kill" or (verb == "kill-once" and _first(rest[0])):
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == "kill-once":
        return number**2
    if verb == "wait":
        _wait(number, Path(rest[0]), time.monotonic() + float(rest[1]))
    if verb == "fail":
        message = f"unit {number} is torn"
        raise SourceError(message, where="file", hint="copy it again")
    if verb == "bug":
        return [][number]
    return number**2 if verb == "square" else [worker.index, worker.device]


def _first(mark: str) -> bool:
    """Whether this is the first call with a file, which is made."""
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _wait(number: int, folder: Path, until: float) -> None:
    """Say which unit has begun, and where; wait for a file ``end``, and say that it is done."""
    (folder / f"begun-{number}-{platform.node()}:{os.getpid()}:{threading.get_ident()}").touch()
    while not (folder / "end").exists() and time.monotonic() < until:
        time.sleep(0.05)
    (folder / f"ended-{number}").touch()


class EngineTests:
    """An engine does every unit once and says of each what became of it.

    Example::

        class TestRayEngine(EngineTests):
            component = RayEngine
            options = {"workers": 2}

    Attributes:
        component: the class under test.
        options: its options, as a spec writes them.
        ahead: units that it may take beyond those that were asked for.
        long: seconds of a unit that nobody is to wait for.
        settling: seconds after which what was closed is at rest.
    """

    component: ClassVar[type[Engine]]
    options: ClassVar[Mapping[str, Any]] = {}
    ahead: ClassVar[int] = 100
    long: ClassVar[float] = 60.0
    settling: ClassVar[float] = 1.0

    def engine(self) -> Engine:
        """The component under test."""
        return make_component(self.component, self.options)

    def session(self) -> AbstractContextManager[EngineSession]:
        """A session with the kit's ``work``; where opening takes long, a subclass gives the same to all tests."""
        return self.engine().open(work)

    def run(self, units: Sequence[Unit]) -> list[Outcome]:
        """What became of units."""
        with self.session() as session:
            outcomes = list(session.run(units))
        for outcome in outcomes:
            assert isinstance(outcome, Outcome), f"{self._name} reports {type(outcome).__name__}, expected an Outcome"
        return outcomes

    @property
    def _name(self) -> str:
        return self.component.__name__

    def test_every_unit_is_done_once(self) -> None:
        """One outcome a unit, with what the work returned."""
        units = [make_unit("square", number) for number in range(20)]
        outcomes = self.run(units)
        keys = [outcome.unit.key for outcome in outcomes]
        assert sorted(keys) == sorted(unit.key for unit in units), f"{self._name} reports {sorted(keys)} of 20 units"
        for outcome in outcomes:
            assert outcome.status == "done", f"{self._name}: {outcome.unit.label} is {outcome.status}: {outcome.error}"
            expected = outcome.unit.task[1] ** 2
            assert outcome.value == expected, f"{self._name}: {outcome.unit.label} gave {outcome.value!r}, expected {expected}"

    def test_nothing_to_do(self) -> None:
        """No units, no outcomes."""
        assert self.run([]) == [], f"{self._name} reports outcomes of no units"

    def test_a_failure_is_reported_whole(self) -> None:
        """The error of a unit is its outcome's, with its words; the others go on."""
        for outcome in self.run([make_unit("square", 1), make_unit("fail", 2), make_unit("square", 3)]):
            if outcome.unit.task[0] == "square":
                assert outcome.status == "done", f"{self._name}: a unit is {outcome.status} because another failed"
                continue
            error = outcome.error
            assert outcome.status == "failed", f"{self._name}: a unit that raised is {outcome.status}, expected failed"
            assert isinstance(error, SourceError), f"{self._name}: the error arrives as {type(error).__name__}, expected SourceError"
            said = (error.message, error.where, error.hint)
            assert said == ("unit 2 is torn", "file", "copy it again"), f"{self._name}: the error arrives as {said}"

    def test_a_bug_is_reported(self) -> None:
        """Exceptions that curate does not know are failures as well."""
        (outcome,) = self.run([make_unit("bug", 1)])
        assert outcome.status == "failed", f"{self._name}: a unit that raised IndexError is {outcome.status}, expected failed"
        assert "IndexError" in repr(outcome.error), f"{self._name}: an IndexError arrives as {outcome.error!r}"

    def test_units_are_taken_as_there_is_room(self) -> None:
        """A million units may wait: they are not all taken at once. Closing early ends it."""
        taken = 0

        def units() -> Iterator[Unit]:
            nonlocal taken
            for number in range(MANY):
                taken += 1
                yield make_unit("square", number)

        with self.session() as session:
            running = session.run(units())
            first = list(islice(running, 3))
            close = getattr(running, "close", None)
            if close is not None:
                close()
        assert len(first) == 3, f"{self._name} gave {len(first)} outcomes of {MANY} units"
        assert taken <= 3 + self.ahead, f"{self._name} took {taken} units when 3 outcomes were asked for"

    def test_a_unit_alone(self) -> None:
        """What was lost is done once more by itself."""
        with self.session() as session:
            outcome = session.run_alone(make_unit("square", 7))
        assert (outcome.status, outcome.value) == ("done", 49), f"{self._name}.run_alone gave {outcome}"

    def test_workers_say_who_they_are(self) -> None:
        """The work gets a Worker with a number and a device."""
        for outcome in self.run([make_unit("who", number) for number in range(4)]):
            assert outcome.status == "done", f"{self._name}: {outcome.unit.label} is {outcome.status}: {outcome.error}"
            index, device = outcome.value
            assert type(index) is int, f"{self._name}: the worker's index is {index!r}, expected a whole number"
            assert isinstance(device, str), f"{self._name}: the worker's device is {device!r}, expected text"

    def test_engine_crosses_processes(self) -> None:
        """The component is plain."""
        assert sent(self.engine(), self._name) == self.engine(), f"{self._name} is another after it was sent"

    def test_a_killed_worker_costs_nobody_else(self, tmp_path: Path) -> None:
        """A unit whose process ends is lost, or done by another; what was beside it is done, at the latest alone."""
        self._needs_processes()
        units = [make_unit("square", number) for number in range(6)]
        units[3:3] = [make_unit("kill", 100), make_unit("kill-once", 7, str(tmp_path / "first"))]
        with self.session() as session:
            first = list(session.run(units))
            again = [session.run_alone(o.unit) if o.status == "lost" and o.unit.task[0] != "kill" else o for o in first]
        keys = sorted(outcome.unit.key for outcome in again)
        assert keys == sorted(unit.key for unit in units), f"{self._name} reports {keys} when a worker is killed"
        for outcome in again:
            if outcome.unit.task[0] == "kill":
                assert outcome.status == "lost", f"{self._name}: a unit that ends its process is {outcome.status}, expected lost"
                assert outcome.error is not None, f"{self._name} does not say how {outcome.unit.label} was lost"
                continue
            said, expected = (outcome.status, outcome.value), ("done", outcome.unit.task[1] ** 2)
            assert said == expected, f"{self._name}: {outcome.unit.label}, alone, is {said}, expected {expected}: {outcome.error}"

    def test_closing_waits_for_no_unit(self, tmp_path: Path) -> None:
        """A run that is stopped is stopped: what has not begun never does, what is at work is not waited for."""
        self._needs_processes()
        units = [make_unit("square", 1), *(make_unit("wait", number, str(tmp_path), str(self.long)) for number in range(50))]
        with self.engine().open(work) as session:
            running = session.run(units)
            assert next(running).status == "done"
            until = time.monotonic() + self.long
            while not sorted(tmp_path.glob("begun-*")) and time.monotonic() < until:
                time.sleep(0.05)
            close = getattr(running, "close", None)
            assert close is not None, f"{self._name}: what run gives cannot be closed"
            close()
        ended = sorted(path.name for path in tmp_path.glob("ended-*"))
        assert ended == [], f"{self._name} waits for the units at work when it is closed"
        # A unit that a worker has may begin now, while the worker imports what it needs: but where one was at work, no other may follow.
        time.sleep(self.settling)
        (tmp_path / "end").touch()
        time.sleep(self.settling)
        places = Counter(path.name.split("-", 2)[2] for path in sorted(tmp_path.glob("begun-*")))
        again = {place: count for place, count in places.items() if count > 1}
        assert not again, f"{self._name} goes on after it was closed: {again} units were begun in one place, expected 1"

    def test_a_run_has_the_bytes_of_every_other(self, tmp_path: Path) -> None:
        """A dataset as the engine ``local`` makes it; of its samples, which workers write, next to nothing comes back from them."""
        for number in range(2):
            np.save(tmp_path / f"{number}.npy", values((16, 256, 256), "uint16", number), allow_pickle=False)
        spec = {
            "source": {"use": "files", "pattern": "{case}.npy"},
            "preprocess": [{"use": "to-uint8", "range": "percentile", "over": "dataset"}],
            "rois": [{"use": "grid", "size": [4, 64, 64]}],
            "filter": [{"use": "limit", "count": 100, "within": "dataset"}],
            "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
        }
        heard = _Heard()
        run_spec({**spec, "output": "wanted"}, tmp_path)
        run_spec({**spec, "output": "found"}, tmp_path, engine=self.engine(), listeners=[heard])
        wanted, found = (
            {file: digest for file, (digest, _) in snapshot(tmp_path / name).items() if not file.startswith(".curate/")}
            for name in ("wanted", "found")
        )
        assert found == wanted, f"{self._name} makes another dataset than the engine local"
        total = 100 * 4 * 64 * 64
        assert heard.nbytes < total / 10, f"{self._name}: {heard.nbytes} bytes come back from workers for {total} bytes of samples"

    def _needs_processes(self) -> None:
        (outcome,) = self.run([make_unit("where", 0)])
        if outcome.value == [platform.node(), os.getpid()]:
            pytest.skip("units are done in this process")


class _Heard:
    """How much comes back from workers."""

    def __init__(self) -> None:
        self.nbytes = 0

    @hookimpl
    def curate_unit_finished(self, outcome: Outcome) -> None:
        self.nbytes += len(ForkingPickler.dumps(outcome.value))


def make_unit(verb: str, number: int, *rest: str) -> Unit:
    """A unit for ``work``."""
    return Unit(f"{verb}-{number}", f"{verb} {number}", (verb, number, *rest), 1, f"case-{number}")
