"""``curate new-plugin``: a working plugin package with its tests."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from curate_core.providers import KIND_NAMES, in_words


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    kinds = [_flag(kind) for kind in KIND_NAMES]
    parser.add_argument("name", metavar="NAME", help="what specs will call it, such as hot-spots; the package is curate-NAME")
    parser.add_argument("--kind", type=_flag, choices=kinds, required=True, help="what it is")
    parser.add_argument("--into", metavar="DIR", type=Path, default=Path(), help="where its folder goes instead of the current folder")


def _flag(kind: str) -> str:
    """A kind as the command line spells it; what ``Provider`` calls it is understood as well."""
    return kind.replace("_", "-")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core.cli.output import console, shown
    from curate_core.host import default_host
    from curate_core.scaffold import new_plugin

    kind = arguments.kind.replace("-", "_")
    made = new_plugin(arguments.name, kind, arguments.into, default_host())
    if arguments.quiet:
        return 0
    out = console()
    folder = shown(made.folder)
    name = made.folder.name.removeprefix("curate-")
    out.print(f"{folder} holds a plugin with the {in_words(kind)} {name!r}:", markup=False, soft_wrap=True)
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
