"""What every command must do."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from curate_core.errors import CurateError
from curate_core.kinds import Command
from curate_core.testing.making import make_component

OF_EVERY_COMMAND = ("-h", "--help", "-v", "--verbose", "-q", "--quiet", "--debug")


class CommandTests:
    """A command explains each of its arguments, and gives an exit code.

    Example::

        class TestPreview(CommandTests):
            component = Preview

            def words(self, folder):
                numpy.save(folder / "a.npy", numpy.zeros((3, 3)))
                return [str(folder / "a.npy")]

    Attributes:
        component: the class under test; ``curate`` makes it without options.
    """

    component: ClassVar[type[Command]]

    def words(self, folder: Path) -> Sequence[str]:
        """What stands behind the command for a call that succeeds; make below ``folder`` what it needs."""
        return ()

    def wrong_words(self, folder: Path) -> Sequence[str] | None:
        """Words that parse, but ask for what cannot be done (a file that is not there); None: there are none."""
        return None

    def parser(self) -> argparse.ArgumentParser:
        """A parser with the options of every command and those of this one."""
        parser = argparse.ArgumentParser("curate", exit_on_error=False)
        parser.add_argument("-v", "--verbose", action="store_true", help="say more")
        parser.add_argument("-q", "--quiet", action="store_true", help="say less")
        parser.add_argument("--debug", action="store_true", help="show tracebacks")
        make_component(self.component, {}).add_arguments(parser)
        return parser

    def run(self, words: Sequence[str]) -> int:
        """Call the command; returns its exit code."""
        return make_component(self.component, {}).run(self.parser().parse_args(list(words)))

    @property
    def _name(self) -> str:
        return self.component.__name__

    def test_needs_no_options(self) -> None:
        """``curate`` makes the component as it is: what varies is an argument."""
        required = [name for name, p in inspect.signature(self.component).parameters.items() if p.default is p.empty]
        assert not required, f"{self._name} has options without a default: {', '.join(required)}; declare arguments instead"

    def test_arguments_do_not_clash(self) -> None:
        """None is called as those that every command has."""
        try:
            self.parser()
        except argparse.ArgumentError as error:
            message = f"{self._name}.add_arguments: {error}; {', '.join(OF_EVERY_COMMAND)} are taken"
            raise AssertionError(message) from error

    def test_arguments_are_explained(self) -> None:
        """Each has a help text."""
        silent = [action.dest for action in self.parser()._actions if not action.help]  # noqa: SLF001 - there is no public way
        assert not silent, f"{self._name}: no help for {', '.join(silent)}"

    def test_gives_an_exit_code(self, tmp_path: Path) -> None:
        """0 for a call that succeeds."""
        code = self.run(self.words(tmp_path))
        assert type(code) is int, f"{self._name}.run gave {code!r}, expected an exit code"
        assert code == 0, f"{self._name}.run gave {code}, expected 0"

    def test_what_cannot_be_done_is_explained(self, tmp_path: Path) -> None:
        """A CurateError or an exit code, never another exception."""
        words = self.wrong_words(tmp_path)
        if words is None:
            pytest.skip("no wrong_words")
        try:
            code = self.run(words)
        except CurateError:
            return
        except Exception as error:
            message = f"{self._name}, asked for what cannot be done: expected a RequestError, got {type(error).__name__}: {error}"
            raise AssertionError(message) from error
        assert code != 0, f"{self._name} gives 0 when asked for what cannot be done"
