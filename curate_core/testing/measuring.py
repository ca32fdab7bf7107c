"""What every step that measures must do, be it over cases or over samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from curate_core.errors import CurateError
from curate_core.kinds import Case, Context, Measuring, Worker
from curate_core.model import Plain
from curate_core.parts import load_json, save_json
from curate_core.steps import merged
from curate_core.testing.checks import unchanged
from curate_core.testing.making import context

Given = TypeVar("Given")


def kept(value: Plain, what: str) -> Any:
    """The value as the runner hands it on: through a file, the way that units keep theirs."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "value.json"
        try:
            save_json(path, value)
        except (TypeError, ValueError) as error:
            message = f"{what} holds what JSON cannot: {error}"
            raise AssertionError(message) from error
        again = load_json(path)
    why = f"{what} is another after it was saved (a tuple, a key that is no text, NaN?)"
    assert again == value, f"{why}: {brief(again)}, expected {brief(value)}"
    return again


def brief(value: Plain) -> str:
    """The beginning of a value that may be a histogram."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


class MeasuringTests(Generic[Given]):
    """Base of the tests of preprocessors and transforms: values that they measure are plain, and come together from parts.

    Attributes:
        statistics: the merged value that ``apply`` gets; None: what ``measure`` and ``merge`` give, where they are used.
    """

    component: ClassVar[type[Any]]
    statistics: ClassVar[Plain] = None

    def step(self) -> Any:
        """The component under test."""
        raise NotImplementedError

    def given(self) -> Given:
        """What it measures."""
        raise NotImplementedError

    @property
    def _name(self) -> str:
        return self.component.__name__

    def _context(self, step: Measuring, given: Any, statistics: Plain = None) -> Context:
        case = given if isinstance(given, Case) else given.case
        return context(type(step).__name__, case=case.id, state=step.setup(Worker()), statistics=statistics)

    def _measured(self, step: Any, given: Given) -> Any:
        return kept(step.measure(given, self._context(step, given)), f"what {self._name}.measure gives")

    def _merged(self, step: Any, partials: Sequence[Plain]) -> Any:
        """One value, as the runner asks for it."""
        try:
            value = merged(step, partials)
        except CurateError:
            raise
        except Exception as error:
            message = f"{self._name}.merge of {brief([*partials])} failed with {type(error).__name__}: {error}"
            raise AssertionError(message) from error
        return kept(value, f"what {self._name}.merge gives")

    def _statistics(self, step: Any, given: Given) -> Plain:
        if self.statistics is not None or step.statistics_scope() is None:
            return self.statistics
        return self._merged(step, [self._measured(step, given)])

    def _measuring(self) -> Any:
        step = self.step()
        if step.statistics_scope() is None:
            pytest.skip("measures nothing with these options")
        return step

    def test_measuring_leaves_its_input_alone(self) -> None:
        """No bit of what is measured changes, and nothing of what is merged."""
        step, given = self._measuring(), self.given()
        with unchanged(given, f"{self._name}.measure"):
            found = [self._measured(step, given) for _ in range(2)]
        partials = found[:1] if self._alone(step) else found
        with unchanged(partials, f"{self._name}.merge"):
            self._merged(step, partials)

    def test_measures_the_same_again(self) -> None:
        """Twice the same value."""
        step = self._measuring()
        first, second = (self._merged(step, [self._measured(step, self.given())]) for _ in range(2))
        assert first == second, f"{self._name} measures {brief(first)}, the second time {brief(second)}"

    def _alone(self, step: Any) -> bool:
        """Whether there is only ever one partial."""
        return False


def difference(actual: Any, expected: Any, tolerance: float, where: str = "value") -> str:
    """In what two plain values differ first, in words; empty: numbers lie within a relative tolerance, all else is equal."""
    if isinstance(actual, Mapping) and isinstance(expected, Mapping) and actual.keys() == expected.keys():
        return next(filter(None, (difference(actual[k], expected[k], tolerance, f"{where}[{k!r}]") for k in expected)), "")
    if isinstance(actual, list) and isinstance(expected, list) and len(actual) == len(expected):
        pairs = enumerate(zip(actual, expected, strict=True))
        return next(filter(None, (difference(a, b, tolerance, f"{where}[{i}]") for i, (a, b) in pairs)), "")
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (actual, expected))
    same = actual == pytest.approx(expected, rel=tolerance) if numbers else actual == expected
    return "" if same else f"{where} is {brief(actual)}, expected {brief(expected)}"
