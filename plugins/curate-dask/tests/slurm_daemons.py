"""SLURM on this machine for as long as tests run: munged, slurmctld and slurmd of their own, in a folder of their own, on 127.0.0.1.

Tests take it by ``runpy``: they are no package.
"""

from __future__ import annotations

import ctypes
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue", "scontrol", "sinfo")
SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")
"""Where Debian has daemons; a user's PATH may not."""
CONFIG = """\
ClusterName=curate
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=2
OverTimeLimit=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why SLURM cannot be started here; empty if it can."""
    if sys.platform != "linux":
        return "SLURM runs on Linux"
    missing = [name for name in NEEDED if find(name) is None]
    return f"without {', '.join(missing)} (Debian: slurm-wlm and munge)" if missing else ""


def find(name: str) -> str | None:
    """A program, in the path or where daemons are."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(SBIN))


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: who is killed leaves no daemon behind


class Daemons:
    """One node of eight declared cores, whatever the machine has.

    Attributes:
        folder: of everything that SLURM writes.
        environment: what its commands need.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="curate-slurm-"))
        self.folder.chmod(0o711)  # munged asks for it
        self.config = self.folder / "slurm.conf"
        self.environment = {"SLURM_CONF": str(self.config)}
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start; returns when the node is idle."""
        try:
            for name in ("state", "spool"):
                (self.folder / name).mkdir()
            key = self.folder / "munge.key"
            key.touch(mode=0o600)
            key.write_bytes(secrets.token_bytes(128))
            self.config.write_text(CONFIG.format(host=_host(), ports=_free_ports(2), folder=self.folder, user=getpass.getuser()))
            files = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "munge.seed"}
            self._daemon("munged", "--foreground", f"--key-file={key}", *(f"--{o}={self.folder / file}" for o, file in files.items()))
            self._until(lambda: (self.folder / "munge.socket").exists(), "munged")
            self._daemon("slurmctld", "-D", "-f", str(self.config))
            self._daemon("slurmd", "-D", "-f", str(self.config))
            self._until(lambda: self.ask("sinfo", "-h", "-o", "%T", check=False).strip() == "idle", "slurmctld and slurmd")
        except BaseException:
            self.stop()
            raise

    def _daemon(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("wb") as out:
            self._running.append(
                subprocess.Popen(
                    [str(find(name)), *words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**os.environ, **self.environment},
                    cwd=self.folder,
                    start_new_session=True,  # Ctrl-C is for the tests, which stop them
                    preexec_fn=_end_with_parent,
                )
            )

    def _until(self, there, what: str) -> None:
        until = time.monotonic() + 30
        while not there():
            if time.monotonic() > until or any(process.poll() is not None for process in self._running):
                said = "\n".join(f"{file.name}: {file.read_text(errors='replace')[-1500:]}" for file in sorted(self.folder.glob("*.out")))
                message = f"{what} did not start\n{said}"
                raise RuntimeError(message)
            time.sleep(0.05)

    def ask(self, *words: str, check: bool = True) -> str:
        """What a command of SLURM prints."""
        command = [str(find(words[0])), *words[1:]]
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=check, timeout=30).stdout

    def jobs(self) -> dict[str, str]:
        """Id -> state of the jobs that wait or run; arrays by their tasks."""
        return dict(line.split() for line in self.ask("squeue", "-h", "-r", "-o", "%i %T").splitlines())

    def wait_for_jobs(self, seconds: float = 60) -> None:
        """Until there are none."""
        until = time.monotonic() + seconds
        while jobs := self.jobs():
            assert time.monotonic() < until, f"these jobs do not end: {jobs}"
            time.sleep(0.2)

    def stop(self) -> None:
        """End jobs, then daemons, then whatever was started by them and is still there; remove the folder."""
        with suppress(Exception):
            if len(self._running) > 1:
                self.ask("scancel", "--full", "-u", getpass.getuser(), check=False)
                self.wait_for_jobs(10)
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def left(self) -> list[int]:
        """Processes that were started by these daemons or for one of their jobs: they have the configuration in their environment."""
        mark = f"SLURM_CONF={self.config}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if int(entry.name) != os.getpid() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return sorted(found)


@contextmanager
def at_hand() -> Iterator[Daemons]:
    """Daemons that run, which SLURM's commands find by the environment of this process."""
    daemons = Daemons()
    daemons.start()
    before = {name: os.environ.get(name) for name in daemons.environment}  # there may be others
    os.environ.update(daemons.environment)
    try:
        yield daemons
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value else {})
        daemons.stop()


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()
