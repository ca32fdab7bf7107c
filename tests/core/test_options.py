"""Options: bounds and choices hold where components are built, and say what is wrong."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from attrs import frozen

from curate_core.options import OptionInfo, info_of, option


@pytest.mark.parametrize(
    ("info", "value", "problem"),
    [
        ({"ge": 1}, 1, None),
        ({"ge": 1}, 0, "0 must be at least 1"),
        ({"gt": 0}, 0.0, "0.0 must be greater than 0"),
        ({"gt": 0}, 1e-9, None),
        ({"le": 1}, 1.5, "1.5 must be at most 1"),
        ({"lt": 100}, 100, "100 must be less than 100"),
        ({"ge": 0, "le": 1}, -1, "-1 must be at least 0"),
        ({"ge": 0.25}, 0.2, "0.2 must be at least 0.25"),
        ({"ge": 0}, float("nan"), "nan must be at least 0"),
        ({"ge": 1}, None, None),
        ({"ge": 1}, False, None),
        ({"ge": 1}, "0", None),
        ({"ge": 1}, (4, 0, 2), "0 must be at least 1"),
        ({"ge": 1}, [[4], [0]], "0 must be at least 1"),
        ({"choices": ("a", "b")}, "a", None),
        ({"choices": ("a", "b")}, "c", "'c' is not one of 'a', 'b'"),
        ({"choices": ("a", "b")}, ("a", "c"), "'c' is not one of 'a', 'b'"),
        ({"min_length": 1}, "", "must not be empty"),
        ({"min_length": 2}, (1,), "needs at least 2 entries, has 1"),
        ({"min_length": 1}, (1,), None),
        ({"ge": 1}, np.float64(0.5), f"{np.float64(0.5)!r} must be at least 1"),
        ({"ge": 1}, np.int64(0), f"{np.int64(0)!r} must be at least 1"),
    ],
)
def test_problems(info, value, problem):
    assert OptionInfo("doc", **info).problem(value) == problem


@frozen
class Sample:
    """A component's options."""

    size: int = option(doc="Edge in voxels.", ge=1)
    mode: str = option(doc="How.", default="fast", choices=("fast", "slow"))
    planes: list[str] = option(doc="Which.", factory=lambda: ["xy"], min_length=1)
    table: str = option(doc="A file.", default="", content=True)
    plain: int = 3


def test_options_are_fields():
    sample = Sample(size=2)
    assert (sample.size, sample.mode, sample.planes, sample.plain) == (2, "fast", ["xy"], 3)
    assert Sample(size=2).planes is not sample.planes
    with pytest.raises(TypeError, match="size"):
        Sample()
    with pytest.raises(TypeError, match="positional"):
        Sample(2, "fast")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        sample.size = 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 0}, "size: 0 must be at least 1"),
        ({"size": 1, "mode": "x"}, "mode: 'x' is not one of 'fast', 'slow'"),
        ({"size": 1, "planes": []}, "planes: needs at least 1 entries, has 0"),
    ],
)
def test_wrong_values_do_not_make_a_component(given, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Sample(**given)


def test_what_an_option_declares():
    fields = attrs.fields_dict(Sample)
    assert info_of(fields["size"]) == OptionInfo("Edge in voxels.", ge=1)
    assert info_of(fields["mode"]).choices == ("fast", "slow")
    assert info_of(fields["table"]).content
    assert info_of(fields["plain"]) == OptionInfo("")
    assert info_of(fields["plain"]).keyed
    assert fields["size"].default is attrs.NOTHING
