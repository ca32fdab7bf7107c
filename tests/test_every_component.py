"""No component is forgotten: each that is offered goes through the kit's class of its kind, in some test of the repository."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from offered import BUILTIN, PLUGINS, ROOT, offered

from curate_core import testing

NO_KIT = {
    "curate_core.builtin.from_dataset:SamplesReader": "its layer comes from a dataset, not from a file that a test could write",
    "curate_tomo.foam:SphereFoam": "it computes its layer, from no file",
    "curate_tomo.phantom:Phantom": "its files list objects, not the voxels that it computes from them",
}
"""Components that the kit's class of their kind cannot be run over, and why; tests of their own hold them to their contract."""


def kit_class(kind: str) -> str:
    """``roi_finder`` -> ``RoiFinderTests``."""
    return "".join(word.capitalize() for word in kind.split("_")) + "Tests"


def components(folder: Path) -> dict[str, str]:
    """Where each component of a plugin is (``package.module:Class``) -> the kit's class for it."""
    return {provider.target: kit_class(provider.kind) for provider in offered(folder)}


def examined(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(component, kit's class) of each test class of a module, by its bases and the ``component`` that it names or inherits."""
    imported = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    kits: dict[str, set[str]] = {}
    components: dict[str, str] = {}
    for node in tree.body:  # bases stand before what is made of them
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [ast.unparse(base) for base in node.bases]
        kits[node.name] = {kit for base in bases for kit in kits.get(base, {base.rpartition(".")[2]})}
        named = [ast.unparse(s.value) for s in node.body if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == "component"]
        named += [components[base] for base in bases if base in components]
        if named:
            components[node.name] = named[0]
        if node.name.startswith("Test") and named:
            yield from ((imported.get(named[0], named[0]), kit) for kit in kits[node.name])


def passes(target: str, kit: str, conforming: set[tuple[str, str]]) -> bool:
    """Whether a component goes through the class of its kind, or through one for a part of it (``TractogramReaderTests``)."""
    return any(target == found and name.endswith(kit) for found, name in conforming)


@pytest.fixture(scope="module")
def conforming() -> set[tuple[str, str]]:
    files = [file for pattern in ("tests/**/test_*.py", "plugins/*/tests/test_*.py") for file in ROOT.glob(pattern)]
    return {found for file in files for found in examined(ast.parse(file.read_text(encoding="utf-8")))}


@pytest.mark.parametrize("folder", [BUILTIN, *PLUGINS], ids=lambda folder: folder.name)
def test_each_component_of_a_plugin_goes_through_the_kit(folder: Path, conforming: set[tuple[str, str]]) -> None:
    missing = [
        f"{target} has no conformance test: derive one from curate_core.testing.{kit}, with component = {target.partition(':')[2]}"
        for target, kit in components(folder).items()
        if not passes(target, kit, conforming) and target not in NO_KIT
    ]
    assert not missing, "\n".join(missing)


def test_what_cannot_go_through_the_kit_is_still_offered_and_does_not(conforming: set[tuple[str, str]]) -> None:
    everything = {target: kit for folder in [BUILTIN, *PLUGINS] for target, kit in components(folder).items()}
    assert set(NO_KIT) - set(everything) == set()
    assert {target for target in NO_KIT if passes(target, everything[target], conforming)} == set()
    assert set(everything.values()) <= set(testing.__all__), "the kit has a class for every kind"


def test_a_class_is_found_by_what_it_derives_from_and_by_what_it_inherits() -> None:
    module = """
from curate_core.testing import ReaderTests
from curate_x.reader import XReader, YReader as Other
class Base(ReaderTests):
    component = XReader
class Alone(ReaderTests):
    component = Other
class TestX(Base):
    pass
class TestOther(Alone):
    shape = (1, 2)
class TestNothing(ReaderTests):
    pass
class TestFilter(unrelated.FilterTests):
    component = XReader
"""
    assert set(examined(ast.parse(module))) == {
        ("curate_x.reader:XReader", "ReaderTests"),
        ("curate_x.reader:YReader", "ReaderTests"),
        ("curate_x.reader:XReader", "FilterTests"),
    }
