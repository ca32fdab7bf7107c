"""The conformance tests of every engine, on a cluster of this machine, on one that runs already, and on SLURM."""

from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import pytest
from curate_dask.engine import DaskEngine
from curate_dask.slurm import SlurmEngine

from curate_core.builtin.local import LocalEngine
from curate_core.testing import EngineTests, PluginTests
from curate_core.testing.engines import work


class TestPlugin(PluginTests):
    plugin_module = "curate_dask.plugin"
    distribution = "curate-dask"
    readme = Path(__file__).parents[1] / "README.md"
    examples: ClassVar = {"engine:slurm": {"memory": "1 GB"}}


@pytest.fixture(scope="class")
def shared(request):
    """One session for all tests of a class that end no session: workers take seconds to come."""
    cls = request.cls
    if cls is TestDaskThatRuns:
        cls.options = {"scheduler": request.getfixturevalue("dask_cluster")}
    if cls is TestSlurm:
        request.getfixturevalue("slurm_daemons")
    with cls().engine().open(work) as session:
        cls.opened = session
        yield


@pytest.mark.usefixtures("shared")
class Shared(EngineTests):
    def session(self):
        return nullcontext(self.opened)


@pytest.mark.slow
class TestLocal(Shared):
    component = LocalEngine
    options: ClassVar = {"workers": 2}


@pytest.mark.slow
class TestDask(Shared):
    component = DaskEngine
    options: ClassVar = {"workers": 2}


@pytest.mark.slow
class TestDaskThatRuns(Shared):
    component = DaskEngine


@pytest.mark.slurm
class TestSlurm(Shared):
    component = SlurmEngine
    options: ClassVar = {"memory": "500 MB", "host": "127.0.0.1", "maximum": 2, "lost": 0}
