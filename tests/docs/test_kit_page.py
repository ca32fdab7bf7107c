"""The page of the conformance kit tells of all of it: it is made of docstrings, which must say what there is."""

import ast
import inspect
import sys
from pathlib import Path

import pytest

from curate_core import testing
from curate_core.testing import fixtures

ROOT = Path(__file__).parents[2]
KITS = [getattr(testing, name) for name in testing.__all__ if name.endswith("Tests")]


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    yield __import__("testing_pages")
    del sys.modules["testing_pages"]  # its folder leaves the path


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.__name__)
def test_every_class_attribute_and_every_test_is_explained(pages, kit):
    stated = {name for cls in kit.__mro__ for name in vars(cls).get("__annotations__", {}) if not name.startswith("_")}
    assert set(pages.attributes(kit)) == stated
    assert all(pages.attributes(kit).values())
    assert [name for name in dir(kit) if name.startswith("test_")] == sorted(pages.tests(kit))
    public = [name for name, _ in inspect.getmembers(kit, inspect.isfunction) if not name.startswith("_")]
    assert [name for name in public if not inspect.getdoc(getattr(kit, name))] == []


def test_the_page_names_all_of_the_kit(pages):
    page = pages.page()
    headings = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert headings == [*(kit.__name__ for kit in KITS), "Helpers", "Fixtures"]
    for name in testing.__all__:
        assert f"## {name}\n" in page or f"autofunction:: {getattr(testing, name).__module__}.{name}\n" in page
    for kit in KITS:
        for name in (*pages.attributes(kit), *pages.tests(kit)):
            assert f"| `{name}` |" in page
    for name in fixtures.__all__:
        assert f"| `{name}` | " in page
    assert "| `suffix` | **required** |" in page
    assert "| `make_file(folder, array, spacing)` **required** |" in page
    assert "`test_grid`" in page


def test_the_examples_of_the_kit_are_python(pages):
    blocks = pages.page().split("```python\n")[1:]
    assert len(blocks) == len(KITS) + 2
    for block in blocks:
        ast.parse(block.partition("```")[0])


def test_all_fixtures_of_the_kit_are_exported():
    tree = ast.parse(Path(fixtures.__file__).read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    marked = [node.name for node in functions if any("pytest.fixture" in ast.unparse(mark) for mark in node.decorator_list)]
    assert sorted(marked) == fixtures.__all__
