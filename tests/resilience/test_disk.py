"""Disks that are full or fail: a message that says what, where and what to do, exit code 3, no case to blame, and a run that continues."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from curate_core.builtin.npy import NpyWriter
from curate_core.commit import finish
from curate_core.dataset import Dataset
from curate_core.journal import Journal
from curate_core.runner import run

HERE = Path(__file__).parent
FULL = r"error: \S+: writing failed: No space left on device"
CONTINUES = "run again: it continues"


@pytest.fixture
def lab(laboratory, tmp_path):
    """The laboratory, and a new folder in it for one output."""
    laboratory.out = laboratory.folder / "disk" / tmp_path.name / "out"
    laboratory.out.parent.mkdir(parents=True)
    return laboratory


def scenario(name):
    import scenarios

    found = next(scenario for scenario in scenarios.SCENARIOS if scenario.name == name)
    for module in found.needs:
        pytest.importorskip(module)
    return found


def rule(**options):
    import faults

    return faults.Rule("fail", **options)


def control(lab, given, root=None):
    import faults

    return faults.Control(lab.out.parent / "control", root or lab.out, given)


def spread(count, wanted):
    """So many of the numbers up to ``count``, evenly."""
    return sorted({1 + round(i * (count - 1) / (wanted - 1)) for i in range(wanted)})


FILLED = ["files", "files and stacks", "statistics and a stack", "tiff volumes", "near-duplicates and a stack", "another choice in a stack"]


@pytest.mark.parametrize("name", FILLED)
def test_a_disk_that_is_full_from_some_point_on(lab, name):
    import faults

    chosen = scenario(name)
    growing = sum(op.name in faults.GROWS.split("|") for op in lab.points(chosen))
    for nth in spread(growing, 8):
        space = lab.space(chosen)
        full = faults.Control(space / "control", space / "out", rule(nth=nth, op=faults.GROWS, forever=True))
        status = lab.run(space / "out", chosen.spec, chosen.words, full)
        at = next((op for op in full.ops() if op.result < 0), None)
        assert status == 3, (at, lab.said)
        assert re.search(FULL, lab.said), (at, lab.said)
        assert "Traceback" not in lab.said
        assert "run again" in lab.said
        lab.check(chosen, space / "out")
        assert lab.run(space / "out", chosen.spec, chosen.words) == chosen.code, lab.said
        lab.compare(chosen, space / "out")
        shutil.rmtree(space)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_one_operation_that_fails(lab, number):
    """Of every kind that a run does; whether it stops or can do without, the folder is never wrong, and the next run ends well."""
    import faults
    import scenarios

    chosen = scenario("another choice in a stack")
    ops = lab.points(chosen)
    firsts = {(scenarios.kind_of(op), op.name): op for op in reversed(ops) if scenarios.kind_of(op) != "lock"}
    assert len(firsts) > 25
    stopped = 0
    for (kind, name), op in firsts.items():
        space = lab.space(chosen)
        once = faults.Control(space / "control", space / "out", rule(nth=op.number, error=number))
        status = lab.run(space / "out", chosen.spec, chosen.words, once)
        assert "Traceback" not in lab.said
        assert once.struck == op.number
        if status != 3:
            assert status == chosen.code, (kind, name, lab.said)
            clears = op.path.startswith(".curate") and (kind.endswith("cleared away") or name in ("unlink", "rmdir"))
            assert clears or name == "mkdir", op  # that can wait; some folders are there already
        else:
            stopped += 1
            assert os.strerror(number) in lab.said, (kind, name, lab.said)
            assert "run again" in lab.said, (kind, name, lab.said)
        lab.check(chosen, space / "out")
        assert lab.run(space / "out", chosen.spec, chosen.words) == chosen.code, (kind, name, lab.said)
        lab.compare(chosen, space / "out")
        shutil.rmtree(space)
    assert stopped > 15


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("pattern", ["*/data/b/*", "*.tsv", "*rois.npz"])
def test_what_a_worker_cannot_write_is_no_fault_of_its_case(lab, number, pattern):
    chosen = scenario("files")
    status = lab.run(lab.out, chosen.spec, control=control(lab, rule(op="write", path=pattern, error=number)), workers=2)
    assert status == 3
    assert f"writing failed: {os.strerror(number)}" in lab.said
    assert "Traceback" not in lab.said
    assert not (lab.out / "dataset.json").exists()
    assert lab.run(lab.out, chosen.spec, workers=2) == 0, lab.said
    assert list(Dataset(lab.out).quarantined()) == []


def test_the_message_says_what_where_how_much_and_what_to_do(lab):
    chosen = scenario("stack")
    at = control(lab, rule(op="write", path="*assembled*", forever=True))
    assert lab.run(lab.out, chosen.spec, control=at) == 3
    needed = 3 * 8 * 64
    assert re.search(
        rf"error: {lab.out}/.curate/commit/assembled.0: writing failed: No space left on device "
        rf"\({needed / 1000:.3g} kB are needed, \S+ [kMG]B are free there\)\n"
        r"  hint: make room there and run again: it continues; so it does where the whole folder is moved to another disk",
        lab.said,
    ), lab.said
    assert lab.run(lab.out, chosen.spec) == 0


def test_the_message_says_what_is_left_to_write(lab):
    spec = {**scenario("files").spec, "filter": [{"use": "limit", "count": 20, "within": "dataset"}]}
    at = control(lab, rule(op="write", path="*/data/a/*", forever=True))
    assert lab.run(lab.out, spec, control=at) == 3
    assert re.search(r"are free there\); the samples that are not written yet take up to 1.54 kB", lab.said), lab.said


@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_that_cannot_be_read_costs_only_its_case(lab, workers):
    chosen = scenario("files")
    at = control(lab, rule(op="read", path="b.npy", error=errno.EIO, forever=True), root=lab.folder / "data")
    assert lab.run(lab.out, chosen.spec, control=at, workers=workers) == 1, lab.said
    (line,) = Dataset(lab.out).quarantined()
    assert (line["case"], line["step"]) == ("b", "read")
    assert "b.npy: " in line["reason"]
    assert os.strerror(errno.EIO) in line["reason"]
    assert lab.run(lab.out, chosen.spec, workers=workers) == 0
    lab.space(chosen)
    lab.compare(chosen, lab.out)


# Outputs that cannot be


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written(lab, number):
    lab.out.mkdir()
    at = control(lab, rule(op="mkdir", path=".curate", error=number, forever=True))
    assert lab.run(lab.out, {}, control=at) == 2
    assert f"error: {lab.out}: the output folder cannot be written: {os.strerror(number)}" in lab.said
    assert "choose another with --output" in lab.said
    assert list(lab.out.iterdir()) == []


def test_a_full_disk_at_the_first_folder(lab):
    at = control(lab, rule(op="mkdir", forever=True))
    assert lab.run(lab.out, {}, control=at) == 3
    assert re.search(FULL, lab.said), lab.said
    assert not lab.out.exists()


def test_an_output_that_is_a_file(lab):
    lab.out.write_text("years of work")
    assert lab.run(lab.out, {}) == 2
    assert f"error: {lab.out}: the output is a file, not a folder" in lab.said
    assert lab.run(lab.out / "deeper", {}) == 2
    assert f"error: {lab.out}/deeper: the output folder cannot be written: Not a directory" in lab.said
    assert lab.out.read_text() == "years of work"


# A disk that is really full

SMALL = """
import json, os, shutil, subprocess, sys
where, size, larger, command, base = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4]), sys.argv[5]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", where], check=True)
if base:
    shutil.copytree(base, where + "/out")
first = subprocess.run(command, capture_output=True, text=True)
complete = os.path.exists(where + "/out/dataset.json")
subprocess.run(["mount", "-o", f"remount,size={larger}", where], check=True)
second = subprocess.run(command, capture_output=True, text=True)
shutil.copytree(where + "/out", where + ".copy", dirs_exist_ok=True)
print(json.dumps([first.returncode, first.stderr, complete, second.returncode, second.stderr]))
"""


def private_mounts():
    """A command in front of others that lets them mount, for themselves alone."""
    for words in (["unshare", "-m"], ["unshare", "-rm"]):
        with_mount = [*words, "mount", "-t", "tmpfs", "none", "/mnt"]
        if shutil.which("unshare") and subprocess.run(with_mount, capture_output=True, check=False).returncode == 0:
            return words
    return None


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", ["files", "stack", "tiff volumes"])
def test_a_small_disk(lab, name, workers):
    """Every few kilobytes between too small and large enough, so that each write in turn is the one that does not fit."""
    private = private_mounts()
    if private is None:
        pytest.skip("mounting a small disk is not permitted here")
    chosen = scenario(name)
    lab.space(chosen)
    codes = []
    for size in range(60, 420, 40) if workers == 0 else (120, 200):
        where = lab.out.parent / str(size)
        where.mkdir()
        command = [
            sys.executable,
            "-m",
            "curate_core",
            "run",
            str(lab.save_spec(chosen.spec)),
            "--output",
            f"{where}/out",
            "--workers",
            str(workers),
        ]
        environment = {key: value for key, value in lab.environment(None).items() if key != "LD_PRELOAD"}
        script = [*private, sys.executable, "-c", SMALL, str(where), f"{size}k", "64m", json.dumps(command), ""]
        done = subprocess.run(script, capture_output=True, text=True, env=environment, cwd=lab.folder, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        code, said, complete, again, said_again = json.loads(done.stdout)
        codes.append(code)
        assert code in (0, 3), (size, code, said)
        assert "Traceback" not in said
        assert complete or code == 3
        if code == 3:
            assert re.search(FULL, said), (size, said)
            assert CONTINUES in said or "run again" in said
        assert again == 0, (size, said_again)
        lab.compare(chosen, Path(f"{where}.copy"))
        shutil.rmtree(f"{where}.copy")
    assert 3 in codes
    assert workers or codes[-1] == 0, "the largest holds it all"


def test_what_a_writer_cannot_store_costs_its_case_only(lab, monkeypatch):
    """A library's OSError that no disk has part in."""

    def refuse(self, batch):
        raise OSError("cannot write mode F as PNG")

    monkeypatch.setattr(NpyWriter, "arrays", refuse)
    summary = run(lab.save_spec({"output": str(lab.out)}))
    assert summary.quarantined_cases == 3
    assert "cannot write mode F as PNG" in next(Dataset(lab.out).quarantined())["reason"]


def test_a_dataset_that_is_in_place_stays_while_its_commit_is_ended(lab):
    """Killed when all was in place but this was not yet noted: carrying the plan out again changes nothing."""
    import faults

    chosen = scenario("stack")
    done = lab.points(chosen)
    at = next(op.number for op in done if op.other == "dataset.json")
    strike = faults.Control(lab.out.parent / "control", lab.out, faults.Rule("kill", at, when="after"))
    assert lab.run(lab.out, chosen.spec, control=strike) == -signal.SIGKILL
    before = (lab.out / "dataset.json").stat()
    journal = Journal(lab.out)
    assert journal.pending is not None
    finish(lab.out, journal)
    journal.close()
    assert (lab.out / "dataset.json").stat() == before
    assert lab.run(lab.out, chosen.spec) == 0
    lab.compare(chosen, lab.out)
