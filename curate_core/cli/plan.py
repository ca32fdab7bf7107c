"""``curate plan``: what would be done."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from curate_core.cli.arguments import add_spec, load_spec

if TYPE_CHECKING:
    from curate_core.spec import Spec

SHOWN = 12
SPARE = 4
"""Arrays beyond one for each stage, for jobs that are lost."""


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    add_spec(parser)
    parser.add_argument("--find", action="store_true", help="find the ROIs, which may read pixels, for exact counts")
    parser.add_argument("--slurm-array", metavar="N", type=int, help="print a job script that does the spec by N shards, and nothing else")
    parser.add_argument("--append", action="store_true", help="of a run that keeps the cases of the present dataset")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core.cli.output import WEAK, console, count, facts, plural, size
    from curate_core.plan import make_plan

    spec, host = load_spec(arguments)
    if arguments.slurm_array is not None:
        return _print_script(arguments, spec)
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


def _print_script(arguments: argparse.Namespace, spec: Spec) -> int:
    from curate_core.errors import RequestError
    from curate_core.slurm import array_script
    from curate_core.stages import derive

    if arguments.slurm_array < 1:
        message = f"an array of {arguments.slurm_array} jobs does nothing"
        raise RequestError(message, where="--slurm-array", hint="ask for at least 1")
    rounds = len(derive(spec)) + SPARE
    options = [word for setting in arguments.set for word in ("--set", setting)]
    options += ["--output", str(arguments.output.absolute())] if arguments.output is not None else []
    options += ["--allow-local-code"] if arguments.allow_local_code else []
    print(array_script(arguments.spec, spec.name, arguments.slurm_array, rounds, options), end="")  # noqa: T201
    return 0
