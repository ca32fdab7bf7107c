"""Datasets that released versions wrote are read for ever: the bytes that lie here, never made again, give the same arrays."""

import json
import re
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import attrs
import numpy as np
import pytest
from golden_specs import CONTENTS, FORMS, HERE, dataset_name, expected, form_of, make
from offered import BUILTIN, PLUGINS, offered

import curate_core
from curate_core import Tractogram
from curate_core.host import default_host

DATASETS = sorted(path.parent for path in HERE.glob("*/*/dataset.json"))
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
    wanted = expected(form_of(folder.name))
    assert len(dataset) == len(wanted)
    for index, (case, arrays) in enumerate(wanted):
        row = dataset.row(index)
        assert row["case"] == case
        sample = dataset[index]
        assert set(sample) == set(arrays)
        for name, values in arrays.items():
            check(sample[name], values)


def check(found, wanted):
    if isinstance(found, Tractogram):
        np.testing.assert_allclose(found.points, wanted["points"], rtol=1e-6)
        assert (found.offsets.tolist(), found.lengths.tolist()) == (wanted["offsets"], wanted["lengths"])
        assert {name: values.ravel().tolist() for name, values in found.per_streamline.items()} == {"weight": wanted["weight"]}
        assert (found.grid.shape, found.grid.spacing) == ((6, 4, 4), (2, 2, 2))
    else:
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


@of_each
def test_its_checksums_still_hold(folder):
    need(folder)
    assert curate_core.open(folder).verify() == []


@of_each
def test_it_lies_under_the_version_that_wrote_it(folder):
    assert json.loads((folder / "dataset.json").read_text())["curate"] == folder.parent.name
    assert numbers(folder.parent.name) <= numbers(curate_core.__version__)


def numbers(version):
    return [int(number) for number in re.findall(r"\d+", version)]


def test_every_form_is_here_and_none_was_taken_out():
    """Whichever version wrote it: another version of curate makes none of them anew."""
    assert {dataset_name(form) for form in FORMS} - {folder.name for folder in DATASETS} == set(), (
        "make it: python tests/golden/golden_specs.py"
    )
    assert {form_of(folder.name) for folder in DATASETS} == set(FORMS)
    assert {form.content for form in FORMS.values()} == set(CONTENTS)


def test_every_writer_of_the_repository_has_a_form():
    writers = {provider.name for folder in [BUILTIN, *PLUGINS] for provider in offered(folder) if provider.kind == "writer"}
    assert writers == {form.step["use"] for form in FORMS.values()}, "a new writer needs a golden dataset: see golden_specs.py"


WITHOUT_FORM = {("npy", "pairs", True): "it names the layers that become one array, as the option layers does"}
"""(writer, option, value) of choices that leave files as they are."""


@pytest.mark.parametrize("writer", sorted({form.step["use"] for form in FORMS.values()}))
def test_every_choice_that_a_writer_offers_has_a_form(writer):
    """Each of the words that an option may be, and a switch on and off."""
    offers = [offer for offer in default_host().offers("writer") if offer.provider.name == writer]
    if not offers:
        pytest.skip("it is not installed")
    cls = default_host().load(offers[0])
    kinds = {name: kind for name, kind in get_type_hints(cls).items() if kind is bool or get_origin(kind) is Literal}
    defaults = {field.name: field.default for field in attrs.fields(cls)}
    choices = {(writer, name, value) for name, kind in kinds.items() for value in ([True, False] if kind is bool else get_args(kind))}
    steps = [form.step for form in FORMS.values() if form.step["use"] == writer]
    made = {(writer, name, step.get(name, defaults[name])) for step in steps for name in kinds}
    assert {choice for choice in choices - made if choice not in WITHOUT_FORM} == set()
    assert {choice for choice in made if choice in WITHOUT_FORM} == set()


def test_every_format_of_the_writer_itk_has_a_form():
    suffixes = pytest.importorskip("curate_itk.writer", exc_type=ImportError).SUFFIXES
    paths = [form.step["path"] for form in FORMS.values() if form.step["use"] == "itk"]
    assert {suffix for suffix in suffixes if not any(path.endswith(suffix) for path in paths)} == set()


@pytest.mark.parametrize("name", sorted(FORMS))
def test_what_a_writer_writes_in_another_way_has_a_dataset_of_its_own(name):
    form = FORMS[name]
    for offer in default_host().offers("writer"):
        if offer.provider.name == form.step["use"]:
            said = f"state the writer's version in FORMS, of {name}, then make a dataset beside the old one: python tests/golden/golden_specs.py"
            assert default_host().load(offer).version == form.version, said


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.step["use"] == "npy"])
def test_they_are_made_as_the_script_says(form, tmp_path):
    """The script still works, and makes the same files; formats of other libraries differ from version to version of theirs."""
    make(form, tmp_path / form)
    here = max((folder for folder in DATASETS if folder.name == dataset_name(form)), key=lambda folder: numbers(folder.parent.name))
    files = sorted(path.relative_to(here) for path in here.rglob("*.npy"))
    assert files
    for name in files:
        assert (tmp_path / form / name).read_bytes() == (here / name).read_bytes(), name
