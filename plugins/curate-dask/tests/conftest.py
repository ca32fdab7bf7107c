"""SLURM, and a Dask cluster that runs already, for the tests that ask for them."""

import runpy
from pathlib import Path

import pytest

CLUSTER = runpy.run_path(str(Path(__file__).with_name("dask_processes.py")))
DAEMONS = runpy.run_path(str(Path(__file__).with_name("slurm_daemons.py")))


@pytest.fixture(scope="session")
def slurm_daemons():
    """SLURM on this machine; its commands find it by the environment."""
    if reason := DAEMONS["why_not"]():
        pytest.skip(reason)
    with DAEMONS["at_hand"]() as daemons:
        yield daemons


@pytest.fixture
def slurm(slurm_daemons):
    """The same, without the jobs of another test, which take a while to end."""
    slurm_daemons.wait_for_jobs()
    return slurm_daemons


@pytest.fixture(scope="session")
def dask_cluster():
    """Address of a scheduler with two workers, each a process that somebody else started."""
    with CLUSTER["running"]("", "") as address:
        yield address
