"""Errors: what they say, what they weigh on the command line, and that they cross processes."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler

import pytest

from curate_core import errors
from curate_core.errors import (
    CurateError,
    DiskError,
    PluginError,
    Problem,
    RequestError,
    RunError,
    SourceError,
    SpecError,
    StepError,
    WaitError,
    nearest,
)

EXIT_CODES = {
    CurateError: 3,
    RequestError: 2,
    SourceError: 3,
    StepError: 3,
    RunError: 3,
    DiskError: 3,
    WaitError: 4,
    PluginError: 2,
    SpecError: 2,
}


def test_exit_codes():
    classes = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, CurateError)}
    assert {c: c.exit_code for c in classes} == EXIT_CODES


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "it is broken"),
        ({"where": "a.mrc"}, "a.mrc: it is broken"),
        ({"hint": "mend it"}, "it is broken (mend it)"),
        ({"where": "a.mrc", "hint": "mend it"}, "a.mrc: it is broken (mend it)"),
    ],
)
def test_text(given, text):
    assert str(CurateError("it is broken", **given)) == text


@pytest.mark.parametrize("cls", [c for c in EXIT_CODES if c is not SpecError])
def test_errors_cross_processes(cls):
    error = cls("it is broken", where="a.mrc", hint="mend it")
    copy = ForkingPickler.loads(ForkingPickler.dumps(error))
    assert type(copy) is cls
    assert (copy.message, copy.where, copy.hint) == ("it is broken", "a.mrc", "mend it")
    assert str(copy) == str(error)


def test_a_spec_error_lists_its_problems():
    problems = [Problem("rois.0.size", "expected a whole number, got true"), Problem("", "unknown key", "did you mean 'rois'?")]
    error = SpecError(problems, where="spec.json")
    assert str(error) == ("spec.json: 2 mistakes\n  rois.0.size: expected a whole number, got true\n  unknown key (did you mean 'rois'?)")
    assert str(SpecError(problems[:1])) == "1 mistake\n  rois.0.size: expected a whole number, got true"
    copy = ForkingPickler.loads(ForkingPickler.dumps(error))
    assert copy.problems == tuple(problems)
    assert str(copy) == str(error)


@pytest.mark.parametrize(
    ("word", "candidates", "hint"),
    [
        ("siez", ["size", "stride"], "did you mean 'size'?"),
        ("quux", ["size", "edge"], "one of 'edge', 'size'"),
        ("quux", [], ""),
    ],
)
def test_nearest(word, candidates, hint):
    assert nearest(word, candidates) == hint
