"""``curate why``: which reader takes a file, and why the others do not."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from curate_core.cli.arguments import add_plugins, host_of


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a file, or a folder that a reader may take")
    add_plugins(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code: 1 when no reader takes the file."""
    from rich.text import Text

    from curate_core.cli.output import BAD, GOOD, WEAK, console, table, visible
    from curate_core.errors import RequestError
    from curate_core.opening import distribution_for, judge_readers

    path: Path = arguments.file
    if not path.exists():
        message = "there is no such file"
        raise RequestError(message, where=str(path))
    host = host_of(arguments)
    verdicts = judge_readers(host, path)
    taken = next((verdict for verdict in verdicts if not verdict.reason), None)
    out = console()
    rows = table("reader", "priority", "", right=(1,))
    for verdict in verdicts:
        said = Text("takes it", GOOD) if verdict is taken else Text(visible(verdict.reason) or "would take it, but is asked later")
        if verdict.offer.provider.deprecated:
            said.append(f" (deprecated: {visible(verdict.offer.provider.deprecated)})", WEAK)
        rows.add_row(verdict.offer.qualified, str(verdict.offer.provider.priority), said)
    if verdicts:
        out.print(rows)
    else:
        what = f"folders such as {path.name or path}" if path.is_dir() else f"files that end like {path.name}"
        out.print(f"No installed reader claims {what}.", markup=False, soft_wrap=True)
        wanted = distribution_for(path)
        if wanted:
            out.print(f"pip install {wanted} brings one.", markup=False)
        elif path.is_file():
            out.print("A reader of your own is asked once its package is installed: pip install -e FOLDER.", markup=False, soft_wrap=True)
    others = [offer for offer in host.offers("reader") if all(offer is not verdict.offer for verdict in verdicts)]
    if arguments.verbose:
        for offer in others:
            claims = ", ".join(offer.provider.suffixes) or "no suffix: it must be named in the spec"
            out.print(f"{offer.qualified} claims {claims}", style=WEAK, markup=False, soft_wrap=True)
    for plugin in host.plugins:
        if plugin.status == "broken":
            out.print(Text(f"{plugin.distribution} is broken and was not asked: {visible(plugin.reason)}", BAD))
    return 0 if taken is not None else 1
