"""``curate swap``: cleaned copies in the place of their sources."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

HOW_TO_CONTINUE = "run the same command again: it finishes what was begun"


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("dataset", metavar="DATASET", type=Path, help="folder of a finished dataset that holds one file for each source")
    parser.add_argument("--root", metavar="DIR", type=Path, help="folder of the sources, where they are not where the run found them")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--originals", metavar="DIR", type=Path, help="where the sources go; by default ROOT.originals beside ROOT")
    kept.add_argument("--delete-originals", action="store_true", help="delete the sources instead of keeping them")
    kept.add_argument("--undo", action="store_true", help="bring the originals back")
    parser.add_argument("--dry-run", action="store_true", help="only check, and say what would be done")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core.cli.output import console, plural
    from curate_core.swapping import swap, undo

    out = console()
    would = "would be " if arguments.dry_run else ""
    if arguments.undo:
        done = undo(arguments.dataset, root=arguments.root, dry_run=arguments.dry_run)
        if not arguments.quiet:
            out.print(f"{plural(len(done.done), 'original')} {would}brought back in {done.root}.")
        return 0
    done = swap(
        arguments.dataset,
        root=arguments.root,
        originals=arguments.originals,
        delete=arguments.delete_originals,
        dry_run=arguments.dry_run,
    )
    if arguments.quiet:
        return 0
    for name in done.done if arguments.verbose else ():
        out.print(f"  {name}")
    where = f"originals in {done.originals}" if done.originals is not None else "originals deleted"
    out.print(f"{plural(len(done.done), 'file')} {would}replaced in {done.root}{f'; {where}' if done.done else ''}.")
    if done.already:
        out.print(f"{plural(len(done.already), 'file')} there came from an earlier swap and stayed.")
    return 0
