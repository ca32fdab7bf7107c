"""Chunks of a remote volume in a local folder: no second request, and nothing is believed that was not written whole."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from curate_tensorstore import chunks
from curate_tensorstore.kept import KeptChunks
from curate_tensorstore.reader import TensorStoreReader

import curate_core
from curate_core import LayerSource, SourceError
from curate_core.arrays import absent
from curate_core.errors import DiskError
from curate_core.testing import context, values

ALL = {f"{x}_{y}_{z}" for x in ("0-16", "16-32", "32-48") for y in ("0-16", "16-32") for z in ("0-8", "8-16")}


def layer(server, folder, **options):
    """A layer as a process sees it that has just begun: nothing is in its memory."""
    chunks._presence.clear()
    reader = TensorStoreReader(local_cache=folder, cache=0, retries=0, **options)
    return reader.open(LayerSource(uri=f"precomputed://{server.url}/layer"), context()).array


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_was_read_once_is_not_asked_for_again(server, voxels, tmp_path):
    folder = tmp_path / "kept"
    assert np.array_equal(layer(server, folder)[2:6, 3:9, 20:30], voxels[2:6, 3:9, 20:30])
    assert server.chunks() == ["16-32_0-16_0-8"]
    assert len(files(folder)) == 1
    assert np.array_equal(layer(server, folder)[...], voxels)
    assert sorted(server.chunks()) == sorted(ALL - {"16-32_0-16_0-8"})
    again = pickle.loads(pickle.dumps(layer(server, folder)))
    assert np.array_equal(again[...], voxels)
    assert np.array_equal(again[5:11:2, 30, ::-1], voxels[5:11:2, 30, ::-1])
    assert absent(again) == 0
    assert server.chunks() == []
    assert layer(server, folder)[...].dtype == voxels.dtype


def test_nothing_is_kept_unless_asked_for_nor_of_local_layers(server, voxels, tmp_path):
    assert np.array_equal(layer(server, None)[...], voxels)
    reader = TensorStoreReader(local_cache=tmp_path / "kept")
    local = reader.open(LayerSource(uri=f"precomputed://file://{server.folder}/layer"), context())
    assert np.array_equal(local.array[...], voxels)
    assert not (tmp_path / "kept").exists()


def test_layers_do_not_mix(server, voxels, tmp_path):
    """Another layer, level or address has chunks of its own, though their numbers are alike."""
    (server.folder / "layer").rename(server.folder / "first")
    (server.folder / "layer").symlink_to(server.folder / "first")
    assert np.array_equal(layer(server, tmp_path / "kept")[...], voxels)
    server.chunks()
    other = TensorStoreReader(local_cache=tmp_path / "kept", cache=0).open(LayerSource(uri=f"{server.url}/first"), context())
    assert np.array_equal(other.array[...], voxels)
    assert set(server.chunks()) == ALL


def damages():
    def half(path, _):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def flipped(path, _):
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)

    def header(path, _):
        path.write_bytes(path.read_bytes().replace(b'"chunk": [0', b'"chunk": [1', 1))

    def empty(path, _):
        path.write_bytes(b"")

    def of_another(path, other):
        path.write_bytes(other.read_bytes())

    def foreign(path, _):
        path.write_bytes(b"x" * 4096)

    return [half, flipped, header, empty, of_another, foreign]


@pytest.mark.slow
@pytest.mark.parametrize("damage", damages(), ids=lambda damage: damage.__name__)
def test_what_is_torn_damaged_or_foreign_is_read_anew(server, voxels, tmp_path, damage):
    folder = tmp_path / "kept"
    layer(server, folder)[...]
    before = {path: path.read_bytes() for path in files(folder)}
    server.chunks()
    path, other = [p for p, data in before.items() if b'"chunk": [0' in data][:2]
    damage(path, other)
    assert path.read_bytes() != before[path]
    assert np.array_equal(layer(server, folder)[...], voxels)
    assert len(server.chunks()) == 1
    assert {path: path.read_bytes() for path in files(folder)} == before
    assert np.array_equal(layer(server, folder)[...], voxels)
    assert server.chunks() == []


def test_missing_chunks_are_asked_for_by_each_process(server, voxels, tmp_path):
    """Somebody may write them one day."""
    chunk, folder = server.folder / "layer/4_4_40/16-32_0-16_0-8", tmp_path / "kept"
    data = chunk.read_bytes()
    chunk.unlink()
    expected = voxels.copy()
    expected[0:8, 0:16, 16:32] = 0
    array = layer(server, folder, missing="fill")
    assert np.array_equal(array[...], expected)
    assert len(files(folder)) == len(ALL) - 1
    assert set(server.chunks()) == ALL
    assert np.array_equal(array[...], expected)
    assert absent(array) == pytest.approx(1 / len(ALL))
    assert server.chunks() == []
    with pytest.raises(SourceError, match='missing chunks can be filled: "missing": "fill"'):
        layer(server, folder)[...]
    chunk.write_bytes(data)
    assert np.array_equal(layer(server, folder, missing="fill")[...], voxels)


def test_the_fill_value_of_zarr(server, tmp_path):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(str(server.folder / "e.zarr"), shape=(8, 9), chunks=(4, 4), dtype="float32", zarr_format=2, fill_value=7)
    array[:4] = np.nan
    read = TensorStoreReader(local_cache=tmp_path / "kept", cache=0).open(LayerSource(uri=f"zarr://{server.url}/e.zarr"), context()).array
    for _ in range(2):
        np.testing.assert_array_equal(read[...], array[...])
    assert absent(read) == 0.5


def test_chunks_that_compress_are_deflated(tmp_path):
    kept = KeptChunks(tmp_path, "volume")
    labels, noise = np.full((64, 64), 3, ">u8"), values((64, 64), "uint64", "noise")
    for index, array in enumerate((labels, noise)):
        kept.save((index,), array)
        found = kept.load((index,), array.shape, array.dtype)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    assert kept.path((0,)).stat().st_size < 1000
    assert labels.nbytes < kept.path((1,)).stat().st_size < labels.nbytes + 300
    assert kept.load((0,), (64, 64), np.dtype("<u8")) is None
    assert kept.load((0,), (32, 128), labels.dtype) is None
    assert KeptChunks(tmp_path, "other").load((0,), labels.shape, labels.dtype) is None


def save_and_load(folder, times):
    """Writes one chunk again and again, and reads it in between; how often it was not there or wrong."""
    kept, array = KeptChunks(folder, "volume"), np.arange(200_000, dtype=np.int64)
    wrong = 0
    for _ in range(times):
        kept.save((0,), array)
        found = kept.load((0,), array.shape, array.dtype)
        wrong += found is None or not np.array_equal(found, array)
    return wrong


def test_several_processes_share_a_folder(tmp_path):
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        asked = [pool.submit(save_and_load, tmp_path, 20) for _ in range(2)]
        assert [future.result() for future in asked] == [0, 0]
    assert [path.suffix for path in files(tmp_path)] == [".chunk"]


def test_a_folder_that_takes_nothing(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="writing failed: "):
        layer(server, tmp_path / "file" / "kept")[...]


def test_in_runs(server, voxels, tmp_path):
    """Of the second run, which makes all of it anew in processes of its own, the server hears of metadata only."""
    spec = {
        "version": 1,
        "name": "cubes",
        "source": {"use": "list", "cases": [{"case": "em", "layers": {"image": {"uri": f"precomputed://{server.url}/layer"}}}]},
        "read": {"*": {"use": "tensorstore", "local_cache": "kept", "timeout": 60}},
        "rois": [{"use": "grid", "size": 16}],
        "transform": [{"use": "missing-chunks"}],
        "write": [{"use": "npy"}],
    }
    for number, asked in enumerate((ALL, set())):
        summary = curate_core.run({**spec, "output": f"out{number}"}, folder=tmp_path, workers=2)
        assert (summary.written, summary.exit_code) == (6, 0)
        assert set(server.chunks()) == asked
        for row, sample in zip((dataset := curate_core.open(tmp_path / f"out{number}")).rows(), dataset, strict=True):
            (z, y, x), (z1, y1, x1) = row["views"][""]["start"], row["views"][""]["stop"]
            assert np.array_equal(sample["image"], voxels[z:z1, y:y1, x:x1])
    assert len(files(tmp_path / "kept")) == len(ALL)


def test_how_it_is_read_may_change_between_runs(server, tmp_path):
    """What is done stays done; another level, or holes that are filled, are another result."""
    spec = {
        "version": 1,
        "name": "cubes",
        "source": {"use": "list", "cases": [{"case": "em", "layers": {"image": {"uri": f"precomputed://{server.url}/layer"}}}]},
        "rois": [{"use": "grid", "size": 16}],
        "write": [{"use": "npy"}],
        "output": "out",
    }

    def done(**options):
        return curate_core.run({**spec, "read": {"*": {"use": "tensorstore", **options}}}, folder=tmp_path, workers=0).units_done

    assert done() > 0
    assert done(cache=0, concurrency=2, retries=1, timeout=60, local_cache="kept") == 0
    assert done(missing="fill") > 0
