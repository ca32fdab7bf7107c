"""Places to pairs: what is read of files, where the boxes lie, and which splits they fall into."""

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from curate_align.pairs import PointPairs
from curate_align.places import corner_of, pixels_of, snapped
from curate_align.points import load_points
from curate_align.splits import locations
from curate_align.stretch import StretchPairs
from scipy.sparse.csgraph import connected_components

import curate_core
from curate_core import Grid, RequestError, StepError
from curate_core.structure import structure
from curate_core.testing import RoiFinderTests, context, make_case, values

EXPORTED = ["Coordinate 1", "Coordinate 2", "Ellipsoid Dimensions", "Tags", "Description", "Segment IDs", "Parent ID", "Type", "ID"]


def table(*rows, names=EXPORTED):
    """A CSV as a spreadsheet or neuroglancer writes it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows([[*row, *[""] * (len(names) - len(row))] for row in rows])
    return out.getvalue()


def written(folder, text, name="points.csv"):
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


def volume(shape=(8, 64, 96), *, mip=0, offset=(0, 0, 0), resolution=(4, 4, 40), layers=("image",)):
    """A case as a reader of precomputed volumes gives it: pixels of ``mip``, ``offset`` x, y, z in those, ``resolution`` of mip 0."""
    steps = np.array(resolution) * [1 << mip, 1 << mip, 1]
    grid = Grid.from_spacing(shape, "zyx", steps[::-1].tolist(), "nm", (np.array(offset) + 0.5) * steps)
    image = curate_core.Image(np.broadcast_to(np.uint8(7), shape), grid, {"mip": mip})
    return curate_core.Case("site", dict.fromkeys(layers, image))


def find(case, seed=0, **options):
    given = context("point-pairs", seed, case=case.id)
    found = structure(options, StretchPairs if "start" in options else PointPairs, Path()).find(case, given)
    return found, given.rejected


class TestPointPairs(RoiFinderTests):
    component = PointPairs
    options: ClassVar[dict[str, Any]] = {"pairs": [[[8, 4, 3], [8, 4, 2]], [[40, 4, 3], [8, 9, 4]]], "size": [16, 24], "permute": True}
    reads_pixels = False


class TestPointPairsWithSplits(TestPointPairs):
    options: ClassVar[dict[str, Any]] = {
        "pairs": [[[8 * i, 4, 3], [8 * i, 4, 2]] for i in range(5)], "size": [16, 8], "splits": {"a": 0.5, "b": 0.5},
    }  # fmt: skip
    seeded = True


class TestStretchPairs(RoiFinderTests):
    component = StretchPairs
    options: ClassVar[dict[str, Any]] = {"start": [4, 8], "z": [1, 9], "size": [16, 24]}
    reads_pixels = False


# Files.


def test_what_neuroglancer_exports(tmp_path):
    text = table(
        ["(1024, 2048, 17)", "", "", "good", "a fold, left", "", "", "Point", "7f"],
        ["(1, 2.5, -3)", "(5, 6, 7)", "", "", "", "18446744073709551615", "", "AABB", "0012"],
        ["( 9.75 , 8,7 )", "(5, 6, 7)", "", "bad", "", "12", "", "Line", "34"],
    )
    points = load_points(written(tmp_path, text))
    assert points.src.tolist() == [[1024, 2048, 17], [1, 2.5, -3], [9.75, 8, 7]]
    assert (points.tgt, points.voxel, points.anchor) == (None, None, "")
    columns = {name: np.ma.asarray(column).tolist() for name, column in points.columns.items()}
    assert columns == {
        "coordinate_2": [None, "(5, 6, 7)", "(5, 6, 7)"], "tags": ["good", None, "bad"], "description": ["a fold, left", None, None],
        "segment_ids": [None, "18446744073709551615", "12"], "type": ["Point", "AABB", "Line"], "point_id": ["7f", "0012", "34"],
    }  # fmt: skip


@pytest.mark.parametrize("names", [["x0", "y0", "z0", "score"], ["X", "Y", "Z", "score"]])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt"])
def test_tables_of_coordinates(tmp_path, names, ending):
    text = table([1, 2.5, 3, 0.5], [-4, 5, 6, 2], names=names)
    points = load_points(written(tmp_path, text.replace(",", "\t") if ending == ".tsv" else text, f"p{ending}"))
    assert points.src.tolist() == [[1, 2.5, 3], [-4, 5, 6]]
    assert {name: column.tolist() for name, column in points.columns.items()} == {"score": [0.5, 2]}


ANNOTATIONS = [
    {"point": [1, 2.5, 3], "type": "point", "id": "a", "props": [5, "#ff0000"], "segments": [["1"]]},
    {"pointA": [4, 5, 6], "pointB": [7, 8, 9], "type": "axis_aligned_bounding_box", "id": "b", "description": "why"},
    {"center": [7, 8, 9, 0], "radii": [1, 1, 1, 1], "type": "ellipsoid", "id": "c"},
]
PROPERTIES = [{"id": "quality", "type": "uint8"}, {"id": "colour", "type": "rgb"}]


def state(dimensions=None, **layer):
    dimensions = dimensions or {axis: [scale, "m"] for axis, scale in zip("xyz", (4e-9, 4e-9, 4e-8), strict=True)}
    made = {"type": "annotation", "name": "places", "annotations": ANNOTATIONS, "annotationProperties": PROPERTIES, **layer}
    return {"dimensions": dimensions, "layers": [{"type": "image", "name": "em", "source": "precomputed://gs://a/b"}, made]}


@pytest.mark.parametrize("content", [state(), {"annotations": ANNOTATIONS, "annotationProperties": PROPERTIES}, ANNOTATIONS])
def test_annotations(tmp_path, content):
    points = load_points(written(tmp_path, content, "state.json"))
    assert points.src.tolist() == [[1, 2.5, 3], [4, 5, 6], [7, 8, 9]]
    columns = {name: np.ma.asarray(column).tolist() for name, column in points.columns.items()}
    assert columns["point_id"] == ["a", "b", "c"]
    assert columns["description"] == [None, "why", None]
    assert columns["type"][1] == "axis_aligned_bounding_box"
    assert ("quality" in columns) == isinstance(content, dict)
    if "quality" in columns:
        assert (columns["quality"], columns["colour"]) == ([5, None, None], ["#ff0000", None, None])


@pytest.mark.parametrize(
    ("layer", "nanometres", "scale"),
    [
        ({}, [4, 4, 40], 1),
        (
            {"source": {"url": "local://annotations", "transform": {"outputDimensions": {a: [1e-9, "m"] for a in "xyz"}}}},
            [1, 1, 1],
            [4, 4, 40],
        ),
        ({"source": [{"transform": {"outputDimensions": {a: [6.4e-8, "m"] for a in "xyz"}}}]}, [64, 64, 64], [1 / 16, 1 / 16, 40 / 64]),
    ],
)
def test_a_state_says_what_its_coordinates_count(tmp_path, layer, nanometres, scale):
    """The same place, given in other units, is the same box."""
    place = np.array([1000, 600, 5])
    for mip in (0, 3):
        moved = {**ANNOTATIONS[0], "point": (place * scale).tolist()}
        path = written(tmp_path, state(**layer, annotations=[moved]), "state.json")
        np.testing.assert_allclose(load_points(path).voxel, nanometres)
        case = volume((8, 1024 >> mip, 2048 >> mip), mip=mip)
        found, refused = find(case, points=str(path), size=[16, 16], offsets=[1])
        assert not refused
        assert found.views[0].start.tolist() == [[5, 600 >> mip, 1000 >> mip]]
        assert [found.attributes[name][0] for name in ("x", "y", "z", "tgt_z")] == [1000, 600, 5, 6]


def test_a_state_of_earlier_years(tmp_path):
    old = {"layers": [{"name": "places", "annotations": [{"point": [10, 20, 3]}], "voxelSize": [8, 8, 40]}]}
    found, _ = find(volume(), points=str(written(tmp_path, old, "state.json")), size=[16, 16], offsets=[1])
    assert found.views[0].start.tolist() == [[3, 40, 20]]
    old["layers"].append({"name": "others", "annotations": []})
    path = written(tmp_path, old, "state.json")
    assert len(load_points(path, "places")) == 1


def test_coordinates_without_lengths_count_voxels(tmp_path):
    path = written(tmp_path, state({axis: [1, ""] for axis in "xyz"}), "state.json")
    assert load_points(path).voxel is None
    plain = make_case(values((8, 64, 96), "uint8"))
    path = written(tmp_path, state(annotations=[{"point": [20, 30, 4]}]), "state.json")
    found, _ = find(plain, points=str(path), size=[16, 16], offsets=[1])
    assert found.views[0].start.tolist() == [[4, 30, 20]], "a layer that knows no lengths"


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(("keys", "anchor"), [(("x_start", "y_start", "z_start"), "corner"), (("x", "y", "z"), "centre")])
def test_pairs_of_a_specification(tmp_path, listed, keys, anchor):
    places = [(64, 32, 4), (64, 32, 3), (96, 40, 5), (88, 32, 6)]
    named = [dict(zip(keys, place, strict=True)) for place in places]
    pairs = [[a, b] if listed else {"src": a, "tgt": b} for a, b in (named[:2], named[2:])]
    path = written(tmp_path, {"image": {}, "pairs": pairs}, "spec.json")
    points = load_points(path)
    assert (points.src.tolist(), points.tgt.tolist(), points.anchor) == ([[64, 32, 4], [96, 40, 5]], [[64, 32, 3], [88, 32, 6]], anchor)
    found, refused = find(volume((8, 128, 128), layers=["image"]), points=str(path), size=[16, 32])
    assert not refused
    back = [0, 8, 16] if anchor == "centre" else [0, 0, 0]
    wanted = [[4, 32, 64], [5, 40, 96]], [[3, 32, 64], [6, 32, 88]]
    assert [(view.start + back).tolist() for view in found.views] == list(wanted)


WRONG = {
    "nothing.csv": (None, "there is no such file of points"),
    "points.xlsx": ("", "points are not read from files that end in '.xlsx'.*give a .csv with the column 'Coordinate 1'"),
    "empty.csv": (table(), "there are no points in it.*collect some in neuroglancer"),
    "columns.csv": (table([1, 2], names=["x0", "y0"]), "neither a column 'Coordinate 1' nor x0, y0 and z0, but x0, y0.*rename the columns"),
    "number.csv": (table(["(1, 2, 3)"], ["(1, two, 3)"]), r"number.csv, row 2: Coordinate 1: '1, two, 3' is no place.*three numbers"),
    "missing.csv": (table([1, "", 3], [1, 2, 3], names=["x0", "y0", "z0"]), "row 1: x0, y0, z0: '1, , 3' is no place"),
    "far.csv": (table([1, 1e300, 3], names=["x0", "y0", "z0"]), "is no place"),
    "nan.csv": (table([1, "nan", 3], names=["x0", "y0", "z0"]), "is no place"),
    "two.csv": (table(["(1, 2)"]), r"'\(1, 2\)' is no place"),
    "names.csv": (table([1, 2, 3, 4, 5], names=["x0", "y0", "z0", "a b", "A-B"]), "two columns would both be called 'a_b'.*rename one"),
    "ragged.csv": ("x0,y0,z0\n1,2\n", "row 1 has not as many fields as the header"),
    "text.json": ("{", "this is not JSON"),
    "other.json": ({"a": 1}, "neither annotations nor a neuroglancer state nor pairs"),
    "none.json": ([], "there are no points in it"),
    "entry.json": ([1], "annotation 0 has no point, pointA or center"),
    "place.json": ([{"point": [1, 2]}], "annotation 0: '1, 2' is no place"),
    "pair.json": ({"pairs": [[1]]}, "pairs.0 is no pair"),
    "start.json": ({"pairs": [{"src": {"x_start": 1}, "tgt": {}}]}, "pairs.0.src is no place.*x_start"),
    "value.json": ({"pairs": [[{"x": 1, "y": 2, "z": 3}, {"x": 1, "y": "b", "z": 3}]]}, "pairs.0.tgt: '1, b, 3' is no place"),
    "mixed.json": (
        {"pairs": [[{"x": 1, "y": 2, "z": 3}, {"x_start": 1, "y_start": 2, "z_start": 3}]]}, "some places are corners .* others centres",
    ),
    "layers.json": ({"layers": [{"name": "a", "annotations": []}, {"name": "b", "annotations": []}]}, "2 annotation layers.*'a', 'b'.*name one"),
    "linked.json": ({"layers": [{"name": "a", "type": "annotation"}]}, "0 annotation layers of its own: none.*export them"),
    "matrix.json": (state(source={"transform": {"matrix": []}}), "transformed by a matrix.*remove the transform"),
    "order.json": (state({axis: [1, "m"] for axis in "zyx"}), "the dimensions of the annotations are z, y, x, not x, y and z"),
    "scale.json": (state({axis: [1] for axis in "xyz"}), "the dimensions of the annotations cannot be understood"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_files_that_cannot_be_used(tmp_path, name):
    text, said = WRONG[name]
    path = tmp_path / name if text is None else written(tmp_path, text, name)
    with pytest.raises(RequestError, match=said):
        load_points(path)
    with pytest.raises(StepError, match=said):
        find(volume(), points=str(path), size=[8, 8], offsets=[1])


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\0")
    with pytest.raises(RequestError, match="the file cannot be read"):
        load_points(tmp_path / "a.json")


def test_an_annotation_layer_that_is_not_there(tmp_path):
    with pytest.raises(RequestError, match="no annotation layer 'b' of its own, only 'places'"):
        load_points(written(tmp_path, state(), "state.json"), "b")


def test_a_folder_with_a_file_for_each_case(tmp_path):
    (tmp_path / "places").mkdir()
    options = {"points": str(tmp_path / "places"), "size": [8, 8], "offsets": [1]}
    with pytest.raises(
        StepError, match="the folder has 0 files of points for the case site.*put one there: site with .csv, .tsv, .txt, .json"
    ):
        find(volume(), **options)
    written(tmp_path / "places", table(["(1, 2, 3)"]), "site.csv")
    written(tmp_path / "places", table(["(9, 2, 3)"]), "other.csv")
    assert find(volume(), **options)[0].views[0].start.tolist() == [[3, 2, 1]]
    written(tmp_path / "places", [{"point": [1, 2, 3]}], "site.json")
    with pytest.raises(StepError, match="2 files of points"):
        find(volume(), **options)


# Places.


@pytest.mark.parametrize("offset", [(0, 0, 0), (10, 20, 3), (-7, -64, -2)])
@pytest.mark.parametrize("resolution", [(4, 4, 40), (8, 5, 33.3), (0.3, 0.7, 1)])
@pytest.mark.parametrize("mip", [0, 3])
def test_the_pixel_of_a_place(offset, resolution, mip):
    """The place's own voxel of mip 0, in the world, lies in the pixel found."""
    grid = volume((8, 30, 40), mip=mip, offset=offset, resolution=resolution).image().grid
    assert corner_of(grid).tolist() == list(offset)
    places = np.array([[0, 0, 0], [81, 160.25, 3], [-3.5, -0.001, -1], [-56, 7.999, -2]])
    found = pixels_of(places, mip, grid)
    voxel = (np.floor(places) + 0.5) * resolution
    inexact = (voxel - grid.affine[:3, -1]) / grid.spacing[::-1]
    assert found.tolist() == np.floor(inexact + 0.5)[:, ::-1].tolist()


def test_layers_that_count_centres_from_zero():
    """Zarr and N5, of several levels, and layers without geometry: the first voxel of mip 0 is 0."""
    for factor in (1, 2, 4, 32):
        for first in (0, (factor - 1) / 2):
            grid = Grid.from_spacing((4, 8, 8), "zyx", (40, 4 * factor, 4 * factor), "nm", (4 * first, 4 * first, 0))
            assert corner_of(grid).tolist() == [0, 0, 0]
            moved = Grid.from_spacing((4, 8, 8), "zyx", (40, 4 * factor, 4 * factor), "nm", (4 * (first + 3 * factor), 4 * first, -80))
            assert corner_of(moved).tolist() == [3, 0, -2]
    assert pixels_of(np.array([[3.9, 2, 1]]), 0, Grid.from_spacing((4, 8, 8), "zyx")).tolist() == [[1, 2, 3]]


def test_rounding_down():
    places = np.array([[255.9, 256, 3.7], [-0.5, -256, -0.5]])
    assert snapped(places, 8).tolist() == [[0, 256, 3], [-256, -256, -1]]
    assert snapped(places, 0).tolist() == [[255, 256, 3], [-1, -256, -1]]


@pytest.mark.parametrize("axes", ["xyz", "yx"])
def test_layers_that_do_not_lie_along_the_axes(axes):
    with pytest.raises(StepError, match="places count along x, y and z, which the layer does not"):
        corner_of(Grid.from_spacing((4, 8, 8)[: len(axes)], axes))


def test_a_layer_that_is_flipped():
    affine = np.diag([1.0, 1, -1, 1])
    with pytest.raises(StepError, match="neither flipped nor turned"):
        corner_of(Grid((4, 8, 8), "zyx", affine))


# Pairs.


def test_three_points_and_three_offsets_are_eighteen_pairs(tmp_path):
    path = written(tmp_path, table(["(70, 35.5, 4)"], ["(3, 2, 5)"], ["(64, 0, 6)"]))
    case = volume()
    found, refused = find(case, points=str(path), size=[16, 24], offsets=[-1, -2, -3], permute=True, snap_mip=4)
    assert (len(found), refused) == (18, {})
    wanted = []
    for x, y, z in ((64, 32, 4), (0, 0, 5), (64, 0, 6)):
        for offset in (-1, -2, -3):
            wanted += [(x, y, z, z + offset), (x, y, z + offset, z)]
    columns = found.attributes
    assert list(zip(*(columns[name].tolist() for name in ("x", "y", "z", "tgt_z")), strict=True)) == wanted
    assert columns["pair"].tolist() == list(range(18))
    assert columns["point"].tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert {(columns["first_x"][i], columns["first_y"][i], columns["first_z"][i]) for i in range(18)} == {(64, 32, 4)}
    assert [(view.name, view.axes, view.layers) for view in found.views] == [("src", "zyx", ("image",)), ("tgt", "zyx", ("image",))]
    src, tgt = found.views
    assert src.start.tolist() == [[z, y, x] for x, y, z, _ in wanted]
    assert (tgt.start - src.start).tolist() == [[b - a, 0, 0] for _, _, a, b in wanted]
    assert {tuple(shape) for view in found.views for shape in view.shape.tolist()} == {(1, 16, 24)}
    assert found.roi_name(1, case) == "x64_y32_z3_4"
    assert len(set(found.roi_names(case))) == len(set(found.ids("site"))) == 18


def test_coarse_pixels_of_a_volume_that_begins_elsewhere():
    """Boxes are laid out in pixels of the layer, places stay those of mip 0."""
    case = volume((8, 64, 96), mip=5, offset=(100, 200, 17000))
    for mip in ({}, {"mip": 5}):
        found, refused = find(case, pairs=[[[3300, 6411, 17002], [3300, 6400, 17001]]], size=[16, 24], **mip)
        assert not refused
        assert [view.start.tolist() for view in found.views] == [[[2, 0, 3]], [[1, 0, 3]]]
        assert [found.attributes[name][0] for name in ("x", "y", "z", "tgt_x", "tgt_y", "tgt_z")] == [3300, 6411, 17002, 3300, 6400, 17001]
    _, refused = find(case, pairs=[[[3300, 6411, 17002], [3300, 6400, 17001]]], size=[16, 24], mip=4)
    assert list(refused) == [0]


def test_a_centre_is_the_middle():
    for size in ([16, 24], [17, 24]):
        found, _ = find(volume(mip=2), pairs=[[[200, 100, 4], [200, 100, 5]]], size=size, anchor="centre", snap_mip=3)
        corner = [200 - 48, 96 - 4 * size[0] // 2]
        assert [found.attributes[name][0] for name in "xy"] == corner
        assert found.views[0].start.tolist() == [[4, corner[1] // 4, corner[0] // 4]]


def test_pairs_that_leave_the_layer_are_refused_and_the_others_go_on():
    pairs = [
        [[40, 40, 1], [40, 40, 0]],
        [[40, 40, 0], [40, 40, -1]],
        [[41, 40, 1], [40, 40, 0]],
        [[40, 40, 7], [40, 48, 6]],
        [[-8, 0, 1], [0, 0, 2]],
    ]
    found, refused = find(volume(mip=3, shape=(8, 20, 20)), pairs=pairs, size=[15, 15])
    assert refused == {
        1: "tgt at x 40, y 40, z -1 with 15 x 15 pixels (y, x) of mip 3 leaves the layer 'image', "
        "which holds x 0 to 160, y 0 to 160, z 0 to 8 in voxels of mip 0",
        3: refused[3],
        4: refused[4],
    }
    assert (refused[3][:21], refused[4][:18]) == ("tgt at x 40, y 48, z ", "src at x -8, y 0, ")
    assert found.attributes["location"].tolist() == [0, -1, 0, -1, -1]
    assert found.attributes["first_z"].tolist() == [1] * 5
    found, refused = find(volume(), pairs=[[[40, 40, 9], [40, 40, 0]]], size=[15, 15], splits={"train": 1.0})
    assert (len(found), list(refused)) == (1, [0])


def test_which_layers_are_cut():
    case = volume(layers=["image", "mask"])
    other = volume((8, 32, 48), mip=1, layers=["field", "image"])
    vectors = curate_core.Image(np.zeros((8, 64, 96, 2), np.float32), case.image("mask").grid.add("c", 2, 3))
    case = case.with_layers({"field": other.image("field"), "vectors": vectors})
    pair = [[[8, 8, 3], [8, 8, 4]]]
    assert find(case, pairs=pair, size=[8, 8])[0].views[0].layers == ("image", "mask", "vectors")
    assert find(case, pairs=pair, size=[8, 8], layer="field")[0].views[1].layers == ("field",)
    assert find(case, pairs=pair, size=[8, 8], layers=["mask"])[0].views[1].cuts(case) == {"tgt": "mask"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, 'give either a file of points, or "pairs"'),
        ({"points": "a.csv", "pairs": [[[1, 2, 3], [1, 2, 4]]]}, 'give either a file of points, or "pairs"'),
        ({"points": "a.csv", "offsets": [1, 0]}, "pair a section with itself"),
        ({"points": "a.csv", "offsets": [1, 1]}, "or twice with another"),
        ({"points": "a.csv", "splits": {"train": 0.8, "val": 0.3}}, "must be above 0 and add up to 1"),
        ({"points": "a.csv", "splits": {"train": 1.5, "val": -0.5}}, "must be above 0 and add up to 1"),
        ({"points": "a.csv", "splits": {}}, "must be above 0 and add up to 1"),
        ({"start": [0, 0], "z": [0, 1]}, "from 0 to 1 there are no two sections 1 apart"),
        ({"start": [0, 0], "z": [0, 9], "offset": 0}, "pairs a section with itself"),
    ],
)
def test_options_that_make_no_sense(options, said):
    with pytest.raises(Exception, match=said):
        find(volume(), size=[8, 8], **options)


def test_points_need_offsets_and_pairs_have_them(tmp_path):
    path = written(tmp_path, table(["(1, 2, 3)"]))
    with pytest.raises(StepError, match='points alone are no pairs.*"offsets": '):
        find(volume(), points=str(path), size=[8, 8])
    with pytest.raises(StepError, match="pairs are listed already"):
        find(volume(), pairs=[[[1, 2, 3], [1, 2, 4]]], size=[8, 8], offsets=[1])


def test_a_stretch():
    found, refused = find(volume(offset=(0, 0, 100)), start=[8, 4], z=[100, 108], size=[16, 24])
    assert not refused
    assert found.views[0].start.tolist() == [[z, 8, 4] for z in range(7)]
    assert found.views[1].start.tolist() == [[z + 1, 8, 4] for z in range(7)]
    found, _ = find(volume(), start=[8, 4], z=[0, 8], size=[16, 24], offset=-2, step=3, permute=True)
    assert list(zip(found.attributes["z"].tolist(), found.attributes["tgt_z"].tolist(), strict=True)) == [(2, 0), (0, 2), (5, 3), (3, 5)]
    _, refused = find(volume(), start=[8, 4], z=[6, 10], size=[16, 24])
    assert sorted(refused) == [1, 2]


# Splits.


def brute(src, tgt, extent, apart):
    """Connected components by the definition, one pair of boxes after the other."""
    group = list(range(len(src)))
    for i, j in itertools.combinations(range(len(src)), 2):
        near = any(
            abs(a[0] - b[0]) < extent[0] and abs(a[1] - b[1]) < extent[1] and abs(a[2] - b[2]) <= apart
            for a in (src[i], tgt[i]) for b in (src[j], tgt[j])
        )  # fmt: skip
        if near:
            group = [group[i] if g == group[j] else g for g in group]
    names = list(dict.fromkeys(group))
    return [names.index(g) for g in group]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("apart", [0, 1, 3])
def test_locations_by_their_definition(seed, apart):
    rng = np.random.default_rng(seed)
    src = rng.integers(-100, 100, (60, 3)) * [1, 1, 1]
    src[:, 2] //= 8
    tgt = src + np.stack([np.zeros(60), np.zeros(60), rng.integers(-3, 4, 60)], axis=1).astype(int)
    found = locations(src, tgt, (24, 16), apart)
    assert found.tolist() == brute(src, tgt, (24, 16), apart)
    assert 1 < found.max() < 59


def test_boxes_that_touch_do_not_overlap():
    src = np.array([[0, 0, 0], [1 << 20, 0, 0], [(2 << 20) - 1, 0, 0]])
    assert locations(src, src + [0, 0, 1], (1 << 20, 8), 0).tolist() == [0, 1, 1]


def places(count, seed=0):
    """Points of which some lie close to each other, along x, y or z."""
    rng = np.random.default_rng(seed)
    spread = rng.integers(0, 2000, (count, 3)) // [1, 1, 20] + [0, 0, 3]
    return np.concatenate([spread, spread[: count // 4] + [5, 7, 0], spread[: count // 4] + [0, 0, 2]])


def test_splits_keep_together_what_overlaps(tmp_path):
    listed = places(200)
    path = written(tmp_path, table(*listed.tolist(), names=["x0", "y0", "z0"]))
    options = {
        "points": str(path),
        "size": [16, 24],
        "offsets": [-1, -2, 3],
        "permute": True,
        "splits": {"train": 0.7, "val": 0.2, "test": 0.1},
    }
    case = volume((140, 2100, 2100))
    found, refused = find(case, **options)
    assert not refused
    split = found.attributes["split"]
    src, tgt = (np.stack([found.attributes[f"{prefix}{a}"] for a in "xyz"], axis=1) for prefix in ("", "tgt_"))
    both = np.concatenate([src, tgt])
    names = np.concatenate([split, split])
    for box, name in zip(both, names, strict=True):
        near = (np.abs(both - box) < [24, 16, 3 + 1]).all(axis=1)
        assert set(names[near]) == {name}
    shares = {name: float((split == name).mean()) for name in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.7, "val": 0.2, "test": 0.1}, abs=0.02)
    again, _ = find(case, **options)
    assert (again.attributes["split"] == split).all()
    other, _ = find(case, seed=1, **options)
    assert (other.attributes["split"] != split).any()


def test_three_places_are_two_and_one(tmp_path):
    path = written(tmp_path, table(["(0, 0, 4)"], ["(40, 0, 5)"], ["(64, 32, 6)"]))
    for seed in range(5):
        found, _ = find(volume(), seed, points=str(path), size=[16, 24], offsets=[-1, -2], permute=True, splits={"train": 0.8, "val": 0.2})
        counts = np.unique(found.attributes["split"], return_counts=True)
        assert [column.tolist() for column in counts] == [["train", "val"], [8, 4]]


def test_refused_pairs_have_no_split():
    pairs = [[[0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, -1]]]
    found, _ = find(volume(), pairs=pairs, size=[16, 16], splits={"train": 1.0})
    assert found.attributes["split"].tolist() == ["train", None]


def split_table(*rows):
    return table(*rows, names=["x0", "y0", "z0", "split", "apart"])


def test_a_split_of_the_file_is_kept(tmp_path):
    path = written(tmp_path, split_table([0, 0, 4, "train"], [40, 0, 4, "val"], [0, 32, 4, ""], [3, 3, 5, "train"]))
    found, refused = find(volume(), points=str(path), size=[16, 24], offsets=[-1], splits={"a": 1.0})
    assert not refused
    assert found.attributes["split"].tolist() == ["train", "val", None, "train"]
    assert found.attributes["location"].tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("second", "options", "leak"),
    [
        ([8, 8, 4], {}, True),  # overlaps
        ([24, 0, 4], {}, False),  # touches
        ([0, 16, 4], {}, False),
        ([8, 8, 7], {}, False),  # two sections from the other's nearest, pairs reach one
        ([8, 8, 6], {}, True),  # its neighbour
        ([8, 8, 6], {"apart": 0}, False),
        ([8, 8, 5], {"apart": 0}, True),  # one section in common
        ([8, 8, 7], {"apart": 2}, True),
    ],
)
def test_a_leak_is_refused(tmp_path, second, options, leak):
    path = written(tmp_path, split_table([64, 0, 4, "train"], [0, 0, 4, "train"], [*second, "val"]))
    options = {"points": str(path), "size": [16, 24], "offsets": [-1], **options}
    if not leak:
        assert len(find(volume(), **options)[0]) == 3
        return
    place = "x {}, y {}, z {}".format(*second)
    said = f"case site: a leak: pair 1 at x 0, y 0, z 4 in the split train and pair 2 at {place} in val show the same tissue"
    with pytest.raises(StepError, match=said):
        find(volume(), **options)


@pytest.mark.parametrize("seed", range(6))
def test_locations_are_connected_components(seed, monkeypatch):
    """Against scipy's, by both ways of finding neighbours."""
    rng = np.random.default_rng(seed)
    src = rng.integers(0, 60, (80, 3)) * [10, 10, 1]
    tgt = src + [0, 0, 1] * rng.integers(-2, 3, (80, 1))
    found = locations(src, tgt, (40, 30), 2)
    boxes = np.concatenate([src, tgt])
    apart = np.abs(boxes[:, None] - boxes)
    joined = (apart < [40, 30, 3]).all(axis=2)
    joined[np.arange(80), np.arange(80, 160)] = True
    _, labels = connected_components(joined, directed=False)
    assert len(np.unique(found)) > 1
    assert ((found[:, None] == found) == (labels[:80, None] == labels[:80])).all()
    assert list(dict.fromkeys(found.tolist())) == list(range(found.max() + 1)), "numbered as they appear"
    monkeypatch.setattr("curate_align.splits._FEW", 0)
    np.testing.assert_array_equal(locations(src, tgt, (40, 30), 2), found)


def test_a_chain_of_boxes_is_one_location():
    src = np.stack([np.random.default_rng(0).permutation(500) * 7, np.zeros(500, int), np.zeros(500, int)], axis=1)
    assert locations(src, src + [0, 0, 1], (8, 8), 1).max() == 0
    assert locations(src, src + [0, 0, 1], (7, 8), 1).max() == 499
