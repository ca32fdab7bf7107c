"""Two runs at once on one folder: one works, the other is refused or waits; a dead process holds nothing; readers see whole datasets."""

import fcntl
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from curate_core.dataset import Dataset
from curate_core.errors import RequestError, RunError
from curate_core.hookspec import hookimpl
from curate_core.journal import Lock
from curate_core.parts import Parts
from curate_core.runner import run

Lab = runpy.run_path(str(Path(__file__).with_name("laboratory.py")))["Lab"]
HOLD = """
import sys
from pathlib import Path
from curate_core.journal import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
RUN = "import sys, curate_core; curate_core.run(sys.argv[1])"


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    (tmp_path / "spec.json").write_text(json.dumps(lab.spec))
    return lab


def curate(lab, *words, **options):
    command = [sys.executable, "-m", "curate_core", "run", str(lab.folder / "spec.json"), "-q", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1", "COLUMNS": "300"}, **options)


@pytest.fixture
def holder(lab):
    """A process that holds the folder's lock until its input is closed."""
    started = []

    def hold():
        command = [sys.executable, "-c", HOLD, str(lab.out)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "held\n"
        started.append(process)
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_the_second_is_refused_and_told_of_the_first(lab, holder):
    first = holder()
    done = curate(lab)
    said = done.communicate()[1]
    assert done.returncode == 2
    expected = rf"{lab.out}: another run is at work on this folder: process {first.pid} on {re.escape(socket.gethostname())}, since \d{{4}}-\d\d-\d\d "
    assert re.search(expected, said)
    assert "hint: wait for it (--wait), or choose another output" in said
    assert not (lab.out / "dataset.json").exists()


def test_with_wait_the_second_waits_and_says_so(lab, holder):
    first = holder()
    done = curate(lab, "--wait")
    said = done.stderr.readline()
    first.stdin.close()
    said += done.communicate()[1]
    assert done.returncode == 0
    assert f"another run is at work on this folder: process {first.pid} on" in said
    assert "waiting for it" in said
    assert first.wait() == 0
    assert lab.open().verify() == []


def test_whoever_waits_can_be_interrupted(lab, holder):
    holder()
    with curate(lab, "--wait", start_new_session=True) as done:
        assert "waiting for it" in done.stderr.readline()
        time.sleep(0.1)
        os.kill(done.pid, signal.SIGINT)
        assert done.wait(timeout=10) == 130


def test_whoever_waited_looks_again(lab, holder):
    """The first run made another dataset of the folder, or the sources changed, while the second waited for it."""
    lab.run()
    lock = Lock(lab.out)
    failed: list[Exception] = []

    def second() -> None:
        try:
            lab.run({"name": "another"}, wait=True, output=lab.folder / "new")
        except RequestError as error:
            failed.append(error)

    with Lock(lab.folder / "new"):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.3)
        journal = lab.folder / "new" / ".curate" / "journal.jsonl"
        journal.write_bytes((lab.out / ".curate" / "journal.jsonl").read_bytes())  # as if a run of the lab's name ended there
    waiting.join()
    assert "holds the dataset 'lab', the spec makes 'another'" in str(failed[0])
    with lock:
        waiting = threading.Thread(target=lambda: lab.run(wait=True))
        waiting.start()
        time.sleep(0.3)
        lab.add("two/d", 8)
    waiting.join()
    assert {row["case"] for row in lab.open().rows()} == set("abcd")


def test_a_dead_process_holds_nothing(lab, holder):
    first = holder()
    first.kill()
    first.wait()
    assert f"process {first.pid} on" in (lab.out / ".curate" / "lock").read_text()
    assert lab.run().summary.exit_code == 0
    assert (lab.out / ".curate" / "lock").read_text() == ""


def test_the_workers_of_a_killed_run_hold_nothing(lab):
    """They may outlive it by a moment; the lock does not."""
    lab.spec["engine"] = {"use": "local", "workers": 2}
    (lab.folder / "spec.json").write_text(json.dumps(lab.spec))
    process = subprocess.Popen([sys.executable, "-c", RUN, str(lab.folder / "spec.json")], start_new_session=True)
    while not list((lab.out / ".curate").glob("parts/*/*")):
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert lab.run().summary.exit_code == 0
    assert lab.tree() == lab.fresh()


GARBAGE = {
    "binary": b"\xff\xfe\x00\x80" * 9,
    "long": b"process 1 on " + b"x" * 100_000,
    "lines": b"process 1\non\x1b[31m mars\n",
    "nothing": b"",
    "a pid of another": b"process 1 on elsewhere, since 1970-01-01 00:00:00",
}


@pytest.mark.parametrize("what", sorted(GARBAGE))
def test_what_the_lock_file_says_decides_nothing(lab, what):
    path = lab.out / ".curate" / "lock"
    path.parent.mkdir(parents=True)
    path.write_bytes(GARBAGE[what])
    with path.open("r") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RequestError, match="another run is at work on this folder: ") as caught:
            lab.run()
    assert len(caught.value.message) < 300
    assert caught.value.message.isprintable()
    if what in ("binary", "nothing"):
        assert caught.value.message.endswith("a process that does not say which")
    assert lab.run().summary.exit_code == 0


def test_a_folder_that_cannot_be_locked_is_named(lab, monkeypatch):
    def refuse(*given):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(
        RequestError, match=r"out: the output folder cannot be locked: Operation not supported \(choose one on another disk\)"
    ):
        lab.run()


def test_an_output_that_cannot_be_written_is_named(lab):
    lab.out.write_text("a file")
    with pytest.raises(RequestError, match="the output folder cannot be written|the output is a file, not a folder"), Lock(lab.out):
        pass


START = """
import sys, time
from curate_core.errors import RequestError, RunError
from curate_core.parts import Parts
from curate_core.runner import run
print("ready", flush=True)
for line in sys.stdin:
    spec, moment = line.split()
    while time.time() < float(moment):
        pass
    try:
        run(spec)
        print("won", flush=True)
    except RequestError as error:
        print("refused" if "another run is at work" in str(error) else error, flush=True)
"""


def test_of_two_that_start_at_once_each_wins_or_is_refused(lab):
    """Twenty times two processes at the same instant, half of them on a folder that is not there yet: never an error, never a torn dataset.

    Both may win, where the second begins when the first has ended.
    """
    both = [subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    reference = lab.fresh()
    outcomes = []
    for attempt in range(20):
        spec = {**lab.spec, "output": f"out{attempt // 2}", "seed": attempt % 2}
        path = lab.folder / f"spec{attempt}.json"
        path.write_text(json.dumps(spec))
        moment = time.time() + 0.05
        for process in both:
            process.stdin.write(f"{path} {moment}\n")
            process.stdin.flush()
        outcomes.append(sorted(process.stdout.readline().strip() for process in both))
        dataset = Dataset(lab.folder / spec["output"])
        assert dataset.verify() == []
        if spec["seed"] == 0:
            assert lab.tree(lab.folder / spec["output"]) == reference
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert all(outcome in (["refused", "won"], ["won", "won"]) for outcome in outcomes)
    assert ["refused", "won"] in outcomes


class Reader:
    """Opens the dataset whenever a unit of a run ends, as somebody who trains meanwhile."""

    def __init__(self, lab) -> None:
        self.lab, self.seen = lab, []

    @hookimpl
    def curate_unit_finished(self, outcome):
        dataset = Dataset(self.lab.out)
        assert dataset.verify() == []
        self.seen.append(len(dataset))


def test_a_reader_sees_the_earlier_dataset_until_the_commit(lab):
    lab.run()
    reader = Reader(lab)
    run({**lab.spec, "filter": [{"use": "limit", "count": 5}]}, folder=lab.folder, listeners=[reader])
    assert set(reader.seen) == {54}
    assert len(Dataset(lab.out)) == 15


def test_a_dataset_that_was_made_again_is_not_mixed_with_the_old_one(lab):
    lab.run()
    old = lab.open()
    lab.run()
    assert len(list(old.rows())) == 54, "a run that changes nothing disturbs nobody"
    lab.run({"filter": [{"use": "limit", "count": 5}]})
    for ask in (lambda: old.row(0), lambda: list(old.rows()), lambda: old[3]):
        with pytest.raises(RequestError, match=r"the dataset was made again since it was opened \(open it again\)"):
            ask()


def test_a_dataset_in_the_middle_of_its_commit_is_said_to_be(lab, monkeypatch):
    lab.run()
    load = np.load

    def late(path, *given, **named):
        found = load(path, *given, **named)
        (lab.out / "dataset.json").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(np, "load", late)
    with pytest.raises(RequestError, match=r"the dataset is being made again \(open it again when the run has ended\)"):
        lab.open()
    with pytest.raises(RequestError, match="the dataset is not complete"):
        lab.open()


def test_a_worker_that_outlives_its_run_puts_nothing_half_made_in_place(lab):
    """It was writing when the next run began and cleared away; its writer makes folders anew, and goes on with the rest."""
    orphan, next_run = Parts(lab.out), Parts(lab.out)

    def half(goes_on: bool) -> None:
        with orphan.making("abc") as folder:
            (folder / "first").write_text("1")
            next_run.clear_aside()
            if goes_on:
                folder.mkdir(parents=True)
                (folder / "second").write_text("2")

    with pytest.raises(RunError, match="another run has cleared away what this one was making"):
        half(goes_on=True)
    with pytest.raises(RunError, match=r"abc\.\d+: (writing failed: No such file|another run has cleared)"):
        half(goes_on=False)
    assert next_run.present() == []
    assert not list((lab.out / ".curate").glob("aside*"))
