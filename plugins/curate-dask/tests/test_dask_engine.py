"""The engine on a cluster that it starts here, with workers that meet with accidents."""

import hashlib
import os
import runpy
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from curate_dask.engine import DaskEngine
from curate_dask.session import perform
from curate_dask.slurm import SlurmEngine
from distributed import Client, Future, get_worker
from distributed.comm import CommClosedError

from curate_core.errors import RequestError, SourceError
from curate_core.kinds import Unit, Worker
from curate_core.runner import run
from curate_core.structure import Mistakes, structure
from curate_core.testing import EngineTests

CLUSTER = runpy.run_path(str(Path(__file__).with_name("dask_processes.py")))


def work(unit, worker):
    verb, *rest = unit.task
    if verb == "resources":
        return get_worker().state.total_resources
    if verb == "slow":
        time.sleep(0.5)
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == "torn":
        raise SourceError("the header is torn", where="a.npy", hint="copy it again")
    return rest[0] ** 2


def unit(*task, nbytes=1, **needs):
    name = " ".join(map(str, task))
    return Unit(name, name, task, nbytes, str(task[-1])[-1], needs)


def tree(folder):
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and ".curate" not in p.relative_to(folder).parts)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def scheduler():
    """The address of a cluster of two workers."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster:
        yield cluster.scheduler_address


class TestDaskEngine(EngineTests):
    """One cluster for all: what differs with one of its own is below."""

    component = DaskEngine

    @pytest.fixture(autouse=True)
    def _cluster(self, scheduler):
        self.options = {"scheduler": scheduler}


@pytest.mark.slow
def test_units_are_taken_as_there_is_room_and_what_fails_or_dies_is_told():
    taken, ended, most = 0, 0, 0

    def units():
        nonlocal taken
        for task in [("torn", 0)] + [("square", n) for n in range(200)] + [("kill", 1)]:
            taken += 1
            yield unit(*task)

    with DaskEngine(workers=2, memory=100).open(work) as session:
        got = {}
        for outcome in session.run(units()):
            ended += 1
            most = max(most, taken - ended)
            got[outcome.unit.key] = outcome
        assert most <= 2 * 2 * 12 + 12, "two tasks a worker, and one that waits"
        lost = got.pop("kill 1")
        assert (lost.status, "kill 1: the worker was lost" in str(lost.error)) == ("lost", True)
        torn = got.pop("torn 0")
        assert (torn.status, str(torn.error)) == ("failed", "a.npy: the header is torn (copy it again)")
        innocent = [key for key, outcome in got.items() if outcome.status == "lost"]
        assert len(innocent) < 24, "the units that waited at the same worker"
        assert len(got) == 200
        assert {session.run_alone(unit("square", 7)).value for _ in range(2)} == {49}
        with pytest.raises(RequestError, match="needs about"):
            session.check([unit("square", 1, nbytes=101)])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_bytes_as_local(tmp_path, workers):
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for name in "abc":
        np.save(tmp_path / "data" / f"{name}.npy", rng.integers(0, 256, (3, 20, 20), dtype=np.uint8))
    spec = {
        "version": 1, "name": "test", "source": {"use": "files", "pattern": "data/{case}.npy"}, "rois": [{"use": "grid", "size": [1, 10, 10]}],
        "filter": [{"use": "limit", "count": 20, "within": "dataset"}], "write": [{"use": "npy"}],
    }  # fmt: skip
    run({**spec, "output": "out", "engine": {"use": "local", "workers": 0}}, folder=tmp_path)
    run({**spec, "output": "dask", "engine": {"use": "dask", "workers": workers}}, folder=tmp_path)
    assert len(tree(tmp_path / "out")) > 5
    assert tree(tmp_path / "dask") == tree(tmp_path / "out")


def test_options_that_do_not_go_together():
    for cls, options, text in (
        (DaskEngine, {"scheduler": "tcp://127.0.0.1:1", "workers": 2}, "has its own"),
        (SlurmEngine, {"memory": "1 GB", "walltime": "an hour"}, r"\[D-\]HH:MM:SS"),
        (SlurmEngine, {"memory": "1 GB", "minimum": 3, "maximum": 2}, "less than minimum"),
    ):
        with pytest.raises((Mistakes, ValueError), match=text):
            structure(options, cls, None)


def test_a_scheduler_that_does_not_answer():
    with pytest.raises(RequestError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        DaskEngine(scheduler="tcp://127.0.0.1:9", timeout=1).open(work)


def test_slurm_needs_sbatch(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RequestError, match="there is no sbatch here"):
        SlurmEngine(memory=10**9).open(work)


@pytest.mark.slow
def test_units_that_are_slower_than_those_before_go_back_to_be_shared():
    told = perform(work, [unit("square", 1), unit("slow", 2), unit("square", 3)], Worker())
    assert [(key, status, value) for key, _, status, value, _ in told] == [("square 1", "done", 1), ("slow 2", "done", 4)]
    tasks = [("square", n) for n in range(60)] + [("slow", n) for n in range(10)]
    with DaskEngine(workers=2).open(work) as session:
        session.run_alone(unit("square", 0))
        got = [outcome.unit.key for outcome in session.run(unit(*task) for task in tasks)]
        assert sorted(got) == sorted(f"{verb} {n}" for verb, n in tasks)


def test_a_connection_that_ends_while_results_come_costs_nothing(scheduler, monkeypatch):
    result, broken = Future.result, []

    def once(self, timeout=None):
        if not broken:
            broken.append(self.key)
            raise CommClosedError("closed")
        return result(self, timeout)

    monkeypatch.setattr(Future, "result", once)
    with DaskEngine(scheduler=scheduler).open(work) as session:
        got = [(outcome.status, outcome.value) for outcome in session.run(unit("square", n) for n in range(20))]
    assert len(broken) == 1
    assert sorted(got) == [("done", n * n) for n in range(20)]


@pytest.mark.slow
def test_units_go_where_there_is_what_their_steps_need():
    """By the workers' own words; what no worker has keeps nobody waiting."""
    with CLUSTER["running"]("GPU=2", "") as address, DaskEngine(scheduler=address).open(work) as session:
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2)

        def places(**needs):
            found = (outcome.value.get("GPU", 0) for outcome in session.run(unit("resources", n, **needs) for n in range(200)))
            return sorted(set(found))

        assert places() == [0, 2]
        assert places(gpu=1) == [2]
        assert places(gpu=3) == places(tpu=1) == [0, 2]
