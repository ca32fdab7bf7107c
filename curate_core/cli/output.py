"""How commands write: consoles, and numbers for people."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from curate_core.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import ConsoleOptions, RenderableType

MARK = "cyan"
GOOD, BAD, WEAK = "green", "red", "dim"
UNBROKEN = 10_000
"""Width of what is no terminal: a program reads it line by line."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL_IN_LINES = re.compile(_CONTROL.pattern.replace(r"\x00-\x1f", r"\x00-\x09\x0b-\x1f"))


def visible(text: str) -> str:
    r"""One line in which nothing acts on a terminal or on other lines.

    Names of files and messages of libraries may hold line ends, escape sequences and characters that turn the direction of writing: they
    are spelled out. Bytes that are no UTF-8 become ``\xff``.
    """
    return _CONTROL.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code in (9, 10, 13):
        return {9: "\\t", 10: "\\n", 13: "\\r"}[code]
    return f"\\x{code & 0xFF:02x}" if code < 0x100 or 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


class _Console(Console):
    """A console that writes text as it is, spells out what would act on the terminal, and leaves a closed pipe to
    :mod:`curate_core.cli.main`.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """As Rich's; a text is one line."""
        super().print(*(visible(entry) if isinstance(entry, str) else entry for entry in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """All that is written comes by here."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                text = _CONTROL_IN_LINES.sub(_spelled, segment.text)
                yield Segment(text.encode(self.encoding, "backslashreplace").decode(self.encoding), segment.style)

    def on_broken_pipe(self) -> None:
        """Called while the error is handled; Rich's own would exit with 1, which says that something is in quarantine."""
        raise


def console(*, stderr: bool = False) -> Console:
    """Where a command writes; colours only on a terminal, and never with NO_COLOR. Elsewhere lines are as long as they need to be."""
    made = _Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = UNBROKEN
    return made


class _Table(Table):
    """A table whose cells are one line each."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """As Rich's."""
        super().add_row(*(Text(visible(cell)) if isinstance(cell, str) else cell for cell in cells), **options)


def table(*columns: str, right: tuple[int, ...] = ()) -> Table:
    """A table without lines, for a few columns of facts."""
    made = _Table(box=None, pad_edge=False, show_header=any(columns), header_style=WEAK, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index in right else "left", overflow="fold")
    return made


def facts(values: Mapping[str, object]) -> Table:
    """Names and what they stand for, one a line."""
    made = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    made.add_column(style=WEAK, no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in values.items():
        made.add_row(name, Text(visible(str(value))))
    return made


def count(number: int) -> str:
    """``12,345``."""
    return f"{number:,}"


def plural(number: int, word: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def size(nbytes: float) -> str:
    """``115.6 MB``: powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if nbytes < 1000 or unit == "TB":
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.3g} {unit}" if nbytes < 999.5 else f"{nbytes:.0f} {unit}"
        nbytes /= 1000
    raise AssertionError


def duration(seconds: float) -> str:
    """``0.42 s``, ``12.3 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return visible(str(path.relative_to(Path.cwd()))) or "."
    except ValueError:
        return visible(str(path))


def write_text(path: Path, text: str) -> None:
    """Write a file that the user asked for, whole or not at all.

    Raises:
        RequestError: it cannot be written there.
    """
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        message = f"it cannot be written: {error.strerror or error}"
        raise RequestError(message, where=str(path)) from error
