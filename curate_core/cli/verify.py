"""``curate verify``: a dataset against its own manifest."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

SHOWN = 20


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("dataset", metavar="DATASET", type=Path, help="folder of a finished dataset")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code: 1 when something is not as it was written."""
    from rich.progress import track
    from rich.text import Text

    from curate_core.cli.output import BAD, GOOD, WEAK, console, count, plural, visible
    from curate_core.dataset import Dataset

    dataset = Dataset(arguments.dataset)
    errors = console(stderr=True)
    steps = iter(track(range(len(dataset)), "verifying", console=errors, transient=True, disable=arguments.quiet or not errors.is_terminal))

    def advance(_: int) -> None:
        next(steps, None)

    problems = dataset.verify(advance)
    out = console()
    for problem in problems if arguments.verbose else problems[:SHOWN]:
        out.print(Text(visible(problem), BAD), soft_wrap=True)
    if len(problems) > SHOWN and not arguments.verbose:
        out.print(f"... and {count(len(problems) - SHOWN)} more; -v shows all", style=WEAK)
    if problems:
        out.print(f"{plural(len(problems), 'problem')} in {plural(len(dataset), 'sample')}.")
        return 1
    if not arguments.quiet:
        out.print(Text(f"All {plural(len(dataset), 'sample')} are as they were written.", GOOD))
    return 0
