"""Jobs of SLURM: submitted as long as there is work, replaced when they end, cancelled at the end."""

from __future__ import annotations

import logging
import math
import subprocess
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from attrs import define, field

from curate_core import RequestError, RunError

ASK = 2.0
"""Seconds between two looks at the queue, while jobs are there of which no worker has come."""
AGAIN = 30.0
"""Seconds until a job is submitted again after SLURM has refused one."""
DUDS = 3
"""Jobs in a row that may end before a worker comes of them."""
_log = logging.getLogger("curate")


@define(eq=False)
class Jobs:
    """The jobs of one session. Each is one worker, whose name is the job's id.

    Attributes:
        script: of every job.
        minimum: that are kept, whatever there is to do.
        maximum: at a time.
    """

    script: str
    minimum: int
    maximum: int
    _known: set[str] = field(factory=set, init=False)
    _came: set[str] = field(factory=set, init=False)
    _duds: int = field(default=0, init=False)
    _asked: float = field(default=-math.inf, init=False)
    _refused: float = field(default=-math.inf, init=False)

    def keep(self, wanted: int, there: Collection[str], idle: Collection[str]) -> set[str]:
        """Submit jobs, or cancel some, so that there are as many as are wanted, within the bounds.

        Args:
            wanted: how many have work.
            there: names of the workers that are there.
            idle: those of them that have had nothing to do for a while.

        Returns:
            Names of the workers that are to get nothing more.

        Raises:
            RequestError: SLURM refuses the first job.
            RunError: jobs end before a worker comes of them, again and again.
        """
        count = min(max(wanted, self.minimum), self.maximum)
        came = self._known & set(there)
        if came - self._came:
            self._duds = 0
        self._came |= came
        self._forget_ended(came)
        surplus = sorted(self._known & set(idle))[: max(0, len(self._known) - count)]
        if surplus:
            self._cancel(surplus)
        while len(self._known) < count and time.monotonic() - self._refused >= AGAIN:
            self._submit()
        return set(there) - self._known

    def _forget_ended(self, there: Collection[str]) -> None:
        """Find out which jobs have ended, of those that have no worker."""
        missing = self._known - set(there)
        if not missing or time.monotonic() - self._asked < ASK:
            return
        self._asked = time.monotonic()
        found = _ask("squeue", "--me", "--noheader", "--format=%A %T")
        if found.returncode:
            return  # the controller is away: the jobs may well be there
        lines = [line.split() for line in found.stdout.splitlines()]
        living = {job for job, state in lines if state != "COMPLETING"}
        for job in sorted(missing - living):
            self._known.discard(job)
            self._duds += job not in self._came
            _log.info("job %s has ended", job)
        if self._duds >= DUDS and missing - living:
            message = f"{self._duds} jobs ended before a worker came of them, the last was {max(missing - living, key=int)}"
            hint = "engine.logs keeps what they say; jobs need the same Python as this machine, and must reach it (engine.host)"
            raise RunError(message, where="engine", hint=hint)

    def _submit(self) -> None:
        # In a session of its own: Ctrl-C, which goes to all processes of a terminal, must not end it half way.
        process = subprocess.Popen(
            ["sbatch", "--parsable"],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        try:
            said, refusal = process.communicate(self.script)
        except BaseException:  # the user ends the run: the job may be there, and has to be known to be cancelled
            self._add(process.communicate()[0])
            raise
        if process.returncode == 0:
            self._add(said)
            return
        self._refused = time.monotonic()
        reason = refusal.strip().replace("sbatch: ", "")
        if not self._known and not self._came:
            raise RequestError(
                f"SLURM refuses the job: {reason}", where="engine", hint="engine.script shows it; sbatch takes the same file"
            )
        _log.warning("SLURM refuses a job (%s): %d are there; it is asked again in %.0f s", reason, len(self._known), AGAIN)

    def _add(self, said: str) -> None:
        """Take note of what ``sbatch --parsable`` says, ``ID`` or ``ID;CLUSTER``."""
        if job := said.strip().partition(";")[0]:
            self._known.add(job)
            _log.info("job %s is submitted", job)

    def _cancel(self, jobs: Collection[str]) -> None:
        self._known -= set(jobs)
        _ask("scancel", *jobs)

    def close(self) -> None:
        """Cancel all."""
        if self._known:
            with suppress(OSError):
                self._cancel(sorted(self._known))


def _ask(*words: str) -> Any:
    return subprocess.run(words, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)  # noqa: S603
