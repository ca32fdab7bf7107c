"""SLURM for the tests that ask for it."""

import runpy
from pathlib import Path

import pytest

DAEMONS = runpy.run_path(str(Path(__file__).with_name("slurm_daemons.py")))


@pytest.fixture(scope="session")
def slurm():
    """SLURM on this machine; its commands find it by the environment."""
    if reason := DAEMONS["why_not"]():
        pytest.skip(reason)
    daemons = DAEMONS["Daemons"]()
    daemons.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in daemons.environment.items():
            patch.setenv(name, value)
        yield daemons
    daemons.stop()
