"""Workers that are jobs of SLURM, through dask-jobqueue."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

from attrs import frozen

from curate_core import ByteSize, Engine, EngineSession, RequestError, option
from curate_dask.engine import tell_dashboard
from curate_dask.jobs import Jobs
from curate_dask.session import ClusterSession, Work

_TIME = re.compile(r"(?:\d+-)?\d+:\d\d:\d\d")


@frozen
class SlurmEngine(Engine):
    """Workers that are jobs of SLURM.

    Example::

        "engine": {"use": "slurm", "queue": "short", "walltime": "04:00:00", "memory": "16 GB", "maximum": 40}
    """

    version: ClassVar[int] = 1
    memory: ByteSize = option(doc="Memory of a job, and so of a unit.")
    queue: str | None = option(doc="Partition; null: the cluster's default.", default=None)
    account: str | None = option(doc="Who pays.", default=None)
    walltime: str = option(doc="Time of a job, [D-]HH:MM:SS; what it has not done when it is over, another job does.", default="01:00:00")
    cores: int = option(doc="Cores of a job.", default=1, ge=1)
    minimum: int = option(doc="Jobs that are kept.", default=1, ge=1)
    maximum: int = option(doc="Jobs at a time, if there are as many units.", default=10, ge=1)
    directives: tuple[str, ...] = option(doc='More #SBATCH lines, such as "--gres=gpu:1".', default=())
    prologue: tuple[str, ...] = option(doc='Lines before the worker starts, such as "module load cuda".', default=())
    interface: str | None = option(doc="Network interface of workers, such as ib0; null: any.", default=None)
    host: str | None = option(doc="Address of this machine that jobs can reach; null: found out.", default=None)
    python: str | None = option(doc="Python of the jobs; null: this one.", default=None)
    logs: Path | None = option(doc="Folder of the jobs' logs; null: none are kept.", default=None)
    script: Path | None = option(doc="Write the job script to this file.", default=None)
    device: str = option(doc="What workers compute on, such as cuda:0.", default="cpu")
    lost: int = option(
        doc="How many jobs may be lost with a unit before it counts as lost, and is tried once more, alone.", default=2, ge=0
    )

    def __attrs_post_init__(self) -> None:
        if not _TIME.fullmatch(self.walltime):
            message = f"walltime is [D-]HH:MM:SS, not {self.walltime!r}"
            raise ValueError(message)
        if self.maximum < self.minimum:
            message = f"maximum, {self.maximum}, is less than minimum, {self.minimum}"
            raise ValueError(message)

    def open(self, work: Work) -> EngineSession:
        import dask
        from dask_jobqueue import SLURMCluster
        from distributed import Client

        if shutil.which("sbatch") is None:
            message = "there is no sbatch here"
            raise RequestError(message, where="engine", hint="run curate where jobs are submitted, or take the engine local")
        options: dict[str, Any] = {"dashboard_address": ":0", **({"host": self.host} if self.host else {})}
        quiet = ["--output=/dev/null", "--error=/dev/null"] if self.logs is None else []
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):  # the session decides
            cluster = SLURMCluster(
                queue=self.queue,
                account=self.account,
                walltime=self.walltime,
                cores=1,
                processes=1,
                job_cpu=self.cores,
                memory=f"{self.memory}B",
                job_mem=f"{math.ceil(self.memory / 2**20)}M",
                job_name="curate",
                job_extra_directives=[*quiet, *self.directives],
                job_script_prologue=[*(f"export {name}_NUM_THREADS={self.cores}" for name in ("OMP", "OPENBLAS", "MKL")), *self.prologue],
                nanny=False,  # a job is one process: when that dies, SLURM and the session know it at once
                worker_extra_args=["--name", "$SLURM_JOB_ID", "--memory-limit", "0"],  # SLURM watches the memory; Dask would only pause
                interface=self.interface,
                scheduler_options=options,
                log_directory=None if self.logs is None else str(self.logs),
                python=self.python,
            )
        script = cluster.job_script()
        if self.script is not None:
            self.script.write_text(script, encoding="utf-8")
        client = Client(cluster, set_as_default=False)
        tell_dashboard(client)
        jobs = Jobs(script, self.minimum, self.maximum)
        return ClusterSession(client, work, each=self.memory, device=self.device, lost=self.lost, owned=(jobs, cluster), keep=jobs.keep)
