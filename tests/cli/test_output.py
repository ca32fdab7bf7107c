"""Numbers and paths for people; lines that terminals wrap and programs do not see broken."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from curate_core.cli import output
from curate_core.errors import RequestError


@pytest.mark.parametrize(
    ("nbytes", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (19_200, "19.2 kB"), (999_400, "999 kB"), (1_000_000, "1 MB"), (1.5e12, "1.5 TB"), (4.2e15, "4200 TB")],
)  # fmt: skip
def test_size(nbytes, said):
    assert output.size(nbytes) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.004, "0.00 s"), (0.42, "0.42 s"), (12.34, "12.3 s"), (59.97, "1 min 00 s"), (185, "3 min 05 s"), (3599.6, "1 h 00 min"), (7620, "2 h 07 min")],
)  # fmt: skip
def test_duration(seconds, said):
    assert output.duration(seconds) == said


def test_counts_and_plurals():
    assert output.count(12345) == "12,345"
    assert [output.plural(number, "case") for number in (0, 1, 2000)] == ["0 cases", "1 case", "2,000 cases"]


def test_paths_are_as_short_as_they_can_be_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert output.shown(tmp_path) == "."
    assert output.shown(tmp_path / "out" / "x") == "out/x"
    assert output.shown(Path("/elsewhere")) == "/elsewhere"


def test_facts_are_text_not_markup():
    console = output.console()
    with console.capture() as said:
        console.print(output.facts({"file": "scan[bold].npy", "note": 3}))
    assert [line.split() for line in said.get().splitlines()] == [["file", "scan[bold].npy"], ["note", "3"]]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    output.write_text(tmp_path / "x.txt", "words")
    assert (tmp_path / "x.txt").read_text() == "words"
    with pytest.raises(RequestError, match=r"none/x\.txt: it cannot be written: No such file or directory"):
        output.write_text(tmp_path / "none" / "x.txt", "words")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RequestError, match="it cannot be written: Is a directory"):
        output.write_text(tmp_path / "folder", "words")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "x.txt"]


def test_lines_for_programs_are_not_broken(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    output.console().print(output.facts({"long": "x " * 300}))
    assert len(sys.stdout.getvalue().splitlines()) == 1


def on_terminal(words, *, columns: int, cwd: Path, **environment: str) -> str:
    """What a command shows on a terminal of so many columns."""
    leader, follower = pty.openpty()
    settings = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "curate_core", *words], stdin=follower, stdout=follower, stderr=follower, cwd=cwd, env=settings
    )
    os.close(follower)
    said = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # Linux says so when the other end has closed
            break
        if not part:
            break
        said += part
    os.close(leader)
    assert process.wait() == 0
    return said.decode().replace("\r\n", "\n")


def test_a_narrow_terminal_gets_narrow_tables_and_unbroken_commands(desk, monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    said = on_terminal(["run", "spec.json", "--output", "a-long-name-of-a-folder/that-has-many-words"], columns=40, cwd=desk.folder)
    assert "curate verify a-long-name-of-a-folder/that-has-many-words" in said
    assert "\x1b[32m" in said  # green
    plugins = on_terminal(["plugins"], columns=60, cwd=desk.folder, NO_COLOR="1")
    assert max(len(re.sub(r"\x1b\[\d*m", "", line)) for line in plugins.splitlines()) <= 60
    assert "\x1b[32m" not in plugins


def test_pipes_get_no_colour_and_no_bars(desk, shell, monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    done = shell("run", desk.path)
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.splitlines()[0] == "hashing sources: 2 of 2"


def test_a_reader_who_leaves_ends_a_table_quietly(desk):
    desk.save(source={"use": "list", "cases": [{"case": f"c{i}", "layers": {"image": {"files": "v0.npy"}}} for i in range(3000)]})
    command = [sys.executable, "-m", "curate_core", "check", desk.path, "-v"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141
