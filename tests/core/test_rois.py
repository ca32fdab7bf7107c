"""ROI tables: columns, ids, names, files."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core.errors import RequestError, StepError
from curate_core.grid import Grid
from curate_core.model import Case, Image, Tractogram
from curate_core.naming import plain
from curate_core.rois import RoiTable, View


def image(shape=(10, 20, 30), axes="zyx", spacing=None):
    return Image(np.zeros(shape, np.uint8), Grid.from_spacing(shape, axes, spacing, "mm" if spacing else ""))


def table(n=3, **attributes):
    start = np.arange(3 * n).reshape(n, 3)
    return RoiTable.boxes(start, start + 2, "zyx", attributes=attributes)


def test_boxes():
    rois = RoiTable.boxes([[0, 1], [2, 3]], [[4, 5], [6, 8]], "yx", layers=["ct"], attributes={"plane": np.array(["xy", "xz"])})
    assert len(rois) == 2
    (view,) = rois.views
    assert view.start.dtype == view.stop.dtype == np.int64
    assert view.shape.tolist() == [[4, 4], [4, 5]]
    assert view.layers == ("ct",)
    assert rois.corners(1) == {"y0": 2, "y1": 6, "x0": 3, "x1": 8}
    assert rois.row_attributes(1) == {"plane": "xz"}
    assert RoiTable.boxes(np.arange(3), np.arange(3) + 1, "z").views[0].stop.tolist() == [[1], [2], [3]]
    assert len(RoiTable.boxes([], [], "zyx")) == 0


def test_a_single_box_boxes_along_one_axis_and_none():
    assert RoiTable.boxes([0, 8], [4, 9], "yx").views[0].stop.tolist() == [[4, 9]]
    assert len(RoiTable.boxes([], [], "zyx")) == len(RoiTable.boxes(np.zeros((0, 3)), np.zeros((0, 3)), "zyx")) == 0


def test_corners_are_read_only_and_leave_the_callers_array_alone():
    start = np.zeros((2, 3), np.int64)
    view = View(start, start + 1, "zyx")
    with pytest.raises(ValueError, match="read-only"):
        view.start[0, 0] = 1
    start[0, 0] = 5  # still the caller's


def test_whole_floats_are_corners():
    assert View(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), "yx").stop.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: View([[0, 0]], [[1, 1, 1]], "zyx"), r"start \(1, 2\) and stop \(1, 3\) are not \(n, 3\) for axes 'zyx'"),
        (lambda: View([[0, 0]], [[1, 1]], "zyx"), "are not"),
        (lambda: View([[0, 0], [4, 4]], [[1, 1], [5, 4]], "yx"), r"ROI 1 is empty: start \[4, 4\], stop \[5, 4\]"),
        (lambda: RoiTable.boxes([[0, 8, 16], [0, 8, 16]], [[8, 16, 24]] * 2, "yx"), r"start \(2, 3\) and stop \(2, 3\) are not \(n, 2\)"),
        (lambda: RoiTable.boxes([0, 8, 16, 24], [8, 16, 24, 32], "yx"), r"start \(1, 4\) and stop \(1, 4\) are not \(n, 2\)"),
        (lambda: RoiTable.boxes([[0, 8]], 8, "yx"), r"start \(1, 2\) and stop \(1, 1\) are not \(n, 2\)"),
        (lambda: View([[0.5, 0]], [[1.5, 1]], "yx"), "corners of ROIs must be whole numbers of voxels"),
        (lambda: View([[np.nan, 0]], [[1, 1]], "yx"), "corners of ROIs must be whole numbers of voxels"),
        (lambda: View([[0, 0]], [[1, 2]], "yx", drop=[1]), "drop must name, for each ROI, an axis of length one, or -1"),
        (lambda: View([[0, 0]], [[1, 2]], "yx", drop=[0, 0]), "drop must name"),
        (lambda: View([[0, 0]], [[1, 2]], "yx", drop=[2]), "drop must name"),
        (lambda: RoiTable([]), r"views and attributes of a ROI table need one length, not \[\]"),
        (lambda: table(2, score=np.zeros(3)), r"need one length, not \[2, 3\]"),
        (lambda: table(2, score=np.zeros((2, 2))), "ROI attribute 'score' must be a 1D array of numbers, booleans or fixed-width text"),
        (lambda: table(2, score=np.array([None, {}], object)), "ROI attribute 'score' must be"),
        (lambda: table(2, score=[1, 2]), "ROI attribute 'score' must be"),
        (lambda: RoiTable([View([[0]], [[1]], "x"), View([[0]], [[1]], "x")]), r"views need distinct names, not \['', ''\]"),
    ],
)
def test_what_is_no_table(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_infinite_corners_are_refused():
    with pytest.raises(ValueError, match="corners of ROIs must be whole numbers"):
        View(np.array([[0.0, 0.0]]), np.array([[np.inf, 1.0]]), "yx")


@given(st.integers(0, 12), st.data())
@settings(max_examples=60, deadline=None)
def test_take_equals_numpy(n, data):
    rois = table(n, score=np.arange(n) * 1.5, name=np.array([f"r{i}" for i in range(n)], dtype="U4"))
    rows = data.draw(
        st.one_of(
            st.lists(st.integers(0, max(n - 1, 0)), max_size=8 if n else 0).map(lambda v: np.array(v, int)),
            st.lists(st.booleans(), min_size=n, max_size=n).map(lambda v: np.array(v, bool)),
            st.slices(n),
        )
    )
    taken = rois.take(rows)
    np.testing.assert_array_equal(taken.views[0].start, np.arange(3 * n).reshape(n, 3)[rows])
    np.testing.assert_array_equal(taken.attributes["score"], (np.arange(n) * 1.5)[rows])
    every = rois.ids("c")
    assert taken.ids("c")[:1] == [every[i] for i in np.arange(n)[rows]][:1]


def test_take_keeps_drop_and_masks():
    rois = RoiTable.boxes(
        [[0, 0], [1, 1], [2, 2]], [[1, 4], [3, 3], [5, 3]], "yx",
        drop=[0, -1, 1], attributes={"score": np.ma.MaskedArray([1, 2, 3], [False, True, False])},
    )  # fmt: skip
    taken = rois.take([2, 1])
    assert taken.views[0].drop.tolist() == [1, -1]
    assert taken.row_attributes(0) == {"score": 3}
    assert taken.row_attributes(1) == {}


def test_ids_name_the_box_never_the_position():
    rois = RoiTable.boxes([[0, 1], [5, 6], [0, 1], [0, 1]], [[2, 3], [7, 8], [2, 3], [2, 3]], "yx")
    assert rois.ids("vol") == ["vol:0-2,1-3", "vol:5-7,6-8", "vol:0-2,1-3#1", "vol:0-2,1-3#2"]
    assert rois.take([1]).ids("vol") == ["vol:5-7,6-8"]
    pair = RoiTable([View([[0]], [[4]], "x", ["a"], "moving"), View([[2]], [[6]], "x", ["b"], "fixed")])
    assert pair.ids("p") == ["p:moving=0-4;fixed=2-6"]


def test_names():
    case = Case("7", {"image": image()}, {"scan": "night"})
    rois = table(2, score=np.array([0.25, 0.5]), plane=np.ma.MaskedArray(["xy", "xz"], [False, True]))
    assert rois.roi_name(1, case) == "z3-5_y4-6_x5-7"
    named = RoiTable(rois.views, rois.attributes, "{case:03}-{scan}-{z0:04}_{x1}-{score:.1f}-{plane}")
    assert named.roi_name(0, case) == "007-night-0000_4-0.2-xy"
    with pytest.raises(StepError, match=r"the ROI name .* wants \{plane\}, the sample has case, scan, score, x0"):
        named.roi_name(1, case)
    assert RoiTable([View(np.zeros((1, 0)), np.zeros((1, 0)), "")]).roi_name(0, case) == "whole"


@pytest.mark.parametrize("name", ["{case.__class__}", "{case[0]}", "{case!r}", "{z0:{x0}}", "{", "{}"])
def test_names_look_up_plain_names_only(name):
    rois = RoiTable(table().views, {}, name)
    with pytest.raises(StepError, match=r"the ROI name .* cannot be filled in"):
        rois.roi_name(0, Case("c", {}))


def test_cuts():
    case = Case("c", {"ct": image(), "pet": image(), "lines": None})
    assert View([[0]], [[1]], "x").cuts(case) == {"ct": "ct", "pet": "pet"}
    assert View([[0]], [[1]], "x", ["pet"]).cuts(case) == {"pet": "pet"}
    assert View([[0]], [[1]], "x", ["pet"], "fixed").cuts(case) == {"fixed": "pet"}
    assert View([[0]], [[1]], "x", name="fixed").cuts(case) == {"fixed.ct": "ct", "fixed.pet": "pet"}


def test_the_grid_of_a_view():
    lines = Tractogram(np.zeros((0, 3), np.float32), np.zeros(0, int), np.zeros(0, int), image().grid)
    case = Case("c", {"ct": image(), "pet": image(spacing=(2, 1, 1)), "flat": image((20, 30), "yx"), "lines": lines})
    box = [[0, 0, 0]], [[1, 1, 1]]
    assert View(*box, "zyx", ["ct"]).grid(case) == case.image("ct").grid
    assert View(*box, "zyx", ["lines"]).grid(case) is None
    assert View(*box, "zyx", ["lines", "ct"]).grid(case) == case.image("ct").grid
    with pytest.raises(StepError) as caught:
        View(*box, "zyx", ["ct", "pet"]).grid(case)
    assert caught.value.message.startswith("layers 'ct' and 'pet' of case c lie on different grids: corners are 9 ")
    with pytest.raises(StepError) as caught:
        View(*box, "zyx", ["mask"]).grid(case)
    assert str(caught.value) == "case c: a ROI wants layer 'mask', the case has ct, pet, flat, lines"
    with pytest.raises(StepError) as caught:
        View(*box, "zyx", ["flat"]).grid(case)
    assert str(caught.value) == "case c: ROIs have axes 'zyx', layer 'flat' has 'yx'"


def full_table():
    columns = {
        "score": np.array([0.1, np.nan, 3.0]),
        "index": np.ma.MaskedArray(np.array([1, 2, 3], np.int32), [False, True, False]),
        "plane": np.array(["xy", "xz", "yzé"]),
        "good": np.array([True, False, True]),
        "raw": np.array([b"a", b"bc", b"d"]),
    }
    views = [View([[0, 0], [1, 1], [2, 2]], [[1, 4], [3, 3], [5, 3]], "yx", ["a", "b"], "one", [0, -1, 1]), View([[0]] * 3, [[7]] * 3, "t")]
    return RoiTable(views, columns, "{plane}_{y0}")


def assert_same(actual, expected):
    assert actual.name == expected.name
    for a, b in zip(actual.views, expected.views, strict=True):
        np.testing.assert_array_equal(a.start, b.start)
        np.testing.assert_array_equal(a.stop, b.stop)
        assert (a.axes, a.layers, a.name) == (b.axes, b.layers, b.name)
        assert (a.drop is None) == (b.drop is None)
        if a.drop is not None:
            np.testing.assert_array_equal(a.drop, b.drop)
    assert list(actual.attributes) == list(expected.attributes)
    for name, column in expected.attributes.items():
        got = actual.attributes[name]
        assert got.dtype == column.dtype
        np.testing.assert_array_equal(np.ma.getmaskarray(got), np.ma.getmaskarray(column))
        np.testing.assert_array_equal(np.ma.getdata(got), np.ma.getdata(column))


def test_saved_and_loaded(tmp_path):
    rois = full_table()
    rois.save(tmp_path / "a.npz", grid={"axes": "yx"}, note="é")
    loaded, meta = RoiTable.load(tmp_path / "a.npz")
    assert_same(loaded, rois)
    assert meta == {"grid": {"axes": "yx"}, "note": "é"}
    rois.save(tmp_path / "b.npz", grid={"axes": "yx"}, note="é")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_file_is_numpys(tmp_path):
    """Anyone reads it with numpy, and it holds no pickle and no date."""
    full_table().save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["view0.start"], [[0, 0], [1, 1], [2, 2]])
        assert "allow_pickle" not in archive
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_empty_tables_are_kept(tmp_path):
    RoiTable.boxes([], [], "zyx", attributes={"score": np.zeros(0)}).save(tmp_path / "a.npz")
    loaded, _ = RoiTable.load(tmp_path / "a.npz")
    assert len(loaded) == 0
    assert loaded.views[0].start.shape == (0, 3)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def header(text):
    return np.frombuffer(text.encode(), np.uint8)


def plain_array():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"junk", b"PK\x03\x04 junk", plain_array(), npz(a=np.zeros(2)), npz(header=header("{")), npz(header=header("[]")),
        npz(header=header('{"views": 3, "name": "", "meta": {}}')), npz(header=header('{"views": [], "name": "", "meta": {}}')),
        npz(header=header('{"views": [{"axes": "x", "layers": [], "name": ""}], "name": "", "meta": {}}')),
        npz(header=header('{"views": [{}], "name": "", "meta": {}}'), **{"view0.start": np.zeros((1, 1))}),
        npz(**{"header": header('{"views": [{"axes": "x", "layers": [], "name": ""}], "name": "", "meta": {}}'),
               "view0.start": np.array([[5]]), "view0.stop": np.array([[2]])}),
        npz(**{"header": header('{"views": [{"axes": "x", "layers": [], "name": ""}], "name": "", "meta": {}}'),
               "view0.start": np.array([[0]]), "view0.stop": np.array([[2]]), "attribute.a": np.zeros(5)}),
        npz(header=np.array([{"a": 1}], object)),
    ],
)  # fmt: skip
def test_what_is_no_table_file(tmp_path, content):
    path = tmp_path / "rois.npz"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"rois\.npz: not a ROI table that curate wrote: "):
        RoiTable.load(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(RequestError, match=r"gone\.npz: not a ROI table that curate wrote: .*No such file"):
        RoiTable.load(tmp_path / "gone.npz")


@given(st.integers(0, 2500), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_damage_is_found(tmp_path_factory, place, change):
    """Any one byte changed: the same table, or an error that says so."""
    path = tmp_path_factory.mktemp("damage") / "rois.npz"
    full_table().save(path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= change
    path.write_bytes(content)
    try:
        loaded, _ = RoiTable.load(path)
    except RequestError:
        return
    for view, expected in zip(loaded.views, full_table().views, strict=True):
        np.testing.assert_array_equal(view.start, expected.start)


def test_concat():
    first, second = table(2, score=np.array([1, 2], np.int16)), table(3, score=np.array([1.5, 2.5, 3.5]))
    joined = RoiTable.concat([first, second])
    assert len(joined) == 5
    np.testing.assert_array_equal(joined.attributes["score"], [1, 2, 1.5, 2.5, 3.5])
    assert not isinstance(joined.attributes["score"], np.ma.MaskedArray)
    np.testing.assert_array_equal(joined.views[0].start, np.concatenate([first.views[0].start, second.views[0].start]))
    assert RoiTable.concat([first]) is first


def test_concat_of_tables_with_other_attributes():
    joined = RoiTable.concat([table(2, plane=np.array(["xy", "xz"])), table(1, score=np.array([0.5])), table(1)])
    assert [joined.row_attributes(i) for i in range(4)] == [{"plane": "xy"}, {"plane": "xz"}, {"score": 0.5}, {}]


def test_concat_of_sections_and_boxes():
    flat = RoiTable.boxes([[0, 0, 0]], [[1, 4, 4]], "zyx", drop=[0])
    joined = RoiTable.concat([flat, table(2)])
    assert joined.views[0].drop.tolist() == [0, -1, -1]


def test_tables_that_do_not_join():
    with pytest.raises(StepError, match="ROI finders of one spec must give the same views") as caught:
        RoiTable.concat([table(), RoiTable.boxes([[0, 0]], [[1, 1]], "yx")])
    assert caught.value.hint == "use one spec for each"
    named = RoiTable(table().views, {}, "{z0}")
    with pytest.raises(StepError, match="ROI finders of one spec must name their ROIs alike"):
        RoiTable.concat([table(), named])


def test_plain_values():
    values = [np.int8(3), np.float32(0.5), np.bool_(True), np.str_("a"), np.bytes_(b"b"), "c", None, 4]
    assert [plain(value) for value in values] == [3, 0.5, True, "a", "b", "c", None, 4]
    assert {type(plain(value)) for value in values[:5]} == {int, float, bool, str}


def test_a_million_rois_are_columns():
    """No object a row: the table weighs what its columns weigh."""
    start = np.zeros((1_000_000, 3), np.int64)
    rois = RoiTable.boxes(start, start + 1, "zyx", attributes={"score": np.zeros(1_000_000, np.float32)})
    assert rois.views[0].start.base is not None  # a view of what was given
    assert len(rois.take(slice(None, None, 2))) == 500_000
