"""The job script of shards, under an ``sbatch`` that keeps a queue in a file and a test that works it off."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import curate_core
from curate_core.cli.main import main

SBATCH = """#!{python}
import json, os, sys
queue = os.environ["QUEUE"]
jobs = json.load(open(queue))
jobs.append({{"words": sys.argv[1:], "env": {{k: v for k, v in os.environ.items() if k.startswith("CURATE_")}}}})
json.dump(jobs, open(queue, "w"))
print(f"{{len(jobs)}};cluster" if "--parsable" in sys.argv else f"Submitted batch job {{len(jobs)}}")
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with volumes and a spec of several stages; ``sbatch`` and ``curate`` on the path."""
    tools = tmp_path / "bin"
    tools.mkdir()
    texts = {"sbatch": SBATCH.format(python=sys.executable), "curate": f'#!/bin/bash\nexec {sys.executable} -m curate_core "$@"\n'}
    for name, text in texts.items():
        (tools / name).write_text(text)
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(tmp_path / "queue.json"))
    (tmp_path / "queue.json").write_text("[]")
    (tmp_path / "my data").mkdir()
    for number, case in enumerate("abcde"):
        np.save(tmp_path / "my data" / f"{case}.npy", np.random.default_rng(number).normal(number, 1, (8, 16, 16)))
    spec = {
        "version": 1,
        "name": "by shards",
        "source": {"use": "files", "pattern": "my data/{case}.npy"},
        "preprocess": [{"use": "to-uint8", "range": "min-max", "over": "dataset"}],
        "rois": [{"use": "grid", "size": 8}],
        "filter": [{"use": "limit", "count": 9, "within": "dataset"}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
        "output": "out",
        "engine": {"use": "local", "workers": 0},
    }
    (tmp_path / "the spec.json").write_text(json.dumps(spec))
    return tmp_path


def work_off(folder: Path, lose=()):
    """Do queued jobs in order; those of ``lose`` (job, task) are killed before they begin. Returns exit codes of all."""
    done, codes = 0, []
    while True:
        jobs = json.loads((folder / "queue.json").read_text())
        if done == len(jobs):
            return codes
        assert done < 40
        words, extra = jobs[done]["words"], jobs[done]["env"]
        done += 1
        array = next((re.fullmatch(r"--array=1-(\d+)", word) for word in words if word.startswith("--array")), None)
        for task in range(1, int(array[1]) + 1) if array else [None]:
            environment = {k: v for k, v in os.environ.items() if not k.startswith("CURATE_")} | extra
            if task is not None:
                environment["SLURM_ARRAY_TASK_ID"] = str(task)
            if (done, task) not in lose:
                codes.append(subprocess.run(["bash", words[-1]], cwd="/", env=environment, capture_output=True, timeout=120).returncode)


def script(folder: Path, capsys, *words: str) -> Path:
    assert main(["plan", str(folder / "the spec.json"), "--slurm-array", "2", *words]) == 0
    path = folder / "by shards.sh"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.slow
def test_arrays_come_to_the_dataset_of_one_run(cluster, capsys):
    path = script(cluster, capsys, "--set", "filter.0.count=7", "--output", str(cluster / "by array"))
    assert main(["run", str(cluster / "the spec.json"), "--set", "filter.0.count=7", "-q"]) == 0
    subprocess.run(["bash", str(path)], cwd=cluster, check=True, capture_output=True)
    codes = work_off(cluster, lose={(1, 2)})
    assert codes[-1] == 0
    assert codes.count(4) == 0, "commits that wait start the next array"
    dataset = curate_core.open(cluster / "by array")
    assert len(dataset) == 7
    assert dataset.verify() == []
    one, other = (sorted(p for p in (cluster / name).rglob("*.npy")) for name in ("out", "by array"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]
    assert (cluster / "out/manifest.jsonl").read_bytes() == (cluster / "by array/manifest.jsonl").read_bytes()


def test_it_ends_where_nothing_helps(cluster, capsys, monkeypatch):
    """Shards that never come cannot keep it submitting."""
    path = script(cluster, capsys)
    monkeypatch.setenv("CURATE_ROUNDS", "2")
    subprocess.run(["bash", str(path)], cwd=cluster, check=True, capture_output=True)
    codes = work_off(cluster, lose={(job, task) for job in range(40) for task in (1, 2)})
    assert codes[-1] == 4
    assert len(json.loads((cluster / "queue.json").read_text())) <= 6


def test_an_array_of_nothing(cluster, capsys):
    assert main(["plan", str(cluster / "the spec.json"), "--slurm-array", "0"]) == 2
    assert "--slurm-array: an array of 0 jobs does nothing\n  hint: ask for at least 1" in capsys.readouterr().err
