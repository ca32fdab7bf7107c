"""Voxels, flags and errors of the reader, against hand-written files, nibabel and SimpleITK."""

from __future__ import annotations

import gzip
import shutil
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that its users know
from curate_itk.headers import unit_of
from curate_itk.reader import ItkReader
from curate_itk.simpleitk import shorten

from curate_core import Image, LayerSource, SourceError, read
from curate_core.testing import context

VALUES = np.arange(24, dtype="<i2").reshape(2, 3, 4)
PLAIN = "type: short\ndimension: 3\nsizes: 4 3 2\nencoding: raw\nendian: little"
NIBABEL_DATA = Path(nibabel.__file__).parent / "tests" / "data"


def open_itk(path: Path) -> Image:
    return ItkReader().open(LayerSource((path,)), context("read"))


def nrrd(path: Path, fields: str, data: bytes = VALUES.tobytes()) -> Path:
    path.write_bytes(b"NRRD0005\n" + fields.encode() + b"\n\n" + data)
    return path


def metaimage(path: Path, fields: str, data: bytes = VALUES.tobytes(), where: str = "LOCAL") -> Path:
    head = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\n{fields}\nDimSize = 4 3 2\nElementType = MET_SHORT\nElementDataFile = {where}\n"
    )
    path.write_bytes(head.encode() + data)
    return path


def test_nrrd_without_spacing_is_not_calibrated(tmp_path: Path) -> None:
    grid = open_itk(nrrd(tmp_path / "v.nrrd", PLAIN)).grid
    assert not grid.calibrated
    assert not grid.oriented
    assert grid.unit == ""


def test_nrrd_with_spacings_in_nanometres(tmp_path: Path) -> None:
    grid = open_itk(nrrd(tmp_path / "v.nrrd", PLAIN + '\nspacings: 2 3 40\nunits: "nm" "nm" "nm"')).grid
    assert grid.calibrated
    assert not grid.oriented
    assert (grid.spacing, grid.unit) == ((40.0, 3.0, 2.0), "nm")
    assert grid.affine[0, 2] == 2.0  # along the array's own axes: nothing flipped


def test_nrrd_space_decides_the_flips(tmp_path: Path) -> None:
    fields = "space directions: (2,0,0) (0,3,0) (0,0,40)\nspace origin: (1,2,3)"
    worlds = {}
    for space in ("LPS", "RAS", "LAS", "right-anterior-superior"):
        grid = open_itk(nrrd(tmp_path / "v.nrrd", f"{PLAIN}\nspace: {space}\n{fields}")).grid
        assert grid.oriented
        worlds[space] = grid.world((1, 1, 1)).tolist()
    assert worlds == {
        "LPS": [-3, -5, 43], "RAS": [3, 5, 43], "LAS": [-3, 5, 43], "right-anterior-superior": [3, 5, 43]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        (PLAIN, VALUES.tobytes()),
        (PLAIN.replace("little", "big"), VALUES.astype(">i2").tobytes()),
        (PLAIN + "\nbyte skip: 10", bytes(10) + VALUES.tobytes()),
        (PLAIN + "\nbyte skip: -1", bytes(7) + VALUES.tobytes()),
        (PLAIN.replace("raw", "gzip"), gzip.compress(VALUES.tobytes(), mtime=0)),
        (PLAIN.replace("raw", "ascii"), " ".join(map(str, VALUES.ravel())).encode()),
        (PLAIN + "\nkey:=value\n# comment", VALUES.tobytes()),
    ],
)
def test_nrrd_encodings(tmp_path: Path, fields: str, data: bytes) -> None:
    assert np.array_equal(read(open_itk(nrrd(tmp_path / "v.nrrd", fields, data)).array), VALUES)


@pytest.mark.parametrize(
    ("kinds", "sizes", "order"),
    [("vector domain domain domain", "3 4 1 2", (0, 1, 2, 3)), ("domain domain domain list", "4 1 2 3", (1, 2, 3, 0))],
)
def test_nrrd_channels_come_last(tmp_path: Path, kinds: str, sizes: str, order: tuple[int, ...]) -> None:
    fields = f"type: short\ndimension: 4\nsizes: {sizes}\nencoding: raw\nendian: little\nkinds: {kinds}"
    path = nrrd(tmp_path / "v.nrrd", fields)
    image = open_itk(path)
    truth = VALUES.reshape([int(n) for n in sizes.split()[::-1]]).transpose(order)
    assert image.grid.axes == "zyxc"
    assert np.array_equal(read(image.array), truth)
    assert np.array_equal(read(image.array), sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def test_detached_nrrd(tmp_path: Path) -> None:
    (tmp_path / "v.raw").write_bytes(VALUES.tobytes())
    (tmp_path / "v.nhdr").write_text(f"NRRD0005\n{PLAIN}\ndata file: v.raw\n")
    image = open_itk(tmp_path / "v.nhdr")
    assert np.array_equal(read(image.array), VALUES)
    assert ItkReader().resident(LayerSource((tmp_path / "v.nhdr",))) == 0
    (tmp_path / "v.raw").unlink()
    with pytest.raises(SourceError, match=r"v\.raw: there is no such file|SimpleITK cannot read"):
        open_itk(tmp_path / "v.nhdr")


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ("BinaryDataByteOrderMSB = False", VALUES.tobytes()),
        ("ElementByteOrderMSB = True", VALUES.astype(">i2").tobytes()),
        ("HeaderSize = -1", b"padding" + VALUES.tobytes()),
        (f"CompressedData = True\nCompressedDataSize = {len(zlib.compress(VALUES.tobytes()))}", zlib.compress(VALUES.tobytes())),
    ],
)
def test_metaimage_encodings(tmp_path: Path, fields: str, data: bytes) -> None:
    image = open_itk(metaimage(tmp_path / "v.mha", fields, data))
    assert np.array_equal(read(image.array), VALUES)
    assert not image.grid.calibrated
    assert not image.grid.oriented


def test_detached_metaimage_in_microns(tmp_path: Path) -> None:
    (tmp_path / "v.raw").write_bytes(VALUES.tobytes())
    image = open_itk(metaimage(tmp_path / "v.mhd", "ElementSpacing = 1 2 3\nDistanceUnits = um", b"", "v.raw"))
    assert np.array_equal(read(image.array), VALUES)
    assert (image.grid.spacing, image.grid.unit, image.grid.calibrated) == ((3.0, 2.0, 1.0), "um", True)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_scaled_nifti_is_nibabels(tmp_path: Path, dtype: str, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    image = nibabel.Nifti1Image(np.arange(24, dtype=dtype).reshape(4, 3, 2), np.eye(4))
    image.header.set_slope_inter(2.5, -1)
    nibabel.save(image, path)
    opened = open_itk(path)
    truth = nibabel.load(path).get_fdata().T
    assert opened.dtype == (np.float64 if dtype == "float64" else np.float32)
    assert np.array_equal(read(opened.array), truth.astype(opened.dtype))


@pytest.mark.parametrize("name", ["anatomical.nii", "functional.nii", "example4d.nii.gz", "standard.nii.gz", "resampled_anat_moved.nii"])
def test_real_nifti_files(name: str) -> None:
    path = NIBABEL_DATA / name
    if not path.exists():
        pytest.skip("this nibabel carries no test data")
    image = open_itk(path)
    truth = nibabel.load(path)
    assert image.grid.axes == "tzyx"[4 - truth.ndim :]
    assert np.allclose(read(image.array), truth.get_fdata().T, rtol=1e-6, equal_nan=True)
    assert np.allclose(np.linalg.norm(truth.affine[:3, :3], axis=0)[::-1], image.grid.spacing, rtol=1e-4)


def test_nifti_vectors_and_colours(tmp_path: Path) -> None:
    vectors = np.arange(4 * 3 * 2 * 3, dtype=np.float32).reshape(4, 3, 2, 1, 3)
    image = nibabel.Nifti1Image(vectors, np.eye(4))
    image.header.set_intent("vector")
    nibabel.save(image, tmp_path / "v.nii")
    opened = open_itk(tmp_path / "v.nii")
    assert opened.grid.axes == "zyxc"
    assert np.array_equal(read(opened.array), vectors[:, :, :, 0].transpose(2, 1, 0, 3))
    colours = np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = np.arange(24).reshape(4, 3, 2)
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "c.nii")
    assert np.array_equal(read(open_itk(tmp_path / "c.nii").array)[..., 1], colours["G"].T)


def test_nifti_pair(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    nibabel.save(nibabel.Nifti1Pair(array, np.diag([1.0, 2, 3, 1])), tmp_path / "v.img")
    image = open_itk(tmp_path / "v.hdr")
    assert np.array_equal(read(image.array), array.T)
    assert ItkReader().resident(LayerSource((tmp_path / "v.hdr",))) == 0


def test_resident_is_the_decoded_size_of_compressed_files(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((40, 30, 20), np.int16), np.eye(4)), tmp_path / "v.nii.gz")
    assert ItkReader().resident(LayerSource((tmp_path / "v.nii.gz",))) == 48000
    path = nrrd(tmp_path / "v.nrrd", PLAIN.replace("raw", "ascii"), " ".join(map(str, VALUES.ravel())).encode())
    assert ItkReader().resident(LayerSource((path,))) == 2 * VALUES.nbytes


@pytest.mark.parametrize("name", ["raw.nrrd", "gzip.nrrd", "raw.mha", "zlib.mha", "raw.nii", "gzip.nii.gz"])
def test_cut_files_are_refused(tmp_path: Path, name: str) -> None:
    """SimpleITK itself reads NIfTI files that were cut short."""
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.integers(0, 999, (20, 30, 40)).astype(np.int16))
    path = tmp_path / name
    sitk.WriteImage(image, str(path), useCompression=not name.startswith("raw"))
    content = path.read_bytes()
    for cut in (len(content) - 1, len(content) * 2 // 3, 400):
        path.write_bytes(content[:cut])
        with pytest.raises(SourceError, match=r"cut short|has no|fewer"):
            read(open_itk(path).array)


@pytest.mark.parametrize("name", ["gzip.nrrd", "zlib.mha", "gzip.nii.gz"])
def test_flipped_bits_in_compressed_voxels_are_found(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(rng.integers(0, 999, (20, 30, 40)).astype(np.int16)), str(path), useCompression=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"damaged|Unable to determine"):
        read(open_itk(path).array)


def test_files_that_cannot_be(tmp_path: Path) -> None:
    cases = {
        "nan.nrrd": (PLAIN + "\nspacings: nan 1 1", "states the voxel size 'nan 1 1'"),
        "zero.nrrd": (PLAIN + "\nspacings: 0 1 1", "states the voxel size '0 1 1'"),
        "directions.nrrd": (PLAIN + "\nspace: LPS\nspace directions: (nan,0,0) (0,1,0) (0,0,1)", "states the voxel size"),
        "empty.nrrd": (PLAIN.replace("4 3 2", "4 0 2"), "at least one voxel"),
        "words.nrrd": (PLAIN.replace("4 3 2", "4 x 2"), "expected whole numbers"),
        "sizes.nrrd": (PLAIN.replace("sizes: 4 3 2\n", ""), "has no 'sizes'"),
        "one.nrrd": ("type: short\ndimension: 1\nsizes: 24\nencoding: raw\nendian: little", "has 1 axes"),
        "skip.nrrd": (PLAIN + "\nbyte skip: many", "header cannot be understood"),
        "steps.nrrd": (PLAIN + "\nspacings: one two three", "header cannot be understood"),
        "type.nrrd": (PLAIN.replace("short", "block\nblock size: 2"), "SimpleITK cannot read it"),
    }
    for name, (fields, message) in cases.items():
        with pytest.raises(SourceError, match=message) as caught:
            open_itk(nrrd(tmp_path / name, fields))
        assert name in str(caught.value)
    for fields in ("ElementSpacing = nan 1 1", "ElementSpacing = 0 1 1", "ElementSpacing = a b c"):
        with pytest.raises(SourceError, match="states the voxel size"):
            open_itk(metaimage(tmp_path / "v.mha", fields))
    (tmp_path / "v.mha").write_text("ObjectType = Image\nNDims = 3\n")
    with pytest.raises(SourceError, match="has no 'DimSize'"):
        open_itk(tmp_path / "v.mha")
    (tmp_path / "big.nrrd").write_bytes(b"NRRD0005\n" + b"# x\n" * 300_000)
    with pytest.raises(SourceError, match="no end of its header"):
        open_itk(tmp_path / "big.nrrd")


def test_nifti_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "v.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3, 2), np.uint8), np.eye(4)), path)
    content = path.read_bytes()
    nan = np.float32(np.nan).tobytes()
    path.write_bytes(content[:280] + nan + content[284:])
    with pytest.raises(SourceError, match="NaN"):
        open_itk(path)
    path.write_bytes(content[:40] + b"\x09\0" + content[42:])
    with pytest.raises(SourceError, match="9 axes"):
        open_itk(path)
    nibabel.save(nibabel.Nifti2Image(np.zeros((4, 3, 2), np.uint8), np.eye(4)), path)
    with pytest.raises(SourceError, match="NIfTI-2"):
        open_itk(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3, 2, 5, 6), np.uint8), np.eye(4)), path)
    with pytest.raises(SourceError, match="5 axes"):
        open_itk(path)
    nibabel.save(nibabel.AnalyzeImage(np.zeros((4, 3, 2), np.uint8), None), tmp_path / "a.img")
    assert "Analyze" in str(ItkReader().sniff(tmp_path / "a.hdr"))


def test_one_file_a_layer(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="one file a layer, got 2"):
        ItkReader().open(LayerSource((tmp_path / "a.nrrd", tmp_path / "b.nrrd")), context("read"))


def test_sniff_by_content_not_by_name(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "v.nrrd", PLAIN)
    assert ItkReader().sniff(path) is None
    shutil.copy(path, tmp_path / "v.nii")
    assert "NIfTI" in str(ItkReader().sniff(tmp_path / "v.nii"))
    shutil.copy(path, tmp_path / "v.mha")
    assert ItkReader().sniff(tmp_path) == "is a folder, expected a file"


def test_units() -> None:
    assert [unit_of(text) for text in ("nm", '"\u00b5m"', "microns", "mm", "pixel")] == ["nm", "um", "um", "mm", None]


def test_itk_messages_are_shortened() -> None:
    text = "Exception thrown in SimpleITK: /x/itkNrrdImageIO.cxx:935:\nITK ERROR: NrrdImageIO(0x563bdb341c10): Read: Error:\n"
    text += "[nrrd] nrrdLoad: trouble reading\n[nrrd] _nrrdEncodingRaw_read: fread got only 180 things"
    assert shorten(text, Path("/a/v.nrrd")) == "fread got only 180 things"
    text = 'Exception: /x/sitkImageReaderBase.cxx:99:\nsitk::ERROR: Unable to determine ImageIO reader for "/a/v.nii"'
    assert shorten(text, Path("/a/v.nii")) == 'Unable to determine ImageIO reader for "v.nii"'
