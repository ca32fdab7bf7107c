"""``curate plan``: what would be done."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from curate_core.cli.arguments import add_spec, load_spec

SHOWN = 12


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    add_spec(parser)
    parser.add_argument("--find", action="store_true", help="find the ROIs, which may read pixels, for exact counts")
    parser.add_argument("--append", action="store_true", help="of a run that keeps the cases of the present dataset")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core.cli.output import WEAK, console, count, facts, plural, size
    from curate_core.plan import make_plan

    spec, host = load_spec(arguments)
    plan = make_plan(spec, host, arguments.find, arguments.append)
    out = console()
    samples = "not known before the ROIs are found; --find finds them" if plan.samples is None else count(plan.samples)
    if plan.samples is not None and not plan.exact:
        samples = f"at most {samples}"
    values = {
        "dataset": f"{spec.name}, in {spec.output}",
        "cases": count(plan.cases),
        "samples": samples,
        "size once cut": "not known yet" if plan.nbytes is None else size(plan.nbytes),
        "memory": f"{size(plan.memory)} for the largest unit" if plan.memory else "none",
        "done already": plural(plan.up_to_date, "part"),
    }
    out.print(facts(values))
    out.print()
    if plan.complete:
        out.print("Nothing would be done: the dataset is complete.")
    for unit in plan.units if arguments.verbose else plan.units[:SHOWN]:
        out.print(f"{unit.label}: {unit.why}", markup=False, soft_wrap=True)
    if len(plan.units) > SHOWN and not arguments.verbose:
        out.print(f"... and {plural(len(plan.units) - SHOWN, 'more unit')}; -v shows all", style=WEAK)
    for name in plan.removed if arguments.verbose else plan.removed[:SHOWN]:
        out.print(f"removed at commit: {name}", markup=False, soft_wrap=True)
    if len(plan.removed) > SHOWN and not arguments.verbose:
        out.print(f"... and of {plural(len(plan.removed) - SHOWN, 'more case')}; -v shows all", style=WEAK)
    return 0
