"""The parser of every command: its complaints look like all others, and name the nearest option."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

WRONG = 2


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations; they would change their meaning with every new option."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"allow_abbrev": False, **options})

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments; exits with 2 where they are wrong, and names what was not understood."""
        arguments, unknown = self.parse_known_args(words)
        flags = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        if flags:
            self.complain(f"there is no option {flags[0]!r}", self._nearest(flags[0]))
        if unknown:
            self.complain(f"{unknown[0]!r} is one argument too many")
        return arguments

    def error(self, message: str) -> NoReturn:
        """Called by argparse."""
        self.complain(message)

    def complain(self, message: str, hint: str = "") -> NoReturn:
        """Say how the command is used and what is wrong; exits with 2."""
        from curate_core.cli.failures import show

        self.print_usage(sys.stderr)
        show([f"{self.prog}: {message}", *([f"  hint: {hint}"] if hint else [])])
        sys.exit(WRONG)

    def _nearest(self, flag: str) -> str:
        from curate_core.errors import nearest

        known = [word for word in self._option_string_actions if word.startswith("--")]
        close = nearest(flag, known)
        return close if "did you mean" in close else f"{self.prog} --help lists them"
