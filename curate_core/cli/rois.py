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
    parser.add_argument(
        "-o",
        dest="file",
        metavar="FILE",
        type=Path,
        required=True,
        help=".npz (columns), .jsonl (a line a ROI), .npy (places), or a folder for a .npy a case",
    )
    parser.add_argument("--anchor", choices=("center", "corner"), default="center", help="what a place in .npy is of its box")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core.cli.output import console, count, plural
    from curate_core.coordinates import save_coordinates
    from curate_core.errors import RequestError
    from curate_core.plan import case_rois
    from curate_core.roifile import save_rois

    if arguments.file.exists() and not arguments.overwrite:
        message = "the file is there already"
        raise RequestError(message, where=str(arguments.file), hint="choose another, or replace it with --overwrite")
    if not arguments.file.absolute().parent.is_dir():
        message = "there is no such folder"
        raise RequestError(message, where=str(arguments.file.absolute().parent))
    spec, host = load_spec(arguments)
    found = {case: (table, grids) for case, table, grids in case_rois(spec, host)}
    places = arguments.file.suffix.lower() in ("", ".npy")
    try:
        if places:
            save_coordinates(arguments.file, {case: table for case, (table, _) in found.items()}, arguments.anchor)
        else:
            save_rois(arguments.file, found)
    except OSError as error:
        message = f"it cannot be written: {error.strerror or error}"
        raise RequestError(message, where=str(arguments.file)) from error
    if not arguments.quiet:
        total = sum(len(table) for table, _ in found.values())
        out = console()
        file = arguments.file.absolute()
        from_spec = file.relative_to(spec.folder) if file.is_relative_to(spec.folder) else file
        use: dict[str, object] = {"use": "list", "file": str(from_spec)}
        if places:
            sizes = [table.views[0].shape[0].tolist() for table, _ in found.values() if len(table)]
            corner = {"anchor": "corner"} if arguments.anchor == "corner" else {}
            use = {"use": "coordinates", "file": str(from_spec), "size": sizes[0] if sizes else [], **corner}
        step = json.dumps(use, ensure_ascii=False)
        out.print(
            f"{count(total)} {'ROI' if total == 1 else 'ROIs'} of {plural(len(found), 'case')} are in {arguments.file}",
            markup=False,
            soft_wrap=True,
        )
        out.print(f'  use them    "rois": [{step}]', markup=False, soft_wrap=True)
    return 0
