"""What every engine must do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from curate_core.errors import SourceError
from curate_core.kinds import Engine, Outcome, Unit, Worker
from curate_core.testing.checks import across_processes
from curate_core.testing.making import make_component

MANY = 1000


def work(unit: Unit, worker: Worker) -> Any:
    """What the kit's units do, wherever the engine does it: square a number, or fail in a known way."""
    verb, number = unit.task
    if verb == "fail":
        message = f"unit {number} is torn"
        raise SourceError(message, where="file", hint="copy it again")
    if verb == "bug":
        return [][number]
    return number**2 if verb == "square" else [worker.index, worker.device]


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
    """

    component: ClassVar[type[Engine]]
    options: ClassVar[Mapping[str, Any]] = {}
    ahead: ClassVar[int] = 100

    def engine(self) -> Engine:
        """The component under test."""
        return make_component(self.component, self.options)

    def run(self, units: Sequence[Unit]) -> list[Outcome]:
        """What became of units."""
        with self.engine().open(work) as session:
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

        with self.engine().open(work) as session:
            running = session.run(units())
            first = list(islice(running, 3))
            close = getattr(running, "close", None)
            if close is not None:
                close()
        assert len(first) == 3, f"{self._name} gave {len(first)} outcomes of {MANY} units"
        assert taken <= 3 + self.ahead, f"{self._name} took {taken} units when 3 outcomes were asked for"

    def test_a_unit_alone(self) -> None:
        """What was lost is done once more by itself."""
        with self.engine().open(work) as session:
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
        assert across_processes(self.engine()) == self.engine(), f"{self._name} is another after it was sent"


def make_unit(verb: str, number: int) -> Unit:
    """A unit for ``work``."""
    return Unit(f"{verb}-{number}", f"{verb} {number}", (verb, number), 1, f"case-{number}")
