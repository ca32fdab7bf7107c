"""What the promises cost: journal, syncs, keys, checksums of samples and hashes of sources, as a share of a whole run.

Three runs: a large one (sections of volumes, near-duplicates dropped, TIFF files), one of many small files, and a tiny one. Each is made
as it is, and with one or all of these parts switched off by this program, in turn, in one process without workers; dirty pages of the run
before are on disk when the next begins. CPU seconds are those of user and system; the least of several runs counts, and the share is that
of the run as it is. What is switched off is what a run would not need that never fails and is never repeated.

    python benchmarks/overhead.py [--runs 3] [--volumes 4] [--cases 200] [--folder DIR]

Needs curate-em and curate-tiff.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from curate_core.digest import Known, stamp
from curate_core.journal import Journal
from curate_core.keys import Key, Keys
from curate_core.runner import run

TARGET = 0.10


def no_syncs() -> list[Any]:
    nothing = lambda *given: None  # noqa: E731
    return [patch("curate_core.journal.sync_below", nothing), patch("curate_core.commit.sync_below", nothing), patch("os.fsync", nothing)]


def no_journal() -> list[Any]:
    """Records are kept in memory alone."""

    def forget(self: Journal, *given: Any) -> None:
        self._waiting.clear()

    return [
        patch.object(Journal, "_add", lambda *given: None),
        patch.object(Journal, "flush", forget),
        patch.object(Journal, "compact", forget),
    ]


def no_keys() -> list[Any]:
    """Names of parts that tell cases, stages and blocks apart, and say nothing of what they depend on."""
    count = itertools.count()
    known: dict[tuple[Any, ...], Key] = {}

    def name(*place: Any) -> Key:
        if place not in known:
            known[place] = Key(f"{next(count):040x}"[::-1], {})
        return known[place]

    return [
        patch.object(Keys, "prepare", lambda self, case, *given: name("prepare", case.id)),
        patch.object(Keys, "measure_case", lambda self, case, source, stage, *given: name("measure", case.id, stage.index)),
        patch.object(Keys, "block", lambda self, case, prepare, stage, block, *given: name("block", prepare, stage.index, block)),
        patch.object(Keys, "closure", lambda self, stage, members, *given: name("closure", stage.index, members[0] if members else "")),
        patch("curate_core.running.source_key", lambda case, *given: case.id),
    ]


def no_checksums() -> list[Any]:
    return [
        patch("curate_core.samples.digest_of", lambda values: "0" * 64),
        patch("curate_core.commit.file_digest", lambda path: "0" * 64),
        patch("curate_core.parts.file_sum", lambda path: (0, 0)),
    ]


def no_hashes() -> list[Any]:
    return [patch("curate_core.unit.known_content", lambda path, others: Known(stamp(path), "0" * 64))]


OFF = {"syncs": no_syncs, "journal": no_journal, "keys": no_keys, "checksums": no_checksums, "source hashes": no_hashes}
PROMISES = ("syncs", "journal", "keys", "checksums")
"""What the target is about; that each byte of a source is hashed once costs what SHA-256 costs, and is stated beside it."""


@contextmanager
def without(*parts: str) -> Iterator[None]:
    with ExitStack() as stack:
        for change in [change for part in parts for change in OFF[part]()]:
            stack.enter_context(change)
        yield


def timed(spec: dict[str, Any], folder: Path) -> tuple[float, float, int]:
    """CPU seconds, wall seconds and samples of one run into a new folder."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    os.sync()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    summary = run(spec, folder=folder)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    assert summary.exit_code == 0
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, summary.written


def measure(title: str, spec: dict[str, Any], folder: Path, runs: int) -> float:
    """Print a table; returns the share of CPU time that the promises take together."""
    variants: dict[str, tuple[str, ...]] = {"": (), "these four": PROMISES, "all five": tuple(OFF)}
    variants |= {part: (part,) for part in OFF}
    found: dict[str, list[tuple[float, float]]] = {label: [] for label in variants}
    written = 0
    for number in range(runs + 1):
        for label, parts in variants.items():
            with without(*parts):
                cpu, wall, written = timed(spec, folder)
            if number:  # the first warms caches
                found[label].append((cpu, wall))
    best = {label: tuple(min(row[i] for row in rows) for i in range(2)) for label, rows in found.items()}
    whole = best.pop("")
    print(f"{title}: {written:,} samples, {whole[0]:.2f} s of CPU, {whole[1]:.2f} s of wall time")
    for label in (*PROMISES, "these four", "source hashes", "all five"):
        cpu, wall = best[label]
        print(f"  {label:15}{1 - cpu / whole[0]:7.1%} of CPU{1 - wall / whole[1]:8.1%} of wall time")
    return 1 - best["these four"][0] / whole[0]


def volumes(folder: Path, count: int) -> dict[str, Any]:
    """Tissue-like volumes of 256 x 512 x 512 bytes, as patchify3d cuts them."""
    (folder / "volumes").mkdir()
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (32, 64, 64), dtype=np.uint8)
        grain = np.random.default_rng(100 + number).integers(0, 24, (256, 512, 512), dtype=np.uint8)
        np.save(folder / "volumes" / f"v{number}.npy", coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2) // 2 + grain, allow_pickle=False)
    return {
        "source": {"use": "files", "pattern": "volumes/{case}.npy"},
        "preprocess": [{"use": "to-uint8"}],
        "rois": [{"use": "em-sections", "size": 224}],
        "filter": [{"use": "near-duplicates", "distance": 2}],
        "write": [{"use": "tiff", "path": "{case}/{roi}.tiff"}],
    }


def stacks(folder: Path, count: int) -> dict[str, Any]:
    """Cases of 100 small sections."""
    name = f"stacks{count}"
    (folder / name).mkdir()
    for number in range(count):
        values = np.random.default_rng(number).integers(0, 255, (100, 32, 32), dtype=np.uint8)
        np.save(folder / name / f"s{number}.npy", values, allow_pickle=False)
    return {
        "source": {"use": "files", "pattern": f"{name}/{{case}}.npy"},
        "rois": [{"use": "grid", "size": 32, "planes": ["xy"]}],
        "filter": [{"use": "intensity", "min_std": 10}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--volumes", type=int, default=4)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        common = {"version": 1, "name": "overhead", "output": "out", "engine": {"use": "local", "workers": 0}}
        large = measure("large", {**common, **volumes(folder, arguments.volumes)}, folder, arguments.runs)
        measure("many small", {**common, **stacks(folder, arguments.cases)}, folder, arguments.runs)
        measure("tiny", {**common, **stacks(folder, 1)}, folder, 3 * arguments.runs)
    print(f"target for the large run: less than {TARGET:.0%} of CPU: {'met' if large < TARGET else 'MISSED'}")
    raise SystemExit(large >= TARGET)


if __name__ == "__main__":
    main()
