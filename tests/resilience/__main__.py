"""Kills runs in large numbers and prints a table of what they survived::

    python tests/resilience --kills 1000            # at points drawn from all that there are
    python tests/resilience --every                 # at every point of every scenario, once
    python tests/resilience --kills 200 --scenario stack --seed 7

Most trials kill a run once; one in four kills its resumption as well, up to four times more; one in twelve has worker processes, of which
all are killed, or one, or that which coordinates them. Every second trial without workers cuts the power at each kill.
Needs Linux and a C compiler. A failure is printed with all that is needed to repeat it, its folder is kept, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import faults
from crashes import Laboratory, Problem, Trial
from faults import Op, Rule
from scenarios import POINTS, SCENARIOS, Scenario, kind_of

GROUPS = (1, 256)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/resilience", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="stop after so many")
    parser.add_argument("--every", action="store_true", help="kill at every point of every scenario, once")
    parser.add_argument("--seed", type=int, default=0, help="of all choices")
    parser.add_argument("--scenario", action="append", help="only this one; may be given again")
    arguments = parser.parse_args()
    library = faults.build(Path(tempfile.mkdtemp(prefix="curate-faults-")))
    folder = Path(tempfile.mkdtemp(prefix="curate-crashes-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    laboratory = Laboratory(folder, library)
    wanted = [s for s in SCENARIOS if not arguments.scenario or s.name in arguments.scenario]
    chosen = [s for s in wanted if all(map(importlib.util.find_spec, s.needs))]
    points = {s.name: laboratory.points(s, 1) for s in chosen}
    tally = Tally(points)
    trials = every(laboratory, chosen, points, arguments.seed) if arguments.every else drawn(laboratory, chosen, points, arguments.seed)
    try:
        for trial in trials:
            tally.take(trial)
            if not arguments.every and tally.kills >= arguments.kills:
                break
    except (KeyboardInterrupt, Problem) as stop:
        print(f"stopped: {stop!r}")
        tally.failures.append(str(stop))
    laboratory.close()
    tally.show()
    if not tally.failures:
        shutil.rmtree(folder)
    shutil.rmtree(library.parent)
    return 1 if tally.failures else 0


def moments(op: Op) -> tuple[str, ...]:
    """When an operation can be struck: after it is before the next one."""
    return ("before", "half") if op.name == "write" and op.length > 1 else ("before",)


def every(laboratory: Laboratory, chosen: list[Scenario], points: dict[str, list[Op]], seed: int) -> Iterator[Trial]:
    """A trial for each point of each scenario."""
    draw = random.Random(seed)
    for scenario in chosen:
        for op in points[scenario.name]:
            for moment in moments(op):
                cut = draw if draw.random() < 0.5 else None
                yield laboratory.trial(scenario, [Rule("kill", op.number, when=moment)], group=1, rng=cut)


def drawn(laboratory: Laboratory, chosen: list[Scenario], points: dict[str, list[Op]], seed: int) -> Iterator[Trial]:
    """Trials without end: points of the kinds that were struck least, then chains of kills, and worker processes."""
    draw = random.Random(seed)
    left = {s.name: _by_kind(points[s.name], draw) for s in chosen}
    while True:
        for scenario in chosen:
            ops, fate = points[scenario.name], draw.random()
            cut = draw if draw.random() < 0.5 else None
            if fate < 1 / 12:
                action = draw.choice(["kill", "die", "die"])
                rule = Rule(action, draw.randint(1, len(ops)), when=draw.choice(["before", "half", "after"]))
                yield laboratory.trial(scenario, [rule], workers=2, group=draw.choice([1, 2, 256]))
                continue
            queue = left[scenario.name] or _by_kind(ops, draw)
            left[scenario.name] = queue
            op, moment = queue.pop(0)
            rules = [Rule("kill", op.number, when=moment)]
            if fate < 1 / 3:
                more = draw.randint(1, 4)
                rules += [Rule("kill", draw.randint(1, len(ops)), when=draw.choice(["before", "half"])) for _ in range(more)]
            yield laboratory.trial(scenario, rules, group=1, rng=cut)


def _by_kind(ops: list[Op], draw: random.Random) -> list[tuple[Op, str]]:
    """All points, shuffled within their kinds, a kind after the other in turn."""
    groups: dict[str, list[tuple[Op, str]]] = {}
    for op in ops:
        groups.setdefault(kind_of(op), []).extend((op, moment) for moment in moments(op))
    for group in groups.values():
        draw.shuffle(group)
    order = [(turn, kind, point) for kind, group in groups.items() for turn, point in enumerate(group)]
    return [point for _, _, point in sorted(order, key=lambda entry: (entry[0], entry[1]))]


class Tally:
    """What was struck, and what became of it."""

    def __init__(self, points: dict[str, list[Op]]) -> None:
        self.points = points
        self.by_kind: dict[str, Counter[str]] = {name: Counter() for name, _, _ in POINTS}
        self.by_scenario: dict[str, Counter[str]] = {name: Counter() for name in points}
        self.failures: list[str] = []
        self.trials = self.kills = self.cuts = self.chains = 0
        self.began = time.monotonic()

    def take(self, trial: Trial) -> None:
        self.trials += 1
        self.kills += len(trial.kills)
        self.cuts += trial.cuts
        self.chains += len(trial.kills) > 1
        row = self.by_scenario[trial.scenario]
        row["trials"] += 1
        row["kills"] += len(trial.kills)
        row["cuts"] += trial.cuts
        for kind, moment in trial.kills:
            self.by_kind[kind][moment] += 1
        if trial.problem:
            row["failures"] += 1
            self.failures.append(trial.problem)
            print(f"FAILED: {trial.problem}", flush=True)
        if self.trials % 100 == 0:
            print(f"{self.trials} trials, {self.kills} kills, {len(self.failures)} failures, {self._seconds():.0f} s", flush=True)

    def _seconds(self) -> float:
        return time.monotonic() - self.began

    def show(self) -> None:
        there = Counter(kind_of(op) for ops in self.points.values() for op in ops)
        print(f"\n{'killed while':<32}{'points':>8}{'kills':>8}{'before':>8}{'half way':>10}{'after':>8}")
        for kind, counts in self.by_kind.items():
            if there[kind] or counts:
                told = "".join(f"{counts[m]:>{w}}" for m, w in (("before", 8), ("half", 10), ("after", 8)))
                print(f"{kind:<32}{there[kind]:>8}{sum(counts.values()):>8}{told}")
        print(f"\n{'scenario':<32}{'points':>8}{'trials':>8}{'kills':>8}{'power cuts':>12}{'failures':>10}")
        for name, counts in self.by_scenario.items():
            row = f"{counts['trials']:>8}{counts['kills']:>8}{counts['cuts']:>12}{counts['failures']:>10}"
            print(f"{name:<32}{len(self.points[name]):>8}{row}")
        print(
            f"\n{self.kills} kills in {self.trials} trials ({self.chains} with several kills), {self.cuts} power cuts that took something "
            f"back, {len(self.failures)} failures, {self._seconds():.0f} s"
        )


if __name__ == "__main__":
    sys.exit(main())
