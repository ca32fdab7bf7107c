"""Errors worth reading: each says what is wrong, where, what was expected and what to do.

Every class carries the exit code of the command line, so that a command never has to guess.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen


class CurateError(Exception):
    """Base of all errors that a user can act on; shown without a traceback.

    Args:
        message: what is wrong and what was expected, one sentence.
        where: the file, spec path, case or sample that it is about.
        hint: what to do about it.
    """

    exit_code = 3

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message, where, hint)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.where, self.hint), self._notes())

    def _notes(self) -> dict[str, list[str]] | None:
        """What pickling keeps besides: notes hold the traceback of another process."""
        notes = getattr(self, "__notes__", None)
        return {"__notes__": list(notes)} if notes else None


def _rebuild(cls: type[CurateError], message: str, where: str, hint: str) -> CurateError:
    """Errors cross process borders; keyword arguments alone do not survive pickling."""
    return cls(message, where=where, hint=hint)


class RequestError(CurateError):
    """The request is wrong (a spec, an option, an output folder); nothing was done."""

    exit_code = 2


class SourceError(CurateError):
    """A source file or layer cannot be used; costs its case only."""


class StepError(CurateError):
    """A step cannot work on this case or sample; costs that case only."""


class RunError(CurateError):
    """The run had to stop: a full disk, a lost worker with ``on_error: stop``."""


class WaitError(CurateError):
    """What was asked for can be done when others have done their part."""

    exit_code = 4


class DiskError(RunError):
    """Something could not be written: a full disk, one that fails, missing rights. No case is to blame."""


class PluginError(CurateError):
    """A plugin is broken, or a component that a spec names cannot be had."""

    exit_code = 2


@frozen
class Problem:
    """One mistake in a spec.

    Attributes:
        path: its place in the file, dotted (``rois.0.size``); empty for the whole file.
        message: what is wrong and what was expected.
        hint: the nearest right word, or what to do.
    """

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text} ({self.hint})" if self.hint else text


class SpecError(RequestError):
    """All mistakes of one spec, found in one pass."""

    def __init__(self, problems: Sequence[Problem], *, where: str = "") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        heading = "1 mistake" if count == 1 else f"{count} mistakes"
        super().__init__("\n".join([heading, *(f"  {problem}" for problem in self.problems)]), where=where)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_spec, (self.problems, self.where), self._notes())


def _rebuild_spec(problems: Sequence[Problem], where: str) -> SpecError:
    return SpecError(problems, where=where)


def place_in(module: str, error: BaseException) -> str:
    """The file and line where an error came out of a package, to be put behind a message; empty if it never was there.

    Args:
        module: one of the package's.
        error: as it was caught.
    """
    from pathlib import PurePath
    from traceback import walk_tb

    package = module.partition(".")[0]
    frames = [(f.f_globals.get("__name__", ""), f.f_code.co_filename, line) for f, line in walk_tb(error.__traceback__)]
    own = [(file, line) for name, file, line in frames if name.partition(".")[0] == package]
    return f" ({PurePath(own[-1][0]).name}, line {own[-1][1]})" if own else ""


def nearest(word: str, candidates: Sequence[str]) -> str:
    """A hint naming the candidate closest to ``word``, or listing all when none is close."""
    import difflib  # only mistakes need it

    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"one of {', '.join(repr(c) for c in sorted(candidates))}" if candidates else ""
