"""What a process, or a stretch of this one, takes of memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

BETWEEN = """
import json, os, subprocess, sys
process = subprocess.Popen(json.loads(sys.argv[1]), stdout=sys.stderr)
_, status, used = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss << 10]))
"""


@attrs.frozen
class Usage:
    """Exit code, CPU time in seconds, the most bytes it held, and what it wrote."""

    exit_code: int
    seconds: float
    peak: int
    said: str


def measured(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Usage:
    """Run a command, and look at what it took.

    A small process starts it: over exec, Linux keeps the peak of the process that was forked, and that of pytest is that of
    every test before.
    """
    between = subprocess.run(
        [sys.executable, "-I", "-S", "-c", BETWEEN, json.dumps(list(command))],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return Usage(*json.loads(between.stdout), between.stderr)


@contextmanager
def growth() -> Iterator[dict[str, Any]]:
    """How many bytes more than at its start this process held at most: the key ``bytes``, once the block is left."""
    with suppress(OSError):  # starts the peak anew
        Path("/proc/self/clear_refs").write_text("5")
    before, used = high_water(), {"bytes": 0}
    yield used
    used["bytes"] = high_water() - before


def high_water() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10
