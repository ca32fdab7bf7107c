"""Errors as they are shown: whose fault, where, what to do."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from curate_core.cli.failures import explain, report
from curate_core.errors import PluginError, Problem, RequestError, RunError, SourceError, SpecError, StepError


@pytest.mark.parametrize(
    ("kind", "code"), [(RequestError, 2), (PluginError, 2), (SourceError, 3), (StepError, 3), (RunError, 3)]
)  # fmt: skip
def test_each_kind_of_error_has_its_exit_code(kind, code, capsys):
    assert report(kind("it is so", where="there", hint="do that"), debug=False) == code
    assert capsys.readouterr().err == "error: there: it is so\n  hint: do that\n"


def test_mistakes_of_a_spec_are_a_list():
    problems = [Problem("rois.0.sise", "unknown option 'sise'", "did you mean 'size'?"), Problem("", "a spec needs more")]
    assert explain(SpecError(problems, where="s.json")) == [
        "s.json: 2 mistakes",
        "  rois.0.sise: unknown option 'sise' (did you mean 'size'?)",
        "  a spec needs more",
    ]
    assert explain(SpecError(problems[:1]))[0] == "1 mistake"


def test_what_the_system_refuses_is_nobodys_bug(capsys):
    assert report(PermissionError(errno.EACCES, "Permission denied", "/closed/x"), debug=False) == 3
    assert capsys.readouterr().err == "error: /closed/x: Permission denied\n"
    report(OSError(errno.ENOSPC, "No space left on device"), debug=False)
    assert capsys.readouterr().err == "error: No space left on device\n"


def test_what_nobody_expected_is_a_bug_and_debug_shows_where(capsys):
    with pytest.raises(KeyError) as caught:
        raise KeyError("layer")
    assert report(caught.value, debug=False) == 3
    said = capsys.readouterr().err
    assert said == "error: unexpected KeyError: 'layer'\n  hint: this is a bug in curate, please report it; --debug shows where\n"
    report(caught.value, debug=True)
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert "--debug" not in said


def test_text_in_brackets_is_not_taken_for_markup(capsys):
    report(RequestError("size [bold] of [3, 4]", where="scan[0].npy"), debug=False)
    assert capsys.readouterr().err == "error: scan[0].npy: size [bold] of [3, 4]\n"


def test_a_full_disk_under_stdout_is_told():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "curate_core", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr == "error: No space left on device\n"
