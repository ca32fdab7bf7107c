"""ROI finders of geometry, files and seeds."""

import json
import os

import numpy as np
import pytest
from scipy import stats

from curate_core.builtin.rois import Each, GridRois, ListRois, RandomRois, Whole
from curate_core.cut import batches
from curate_core.errors import RequestError, StepError
from curate_core.grid import Grid
from curate_core.model import Case, Tractogram
from curate_core.roifile import save_rois
from curate_core.structure import Mistakes, structure
from curate_core.testing import context, make_case, make_image, values


def found(cls, case, folder=None, seed=0, **options):
    return structure(options, cls, folder).find(case, context(case=case.id, seed=seed))


def boxes(table):
    view = table.views[0]
    return list(zip(map(tuple, view.start.tolist()), map(tuple, view.stop.tolist()), strict=True))


TRACTS = Tractogram(np.zeros((0, 3), "f4"), np.zeros(0, int), np.zeros(0, int), Grid.from_spacing((2, 2, 2), "zyx"))
SPARSE = Case("scan", {"tracts": TRACTS})


# whole


def test_whole_takes_each_layer_as_it_is():
    case = Case("c", {"ct": make_image(values((4, 5, 6))), "slide": make_image(values((7, 8, 3)), "yxc"), "tracts": TRACTS})
    table = found(Whole, case)
    assert len(table) == 1
    assert [(v.name, v.layers, v.axes, v.stop.tolist()) for v in table.views] == [
        ("ct", ("ct",), "zyx", [[4, 5, 6]]),
        ("slide", ("slide",), "yxc", [[7, 8, 3]]),
        ("tracts", ("tracts",), "", [[]]),
    ]
    assert table.roi_name(0, case) == "whole"


def test_whole_of_a_single_layer_keeps_its_name():
    case = make_case({"a": values((4, 5)), "b": values((4, 5))})
    (view,) = found(Whole, case, layers=["b"]).views
    assert (view.name, view.cuts(case)) == ("", {"b": "b"})


def test_whole_names_layers_that_are_missing():
    case = make_case({"a": values((4, 5))})
    with pytest.raises(StepError, match="^case case: the case has the layers a, not x, y$"):
        found(Whole, case, layers=["x", "a", "y"])
    with pytest.raises(StepError, match="^case c: the case has the layers none, not any$"):
        found(Whole, Case("c", {}))


# each


def test_each_position_is_a_sample_of_every_layer():
    case = Case("c", {"a": make_image(values((3, 4, 5)), "nyx"), "b": make_image(values((2, 3, 7, 8)), "cnyx")})
    table = found(Each, case, axis="n")
    assert [(v.name, v.axes, v.start.tolist(), v.drop.tolist()) for v in table.views] == [
        (name, "n", [[0], [1], [2]], [0, 0, 0]) for name in "ab"
    ]
    assert table.roi_names(case) == ["00000", "00001", "00002"]
    (batch,) = batches(case, table, np.arange(3), table.ids("c"))
    np.testing.assert_array_equal(batch.arrays["a"], case.image("a").array)
    np.testing.assert_array_equal(batch.arrays["b"], case.image("b").array.swapaxes(0, 1))
    assert [batch.grids[name](1).axes for name in "ab"] == ["yx", "cyx"]
    (view,) = found(Each, case, axis="c", layers=["b"]).views
    assert (view.name, view.cuts(case)) == ("", {"b": "b"})


def test_each_wants_layers_of_one_series():
    case = Case(
        "c", {"a": make_image(values((3, 4, 5)), "nyx"), "b": make_image(values((2, 7, 8)), "nyx"), "d": make_image(values((7, 8)))}
    )
    with pytest.raises(StepError, match="^case c: not every layer has the axis 'n': 'd', 'yx' .name those"):
        found(Each, case, axis="n")
    with pytest.raises(StepError, match="the layers a, b have 2 and 3 positions along 'n'"):
        found(Each, case, axis="n", layers=["a", "b"])
    with pytest.raises(StepError, match="the case has no image layer"):
        found(Each, SPARSE, axis="n")


# grid


@pytest.mark.parametrize("edge", ["drop", "short", "shift"])
def test_boxes_over_all_spatial_axes(edge):
    case = make_case(values((2, 7, 9, 3)), "zyxc")
    table = found(GridRois, case, size=[2, 4, 5], edge=edge)
    rows = {"drop": [(0, 4)], "short": [(0, 4), (4, 7)], "shift": [(0, 4), (3, 7)]}[edge]
    columns = {"drop": [(0, 5)], "short": [(0, 5), (5, 9)], "shift": [(0, 5), (4, 9)]}[edge]
    assert table.views[0].axes == "zyx"
    assert boxes(table) == [((0, y, x), (2, yy, xx)) for y, yy in rows for x, xx in columns]


def test_one_size_and_stride_for_all_axes():
    table = found(GridRois, make_case(values((6, 6))), size=4, stride=2)
    assert boxes(table) == [((y, x), (y + 4, x + 4)) for y in (0, 2) for x in (0, 2)]


@pytest.mark.parametrize("planes", [["xy"], ["zx"], ["xy", "yz"], ["yx", "xz", "zy"]])
def test_planes_of_a_volume(planes):
    case = make_case(values((5, 6, 7)))
    table = found(GridRois, case, size=[2, 3], planes=planes, spacing=2)
    truth = []
    for plane in planes:
        across = next(i for i, axis in enumerate("zyx") if axis not in plane)
        rows, columns = (i for i in range(3) if i != across)
        shape = (5, 6, 7)
        for index in range(0, shape[across], 2):
            for r in range(0, shape[rows] - 1, 2):
                for c in range(0, shape[columns] - 2, 3):
                    corner = {across: index, rows: r, columns: c}
                    length = {across: 1, rows: 2, columns: 3}
                    start = tuple(corner[i] for i in range(3))
                    truth.append((start, tuple(start[i] + length[i] for i in range(3)), across, plane, index))
    view = table.views[0]
    plane_column = [text.decode() for text in table.attributes["plane"]]
    assert boxes(table) == [entry[:2] for entry in truth]
    assert view.drop.tolist() == [entry[2] for entry in truth]
    assert plane_column == [entry[3] for entry in truth]
    assert table.attributes["index"].tolist() == [entry[4] for entry in truth]
    assert table.row_attributes(0) == {"plane": planes[0], "index": 0}


def test_sizes_of_a_plane_are_in_array_order_whatever_its_letters_order():
    case = make_case(values((3, 8, 9)))
    for plane in ("xy", "yx"):
        assert (found(GridRois, case, size=[2, 5], planes=[plane]).views[0].shape == [1, 2, 5]).all()


def test_the_plane_of_an_image_is_the_image():
    table = found(GridRois, make_case(values((4, 6))), size=[2, 3], planes=["xy"])
    assert boxes(table) == [((y, x), (y + 2, x + 3)) for y in (0, 2) for x in (0, 3)]
    assert table.views[0].drop.tolist() == [-1] * 4
    assert table.views[0].axes == "yx"


@pytest.mark.parametrize("plane", ["x", "xyz", "xc", "xx"])
def test_planes_that_are_none(plane):
    with pytest.raises(StepError, match=rf"^'{plane}' is no plane of a layer with the axes 'zyx' \(name two of its spatial axes\)$"):
        found(GridRois, make_case(values((4, 5, 6, 2)), "zyxc"), size=2, planes=[plane])


@pytest.mark.parametrize(("axes", "plane"), [("yx", "x"), ("yx", "xyx"), ("yx", "xz"), ("x", "x"), ("x", "xy")])
def test_planes_of_images_and_lines_that_are_none(axes, plane):
    with pytest.raises(StepError, match=rf"^'{plane}' is no plane of a layer with the axes '{axes}'"):
        found(GridRois, make_case(values((4, 4)[: len(axes)])), size=2, planes=[plane])


def test_sizes_and_strides_must_fit_the_axes():
    case = make_case(values((4, 5, 6)))
    with pytest.raises(StepError, match="^size has 2 numbers for the axes 'zyx'$"):
        found(GridRois, case, size=[2, 2])
    with pytest.raises(StepError, match="^stride has 3 numbers for the axes 'yx'$"):
        found(GridRois, case, size=2, stride=[2, 2, 2], planes=["xy"])
    with pytest.raises(Mistakes, match="0 must be at least 1"):
        found(GridRois, case, size=[2, 0, 2])
    with pytest.raises(Mistakes, match="needs at least 1 entries, has 0"):
        found(GridRois, case, size=2, planes=[])


def test_a_layer_too_small_for_a_tile_gives_none():
    for options in ({}, {"planes": ["xy"]}):
        assert len(found(GridRois, make_case(values((4, 5, 6))), size=9, **options)) == 0


def test_the_layer_laid_over_and_the_layers_cut():
    case = Case("c", {"ct": make_image(values((4, 4))), "big": make_image(values((8, 8)))})
    table = found(GridRois, case, size=4, layer="big", layers=["big"])
    assert (len(table), table.views[0].layers) == (4, ("big",))
    assert len(found(GridRois, case, size=4)) == 1


@pytest.mark.parametrize(("cls", "options"), [(GridRois, {"size": 2}), (RandomRois, {"size": 2, "count": 1})])
def test_a_case_without_images_and_layers_that_are_missing(cls, options):
    with pytest.raises(StepError, match="^case scan: the case has no image layer$"):
        found(cls, SPARSE, **options)
    with pytest.raises(StepError, match="there is no image layer 'x', only image"):
        found(cls, make_case(values((4, 4))), **options, layer="x")


# random


def test_random_boxes_lie_inside_and_depend_on_seed_and_case():
    case = make_case(values((6, 20, 30)))
    table = found(RandomRois, case, size=[6, 5, 7], count=500)
    view = table.views[0]
    assert len(table) == 500
    assert (view.shape == [6, 5, 7]).all()
    assert (view.start >= 0).all()
    assert (view.stop <= [6, 20, 30]).all()
    assert (view.start[:, 0] == 0).all()
    assert boxes(table) == boxes(found(RandomRois, case, size=[6, 5, 7], count=500))
    assert boxes(table) != boxes(found(RandomRois, case, size=[6, 5, 7], count=500, seed=1))
    assert boxes(table) != boxes(found(RandomRois, make_case(values((6, 20, 30)), id="other"), size=[6, 5, 7], count=500))


def test_every_place_is_as_likely_as_any_other():
    start = found(RandomRois, make_case(values((7, 9))), size=[4, 6], count=16000).views[0].start
    counts = np.zeros((4, 4), int)
    np.add.at(counts, tuple(start.T), 1)
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_boxes_that_do_not_fit():
    with pytest.raises(StepError) as caught:
        found(RandomRois, make_case(values((6, 20))), size=[7, 3], count=1)
    assert str(caught.value) == "case case: boxes of [7, 3] do not fit into the layer of [6, 20] (yx)"
    with pytest.raises(StepError, match="^size has 3 numbers for the axes 'yx'$"):
        found(RandomRois, make_case(values((6, 20))), size=[1, 1, 1], count=1)


# list


@pytest.fixture
def saved(tmp_path):
    case = make_case(values((4, 8, 8)), spacing=[3, 1, 1], id="a")
    table = found(GridRois, case, size=4, planes=["xy"])
    for name in ("rois.npz", "rois.jsonl"):
        save_rois(tmp_path / name, {"a": (table, {"image": case.image().grid})})
    return case, table


@pytest.mark.parametrize("name", ["rois.npz", "rois.jsonl"])
def test_rois_from_a_file_are_those_that_were_found(saved, tmp_path, name):
    case, table = saved
    again = found(ListRois, case, tmp_path, file=name)
    assert boxes(again) == boxes(table)
    assert again.ids("a") == table.ids("a")
    assert [again.row_attributes(i) for i in range(16)] == [table.row_attributes(i) for i in range(16)]


@pytest.mark.parametrize("name", ["rois.npz", "rois.jsonl"])
def test_a_case_on_another_grid_is_refused(saved, tmp_path, name):
    other = make_case(values((4, 8, 8)), spacing=[3, 1, 1.1], id="a")
    with pytest.raises(
        StepError, match=rf"layer 'image' and the layer that {name} is about lie on different grids: corners are 0.7 .*apart"
    ):
        found(ListRois, other, tmp_path, file=name)
    assert len(found(ListRois, other, tmp_path, file=name, tolerance=0.8)) == 16
    smaller = make_case(values((4, 8, 7)), spacing=[3, 1, 1], id="a")
    with pytest.raises(StepError, match="lie on different grids: 4 x 8 x 8 zyx.* against 4 x 8 x 7 zyx"):
        found(ListRois, smaller, tmp_path, file=name)


def test_a_case_that_is_not_in_the_file(saved, tmp_path):
    stranger = make_case(values((4, 8, 8)), id="b")
    with pytest.raises(StepError) as caught:
        found(ListRois, stranger, tmp_path, file="rois.npz")
    assert str(caught.value) == (
        f'case b: {tmp_path}/rois.npz has no ROIs of this case, it has those of a (set "missing": "none" to go on without)'
    )
    assert len(found(ListRois, stranger, tmp_path, file="rois.npz", missing="none")) == 0
    save_rois(tmp_path / "many.npz", {str(n): saved[1:] + ({},) for n in range(6)})
    with pytest.raises(StepError, match=r"it has those of 0, 1, 2, 3, 4 \.\.\. \("):
        found(ListRois, stranger, tmp_path, file="many.npz")


def test_lines_written_by_hand(tmp_path):
    lines = [{"case": "a", "axes": "yx", "start": [0, 2], "stop": [4, 6]}, {"case": "b", "axes": "yx", "start": [0, 0], "stop": [1, 1]}]
    (tmp_path / "rois.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert boxes(found(ListRois, make_case(values((8, 8)), id="a"), tmp_path, file="rois.jsonl")) == [((0, 2), (4, 6))]


def test_a_file_that_changes_is_read_again(saved, tmp_path):
    case, table = saved
    assert len(found(ListRois, case, tmp_path, file="rois.npz")) == 16
    save_rois(tmp_path / "rois.npz", {"a": (table.take(slice(0, 3)), {})})
    os.utime(tmp_path / "rois.npz", (1, 1))
    assert len(found(ListRois, case, tmp_path, file="rois.npz")) == 3


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RequestError, match=rf"^{tmp_path}/gone.npz: there is no such file of ROIs$"):
        found(ListRois, make_case(values((4, 4))), tmp_path, file="gone.npz")
