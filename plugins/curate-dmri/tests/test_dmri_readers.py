"""Tractogram readers against nibabel's, on the files that nibabel and dipy carry, and on files of trx-python."""

import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import dipy
import nibabel
import numpy as np
import pytest
from curate_dmri.reader import TractogramReader
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.streamlines import Field, TckFile, Tractogram, TrkFile

from curate_core import LayerSource, SourceError
from curate_core.host import default_host
from curate_core.opening import choose_reader, join
from curate_core.testing import context

NIBABEL = Path(nibabel.__file__).parent / "tests/data"
REAL = [
    *(NIBABEL / f"{name}.trk" for name in ("simple", "standard", "standard.LPS", "complex", "complex_big_endian", "empty")),
    *(NIBABEL / f"{name}.tck" for name in ("simple", "standard", "simple_big_endian", "empty", "multiline_header_field")),
    *(Path(dipy.__file__).parent / "data/files" / name for name in ("tracks300.trk", "EuDX_small_25.trk")),
]
AFFINE = np.array([[-2.0, 0.2, 0, 20], [0.1, 2.5, 0, -15], [0, 0, 3, -30], [0, 0, 0, 1]])
SHAPE = (14, 12, 10)


def reference(folder, affine=AFFINE, shape=SHAPE):
    path = folder / "reference.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine), path)
    return path


def read(path, **options):
    return TractogramReader(**options).open(LayerSource((path,)), context("read"))


def by_nibabel(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nibabel.streamlines.load(path).tractogram


def walks(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [np.cumsum(rng.normal(0, 0.3, (n, 3)), axis=0).astype(np.float32) for n in lengths]


def save_trk(path, streamlines, affine=AFFINE, shape=SHAPE, **data):
    header = {Field.VOXEL_TO_RASMM: affine.astype("f4"), Field.DIMENSIONS: shape, Field.VOXEL_SIZES: np.linalg.norm(affine[:3, :3], axis=0)}
    header[Field.VOXEL_ORDER] = "".join(nibabel.aff2axcodes(affine))
    TrkFile(Tractogram(streamlines, affine_to_rasmm=np.eye(4), **data), header).save(str(path))
    return path


def save_tck(path, streamlines):
    TckFile(Tractogram(streamlines, affine_to_rasmm=np.eye(4))).save(str(path))
    return path


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for i, expected in enumerate(theirs.streamlines):
        np.testing.assert_allclose(ours.streamline(i), expected, rtol=3e-7, atol=3e-5)
    assert set(ours.per_streamline) == set(theirs.data_per_streamline)
    for name, values in theirs.data_per_streamline.items():
        np.testing.assert_array_equal(ours.per_streamline[name], values)
    assert set(ours.per_point) == set(theirs.data_per_point)
    for name, values in theirs.data_per_point.items():
        for i, expected in enumerate(values):
            start = ours.offsets[i]
            np.testing.assert_array_equal(ours.per_point[name][start : start + ours.lengths[i]], expected)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_files_of_other_programs_are_read_as_nibabel_reads_them(path, tmp_path):
    options = {"reference": reference(tmp_path)} if path.suffix == ".tck" else {}
    ours = read(path, **options)
    assert_same(ours, by_nibabel(path))
    assert ours.points.dtype == np.float32
    if path.suffix == ".trk":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = nibabel.streamlines.load(path, lazy_load=True).header
        assert ours.grid.shape == tuple(header[Field.DIMENSIONS])
        np.testing.assert_array_equal(ours.grid.affine, header[Field.VOXEL_TO_RASMM].astype(np.float64))


@pytest.mark.parametrize("name", ["matlab_nan.tck", "no_header_end.tck", "no_header_end_eof.tck", "no_magic_number.tck"])
def test_mrtrix_files_that_are_odd_are_read_as_by_nibabel_or_refused(name, tmp_path):
    try:
        theirs = by_nibabel(NIBABEL / name)
    except Exception:
        with pytest.raises(SourceError, match=name):
            read(NIBABEL / name, reference=reference(tmp_path))
    else:
        assert_same(read(NIBABEL / name, reference=reference(tmp_path)), theirs)


@given(lengths=st.lists(st.integers(1, 9), max_size=8), scalars=st.integers(0, 3), properties=st.integers(0, 3), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_any_trk_that_nibabel_writes_is_read_as_nibabel_reads_it(tmp_path_factory, lengths, scalars, properties, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("trk")
    by_point = {f"s{k}": [rng.normal(size=(n, k + 1)).astype("f4") for n in lengths] for k in range(scalars)}
    by_line = {f"p{k}": rng.normal(size=(len(lengths), k + 1)).astype("f4") for k in range(properties)}
    data = {"data_per_point": by_point, "data_per_streamline": by_line} if lengths else {}
    path = save_trk(folder / "a.trk", walks(lengths, seed), **data)
    assert_same(read(path), by_nibabel(path))


def test_a_streamline_may_have_more_points_than_int16_counts(tmp_path):
    lengths = [40_000, 1, 2]
    path = save_trk(tmp_path / "long.trk", [np.full((n, 3), 0.5, np.float32) for n in lengths])
    lines = read(path)
    assert lines.lengths.tolist() == lengths
    assert lines.offsets.tolist() == [0, 40_000, 40_001]
    assert lines.lengths.dtype == lines.offsets.dtype == np.int64


def test_points_of_mrtrix_files_stay_in_the_file(tmp_path):
    path = save_tck(tmp_path / "a.tck", walks([5, 1, 7]))
    lines = read(path, reference=reference(tmp_path))
    assert isinstance(lines.points, np.memmap)
    assert not lines.points.flags.writeable
    assert_same(lines, by_nibabel(path))


def test_a_number_of_streamlines_that_the_header_does_not_state_is_found(tmp_path):
    path = save_trk(tmp_path / "a.trk", walks([3, 4]))
    content = bytearray(path.read_bytes())
    content[988:992] = struct.pack("<i", 0)
    path.write_bytes(content)
    assert read(path).lengths.tolist() == [3, 4]


@pytest.mark.parametrize("suffix", [".trk", ".tck"])
def test_files_that_are_cut_short_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    (save_trk if suffix == ".trk" else save_tck)(path, walks([30, 40, 50]))
    content = path.read_bytes()
    for size in (len(content) - 4, len(content) - 40, len(content) // 2, 1001 if suffix == ".trk" else 70, 20):
        path.write_bytes(content[:size])
        with pytest.raises(SourceError, match="a.t"):
            read(path, reference=reference(tmp_path))


def test_a_damaged_count_is_no_reason_to_read_beyond_the_file(tmp_path):
    path = save_trk(tmp_path / "a.trk", walks([30, 40]))
    for count in (-1, 2**31 - 1, 2**30):
        content = bytearray(path.read_bytes())
        content[1000:1004] = struct.pack("<i", count)
        other = tmp_path / "b.trk"
        other.write_bytes(content)
        with pytest.raises(SourceError, match="ends within streamline 0 of 2|header that nibabel refuses"):
            read(other)


def test_headers_that_do_not_fit_the_volume_are_refused_and_say_how(tmp_path):
    path = save_trk(tmp_path / "a.trk", walks([3]))
    assert read(path, reference=reference(tmp_path)).grid.shape == SHAPE
    with pytest.raises(SourceError, match="14 x 12 x 10 voxels against 14 x 12 x 11"):
        read(path, reference=reference(tmp_path, shape=(14, 12, 11)))
    moved, scaled = AFFINE.copy(), AFFINE @ np.diag([1, 1, 2, 1])
    moved[0, 3] += 1
    with pytest.raises(SourceError, match="affines differ by up to 1 "):
        read(path, reference=reference(tmp_path, moved))
    with pytest.raises(SourceError, match="voxel size 2.0025 x 2.50799 x 3 mm against 2.0025 x 2.50799 x 6 mm"):
        read(path, reference=reference(tmp_path, scaled))
    nearly = AFFINE.copy()
    nearly[0, 3] += 1e-4
    read(path, reference=reference(tmp_path, nearly))
    with pytest.raises(SourceError, match="affines differ"):
        read(path, reference=reference(tmp_path, nearly), tolerance=1e-6)


def test_mrtrix_files_need_a_reference(tmp_path):
    with pytest.raises(SourceError, match='says nothing of the voxels.*name a volume of the subject with "reference"'):
        read(save_tck(tmp_path / "a.tck", walks([3])))
    with pytest.raises(SourceError, match="the reference volume cannot be read"):
        read(save_tck(tmp_path / "a.tck", walks([3])), reference=tmp_path / "none.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3), np.uint8), np.eye(4)), tmp_path / "flat.nii")
    with pytest.raises(SourceError, match=r"needs three axes, this has the shape \(3, 3"):
        read(save_tck(tmp_path / "a.tck", walks([3])), reference=tmp_path / "flat.nii")


def test_data_per_streamline_are_all_or_those_named(tmp_path):
    data = {"colour": np.ones((2, 3), "f4"), "weight": np.zeros((2, 1), "f4")}
    path = save_trk(tmp_path / "a.trk", walks([3, 4]), data_per_streamline=data)
    assert set(read(path).per_streamline) == {"colour", "weight"}
    assert set(read(path, data_per_streamline=("weight",)).per_streamline) == {"weight"}
    with pytest.raises(SourceError, match="no data per streamline called 'length', only colour, weight"):
        read(path, data_per_streamline=("length",))


def test_a_trackvis_and_an_mrtrix_file_make_one_layer(tmp_path):
    first = save_trk(tmp_path / "a.trk", walks([3, 4]), data_per_point={"fa": [np.ones((n, 1), "f4") for n in (3, 4)]})
    second = save_tck(tmp_path / "b.tck", walks([5, 1, 2], seed=1))
    options = {"reference": reference(tmp_path)}
    joined = join([read(first, **options), read(second, **options)], LayerSource((first, second)))
    assert joined.lengths.tolist() == [3, 4, 5, 1, 2]
    assert joined.per_point == {}
    assert joined.notes["per_point_left_out"] == ["fa"]
    expected = [*by_nibabel(first).streamlines, *by_nibabel(second).streamlines]
    for i, points in enumerate(expected):
        np.testing.assert_allclose(joined.streamline(i), points, rtol=3e-7, atol=1e-5)


def test_empty_tractograms_are_tractograms(tmp_path):
    for path in (save_trk(tmp_path / "a.trk", []), save_tck(tmp_path / "b.tck", [])):
        lines = read(path, reference=reference(tmp_path))
        assert len(lines) == len(lines.offsets) == len(lines.lengths) == 0


def test_readers_are_chosen_by_ending_and_mark(tmp_path):
    host = default_host()
    for path in (save_trk(tmp_path / "a.trk", walks([3])), save_tck(tmp_path / "b.tck", walks([3]))):
        assert choose_reader(host, path).qualified == "curate-dmri:tractogram"
    (tmp_path / "c.trk").write_bytes(b"something else")
    with pytest.raises(SourceError, match="does not begin as a TrackVis file"):
        choose_reader(host, tmp_path / "c.trk")


@pytest.fixture(scope="module")
def trx_files(tmp_path_factory):
    """A .trx of float32 and one of float16, written by trx-python in a process of its own: it leaves temporary folders to its end."""
    folder = tmp_path_factory.mktemp("trx")
    np.save(folder / "points.npy", np.concatenate(walks([4, 1, 9])))
    reference(folder)
    script = """
import sys, numpy as np
from dipy.io.stateful_tractogram import Space, StatefulTractogram
from trx.trx_file_memmap import TrxFile, save
folder = sys.argv[1]
points = np.load(folder + "/points.npy")
lines = [points[:4], points[4:5], points[5:]]
for kind in ("float32", "float16"):
    colour = {"colour": np.arange(9, dtype="f4").reshape(3, 3)}
    sft = StatefulTractogram(lines, folder + "/reference.nii", Space.RASMM, data_per_streamline=colour)
    sft.dtype_dict = {"positions": np.dtype(kind), "offsets": np.dtype("uint32"), "dpv": {}, "dps": {"colour": np.dtype("f4")}}
    save(TrxFile.from_sft(sft), f"{folder}/{kind}.trx")
"""
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_trx_files_are_read_as_trx_python_wrote_them(trx_files, kind):
    ours = read(trx_files / f"{kind}.trx", reference=trx_files / "reference.nii")
    expected = np.load(trx_files / "points.npy").astype(kind).astype(np.float32)
    np.testing.assert_array_equal(ours.points, expected)
    assert (ours.offsets.tolist(), ours.lengths.tolist()) == ([0, 4, 5], [4, 1, 9])
    np.testing.assert_array_equal(ours.per_streamline["colour"], np.arange(9).reshape(3, 3))
    assert isinstance(ours.points, np.memmap) == (kind == "float32")
    assert ours.grid.shape == SHAPE


def test_damaged_trx_files_are_refused(trx_files, tmp_path):
    content = (trx_files / "float32.trx").read_bytes()
    path = tmp_path / "a.trx"
    for size in (0, 30, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:size])
        with pytest.raises(SourceError, match="is no TRX file"):
            read(path)
    with zipfile.ZipFile(trx_files / "float32.trx") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    positions = next(name for name in entries if name.startswith("positions"))
    cases = {"which are no rows of 3 float32": entries[positions][:-4], "its arrays hold something else": entries[positions][:-12]}
    for message, changed in cases.items():
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**entries, positions: changed}.items():
                archive.writestr(name, data)
        with pytest.raises(SourceError, match=message):
            read(path)
