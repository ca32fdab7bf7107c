"""The committed schema is the one that the plugins of this repository give, and every shipped spec fits it."""

import json
from pathlib import Path

import jsonschema
import pytest

from curate_core.cli.main import main

SPECS = Path(__file__).parents[2] / "specs"
SHIPPED = [path for path in sorted(SPECS.rglob("*.json")) if path.name not in ("curate.schema.json", "spec_template.json")]


@pytest.mark.usefixtures("every_plugin")
def test_it_is_what_the_command_makes(capsys):
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == (SPECS / "curate.schema.json").read_text(), "make it anew: curate schema -o specs/curate.schema.json"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_specs_fit_it(path):
    schema = json.loads((SPECS / "curate.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(path.read_text()))
