"""``curate``: finds the command, runs it, and turns errors into messages and exit codes.

Start-up is felt at every ``--help``, so this module imports argparse and nothing of curate's own that is heavy.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, cast

from curate_core import __version__
from curate_core.cli.parser import WRONG, Parser
from curate_core.cli.stopping import INTERRUPTED, stoppable
from curate_core.commands import COMMANDS

DESCRIPTION = "Turns raw scientific images into training sets."
EPILOG = """\
options of every command:
  -v, --verbose  say more
  -q, --quiet    say nothing but errors and what was asked for
  --debug        show tracebacks

"curate help COMMAND" explains one command.
Commands that plugins bring are listed by "curate plugins".
"""
BROKEN_PIPE = 141


class CommandModule(Protocol):
    """What a module of this package offers."""

    def configure(self, parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
        """Declare the arguments; ``words`` are those given, for commands whose arguments depend on the first."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        words: what stands behind ``curate``; by default of this process.

    Returns:
        The exit code: 0 complete, 1 complete but for something that was reported, 2 the request is wrong, 3 stopped by a failure,
        4 a shard waits for others, 130 interrupted.
    """
    words = list(sys.argv[1:] if words is None else words)
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if not words or words[0].startswith("-"):
        return _without_command(words)
    word, rest = words[0], words[1:]
    debug = "--debug" in rest
    hint = ""
    try:
        parser, module = parser_of(word, rest)
        hint = getattr(module, "how_to_continue", _no_hint)(rest)
        with stoppable():
            code = module.run(parser.parse(rest))
            sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        if debug:
            raise
        with suppress(OSError):  # the terminal may be gone
            print(f"\ninterrupted{': ' if hint else ''}{hint}", file=sys.stderr, flush=True)  # noqa: T201
        return INTERRUPTED
    except Exception as error:
        from curate_core.cli.failures import report

        return report(error, debug)
    return code


def _without_command(words: list[str]) -> int:
    commands = "\n".join(f"  {word:<10} {summary}" for word, (_, summary) in COMMANDS.items())
    parser = Parser(
        "curate",
        usage="curate COMMAND [options]",
        description=f"{DESCRIPTION}\n\ncommands:\n{commands}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"curate {__version__}", help="show the version and exit")
    if not words:
        parser.print_help(sys.stderr)
        return WRONG
    command = next((word for word in words if word in COMMANDS), "")
    if command and not {"-h", "--help", "--version"} & set(words):
        parser.complain("the command comes first", f"curate {command} {words[0]} ...")
    parser.parse(words)  # exits: these were --help, --version or a mistake
    return WRONG


def _find(word: str) -> tuple[CommandModule, str]:
    """The module of a built-in command, or the adapter of one that a plugin brings."""
    from importlib import import_module

    if word in COMMANDS:
        name, summary = COMMANDS[word]
        return cast(CommandModule, import_module(f"curate_core.cli.{name}")), summary
    from curate_core.cli.foreign import find

    return find(word, list(COMMANDS))


def parser_of(word: str, words: Sequence[str] = ()) -> tuple[Parser, CommandModule]:
    """The parser of a command's arguments, and the command.

    Args:
        word: the command's name.
        words: what stands behind it.

    Raises:
        RequestError: there is no such command.
        PluginError: the plugin that brings it is broken, or several do.
    """
    module, summary = _find(word)
    description = f"{summary[0].upper()}{summary[1:].removesuffix('.')}."
    parser = Parser(f"curate {word}", description=description)
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="store_true", help="say more")
    loudness.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors and what was asked for")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    module.configure(parser, words)
    return parser, module


def _no_hint(words: Sequence[str]) -> str:
    return ""


def _silence_stdout() -> None:
    """Whoever read our output has gone; keep the interpreter from complaining about it at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is no file
        return


if __name__ == "__main__":
    sys.exit(main())
