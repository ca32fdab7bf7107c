"""The kit's fixtures are had as its docstring says, from a package that lies anywhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from curate_core.testing import fixtures

SAID = fixtures.__doc__ or ""
LINE = re.search(r"^    (from .*)$", SAID, re.MULTILINE)[1]  # type: ignore[index]
PLUGINS = re.search(r"``(pytest_plugins = .*?)``", SAID)[1]  # type: ignore[index]
TESTS = '''
from curate_core.arrays import read

PLUGIN = """
from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1

@hookimpl
def curate_register_filters():
    yield Provider("filter", "toy", "A toy.", "curate_toy.toy:Toy")
"""

def test_awkward(awkward_image):
    assert read(awkward_image.array).shape == awkward_image.grid.shape

def test_plugin(fake_plugin, isolated_host, fake_site):
    entry = fake_plugin("curate-toy", plugin=PLUGIN)
    assert (fake_site / "curate_toy" / "plugin.py").is_file()
    host = isolated_host(entry_points=[entry])
    assert host.find("filter", "toy").distribution == "curate-toy"
    assert [plugin.distribution for plugin in isolated_host().plugins] == ["curate-core"]
    assert len(isolated_host("curate-toy").plugins) == 2
'''


def run(folder: Path, *words: str) -> str:
    """Run pytest on a package of somebody else's, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", *words]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("mode", ["importlib", "prepend"])
def test_the_line_of_the_docstring_is_enough_in_any_conftest(tmp_path, mode):
    folder = tmp_path / "package" / "tests" / "deep"
    folder.mkdir(parents=True)
    (folder / "conftest.py").write_text(f"{LINE}\n")
    (folder / "test_it.py").write_text(TESTS)
    said = run(tmp_path, f"--import-mode={mode}")
    assert f"{len(fixtures.AWKWARD) + 1} passed" in said, said


def test_the_line_of_the_docstring_is_enough_in_a_module(tmp_path):
    (tmp_path / "test_it.py").write_text(f"{LINE}\n{TESTS}")
    said = run(tmp_path)
    assert f"{len(fixtures.AWKWARD) + 1} passed" in said, said


def test_pytest_takes_plugins_in_the_topmost_conftest_alone(tmp_path):
    (tmp_path / "conftest.py").write_text(f"{PLUGINS}\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    assert f"{len(fixtures.AWKWARD) + 1} passed" in run(tmp_path)
    deep = tmp_path / "package" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "conftest.py").rename(deep / "conftest.py")
    (tmp_path / "test_it.py").rename(deep / "test_it.py")
    assert "Defining 'pytest_plugins' in a non-top-level conftest is no longer supported" in run(tmp_path)


def test_what_the_line_brings_is_fixtures_alone():
    assert set(fixtures.__all__) <= {"awkward_image", "fake_plugin", "fake_site", "isolated_host"}
    assert all(f"``{name}``" in SAID for name in fixtures.__all__)
