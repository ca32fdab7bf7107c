"""The kit's PluginTests pass a right plugin, and fail each kind of wrong for the right reason."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from kit_toys import run_kit

from curate_core import __version__
from curate_core.scaffold.bounds import bounds
from curate_core.testing import PluginTests
from curate_core.testing.fixtures import THIS_CORE

PLUGIN = """
from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1

@hookimpl
def curate_register_roi_finders():
    yield Provider("roi_finder", "corner", "The first box.", "curate_toy.rois:Corner")

@hookimpl
def curate_register_readers():
    yield Provider("reader", "toy", "Toy volumes.", "curate_toy.reader:ToyReader", suffixes=(".toy",))
"""
ROIS = """
import attrs
import numpy as np
from curate_core import Case, Context, RoiFinder, RoiTable, option

@attrs.frozen
class Corner(RoiFinder):
    '''The first box of each layer.'''

    size: int = option(doc="Edge of the box in voxels.", ge=1)

    def find(self, case: Case, context: Context) -> RoiTable:
        return RoiTable.boxes([[0, 0, 0]], [[self.size] * 3], "zyx")
"""
READER = """
import attrs
import numpy as np
from curate_core import Reader

@attrs.frozen
class ToyReader(Reader):
    '''Toy volumes.'''

    def open(self, source, context):
        raise NotImplementedError
"""
README = "# curate-toy\n\nThe ROI finder `corner` and the reader `toy`.\n"


@pytest.fixture
def failures(fake_site, fake_plugin, tmp_path, monkeypatch):
    """Make the plugin, some of its texts replaced, and run the kit on it."""
    monkeypatch.setenv("PYTHONPATH", str(fake_site))

    def run(
        readme: str = README, claims: dict[str, Any] | None = None, requires: Sequence[str] = THIS_CORE, **modules: str
    ) -> dict[str, str]:
        fake_plugin("curate-toy", requires=requires, **{"plugin": PLUGIN, "rois": ROIS, "reader": READER, **modules})
        (tmp_path / "README.md").write_text(readme)
        attributes = {
            "plugin_module": "curate_toy.plugin",
            "distribution": "curate-toy",
            "readme": tmp_path / "README.md",
            "examples": {"roi_finder:corner": {"size": 3}},
        }
        cls = type("Claims", (PluginTests,), {**attributes, **(claims or {})})
        return run_kit(cls, tmp_path / "run")

    return run


def test_a_right_plugin_passes(failures):
    assert failures() == {}


@pytest.mark.parametrize("heavy", ["import numpy", "import curate_core.kinds", "from curate_core import Reader"])
def test_heavy_import(failures, heavy):
    failed = failures(plugin=f"{heavy}\n{PLUGIN}")
    assert set(failed) == {"test_importing_it_is_light"}
    message = failed["test_importing_it_is_light"]
    assert message == "AssertionError: importing curate_toy.plugin imports numpy: import it where a component needs it"


def test_wrong_api_number(failures):
    failed = failures(plugin=PLUGIN.replace("API = 1", "API = 0"))
    assert failed["test_states_the_api"] == "AssertionError: curate_toy.plugin states CURATE_HOOK_API = 0, this curate has 1"
    reason = (
        "curate_toy.plugin is broken: written for plugin API 0 (CURATE_HOOK_API), this curate has 1; install versions that fit together"
    )
    assert failed["test_loads"] == f"AssertionError: {reason}"


def test_no_api_number(failures):
    failed = failures(plugin=PLUGIN.replace("CURATE_HOOK_API = 1", ""))
    assert failed["test_states_the_api"] == "AssertionError: curate_toy.plugin states CURATE_HOOK_API = None, this curate has 1"


def test_suffix_without_a_dot(failures):
    failed = failures(plugin=PLUGIN.replace('(".toy",)', '("toy",)'))
    reason = "toy: suffix 'toy' must be lower case and start with a dot"
    assert failed["test_loads"] == f"AssertionError: curate_toy.plugin is broken: {reason}"


def test_name_of_a_built_in(failures):
    failed = failures(
        plugin=PLUGIN.replace('"corner"', '"grid"'), readme=README + "`grid`", claims={"examples": {"roi_finder:grid": {"size": 3}}}
    )
    assert set(failed) == {"test_claims_no_built_in_name"}
    assert failed["test_claims_no_built_in_name"] == "AssertionError: names are claimed twice: curate-core:grid and curate-toy:grid"


def test_offers_nothing(failures):
    failed = failures(plugin="CURATE_HOOK_API = 1\n")
    assert failed == {"test_loads": "AssertionError: curate_toy.plugin offers nothing and listens to no event"}


@pytest.mark.parametrize(
    "hook", ["curate_run_started(name)", "curate_round_started()", "curate_unit_finished(outcome, counts)", "curate_run_finished(summary)"]
)
def test_a_plugin_may_listen_and_offer_nothing(failures, hook):
    assert failures(plugin=f"from curate_core import hookimpl\n\nCURATE_HOOK_API = 1\n\n@hookimpl\ndef {hook}: pass\n") == {}


def test_a_hook_that_offers_nothing_is_no_listener(failures):
    register = "from curate_core import hookimpl\n\nCURATE_HOOK_API = 1\n\n@hookimpl\ndef curate_register_filters(): return []\n"
    assert failures(plugin=register) == {"test_loads": "AssertionError: curate_toy.plugin offers nothing and listens to no event"}


@pytest.mark.parametrize(
    ("requires", "message"),
    [
        ([], "curate-toy does not require curate-core: "),
        (["numpy>=1.26"], "curate-toy does not require curate-core: "),
        (['curate-core>=0.1,<99; extra == "test"'], "curate-toy does not require curate-core: "),
        (["curate-core"], "curate-toy requires curate-core, without a lower end: "),
        (["curate_core<99"], "curate-toy requires curate-core<99, without a lower end: "),
        (["curate-core>=0.0.1"], "curate-toy requires curate-core>=0.0.1, without an upper end: "),
        (["curate-core>=98,<99"], f"curate-toy requires curate-core<99,>=98, and is tested with {__version__}: "),
    ],
)
def test_bounds_of_the_core(failures, requires, message):
    advice = f'write "curate-core{bounds(__version__)}" in its dependencies'
    assert failures(requires=requires) == {"test_bounds_the_core": f"AssertionError: {message}{advice}"}


@pytest.mark.parametrize("requires", [["curate-core>=0.0.1", "curate-core<99"], [f"curate-core=={__version__}"], ["Curate_Core~=0.1"]])
def test_ways_to_bound_the_core(failures, requires):
    assert failures(requires=requires) == {}


def test_an_option_that_no_spec_can_give(failures):
    hidden = ROIS.replace("    size:", "    _depth: int = option(doc='Depth.', default=1)\n    size:")
    failed = failures(rois=hidden)
    expected = "roi_finder:corner: no spec can give the option '_depth', which attrs knows by another name; take its underscore away"
    assert failed == {"test_unknown_options_are_refused": f"AssertionError: {expected}"}


def test_not_installed(failures):
    failed = failures(claims={"distribution": "curate-other"})
    expected = "AssertionError: no entry point of curate-other in the group curate.plugins names curate_toy.plugin"
    assert failed == {"test_is_installed": expected, "test_bounds_the_core": "AssertionError: curate-other is not installed"}


def test_component_that_cannot_be_imported(failures):
    failed = failures(rois="import no_such_library\n")
    message = failed["test_components_can_be_had"]
    assert message.startswith("PluginError: plugin curate-toy: curate_toy.rois:Corner cannot be imported: ModuleNotFoundError")


def test_a_default_that_no_spec_could_say(failures):
    failed = failures(rois=ROIS.replace("ge=1)", 'ge=1, default="4")'))
    message = "the default of option 'size', '4', is none of its values: expected a whole number, got \"4\""
    assert set(failed) == {"test_defaults_are_values_of_their_options"}
    assert failed["test_defaults_are_values_of_their_options"].startswith(f"AssertionError: roi_finder:corner: {message}")


def test_a_default_outside_of_its_bounds(failures):
    failed = failures(rois=ROIS.replace("ge=1)", "ge=1, default=0)"))
    assert "has an option 'size' with a default that it cannot have: 0 must be at least 1" in failed["test_components_can_be_had"]


def test_undocumented_option(failures):
    failed = failures(rois=ROIS.replace('option(doc="Edge of the box in voxels.", ge=1)', "attrs.field(default=3)"))
    assert set(failed) == {"test_options_are_documented"}
    expected = "roi_finder:corner: option 'size' is not documented; declare it with curate_core.option(doc=...)"
    expected += ", or describe it under Args: in the docstring of a function"
    assert failed["test_options_are_documented"] == f"AssertionError: {expected}"


@pytest.mark.parametrize("taken", ["estimate", "version"])
def test_option_that_hides_a_method(failures, taken):
    failed = failures(rois=ROIS.replace("    size:", f"    {taken}: int = option(doc='Bytes.', default=1)\n    size:"))
    message = f"curate_toy.rois:Corner has an option {taken!r}, which is a method of every ROI finder (give the option another name)"
    assert failed["test_components_can_be_had"] == f"PluginError: plugin curate-toy: {message}"


def test_options_without_an_example(failures):
    failed = failures(claims={"examples": {}})
    expected = "roi_finder:corner cannot be built: option 'size' is missing; name its options in examples['roi_finder:corner']"
    both = ("test_components_cross_processes", "test_what_it_asks_of_a_worker_can_be_counted")
    assert failed == dict.fromkeys(both, f"AssertionError: {expected}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("@attrs.frozen", "@attrs.define", "Corner is not frozen; decorate it with @attrs.frozen"),
        ("'''The first box of each layer.'''", "", "Corner has no docstring; its first line describes the component"),
        ("'''The first box of each layer.'''", "version = '2'", "Corner has no docstring; its first line describes the component"),
        ("    size:", "    version = '2'\n    size:", "version is '2', expected a whole number"),
        ("    size:", "    version = 0\n    size:", "version is 0, expected at least 1"),
    ],
)
def test_careless_classes(failures, old, new, message):
    failed = failures(rois=ROIS.replace(old, new))
    assert set(failed) == {"test_components_are_frozen_and_described"}
    assert failed["test_components_are_frozen_and_described"] == f"AssertionError: roi_finder:corner: {message}"


def test_component_that_does_not_pickle(failures):
    unpicklable = ROIS + "    helper: object = attrs.field(init=False, factory=lambda: (lambda: 1))\n"
    failed = failures(rois=unpicklable)
    assert set(failed) == {"test_components_cross_processes"}
    assert failed["test_components_cross_processes"].startswith("AssertionError: roi_finder:corner does not pickle: ")


def test_readme_that_forgets_a_provider(failures):
    failed = failures(readme="# curate-toy\n\nBrings the reader `toy`, and more around each corner.\n")
    assert failed == {"test_readme_names_every_component": "AssertionError: README.md does not name `corner`"}


def test_a_readme_that_is_not_there(failures, tmp_path):
    failed = failures(claims={"readme": tmp_path / "READ.md"})
    said = f"AssertionError: there is no {tmp_path / 'READ.md'}, which is to name every component"
    assert failed == {"test_readme_names_every_component": said}


def test_without_a_readme(failures):
    assert failures(claims={"readme": None}) == {}


def test_plugin_that_cannot_be_imported(failures):
    failed = failures(plugin="raise RuntimeError('out of order')\n")
    assert "RuntimeError: out of order" in failed["test_importing_it_is_light"]
    assert failed["test_loads"] == "AssertionError: curate_toy.plugin is broken: RuntimeError: out of order (plugin.py, line 1)"


def test_help_in_the_package(failures, tmp_path: Path):
    """The docstring of the kit shows every base class that it exports."""
    import curate_core.testing as kit

    for name in kit.__all__:
        assert getattr(kit, name).__doc__, name
        if name.endswith("Tests"):
            assert "Example::" in getattr(kit, name).__doc__, name


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("def estimate(self, nbytes): return nbytes / 2", "estimate gives 500000.0, expected bytes as a whole number"),
        ("def needs(self): return ['gpu']", "needs gives ['gpu'], expected amounts above 0 under names, such as {\"gpu\": 1}"),
        ("def needs(self): return {'gpu': 0}", "needs gives {'gpu': 0}, expected amounts above 0 under names, such as {\"gpu\": 1}"),
    ],
)
def test_what_it_asks_of_a_worker(failures, method, message):
    failed = failures(rois=f"{ROIS}\n    {method}\n")
    assert failed == {"test_what_it_asks_of_a_worker_can_be_counted": f"AssertionError: roi_finder:corner: {message}"}


def test_fixtures_stand_modules_that_have_every_attribute(fake_site, monkeypatch):
    """Such as ``torch.classes``; what they see of it is when they end."""
    monkeypatch.setitem(sys.modules, "has_everything", HasEverything("has_everything"))


class HasEverything(ModuleType):
    def __getattr__(self, name):
        return object()
