"""Arguments that several commands share, and the spec that they lead to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curate_core.host import Host
    from curate_core.spec import Spec


def add_spec(parser: argparse.ArgumentParser) -> None:
    """SPEC, --set and --output."""
    parser.add_argument("spec", metavar="SPEC", type=Path, help="a JSON file")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override a value, such as rois.0.size=256")
    parser.add_argument("--output", metavar="DIR", type=Path, help="folder of the dataset instead of the spec's")
    parser.add_argument("--allow-local-code", action="store_true", help='run the Python files that the spec names under "plugins"')


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """--plugin, for commands without a spec."""
    text = "a Python file with components, as a spec names it; it is run"
    parser.add_argument("--plugin", dest="local_plugins", metavar="FILE", action="append", default=[], help=text)


def host_of(arguments: argparse.Namespace) -> Host:
    """The installed plugins, and the files that ``--plugin`` names.

    Raises:
        SpecError: a file fails or brings nothing.
    """
    from curate_core.host import default_host
    from curate_core.localcode import with_local_plugins

    return with_local_plugins(default_host(), arguments.local_plugins, Path.cwd(), "--plugin", allowed=True)


def load_spec(arguments: argparse.Namespace) -> tuple[Spec, Host]:
    """The spec that the arguments name, validated, and the installed plugins.

    Raises:
        SpecError: all its mistakes.
    """
    from curate_core.host import default_host
    from curate_core.spec import load

    host = default_host()
    settings = list(arguments.set)
    if arguments.output is not None:
        settings.append(f"output={arguments.output.absolute()}")
    spec = load(arguments.spec, host, settings, local_code=arguments.allow_local_code)
    return spec, spec.host
