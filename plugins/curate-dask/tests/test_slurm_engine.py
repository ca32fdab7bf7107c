"""The engine on a real SLURM: jobs that are cancelled, run out of time, never begin; what is left when a run is stopped."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from curate_dask.jobs import Jobs
from curate_dask.slurm import SlurmEngine

from curate_core.errors import RequestError, RunError
from curate_core.kinds import Unit

pytestmark = pytest.mark.slurm
OPTIONS = {"memory": 500_000_000, "host": "127.0.0.1", "maximum": 2}


def slow(unit, worker):
    """Says that it has begun, and where; takes its time."""
    number, folder, seconds = unit.task
    (Path(folder) / f"{number}-{os.environ['SLURM_JOB_ID']}").touch()
    time.sleep(seconds)
    return number


def units(count, folder, seconds):
    return [Unit(f"{n}", f"unit {n}", (n, str(folder), seconds), 1, f"case-{n}") for n in range(count)]


def begun(folder, number=None):
    """Jobs that have begun a unit, or any."""
    found = (path.name.split("-") for path in folder.iterdir())
    return sorted({job for n, job in found if number in (None, int(n))})


def until(there, seconds=60.0):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)


def test_a_cancelled_job_gives_its_units_back(slurm, tmp_path):
    """In the middle of a unit: another job does it, and one more is submitted."""

    def cancel():
        until(lambda: len(begun(tmp_path)) == 2)
        slurm.ask("scancel", begun(tmp_path)[0])

    killer = threading.Thread(target=cancel)
    killer.start()
    with SlurmEngine(**OPTIONS, lost=2).open(slow) as session:
        outcomes = list(session.run(units(8, tmp_path, 1.0)))
        killer.join()
        assert sorted(outcome.value for outcome in outcomes) == list(range(8))
        assert len(slurm.jobs()) >= 2
    slurm.wait_for_jobs()
    assert max(len(begun(tmp_path, n)) for n in range(8)) == 2, "a unit was begun in two jobs"


@pytest.mark.slow
def test_a_job_that_runs_out_of_time_gives_its_units_back(slurm, tmp_path):
    """SLURM counts in minutes, and looks every half."""
    with SlurmEngine(**{**OPTIONS, "maximum": 1}, walltime="00:01:00", lost=1).open(slow) as session:
        outcomes = list(session.run(units(5, tmp_path, 25.0)))
    assert sorted((outcome.status, outcome.value) for outcome in outcomes) == [("done", n) for n in range(5)]
    assert len(begun(tmp_path)) > 1
    slurm.wait_for_jobs()


def test_what_slurm_says_against_a_job_is_the_error(slurm, tmp_path):
    with SlurmEngine(**OPTIONS, queue="nowhere").open(slow) as session, pytest.raises(RequestError) as caught:
        list(session.run(units(1, tmp_path, 0)))
    assert "SLURM refuses the job: error: invalid partition specified: nowhere" in str(caught.value)
    assert slurm.jobs() == {}


def test_jobs_that_never_become_workers_end_the_run(slurm, tmp_path):
    engine = SlurmEngine(**OPTIONS, python="/nowhere/python", logs=tmp_path / "logs")
    with engine.open(slow) as session, pytest.raises(RunError, match="[34] jobs ended before a worker came of them, the last was"):
        list(session.run(units(3, tmp_path, 0)))
    assert any("/nowhere/python" in log.read_text() for log in (tmp_path / "logs").iterdir())


def test_a_refusal_later_is_waited_out(slurm, tmp_path, monkeypatch, caplog):
    """A limit on the jobs of a user, or a controller that is away: what is there goes on."""
    jobs = Jobs("#!/bin/bash\n#SBATCH --output=/dev/null\nsleep 60\n", 1, 3)
    jobs.keep(1, (), ())
    assert len(slurm.jobs()) == 1
    jobs.script = "#!/bin/bash\n#SBATCH --partition=nowhere\n"
    jobs.keep(3, (), ())
    jobs.keep(3, (), ())
    assert caplog.text.count("SLURM refuses a job (error: invalid partition specified: nowhere") == 1
    jobs.close()
    slurm.wait_for_jobs()


def test_jobs_follow_the_work(slurm):
    """As many as there is work for, within bounds; those that are idle are let go."""
    jobs = Jobs("#!/bin/bash\n#SBATCH --output=/dev/null\nsleep 60\n", 1, 3)
    jobs.keep(7, (), ())
    there = sorted(slurm.jobs())
    assert len(there) == 3
    assert jobs.keep(2, there, ()) == set(), "nobody is idle"
    assert jobs.keep(1, there, there) == set(there[:2])
    until(lambda: sorted(slurm.jobs()) == there[2:])
    assert jobs.keep(1, there, ()) == set(there[:2]), "they get nothing while they end"
    jobs.close()
    slurm.wait_for_jobs()


def test_a_job_that_is_cancelled_while_it_waits_is_replaced(slurm, monkeypatch):
    monkeypatch.setattr("curate_dask.jobs.ASK", 0.0)
    jobs = Jobs("#!/bin/bash\n#SBATCH --output=/dev/null\n#SBATCH --hold\nsleep 60\n", 1, 1)
    jobs.keep(1, (), ())
    (first,) = slurm.jobs()
    slurm.ask("scancel", first)
    until(lambda: jobs.keep(1, (), ()) == set() and set(slurm.jobs()) - {first})
    jobs.close()
    slurm.wait_for_jobs()


@pytest.fixture
def lab(slurm, tmp_path):
    """A spec whose units take a while, in processes that a test can stop."""
    (tmp_path / "data").mkdir()
    for number in range(4):
        np.save(tmp_path / "data" / f"{number}.npy", np.random.default_rng(number).integers(0, 255, (6, 64, 64), dtype=np.uint8))
    spec = {
        "version": 1, "name": "lab", "source": {"use": "files", "pattern": "data/{case}.npy"}, "rois": [{"use": "grid", "size": [1, 16, 16]}],
        "filter": [{"use": "limit", "count": 50, "within": "dataset"}], "write": [{"use": "npy", "path": "{case}/{roi}.npy"}], "output": "out",
        "engine": {"use": "slurm", "memory": "500 MB", "host": "127.0.0.1", "maximum": 2, "script": "job.sh"},
    }  # fmt: skip
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    return tmp_path


def start(lab, *words):
    command = [sys.executable, "-m", "curate_core", "run", "spec.json", *words]
    with (lab / "said").open("w") as said:
        return subprocess.Popen(command, cwd=lab, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)


def tree(folder):
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and ".curate" not in p.relative_to(folder).parts)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_run_that_is_stopped_leaves_no_jobs_and_continues(lab, slurm, number):
    """Whoever asks it to stop has them cancelled; where it is killed, they end when they miss it, or, still starting, after a minute."""
    process = start(lab)
    until(lambda: slurm.jobs())
    assert "--mem=477M" in (lab / "job.sh").read_text()
    assert f"{sys.executable} -m distributed.cli.dask_worker tcp://127.0.0.1:" in (lab / "job.sh").read_text()
    os.kill(process.pid, number)
    assert process.wait(60) in (-number, 130, 128 + number), (lab / "said").read_text()
    slurm.wait_for_jobs(90)
    assert start(lab).wait(90) == 0, (lab / "said").read_text()
    slurm.wait_for_jobs()
    assert start(lab, "--output", "local", "--set", 'engine={"use": "local", "workers": 0}').wait(60) == 0
    assert tree(lab / "out") == tree(lab / "local")
    assert len(tree(lab / "out")) > 50


def test_arrays_without_a_coordinator(lab, slurm, monkeypatch):
    """The script of ``curate plan --slurm-array`` as SLURM does it: arrays and the jobs between them, until the dataset is there."""
    (lab / "bin").mkdir()
    (lab / "bin" / "curate").write_text(f'#!/bin/bash\nexec {sys.executable} -m curate_core "$@"\n')
    (lab / "bin" / "curate").chmod(0o700)
    monkeypatch.setenv("PATH", f"{lab / 'bin'}{os.pathsep}{os.environ['PATH']}")
    local = 'engine={"use": "local", "workers": 0}'
    command = [sys.executable, "-m", "curate_core", "plan", "spec.json", "--slurm-array", "3", "--set", local]
    (lab / "array.sh").write_text(subprocess.run(command, cwd=lab, capture_output=True, text=True, check=True).stdout)
    subprocess.run(["bash", "array.sh"], cwd=lab, check=True, capture_output=True)
    until(lambda: slurm.jobs())
    slurm.wait_for_jobs(120)
    assert start(lab, "--output", "local", "--set", local).wait(60) == 0
    assert tree(lab / "out") == tree(lab / "local")
