"""Whole runs on a real SLURM: what is left when one is stopped, and arrays without a coordinator."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.slurm


def until(there, seconds=60.0):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)


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
        environment = {**os.environ, "DASK_JOBQUEUE__SLURM__DEATH_TIMEOUT": "15"}
        return subprocess.Popen(command, cwd=lab, env=environment, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)


def tree(folder):
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and ".curate" not in p.relative_to(folder).parts)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_jobs_and_continues(lab, slurm, number):
    """Whoever asks it to stop has them cancelled; where it is killed, they end when they miss it, or, still starting, after their patience."""
    process = start(lab)
    until(lambda: (lab / "job.sh").exists() and slurm.jobs())
    script = (lab / "job.sh").read_text()
    assert "--mem=477M" in script
    assert "--death-timeout 15" in script
    assert f"{sys.executable} -m distributed.cli.dask_worker tcp://127.0.0.1:" in script
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
