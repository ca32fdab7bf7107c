"""Places of ROIs as plain arrays: written by ``curate rois``, read by ``coordinates``, and by whatever else reads numpy."""

import json
import re
from typing import ClassVar

import attrs
import numpy as np
import pytest

import curate_core
from curate_core.builtin.coordinates import CoordinateRois
from curate_core.cli.main import main
from curate_core.coordinates import load_coordinates, save_coordinates
from curate_core.errors import RequestError, StepError
from curate_core.host import Host
from curate_core.testing import RoiFinderTests, context, make_case, values


class TestCoordinateRois(RoiFinderTests):
    component = CoordinateRois
    options: ClassVar = {"file": "places", "size": [3, 4, 5]}
    reads_pixels = False

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path, monkeypatch):
        (tmp_path / "places").mkdir()
        np.save(tmp_path / "places" / "case.npy", np.array([[4, 5, 6], [2, 3, 4]]))
        monkeypatch.chdir(tmp_path)


@pytest.fixture
def case():
    return attrs.evolve(make_case(values((10, 12, 14))), id="a")


def find(case, **options):
    return CoordinateRois(**options).find(case, context()).views[0]


def test_a_centre_is_the_voxel_half_a_size_from_the_start(tmp_path, case):
    np.save(tmp_path / "a.npy", np.array([[4, 5, 6]], np.int16))
    view = find(case, file=tmp_path, size=(3, 4, 5))
    assert (view.start.tolist(), view.stop.tolist(), view.axes) == ([[3, 3, 4]], [[6, 7, 9]], "zyx")
    view = find(case, file=tmp_path, size=(3, 4, 5), anchor="corner")
    assert (view.start.tolist(), view.stop.tolist()) == ([[4, 5, 6]], [[7, 9, 11]])


def test_whole_numbers_may_be_floats(tmp_path, case):
    np.save(tmp_path / "a.npy", np.array([[4.0, 5.0, 6.0]]))
    assert find(case, file=tmp_path, size=2).start.tolist() == [[3, 4, 5]]


@pytest.mark.parametrize(
    ("places", "text"),
    [
        ([[4.5, 5, 6]], "this is no file of coordinates: expected whole numbers of voxels"),
        ([[np.nan, 5, 6]], "this is no file of coordinates: expected whole numbers of voxels"),
        ([4, 5, 6], "this is no file of coordinates: expected numbers of shape (N, D)"),
        ([["a"]], "this is no file of coordinates: expected numbers of shape (N, D)"),
        ([[4, 5]], "has 2 numbers a place, the layer has the axes 'zyx'"),
        ([[4, 5, 6], [0, 5, 6]], "1 of 2 boxes of [4, 4, 4] leave the layer of [10, 12, 14] (zyx), the first at [0, 5, 6]"),
    ],
)
def test_what_is_no_place_is_refused(tmp_path, case, places, text):
    np.save(tmp_path / "a.npy", np.array(places))
    with pytest.raises(StepError, match=re.escape(text)):
        find(case, file=tmp_path, size=4)


def test_objects_are_never_loaded(tmp_path, case):
    np.save(tmp_path / "a.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(StepError, match="this is no file of coordinates: Object arrays cannot be loaded"):
        find(case, file=tmp_path, size=4)


def test_a_case_that_is_not_listed(tmp_path, case):
    with pytest.raises(StepError, match=r'has no places of this case \(set "missing": "none" to go on without\)'):
        find(case, file=tmp_path, size=4)
    assert len(CoordinateRois(file=tmp_path, size=4, missing="none").find(case, context())) == 0
    with pytest.raises(StepError, match="there is no such folder or file of coordinates"):
        find(case, file=tmp_path / "nothing", size=4)


@pytest.fixture
def tables():
    finder = curate_core.RoiTable.boxes
    a, b = np.array([[0, 0, 0], [1, 2, 3]]), np.array([[5, 5, 5]])
    none = np.zeros((0, 3), np.int64)
    return {"a": finder(a, a + [2, 3, 4], "zyx"), "none": finder(none, none, "zyx"), "deep/b": finder(b, b + [2, 3, 4], "zyx")}


@pytest.mark.parametrize("name", ["coords", "coords.npy"])
@pytest.mark.parametrize("anchor", ["center", "corner"])
def test_what_is_saved_comes_back(tmp_path, tables, name, anchor):
    save_coordinates(tmp_path / name, tables, anchor)
    for case, table in tables.items():
        places = load_coordinates(tmp_path / name, case)
        expected = table.views[0].start + ([1, 1, 2] if anchor == "center" else [0, 0, 0])
        assert places.reshape(-1, 3).tolist() == expected.tolist()
    assert load_coordinates(tmp_path / name, "other") is None


def test_a_single_file_has_its_index_beside_it(tmp_path, tables):
    save_coordinates(tmp_path / "coords.npy", tables, "center")
    assert np.load(tmp_path / "coords.npy").tolist() == [[1, 1, 2], [2, 3, 5], [6, 6, 7]]
    index = json.loads((tmp_path / "coords.cases.json").read_text())
    assert index == {"anchor": "center", "size": [2, 3, 4], "cases": {"a": [0, 2], "none": [2, 2], "deep/b": [2, 3]}}
    (tmp_path / "coords.cases.json").write_text('{"cases": {"a": [0, 9]}}')
    with pytest.raises(
        RequestError, match=r"which rows of coords.npy are whose cannot be read from beside it: rows 0 to 9 of 3 \(it looks"
    ):
        load_coordinates(tmp_path / "coords.npy", "a")
    (tmp_path / "coords.cases.json").unlink()
    with pytest.raises(RequestError, match="No such file"):
        load_coordinates(tmp_path / "coords.npy", "a")


def test_more_than_places_is_refused(tmp_path, tables):
    zeros = np.zeros((1, 3), np.int64)
    other = curate_core.RoiTable.boxes(zeros, zeros + 9, "zyx")
    with pytest.raises(RequestError, match=r"the ROIs have several sizes, \(2, 3, 4\) and \(9, 9, 9\) among them"):
        save_coordinates(tmp_path / "c", {**tables, "c": other}, "center")
    section = curate_core.RoiTable.boxes(zeros, zeros + 1, "zyx", drop=[0])
    with pytest.raises(RequestError, match=r"the ROIs of case c have several views or lose an axis.*write them as .npz or .jsonl"):
        save_coordinates(tmp_path / "c", {"c": section}, "center")


@pytest.fixture
def spec(tmp_path):
    for number, case in enumerate("ab"):
        (tmp_path / "data").mkdir(exist_ok=True)
        np.save(tmp_path / "data" / f"{case}.npy", values((10, 12, 14), "uint8", number))
    return {
        "version": 1,
        "name": "x",
        "source": {"use": "files", "pattern": "data/{case}.npy"},
        "rois": [{"use": "random", "size": 4, "count": 7}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
        "output": "out",
    }


@pytest.mark.parametrize(("name", "anchor"), [("coords", "center"), ("coords.npy", "corner")])
def test_found_once_and_used_later(tmp_path, spec, name, anchor, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert main(["rois", "spec.json", "-o", name, "--anchor", anchor]) == 0
    said = capsys.readouterr().out
    assert main(["run", "spec.json", "-q", "--workers", "0"]) == 0
    step = json.loads(said.partition('"rois": ')[2])
    (tmp_path / "later.json").write_text(json.dumps({**spec, "rois": step, "output": "later"}))
    assert main(["run", "later.json", "-q", "--workers", "0"]) == 0
    first, later = ([row["id"] for row in curate_core.open(tmp_path / out).rows()] for out in ("out", "later"))
    assert len(first) == 14
    assert first == later


def test_rois_are_found_from_python(tmp_path, spec):
    found = curate_core.find_rois(spec, folder=tmp_path)
    assert {case: len(table) for case, table in found.items()} == {"a": 7, "b": 7}
    assert not (tmp_path / "out").exists()


def test_a_function_takes_the_finders_place(tmp_path, spec):
    def brightest(case, context):
        """The eight voxels around the brightest."""
        array = curate_core.read(next(iter(case.images().values())).array)
        place = np.clip(np.array(np.unravel_index(array.argmax(), array.shape)) - 1, 0, np.array(array.shape) - 2)
        return curate_core.RoiTable.boxes([place], [place + 2], "zyx")

    found = curate_core.find_rois(spec, folder=tmp_path, finder=brightest)
    for case, table in found.items():
        array = np.load(tmp_path / "data" / f"{case}.npy")
        (start,), (stop,) = table.views[0].start, table.views[0].stop
        assert array[tuple(map(slice, start, stop))].max() == array.max()


def test_a_function_that_fails_is_named(tmp_path, spec):
    def broken(case, context):
        raise KeyError("ct")

    with pytest.raises(StepError, match="broken: failed with KeyError: 'ct'"):
        curate_core.find_rois(spec, folder=tmp_path, finder=broken)


def test_pruning_needs_its_plugin(tmp_path, spec):
    with pytest.raises(curate_core.SpecError, match=r"filter.0.use: .*'prune-overlap'"):
        curate_core.find_rois(spec, folder=tmp_path, max_overlap=0.0, host=Host([]))
