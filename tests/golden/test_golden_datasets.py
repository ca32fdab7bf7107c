"""Datasets that released versions wrote are read for ever: the bytes that lie here, never made again, give the same arrays."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from golden_specs import FORMS, HERE, expected, make

import curate_core
from curate_core.host import default_host

DATASETS = sorted(path.parent for path in HERE.glob("*/*/dataset.json"))
ROOT = Path(__file__).parents[2]
of_each = pytest.mark.parametrize("folder", DATASETS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")


def need(folder: Path) -> None:
    """Skip where the distribution that wrote it is not installed: the core's own tests run without plugins."""
    for writer in json.loads((folder / "dataset.json").read_text())["writers"]:
        distribution, _, name = writer["use"].partition(":")
        if all(offer.distribution != distribution for offer in default_host().offers("writer")):
            pytest.skip(f"{distribution} is not installed, which brings {name}")


@of_each
def test_it_is_read_as_it_was_written(folder):
    need(folder)
    dataset = curate_core.open(folder)
    wanted = expected(folder.name)
    assert len(dataset) == len(wanted)
    for index, (case, values) in enumerate(wanted):
        row = dataset.row(index)
        assert row["case"] == case
        [array] = dataset[index].values()
        assert array.dtype == values.dtype
        np.testing.assert_array_equal(array, values)


@of_each
def test_its_checksums_still_hold(folder):
    need(folder)
    assert curate_core.open(folder).verify() == []


def test_every_form_of_this_version_is_here():
    version = curate_core.__version__
    assert {folder.name for folder in DATASETS if folder.parent.name == version} == set(FORMS)


def test_every_writer_of_the_repository_has_a_form():
    sources = [ROOT / "curate_core/builtin/plugin.py", *ROOT.glob("plugins/*/src/*/plugin.py")]
    offered = {name for source in sources for name in re.findall(r'Provider\(\s*"writer", "([\w-]+)"', source.read_text())}
    assert offered == {step["use"] for step in FORMS.values()}, "a new writer needs a golden dataset: see golden_specs.py"


@pytest.mark.parametrize("form", ["npy", "npy-stack"])
def test_they_are_made_as_the_script_says(form, tmp_path):
    """The script still works, and makes the same files; formats of other libraries differ from version to version of theirs."""
    make(form, tmp_path / form)
    here = HERE / curate_core.__version__ / form
    files = sorted(path.relative_to(here) for path in here.rglob("*.npy"))
    assert files
    for name in files:
        assert (tmp_path / form / name).read_bytes() == (here / name).read_bytes(), name
