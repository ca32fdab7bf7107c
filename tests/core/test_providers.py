"""Providers: what a description must look like."""

from __future__ import annotations

import pytest

from curate_core.kinds import KINDS
from curate_core.providers import KIND_NAMES, Provider, in_words, name_like, one

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


def test_a_class_says_itself_where_it_is():
    """For files that a spec names: they are imported under names of curate's making."""
    assert Provider("reader", "x", "X.", Provider) == Provider("reader", "x", "X.", "curate_core.providers:Provider")

    class Inside:
        pass

    assert "must look like 'package.module:Class'" in problems(target=Inside)[0]


@pytest.mark.parametrize(
    ("kind", "words"), [("roi_finder", "a ROI finder"), ("engine", "an engine"), ("importer", "an importer"), ("filter", "a filter")]
)
def test_kinds_in_words(kind, words):
    assert one(kind) == words
    assert words.endswith(f" {in_words(kind)}")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("HotSpots", "hot-spots"),
        ("near_mrc", "near-mrc"),
        ("-mrc", "mrc"),
        ("Hot Spots!", "hot-spots"),
        ("2d", ""),
        ("", ""),
        ("mrc", "mrc"),
    ],
)
def test_the_name_that_was_meant(text, name):
    assert name_like(text) == name


NAMES = "must be lower case words joined by hyphens"
LIST = "source, reader, preprocessor, roi_finder, transform, filter, writer, engine, importer, command"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "readers"}, f"kind 'readers' is not one of {LIST}"),
        ({"name": "MRC"}, f"name 'MRC' {NAMES} (did you mean 'mrc'?)"),
        ({"name": "near_mrc"}, f"name 'near_mrc' {NAMES} (did you mean 'near-mrc'?)"),
        ({"name": "-mrc"}, f"name '-mrc' {NAMES} (did you mean 'mrc'?)"),
        ({"name": "2d"}, f"name '2d' {NAMES}"),
        ({"name": ""}, f"name '' {NAMES}"),
        ({"name": "mrc\n"}, f"name 'mrc\\n' {NAMES} (did you mean 'mrc'?)"),
        ({"name": 5}, "name must be text, not 5"),
        ({"summary": ""}, "near-mrc: the summary must be one line"),
        ({"summary": "a\nb"}, "near-mrc: the summary must be one line"),
        ({"summary": None}, "summary must be text, not None"),
        ({"target": "pkg.mod"}, "near-mrc: target 'pkg.mod' must look like 'package.module:Class'"),
        ({"target": "pkg:a.b"}, "near-mrc: target 'pkg:a.b' must look like 'package.module:Class'"),
        ({"suffixes": ("mrc",)}, "near-mrc: suffix 'mrc' must be lower case and start with a dot"),
        ({"suffixes": (".MRC",)}, "near-mrc: suffix '.MRC' must be lower case and start with a dot"),
        ({"suffixes": (".",)}, "near-mrc: suffix '.' must be lower case and start with a dot"),
        ({"suffixes": (5,)}, "near-mrc: suffixes must be texts, such as ('.mrc',), not (5,)"),
        ({"suffixes": 7}, "near-mrc: suffixes must be texts, such as ('.mrc',), not 7"),
        ({"suffixes": None}, "near-mrc: suffixes must be texts, such as ('.mrc',), not None"),
        ({"suffixes": ".mrc"}, "near-mrc: suffixes must be a tuple: write suffixes=('.mrc',)"),
        ({"priority": "high"}, "near-mrc: priority 'high' must be a whole number"),
        ({"priority": True}, "near-mrc: priority True must be a whole number"),
        ({"kind": "writer", "suffixes": (".mrc",)}, "near-mrc: only readers claim suffixes"),
    ],
)
def test_what_is_wrong(changes, message):
    assert problems(**changes) == [message]


def test_all_problems_at_once():
    assert len(problems(name="A", summary="", target="x", suffixes=("a", "b"))) == 5
