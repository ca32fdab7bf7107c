"""Grids against nibabel's affines and SimpleITK's own transform of indices."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that its users know
from curate_itk.geometry import grid_from_itk, itk_from_grid
from curate_itk.reader import ItkReader
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from curate_core import Grid, Image, LayerSource, SourceError, read
from curate_core.testing import context

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
angles = st.tuples(*[st.floats(-180, 180)] * 3)
steps = st.tuples(*[st.floats(0.01, 50)] * 3)
places = st.tuples(*[st.floats(-500, 500)] * 3)


def open_itk(path: Path) -> Image:
    return ItkReader().open(LayerSource((path,)), context("read"))


def affine_of(angle: tuple[float, ...], step: tuple[float, ...], place: tuple[float, ...], flip: bool = False) -> np.ndarray:
    affine = np.eye(4)
    signs = np.array([-1.0 if flip else 1.0, 1.0, 1.0])
    affine[:3, :3] = Rotation.from_euler("xyz", angle, degrees=True).as_matrix() * signs * step
    affine[:3, 3] = place
    return affine


@settings(max_examples=40, deadline=None)
@given(angle=angles, step=steps, place=places, flip=st.booleans())
def test_nifti_affine_is_nibabels(tmp_path_factory: pytest.TempPathFactory, angle, step, place, flip) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("nifti") / "v.nii"
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti1Image(array, affine_of(angle, step, place, flip)), path)
    image = open_itk(path)
    truth = nibabel.load(path).affine
    tolerance = 1e-5 * max(step)  # float32 in the file
    assert np.allclose(image.grid.affine[:3, [2, 1, 0, 3]], truth[:3], rtol=1e-5, atol=max(tolerance, 1e-4))
    assert image.grid.oriented
    assert "geometry" not in image.notes
    assert np.array_equal(read(image.array), array.T)


@settings(max_examples=40, deadline=None)
@given(angle=angles, step=steps, place=places, flip=st.booleans(), suffix=st.sampled_from([".nrrd", ".mha"]))
def test_world_is_simpleitks(tmp_path_factory: pytest.TempPathFactory, angle, step, place, flip, suffix) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("itk") / f"v{suffix}"
    image = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.uint8))
    image.SetSpacing(step)
    image.SetOrigin(place)
    matrix = affine_of(angle, (1, 1, 1), (0, 0, 0), flip)[:3, :3]
    image.SetDirection(matrix.ravel().tolist())
    sitk.WriteImage(image, str(path))
    grid = open_itk(path).grid
    for index in [(0, 0, 0), (4, 0, 0), (0, 3, 0), (0, 0, 2), (4, 3, 2)]:
        truth = np.array(image.TransformIndexToPhysicalPoint(index)) * LPS_TO_RAS
        assert np.allclose(grid.world(index[::-1]), truth, rtol=1e-12, atol=1e-9)
    assert grid.spacing == pytest.approx(step[::-1], rel=1e-12)


@given(angle=angles, step=steps, place=places, unit=st.sampled_from(["mm", "um", "nm", ""]))
@settings(max_examples=60, deadline=None)
def test_itk_from_grid_is_the_inverse(angle, step, place, unit) -> None:  # type: ignore[no-untyped-def]
    affine = affine_of(angle, step, place)
    grid = Grid((3, 4, 5), "zyx", affine[:, [2, 1, 0, 3]], unit, oriented=True)
    geometry = itk_from_grid(grid)
    back = grid_from_itk(grid.shape, "zyx", geometry.direction * geometry.spacing, geometry.origin)
    scale = {"mm": 1.0, "um": 1e-3, "nm": 1e-6, "": 1.0}[unit]
    assert geometry.orthogonal
    assert np.allclose(back.affine[:3], affine[:3, [2, 1, 0, 3]] * scale, rtol=1e-12, atol=1e-12)


def test_unoriented_grid_gets_identity() -> None:
    geometry = itk_from_grid(Grid.from_spacing((2, 3, 4), "zyx", (40, 4, 5), "nm"))
    assert np.array_equal(geometry.direction, np.eye(3))
    assert geometry.spacing == pytest.approx([5e-6, 4e-6, 40e-6])


def test_section_across_z_keeps_its_spacing() -> None:
    grid = Grid.from_spacing((2, 3, 4), "zyx", (40, 4, 5), "um").drop(1)
    geometry = itk_from_grid(grid)
    assert not geometry.flat
    assert geometry.spacing == pytest.approx([5e-3, 40e-3])


def test_sform_that_disagrees_is_noted(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.uint8), np.diag([1.0, 2, 3, 1]))
    image.set_sform(affine_of((10, 20, 30), (1, 2, 3), (0, 0, 0)), 2)
    image.set_qform(np.diag([2.0, 2, 2, 1]), 1)
    nibabel.save(image, tmp_path / "v.nii")
    opened = open_itk(tmp_path / "v.nii")
    assert opened.notes["geometry"] == "qform; the file's sform lies elsewhere"
    assert opened.grid.spacing == pytest.approx((2, 2, 2))


@pytest.mark.parametrize("unit", ["mm", "micron", "meter"])
def test_nifti_units_become_millimetres(tmp_path: Path, unit: str) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.uint8), np.diag([1.0, 2, 3, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "v.nii")
    opened = open_itk(tmp_path / "v.nii")
    scale = {"mm": 1.0, "micron": 1e-3, "meter": 1e3}[unit]
    assert opened.grid.spacing == pytest.approx((3 * scale, 2 * scale, 1 * scale), rel=1e-6)
    assert opened.grid.unit == "mm"
    assert "geometry" not in opened.notes


def test_nifti_without_orientation(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.uint8), None)
    image.header.set_zooms((1.5, 2, 3))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "v.nii")
    grid = open_itk(tmp_path / "v.nii").grid
    assert not grid.oriented
    assert grid == Grid.from_spacing((2, 3, 4), "zyx", (3, 2, 1.5), "mm")


def test_sheared_nifti_is_refused(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.2
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.uint8), affine)
    nibabel.save(image, tmp_path / "v.nii")
    with pytest.raises(SourceError, match="orthonormal") as caught:
        open_itk(tmp_path / "v.nii")
    assert "0x" not in str(caught.value)
    assert "itkNifti" not in str(caught.value)
    assert "resample" in caught.value.hint


def test_plane_oblique_in_space_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3), np.uint8), affine_of((30, 20, 10), (1, 1, 1), (0, 0, 0))), tmp_path / "v.nii")
    with pytest.raises(SourceError, match="oblique"):
        open_itk(tmp_path / "v.nii")


def test_flat_plane(tmp_path: Path) -> None:
    affine = affine_of((0, 0, 30), (2, 3, 1), (5, 6, 0))
    nibabel.save(nibabel.Nifti1Image(np.arange(12, dtype=np.uint8).reshape(4, 3), affine), tmp_path / "v.nii")
    image = open_itk(tmp_path / "v.nii")
    assert image.grid.axes == "yx"
    assert np.allclose(image.grid.affine[:3], affine[:3][:, [1, 0, 3]], atol=1e-5)


def test_sheared_nrrd_keeps_its_affine(tmp_path: Path) -> None:
    head = "NRRD0004\ntype: uchar\ndimension: 3\nspace: RAS\nsizes: 4 3 2\nencoding: raw\n"
    head += "space directions: (2,0,0) (1,3,0) (0,0,40)\nspace origin: (1,2,3)\n\n"
    (tmp_path / "v.nrrd").write_bytes(head.encode() + bytes(24))
    grid = open_itk(tmp_path / "v.nrrd").grid
    assert np.allclose(grid.affine[:3], [[0, 1, 2, 1], [0, 3, 0, 2], [40, 0, 0, 3]])
