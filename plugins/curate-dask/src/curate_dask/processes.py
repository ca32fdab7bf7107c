"""Workers as processes of this machine: started as long as there is work, replaced when they end.

Dask's own LocalCluster watches its workers by nannies, which do not always replace one that dies soon after another
(distributed 2026.8).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from attrs import define, field

from curate_core import RunError

_PATIENCE = 1.0
"""Seconds that a worker has to end by itself."""
_DUDS = 5
"""Processes in a row that may end before a worker comes of them."""


@define(eq=False)
class Processes:
    """The workers of one session. Each has a number for its name, which is never given again.

    Attributes:
        address: of the scheduler.
        count: of workers.
        resources: Dask's worker resources that each offers.
    """

    address: str
    count: int
    resources: Mapping[str, float] = field(factory=dict)
    _running: dict[str, subprocess.Popen[bytes]] = field(factory=dict, init=False)
    _scratch: tempfile.TemporaryDirectory[str] = field(factory=lambda: tempfile.TemporaryDirectory(prefix="curate-"), init=False)
    _started: int = field(default=0, init=False)
    _came: set[str] = field(factory=set, init=False)
    _duds: int = field(default=0, init=False)

    def keep(self, wanted: int, there: Collection[str], idle: Collection[str]) -> set[str]:
        """Start workers in the place of those that have ended, and new ones as there is work, ``count`` at the most.

        Args:
            wanted: how many have work.
            there: names of the workers that are there.
            idle: not used: they cost nothing.

        Returns:
            Names of the workers that are to get nothing more: they have ended, and the scheduler does not know yet.

        Raises:
            RunError: they end before a worker comes of them, again and again.
        """
        if set(there) - self._came:
            self._duds = 0
        self._came |= set(there)
        for name in sorted(name for name, process in self._running.items() if process.poll() is not None):
            self._duds += name not in self._came
            del self._running[name]
        if self._duds >= _DUDS:
            message = f"{self._duds} processes in a row ended before a worker came of them"
            raise RunError(message, where="engine", hint="what they said is above")
        while len(self._running) < min(max(wanted, 1, len(self._running)), self.count):
            self._start()
        return set(there) - self._running.keys()

    def _start(self) -> None:
        name = str(self._started)
        self._started += 1
        words = ["--name", name, "--nthreads", "1", "--memory-limit", "0", "--no-nanny", "--no-dashboard", "--death-timeout", "60"]
        words += ["--host", "127.0.0.1", "--local-directory", self._scratch.name]
        if self.resources:
            words += ["--resources", " ".join(f"{resource}={amount}" for resource, amount in sorted(self.resources.items()))]
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "DASK_LOGGING__DISTRIBUTED": "critical"}
        self._running[name] = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", "distributed.cli.dask_worker", self.address, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C reaches the whole group; the coordinator decides
        )

    def close(self) -> None:
        """End all, at work or not."""
        for process in self._running.values():
            process.terminate()
        until = time.monotonic() + _PATIENCE
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            process.kill()
            process.wait()
        self._running.clear()
        self._scratch.cleanup()
