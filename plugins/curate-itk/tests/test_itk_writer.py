"""What the writer leaves, read by SimpleITK and nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that its users know
from curate_itk.writer import ItkWriter
from scipy.spatial.transform import Rotation

from curate_core import Grid, StepError

VALUES = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def oblique(unit: str = "mm", shape: tuple[int, ...] = (2, 3, 4)) -> Grid:
    affine = np.zeros((4, 4))
    affine[:3, :3] = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix() * (40.0, 3.0, 2.0)
    affine[:, 3] = (7, 8, 9, 1)
    return Grid(shape, "zyx", affine, unit, oriented=True)


def write(path: Path, values: Any, grid: Grid, **options: Any) -> Path:
    ItkWriter(path=path.name, **options).write_array(path, values, grid, {})
    return path


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nibabel_reads_nifti(tmp_path: Path, name: str) -> None:
    found = nibabel.load(write(tmp_path / name, VALUES, oblique()))
    assert np.array_equal(np.asarray(found.dataobj).T, VALUES)
    assert np.allclose(found.affine[:3], oblique().affine[:3, [2, 1, 0, 3]], atol=1e-4)


@pytest.mark.parametrize("name", ["v.nrrd", "v.mha"])
@pytest.mark.parametrize(("unit", "scale"), [("mm", 1), ("um", 1e-3), ("nm", 1e-6), ("", 1)])
def test_simpleitk_reads_it_in_millimetres(tmp_path: Path, name: str, unit: str, scale: float) -> None:
    grid = oblique(unit)
    found = sitk.ReadImage(str(write(tmp_path / name, VALUES, grid, compress=True)))
    assert np.array_equal(sitk.GetArrayFromImage(found), VALUES)
    for index in [(0, 0, 0), (3, 2, 1)]:
        world = grid.world(index[::-1]) * [-1, -1, 1] * scale
        assert np.allclose(found.TransformIndexToPhysicalPoint(index), world, rtol=1e-9, atol=1e-12)


def test_unoriented_grids_get_identity(tmp_path: Path) -> None:
    found = sitk.ReadImage(str(write(tmp_path / "v.nrrd", VALUES, Grid.from_spacing((2, 3, 4), "zyx", (4, 2, 1), "mm"))))
    assert found.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert found.GetSpacing() == (1, 2, 4)


def test_colour_and_time(tmp_path: Path) -> None:
    colour = np.arange(72, dtype=np.uint8).reshape(2, 3, 4, 3)
    grid = Grid.from_spacing(colour.shape, "zyxc", (4, 2, 1), "mm")
    found = sitk.ReadImage(str(write(tmp_path / "v.nrrd", colour, grid)))
    assert found.GetNumberOfComponentsPerPixel() == 3
    assert np.array_equal(sitk.GetArrayFromImage(found), colour)
    series = np.arange(48, dtype=np.int16).reshape(2, 2, 3, 4)
    loaded = nibabel.load(write(tmp_path / "v.nii", series, Grid.from_spacing(series.shape, "tzyx", (4, 2, 1), "mm")))
    assert np.array_equal(np.asarray(loaded.dataobj).T, series)


@pytest.mark.parametrize("dtype", ["bool", "float16", "complex64", ">i2"])
def test_types_it_cannot_hold(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(StepError, match="without change") as caught:
        write(tmp_path / "v.nrrd", VALUES.astype(dtype), oblique())
    assert "cast" in caught.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shape", "axes", "name", "message"),
    [
        ((2, 3, 4), "xyz", "v.nrrd", "axes 'xyz'"),
        ((2, 3, 4), "cyx", "v.nrrd", "axes 'cyx'"),
        ((2, 3, 4, 1), "zyxc", "v.nrrd", "channel axis of length one"),
        ((1, 2, 3, 4), "tzyx", "v.nii", "time axis of length one"),
        ((0, 3, 4), "zyx", "v.nrrd", "empty"),
    ],
)
def test_shapes_it_cannot_hold(tmp_path: Path, shape: tuple[int, ...], axes: str, name: str, message: str) -> None:
    with pytest.raises(StepError, match=message):
        write(tmp_path / name, np.zeros(shape, np.int16), Grid.from_spacing(shape, axes))


def test_sheared_grids(tmp_path: Path) -> None:
    affine = oblique().affine.copy()
    affine[0, 1] += 1.0
    grid = Grid((2, 3, 4), "zyx", affine, "mm", oriented=True)
    with pytest.raises(StepError, match="right angles"):
        write(tmp_path / "v.nii", VALUES, grid)
    found = sitk.ReadImage(str(write(tmp_path / "v.nrrd", VALUES, grid)))
    assert np.allclose(np.array(found.TransformIndexToPhysicalPoint((3, 2, 1))) * [-1, -1, 1], grid.world((1, 2, 3)))


def test_paths_and_options_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"must end in \.nrrd, \.mha, \.nii\.gz or \.nii"):
        ItkWriter(path="{case}.tif")
    with pytest.raises(ValueError, match=r"end the path in \.nii\.gz"):
        ItkWriter(path="{case}.nii", compress=True)
    with pytest.raises(ValueError, match="not a plain name"):
        ItkWriter(path="{case!r}.nii")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="SimpleITK cannot write it"):
        write(tmp_path / "gone" / "v.nrrd", VALUES, oblique())
