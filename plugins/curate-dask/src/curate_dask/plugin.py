"""What curate-dask offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_engines() -> Iterator[Provider]:
    """Workers beyond this machine."""
    yield Provider("engine", "dask", "The workers of a Dask cluster.", "curate_dask.engine:DaskEngine")
    yield Provider("engine", "slurm", "Workers that are jobs of SLURM.", "curate_dask.slurm:SlurmEngine")
