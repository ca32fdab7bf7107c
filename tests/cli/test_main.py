"""The frame of all commands: help without weight, errors without tracebacks, exit codes."""

import subprocess
import sys

import pytest

import curate_core
from curate_core.cli import run as run_command
from curate_core.cli.main import main
from curate_core.commands import COMMANDS

HEAVY = ("numpy", "pluggy", "cattrs", "attrs", "attr", "rich", "importlib.metadata", "h5py")


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_help_and_version_import_nothing_heavy(words):
    script = (
        "import sys; sys.modules.pop('importlib.metadata', None)\n"  # editable installs may have loaded it before we start
        "from curate_core.cli.main import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "LOADED []"


def test_help_lists_every_command_and_points_to_plugins(desk):
    code, said, _ = desk("--help")
    assert code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in said
    assert "curate plugins" in said


def test_version(desk):
    assert desk("--version")[:2] == (0, f"curate {curate_core.__version__}\n")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself_and_has_v_and_q(desk, command):
    code, said, _ = desk(command, "--help")
    assert code == 0
    assert "-v, --verbose" in said
    assert "-q, --quiet" in said


def test_an_unknown_command_names_the_nearest(desk):
    code, _, error = desk("rnu")
    assert code == 2
    assert "there is no command 'rnu'" in error
    assert "did you mean 'run'?" in error


def test_nothing_at_all_prints_help_and_fails(desk):
    code, _, error = desk()
    assert code == 2
    assert "commands:" in error


def test_a_users_mistake_shows_no_traceback_but_with_debug(desk):
    code, _, error = desk("run", "nowhere.json")
    assert code == 2
    assert error == "error: nowhere.json: there is no such spec\n"
    code, _, error = desk("run", "nowhere.json", "--debug")
    assert code == 2
    assert "Traceback" in error


def test_a_bug_is_called_one(desk, monkeypatch):
    monkeypatch.setattr(run_command, "show", lambda summary: 1 / 0)
    code, _, error = desk("run", desk.path)
    assert code == 3
    assert "unexpected ZeroDivisionError" in error
    assert "bug in curate" in error
    assert "Traceback" not in error


def test_an_interrupt_says_how_to_continue(desk, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("curate_core.runner.run", interrupt)
    code, _, error = desk("run", desk.path)
    assert code == 130
    assert "run the same command again to continue" in error


def test_a_closed_pipe_is_no_error(desk, shell):
    process = subprocess.Popen([sys.executable, "-m", "curate_core", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in (0, 141)


def test_the_module_runs_as_a_program(shell):
    assert shell("--version").stdout == f"curate {curate_core.__version__}\n"
    assert callable(main)
