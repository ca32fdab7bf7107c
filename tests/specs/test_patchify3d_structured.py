"""specs/em/patchify3d_structured.json: a blank slab of noise goes, whatever hides it from the difference hash, and the tissue stays."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.ndimage import gaussian_filter

import curate_core
from curate_core.runner import run

ROOT = Path(__file__).parents[2]
SHAPE = (24, 448, 448)
"""Sections of four tiles; the right half of the volume is a slab of resin."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slab")
    for seed, name in enumerate(("one", "two")):
        rng = np.random.default_rng(seed)
        volume = 140 + 8 * rng.standard_normal(SHAPE)
        texture = gaussian_filter(rng.standard_normal((*SHAPE[:2], 224)), 3)
        volume[..., :224] += texture * (30 / texture.std())
        image = SimpleITK.GetImageFromArray(np.clip(volume, 0, 255).astype(np.uint8))
        image.SetSpacing((4.0, 4.0, 40.0))
        SimpleITK.WriteImage(image, str(folder / f"{name}.nrrd"))
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(folder / "one.nrrd")), str(folder / "copy.nrrd"))
    return folder


def left(dataset):
    return [row["views"][""]["start"][2] == 0 for row in dataset.rows()]


def test_the_slab_goes_and_the_tissue_stays(folder, tmp_path):
    plain = run(ROOT / "specs/em/patchify3d.json", settings=[f"source.root={folder}"], output=tmp_path / "plain", workers=0)
    assert plain.found == 3 * SHAPE[0] * 4
    before = left(curate_core.open(tmp_path / "plain"))
    assert before.count(False) > 0.3 * len(before), "noise that the difference hash cannot tell from tissue"
    summary = run(ROOT / "specs/em/patchify3d_structured.json", settings=[f"source.root={folder}"], output=tmp_path / "out", workers=0)
    dataset = curate_core.open(tmp_path / "out")
    assert summary.dropped["structure"] == 3 * SHAPE[0] * 2, "the slab's tiles, all of them and no other"
    assert all(left(dataset))
    assert all(row["scores"]["structure"] > 0.15 for row in dataset.rows())
    assert {row["step"] for row in dataset.dropped()} == {"structure", "near-duplicates"}
    by_case = [row["case"] for row in dataset.rows()]
    copied = by_case.count("one") + by_case.count("copy")
    assert abs(copied - by_case.count("two")) < 0.5 * by_case.count("two"), "a copy adds nothing: both have about what the other has"
    assert any(row["because"].partition(":")[0] != row["case"] for row in dataset.dropped() if row["step"] == "near-duplicates"), (
        "across volumes"
    )
