"""``curate schema``: the JSON Schema of specs, for editors."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from curate_core.cli.arguments import add_plugins, host_of


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("-o", dest="file", metavar="FILE", type=Path, help="write it there")
    add_plugins(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core.cli.output import write_text
    from curate_core.schema import spec_schema

    schema, left_out = spec_schema(host_of(arguments))
    for problem in left_out:
        print(f"left out: {problem}", file=sys.stderr)  # noqa: T201
    text = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    if arguments.file is None:
        print(text, end="")  # noqa: T201
    else:
        write_text(arguments.file, text)
    return 0
