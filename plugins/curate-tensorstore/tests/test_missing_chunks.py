"""How much of a box a volume stores: against chunks that were taken away by hand."""

import pickle

import numpy as np
import pytest
from curate_tensorstore import chunks
from curate_tensorstore.missing import MissingChunks
from curate_tensorstore.reader import TensorStoreReader

import curate_core
from curate_core import Image, LayerSource, StepError
from curate_core.arrays import CropArray, LazyArray, MapArray, absent
from curate_core.cut import cut
from curate_core.grid import Grid
from curate_core.model import Case
from curate_core.rois import RoiTable, View
from curate_core.testing import TransformTests, context

ts = pytest.importorskip("tensorstore")
SHAPE, CHUNK, OFFSET = (20, 33, 45), (8, 16, 16), (3, 20, 10)  # z, y, x


class TestMissingChunks(TransformTests):
    component = MissingChunks


def write(folder, *, sharded=False, holes=()):
    """Precomputed by tensorstore; ``holes`` are chunks (z, y, x) that are not written. Returns (z, y, x) bool: the voxel is stored."""
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1", "hash": "identity", "preshift_bits": 1, "minishard_bits": 1, "shard_bits": 2,
        "minishard_index_encoding": "gzip", "data_encoding": "gzip",
    }  # fmt: skip
    scale = {"resolution": [4, 4, 40], "size": SHAPE[::-1], "voxel_offset": OFFSET[::-1], "chunk_size": CHUNK[::-1], "encoding": "raw"}
    store = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
            "scale_metadata": {**scale, **({"sharding": sharding} if sharded else {})},
        },
        create=True,
    ).result()
    there = np.zeros(SHAPE, bool)
    for index in np.ndindex(*(-(-n // c) for n, c in zip(SHAPE, CHUNK, strict=True))):
        if index not in holes:
            box = tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(index, CHUNK, SHAPE, strict=True))
            there[box] = True
            place = tuple(slice(s.start + o, s.stop + o) for s, o in zip(box, OFFSET, strict=True))
            store[(*place[::-1], 0)] = np.full([s.stop - s.start for s in box[::-1]], 7, np.uint8)
    return there


def layer(place, **options):
    source = LayerSource(uri=place) if isinstance(place, str) else LayerSource(files=(place,))
    return TensorStoreReader(**options).open(source, context())


@pytest.mark.parametrize("missing", ["fill", "error"])
@pytest.mark.parametrize("sharded", [False, True])
def test_the_fraction_of_a_box_that_is_not_stored(tmp_path, sharded, missing):
    there = write(tmp_path / "layer", sharded=sharded, holes=[(0, 0, 1), (1, 2, 0), (2, 2, 2)])
    array = layer(tmp_path / "layer", missing=missing).array
    rng = np.random.default_rng(0)
    found = []
    for _ in range(50):
        corners = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in SHAPE]
        where = tuple(slice(int(a), int(b)) for a, b in corners)
        found.append(absent(array, where))
        assert found[-1] == pytest.approx(1 - there[where].mean())
    assert 0 in found
    assert max(found) > 0.2
    assert absent(array) == pytest.approx(1 - there.mean())
    assert absent(array, (slice(3, 3), slice(0, 5), slice(0, 5))) == 0
    assert absent(pickle.loads(pickle.dumps(array))) == absent(array)


def test_a_process_remembers_so_many_chunks_and_no_more(tmp_path, monkeypatch):
    there = write(tmp_path / "layer", sharded=True, holes=[(0, 0, 1), (1, 2, 0)])
    monkeypatch.setattr(chunks, "KNOWN_CHUNKS", 4)
    array = layer(tmp_path / "layer").array
    assert absent(array) == absent(array) == pytest.approx(1 - there.mean())
    assert len(array._presence._stored) <= 4


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5"])
def test_empty_chunks_of_zarr_and_n5_are_missing_as_well(tmp_path, driver):
    metadata = {
        "zarr": {"shape": [20, 33], "chunks": [8, 16], "dtype": "|u1"},
        "zarr3": {
            "shape": [20, 33], "data_type": "uint8", "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8, 16]}}
        },
        "n5": {"dimensions": [33, 20], "blockSize": [16, 8], "dataType": "uint8", "compression": {"type": "raw"}},
    }[driver]  # fmt: skip
    folder = tmp_path / f"v.{'n5' if driver == 'n5' else 'zarr'}"
    store = ts.open({"driver": driver, "kvstore": {"driver": "file", "path": f"{folder}/"}, "metadata": metadata}, create=True).result()
    (store[:16, :8] if driver == "n5" else store[:8, :16]).write(1).result()
    array = layer(folder).array
    assert array.shape == (20, 33)
    assert absent(array, (slice(0, 8), slice(0, 16))) == 0
    assert absent(array, (slice(4, 12), slice(0, 32))) == pytest.approx(0.75)


def test_what_cannot_be_read_is_not_called_missing(tmp_path):
    write(tmp_path / "layer", sharded=True)
    for shard in (tmp_path / "layer").rglob("*.shard"):
        shard.write_bytes(b"torn")
    with pytest.raises(curate_core.SourceError, match=r"layer, z 0:20, y 0:33, x 0:45: it cannot be read: .*shard"):
        absent(layer(tmp_path / "layer").array)


class Unread(LazyArray):
    """Stores the voxels whose x is at least ``first``; must not be read."""

    def __init__(self, shape, first):
        self.shape, self.dtype, self.first = shape, np.dtype("uint8"), first

    def read_box(self, where):
        raise AssertionError("pixels are not needed")

    def absent(self, where):
        x = np.arange(self.shape[-1])[where[-1]]
        return float((x < self.first).mean())


def batch(**layers):
    """Five sections of 4 x 10 at x = 0, 5, 10, 15, 20, all of them cut by one unnamed view."""
    grid = Grid.from_spacing((3, 4, 30), "zyx")
    case = Case("c", {name: Image(array, grid) for name, array in layers.items()})
    start = np.array([[1, 0, x] for x in (0, 5, 10, 15, 20)])
    table = RoiTable.boxes(start, start + [1, 4, 10], "zyx", drop=np.zeros(5, int))
    return cut(case, table, table.ids("c"), np.arange(5))


def test_the_attribute_is_the_largest_fraction_and_nothing_is_read():
    given = context()
    layers = {"a": Unread((3, 4, 30), 12), "b": Unread((3, 4, 30), 8), "plain": np.zeros((3, 4, 30), np.uint8)}
    after = MissingChunks().apply(batch(**layers), given)
    np.testing.assert_allclose(after.attributes["missing"], [1, 0.7, 0.2, 0, 0])
    assert not given.rejected
    one = MissingChunks(layers=("b",)).apply(batch(**layers), given)
    np.testing.assert_allclose(one.attributes["missing"], [0.8, 0.3, 0, 0, 0])
    views = {"a": CropArray(Unread((5, 9, 40), 22), (1, 2, 10), (4, 6, 40)), "b": MapArray(Unread((3, 4, 30), 8), np.sqrt, "float32")}
    np.testing.assert_allclose(MissingChunks().apply(batch(**views), given).attributes["missing"], [1, 0.7, 0.2, 0, 0])


def test_samples_that_lack_too_much_are_rejected():
    given = context()
    MissingChunks(limit=0.2).apply(batch(a=Unread((3, 4, 30), 12)), given)
    assert given.rejected == {0: "100 % of layer 'a' is missing", 1: "70 % of layer 'a' is missing"}


def test_of_several_views_the_worst_counts():
    grid = Grid.from_spacing((3, 4, 30), "zyx")
    case = Case("c", {"image": Image(Unread((3, 4, 30), 12), grid)})
    here, there = np.array([[0, 0, 20]]), np.array([[1, 0, 8]])
    views = (View(here, here + [1, 4, 10], "zyx", name="src"), View(there, there + [1, 4, 10], "zyx", name="tgt"))
    table = RoiTable(views)
    after = MissingChunks().apply(cut(case, table, table.ids("c"), np.arange(1)), context())
    np.testing.assert_allclose(after.attributes["missing"], [0.4])


def test_a_layer_that_is_not_cut():
    with pytest.raises(StepError, match=r"no image layer 'imgae' is cut \(did you mean 'image'\?\)"):
        MissingChunks(layers=("imgae",)).apply(batch(image=np.zeros((3, 4, 30), np.uint8)), context())


def test_in_a_run(tmp_path):
    there = write(tmp_path / "layer", holes=[(0, 0, 0), (1, 1, 1)])
    spec = {
        "version": 1,
        "name": "cubes",
        "source": {"use": "list", "cases": [{"case": "em", "layers": {"image": {"uri": f"precomputed://file://{tmp_path}/layer"}}}]},
        "read": {"*": {"use": "tensorstore", "missing": "fill"}},
        "rois": [{"use": "grid", "size": 10}],
        "transform": [{"use": "missing-chunks", "limit": 0.5}],
        "write": [{"use": "npy"}],
        "output": "out",
    }
    summary = curate_core.run(spec, folder=tmp_path, workers=1)
    dataset = curate_core.open(tmp_path / "out")
    lacking = {
        (z, y, x): 1 - there[z : z + 10, y : y + 10, x : x + 10].mean() for z in (0, 10) for y in (0, 10, 20) for x in (0, 10, 20, 30)
    }
    expected = {place: part for place, part in lacking.items() if part <= 0.5}
    assert 0 < len(expected) < len(lacking)
    assert summary.written == len(expected)
    found = {tuple(row["views"][""]["start"]): row["attributes"]["missing"] for row in dataset.rows()}
    assert found == pytest.approx(expected)
    reasons = {row["reason"] for row in dataset.quarantined()}
    assert reasons == {f"{100 * part:.4g} % of layer 'image' is missing" for part in lacking.values() if part > 0.5}
