"""Readers of NumPy files and of bare voxels."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate_core.builtin.readers import NpyReader, RawReader
from curate_core.errors import SourceError
from curate_core.model import LayerSource
from curate_core.structure import Mistakes, structure
from curate_core.testing import context, values


def opened(cls, path, **options):
    return structure(options, cls, path.parent).open(LayerSource((path,)), context())


def save(folder, array, **options):
    path = folder / "a.npy"
    np.save(path, array, **options)
    return path


@pytest.mark.parametrize("dtype", ["bool", "uint8", ">i2", "<u4", "int64", "float16", ">f8", "complex64"])
@pytest.mark.parametrize(("shape", "axes"), [((7,), "x"), ((3, 4), "yx"), ((2, 3, 4), "zyx"), ((2, 3, 4, 3), "zyxc")])
def test_npy_files_are_read_as_they_are(tmp_path, dtype, shape, axes):
    array = values(shape, "float32" if dtype == "complex64" else dtype).astype(dtype)
    image = opened(NpyReader, save(tmp_path, array))
    assert (image.dtype, image.grid.shape, image.grid.axes, image.grid.calibrated) == (np.dtype(dtype), shape, axes, False)
    np.testing.assert_array_equal(image.array, array)
    assert isinstance(image.array, np.memmap)
    assert not image.array.flags.writeable


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_all_versions_and_orders_of_the_format(tmp_path, version, order):
    array = np.array(values((3, 4, 5), "int16"), order=order)
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version, allow_pickle=False)
    np.testing.assert_array_equal(opened(NpyReader, tmp_path / "a.npy").array, array)


def test_axes_and_spacing_as_told(tmp_path):
    path = save(tmp_path, values((2, 3, 4)))
    grid = opened(NpyReader, path, axes="xyz", spacing=[4, 4, 40], unit="nm").grid
    assert (grid.axes, grid.spacing, grid.unit, grid.calibrated) == ("xyz", (4, 4, 40), "nm", True)
    np.testing.assert_array_equal(grid.world([1, 2, 3]), [4, 8, 120])
    grid = opened(NpyReader, path, axes="cyx", spacing=[0.5, 0.25]).grid
    assert (grid.axes, grid.spacing) == ("cyx", (0.5, 0.25))


def test_a_memory_map_holds_no_memory(tmp_path):
    path = save(tmp_path, values((2, 3)))
    assert NpyReader().resident(LayerSource((path,))) == 0
    assert structure({"shape": [2, 3], "dtype": "uint8"}, RawReader, tmp_path).resident(LayerSource((path,))) == 0


def test_sniffing_looks_at_the_first_bytes(tmp_path):
    assert NpyReader().sniff(save(tmp_path, values((2, 3)))) is None
    for content in (b"", b"\x93NUM", b"PK\x03\x04"):
        (tmp_path / "b.npy").write_bytes(content)
        assert NpyReader().sniff(tmp_path / "b.npy") == "it does not start as a .npy file"


def npy_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


WHOLE = npy_bytes(values((4, 5), "uint16"))
BROKEN = [
    (b"", "the file is empty"),
    (b"hello", "this is no .npy file of numbers, or it is cut short: it does not start as a .npy file"),
    (b"\x80\x04K\x01.", "this is no .npy file of numbers, or it is cut short: it does not start as a .npy file"),
    (WHOLE[:-1], "this is no .npy file of numbers, or it is cut short: "),
    (WHOLE[:128], "this is no .npy file of numbers, or it is cut short: "),
    (WHOLE[:50], "this is no .npy file of numbers, or it is cut short: "),
    (WHOLE[:7], "this is no .npy file of numbers, or it is cut short: "),
    (WHOLE.replace(b"(4, 5)", b"(4, x)"), "this is no .npy file of numbers, or it is cut short: "),
    (WHOLE.replace(b"(4, 5)", b"(4,-5)"), "this is no .npy file of numbers, or it is cut short: "),
    (WHOLE.replace(b"<u2", b"<q2"), "this is no .npy file of numbers, or it is cut short: "),
    (WHOLE.replace(b"{'d", b"(((("), "this is no .npy file of numbers, or it is cut short: "),
    (npy_bytes(np.array(["a", "b"])), "only .npy files of numbers or booleans are images"),
    (npy_bytes(np.zeros(3, "M8[s]")), "only .npy files of numbers or booleans are images"),
    (npy_bytes(np.zeros(3, "u1,f4")), "only .npy files of numbers or booleans are images"),
    (npy_bytes(np.zeros((3, 0, 2))), "the array has shape (3, 0, 2), which holds no voxels"),
    (npy_bytes(np.float32(3)), "the array has shape (), which holds no voxels"),
    (npy_bytes(np.zeros((1, 1, 1, 1, 2))), 'the array has 5 axes, of which curate knows no names (name them with "axes")'),
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_broken_npy_files_are_named(tmp_path, number):
    content, message = BROKEN[number]
    path = tmp_path / "broken.npy"
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        opened(NpyReader, path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.filterwarnings("ignore")  # numpy warns of some damages before it refuses them
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 127), st.integers(0, 255), min_size=1, max_size=4))
def test_a_damaged_header_gives_an_image_or_a_source_error(tmp_path, damage):
    content = bytearray(WHOLE)
    for position, byte in damage.items():
        content[position] = byte
    path = tmp_path / "damaged.npy"
    path.write_bytes(content)
    try:
        image = opened(NpyReader, path)
    except SourceError as error:
        image, named = None, str(error).startswith(f"{path}: ")
    assert named if image is None else image.array[...].nbytes <= 40


def test_a_pickle_in_a_npy_file_is_never_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    array = np.empty(1, object)
    array[0] = Evil()
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(SourceError, match="this is no .npy file of numbers"):
        opened(NpyReader, tmp_path / "a.npy")
    assert not (tmp_path / "harm").exists()


def test_an_archive_named_npy_is_no_npy_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npy", "w") as archive:
        archive.writestr("x.npy", WHOLE)
    with pytest.raises(SourceError, match="it does not start as a .npy file"):
        opened(NpyReader, tmp_path / "a.npy")


@pytest.mark.parametrize(("cls", "options"), [(NpyReader, {}), (RawReader, {"shape": [2], "dtype": "u1"})])
def test_missing_files_and_folders_are_named(tmp_path, cls, options):
    with pytest.raises(SourceError, match=rf"^{tmp_path}/gone.npy: the file cannot be read: No such file or directory$"):
        opened(cls, tmp_path / "gone.npy", **options)
    with pytest.raises(SourceError, match=rf"^{tmp_path}: "):
        opened(cls, tmp_path, **options)


@pytest.mark.parametrize(("cls", "options"), [(NpyReader, {}), (RawReader, {"shape": [2], "dtype": "u1"})])
def test_one_file_is_expected(tmp_path, cls, options):
    reader = structure(options, cls, tmp_path)
    with pytest.raises(SourceError, match=r"^/a and 1 more: one file is expected, the layer has 2$"):
        reader.open(LayerSource(("/a", "/b")), context())
    with pytest.raises(SourceError, match=r"^http://x: one file is expected, the layer has 0$"):
        reader.open(LayerSource(uri="http://x"), context())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "yx"}, "the array has 3 axes, not those of 'yx' (name them with \"axes\")"),
        ({"axes": "zzx"}, "axes 'zzx' do not name the 3 axes of shape (2, 3, 4), each once"),
        ({"spacing": [1, 2]}, "2 spacings for the 3 spatial axes of 'zyx'"),
    ],
)
def test_axes_and_spacings_must_fit(tmp_path, options, message):
    path = save(tmp_path, values((2, 3, 4)))
    raw = tmp_path / "a.raw"
    raw.write_bytes(bytes(24))
    for cls, file, more in ((NpyReader, path, {}), (RawReader, raw, {"shape": [2, 3, 4], "dtype": "u1"})):
        with pytest.raises(SourceError) as caught:
            opened(cls, file, **options, **more)
        assert str(caught.value) == f"{file}: {message}"


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i4", ">f4", "float64", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("offset", [0, 13])
def test_bare_voxels(tmp_path, dtype, order, offset):
    array = values((3, 4, 5), dtype)
    path = tmp_path / "a.raw"
    path.write_bytes(b"\xff" * offset + array.tobytes(order))
    image = opened(RawReader, path, shape=[3, 4, 5], dtype=dtype, order=order, offset=offset, spacing=[3, 1, 1], unit="um")
    assert (image.dtype, image.grid.axes, image.grid.spacing, image.grid.unit) == (np.dtype(dtype), "zyx", (3, 1, 1), "um")
    np.testing.assert_array_equal(image.array, array)
    assert not image.array.flags.writeable


def test_bare_voxels_against_numpy_fromfile(tmp_path):
    path = tmp_path / "a.raw"
    values((6, 7), ">i2").tofile(path)
    np.testing.assert_array_equal(opened(RawReader, path, shape=[6, 7], dtype=">i2").array, np.fromfile(path, ">i2").reshape(6, 7))


@pytest.mark.parametrize(("size", "difference"), [(47, "-1"), (49, "+1"), (0, "-48")])
def test_another_size_is_refused_with_numbers(tmp_path, size, difference):
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(size))
    with pytest.raises(SourceError) as caught:
        opened(RawReader, path, shape=[4, 5], dtype=">u2", offset=8)
    assert str(caught.value) == f"{path}: the file has {size} bytes, 4 x 5 voxels of >u2 after 8 bytes are 48 ({difference})"


def test_sizes_beyond_64_bits_do_not_wrap(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(b"")
    with pytest.raises(SourceError, match="the file has 0 bytes"):
        opened(RawReader, path, shape=[2**32, 2**32], dtype="u1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "uint7"}, "dtype: 'uint7' is not the name of a NumPy type"),
        ({"dtype": "U3"}, "dtype: 'U3' is not a type of numbers"),
        ({"dtype": "O"}, "dtype: 'O' is not a type of numbers"),
        ({"dtype": "u1,f4"}, "dtype: 'u1,f4' is not a type of numbers"),
        ({"dtype": ""}, "dtype: '' is not the name of a NumPy type"),
        ({"dtype": ","}, "dtype: ',' is not the name of a NumPy type"),
    ],
)
def test_dtypes_that_are_none(tmp_path, options, message):
    with pytest.raises(Mistakes) as caught:
        structure({"shape": [2], **options}, RawReader, tmp_path)
    assert str(caught.value) == message
