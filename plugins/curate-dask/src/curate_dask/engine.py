"""The workers of a Dask cluster, an existing one or one on this machine."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import frozen

from curate_core import ByteSize, Engine, EngineSession, RequestError, option
from curate_dask.processes import Processes
from curate_dask.session import ClusterSession, Work

_log = logging.getLogger("curate")


@frozen
class DaskEngine(Engine):
    """The workers of a Dask cluster.

    Example::

        "engine": {"use": "dask", "scheduler": "tcp://head:8786"}
    """

    version: ClassVar[int] = 1
    scheduler: str | None = option(doc="Address of the scheduler; null: a cluster of processes on this machine.", default=None)
    workers: int | None = option(doc="Worker processes of the cluster on this machine; null: one a core.", default=None, ge=1, le=1024)
    memory: ByteSize | None = option(
        doc="Memory that all units at work may need together; null: 80 % of this machine's, or without a bound on another cluster.",
        default=None,
    )
    device: str = option(doc="What workers compute on, such as cuda:0.", default="cpu")
    resources: Mapping[str, float] = option(
        doc='Worker resources, in Dask\'s sense, that each unit takes beside what its steps need: {"licence": 1}.', factory=dict
    )
    lost: int = option(
        doc="How many workers of another's cluster may be lost with a unit before it counts as lost, and is tried once more, alone. On the "
        "cluster that curate starts it is the first.",
        default=2,
        ge=0,
    )
    timeout: float = option(doc="Seconds in which the scheduler must answer.", default=30.0, gt=0)

    def __attrs_post_init__(self) -> None:
        if self.scheduler is not None and self.workers is not None:
            message = "workers is for the cluster that curate starts; one with a scheduler has its own"
            raise ValueError(message)

    def open(self, work: Work) -> EngineSession:
        if self.scheduler is None:
            return self._local(work)
        from distributed import Client

        try:
            client = Client(self.scheduler, timeout=self.timeout, set_as_default=False)
        except (OSError, ValueError) as error:
            message = f"no Dask scheduler answers at {self.scheduler}"
            raise RequestError(message, where="engine.scheduler", hint="is it running, and can this machine reach it?") from error
        tell_dashboard(client)
        return ClusterSession(client, work, least_memory(client), self.memory or math.inf, self.device, self.resources, self.lost)

    def _local(self, work: Work) -> EngineSession:
        import dask
        from distributed import Client, LocalCluster

        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):  # the session decides
            cluster = LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1")
        client = Client(cluster, set_as_default=False)
        tell_dashboard(client)
        processes = Processes(cluster.scheduler_address, self.workers or len(os.sched_getaffinity(0)), self.resources)
        budget = self.memory or int(0.8 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        owned = (processes, cluster)
        return ClusterSession(client, work, math.inf, budget, self.device, self.resources, owned=owned, keep=processes.keep)


def tell_dashboard(client: Any) -> None:
    """Log where the cluster can be watched."""
    if client.dashboard_link:
        _log.info("the cluster's dashboard: %s", client.dashboard_link)


def least_memory(client: Any) -> float:
    """Memory of the worker that has least, bytes; infinite where none is known."""
    found = [worker["memory_limit"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    return min((limit for limit in found if limit), default=math.inf)
