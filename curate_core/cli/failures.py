"""What the user sees when something goes wrong, on stderr."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from curate_core.errors import CurateError, SpecError

FAILED = 3
SHOWN = 100


def report(error: Exception, debug: bool) -> int:
    """Explain an error; returns the exit code. The traceback is shown only with ``debug``."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, CurateError):
        lines = explain(error)
        code = error.exit_code
    else:
        lines = _refused(error) if isinstance(error, OSError) and error.strerror else _bug(error, debug)
        code = FAILED
    show(lines)
    return code


def explain(error: CurateError) -> list[str]:
    """The lines of a message: what and where, each mistake of a spec, what to do."""
    where = f"{error.where}: " if error.where else ""
    if isinstance(error, SpecError):
        heading = "1 mistake" if len(error.problems) == 1 else f"{len(error.problems)} mistakes"
        more = [f"  ... and {len(error.problems) - SHOWN:,} more"] if len(error.problems) > SHOWN else []
        return [f"{where}{heading}", *(f"  {problem}" for problem in error.problems[:SHOWN]), *more]
    lines = [f"{where}{error.message}"]
    if error.hint:
        lines.append(f"  hint: {error.hint}")
    return lines


def _refused(error: OSError) -> list[str]:
    """The system said no (a full disk, missing rights), which is nobody's bug."""
    return [f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)]


def _bug(error: Exception, debug: bool) -> list[str]:
    owner = _owner(error)
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    again = "" if debug else "; --debug shows where"
    return [f"unexpected {said}", f"  hint: this is a bug in {owner}, please report it{again}"]


def _owner(error: BaseException) -> str:
    """The distribution whose code the error came from: the innermost frame that belongs to curate or to a plugin."""
    host_module = sys.modules.get("curate_core.host")
    owners = {"curate_core": "curate"}
    if host_module is not None and host_module.default_host.cache_info().currsize:
        for plugin in host_module.default_host().plugins:
            owners.setdefault(plugin.module.partition(".")[0], f"the plugin {plugin.distribution}")
    packages = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((owners[package] for package in reversed(packages) if package in owners), "curate")


def show(lines: Sequence[str]) -> None:
    """Print a message: what is wrong, and further lines."""
    from rich.text import Text

    from curate_core.cli.output import console, visible

    errors = console(stderr=True)
    heading, *rest = map(visible, lines)
    errors.print(Text.assemble(("error: ", "bold red"), heading), soft_wrap=True)
    for line in rest:
        errors.print(Text(line), soft_wrap=True)
