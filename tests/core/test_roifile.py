"""ROIs of many cases in one file."""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate_core.errors import RequestError
from curate_core.grid import Grid
from curate_core.roifile import load_rois, save_rois
from curate_core.rois import RoiTable, View

GRID = Grid(
    (4, 8, 8),
    "zyx",
    [[0.25, 0.1, 0, 1e-7], [0, 1 / 3, 0.7, -3], [5, 0, 0, np.pi], [0, 0, 0, 1]],
    unit="nm",
    oriented=True,
)
SUFFIXES = pytest.mark.parametrize("name", ["rois.npz", "rois.jsonl"])


def table(**changes):
    start = np.array([[0, 0, 0], [1, 2, 3], [3, 0, 0]])
    columns = {
        "plane": np.array([b"xy", b"xz", b"y"]),
        "name": np.array(["ä", "", "c\n"]),
        "score": np.ma.MaskedArray([0.1, 2.0, 1e300], [False, True, False]),
        "index": np.array([1, 2**53 + 1, -3]),
        "good": np.array([True, False, True]),
    }
    given = {"axes": "zyx", "drop": [0, -1, 2], "layers": ("ct",), "attributes": columns, "name": "{index}_{z0}", **changes}
    return RoiTable.boxes(start, start + [1, 4, 1], **given)


def two_views():
    start = np.array([[0, 0], [4, 4]])
    views = [View(start, start + 4, "yx", ("ct",), "small"), View(start, start + 2, "yx", ("ct", "pet"), "large", [-1, -1])]
    return RoiTable(views, {"id": np.array(["a", "b"])}, "{id}", "id")


def assert_same(one, other):
    assert len(one) == len(other)
    assert (one.name, one.identity) == (other.name, other.identity)
    assert [(v.axes, v.layers, v.name) for v in one.views] == [(v.axes, v.layers, v.name) for v in other.views]
    for a, b in zip(one.views, other.views, strict=True):
        np.testing.assert_array_equal(a.start, b.start)
        np.testing.assert_array_equal(a.stop, b.stop)
        none = np.full(len(a), -1)
        np.testing.assert_array_equal(none if a.drop is None else a.drop, none if b.drop is None else b.drop)
    for row in range(len(one)):
        left, right = one.row_attributes(row), other.row_attributes(row)
        assert left == right
        assert {k: type(v) for k, v in left.items()} == {k: type(v) for k, v in right.items()}
    assert one.ids("c") == other.ids("c")


@SUFFIXES
def test_what_is_saved_is_loaded(tmp_path, name):
    cases = {
        "b": (table(), {"ct": GRID, "slide": Grid.from_spacing((5, 6, 3), "yxc")}),
        "a": (two_views(), {}),
        "c/d e": (table(drop=None), {}),
    }
    save_rois(tmp_path / name, cases)
    again = load_rois(tmp_path / name)
    assert list(again) == list(cases)
    for case, (rois, grids) in cases.items():
        assert_same(again[case][0], rois)
        assert again[case][1] == grids
    assert [p.name for p in tmp_path.iterdir()] == [name]


@SUFFIXES
def test_the_same_rois_give_the_same_bytes(tmp_path, name):
    cases = {"a": (table(), {"ct": GRID})}
    save_rois(tmp_path / name, cases)
    first = (tmp_path / name).read_bytes()
    save_rois(tmp_path / name, load_rois(tmp_path / name))
    assert (tmp_path / name).read_bytes() == first


@SUFFIXES
def test_cases_without_rois(tmp_path, name):
    empty = RoiTable.boxes(np.zeros((0, 3)), np.zeros((0, 3)), "zyx", layers=("ct",), attributes={"score": np.zeros(0)})
    save_rois(tmp_path / name, {"none": (empty, {"ct": GRID}), "some": (table(), {})})
    again = load_rois(tmp_path / name)
    assert {case: len(rois) for case, (rois, _) in again.items()} == {"none": 0, "some": 3}
    assert again["none"][0].views[0].axes == "zyx"
    assert again["none"][1] == {"ct": GRID}
    save_rois(tmp_path / name, {})
    assert load_rois(tmp_path / name) == {}


@SUFFIXES
def test_an_attribute_that_no_roi_has(tmp_path, name):
    nowhere = {"score": np.ma.MaskedArray([1.0, 2.0, 3.0], True)}
    save_rois(tmp_path / name, {"a": (table(attributes=nowhere, name=""), {})})
    assert [load_rois(tmp_path / name)["a"][0].row_attributes(row) for row in range(3)] == [{}, {}, {}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    st.lists(
        st.tuples(st.tuples(st.integers(-9, 2**40), st.integers(0, 99)), st.floats(allow_nan=False), st.text(max_size=5)),
        min_size=1,
        max_size=5,
    )
)
@SUFFIXES
def test_any_numbers_and_text(tmp_path, name, rows):
    start = np.array([corner for corner, _, _ in rows])
    texts = np.array([text.rstrip("\0") for _, _, text in rows])
    rois = RoiTable.boxes(start, start + 3, "yx", attributes={"score": np.array([s for _, s, _ in rows]), "text": texts})
    save_rois(tmp_path / name, {"a": (rois, {})})
    assert_same(load_rois(tmp_path / name)["a"][0], rois)


def write(path, *lines):
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


BOX = {"case": "liver", "axes": "zyx", "start": [0, 8, 8], "stop": [1, 24, 24]}


def test_lines_written_by_hand(tmp_path):
    path = write(
        tmp_path / "r.jsonl",
        "\ufeff" + json.dumps({**BOX, "attributes": {"score": 0.5}}),
        "",
        {**BOX, "start": [0, 0, 0], "drop": "z", "attributes": {"note": "x", "score": 1}},
        {**BOX, "case": "lung", "layers": ["ct"], "name": "patch"},
    )
    found = load_rois(path)
    liver, lung = found["liver"][0], found["lung"][0]
    assert liver.views[0].start.tolist() == [[0, 8, 8], [0, 0, 0]]
    assert liver.views[0].drop.tolist() == [-1, 0]
    assert [liver.row_attributes(i) for i in (0, 1)] == [{"score": 0.5}, {"note": "x", "score": 1.0}]
    assert (lung.views[0].layers, lung.views[0].name, lung.views[0].drop) == (("ct",), "patch", None)
    assert found["liver"][1] == {}


def test_the_lines_are_for_people_and_other_programs(tmp_path):
    save_rois(tmp_path / "r.jsonl", {"a": (table(), {"ct": GRID})})
    head, first, second, third = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    view = {"axes": "zyx", "layers": ["ct"], "name": ""}
    assert head == {"case": "a", "grids": {"ct": GRID.to_json()}, "name": "{index}_{z0}", "identity": "", "views": [view]}
    assert first == {
        "case": "a", "axes": "zyx", "start": [0, 0, 0], "stop": [1, 4, 1], "layers": ["ct"], "drop": "z",
        "attributes": {"plane": "xy", "name": "ä", "score": 0.1, "index": 1, "good": True},
    }  # fmt: skip
    assert "drop" not in second
    assert "score" not in second["attributes"]
    assert third["drop"] == "x"


MISTAKES = [
    ("{", "line 2 is no ROI: "),
    ("3", "line 2 is no ROI: "),
    ({"axes": "zyx"}, "line 2 is no ROI: it has no 'case'"),
    ({"case": "a", "axes": "zyx", "start": [0, 0, 0]}, "line 2 is no ROI: it has no 'stop'"),
    ({"case": "a", "start": [0, 0, 0], "stop": [1, 1, 1]}, "line 2 is no ROI: it has no 'axes'"),
    ({**BOX, "views": [3]}, "line 2 is no ROI: "),
    ({**BOX, "views": []}, "line 2 is no ROI: it has no views"),
    ({**BOX, "case": 7}, "line 2 is no ROI: the case 7 is no text"),
    ({**BOX, "attributes": [1]}, "line 2 is no ROI: "),
    ({**BOX, "axes": "xyz"}, "this is no file of ROIs: case liver: the ROIs of one case need the same axes, layers and names of views"),
    ({**BOX, "start": [0, 0, 24]}, "this is no file of ROIs: case liver: ROI 1 is empty: start [0, 0, 24], stop [1, 24, 24]"),
    ({**BOX, "start": [0, 0, 0.5]}, "this is no file of ROIs: case liver: corners of ROIs must be whole numbers of voxels"),
    ({**BOX, "start": [0, 0]}, "line 2 is no ROI: start [0, 0] and stop [1, 24, 24] do not fit the axes 'zyx'"),
    ({**BOX, "drop": "c"}, "line 2 is no ROI: drop 'c' is none of the axes 'zyx'"),
    ({**BOX, "drop": "x"}, "this is no file of ROIs: case liver: drop must name, for each ROI, an axis of length one, or -1"),
    ({**BOX, "layers": ["pet"]}, "this is no file of ROIs: case liver: the ROIs of one case need the same axes, layers and names of views"),
    ({**BOX, "name": "other"}, "this is no file of ROIs: case liver: the ROIs of one case need the same axes, layers and names of views"),
    ({**BOX, "views": [BOX, BOX]}, "this is no file of ROIs: case liver: the ROIs of one case need the same axes, layers and names of views"),
    ({**BOX, "attributes": {"box": [1, 2]}}, "line 2 is no ROI: the attribute 'box' holds [1, 2], which is no plain value"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes_in_lines_are_named(tmp_path, number):
    line, message = MISTAKES[number]
    path = write(tmp_path / "r.jsonl", BOX, line)
    with pytest.raises(RequestError) as caught:
        load_rois(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_attributes_of_mixed_kinds_are_refused(tmp_path):
    path = write(tmp_path / "r.jsonl", {**BOX, "attributes": {"s": 1}}, {**BOX, "attributes": {"s": "one"}})
    with pytest.raises(RequestError, match="case liver: the attribute 's' holds numbers and text, or other kinds together"):
        load_rois(path)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(RequestError, match=rf"^{tmp_path}/r.csv: ROIs are written as .npz or .jsonl, not .csv$"):
        save_rois(tmp_path / "r.csv", {})
    with pytest.raises(RequestError, match=r"ROIs are written as .npz or .jsonl, not without a suffix$"):
        save_rois(tmp_path / "r", {})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RequestError, match=rf"^{tmp_path}/r.npz: there is no such file of ROIs$"):
        load_rois(tmp_path / "r.npz")


def damaged(tmp_path, kind):
    path = tmp_path / "r.npz"
    save_rois(path, {"a": (table(), {"ct": GRID})})
    content = path.read_bytes()
    if kind == "text":
        path.write_text("hello")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "flipped":
        at = content.index(b'{"version"')
        path.write_bytes(content[:at] + b"[" + content[at + 1 :])
    elif kind == "other archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.txt", "hello")
    elif kind == "other arrays":
        np.savez(path, x=np.zeros(3))
    elif kind == "objects":
        np.savez(path, header=np.array([{}], dtype=object), allow_pickle=True)
    return path


@pytest.mark.parametrize("kind", ["text", "empty", "cut", "flipped", "other archive", "other arrays", "objects"])
def test_damaged_files_are_named(tmp_path, kind):
    path = damaged(tmp_path, kind)
    with pytest.raises(RequestError) as caught:
        load_rois(path)
    assert str(caught.value).startswith(f"{path}: this is no file of ROIs: ")


def test_a_failed_save_leaves_what_was_there(tmp_path):
    path = tmp_path / "r.npz"
    save_rois(path, {"a": (table(), {})})
    before = path.read_bytes()
    broken = table()
    object.__setattr__(broken, "attributes", {"x": np.array([object()] * 3)})
    with pytest.raises(ValueError, match="[Oo]bject"):
        save_rois(path, {"a": (broken, {})})
    assert path.read_bytes() == before
