"""Voxels that lie beside their header belong to the case: a change of theirs is noticed."""

import numpy as np
import pytest
import SimpleITK
from curate_itk.reader import ItkReader

import curate_core
from curate_core import run


@pytest.mark.parametrize(("header", "voxels"), [("scan.nhdr", "scan.raw"), ("scan.mhd", "scan.raw"), ("scan.hdr", "scan.img")])
def test_changed_voxels_beside_a_header_run_again(tmp_path, header, voxels):
    values = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(tmp_path / header))
    assert ItkReader().companions(tmp_path / header) == (tmp_path / voxels,)
    spec = {
        "version": 1,
        "name": "beside",
        "source": {"use": "files", "pattern": f"{{case}}{header[4:]}"},
        "rois": [{"use": "whole"}],
        "write": [{"use": "npy", "path": "{case}.npy"}],
        "output": "out",
        "engine": {"use": "local", "workers": 0},
    }
    run(spec, folder=tmp_path)
    np.testing.assert_array_equal(curate_core.open(tmp_path / "out")[0]["image"], values)
    assert run(spec, folder=tmp_path).units_done == 0
    data = bytearray((tmp_path / voxels).read_bytes())
    data[-1] = 200
    (tmp_path / voxels).write_bytes(data)
    assert run(spec, folder=tmp_path).units_done == 2
    assert curate_core.open(tmp_path / "out")[0]["image"][2, 3, 4] == 200


def test_a_file_of_one_piece_has_none(tmp_path):
    SimpleITK.WriteImage(SimpleITK.Image(3, 3, 3, SimpleITK.sitkUInt8), str(tmp_path / "a.nrrd"))
    assert ItkReader().companions(tmp_path / "a.nrrd") == ()
