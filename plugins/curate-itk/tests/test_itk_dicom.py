"""DICOM series that SimpleITK wrote, with positions of our own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that its users know
from curate_itk.dicom import DicomReader

from curate_core import Image, LayerSource, SourceError, read
from curate_core.testing import context

VALUES = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
C, S = np.cos(0.3), np.sin(0.3)


def write_series(
    folder: Path, uid: str = "1.2.3.4", *, tilt: float = 0.0, leave_out: Sequence[int] = (), slope: str = "", prefix: str = "x"
) -> sitk.Image:
    """Slices with falling names; returns the volume as one image."""
    folder.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(VALUES)
    image.SetSpacing((1.5, 2.5, 3.0))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((C, -S, 0, S, C, 0, 0, 0, 1))
    for index in range(len(VALUES)):
        if index in leave_out:
            continue
        piece = image[:, :, index : index + 1]
        place = np.add(image.TransformIndexToPhysicalPoint((0, 0, index)), [tilt * index, 0, 0])
        tags = {"0008|0060": "CT", "0020|000e": uid, "0020|000d": "1.2.3", "0008|0018": f"{uid}.{index + 1}"}
        tags |= {"0020|0032": "\\".join(f"{v:.10g}" for v in place), "0020|0037": f"{C:.10g}\\{S:.10g}\\0\\{-S:.10g}\\{C:.10g}\\0"}
        if slope:
            tags |= {"0028|1053": slope, "0028|1052": "-5"}
        for tag, value in tags.items():
            piece.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{prefix}{9 - index}.dcm"))
        writer.Execute(piece)
    return image


def open_series(*paths: Path, **options: object) -> Image:
    return DicomReader(**options).open(LayerSource(paths), context("read"))  # type: ignore[arg-type]


def test_sorted_by_place_with_its_geometry(tmp_path: Path) -> None:
    truth = write_series(tmp_path / "series")
    image = open_series(tmp_path / "series")
    assert np.array_equal(read(image.array), VALUES)
    for index in [(0, 0, 0), (6, 5, 4)]:
        world = np.array(truth.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        assert np.allclose(image.grid.world(index[::-1]), world, atol=1e-6)
    assert image.grid.spacing == pytest.approx((3.0, 2.5, 1.5))
    assert (image.grid.oriented, image.grid.calibrated, image.grid.unit) == (True, True, "mm")


def test_a_list_of_files_in_any_order(tmp_path: Path) -> None:
    write_series(tmp_path / "series")
    files = sorted((tmp_path / "series").iterdir(), reverse=True)
    image = open_series(*files[2:], *files[:2])
    assert np.array_equal(read(image.array), VALUES)
    assert DicomReader().resident(LayerSource(tuple(files))) == VALUES.nbytes


def test_values_are_rescaled(tmp_path: Path) -> None:
    write_series(tmp_path / "series", slope="2")
    values = read(open_series(tmp_path / "series").array)
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "series" / "x9.dcm")))
    assert np.array_equal(values[:1], stored)
    assert (values % 2 == 1).all()  # whole numbers times 2, minus 5
    assert np.abs(values - VALUES).max() <= 1


def test_gantry_tilt_is_kept_as_shear(tmp_path: Path) -> None:
    write_series(tmp_path / "series", tilt=0.5)
    grid = open_series(tmp_path / "series").grid
    assert np.allclose(grid.affine[:3, 0], [-0.5, 0, 3.0], atol=1e-6)


def test_several_series_are_listed_and_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "series", "1.2.3.4")
    write_series(tmp_path / "series", "1.2.3.5", prefix="y", leave_out=[4])
    with pytest.raises(SourceError, match=r"2 series: '1\.2\.3\.4' \(5 files\), '1\.2\.3\.5' \(4 files\)"):
        open_series(tmp_path / "series")
    assert open_series(tmp_path / "series", series="1.2.3.5").grid.shape == (4, 6, 7)
    with pytest.raises(SourceError, match=r"no series '9', only '1\.2\.3\.4'"):
        open_series(tmp_path / "series", series="9")


def test_a_missing_slice_is_an_error(tmp_path: Path) -> None:
    write_series(tmp_path / "series", leave_out=[2])
    with pytest.raises(SourceError, match=r"3 mm apart, but 6 mm between x8\.dcm and x6\.dcm") as caught:
        open_series(tmp_path / "series")
    assert "missing" in caught.value.hint
    assert open_series(tmp_path / "series", uneven=2.0).grid.shape == (4, 6, 7)


def test_two_slices_at_one_place(tmp_path: Path) -> None:
    write_series(tmp_path / "series")
    write_series(tmp_path / "series", prefix="copy")
    with pytest.raises(SourceError, match="lie at one place"):
        open_series(tmp_path / "series")


def test_slices_of_another_size(tmp_path: Path) -> None:
    write_series(tmp_path / "series", leave_out=[4])
    piece = sitk.ReadImage(str(tmp_path / "series" / "x9.dcm"))[:4, :, :]
    piece.SetMetaData("0020|000e", "1.2.3.4")
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(tmp_path / "series" / "x1.dcm"))
    writer.Execute(piece)
    files = sorted((tmp_path / "series").iterdir())
    with pytest.raises(SourceError, match="another size or orientation"):
        open_series(*files)


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no DICOM file"):
        open_series(tmp_path / "empty")
    assert DicomReader().sniff(tmp_path / "empty") == "is a folder without files"
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    assert "DICOM mark" in str(DicomReader().sniff(tmp_path / "empty"))
    with pytest.raises(SourceError, match="no such file"):
        open_series(tmp_path / "gone.dcm")
    with pytest.raises(SourceError, match="one folder or a list"):
        open_series(tmp_path / "empty", tmp_path / "empty" / "notes.txt")


def test_a_damaged_slice_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "series")
    image = open_series(tmp_path / "series")
    path = tmp_path / "series" / "x7.dcm"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SourceError, match=r"x7\.dcm"):
        read(image.array)


@pytest.mark.parametrize("name", ["0.dcm", "1.dcm"])
def test_real_slices(name: str) -> None:
    path = Path(nibabel.__file__).parent / "tests" / "data" / name
    if not path.exists():
        pytest.skip("this nibabel carries no test data")
    image = open_series(path)
    assert image.grid.shape == (1, 256, 256)
    assert image.grid.spacing == pytest.approx((3.0, 1.796875, 1.796875))
    assert DicomReader().sniff(path) is None
