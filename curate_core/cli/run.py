"""``curate run``: make or complete a dataset."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curate_core.cli.arguments import add_spec

if TYPE_CHECKING:
    from curate_core.sharding import PartSummary
    from curate_core.summary import Summary


def how_to_continue(words: Sequence[str]) -> str:
    """What to tell whoever interrupts a run that was given these words."""
    again = "the same command without --overwrite" if "--overwrite" in words else "the same command again"
    return f"what was done is kept; run {again} to continue"


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the arguments."""
    add_spec(parser)
    parser.add_argument("--workers", metavar="N", type=int, help="worker processes; 0: this process, for debuggers")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--overwrite", action="store_true", help="replace, at the end, a dataset that curate made")
    how.add_argument("--append", action="store_true", help="keep the cases of a complete dataset, and add the spec's others")
    how.add_argument("--shard", metavar="I/N", help="do the I-th of N parts of what can be done, and commit nothing")
    how.add_argument("--commit", action="store_true", help="close what shards have completed; at the end, commit the dataset")
    parser.add_argument("--wait", action="store_true", help="wait for another run on the same folder")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from curate_core import runner
    from curate_core.cli.progress import Progress
    from curate_core.sharding import PartSummary

    common: dict[str, Any] = {"settings": arguments.set, "output": arguments.output, "allow_local_code": arguments.allow_local_code}
    summary: Summary | PartSummary
    with Progress(quiet=arguments.quiet, verbose=arguments.verbose, debug=arguments.debug) as progress:
        common["listeners"] = [progress]
        if arguments.shard is not None:
            summary = runner.run_shard(arguments.spec, arguments.shard, workers=arguments.workers, **common)
        elif arguments.commit:
            summary = runner.commit(arguments.spec, wait=arguments.wait, **common)
        else:
            how = {"overwrite": arguments.overwrite, "append": arguments.append, "wait": arguments.wait}
            summary = runner.run(arguments.spec, workers=arguments.workers, **how, **common)
    if isinstance(summary, PartSummary):
        if not arguments.quiet:
            show_part(summary)
    elif not arguments.quiet:
        show(summary)
    elif summary.exit_code:
        from curate_core.cli.output import visible

        print(f"{quarantined(summary)}: see {visible(str(summary.output))}/quarantine.jsonl", file=sys.stderr)  # noqa: T201
    return summary.exit_code


def show_part(summary: PartSummary) -> None:
    """What a shard did, and what it waits for."""
    from curate_core.cli.output import console, plural

    out = console()
    part = f"part {summary.shard.index} of {summary.shard.count} of {summary.name}"
    failed = f", {plural(summary.quarantined_cases, 'case')} failed" if summary.quarantined_cases else ""
    out.print(
        f"{part}: {plural(summary.cases, 'case')}, {plural(summary.units_done, 'unit')} done now{failed}.", markup=False, soft_wrap=True
    )
    if summary.waiting:
        hint = "when all parts are through, run --commit, and then the parts again"
        out.print(f"{plural(summary.waiting, 'case')} of it wait for other parts: {hint}.", soft_wrap=True)
    else:
        out.print("Its part is done: when all parts are, run --commit.", soft_wrap=True)


def quarantined(summary: Summary) -> str:
    """``1 case and 3 samples in quarantine``."""
    from curate_core.cli.output import plural

    parts = [(summary.quarantined_cases, "case"), (summary.quarantined_samples, "sample")]
    return " and ".join(plural(number, word) for number, word in parts if number) + " in quarantine"


def show(summary: Summary) -> None:
    """What was done, and what to do next."""
    from rich.text import Text

    from curate_core.cli.output import BAD, GOOD, MARK, WEAK, console, count, duration, plural, shown, size, table

    out = console()
    out.print()
    rows = table("", "samples", "", right=(1,))
    rows.add_row("found", count(summary.found), f"in {plural(summary.cases, 'case')}")
    left = summary.found
    for name, dropped in summary.dropped.items():
        share = f"-{dropped / left:.0%}" if left and dropped else ""
        left -= dropped
        rows.add_row(Text(name, MARK), count(left), Text(f"{count(dropped)} dropped  {share}" if dropped else "none dropped", WEAK))
    if summary.quarantined_samples or summary.quarantined_cases:
        rows.add_row(Text("quarantine", BAD), count(summary.quarantined_samples), Text(quarantined(summary), BAD))
    rate = f", {summary.written / summary.seconds:,.0f} a second" if summary.units_done and summary.written and summary.seconds > 0 else ""
    rows.add_row(
        Text("written", f"bold {GOOD}"),
        Text(count(summary.written), "bold"),
        f"{size(summary.nbytes)} in {duration(summary.seconds)}{rate}",
    )
    out.print(rows)
    out.print()
    if not summary.units_done and not summary.exit_code:
        out.print(Text("Everything was up to date.", WEAK))
    folder = shown(summary.output)
    fates = summary.fates
    if fates.left or fates.joined:
        words = [f"{plural(number, 'sample')} {verb}" for number, verb in ((fates.left, "left"), (fates.joined, "joined")) if number]
        named = f"{folder}/.curate/fates.jsonl"
        out.print(
            Text(f"Of the cases that it had before, {' and '.join(words)} the dataset: {named} says which, and why.", MARK), soft_wrap=True
        )
    out.print(Text.assemble((summary.name, "bold"), " is in ", (folder, MARK)), soft_wrap=True)
    if not summary.written:
        out.print(Text(f"It has no samples: {_why_empty(summary)}.", BAD))
    hints = [
        ("in Python", WEAK, f"dataset = curate_core.open({folder!r}); dataset[0]" if summary.written else ""),
        ("check it", WEAK, f"curate verify {shlex.quote(folder)}"),
        ("what went", WEAK, f"{folder}/dropped.jsonl says which filter dropped what, and why" if sum(summary.dropped.values()) else ""),
        ("what failed", BAD, f"{folder}/quarantine.jsonl; running again tries only those" if summary.exit_code else ""),
    ]
    for title, style, hint in hints:
        if hint:
            out.print(Text.assemble((f"  {title:<12}", style), hint), soft_wrap=True)


def _why_empty(summary: Summary) -> str:
    if summary.found and sum(summary.dropped.values()) == summary.found:
        return "the filters dropped all that was found"
    if summary.quarantined_cases and not summary.cases:
        return "every case failed"
    return "all that was left failed" if summary.found else "no ROIs were found, perhaps they are larger than the images"
