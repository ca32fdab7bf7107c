"""``curate import``: another system's configuration becomes a spec. The importers come from plugins, their options become flags."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments; those of the system that ``words`` name are its importer's options."""
    parser.add_argument("system", metavar="SYSTEM", help='whose configuration it is; "curate plugins" lists importers')
    parser.add_argument("file", metavar="FILE", type=Path, help="the configuration")
    parser.add_argument("-o", dest="spec", metavar="SPEC", type=Path, required=True, help="the spec to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the spec if it is there")
    system = next((word for word in words if not word.startswith("-")), None)
    if system is not None:
        _add_flags(parser, system)


def flag_of(option: str) -> str:
    """What an option of an importer is called on the command line: ``patch_coords`` -> ``--patch-coords``."""
    return f"--{option.rstrip('_').replace('_', '-')}"


def _add_flags(parser: argparse.ArgumentParser, system: str) -> None:
    import attrs

    from curate_core.host import default_host
    from curate_core.options import info_of
    from curate_core.structure import takes_list

    host = default_host()
    cls: Any = host.load(host.find("importer", system))
    hints = get_type_hints(cls)
    group = parser.add_argument_group(f"options of {system}")
    for field in attrs.fields(cls):
        flag, info, kind = flag_of(field.name), info_of(field), hints[field.name]
        common: dict[str, Any] = {"dest": f"option_{field.name}", "help": info.doc, "default": None}
        if kind is bool:
            group.add_argument(flag, action="store_true", **common)
        elif takes_list(kind):
            group.add_argument(flag, nargs="*", metavar="VALUE", **common)
        else:
            group.add_argument(flag, metavar="VALUE", choices=info.choices or None, required=field.default is attrs.NOTHING, **common)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core.cli.output import console, write_text
    from curate_core.deprecation import tell_offer
    from curate_core.errors import RequestError
    from curate_core.host import default_host
    from curate_core.spec import validate
    from curate_core.structure import Mistakes, structure

    if arguments.spec.exists() and not arguments.overwrite:
        message = "the spec is there already"
        raise RequestError(message, where=str(arguments.spec), hint="choose another, or replace it with --overwrite")
    host = default_host()
    given = {key.removeprefix("option_"): _value(v) for key, v in vars(arguments).items() if key.startswith("option_") and v is not None}
    offer = host.find("importer", arguments.system)
    tell_offer(offer, "curate import")
    try:
        importer = structure(given, host.load(offer), Path.cwd())
    except Mistakes as mistakes:
        message = "; ".join(map(str, mistakes.problems()))
        raise RequestError(message, where=f"curate import {arguments.system}") from mistakes
    try:
        text = arguments.file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = f"the configuration cannot be read: {error}"
        raise RequestError(message, where=str(arguments.file)) from error
    spec = importer.convert(text, arguments.file.absolute().parent)
    validate(spec, host, arguments.spec.absolute().parent, f"the spec made from {arguments.file}")
    write_text(arguments.spec, json.dumps(spec, indent=2, ensure_ascii=False) + "\n")
    if not arguments.quiet:
        console().print(f"{arguments.spec} is written; curate check {arguments.spec} looks at its files.", markup=False, soft_wrap=True)
    return 0


def _value(text: Any) -> Any:
    """A flag's text as JSON where it is a number or truth value, as in specs."""
    if isinstance(text, list):
        return [_value(entry) for entry in text]
    if not isinstance(text, str):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text
