"""Curated datasets as sources: filtered again, rewritten, joined."""

import numpy as np
import pytest

import curate_core
from curate_core.builtin.from_dataset import DatasetSource, SampleRois, SamplesReader
from curate_core.errors import RequestError, SourceError, StepError
from curate_core.model import Case, LayerSource
from curate_core.runner import run
from curate_core.structure import structure
from curate_core.testing import RoiFinderTests, SourceTests, context, make_case, values

GRID = {"use": "grid", "size": 8, "planes": ["xy"]}


class Bench:
    """Volumes, and datasets made of them."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "data").mkdir()
        for number, name in enumerate(("s2", "s10", "s1")):
            self.add(name, values((3, 16, 24), "uint16", number))

    def add(self, name, array):
        np.save(self.folder / "data" / f"{name}.npy", array)

    def volume(self, case):
        return np.load(self.folder / "data" / f"{case}.npy", allow_pickle=False)

    def make(self, output, **changes):
        spec = {
            "version": 1,
            "name": output,
            "source": {"use": "files", "pattern": "data/{case}.npy"},
            "rois": [GRID],
            "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
            "output": output,
            "engine": {"use": "local", "workers": 0},
            **changes,
        }
        summary = run(spec, folder=self.folder)
        assert summary.quarantined_cases == summary.quarantined_samples == 0, list(self.open(output).quarantined())
        assert self.open(output).verify() == []
        return summary

    def again(self, output, path="one", **changes):
        given = {"source": {"use": "dataset", "path": path}, "read": {"*": {"use": "samples"}}, "rois": [{"use": "samples"}], **changes}
        return self.make(output, **given)

    def open(self, output):
        return curate_core.open(self.folder / output)

    def rows(self, output):
        return list(self.open(output).rows())

    def arrays(self, output):
        return [sample["image"] for sample in self.open(output)]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def small_dataset(folder):
    """Three cases of nine patches in ``folder/out``; volumes are left beside it."""
    bench = Bench(folder)
    bench.make("out", write=[{"use": "npy", "path": "{case}/{roi}.npy"}])
    return folder / "out"


class TestDatasetSource(SourceTests):
    component = DatasetSource
    cases = ("s1", "s2", "s10")

    def make_files(self, folder):
        return {"path": str(small_dataset(folder))}


class TestSampleRois(RoiFinderTests):
    component = SampleRois
    reads_pixels = False

    @pytest.fixture(autouse=True)
    def _dataset(self, tmp_path):
        self.dataset = small_dataset(tmp_path)

    def case(self):
        (found, *_) = DatasetSource(path=self.dataset).find()
        layer = found.layers["image"]
        image = structure(dict(layer.options), SamplesReader, self.dataset).open(layer, context())
        return Case(found.id, {"image": image}, found.attributes)

    def test_reads_pixels_only_if_it_says_so(self):
        pytest.skip("its layer is a dataset, which an array that refuses is not")


def box_of(row):
    """The corners in the id of a sample that the grid found."""
    return tuple(slice(*map(int, part.split("-"))) for part in row["id"].partition(":")[2].split(","))


def test_a_rewritten_dataset_is_the_same_samples(bench):
    bench.make("one")
    summary = bench.again("two")
    assert summary.written == summary.found == 3 * 3 * 2 * 3
    assert [row["id"] for row in bench.rows("two")] == [row["id"] for row in bench.rows("one")]
    for row, array in zip(bench.rows("two"), bench.arrays("two"), strict=True):
        np.testing.assert_array_equal(array, bench.volume(row["case"])[box_of(row)][0])
    for old, new in zip(bench.rows("one"), bench.rows("two"), strict=True):
        assert old["sha256"] == new["sha256"]
        assert new["attributes"].items() >= {"plane": "xy", "index": old["attributes"]["index"], "dataset": "one", "group": "one"}.items()


def test_files_become_a_stack_and_a_stack_files(bench):
    bench.make("one")
    bench.again("stacked", write=[{"use": "npy", "path": "all.npy", "stack": True}])
    stack = np.load(bench.folder / "stacked/all.npy", allow_pickle=False)
    np.testing.assert_array_equal(stack, bench.arrays("one"))
    bench.again("files", "stacked", write=[{"use": "npy", "path": "{case}/{sample}.npy"}])
    np.testing.assert_array_equal(bench.arrays("files"), stack)
    assert [row["id"] for row in bench.rows("files")] == [row["id"] for row in bench.rows("one")]


def test_filtering_again_is_filtering_at_once(bench):
    for case in ("s1", "s2", "s10"):
        volume = bench.volume(case) // 8
        volume[1, :8] = 7  # blank tiles
        bench.add(case, volume)
    intensity = {"use": "intensity", "min_std": 5}
    bench.make("one")
    summary = bench.again("two", filter=[intensity])
    bench.make("at-once", filter=[intensity])
    assert summary.dropped == {"intensity": 9}
    assert [row["id"] for row in bench.rows("two")] == [row["id"] for row in bench.rows("at-once")]
    np.testing.assert_array_equal(bench.arrays("two"), bench.arrays("at-once"))
    assert sorted(row["id"] for row in bench.open("two").dropped()) == sorted(row["id"] for row in bench.open("at-once").dropped())
    scores = {row["id"]: row["scores"]["intensity"] for row in bench.rows("two")}
    bench.again("three", "two")
    assert {row["id"]: row["attributes"]["score_intensity"] for row in bench.rows("three")} == scores


def test_samples_of_several_sizes_keep_their_sizes(bench):
    bench.make("one", rois=[{**GRID, "size": [10, 9], "edge": "short"}])
    shapes = {tuple(row["arrays"]["image"]["shape"]) for row in bench.rows("one")}
    assert shapes == {(10, 9), (6, 9), (10, 6), (6, 6)}
    bench.again("two")
    for one, two in zip(bench.arrays("one"), bench.arrays("two"), strict=True):
        np.testing.assert_array_equal(one, two)


def test_samples_of_3d_and_of_many_dtypes(bench):
    bench.make("one", rois=[{"use": "grid", "size": [2, 8, 8]}], transform=[{"use": "normalize"}])
    bench.again("two")
    assert {array.dtype for array in bench.arrays("two")} == {np.dtype("float32")}
    for one, two in zip(bench.arrays("one"), bench.arrays("two"), strict=True):
        np.testing.assert_array_equal(one, two)


def test_colour_volumes(bench):
    for case in ("s1", "s2", "s10"):
        bench.add(case, values((2, 8, 8, 3), "uint8"))
    bench.make("one", rois=[{"use": "grid", "size": [2, 4, 4]}])
    bench.again("two")
    assert bench.arrays("two")[0].shape == (2, 4, 4, 3)
    np.testing.assert_array_equal(bench.arrays("two"), bench.arrays("one"))


def test_several_datasets_become_one(bench):
    bench.make("one")
    for name in ("s2", "s10"):
        (bench.folder / "data" / f"{name}.npy").unlink()
    bench.add("s1", values((2, 8, 8), "uint16", 9))
    bench.make("two")
    bench.again("both", ["one", "two"])
    rows = bench.rows("both")
    assert {row["case"] for row in rows} == {"one/s1", "one/s2", "one/s10", "two/s1"}
    old = {row["id"]: row for row in rows}
    for name in ("one", "two"):
        for row, array in zip(bench.rows(name), bench.arrays(name), strict=True):
            assert row["sha256"] == old[f"{name}/{row['id']}"]["sha256"], row
            assert array.dtype == np.uint16
    assert {row["attributes"]["dataset"] for row in rows} == {"one", "two"}
    assert len(rows) == len(bench.rows("one")) + len(bench.rows("two"))


def test_limits_over_a_group_span_the_cases_of_a_dataset(bench):
    bench.make("one")
    bench.make("two")
    bench.again("both", ["one", "two"], filter=[{"use": "limit", "count": 5, "within": {"attribute": "group"}}])
    groups = [row["attributes"]["group"] for row in bench.rows("both")]
    assert (groups.count("one"), groups.count("two")) == (5, 5)


def test_several_arrays_and_a_choice_of_them(bench):
    for case in ("s1", "s2", "s10"):
        array = bench.volume(case)
        (bench.folder / "pairs" / case).mkdir(parents=True)
        np.save(bench.folder / "pairs" / case / "a.npy", array)
        np.save(bench.folder / "pairs" / case / "b.npy", (array > 9000).astype("uint8"))
    source = {"use": "files", "pattern": "pairs/{case}/{layer}.npy"}
    write = [{"use": "npy", "path": "{case}/{array}/{roi}.npy"}]
    bench.make("one", source=source, write=write)
    bench.again("two", write=write)
    for old, new in zip(bench.rows("one"), bench.rows("two"), strict=True):
        assert old["sha256"] == new["sha256"]
        assert list(new["sha256"]) == ["a", "b"]
    bench.again("only-b", source={"use": "dataset", "path": "one", "arrays": ["b"]})
    for old, new in zip(bench.rows("one"), bench.rows("only-b"), strict=True):
        assert new["sha256"] == {"b": old["sha256"]["b"]}
    with pytest.raises(RequestError, match=r"one: not every sample of case s\d+ has the array 'c' \(it has a, b\)"):
        bench.again("no", source={"use": "dataset", "path": "one", "arrays": ["c"]})


def test_attributes_of_rois_come_along_where_columns_hold_them(bench):
    bench.make("one", filter=[{"use": "limit", "count": 4}])
    bench.again(
        "two", filter=[{"use": "limit", "count": 3, "within": "dataset"}], write=[{"use": "npy", "path": "{plane}/{index}/{id}.npy"}]
    )
    rows = bench.rows("two")
    assert len(rows) == 3
    for row in rows:
        assert row["attributes"]["index"] == box_of(row)[0].start
        assert row["arrays"]["image"]["file"].startswith(f"xy/{row['attributes']['index']}/")


def test_nothing_runs_again_until_the_first_dataset_changes(bench):
    bench.make("one")
    bench.again("two")
    assert bench.again("two").units_done == 0
    bench.make("one", filter=[{"use": "limit", "count": 2}])
    summary = bench.again("two")
    assert (summary.written, summary.units_done) == (6, 6)
    bench.add("s1", values((3, 16, 24), "uint16", 77))
    bench.make("one", filter=[{"use": "limit", "count": 2}])
    assert bench.again("two").units_done > 0
    for row, array in zip(bench.rows("two"), bench.arrays("two"), strict=True):
        np.testing.assert_array_equal(array, bench.volume(row["case"])[box_of(row)][0])


def test_workers_read_datasets_too(bench):
    bench.make("one")
    bench.again("two")
    bench.again("three", engine={"use": "local", "workers": 2})
    assert [row["sha256"] for row in bench.rows("two")] == [row["sha256"] for row in bench.rows("three")]


def test_a_folder_that_is_no_dataset_is_named(bench):
    with pytest.raises(RequestError, match=rf"{bench.folder}/data: there is no curated dataset here"):
        bench.again("two", "data")


def test_datasets_of_one_folder_name_cannot_be_told_apart(bench):
    bench.make("a/one")
    bench.make("b/one")
    with pytest.raises(RequestError, match="two cases are called 'one/s1'"):
        bench.again("both", ["a/one", "b/one"])


def test_samples_of_several_dtypes_make_no_stack(bench):
    bench.make("one", write=[
        {"use": "npy", "path": "{case}/{roi}.npy", "when": {"index": [0]}},
        {"use": "npy", "path": "{case}/f{roi}.npy", "dtype": "float32", "when": {"index": [1, 2]}},
    ])  # fmt: skip
    reader = structure({"dataset": "one", "case": "s1", "array": "image"}, SamplesReader, bench.folder)
    with pytest.raises(SourceError) as caught:
        reader.open(LayerSource(uri="one/s1"), context())
    assert str(caught.value) == (
        "one/s1: samples with dtypes ['<f4', '<u2'] and [2] axes make no stack: one of each is needed, and at most 4 axes"
    )


def test_a_case_that_the_dataset_has_not_is_named(bench):
    bench.make("one")
    reader = structure({"dataset": "one", "case": "s7", "array": "image"}, SamplesReader, bench.folder)
    with pytest.raises(SourceError, match=r"^one/s7: the dataset .*one has no case 's7'$"):
        reader.open(LayerSource(uri="one/s7"), context())
    reader = structure({"dataset": "one", "case": "s1", "array": "ct"}, SamplesReader, bench.folder)
    with pytest.raises(SourceError, match=r"^one/s1: not every sample of case 's1' has the array 'ct'$"):
        reader.open(LayerSource(uri="one/s1"), context())


def test_samples_of_another_source_are_none():
    with pytest.raises(SourceError, match=r'^/a.npy: the layer comes from no curated dataset \(use the source "dataset"\)$'):
        SamplesReader().open(LayerSource(("/a.npy",)), context())
    with pytest.raises(StepError) as caught:
        SampleRois().find(make_case(values((4, 4))), context())
    assert str(caught.value) == 'case case: the case comes from no curated dataset (use the source "dataset" and the reader "samples")'


def test_the_stack_reads_boxes_and_holds_nothing(bench):
    bench.make("one", rois=[{**GRID, "size": [10, 9], "edge": "short"}])
    (case,) = [c for c in structure({"path": "one"}, DatasetSource, bench.folder).find() if c.id == "s2"]
    source = case.layers["image"]
    reader = structure(dict(source.options), SamplesReader, bench.folder)
    image = reader.open(source, context())
    samples = [array for row, array in zip(bench.rows("one"), bench.arrays("one"), strict=True) if row["case"] == "s2"]
    padded = np.zeros((len(samples), 10, 9), "uint16")
    for target, sample in zip(padded, samples, strict=True):
        target[: sample.shape[0], : sample.shape[1]] = sample
    assert (image.grid.axes, image.grid.shape, reader.resident(source)) == ("nyx", padded.shape, 0)
    np.testing.assert_array_equal(image.array[...], padded)
    np.testing.assert_array_equal(image.array[3:7, 2:8, 5], padded[3:7, 2:8, 5])
    np.testing.assert_array_equal(image.array[2, 8:, 7:], padded[2, 8:, 7:])
