"""Memory is a budget; workers that die, hang or stop cost their case, and never the run."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from curate_core.testing import values
from curate_core.testing.fixtures import write_distribution

HERE = Path(__file__).parent
LIMIT = 120  # seconds; what hangs fails here

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and process tables as Linux has them")


@pytest.fixture
def lab(tmp_path):
    """Runs ``curate run`` in a process of its own over three volumes, with the toys installed."""
    write_distribution(tmp_path / "site", "memory-toys", {"memory-toys": "memory_toys"})
    (tmp_path / "data").mkdir()
    for number, case in enumerate("abc"):
        np.save(tmp_path / "data" / f"{case}.npy", values((3, 16, 16), "uint16", number))
    return Lab(tmp_path)


class Lab:
    def __init__(self, folder):
        self.folder = folder

    def start(self, *, engine, limit=None, output="out", **changes):
        spec = {
            "version": 1,
            "name": "lab",
            "source": {"use": "files", "pattern": "data/{case}.npy"},
            "rois": [{"use": "grid", "size": 8, "planes": ["xy"]}],
            "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
            "output": output,
            "engine": {"use": "local", **engine},
            **changes,
        }
        (self.folder / "spec.json").write_text(json.dumps(spec))
        path = os.pathsep.join([str(self.folder / "site"), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.Popen(
            [sys.executable, "-m", "curate_core", "run", "spec.json"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            preexec_fn=limit,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, **how):
        process = self.start(**how)
        out, err = process.communicate(timeout=LIMIT)
        assert "Traceback" not in err
        return process.returncode, out + err

    def files(self, output="out"):
        folder = self.folder / output
        return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.glob("[abc]/*.npy"))}

    def quarantined(self):
        return [json.loads(line) for line in (self.folder / "out/quarantine.jsonl").read_text().splitlines()]

    def others_are_there(self):
        """The dataset of the cases that no accident met, and of no other."""
        assert self.run(engine={"workers": 0}, output="reference")[0] == 0
        wanted = {name: content for name, content in self.files("reference").items() if not name.startswith("b/")}
        assert len(wanted) == 24
        assert self.files() == wanted


def trouble(do, **options):
    return [{"use": "trouble", "do": do, "case": "b", **options}]


def address_space(megabytes):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    return limit


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_case_whose_memory_ends_costs_only_itself(lab, workers):
    code, text = lab.run(engine={"workers": workers}, limit=address_space(4000), transform=trouble("hog", megabytes=5000, log="tries.txt"))
    assert code == 1, text
    (row,) = lab.quarantined()
    assert row["case"] == "b"
    assert "lost twice, the second time alone: b: memory ended: " in row["reason"]
    assert "lower engine.workers or engine.memory, or make the samples smaller" in row["reason"]
    assert (lab.folder / "tries.txt").read_text() == "hog\n" * 2, "tried once more, alone"
    lab.others_are_there()


@pytest.mark.parametrize("do", ["sleep", "stop"])
def test_a_unit_that_does_not_end_is_ended_at_the_timeout(lab, do):
    began = time.monotonic()
    code, text = lab.run(engine={"workers": 2, "timeout": 1.5}, transform=trouble(do))
    assert time.monotonic() - began < 60
    assert code == 1, text
    (row,) = lab.quarantined()
    assert row["case"] == "b"
    assert row["reason"] == (
        "b: it took longer than engine.timeout, 1.5 s, and its worker was ended "
        "(a file system that does not answer, or a unit that needs more time: raise engine.timeout)"
    )
    lab.others_are_there()


def test_a_source_that_does_not_answer_costs_only_itself(lab):
    """A file whose reader waits for its voxels for ever, as on a server that is gone."""
    held = {"use": "held"}
    for case in "abc":
        (lab.folder / "data" / f"{case}.held").write_text("1")
    how = {
        "source": {"use": "files", "pattern": "data/{case}.held"},
        "read": {"*": held},
        "rois": [{"use": "grid", "size": 512, "planes": ["xy"]}],
    }
    (lab.folder / "data" / "b.held").write_text("0")
    code, text = lab.run(engine={"workers": 2, "timeout": 2}, **how)
    assert code == 1, text
    (row,) = lab.quarantined()
    assert row["case"] == "b"
    assert "it took longer than engine.timeout, 2 s, and its worker was ended" in row["reason"]
    (lab.folder / "data" / "b.held").write_text("1")
    code, text = lab.run(engine={"workers": 2, "timeout": 20}, **how)
    assert code == 0, text
    assert {name[0] for name in lab.files()} == {"a", "b", "c"}


def test_no_worker_can_be_ended_where_there_is_none(lab):
    code, text = lab.run(engine={"workers": 0, "timeout": 5})
    assert code == 2
    assert "timeout ends the worker of a stuck unit, and with 0 workers there is none: ask for at least one" in " ".join(text.split())


def test_the_end_of_the_process_that_starts_workers_is_survived(lab):
    (lab.folder / "tries.txt").write_text("")
    code, text = lab.run(engine={"workers": 2}, transform=trouble("kill_the_server_of_workers", log="tries.txt"))
    assert code == 0, text
    assert {name[0] for name in lab.files()} == {"a", "b", "c"}


def anonymous(pid):
    """Anonymous memory of a process, MB; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(text.partition("Anonymous:")[2].split()[0]) / 1024


def family(pid):
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += family(int(child))
    return found


def peak(process):
    """The most anonymous memory that a process and its descendants held together, MB, and the most that one of them held."""
    together, one = 0.0, 0.0
    while process.poll() is None:
        try:
            each = [anonymous(pid) for pid in family(process.pid)]
        except OSError:
            continue
        together, one = max(together, sum(each)), max(one, *each)
        time.sleep(0.01)
    return together, one


@pytest.mark.parametrize(("budget", "at_once"), [("900 MiB", 2), ("1700 MiB", 4)])
def test_cases_in_memory_together_fit_into_the_budget(lab, budget, at_once):
    """Each case holds 300 MB while it is open; workers that wait must not keep theirs."""
    for case in "abcdef":
        (lab.folder / "data" / f"{case}.held").write_text("300")
    process = lab.start(
        engine={"workers": 4, "memory": budget},
        source={"use": "files", "pattern": "data/{case}.held"},
        read={"*": {"use": "held"}},
        rois=[{"use": "random", "size": [1, 8, 8], "count": 4}],
    )
    together, one = peak(process)
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, out + err
    assert one > 300, "the layers were really held"
    processes = 6 * 60  # what the interpreters hold beside the cases: the runner, the server of workers, four workers
    assert together < 314 * at_once + processes
    assert together > 280 * at_once * 0.9, "the budget is used"
