"""Where volumes lie, by nibabel's word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from curate_nifti.reader import NiftiReader
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core import Grid, Image, LayerSource, SourceError
from curate_core.testing import context

VALUES = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
SFORM = np.array([[0, -2, 0, 10], [1.5, 0, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]], float)
"""x of the file runs along world y, y against world x."""


def open_nifti(path: Path, **options: Any) -> Image:
    return NiftiReader(**options).open(LayerSource((path,)), context("read"))


def save(path: Path, change: Any = None, affine: Any = SFORM, values: Any = VALUES, image: Any = nibabel.Nifti1Image) -> Path:
    made = image(values, affine)
    made.header.set_xyzt_units("mm")
    if change is not None:
        change(made.header)
    made.to_filename(path)
    return path


def write_header(path: Path, **fields: Any) -> Path:
    """Change fields of a file's header in place, as no library would."""
    content = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(bytes(content))
    return path


def xyz(grid: Grid) -> Any:
    """(4, S + 1) with the columns in the file's order."""
    order = [grid.spatial_axes.index(axis) for axis in "xyz" if axis in grid.spatial_axes]
    return grid.affine[:, [*order, -1]]


@settings(max_examples=150, deadline=None)
@given(
    matrix=st.lists(st.floats(-8, 8, width=32), min_size=9, max_size=9),
    origin=st.lists(st.floats(-500, 500, width=32), min_size=3, max_size=3),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    image=st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]),
    order=st.sampled_from("<>"),
    axes=st.sampled_from(["zyx", "xyz"]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
def test_any_affine_is_nibabels(
    tmp_path_factory: pytest.TempPathFactory, matrix: Any, origin: Any, shape: Any, image: Any, order: str, axes: Any, suffix: str
) -> None:
    """Sheared, oblique, flipped; of one to four axes; every voxel at nibabel's place, to the last bit."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(matrix, (3, 3))
    affine[:3, 3] = origin
    steps = affine[:3, : min(3, len(shape))]
    if np.linalg.norm(affine[:3, :3], axis=0).min() < 1e-2 or np.linalg.cond(affine[:3, :3]) > 1e3:
        return  # flat: see below
    path = tmp_path_factory.mktemp("affine") / f"v{suffix}"
    made = image(np.zeros(shape, np.uint8), None, image.header_class(endianness=order))
    made.set_sform(affine, 1)
    made.to_filename(path)
    truth = nibabel.load(path)
    found = open_nifti(path, axes=axes)
    assert np.array_equal(xyz(found.grid), truth.affine[:, [*range(steps.shape[1]), 3]])
    assert found.grid.oriented
    assert found.grid.calibrated
    kept = [n for i, n in enumerate(shape) if i < 3 or n > 1]
    assert found.grid.shape == tuple(kept if axes == "xyz" else kept[::-1])


@settings(max_examples=80, deadline=None)
@given(
    angles=st.lists(st.floats(-3.1, 3.1), min_size=3, max_size=3),
    steps=st.lists(st.floats(0.125, 9, width=32), min_size=3, max_size=3),
    flip=st.booleans(),
)
def test_any_qform_is_nibabels(tmp_path_factory: pytest.TempPathFactory, angles: Any, steps: Any, flip: bool) -> None:
    affine = np.eye(4)
    affine[:3, :3] = nibabel.eulerangles.euler2mat(*angles) * steps * ([-1, 1, 1] if flip else [1, 1, 1])
    affine[:3, 3] = (1, 2, 3)
    path = tmp_path_factory.mktemp("qform") / "v.nii"
    made = nibabel.Nifti1Image(VALUES, None)
    made.set_qform(affine, 2)
    made.to_filename(path)
    found = open_nifti(path)
    assert np.array_equal(xyz(found.grid), nibabel.load(path).affine)
    # Of a quaternion the file holds three numbers of 24 bits; near half a turn the fourth, sqrt(1 - b^2 - c^2 - d^2), leaves
    # open a thousandth of a radian or so, which a voxel's size multiplies.
    assert np.allclose(xyz(found.grid), affine, atol=2e-3 * max(steps))
    assert found.notes["affine"] == "qform"
    assert "geometry" not in found.notes


def test_the_sform_goes_before_the_qform(tmp_path: Path) -> None:
    other = SFORM.copy()
    other[2, 3] += 7.5
    path = save(tmp_path / "v.nii", lambda header: header.set_qform(other, 1))
    found = open_nifti(path)
    assert np.array_equal(xyz(found.grid), SFORM)
    assert found.notes["geometry"] == "sform taken; the qform lies up to 7.5 mm elsewhere"
    chosen = open_nifti(path, affine="qform")
    assert np.allclose(xyz(chosen.grid), other, atol=1e-4)
    assert chosen.notes["geometry"] == "qform taken; the sform lies up to 7.5 mm elsewhere"
    with pytest.raises(SourceError, match=r"disagrees with itself: sform taken; the qform lies up to 7\.5 mm elsewhere") as caught:
        open_nifti(path, mismatch="error")
    assert "affine" in caught.value.hint


def test_forms_that_agree_are_no_mismatch(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii", lambda header: header.set_qform(SFORM, 1))
    assert dict(open_nifti(path, mismatch="error").notes) == {"affine": "sform"}


def test_pixdim_that_disagrees_with_the_affine(tmp_path: Path) -> None:
    path = write_header(save(tmp_path / "v.nii"), pixdim=[1, 1.5, 2, 5, 0, 0, 0, 0], qform_code=0)
    found = open_nifti(path)
    assert found.grid.spacing == (3, 2, 1.5)
    assert found.notes["geometry"] == "the affine's voxel size 1.5 x 2 x 3 mm taken; pixdim states 1.5 x 2 x 5"
    with pytest.raises(SourceError, match="pixdim states"):
        open_nifti(path, mismatch="error")
    assert open_nifti(path, affine="pixdim").grid.spacing == (5, 2, 1.5)


def test_rounded_pixdim_is_no_mismatch(tmp_path: Path) -> None:
    path = write_header(save(tmp_path / "v.nii"), pixdim=[1, 1.5001, 2, 2.9999, 0, 0, 0, 0], qform_code=0)
    assert "geometry" not in open_nifti(path, mismatch="error").notes


def test_neither_form(tmp_path: Path) -> None:
    """The array's own axes; nibabel would make up a flip and an origin."""
    path = write_header(save(tmp_path / "v.nii"), sform_code=0, qform_code=0)
    found = open_nifti(path)
    assert np.array_equal(xyz(found.grid), np.diag([1.5, 2, 3, 1]))
    assert not found.grid.oriented
    assert found.grid.calibrated
    assert found.notes["affine"] == "pixdim"
    for name in ("sform", "qform"):
        with pytest.raises(SourceError, match=rf"states no {name} \(its code is 0\)") as caught:
            open_nifti(path, affine=name)
        assert '"affine": "pixdim"' in caught.value.hint


def test_a_form_that_is_not_there_names_the_other(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="states no qform") as caught:
        open_nifti(write_header(save(tmp_path / "v.nii"), qform_code=0), affine="qform")
    assert '"affine": "sform"' in caught.value.hint


def test_no_voxel_size(tmp_path: Path) -> None:
    path = write_header(save(tmp_path / "v.nii"), sform_code=0, qform_code=0, pixdim=[1, 0, 0, 0, 0, 0, 0, 0])
    found = open_nifti(path, affine="pixdim")
    assert found.grid.spacing == (1, 1, 1)
    assert found.notes["oddities"] == ["pixdim[1,2,3] should be non-zero; setting 0 dims to 1"]


@pytest.mark.parametrize(("code", "unit", "factor"), [(1, "mm", 1000), (2, "mm", 1), (3, "um", 1), (0, "mm", 1), (7, "mm", 1)])
def test_units(tmp_path: Path, code: int, unit: str, factor: float) -> None:
    path = write_header(save(tmp_path / "v.nii"), xyzt_units=code | 8)
    grid = open_nifti(path).grid
    assert grid.unit == unit
    assert grid.spacing == (3 * factor, 2 * factor, 1.5 * factor)
    assert np.array_equal(grid.affine[:3, 3], SFORM[:3, 3] * factor)
    assert ("unit" in open_nifti(path).notes) == (code not in (1, 2, 3))


def test_mismatches_are_told_in_the_worlds_unit(tmp_path: Path) -> None:
    path = write_header(save(tmp_path / "v.nii"), xyzt_units=1, qform_code=0, pixdim=[1, 1.5, 2, 5, 0, 0, 0, 0])
    assert open_nifti(path).notes["geometry"] == "the affine's voxel size 1500 x 2000 x 3000 mm taken; pixdim states 1500 x 2000 x 5000"


def test_shear_is_kept_and_told(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1, 2, 1])
    affine[1, 2] = 0.5
    found = open_nifti(save(tmp_path / "v.nii", affine=affine))
    assert np.array_equal(xyz(found.grid), affine)
    assert found.notes["sheared"] == "axes are up to 14 degrees off right angles"
    assert "sheared" not in open_nifti(save(tmp_path / "w.nii")).notes


def test_an_oblique_plane_keeps_its_place(tmp_path: Path) -> None:
    """What SimpleITK's 2D images cannot hold."""
    affine = np.eye(4)
    affine[:3, :3] = nibabel.eulerangles.euler2mat(0.3, 0.2, 0.1)
    affine[:3, 3] = (5, 6, 7)
    path = save(tmp_path / "v.nii", affine=affine, values=VALUES[..., 0])
    found = open_nifti(path)
    truth = nibabel.load(path).affine
    assert found.grid.axes == "yx"
    expected = nibabel.affines.apply_affine(truth, [3, 2, 0])
    assert np.allclose(found.grid.world([2, 3]), expected, atol=0)
    assert found.grid.world([2, 3])[2] != 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"srow_x": [np.nan, 0, 0, 0]}, "its sform contains NaN or infinity"),
        ({"srow_z": [0, 0, 0, 30]}, "its sform makes a volume flat"),
        ({"srow_x": [0, 0, 0, 0]}, "its sform makes a volume flat"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 0.9, "quatern_c": 0.9}, "its qform cannot be used"),
    ],
)
def test_places_that_are_none(tmp_path: Path, fields: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_nifti(write_header(save(tmp_path / "v.nii"), **fields))
    assert caught.value.hint.startswith("repair the header, or take another")


def test_a_malformed_qform_beside_a_good_sform(tmp_path: Path) -> None:
    path = write_header(save(tmp_path / "v.nii"), qform_code=1, quatern_b=0.9, quatern_c=0.9)
    assert open_nifti(path).notes["geometry"] == "sform taken; the qform is malformed"
