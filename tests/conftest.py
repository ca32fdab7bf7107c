"""What tests of several folders need."""

import importlib.metadata
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from curate_core.testing.fixtures import fake_site, write_distribution  # noqa: F401

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # ``offered`` is beside the tests


@pytest.fixture
def every_plugin(fake_site):  # noqa: F811
    """Plugins that are not installed here join without what they depend on: options are known before that is imported."""
    installed = {found.name for found in importlib.metadata.distributions()}
    for path in sorted(ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(path.read_text())["project"]
        if project["name"] not in installed:
            shutil.copytree(path.parent / "src", fake_site, dirs_exist_ok=True)
            write_distribution(fake_site, project["name"], project["entry-points"]["curate.plugins"], project["version"])
