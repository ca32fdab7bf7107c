"""Names that were chosen to hurt: nothing is written outside of the output folder, and nothing acts on the terminal."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import curate_core
from curate_core.cli.main import main
from curate_core.errors import RequestError, RunError
from curate_core.patterns import find

VOXELS = np.random.default_rng(0).integers(1, 255, (2, 8, 8)).astype(np.uint8)
SPEC: dict[str, Any] = {
    "version": 1,
    "name": "names",
    "source": {"use": "files", "root": "data", "pattern": "{case}.npy"},
    "rois": [{"use": "whole"}],
    "write": [{"use": "npy", "path": "{case}.npy"}],
    "output": "out",
    "engine": {"use": "local", "workers": 0},
}
NAMES = [
    "-dash", "--help", "-rf", "a b", " c", "{}", "{case}", "{0}", "{{x", "%s%n", "$HOME", "`id`", "a;b", "'quote\"", "-LOC-", "a..b", "a...",
    "~", "~root", "*", "?", "[a]", "CON", "\U0001f9e0 brain", "rtl\u202etxt", "zero\u200bwidth", "[red]x", "[bold", ":bomb:",
    "\u00e9", "e\u0301", "case", "Case", "CASE", "x" * 251, "\u00e9" * 125, "bytes\udcff\udcfe", "\ufeffbom", "null", "true", "007", "1e5",
]  # fmt: skip
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def curate(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "curate_core", *words]
    shell = {**os.environ, "NO_COLOR": "1", "COLUMNS": "300", **environment}
    return subprocess.run(command, cwd=folder, env=shell, capture_output=True, timeout=120, check=False)


def save(folder: Path, **changes: Any) -> None:
    (folder / "spec.json").write_text(json.dumps({**SPEC, **changes}))


def files_below(folder: Path) -> dict[str, str]:
    """Every file and link below a folder, with a hash of what it is."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"-> {path.readlink()}"
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def outside(folder: Path) -> dict[str, str]:
    """All files that are not of the dataset."""
    return {name: content for name, content in files_below(folder).items() if not name.startswith("out/")}


def harmless(*texts: bytes) -> bool:
    return not any(CONTROL.search(text.decode("utf-8", "strict")) or b"Traceback" in text for text in texts)


# Names of files.


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    (folder / "data").mkdir()
    for number, name in enumerate(NAMES):
        np.save(folder / "data" / f"{name}.npy", VOXELS + np.uint8(number))
    save(folder)
    return folder


def test_every_name_that_a_file_can_have_comes_through(named: Path) -> None:
    if len(list((named / "data").iterdir())) < len(NAMES):
        pytest.skip("this file system takes some of the names for one")
    before = outside(named)
    run = curate(named, "run", "-v", "spec.json")
    assert run.returncode == 0, run.stderr.decode()
    assert harmless(run.stdout, run.stderr)
    assert outside(named) == before
    dataset = curate_core.open(named / "out")
    assert dataset.verify() == []
    assert sorted(row["case"] for row in dataset.rows()) == sorted(NAMES)
    for index, row in enumerate(dataset.rows()):
        assert np.array_equal(dataset[index]["image"], VOXELS + np.uint8(NAMES.index(row["case"])))
    assert {unicodedata.normalize("NFC", path.stem) for path in (named / "out").glob("*.npy")} >= {"\u00e9", "case", "Case", "CASE"}
    again = curate(named, "run", "spec.json")
    assert b"Everything was up to date." in again.stdout


@pytest.mark.parametrize(
    ("encoding", "command"),
    [
        ("utf-8", "check spec.json -v"),
        ("utf-8", "plan spec.json -v"),
        ("utf-8", "plan spec.json -v --output new"),
        ("utf-8", "rois spec.json -o rois.jsonl --overwrite"),
        ("ascii", "check spec.json"),
        ("ascii", "plan spec.json -v --output new"),
        ("ascii", "rois spec.json -o rois.jsonl --overwrite"),
    ],
)
def test_commands_say_every_name_harmlessly(named: Path, command: str, encoding: str) -> None:
    """Also where the terminal knows few characters."""
    run = curate(named, *command.split(), PYTHONIOENCODING=encoding)
    assert run.returncode == 0, run.stderr.decode()
    assert harmless(run.stdout, run.stderr)
    assert not re.search(rb"\x1b", run.stdout + run.stderr)


def test_the_commands_that_take_a_file(named: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        path = str(named / "data" / f"{name}.npy")
        for command in ("why", "info"):
            assert main([command, path]) == 0
            said = capsys.readouterr()
            assert not CONTROL.search(said.out + said.err)
            said.out.encode("utf-8")
    for name in ("[red]x", "[bold", ":bomb:"):
        main(["info", str(named / "data" / f"{name}.npy")])
        assert f"{name}.npy" in capsys.readouterr().out, "a name is no markup"


def test_a_folder_and_a_name_that_together_close_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "[").mkdir(parents=True)
    np.save(tmp_path / "data" / "[" / "red].npy", VOXELS)
    (tmp_path / "data" / "[" / "bold].npy").write_bytes(b"")
    save(tmp_path, source={"use": "files", "root": "data", "pattern": "{a}/{b}.npy"}, write=[{"use": "npy", "path": "{a}/{b}.npy"}])
    spec = str(tmp_path / "spec.json")
    for words in (["run", "-v", spec], ["check", spec], ["plan", "-v", spec], ["info", str(tmp_path / "data" / "[" / "red].npy")]):
        assert main(words) in (0, 1)
        said = capsys.readouterr()
        shown = "[/red]" if words[0] == "info" else "[-bold]" if words[0] != "run" else "[/bold]"
        assert shown in said.out + said.err


UNUSABLE = ["a\nb", "a\tb", "a\rb", "\x1b[2Jx", "\x1b]0;pwned\x07", "a\x7f", "\x08\x08", "a\\b", "C:x"]


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_name_that_no_dataset_can_have_is_refused_and_shown_spelled_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / f"{name}.npy", VOXELS)
    with pytest.raises(RequestError, match="is not a plain relative name"):
        curate_core.run(SPEC, folder=tmp_path)
    assert not (tmp_path / "out").exists()


def on_a_terminal(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and all that a terminal gets."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "300"}
    process = subprocess.Popen(
        [sys.executable, "-m", "curate_core", *words], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    said = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            piece = os.read(ours, 1 << 16)
            if not piece:
                break
            said += piece
    except OSError:  # the terminal was left
        pass
    finally:
        os.close(ours)
    return process.wait(timeout=60), said.decode("utf-8")


def test_a_terminal_gets_no_sequence_that_a_name_holds(tmp_path: Path) -> None:
    """Rich writes escape sequences of its own there; those of names must not be among them."""
    (tmp_path / "data").mkdir()
    for name in ("good", "\u202eempty", "[red]empty"):
        (tmp_path / "data" / f"{name}.npy").write_bytes(b"")
    np.save(tmp_path / "data" / "good.npy", VOXELS)
    save(tmp_path, engine={"use": "local", "workers": 1})
    code, said = on_a_terminal(tmp_path, "run", "-v", "spec.json")
    assert code == 1
    assert "\\u202eempty" in said
    assert "[red]empty" in said
    assert "\u202e" not in said
    np.save(tmp_path / "data" / "\x1b]0;pwned\x07\x1b[2J.npy", VOXELS)
    for command in ("run", "check", "plan"):
        code, said = on_a_terminal(tmp_path, command, "spec.json")
        assert code == 2
        assert "pwned" in said
        assert "\x1b]0" not in said
        assert "\x1b[2J" not in said
        assert "\x07" not in said


def test_words_of_the_command_line_are_shown_spelled_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["why", "\x1b[31mx"], ["run", "a\nb.json"], ["\x1b[31m"], ["run", "s.json", "--\x1b[31m"], ["check", "\udcff.json"]):
        try:
            assert main(words) in (2, 3)
        except SystemExit as error:
            assert error.code == 2  # noqa: PT017
        said = capsys.readouterr().err
        assert "\x1b" not in said
        assert "a\nb" not in said


# Ids and attributes from a table.


def table(folder: Path, *rows: dict[str, Any], path: str = "{case}.npy") -> dict[str, Any]:
    (folder / "cases.json").write_text(json.dumps(rows))
    np.save(folder / "v.npy", VOXELS)
    source = {"use": "list", "table": "cases.json", "layers": {"image": {"files": "v.npy"}}}
    return {**SPEC, "source": source, "write": [{"use": "npy", "path": path}]}


@pytest.mark.parametrize(
    "case", ["/etc/x", "..", "../x", "a/../../x", "a/..", "./a", "a//b", "a/", "\0", "a\0b", "x" * 256, "a\nb", "\\\\x"]
)
def test_ids_that_leave_the_folder_are_refused(tmp_path: Path, case: str) -> None:
    spec = table(tmp_path, {"case": "good"}, {"case": case})
    with pytest.raises(RequestError, match="is not a plain relative name"):
        curate_core.run(spec, folder=tmp_path)
    assert not (tmp_path / "out").exists()


def test_an_id_may_name_a_folder(tmp_path: Path) -> None:
    curate_core.run(table(tmp_path, {"case": "site/one"}, {"case": "site/two"}), folder=tmp_path)
    assert sorted(path.name for path in (tmp_path / "out" / "site").iterdir()) == ["one.npy", "two.npy"]


@pytest.mark.parametrize("value", ["/tmp", "..", "../..", "a/../../b", "a\0b", "\x1b[31m", "x" * 256, "", "."])
def test_attributes_that_leave_the_folder_cost_their_case(tmp_path: Path, value: str) -> None:
    """What a template makes of an attribute is known when its case is at work."""
    spec = table(tmp_path, {"case": "good", "split": "train"}, {"case": "bad", "split": value}, path="{split}/{case}.npy")
    before = outside(tmp_path)
    assert curate_core.run(spec, folder=tmp_path).exit_code == 1
    assert outside(tmp_path) == before
    (line,) = map(json.loads, (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines())
    assert line["case"] == "bad"
    assert re.search("would leave the output folder|control characters|has more than 255 bytes", line["reason"])
    assert (tmp_path / "out" / "train" / "good.npy").is_file()


@pytest.mark.parametrize("value", ["dataset.json", "manifest.jsonl", ".curate"])
def test_samples_take_no_name_of_curates_own(tmp_path: Path, value: str) -> None:
    spec = table(tmp_path, {"case": "good", "split": "train"}, {"case": "bad", "split": value}, path="{split}/x.npy")
    with pytest.raises(RequestError, match=f"a sample of case bad takes the path {value}/x.npy, which is curate's own"):
        curate_core.run(spec, folder=tmp_path)
    spec = table(tmp_path, {"case": "good", "split": "train"}, path="{split}/x.npy")
    assert curate_core.run(spec, folder=tmp_path).exit_code == 0
    assert curate_core.open(tmp_path / "out").verify() == []


def test_a_file_and_a_folder_of_one_name(tmp_path: Path) -> None:
    spec = table(tmp_path, {"case": "a"}, {"case": "a.npy/b"}, {"case": "a.npy/c/d"})
    with pytest.raises(RequestError, match=r"case a: one sample takes the path a\.npy and another one below it, as if it were a folder"):
        curate_core.run(spec, folder=tmp_path)
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert curate_core.run(table(tmp_path, {"case": "a"}), folder=tmp_path).exit_code == 0


# Links among the sources.


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    for name in ("data", "elsewhere"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / f"{name}.npy", VOXELS)
    return tmp_path


def test_a_link_out_of_the_root_is_reported(linked: Path) -> None:
    (linked / "data" / "link.npy").symlink_to(linked / "elsewhere" / "elsewhere.npy")
    with pytest.raises(RequestError, match=r"a symbolic link leads out of the root: .*link\.npy is .*elsewhere\.npy") as caught:
        curate_core.run(SPEC, folder=linked)
    assert caught.value.hint == 'set "follow_links": true to take it'
    assert curate_core.run({**SPEC, "source": {**SPEC["source"], "follow_links": True}}, folder=linked).cases == 2


def test_a_folder_that_is_a_link_out_of_the_root_is_reported(linked: Path) -> None:
    (linked / "data" / "more").symlink_to(linked / "elsewhere")
    with pytest.raises(RequestError, match="a symbolic link leads out of the root"):
        curate_core.run({**SPEC, "source": {**SPEC["source"], "pattern": "**/{case}.npy"}}, folder=linked)


def test_a_link_within_the_root_and_one_to_nothing(linked: Path) -> None:
    (linked / "data" / "again.npy").symlink_to("data.npy")
    (linked / "data" / "broken.npy").symlink_to("nothing.npy")
    summary = curate_core.run(SPEC, folder=linked)
    assert (summary.cases, summary.quarantined_cases) == (2, 1)


def test_links_in_circles_end(tmp_path: Path) -> None:
    """Two folders that hold links to each other, and one to itself: 2**40 ways lead through them."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.npy").write_bytes(b"")
        for number in range(4):
            (tmp_path / name / f"other{number}").symlink_to(tmp_path / ("b" if name == "a" else "a"))
            (tmp_path / name / f"self{number}").symlink_to(tmp_path / name)
            (tmp_path / name / f"up{number}").symlink_to("..")
    found = find(tmp_path, "**/{case}.npy")
    assert {match.path.name for match in found} == {"a.npy", "b.npy"}
    assert len(found) == 10, "each once, and once through each link of the other"


# The output folder.


def test_an_output_inside_the_sources_is_not_found_as_a_source(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VOXELS)
    spec = {**SPEC, "source": {"use": "files", "root": ".", "pattern": "**/{case}.npy"}}
    before = outside(tmp_path)
    for _ in range(2):
        assert curate_core.run(spec, folder=tmp_path).cases == 1
    assert outside(tmp_path) == before


@pytest.mark.parametrize("output", [".", "data", "data/.."])
def test_an_output_that_holds_the_sources_is_refused(linked: Path, output: str) -> None:
    before = files_below(linked)
    with pytest.raises(RequestError, match="the output folder holds other things"):
        curate_core.run({**SPEC, "output": output}, folder=linked)
    assert files_below(linked) == before


def test_an_output_behind_a_link_is_where_the_user_put_it(linked: Path) -> None:
    (linked / "large-disk").mkdir()
    (linked / "out").symlink_to("large-disk")
    assert curate_core.run(SPEC, folder=linked).exit_code == 0
    assert (linked / "large-disk" / "dataset.json").is_file()
    assert (linked / "out").is_symlink()


@pytest.fixture
def grown(linked: Path) -> Path:
    """A dataset of two cases, each in a folder of its own, and another seed to make it again."""
    np.save(linked / "data" / "second.npy", VOXELS)
    curate_core.run(PLANTED, folder=linked)
    return linked


PLANTED = {**SPEC, "write": [{"use": "npy", "path": "{case}/x.npy"}]}
OWN = ["", "lock", "journal.jsonl", "files.json", "parts", "commit", "aside"]


@pytest.mark.parametrize("name", [*OWN, "parts/*", "parts/*/*"])
def test_links_among_what_curate_keeps_are_refused(grown: Path, name: str) -> None:
    """Whatever they lead to stays as it is, and the command that is refused changes nothing."""
    work = grown / "out" / ".curate"
    path = next(iter(sorted(work.glob(name)))) if "*" in name else work / name
    aside = grown / "elsewhere" / "kept"
    if path.is_dir() or path.exists():
        path.rename(aside)
    else:
        aside.mkdir()
        (aside / "precious").write_text("mine")
    path.symlink_to(aside)
    before = files_below(grown)
    for seed in (0, 1):
        with pytest.raises(RequestError, match="it is a symbolic link, behind which curate keeps nothing of its own") as caught:
            curate_core.run({**PLANTED, "seed": seed}, folder=grown)
        assert caught.value.where == str(path)
        assert files_below(grown) == before
    path.unlink()
    if name:
        assert curate_core.run({**PLANTED, "seed": 1}, folder=grown).exit_code == 0
        assert curate_core.open(grown / "out").verify() == []


@pytest.mark.parametrize("change", ["made again", "removed"])
def test_nothing_is_written_or_removed_behind_a_link_in_the_place_of_a_folder(grown: Path, change: str) -> None:
    folder = grown / "out" / "second"
    shutil.move(folder, grown / "elsewhere" / "second")
    folder.symlink_to(grown / "elsewhere" / "second")
    np.save(grown / "data" / "second.npy", VOXELS + np.uint8(1))
    if change == "removed":
        (grown / "data" / "second.npy").unlink()
    before = files_below(grown / "elsewhere")
    for _ in range(2):
        with pytest.raises(
            RunError, match="a folder of the dataset is a symbolic link, behind which nothing is written or removed"
        ) as caught:
            curate_core.run(PLANTED, folder=grown)
        assert caught.value.exit_code == 3
        assert caught.value.where == str(folder)
        assert files_below(grown / "elsewhere") == before
    folder.unlink()
    assert curate_core.run(PLANTED, folder=grown).exit_code == 0
    assert files_below(grown / "elsewhere") == before
    curate_core.run({**PLANTED, "output": "fresh"}, folder=grown)
    assert {n: c for n, c in files_below(grown / "out").items() if ".curate" not in n} == {
        n: c for n, c in files_below(grown / "fresh").items() if ".curate" not in n
    }


def test_a_link_in_the_place_of_a_sample_is_replaced_and_not_followed(grown: Path) -> None:
    sample = grown / "out" / "second" / "x.npy"
    (grown / "elsewhere" / "precious.npy").write_bytes(b"mine")
    sample.unlink()
    sample.symlink_to(grown / "elsewhere" / "precious.npy")
    assert curate_core.run({**PLANTED, "seed": 1}, folder=grown).exit_code == 0
    assert (grown / "elsewhere" / "precious.npy").read_bytes() == b"mine"
    assert not sample.is_symlink()
    assert curate_core.open(grown / "out").verify() == []
