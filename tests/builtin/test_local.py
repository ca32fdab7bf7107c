"""The engine of this machine, with workers that meet with accidents."""

import hashlib
import multiprocessing
import os
import pickle
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from curate_core.builtin.local import LocalEngine
from curate_core.errors import RequestError, SourceError, StepError
from curate_core.host import default_host
from curate_core.kinds import Unit
from curate_core.runner import run
from curate_core.structure import Mistakes, structure
from curate_core.testing import EngineTests, values
from curate_core.testing.fixtures import write_distribution

WORKERS = pytest.mark.parametrize("workers", [0, 1, 3])


@pytest.fixture(autouse=True)
def toys(tmp_path_factory, monkeypatch):
    """The toys, importable here and in workers, and discoverable as an installed plugin."""
    folder = tmp_path_factory.mktemp("installed")
    write_distribution(folder, "engine-toys", {"engine-toys": "engine_toys"})
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    default_host.cache_clear()
    import engine_toys

    yield engine_toys
    default_host.cache_clear()
    sys.modules.pop("engine_toys", None)


def unit(*task, label="", nbytes=1):
    text = label or " ".join(map(str, task))
    return Unit(text, text, task, nbytes)


def engine(**options):
    return structure(options, LocalEngine, None)


def outcomes(toys, units, **options):
    with engine(**options).open(toys.work) as session:
        return list(session.run(units))


class TestLocalEngine(EngineTests):
    component = LocalEngine
    options: ClassVar = {"workers": 2}


class TestLocalEngineAlone(EngineTests):
    component = LocalEngine
    options: ClassVar = {"workers": 0}


@WORKERS
def test_every_unit_is_done_once(toys, workers):
    units = [unit("square", n) for n in range(40)]
    got = outcomes(toys, units, workers=workers)
    assert {outcome.unit.key: outcome.value for outcome in got} == {f"square {n}": n * n for n in range(40)}
    assert {outcome.status for outcome in got} == {"done"}
    assert len(got) == 40


def test_the_calling_process_works_in_order(toys):
    got = outcomes(toys, [unit("square", n) for n in range(5)], workers=0)
    assert [outcome.value for outcome in got] == [0, 1, 4, 9, 16]
    assert [outcome.value for outcome in outcomes(toys, [unit("who")], workers=0)] == [(0, "cpu", os.getpid())]


def test_workers_are_other_processes_and_are_numbered(toys):
    found = {outcome.value for outcome in outcomes(toys, [unit("who", n) for n in range(12)], workers=3)}
    assert {index for index, _, _ in found} == {1, 2, 3}
    assert {device for _, device, _ in found} == {"cpu"}
    assert len({pid for _, _, pid in found} - {os.getpid()}) == 3


def test_workers_take_devices_in_turn(toys):
    units = [unit("who", n) for n in range(12)]
    found = {outcome.value[:2] for outcome in outcomes(toys, units, workers=3, devices=["cuda:0", "cuda:1"])}
    assert found == {(1, "cuda:0"), (2, "cuda:1"), (3, "cuda:0")}
    assert outcomes(toys, units[:1], workers=0, devices=["cuda:1"])[0].value[:2] == (0, "cuda:1")


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (("kill", int(signal.SIGKILL)), "the worker was killed by signal 9 (signal 9 is what the system sends when memory ends)"),
        (("kill", int(signal.SIGSEGV)), "the worker was killed by signal 11"),
        (("exit", 3), "the worker ended with exit code 3"),
    ],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_that_dies_is_reported_and_replaced(toys, workers, task, text):
    units = [unit("square", 2), unit(*task, label="case b, block 3"), *(unit("square", n) for n in range(3, 9))]
    got = {outcome.unit.label: outcome for outcome in outcomes(toys, units, workers=workers)}
    lost = got.pop("case b, block 3")
    assert (lost.status, lost.value) == ("lost", None)
    assert isinstance(lost.error, StepError)
    assert str(lost.error) == f"case b, block 3: {text}"
    assert {label: outcome.value for label, outcome in got.items()} == {f"square {n}": n * n for n in range(2, 9)}


def test_all_workers_may_die(toys):
    units = [unit("exit", 1, n) for n in range(7)] + [unit("square", 3)]
    got = outcomes(toys, units, workers=3)
    assert sorted(outcome.status for outcome in got) == ["done"] + ["lost"] * 7


@WORKERS
def test_errors_cross_processes_with_all_they_say(toys, workers):
    (outcome,) = outcomes(toys, [unit("source-error")], workers=workers)
    error = outcome.error
    assert (outcome.status, type(error)) == ("failed", SourceError)
    assert (error.message, error.where, error.hint) == ("the header is torn", "a.npy", "copy it again")
    assert str(error) == "a.npy: the header is torn (copy it again)"
    (note,) = error.__notes__
    assert note.startswith("Traceback (most recent call last):")
    assert "engine_toys.py" in note
    assert "the header is torn" in note


@WORKERS
@pytest.mark.parametrize(("task", "text"), [("bug", "KeyError: 'nothing here'"), ("unpicklable error", "Unpicklable: ('boom'")])
def test_errors_that_are_no_ones_doing_are_told_as_bugs(toys, workers, task, text):
    (outcome,) = outcomes(toys, [unit(task)], workers=workers)
    assert (outcome.status, type(outcome.error)) == ("failed", StepError)
    assert outcome.error.message.startswith(text)
    assert outcome.error.hint == "a bug in curate; --debug shows where"
    assert "engine_toys.py" in outcome.error.__notes__[0]
    assert pickle.loads(pickle.dumps(outcome.error)).message == outcome.error.message


@WORKERS
def test_errors_of_plugins_arrive_as_their_nearest_kind(toys, workers):
    (outcome,) = outcomes(toys, [unit("own error")], workers=workers)
    assert type(outcome.error) is SourceError
    assert str(outcome.error) == "a.npy: line 3 is torn (copy it again)"
    assert "OwnError" in outcome.error.__notes__[0]


def test_a_value_that_cannot_be_sent_costs_its_unit_only(toys):
    got = {o.unit.label: o for o in outcomes(toys, [unit("unpicklable value"), unit("square", 3)], workers=1)}
    assert got["square 3"].value == 9
    assert got["unpicklable value"].status == "failed"
    assert "local object 'work.<locals>.<lambda>'" in str(got["unpicklable value"].error)


def test_a_failure_stops_nothing(toys):
    got = outcomes(toys, [unit("bug", n) for n in range(5)] + [unit("square", 7)], workers=2)
    assert sorted(outcome.status for outcome in got) == ["done"] + ["failed"] * 5


@WORKERS
def test_a_unit_beyond_the_memory_is_refused_with_numbers(toys, workers):
    with pytest.raises(RequestError) as caught:
        outcomes(toys, [unit("square", 3, label="case a", nbytes=3_000_000_000)], workers=workers, memory="2 GB")
    assert str(caught.value) == (
        "engine.memory: case a needs about 3 GB, the engine's memory is 2 GB (raise it, or make the samples smaller)"
    )


def overlapping(spans):
    """The greatest number of spans that share a moment."""
    events = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    level = highest = 0
    for _, change in events:
        level += change
        highest = max(highest, level)
    return highest


def test_units_at_work_together_fit_into_the_memory(toys):
    units = [unit("span", 0.05, n, nbytes=400) for n in range(9)]
    spans = [outcome.value for outcome in outcomes(toys, units, workers=3, memory=1000)]
    assert overlapping(spans) == 2
    spans = [outcome.value for outcome in outcomes(toys, units, workers=3, memory=799)]
    assert overlapping(spans) == 1
    spans = [outcome.value for outcome in outcomes(toys, units, workers=3, memory=1200)]
    assert overlapping(spans) == 3


def test_units_are_asked_for_as_there_is_room(toys):
    asked = []

    def source():
        for n in range(50):
            asked.append(n)
            yield unit("square", n)

    with engine(workers=2).open(toys.work) as session:
        results = session.run(source())
        next(results)
        assert len(asked) <= 8
        results.close()


def test_a_session_runs_again_with_the_same_workers(toys):
    with engine(workers=1).open(toys.work) as session:
        first, second = (next(iter(list(session.run([unit("who")])))).value for _ in range(2))
    assert first == second


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if Path("/proc/self").exists() else True


def test_no_worker_outlives_its_session(toys):
    with engine(workers=2).open(toys.work) as session:
        pids = {outcome.value[2] for outcome in session.run([unit("who", n) for n in range(6)])}
        assert all(map(alive, pids))
    assert not any(map(alive, pids))
    assert not multiprocessing.active_children()


def test_leaving_early_abandons_what_is_in_progress(toys):
    with engine(workers=2).open(toys.work) as session:
        results = session.run([unit("square", 1), unit("span", 60)])
        assert next(results).value == 1
        began = time.monotonic()
        results.close()
    assert time.monotonic() - began < 30
    assert not multiprocessing.active_children()


def test_options(toys):
    assert engine().open(toys.work).count == len(os.sched_getaffinity(0))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert engine(workers=1).open(toys.work).budget == int(0.8 * total)
    assert engine(memory="2 GiB").open(toys.work).budget == 2 << 30
    for wrong in (-1, 1025, 1.5, "2"):
        with pytest.raises(Mistakes):
            engine(workers=wrong)


# whole runs


@pytest.fixture
def lab(tmp_path):
    """A run over three volumes that its caller changes."""
    (tmp_path / "data").mkdir()
    for number, case in enumerate("abc"):
        np.save(tmp_path / "data" / f"{case}.npy", values((3, 16, 16), "uint16", number))

    def go(output="out", **changes):
        spec = {
            "version": 1,
            "name": "lab",
            "source": {"use": "files", "pattern": "data/{case}.npy"},
            "rois": [{"use": "grid", "size": 8, "planes": ["xy", "yz"], "edge": "short"}],
            "transform": [{"use": "normalize", "over": "dataset"}],
            "filter": [{"use": "limit", "count": 40, "within": "dataset"}],
            "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
            "output": output,
            **changes,
        }
        summary = run(spec, folder=tmp_path)
        out = tmp_path / output
        files = (p for p in sorted(out.rglob("*")) if p.is_file() and ".curate" not in p.relative_to(out).parts)
        return summary, {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    go.folder = tmp_path
    return go


def quarantined(lab, output="out"):
    import curate_core

    return list(curate_core.open(lab.folder / output).quarantined())


def test_results_do_not_depend_on_workers(lab):
    trees = [lab(f"out{workers}", engine={"use": "local", "workers": workers})[1] for workers in (0, 1, 3)]
    assert len(trees[0]) > 40
    assert trees[0] == trees[1] == trees[2]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_case_whose_worker_dies_costs_only_itself(lab, workers):
    accident = {"use": "accident", "case": "b"}
    summary, tree = lab(engine={"use": "local", "workers": workers}, transform=[accident], filter=[])
    assert (summary.cases, summary.quarantined_cases, summary.exit_code) == (2, 1, 1)
    (row,) = quarantined(lab)
    assert row["case"] == "b"
    assert "its worker was lost twice, the second time alone: b" in row["reason"]
    assert "the worker was killed by signal 9 (signal 9 is what the system sends when memory ends)" in row["reason"]
    _, without = lab(
        "reference", engine={"use": "local", "workers": 0}, filter=[], transform=[], source={"use": "files", "pattern": "data/{case}.npy"}
    )
    left, right = ({n: h for n, h in found.items() if n[:2] in ("a/", "b/", "c/")} for found in (tree, without))
    assert left == {name: h for name, h in right.items() if not name.startswith("b/")}


def test_a_worker_that_dies_once_is_tried_again(lab):
    accident = {"use": "accident", "case": "b", "once": "happened"}
    (lab.folder / "happened").write_text("")
    _, reference = lab("reference", engine={"use": "local", "workers": 0}, transform=[accident], filter=[])
    (lab.folder / "happened").unlink()
    summary, tree = lab(engine={"use": "local", "workers": 2}, transform=[accident], filter=[])
    assert (lab.folder / "happened").exists()
    assert (summary.cases, summary.quarantined_cases) == (3, 0)
    assert tree == reference
