"""Ctrl-C and its like: a run ends soon, says how to continue, and continues."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from curate_core.testing import values
from curate_core.testing.fixtures import write_distribution

HERE = Path(__file__).parent


SOON = 30.0  # two seconds are promised; a busy machine is no mistake, and the step would take longer than this
"""Seconds: the two that are promised, and as many for a machine that is busy with other tests."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process tables as Linux has them")


@pytest.fixture
def lab(tmp_path):
    """Three volumes, and a step that takes long at the last one."""
    write_distribution(tmp_path / "site", "interrupt-toys", {"interrupt-toys": "interrupt_toys"})
    (tmp_path / "data").mkdir()
    for number, case in enumerate("abc"):
        np.save(tmp_path / "data" / f"{case}.npy", values((3, 16, 16), "uint16", number))
    found = Lab(tmp_path)
    yield found
    for process in found.processes:  # only where a test has failed
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Lab:
    def __init__(self, folder):
        self.folder = folder
        self.processes = []

    def start(self, *words, how="sleep", output="out", workers=2):
        spec = {
            "version": 1,
            "name": "lab",
            "source": {"use": "files", "pattern": "data/{case}.npy"},
            "rois": [{"use": "grid", "size": 8, "planes": ["xy"]}],
            "transform": [{"use": "dawdle", "case": "c", "how": how, "marks": "."}],
            "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
            "output": output,
            "engine": {"use": "local", "workers": workers},
        }
        (self.folder / "spec.json").write_text(json.dumps(spec))
        path = os.pathsep.join([str(self.folder / "site"), str(HERE), *filter(None, sys.path)])
        with (self.folder / "said").open("w") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "curate_core", "run", "spec.json", *words],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", "COLUMNS": "200"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    @property
    def said(self):
        return (self.folder / "said").read_text()

    def run(self, *words, **how):
        assert self.start(*words, **how).wait(timeout=60) == 0, self.said

    def ended(self):
        """Exit code of the last run, what it said, and the seconds that it took to end; nothing of it is left."""
        process = self.processes[-1]
        began = time.monotonic()
        code = process.wait(timeout=60)
        took = time.monotonic() - began
        while living(process.pid):
            assert time.monotonic() < began + SOON, f"left behind: {living(process.pid)}"
            time.sleep(0.02)
        assert "Traceback" not in self.said
        assert "Exception ignored" not in self.said
        return code, self.said, took

    def start_slow(self, *words, **how):
        """Begin a run; returns when it is in the middle of the long step, and the other cases are done."""
        (self.folder / "slow").touch()
        process = self.start(*words, **how)
        until = time.monotonic() + 60
        while not (self.folder / "begun").exists() or len(self.parts()) < 4:
            assert process.poll() is None, self.said
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(0.1)
        return process

    def parts(self):
        return list((self.folder / "out/.curate/parts").glob("*/*"))

    def tree(self, output="out"):
        folder = self.folder / output
        files = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".curate" not in path.parts)
        return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def continues(self, *words, done=4):
        """Run again, without the long step: what was done is there, and the dataset is that of an undisturbed run."""
        (self.folder / "slow").unlink(missing_ok=True)
        journal = (self.folder / "out/.curate/journal.jsonl").read_text() if done else ""
        assert journal.count('"type":"part"') >= done, "what was done is remembered"
        for output, more in (("out", words), ("reference", ())):
            self.run(*more, output=output, workers=0)
        assert self.tree() == self.tree("reference")


def living(group):
    """Command lines of the processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append((stat.parent / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def to_all(process, number):
    os.killpg(process.pid, number)


def to_one(process, number):
    process.send_signal(number)


CASES = [
    (signal.SIGINT, to_all, 2),
    (signal.SIGINT, to_one, 2),
    (signal.SIGINT, to_all, 0),
    (signal.SIGTERM, to_all, 2),
    (signal.SIGTERM, to_one, 2),
    (signal.SIGTERM, to_one, 0),
    (signal.SIGHUP, to_all, 2),
    (signal.SIGHUP, to_one, 0),
]


@pytest.mark.parametrize(("number", "send", "workers"), CASES)
def test_a_long_step_is_abandoned_and_the_run_continues(lab, number, send, workers):
    process = lab.start_slow(workers=workers)
    send(process, number)
    code, said, took = lab.ended()
    assert code == 130
    assert "interrupted: what was done is kept; run the same command again to continue" in said
    assert took < SOON
    assert not (lab.folder / "out/dataset.json").exists()
    lab.continues()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_run_whatever_they_are_doing(lab, number):
    """Also where it is killed alone, as the system does when memory ends."""
    process = lab.start_slow(how="library")
    to_one(process, number)
    assert lab.ended()[0] == (130 if number == signal.SIGTERM else -number)
    lab.continues(done=0)


def test_a_step_in_a_library_is_abandoned_by_its_worker(lab):
    process = lab.start_slow(how="library")
    to_all(process, signal.SIGINT)
    code, _, took = lab.ended()
    assert code == 130
    assert took < SOON


def test_a_worker_that_hears_nothing_is_ended_all_the_same(lab):
    process = lab.start_slow()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        fields = entry.read_text().rpartition(")")[2].split()
        if int(fields[2]) == process.pid and int(entry.parent.name) != process.pid and "forkserver" in _command(entry.parent, fields[1]):
            os.kill(int(entry.parent.name), signal.SIGSTOP)
    to_one(process, signal.SIGINT)
    code, _, took = lab.ended()
    assert code == 130
    assert took < SOON


def _command(entry, parent):
    """The command line of a worker's parent: workers are forked from a server."""
    try:
        return (entry.parent / parent / "cmdline").read_bytes().decode()
    except OSError:
        return ""


@pytest.mark.parametrize("pause", [0, 0.02, 0.3])
def test_a_second_one_at_once_breaks_nothing(lab, pause):
    process = lab.start_slow()
    for _ in range(3):
        to_all(process, signal.SIGINT)
        time.sleep(pause)
    code, said, took = lab.ended()
    assert code == 130
    assert took < SOON
    assert said.count("interrupted: what was done is kept") == 1
    lab.continues()


def test_at_any_moment_no_traceback_is_shown(lab):
    """Workers and their server are just being started, or modules imported, or the dataset is put in place."""
    draw = random.Random(0)
    codes, longest = [], 0.8
    while codes.count(130) < 3:
        number = len(codes)
        assert number < 40
        output = f"out{number}"
        process = lab.start(output=output)
        while not (lab.folder / output).exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, longest))
        to_all(process, signal.SIGINT)
        code, said, took = lab.ended()
        over = (lab.folder / output / "dataset.json").exists()
        assert code in (130, 0, -signal.SIGINT) if over else code == 130, said
        assert took < SOON
        codes.append(code)
        longest *= 0.9 if over else 1  # on a fast machine it is through before
        lab.run(output=output, workers=0)
    lab.run(output="reference", workers=0)
    assert all(lab.tree(f"out{number}") == lab.tree("reference") for number in range(len(codes)))


def test_what_the_parent_ignores_stays_ignored(lab):
    """As under nohup, or behind a shell script that ends."""
    (lab.folder / "slow").touch()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = lab.start_slow()
    finally:
        signal.signal(signal.SIGHUP, before)
    to_one(process, signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    to_one(process, signal.SIGTERM)
    assert lab.ended()[0] == 130


def test_overwriting_is_continued_without_overwriting(lab):
    """With it, what was done would be forgotten once more."""
    lab.run(workers=0)
    (lab.folder / "begun").unlink(missing_ok=True)
    process = lab.start_slow("--overwrite")
    to_all(process, signal.SIGINT)
    code, said, _ = lab.ended()
    assert code == 130
    assert "interrupted: what was done is kept; run the same command without --overwrite to continue" in said
    lab.continues()
