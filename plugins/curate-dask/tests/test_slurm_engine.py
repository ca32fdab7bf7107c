"""The engine on a real SLURM: jobs that are cancelled, run out of time, never begin."""

import os
import threading
import time
from pathlib import Path

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


def first_in_vain(unit, worker):
    """Takes too long in the first job that has any."""
    number, folder, seconds = unit.task
    return slow(Unit(unit.key, unit.label, (number, folder, 0.0 if begun(Path(folder)) else seconds), 1), worker)


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


def test_a_job_that_runs_out_of_time_gives_its_units_back(slurm, tmp_path):
    """SLURM counts in minutes, and looks every half: the first job's time is set to be over at the next look."""

    def end():
        until(lambda: begun(tmp_path))
        slurm.ask("scontrol", "update", f"JobId={begun(tmp_path)[0]}", "EndTime=now")

    clock = threading.Thread(target=end)
    clock.start()
    with SlurmEngine(**{**OPTIONS, "maximum": 1}, walltime="00:01:00", lost=1).open(first_in_vain) as session:
        outcomes = list(session.run(units(5, tmp_path, 300.0)))
    clock.join()
    assert sorted((outcome.status, outcome.value) for outcome in outcomes) == [("done", n) for n in range(5)]
    assert len(begun(tmp_path)) == 2
    assert slurm.ask("scontrol", "show", "job", begun(tmp_path)[0]).count("JobState=TIMEOUT") == 1
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
