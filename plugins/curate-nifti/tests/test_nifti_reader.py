"""What voxels mean, by nibabel's word, and files that cannot be read."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from curate_nifti.reader import NiftiReader
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core import Image, LayerSource, SourceError, read
from curate_core.testing import context

ROOT = Path(__file__).parents[3]
CARRIED = Path(nibabel.__file__).parent / "tests" / "data"
VALUES = np.arange(60, dtype=np.int16).reshape(5, 4, 3)


def open_nifti(path: Path, **options: Any) -> Image:
    return NiftiReader(**options).open(LayerSource((path,)), context("read"))


def save(path: Path, values: Any = VALUES, image: Any = nibabel.Nifti1Image, **fields: Any) -> Path:
    made = image(values, np.eye(4), dtype=values.dtype)
    made.to_filename(path)
    return change(path, **fields) if fields else path


def change(path: Path, **fields: Any) -> Path:
    """Change fields of a header in place, as no library would."""
    content = path.read_bytes()
    packed = content.startswith(b"\x1f\x8b")
    content = bytearray(gzip.decompress(content) if packed else content)
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)) if packed else bytes(content))
    return path


def truth(path: Path) -> Any:
    """Nibabel's values, axes reversed, those of length one beyond the third left out."""
    array = np.asarray(nibabel.load(path).dataobj)
    array = array.reshape(array.shape[:3] + tuple(n for n in array.shape[3:] if n > 1))
    return array.T


@settings(max_examples=120, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]),
    order=st.sampled_from("<>"),
    scaling=st.sampled_from([(np.nan, np.nan), (0.0, 3.0), (1.0, 0.0), (2.5, -7.0), (1e-3, 0.0), (1.0, -1024.0), (np.inf, 0.0)]),
    suffix=st.sampled_from([".nii", ".nii.gz", ".img"]),
    two=st.booleans(),
    data=st.data(),
)
def test_values_are_nibabels(
    tmp_path_factory: pytest.TempPathFactory, shape: Any, dtype: str, order: str, scaling: Any, suffix: str, two: bool, data: Any
) -> None:
    """Any type, byte order, scaling and box."""
    pair = suffix == ".img"
    image = (nibabel.Nifti2Pair if two else nibabel.Nifti1Pair) if pair else (nibabel.Nifti2Image if two else nibabel.Nifti1Image)
    path = tmp_path_factory.mktemp("values") / f"v{suffix}"
    rng = np.random.default_rng(len(shape))
    values = rng.integers(0, 100, shape).astype(order + dtype)
    made = image(values, np.eye(4), image.header_class(endianness=order), dtype=values.dtype)
    made.to_filename(path)
    target = path.with_suffix(".hdr") if pair else path
    content = target.read_bytes()
    content = bytearray(gzip.decompress(content) if suffix == ".nii.gz" else content)
    size = image.header_class.sizeof_hdr
    header = image.header_class(bytes(content[:size]), check=False)
    header["scl_slope"], header["scl_inter"] = scaling
    content[:size] = header.binaryblock
    target.write_bytes(gzip.compress(bytes(content)) if suffix == ".nii.gz" else bytes(content))

    found = open_nifti(path)
    expected = truth(path)
    scaled = scaling in [(2.5, -7.0), (1e-3, 0.0), (1.0, -1024.0)]
    assert found.array.dtype.isnative
    if not scaled:
        assert found.dtype == np.dtype(dtype)
        assert np.array_equal(read(found.array), expected)
        assert "scaled" not in found.notes
    else:
        assert found.dtype == (np.float32 if dtype in ("u1", "i1", "u2", "i2", "f4") else np.float64)
        assert np.array_equal(read(found.array), np.asarray(expected, np.float64).astype(found.dtype))
        exact = open_nifti(path, scaled="float64")
        assert np.allclose(read(exact.array), expected, rtol=1e-6 if dtype == "f4" else 1e-12, atol=1e-6)
    where = tuple(slice(a, data.draw(st.integers(a + 1, n))) for n in expected.shape for a in [data.draw(st.integers(0, n - 1))])
    assert np.array_equal(read(found.array, where), read(found.array)[where])
    assert np.array_equal(read(open_nifti(path, axes="xyz").array), read(found.array).T)


def test_scaled_values_say_how(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii", scl_slope=0.5, scl_inter=-10)
    found = open_nifti(path)
    assert found.notes["scaled"] == "int16 * 0.5 + -10"
    assert found.dtype == np.float32
    assert open_nifti(path, scaled="float64").dtype == np.float64


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("count", [3, 4])
def test_colours(tmp_path: Path, suffix: str, count: int) -> None:
    fields = [(name, "u1") for name in "RGBA"[:count]]
    values = np.random.default_rng(0).integers(0, 256, (4, 3, 2, count), dtype=np.uint8)
    path = tmp_path / f"v{suffix}"
    nibabel.Nifti1Image(values.view(fields).reshape(4, 3, 2), np.eye(4)).to_filename(path)
    change(path, scl_slope=2, scl_inter=1)  # has no meaning for colours
    found = open_nifti(path)
    assert (found.grid.axes, found.grid.shape, found.dtype) == ("zyxc", (2, 3, 4, count), np.uint8)
    assert np.array_equal(read(found.array), values.transpose(2, 1, 0, 3))
    assert np.array_equal(read(open_nifti(path, axes="xyz").array), values)


@pytest.mark.parametrize("axes", ["zyx", "xyz"])
def test_series_of_vectors(tmp_path: Path, axes: Any) -> None:
    values = np.arange(2 * 3 * 4 * 5 * 6, dtype=np.float32).reshape(2, 3, 4, 5, 6)
    found = open_nifti(save(tmp_path / "v.nii", values), axes=axes)
    assert found.grid.axes == ("tzyxc" if axes == "zyx" else "xyztc")
    assert np.array_equal(read(found.array), values if axes == "xyz" else values.transpose(3, 2, 1, 0, 4))


def test_empty_later_axes_are_left_out(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1, 1, 1)
    found = open_nifti(save(tmp_path / "v.nii", values))
    assert found.grid.axes == "zyx"
    assert np.array_equal(read(found.array), values[..., 0, 0, 0].T)


def test_a_volume_of_one_slice_stays_a_volume(tmp_path: Path) -> None:
    assert open_nifti(save(tmp_path / "v.nii", VALUES[:, :, :1])).grid.shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2, 2), np.complex64), "holds complex numbers, expected real numbers or colours"),
        (np.zeros((2, 2, 2), np.complex128), "holds complex numbers"),
        (np.zeros((2, 2, 2, 1, 1, 3), np.uint8), r"has 6 axes \(2 x 2 x 2 x 1 x 1 x 3\), of which curate has names for 5"),
    ],
)
def test_volumes_that_are_refused(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_nifti(save(tmp_path / "v.nii", values))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"datatype": 1}, "holds single bits"),
        ({"datatype": 1536}, "holds floats of 128 bits"),
        ({"datatype": 4321}, "holds voxels of the unknown type 4321"),
        ({"dim": [9, 1, 1, 1, 1, 1, 1, 1]}, "nibabel refuses|9 axes"),
        ({"dim": [0, 1, 1, 1, 1, 1, 1, 1]}, "says 0 axes, expected 1 to 7"),
        ({"dim": [3, 5, 0, 3, 1, 1, 1, 1]}, "says 5 x 0 x 3 voxels, expected at least 1"),
        ({"dim": [3, 5, -4, 3, 1, 1, 1, 1]}, "says 5 x -4 x 3 voxels"),
        ({"vox_offset": np.nan}, "does not say at which byte its voxels begin"),
        ({"vox_offset": np.inf}, "does not say at which byte its voxels begin"),
        ({"vox_offset": 16}, "has a header that nibabel refuses: vox offset 16 too low"),
        ({"scl_slope": 2, "scl_inter": np.nan}, "has a header that nibabel refuses: Valid slope but invalid intercept"),
    ],
)
def test_headers_that_are_refused(tmp_path: Path, fields: Any, message: str) -> None:
    path = save(tmp_path / "v.nii", **fields)
    with pytest.raises(SourceError, match=message):
        open_nifti(path)


def test_a_vector_of_colours_is_refused(tmp_path: Path) -> None:
    values = np.zeros((2, 2, 2, 1, 3), [(name, "u1") for name in "RGB"])
    path = tmp_path / "v.nii"
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)
    with pytest.raises(SourceError, match="vector of colours"):
        open_nifti(path)


# Damaged files.


def test_truncated(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"holds 100 bytes of voxels, its header announces 120 \(3 x 4 x 5 zyx, int16\)") as caught:
        open_nifti(path)
    assert "cut short" in caught.value.hint


def noisy(path: Path) -> Path:
    return save(path, np.random.default_rng(0).integers(0, 2000, (40, 50, 60)).astype(np.int16))


def test_truncated_gzip_says_what_arrived(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii.gz", np.random.default_rng(0).integers(0, 2000, (100, 100, 200)).astype(np.int16))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match=r"is damaged or cut short: after \d+ of 4000000 bytes of voxels") as caught:
        read(open_nifti(path).array)
    arrived = int(str(caught.value).split(" of 4000000")[0].split()[-1])
    assert 1_000_000 < arrived < 3_000_000


@pytest.mark.parametrize("where", ["middle", "checksum"])
def test_corrupt_gzip(tmp_path: Path, where: str) -> None:
    path = noisy(tmp_path / "v.nii.gz")
    content = bytearray(path.read_bytes())
    at = len(content) // 2 if where == "middle" else len(content) - 6
    content[at] ^= 0x55
    path.write_bytes(bytes(content))
    with pytest.raises(SourceError, match="is damaged or cut short: after .* of 240000 bytes"):
        read(open_nifti(path).array)


def test_a_gzip_that_holds_less_than_its_header_says(tmp_path: Path) -> None:
    path = noisy(tmp_path / "v.nii.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1000]))
    with pytest.raises(SourceError, match="holds 239000 bytes of voxels, its header announces 240000"):
        read(open_nifti(path).array)


def test_a_header_that_announces_the_impossible_costs_nothing(tmp_path: Path) -> None:
    """A header alone can ask for terabytes; deflate makes nothing smaller than a thousandth."""
    path = save(tmp_path / "v.nii.gz", dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    message = r"announces 54000000000000 bytes of voxels .*, more than \d+ compressed bytes can hold"
    with pytest.raises(SourceError, match=message):
        open_nifti(path)
    with pytest.raises(SourceError, match=message):
        NiftiReader().resident(LayerSource((path,)))


def test_a_bomb_behind_the_voxels_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii.gz")
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(gzip.decompress(path.read_bytes()))]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(100)]
    path.write_bytes(b"".join([*parts, packer.flush()])[:-8])  # its end would be an error
    assert np.array_equal(read(open_nifti(path).array), VALUES.T)


def test_two_gzip_members_are_one_stream(tmp_path: Path) -> None:
    path = noisy(tmp_path / "v.nii.gz")
    expected = truth(path)
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    assert np.array_equal(read(open_nifti(path).array), expected)


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    plain = save(tmp_path / "v.nii")
    expected = truth(plain)
    named = tmp_path / "w.nii.gz"
    named.write_bytes(plain.read_bytes())
    packed = tmp_path / "x.nii"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path, held in ((named, 0), (packed, 120)):
        assert np.array_equal(read(open_nifti(path).array), expected)
        assert NiftiReader().resident(LayerSource((path,))) == held


def test_memory_of_compressed_volumes(tmp_path: Path) -> None:
    assert NiftiReader().resident(LayerSource((noisy(tmp_path / "v.nii.gz"),))) == 240000
    assert NiftiReader().resident(LayerSource((noisy(tmp_path / "v.nii"),))) == 0


# Pairs.


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_pairs(tmp_path: Path, ending: str) -> None:
    nibabel.Nifti1Pair(VALUES, np.eye(4)).to_filename(tmp_path / f"v.img{ending}")
    header, voxels = tmp_path / f"v.hdr{ending}", tmp_path / f"v.img{ending}"
    for path, other in ((header, voxels), (voxels, header)):
        assert NiftiReader().sniff(path) is None
        assert np.array_equal(read(open_nifti(path).array), VALUES.T)
        assert NiftiReader().companions(path) == (other,)
    assert NiftiReader().companions(save(tmp_path / "single.nii")) == ()


def test_pairs_of_a_plain_header_and_packed_voxels(tmp_path: Path) -> None:
    nibabel.Nifti1Pair(VALUES, np.eye(4)).to_filename(tmp_path / "v.img")
    (tmp_path / "v.img.gz").write_bytes(gzip.compress((tmp_path / "v.img").read_bytes()))
    (tmp_path / "v.img").unlink()
    for name in ("v.hdr", "v.img.gz"):
        assert np.array_equal(read(open_nifti(tmp_path / name).array), VALUES.T)


def test_half_a_pair(tmp_path: Path) -> None:
    nibabel.Nifti1Pair(VALUES, np.eye(4)).to_filename(tmp_path / "v.img")
    (tmp_path / "v.img").unlink()
    with pytest.raises(SourceError, match=r"its voxels v\.img are not there"):
        open_nifti(tmp_path / "v.hdr")
    nibabel.Nifti1Pair(VALUES, np.eye(4)).to_filename(tmp_path / "w.img")
    (tmp_path / "w.hdr").unlink()
    with pytest.raises(SourceError, match=r"its header w\.hdr is not there"):
        open_nifti(tmp_path / "w.img")
    assert NiftiReader().sniff(tmp_path / "w.img") == "its header w.hdr is not there"


# What sniffing says.


def test_what_sniff_refuses(tmp_path: Path) -> None:
    reader = NiftiReader()
    assert reader.sniff(tmp_path) == "is a folder, expected a file"
    path = tmp_path / "v.nii"
    path.write_bytes(b"short")
    assert reader.sniff(path) == "has 5 bytes, fewer than the 348 of a NIfTI header"
    path.write_bytes(bytes(400))
    assert reader.sniff(path) == "does not begin with the size of a NIfTI header (348 or 540)"
    save(path, image=nibabel.Nifti2Image)
    path.write_bytes(path.read_bytes()[:400])
    assert reader.sniff(path) == "has 400 bytes, fewer than the 540 of its NIfTI-2 header"
    path.write_bytes(b"\x1f\x8b" + bytes(400))
    assert "is compressed and damaged from its beginning" in str(reader.sniff(path))


def test_one_file_a_layer(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii")
    with pytest.raises(SourceError, match="reads one file a layer, got 2"):
        NiftiReader().open(LayerSource((path, path)), context("read"))


# Real files.


@pytest.mark.parametrize(
    "name",
    [
        "anatomical.nii", "functional.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "reoriented_anat_moved.nii",
        "resampled_anat_moved.nii", "standard.nii.gz",
    ],
)  # fmt: skip
def test_files_that_nibabel_carries(name: str) -> None:
    path = CARRIED / name
    if not path.exists():
        pytest.skip("this nibabel carries no test data")
    image = nibabel.load(path)
    found = open_nifti(path, axes="xyz", scaled="float64")
    assert np.array_equal(found.grid.affine, image.affine)  # type: ignore[attr-defined]
    assert np.array_equal(read(found.array), np.asarray(image.dataobj), equal_nan=True)  # type: ignore[attr-defined]


def test_analyze_and_cifti_are_refused() -> None:
    if not (CARRIED / "analyze.hdr").exists():
        pytest.skip("this nibabel carries no test data")
    with pytest.raises(SourceError, match=r"has no NIfTI mark at byte 344 \(Analyze"):
        open_nifti(CARRIED / "analyze.hdr")
    with pytest.raises(SourceError, match="has 6 axes"):
        open_nifti(CARRIED / "row_major.dconn.nii")


def test_the_brain_of_the_repository() -> None:
    path = ROOT / "specs" / "data" / "mni152_t1.nii.gz"
    if not path.exists():
        pytest.skip("not in a checkout")
    image = nibabel.load(path)
    found = open_nifti(path)
    assert np.array_equal(read(found.array), np.asarray(image.dataobj).T)  # type: ignore[attr-defined]
    assert np.array_equal(found.grid.affine, image.affine[:, [2, 1, 0, 3]])  # type: ignore[attr-defined]


def test_layers_of_a_run_can_be_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are opened when voxels are wanted: a change of folder in between does no harm to absolute paths."""
    path = save(tmp_path / "v.nii.gz")
    image = open_nifti(path)
    monkeypatch.chdir(os.sep)
    assert np.array_equal(read(image.array), VALUES.T)
