"""specs/align/pairs.json, specs/align/fields.json and specs/align/fields_stage2.json, one after the other."""

import json
import runpy
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from curate_core.cli.main import main

ROOT = Path(__file__).parents[2]
sections = runpy.run_path(str(Path(__file__).with_name("sections.py")))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The shipped specs in a folder of their own, where the layers are."""
    shutil.copytree(ROOT / "specs/align", tmp_path / "specs/align")
    sections["write_site"](tmp_path / "specs/align")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_points_to_fields_of_two_stages(site, capsys):
    sizes = ["--set", "rois.0.size=[32,40]", "--set", "transform.1.reference_size=[40,40]", "--set", "transform.2.reference_size=[48,48]"]
    assert main(["run", "specs/align/pairs.json", *sizes, "--set", "rois.0.offsets=[-1,-2]"]) == 0
    assert "found         12  in 1 case" in capsys.readouterr().out
    with h5py.File(next((site / "out/pairs").glob("x*.h5"))) as file:
        images = file["main"][:]
    count = 12
    assert images.shape == (count, 2, 40, 32)

    assert main(["run", "specs/align/fields.json", "--set", "transform.0.block=16", "-q"]) == 0
    assert main(["run", "specs/align/fields_stage2.json", "--set", "transform.0.block=16", "-q"]) == 0
    stages = [
        next((site / "out/pairs").glob("field_0_*.h5")),
        *(site / "out/fields").glob("*.h5"),
        *(site / "out/fields_stage2").glob("*.h5"),
    ]
    found = []
    for path in stages:
        with h5py.File(path) as file:
            found.append(file["main"][:])
    assert [path.name[:8] for path in stages] == ["field_0_", "field_1_", "field_2_"]
    assert {values.shape for values in found} == {(count, 2, 40, 32)}
    assert np.abs(found[2] - found[1]).max() <= 8 + 1e-3, "what the second stage may change"
    assert (found[1] != found[0]).any()
    lock = json.loads((site / "out/fields_stage2/spec.lock.json").read_text())
    assert lock["spec"]["source"]["fields"].endswith("field_1_*.h5")
