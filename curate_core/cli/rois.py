"""``curate rois``: only find the ROIs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from curate_core.cli.arguments import add_spec, load_spec


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    add_spec(parser)
    parser.add_argument("-o", dest="file", metavar="FILE", type=Path, required=True, help=".npz (columns) or .jsonl (a line a ROI)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core.cli.output import console, count, plural
    from curate_core.errors import RequestError
    from curate_core.plan import find_rois
    from curate_core.roifile import save_rois

    if arguments.file.exists() and not arguments.overwrite:
        message = "the file is there already"
        raise RequestError(message, where=str(arguments.file), hint="choose another, or replace it with --overwrite")
    if not arguments.file.absolute().parent.is_dir():
        message = "there is no such folder"
        raise RequestError(message, where=str(arguments.file.absolute().parent))
    spec, host = load_spec(arguments)
    found = {case: (table, grids) for case, table, grids in find_rois(spec, host)}
    try:
        save_rois(arguments.file, found)
    except OSError as error:
        message = f"it cannot be written: {error.strerror or error}"
        raise RequestError(message, where=str(arguments.file)) from error
    if not arguments.quiet:
        total = sum(len(table) for table, _ in found.values())
        out = console()
        file = arguments.file.absolute()
        from_spec = file.relative_to(spec.folder) if file.is_relative_to(spec.folder) else file
        step = json.dumps({"use": "list", "file": str(from_spec)}, ensure_ascii=False)
        out.print(
            f"{count(total)} {'ROI' if total == 1 else 'ROIs'} of {plural(len(found), 'case')} are in {arguments.file}",
            markup=False,
            soft_wrap=True,
        )
        out.print(f'  use them    "rois": [{step}]', markup=False, soft_wrap=True)
    return 0
