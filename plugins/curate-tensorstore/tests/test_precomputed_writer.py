"""Sections that others read: every value through TensorStore and cloud-volume."""

import json

import numpy as np
import pytest
from curate_tensorstore.precomputed import PrecomputedWriter
from curate_tensorstore.reader import TensorStoreReader

import curate_core
from curate_core import Image, LayerSource, Piece, RequestError, StepError
from curate_core.arrays import absent
from curate_core.grid import Grid
from curate_core.testing import WriterTests, context, make_batch, values

ts = pytest.importorskip("tensorstore")


class Sections(WriterTests):
    component = PrecomputedWriter
    dtypes = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")
    spacing = (5, 4)

    def batch(self, dtype=None, *, count=3, first=0, case="case"):
        shape = (count, *self.shape)
        made = {name: values(shape, dtype or self.dtypes[0], (name, first, case)) for name in self.arrays}
        return make_batch(made, self.axes, self.spacing, id=case, first=first, attributes={"pair": np.arange(first, first + count)})

    def test_files_have_a_suffix(self):
        """Chunks are named by their bounds: the format says so."""

    def test_paths_agree_with_the_files(self, tmp_path):
        """Paths stand for the sections of a sample, whose files tell their size as well."""
        batch = self.batch()
        assert self.writer().paths(batch) == [f"layer.precomputed/pair {k}" for k in range(3)]
        (written,) = self.write(tmp_path / "part", batch)
        files = {placement.file for sample in written.places for placement in sample.values()}
        assert len(files) == 3 * len(self.arrays)


class TestImages(Sections):
    pass


class TestPairs(Sections):
    arrays = ("src.image", "tgt.image")


class TestFields(Sections):
    axes, shape = "cyx", (2, 7, 11)


class TestChannelsLast(Sections):
    axes, shape = "yxc", (7, 11, 3)


def write(tmp_path, batch, **options):
    """The layer's folder: its sections, and the info."""
    writer = PrecomputedWriter(**options)
    with writer.open(tmp_path, context("write")) as session:
        places = session.write(batch)
    pieces = [
        Piece(tmp_path / p.file, p.place, batch.ids[row], name, batch.case.id, {})
        for row, sample in enumerate(places)
        for name, p in sample.items()
    ]
    writer.make_index(tmp_path / writer.index(), pieces)
    return tmp_path / writer.path


def by_tensorstore(folder):
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{folder}/"}, "fill_missing_data_reads": False}
    return ts.open(spec, read=True).result()


def test_pairs_are_neighbouring_sections_and_dropped_samples_leave_gaps(tmp_path):
    """As cloud-volume and TensorStore see them, in x, y, z, channel."""
    cloudvolume = pytest.importorskip("cloudvolume")
    arrays = {name: values((3, 5, 9), "uint16", name) for name in ("src", "tgt")}
    batch = make_batch(arrays, "yx", (8, 4), attributes={"pair": np.array([4, 0, 2])})
    folder = write(tmp_path, batch, arrays=("src", "tgt"), path="deep/images")
    store = by_tensorstore(folder)
    volume = cloudvolume.CloudVolume(f"file://{folder}", progress=False)
    assert store.domain.shape == (9, 5, 10, 1)
    assert tuple(volume.shape) == (9, 5, 10, 1)
    for row, number in enumerate([4, 0, 2]):
        for i, name in enumerate(("src", "tgt")):
            z = 2 * number + i
            expected = arrays[name][row].T
            np.testing.assert_array_equal(store[:, :, z, 0].read().result(), expected)
            np.testing.assert_array_equal(np.asarray(volume[:, :, z])[:, :, 0, 0], expected)
    for z in (2, 3, 6, 7):
        with pytest.raises(ValueError, match="is missing"):
            store[:, :, z].read().result()
        with pytest.raises(cloudvolume.exceptions.EmptyVolumeException):
            volume[:, :, z]


def test_fields_have_channels(tmp_path):
    cloudvolume = pytest.importorskip("cloudvolume")
    field = values((2, 2, 5, 9), "float32", "field")
    folder = write(tmp_path, make_batch({"field": field}, "cyx", attributes={"n": np.array([0, 1])}), number="n")
    store = by_tensorstore(folder)
    volume = cloudvolume.CloudVolume(f"file://{folder}", progress=False)
    for k in (0, 1):
        np.testing.assert_array_equal(store[:, :, k, :].read().result(), field[k].transpose(2, 1, 0))
        np.testing.assert_array_equal(np.asarray(volume[:, :, k])[:, :, 0], field[k].transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("spacing", "unit", "options", "key", "resolution"),
    [
        ((40, 256, 256), "nm", {}, "256_256_40", [256, 256, 40]),
        ((0.04, 0.005, 0.0045), "um", {}, "4.5_5_40", [4.5, 5, 40]),
        ((0.001, 0.001, 0.001), "mm", {}, "1000_1000_1000", [1000, 1000, 1000]),
        ((40, 4, 4), "nm", {"thickness": 45.5}, "4_4_45.5", [4, 4, 45.5]),
        (None, "", {}, "1_1_1", [1, 1, 1]),
    ],
)
def test_the_resolution_is_in_nanometres(tmp_path, spacing, unit, options, key, resolution):
    """In x, y, z; the spacing along z is that of the layer that the section was cut from."""
    from curate_core.cut import cut
    from curate_core.model import Case
    from curate_core.rois import RoiTable

    voxels = values((3, 5, 9), "uint8", "layer")
    case = Case("c", {"image": Image(voxels, Grid.from_spacing(voxels.shape, "zyx", spacing, unit))})
    table = RoiTable.boxes([[1, 0, 0]], [[2, 5, 9]], "zyx", drop=[0], attributes={"pair": np.array([0])})
    folder = write(tmp_path, cut(case, table, table.ids("c"), np.arange(1)), **options)
    [scale] = json.loads((folder / "info").read_text())["scales"]
    assert (scale["key"], scale["resolution"]) == (key, resolution)
    np.testing.assert_array_equal(by_tensorstore(folder)[:, :, 0, 0].read().result(), voxels[1].T)


def spec(tmp_path, numbers, **writer):
    """Tiles of two sections of 8 x 12, each with a number; ``numbers`` lists (case, pair)."""
    for case in sorted({case for case, _ in numbers}):
        np.save(tmp_path / f"{case}.npy", values((8, 12), "uint8", case), allow_pickle=False)
    lines, seen = [], {}
    for case, pair in numbers:
        y, x = divmod(seen.setdefault(case, 0), 2)
        seen[case] += 1
        start = [4 * y, 6 * x]
        box = {"case": case, "axes": "yx", "start": start, "stop": [start[0] + 4, start[1] + 6], "attributes": {"pair": pair}}
        lines.append(json.dumps(box))
    (tmp_path / "rois.jsonl").write_text("\n".join(lines) + "\n")
    return {
        "version": 1,
        "name": "sections",
        "source": {"use": "files", "pattern": "{case}.npy"},
        "read": {"*": {"use": "npy", "spacing": [5, 4], "unit": "nm"}},
        "rois": [{"use": "list", "file": "rois.jsonl"}],
        "write": [{"use": "precomputed", "thickness": 40, **writer}],
        "output": "out",
    }


def test_in_a_run(tmp_path):
    """Cases share the layer; with workers and without, the bytes are the same, and the dataset reads itself."""
    numbers = [("a", 5), ("a", 0), ("b", 2), ("b", 3)]
    made = spec(tmp_path, numbers)
    summary = curate_core.run(made, folder=tmp_path, workers=2)
    assert (summary.written, summary.exit_code) == (4, 0)
    dataset = curate_core.open(tmp_path / "out")
    assert dataset.verify() == []
    store = by_tensorstore(tmp_path / "out/layer.precomputed")
    assert store.domain.shape == (6, 4, 6, 1)
    seen = {}
    for row, sample in zip(dataset.rows(), dataset, strict=True):
        pair = row["attributes"]["pair"]
        y, x = row["views"][""]["start"]
        expected = values((8, 12), "uint8", row["case"])[y : y + 4, x : x + 6]
        np.testing.assert_array_equal(sample["image"], expected)
        np.testing.assert_array_equal(store[:, :, pair, 0].read().result(), expected.T)
        seen[pair] = row["id"]
    assert sorted(seen) == [0, 2, 3, 5]
    image = TensorStoreReader().open(LayerSource(files=(tmp_path / "out/layer.precomputed",)), context())
    assert image.grid.spacing == (40, 5, 4)
    assert absent(image.array) == pytest.approx(2 / 6)
    curate_core.run({**made, "output": "alone"}, folder=tmp_path, workers=0)
    for file in sorted((tmp_path / "out/layer.precomputed").rglob("*")):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "alone" / file.relative_to(tmp_path / "out")).read_bytes()


def test_a_later_run_with_other_samples_changes_the_layer(tmp_path):
    curate_core.run(spec(tmp_path, [("a", 5), ("a", 0), ("b", 2)]), folder=tmp_path, workers=0)
    curate_core.run(spec(tmp_path, [("a", 3), ("a", 0), ("b", 2)]), folder=tmp_path, workers=0)
    layer = tmp_path / "out/layer.precomputed"
    assert json.loads((layer / "info").read_text())["scales"][0]["size"] == [6, 4, 4]
    assert sorted(path.name for path in (layer / "4_5_40").iterdir()) == ["0-6_0-4_0-1", "0-6_0-4_2-3", "0-6_0-4_3-4"]
    assert curate_core.open(tmp_path / "out").verify() == []


def test_samples_of_one_number_are_refused(tmp_path):
    with pytest.raises(RequestError, match=r"two samples would be written to layer.precomputed/pair 3: .*b"):
        curate_core.run(spec(tmp_path, [("a", 3), ("b", 3)]), folder=tmp_path, workers=0)


def test_what_is_no_number(tmp_path):
    writer = PrecomputedWriter()
    for column, told in ((np.array([-1]), "it is -1"), (np.array(["3"]), "it is '3'"), (np.array([True]), "it is True")):
        batch = make_batch({"image": np.zeros((1, 4, 4), np.uint8)}, "yx", attributes={"pair": column})
        with pytest.raises(StepError, match=f"the attribute 'pair' must be a whole number from 0 on, {told}"):
            writer.paths(batch)
    batch = make_batch({"image": np.zeros((1, 4, 4), np.uint8)}, "yx")
    with pytest.raises(StepError, match=r'there is none \("number" names the attribute that orders the samples\)'):
        write(tmp_path, batch)


@pytest.mark.parametrize(
    ("arrays", "axes", "message"),
    [
        ({"image": np.zeros((1, 3, 4, 4), np.uint8)}, "zyx", "array 'image' has the axes 'zyx', sections have y, x and at most one more"),
        ({"image": np.zeros((1, 4, 4), np.uint8)}, "zx", "array 'image' has the axes 'zx'"),
        ({"image": np.zeros((1, 4, 4), np.float64)}, "yx", "array 'image' holds float64, the format knows uint8, int8"),
        (
            {"image": np.zeros((1, 4, 4), np.uint8), "mask": np.zeros((1, 4, 4), np.uint16)},
            "yx",
            "array 'mask' is 4 x 4 voxels of 1 x uint16 at 1 x 1 x 1 nm, 'image' is 4 x 4 voxels of 1 x uint8 at 1 x 1 x 1 nm",
        ),
    ],
)
def test_what_is_no_section(tmp_path, arrays, axes, message):
    with pytest.raises(StepError, match=message):
        write(tmp_path, make_batch(arrays, axes, attributes={"pair": np.array([0])}))


def test_samples_of_two_sizes_are_no_layer(tmp_path):
    writer, pieces = PrecomputedWriter(), []
    for number, size in enumerate((4, 5)):
        batch = make_batch({"image": np.zeros((1, size, 4), np.uint8)}, "yx", attributes={"pair": np.array([number])}, first=number)
        with writer.open(tmp_path / str(size), context("write")) as session:
            [sample] = session.write(batch)
        pieces.append(Piece(tmp_path / sample["image"].file, sample["image"].place, batch.ids[0], "image", "case", {}))
    with pytest.raises(StepError, match=r"is 4 x 4 voxels of 1 x uint8 .* is 4 x 5 voxels .*; a layer has sections of one kind"):
        writer.make_index(tmp_path / "info", pieces)


def test_a_dataset_without_samples_has_a_layer_without_scales(tmp_path):
    PrecomputedWriter().make_index(tmp_path / "info", [])
    assert json.loads((tmp_path / "info").read_text())["scales"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "{case}.precomputed"}, "path: '{case}.precomputed' must be a plain path: all samples of a dataset go into one layer"),
        ({"path": "../x"}, "path: "),
        ({"arrays": ("a", "a")}, r"arrays: \['a', 'a'\] names one twice"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        PrecomputedWriter(**options)
