"""What writers share: names of files, and the base class of formats that hold one array a file."""

import numpy as np
import pytest
from attrs import frozen

from curate_core.cut import without_pixels
from curate_core.errors import StepError
from curate_core.grid import Grid
from curate_core.kinds import Placement
from curate_core.model import Case
from curate_core.options import option
from curate_core.rois import RoiTable
from curate_core.templates import PathTemplate
from curate_core.testing import context, make_batch, make_case, values
from curate_core.writing import FileWriter, SampleValues, render_paths, unique_in_case


@pytest.fixture
def batch():
    columns = {"score": np.ma.MaskedArray([0.5, 2.0, 3.0], [False, True, False]), "plane": np.array([b"xy", b"xz", b"yz"])}
    return make_batch(values((3, 4, 5)), "yx", id="c1", attributes=columns, case_attributes={"split": "train", "score": 9, "day": "7"})


def test_what_fills_a_path(batch):
    first = dict(SampleValues(batch, 0, "em"))
    assert first == {
        "case": "c1", "roi": "y0-4_x0-5", "id": "c1:0-4,0-5", "array": "em",
        "split": "train", "score": 0.5, "day": "7", "plane": "xy", "y0": 0, "y1": 4, "x0": 0, "x1": 5,
    }  # fmt: skip
    assert len(SampleValues(batch, 0, "em")) == len(first)
    assert {type(value) for value in first.values()} == {str, int, float}


def test_a_sample_without_a_value_has_that_of_its_case(batch):
    assert [SampleValues(batch, row)["score"] for row in range(3)] == [0.5, 9, 3.0]


def test_without_an_array_there_is_none(batch):
    assert "array" not in SampleValues(batch, 0)
    with pytest.raises(KeyError):
        SampleValues(batch, 0)["array"]
    with pytest.raises(KeyError):
        SampleValues(batch, 0)["gone"]


def test_attributes_that_steps_added_fill_paths_too(batch):
    added = batch.with_attributes(label=np.array([1, 2, 3]), split=np.array(["a", "b", "c"]))
    assert render_paths(PathTemplate("{split}/{label:02}.npy"), added) == ["a/01.npy", "b/02.npy", "c/03.npy"]


def test_paths_of_a_batch(batch):
    assert render_paths(PathTemplate("{case}/{plane}/{y0:03}-{day:02}.npy"), batch) == [
        "c1/xy/000-07.npy", "c1/xz/004-07.npy", "c1/yz/008-07.npy",
    ]  # fmt: skip
    assert render_paths(PathTemplate("{array}/{roi}.npy"), batch)[0] == "*/y0-4_x0-5.npy"
    assert render_paths(PathTemplate("{array}/{roi}.npy"), batch, "em")[0] == "em/y0-4_x0-5.npy"


def test_a_roi_name_of_its_own():
    table = RoiTable.boxes([[0, 0]], [[4, 5]], "yx", attributes={"plane": np.array(["xy"])}, name="{plane}_{y1:02}_{case}")
    assert table.roi_name(0, make_case(values((4, 5)), id="c")) == "xy_04_c"


def test_what_a_sample_lacks_is_named(batch):
    with pytest.raises(StepError) as caught:
        render_paths(PathTemplate("{case}/{gone}.npy"), batch)
    assert str(caught.value) == (
        "the path '{case}/{gone}.npy' wants {gone}, the sample has array, case, day, id, plane, roi, score, split, x0, x1, y0, y1"
    )
    with pytest.raises(StepError, match="cannot be filled in"):
        render_paths(PathTemplate("{plane:03d}.npy"), batch)


def test_paths_stay_inside(batch):
    escaping = batch.with_attributes(out=np.array(["../../etc", "/etc", "a//b"]))
    for row in range(3):
        with pytest.raises(StepError, match="would leave the output folder or is not a plain relative path"):
            render_paths(PathTemplate("{out}/x.npy"), escaping.take([row]))


@pytest.mark.parametrize(
    ("template", "unique"),
    [
        ("{case}/{roi}.npy", True),
        ("x/{case}.d/{roi}.npy", True),
        ("{roi}/{case}.npy", True),
        ("{case}_{roi}.npy", False),
        ("{roi}.npy", False),
        ("{case:03}/{roi}.npy", False),
        ("{case}{case}/{roi}.npy", False),
        ("all.npy", False),
    ],
)
def test_whether_cases_can_share_a_path(template, unique):
    """``{case}_{roi}`` may not tell a_b + c from a + b_c; ``{case:03}`` not 7 from 007."""
    assert unique_in_case(PathTemplate(template)) == unique


@frozen
class TextWriter(FileWriter):
    """Arrays as text."""

    path: str = option(doc="Where to.", default="{case}/{roi}.txt")

    def write_array(self, path, values, grid, attributes):
        assert isinstance(grid, Grid)
        assert grid.shape == values.shape
        np.savetxt(path, values, header=f"{attributes['array']} {grid.spacing}")

    def read(self, path, place):
        return np.loadtxt(path)


def written(writer, batch, folder):
    with writer.open(folder, context()) as session:
        return session.write(batch)


def test_a_file_for_each_array_of_each_sample(tmp_path):
    arrays = {"a": values((3, 4, 5), "float32"), "b": values((3, 4, 5), "int16", 1)}
    batch = make_batch(arrays, "yx", [2, 1], id="c/1")
    writer = TextWriter(path="{case}/{array}/{roi}.txt")
    placed = written(writer, batch, tmp_path)
    assert placed[0] == {
        "a": Placement("c/1/a/y0-4_x0-5.txt", None, (4, 5), "<f4"),
        "b": Placement("c/1/b/y0-4_x0-5.txt", None, (4, 5), "<i2"),
    }
    for row, placements in enumerate(placed):
        for name, placement in placements.items():
            np.testing.assert_array_equal(writer.read(tmp_path / placement.file, None), arrays[name][row])
            assert (tmp_path / placement.file).read_text().startswith(f"# {name} (2.0, 1.0)\n")
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 6
    expected = [{placement.file for placement in placements.values()} for placements in placed]
    assert [{path.replace("*", name) for name in arrays} for path in writer.paths(batch)] == expected


def test_several_arrays_need_array_in_the_path(tmp_path):
    batch = make_batch({"a": values((2, 3, 3)), "b": values((2, 3, 3))})
    with pytest.raises(StepError) as caught:
        written(TextWriter(), batch, tmp_path)
    assert str(caught.value) == (
        "the samples have the arrays a, b, which would share the path '{case}/{roi}.txt' (add {array} to the path, or write only one)"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_writer_may_select_arrays(tmp_path):
    @frozen
    class OnlyB(TextWriter):
        def selected(self, batch):
            return ["b"]

    placed = written(OnlyB(), make_batch({"a": values((2, 3, 3)), "b": values((2, 3, 3))}), tmp_path)
    assert [list(placements) for placements in placed] == [["b"], ["b"]]


def test_uniqueness_follows_the_path():
    assert TextWriter().unique_in_case()
    assert not TextWriter(path="{roi}.txt").unique_in_case()
    assert not TextWriter().assembles()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{case}/{roi}.x", ""),
        ("{case}/{roi}.x", "{case}-{loc}_{index}_{z0}-{x1}"),
        ("{case}/{roi}.x", "{case}-{index:03}"),
        ("{split}/{plane}/{id}.x", ""),
        ("{case}/{half}/{z0}_{y1}.x", ""),
        ("{case}_{score}_{number}/{roi}.x", "{flag}-{score}"),
        ("{case:04}/{index:04}_{array}.x", ""),
        ("{array}/{{{index}}}.x", ""),
    ],
)
def test_all_paths_at_once_are_the_paths_one_by_one(text, name):
    start = np.stack(np.meshgrid(np.arange(3), [0, 8], [0, 4], indexing="ij"), axis=-1).reshape(-1, 3)
    columns = {
        "loc": np.array([f"0_{i}" for i in range(12)], "S8"),
        "index": np.arange(12, dtype=np.int32),
        "plane": np.array(["xy", "x\u00e9"] * 6),
        "score": np.linspace(0, 1, 12),
        "flag": np.arange(12) % 2 == 0,
        "half": np.ma.MaskedArray(np.array(["low", "high"] * 6), [False] * 12),
    }
    table = RoiTable.boxes(start, start + [1, 8, 4], "zyx", attributes=columns, name=name)
    case = Case("12", {}, {"split": "train", "number": 7})
    batch = without_pixels(case, table, table.ids("12"), np.arange(12))
    template = PathTemplate(text)
    one_by_one = [template.render(SampleValues(batch, row, "ct")) for row in range(12)]
    assert render_paths(template, batch, "ct") == one_by_one
    assert table.roi_names(case) == [table.roi_name(row, case) for row in range(12)]
