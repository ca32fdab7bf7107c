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
    return load(arguments.spec, host, settings), host
