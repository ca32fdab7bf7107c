"""Tiny units through the engine dask: what one costs beside plain ``client.submit``, and what the coordinator keeps of those that are done.

Both do the same task on as many worker processes of this machine: the engine as a run uses it, from a generator; plain Dask, a tenth as
often, by ``client.submit`` and ``client.gather`` in batches of 1,000, which is the bound that one would set by hand. The coordinator's
memory (its own process, resident, with the scheduler in it) is read after each tenth of the units.

    python benchmarks/dask_overhead.py [--units 100000] [--workers 1]

Needs curate-dask. Exit code 1 if a value is wrong, or memory grows by more than a quarter.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate_dask.engine import DaskEngine

from curate_core.kinds import Unit, Worker

BATCH = 1000


def work(unit: Unit, worker: Worker) -> int:
    return unit.task**2


def square(number: int) -> int:
    return number**2


def units(count: int) -> Iterator[Unit]:
    for number in range(count):
        yield Unit(str(number), f"unit {number}", number, 1, f"case {number // 100}")


def resident() -> float:
    """Memory of this process, MB."""
    line = next(line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def by_engine(count: int, workers: int) -> tuple[float, list[float], bool]:
    """Seconds a unit, memory after each tenth, and whether all values are right."""
    right, memory = True, []
    with DaskEngine(workers=workers).open(work) as session:
        list(session.run(units(10 * workers)))  # workers have come
        started = time.perf_counter()
        for number, outcome in enumerate(session.run(units(count)), 1):
            if outcome.value != outcome.unit.task**2:
                right = False
                print(f"{outcome.unit.label} is {outcome.status}: {outcome.value}, {outcome.error}")
            if number % (count // 10) == 0:
                memory.append(resident())
                print(f"{number:,} units: {(time.perf_counter() - started) / number * 1e3:.2f} ms each, {memory[-1]:.0f} MB", flush=True)
        return (time.perf_counter() - started) / count, memory, right


def by_hand(count: int, workers: int) -> float:
    """Seconds a unit."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(square, range(10 * workers)))
        started = time.perf_counter()
        for first in range(0, count, BATCH):
            batch: Any = [client.submit(square, number, pure=False) for number in range(first, min(first + BATCH, count))]
            client.gather(batch)
        return (time.perf_counter() - started) / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args()
    few = max(1, chosen.units // 10)
    ours, memory, right = by_engine(chosen.units, chosen.workers)
    theirs = by_hand(few, chosen.workers)
    print(
        f"{chosen.units:,} units, {chosen.workers} workers: {ours * 1e3:.2f} ms a unit; client.submit, {few:,}: {theirs * 1e3:.2f} ms",
        end="",
    )
    print(f"{ours / theirs:>10.1f} x")
    print("values are right" if right else "VALUES ARE WRONG")
    return 0 if right and memory[-1] < 1.25 * memory[0] else 1


if __name__ == "__main__":
    sys.exit(main())
