"""``curate new-plugin``: a working plugin package with its tests."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from curate_core.providers import KIND_NAMES


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    kinds = [kind.replace("_", "-") for kind in KIND_NAMES]
    parser.add_argument("name", metavar="NAME", help="what specs will call it, such as hot-spots; the package is curate-NAME")
    parser.add_argument("--kind", choices=kinds, required=True, help="what it is")
    parser.add_argument("--into", metavar="DIR", type=Path, default=Path(), help="where its folder goes instead of the current folder")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core.cli.output import console, shown
    from curate_core.host import default_host
    from curate_core.scaffold import new_plugin

    made = new_plugin(arguments.name, arguments.kind, arguments.into, default_host())
    if arguments.quiet:
        return 0
    out = console()
    folder = shown(made.folder)
    out.print(
        f"{folder} holds a plugin with the {arguments.kind} {made.folder.name.removeprefix('curate-')!r}:", markup=False, soft_wrap=True
    )
    for file in made.files:
        out.print(f"  {file}", markup=False, soft_wrap=True)
    for file in made.joined:
        out.print(f"{file} names it now", markup=False, soft_wrap=True)
    quoted = shlex.quote(folder)
    steps = [
        ("install it", f"pip install -e {shlex.quote(f'{folder}[test]')}"),
        ("test it", f"pytest {quoted}"),
        ("see it", "curate plugins --check"),
    ]
    if made.joined:
        steps.append(("then", "curate schema -o specs/curate.schema.json"))
    out.print()
    for title, command in steps:
        out.print(f"  {title:<12}{command}", markup=False, soft_wrap=True)
    return 0
