"""``curate verify``: a dataset against its own manifest."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

SHOWN = 20


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "dataset", metavar="DATASET", type=Path, help="folder of a finished dataset, or a file whose layout its reader knows"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code: 1 when something is not as it was written."""
    from rich.progress import track
    from rich.text import Text

    from curate_core.cli.output import BAD, GOOD, WEAK, console, count, plural, visible
    from curate_core.dataset import Dataset

    if arguments.dataset.is_file():
        return _file(arguments)
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


def _file(arguments: argparse.Namespace) -> int:
    """A file against the layout that it claims, by the word of its reader."""
    from rich.text import Text

    from curate_core.cli.output import BAD, GOOD, WEAK, console, count, plural, visible
    from curate_core.deprecation import tell_offer
    from curate_core.errors import RequestError
    from curate_core.host import default_host
    from curate_core.opening import choose_reader
    from curate_core.structure import structure

    path: Path = arguments.dataset
    host = default_host()
    offer = choose_reader(host, path)
    tell_offer(offer, "curate verify")
    problems = structure({}, host.load(offer), path.parent).faults(path.absolute())
    if problems is None:
        message = f"files of this kind have no layout to be verified ({offer.qualified})"
        raise RequestError(message, where=str(path), hint="give the folder of a dataset")
    out = console()
    for problem in problems if arguments.verbose else problems[:SHOWN]:
        out.print(Text(visible(problem), BAD), soft_wrap=True)
    if len(problems) > SHOWN and not arguments.verbose:
        out.print(f"... and {count(len(problems) - SHOWN)} more; -v shows all", style=WEAK)
    if problems:
        out.print(f"{plural(len(problems), 'problem')} in {path}.", markup=False, soft_wrap=True)
        return 1
    if not arguments.quiet:
        out.print(Text("The file is as its layout asks.", GOOD))
    return 0
