"""The committed schema is the one that the plugins of this repository give, and every shipped spec fits it."""

import importlib.metadata
import json
import shutil
import tomllib
from pathlib import Path

import jsonschema
import pytest

from curate_core.cli.main import main
from curate_core.testing.fixtures import fake_site, write_distribution  # noqa: F401

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"
SHIPPED = [path for path in sorted(SPECS.rglob("*.json")) if path.name != "curate.schema.json"]


@pytest.fixture
def every_plugin(fake_site):  # noqa: F811
    """Plugins that are not installed here join without what they depend on: options are known before that is imported."""
    installed = {found.name for found in importlib.metadata.distributions()}
    for path in sorted(ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(path.read_text())["project"]
        if project["name"] not in installed:
            shutil.copytree(path.parent / "src", fake_site, dirs_exist_ok=True)
            write_distribution(fake_site, project["name"], project["entry-points"]["curate.plugins"], project["version"])


@pytest.mark.usefixtures("every_plugin")
def test_it_is_what_the_command_makes(capsys):
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == (SPECS / "curate.schema.json").read_text(), "make it anew: curate schema -o specs/curate.schema.json"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_specs_fit_it(path):
    schema = json.loads((SPECS / "curate.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(path.read_text()))
