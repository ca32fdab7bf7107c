"""Providers: what a description must look like."""

from __future__ import annotations

import pytest

from curate_core.kinds import KINDS
from curate_core.providers import KIND_NAMES, Provider

GOOD = {"kind": "reader", "name": "near-mrc", "summary": "Reads.", "target": "pkg.mod:Cls"}


def problems(**changes):
    return list(Provider(**{**GOOD, **changes}).problems())


def test_the_kinds_are_the_contracts():
    assert tuple(KINDS) == KIND_NAMES


@pytest.mark.parametrize(
    "changes", [{}, {"suffixes": (".mrc", ".nii.gz", ".zarr/", ".b2nd")}, {"name": "x2"}, {"target": "_a.b:_C"}, {"priority": -3}]
)
def test_well_formed(changes):
    assert problems(**changes) == []


NAMES = "must be lower case words joined by hyphens"
LIST = "source, reader, preprocessor, roi_finder, transform, filter, writer, engine, importer, command"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "readers"}, f"kind 'readers' is not one of {LIST}"),
        ({"name": "MRC"}, f"name 'MRC' {NAMES}"),
        ({"name": "near_mrc"}, f"name 'near_mrc' {NAMES}"),
        ({"name": "-mrc"}, f"name '-mrc' {NAMES}"),
        ({"name": "2d"}, f"name '2d' {NAMES}"),
        ({"name": ""}, f"name '' {NAMES}"),
        ({"name": "mrc\n"}, f"name 'mrc\\n' {NAMES}"),
        ({"name": 5}, "name must be text, not 5"),
        ({"summary": ""}, "near-mrc: the summary must be one line"),
        ({"summary": "a\nb"}, "near-mrc: the summary must be one line"),
        ({"summary": None}, "summary must be text, not None"),
        ({"target": "pkg.mod"}, "near-mrc: target 'pkg.mod' must look like 'package.module:Class'"),
        ({"target": "pkg:a.b"}, "near-mrc: target 'pkg:a.b' must look like 'package.module:Class'"),
        ({"suffixes": ("mrc",)}, "near-mrc: suffix 'mrc' must be lower case and start with a dot"),
        ({"suffixes": (".MRC",)}, "near-mrc: suffix '.MRC' must be lower case and start with a dot"),
        ({"suffixes": (".",)}, "near-mrc: suffix '.' must be lower case and start with a dot"),
        ({"suffixes": (5,)}, "near-mrc: suffixes must be texts, not (5,)"),
        ({"priority": "high"}, "near-mrc: priority 'high' must be a whole number"),
        ({"priority": True}, "near-mrc: priority True must be a whole number"),
        ({"kind": "writer", "suffixes": (".mrc",)}, "near-mrc: only readers claim suffixes"),
    ],
)
def test_what_is_wrong(changes, message):
    assert problems(**changes) == [message]


def test_all_problems_at_once():
    assert len(problems(name="A", summary="", target="x", suffixes=("a", "b"))) == 5


def test_a_single_text_is_no_list_of_suffixes():
    assert problems(suffixes=".mrc")
