"""Runs that are killed, at chosen points, and resumed: the short version. ``python tests/resilience --kills 1000`` is the long one."""

import os
import random
import signal
import subprocess
import sys

import faults
import pytest
from faults import Rule
from scenarios import POINTS, SCENARIOS, kind_of, one_of_each

NAMES = [scenario.name for scenario in SCENARIOS]


def chosen(name):
    found = next(scenario for scenario in SCENARIOS if scenario.name == name)
    for module in found.needs:
        pytest.importorskip(module)
    return found


def struck(laboratory, scenario):
    """Where a run is killed once: a point of every second kind that it has, and others; the other kinds fall to the next scenario."""
    points = one_of_each(laboratory.points(scenario, 1), more=2)
    return points[::3] if scenario.needs else points[NAMES.index(scenario.name) % 2 :: 2]  # plugins share all but their own files


@pytest.mark.parametrize("name", NAMES)
def test_killed_once(laboratory, name):
    """At points of all kinds, by turns; every second time the power is cut as well."""
    scenario = chosen(name)
    draw = random.Random(name)
    for number, (op, moment) in enumerate(struck(laboratory, scenario)):
        trial = laboratory.trial(scenario, [Rule("kill", op.number, when=moment)], group=1, rng=draw if number % 2 else None)
        assert not trial.problem
        assert trial.kills == [(kind_of(op), moment)]


@pytest.mark.parametrize("name", ["files and stacks", "another choice in a stack", "appended", "overwritten"])
def test_killed_again_and_again(laboratory, name):
    """The resumption, too, and its resumption."""
    scenario = chosen(name)
    draw = random.Random(name)
    count = len(laboratory.points(scenario, 1))
    for number in range(4):
        rules = [Rule("kill", draw.randint(1, count), when=draw.choice(["before", "half"])) for _ in range(4)]
        trial = laboratory.trial(scenario, rules, group=1, rng=draw if number % 2 else None)
        assert not trial.problem
        assert trial.kills


@pytest.mark.parametrize("name", ["files", "another choice in a stack"])
def test_the_power_is_cut_around_dataset_json(laboratory, name):
    """Where it has just gone, and files are being replaced, or has just come: whether it is there must be true."""
    scenario = chosen(name)
    ops = laboratory.points(scenario)
    gone = next((i for i, op in enumerate(ops) if op.path == "dataset.json"), None)
    come = next(i for i, op in enumerate(ops) if op.other == "dataset.json")
    for at in ([] if gone is None else [gone + 2, gone + 4]) + [come + 1, come + 2]:
        for seed in range(8):
            trial = laboratory.trial(scenario, [Rule("kill", ops[at].number)], rng=random.Random(seed))
            assert not trial.problem


@pytest.mark.parametrize("name", ["stack", "another size of samples"])
def test_the_power_is_cut_when_all_is_done(laboratory, name):
    scenario = chosen(name)
    for seed in range(4):
        trial = laboratory.trial(scenario, [Rule()], rng=random.Random(seed))
        assert not trial.problem


@pytest.mark.parametrize("name", ["stack", "chosen over the dataset"])
def test_killed_at_any_moment(laboratory, name):
    """By the clock, whatever the two workers and their run are doing."""
    scenario = chosen(name)
    space = laboratory.space(scenario)
    draw = random.Random(name)
    kills = 0
    for attempt in range(30):
        words = ["run", str(laboratory.save_spec(scenario.spec)), "--output", str(space / "out"), "--workers", "2"]
        process = laboratory.start(words, group=2, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=draw.uniform(0.2, 0.4) + 0.05 * attempt)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        laboratory.check(scenario, space / "out")
    assert kills > 0
    assert laboratory.run(space / "out", scenario.spec, workers=2) == scenario.code
    laboratory.compare(scenario, space / "out")


WORKERS = [
    ("kill", "write", "*/data/b/*", "half"),
    ("kill", "rename", ".curate/aside/*>.curate/parts/*", "after"),
    ("kill", "rename", ".curate/parts/*>c/*", "before"),
    ("die", "write", "*/data/b/*", "half"),
    ("die", "rename", ".curate/aside/*>.curate/parts/*", "before"),
    ("die", "rename", ".curate/aside/*>.curate/parts/*", "after"),
    ("die", "write", ".curate/journal.jsonl", "half"),
]


@pytest.mark.parametrize(("action", "op", "path", "moment"), WORKERS)
def test_killed_with_workers(laboratory, action, op, path, moment):
    """All processes; or one alone: a worker, without which the run goes on, or that which coordinates them."""
    trial = laboratory.trial(chosen("files"), [Rule(action, 2, op, path, moment)], workers=2, group=2)
    assert not trial.problem
    assert len(trial.kills) == 1


def test_every_kind_of_point_is_there(laboratory):
    """What the tables count is what runs do: no kind is missing, and nothing falls outside; some run is killed at each."""
    needed = [scenario for scenario in SCENARIOS if not scenario.needs]
    kinds = {name for name, _, _ in POINTS} - {"other"}
    assert {kind_of(op) for scenario in needed for op in laboratory.points(scenario, 1)} == kinds
    assert {kind_of(op) for scenario in needed for op, _ in struck(laboratory, scenario)} == kinds


@pytest.mark.parametrize("name", NAMES)
def test_no_operation_is_missed(laboratory, name):
    """Every file that a run leaves was made under the library's eyes, and each of its bytes was."""
    scenario = chosen(name)
    space = laboratory.space(scenario)
    out = space / "out"
    before = {path.stat().st_ino for path in out.rglob("*")} if out.exists() else set()
    control = faults.Control(space / "control", out)
    assert laboratory.run(out, scenario.spec, scenario.words, control) == scenario.code
    ops = control.ops()
    made = {op.inode for op in ops if op.name == "create"}
    written = {}
    for op in ops:
        if op.name == "write":
            written[op.inode] = max(written.get(op.inode, 0), op.offset + op.length)
    for path in out.rglob("*"):
        status = path.stat()
        if path.is_file() and status.st_ino not in before:
            assert status.st_ino in made, path
            assert written.get(status.st_ino, 0) == status.st_size or path.name == "lock", path


def test_a_power_cut_takes_what_no_sync_covers(tmp_path, faults_library):
    """The cut itself, on a program whose losses are known."""
    root, grave = tmp_path / "root", tmp_path / "grave"
    root.mkdir()
    (root / "old").write_bytes(b"old content")
    script = f"""
import ctypes, os
os.chdir({str(root)!r})
def put(name, text, sync):
    with open(name, "wb", buffering=0) as file:
        file.write(text)
        if sync: os.fsync(file.fileno())
put("early", b"before the barrier", False)
handle = os.open(".", os.O_RDONLY)
assert ctypes.CDLL(None).syncfs(handle) == 0
put("late", b"synced", True)
put("later", b"not synced", False)
os.mkdir("folder")
os.rename("late", "folder/moved")
os.rename("later", "old")
os.unlink("early")
"""
    seen = set()
    for seed in range(40):
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (root / "old").write_bytes(b"old content")
        control = faults.Control(tmp_path / "control", root, grave=grave)
        environment = {**os.environ, "LD_PRELOAD": str(faults_library), "CURATE_FAULTS": str(control.file)}
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)
        faults.cut_power(control, random.Random(seed))
        left = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        assert left.get("early", b"before the barrier") == b"before the barrier"
        assert left.get("late", left.get("folder/moved", b"synced")) in (b"synced",), "what was synced is whole, where it has a name"
        assert left["old"] in (b"old content", b"not synced", b"", bytes(10))
        seen.add((tuple(sorted(left)), left["old"]))
    assert len(seen) > 6
