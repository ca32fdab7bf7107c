"""``curate check``: everything that can be known of a spec without reading pixels."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from curate_core.cli.arguments import add_spec, load_spec

SHOWN = 20


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    add_spec(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code: 1 when a layer cannot be opened."""
    from rich.text import Text

    from curate_core.cli.output import BAD, GOOD, WEAK, console, plural, table
    from curate_core.plan import check

    spec, host = load_spec(arguments)
    report = check(spec, host)
    out = console()
    if not arguments.quiet:
        rows = table("case", "layer", "reader", "grid")
        shown = report.layers if arguments.verbose else report.layers[:SHOWN]
        for layer in shown:
            grid = Text("cannot be opened", BAD) if layer.problem else layer.grid.describe() if layer.grid is not None else "a tractogram"
            rows.add_row(layer.case, layer.layer, layer.reader, grid)
        out.print(rows)
        if len(report.layers) > len(shown):
            out.print(f"... and {plural(len(report.layers) - len(shown), 'more layer')}; -v shows all", style=WEAK)
    good = f"The spec is right; {plural(report.cases, 'case')}, {plural(len(report.layers), 'layer')}"
    if report.problems:
        out.print(Text.assemble(f"{good}; ", (f"{plural(len(report.problems), 'layer')} cannot be opened:", BAD)))
        for problem in report.problems[:SHOWN]:
            out.print(f"  {problem}", markup=False, soft_wrap=True)
        if len(report.problems) > SHOWN:
            out.print(f"  ... and {plural(len(report.problems) - SHOWN, 'more layer')}", style=WEAK)
        return 1
    if not arguments.quiet:
        out.print(Text(f"{good}, all of which open.", GOOD))
    return 0
