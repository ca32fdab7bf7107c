"""A Dask cluster as somebody starts it by hand: a scheduler and workers, processes of their own that end with the tests.

Tests take it by ``runpy``: they are no package.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _start(module: str, *words: str, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / f"{module}.out").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            cwd=folder,
            preexec_fn=_end_with_parent,
            start_new_session=True,
        )


@contextmanager
def running(*resources: str) -> Iterator[str]:
    """Address of the scheduler of as many workers as are named by what they have, such as ``GPU=1``; they come when they are ready."""
    with tempfile.TemporaryDirectory(prefix="curate-dask-") as name, ExitStack() as ending:
        folder = Path(name)

        def start(*words: str) -> None:
            process = _start(*words, folder=folder)
            ending.callback(process.wait)
            ending.callback(os.killpg, process.pid, signal.SIGKILL)  # nannies and their workers, whatever they are doing

        file = folder / "scheduler.json"
        start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file))
        until = time.monotonic() + 60
        while not file.exists() or '"address": "' not in file.read_text():
            assert time.monotonic() < until, (folder / "dask_scheduler.out").read_text()
            time.sleep(0.1)
        address = file.read_text().partition('"address": "')[2].partition('"')[0]
        for own in resources:
            extra = ["--resources", own] if own else []
            start("dask_worker", address, "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard", "--local-directory", name, *extra)
        yield address
