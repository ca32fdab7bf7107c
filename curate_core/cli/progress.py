"""Progress of a run: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from curate_core.cli.output import WEAK, console, count
from curate_core.hookspec import hookimpl
from curate_core.kinds import Outcome

SECONDS = 5.0


class Progress:
    """Listens to a run and tells how far it is.

    Args:
        quiet: say nothing.
        verbose: name every unit.
        debug: show the traceback of every unit that fails, also of those that fail in a worker.
    """

    def __init__(self, *, quiet: bool, verbose: bool, debug: bool = False) -> None:
        self.quiet, self.verbose, self.debug = quiet, verbose, debug
        self.console = console(stderr=True)
        self.bar: Any = None
        self.task: Any = None
        self.title, self.total, self.done, self.failed = "", 0, 0, 0
        self._last = time.monotonic()

    def __enter__(self) -> Progress:
        if not self.quiet and self.console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description:<24}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[said]}", markup=False),
            )
            self.bar = Bar(*columns, console=self.console, transient=True)
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    @hookimpl
    def curate_round_started(self, title: str, total_units: int) -> None:
        """Begin a bar."""
        self.title, self.total, self.done = title, total_units, 0
        if self.bar is not None:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task = self.bar.add_task(title, total=total_units, said="")

    @hookimpl
    def curate_unit_finished(self, outcome: Outcome, counts: Mapping[str, int]) -> None:
        """Move the bar, or say a line."""
        self.done += 1
        self.failed += outcome.status != "done"
        said = self._counts(counts)
        for note in getattr(outcome.error, "__notes__", ()) if self.debug else ():
            for line in note.splitlines():
                self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self.quiet:
            return
        if self.verbose or outcome.status != "done":
            reason = "" if outcome.error is None else f": {outcome.error}"
            self.console.print(f"{self.title}: {outcome.unit.label}: {outcome.status}{reason}", markup=False, soft_wrap=True)
        if self.bar is not None:
            self.bar.update(self.task, advance=1, said=said)
        elif time.monotonic() - self._last > SECONDS or self.done == self.total:
            self._last = time.monotonic()
            self.console.print(f"{self.title}: {self.done} of {self.total}{f', {said}' if said else ''}", markup=False, style=WEAK)

    def _counts(self, counts: Mapping[str, int]) -> str:
        return ", ".join(f"{count(number)} {name}" for name, number in counts.items() if number)
