"""Geometry, cutting and files of ROIs over random shapes, strides and dtypes: equal to numpy and to linear algebra.

The number of examples is fixed and they are the same in every run; ``CURATE_FUZZ=200`` multiplies it by 200 and draws others each time.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate_core.arrays import AddAxisArray, ArrayLike, ConcatArray, CropArray, LazyArray, MapArray, TakeArray, TransposeArray, read, slabs
from curate_core.cut import batches, block_edges, cut_boxes, row_bytes
from curate_core.errors import CurateError, RequestError
from curate_core.grid import Grid
from curate_core.model import Case, Image
from curate_core.npz import load_arrays, save_arrays
from curate_core.roifile import load_rois, save_rois
from curate_core.rois import RoiTable

FACTOR = int(os.environ.get("CURATE_FUZZ", "1"))


def examples(count: int) -> settings:
    return settings(
        max_examples=count * FACTOR, derandomize=FACTOR == 1, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


DTYPES = ["u1", "i1", "<u2", ">u2", "<i2", ">i4", "<f4", ">f4", "<f8", "?", "<c8", "<f2", "<u8"]
FINITE = st.floats(-1e4, 1e4, allow_subnormal=False)


@st.composite
def arrays(draw: st.DrawFn, least: int = 1) -> Any:
    """An array of any dtype with any strides: transposed, reversed, with steps, broadcast."""
    ndim = draw(st.integers(1, 4))
    shape = [draw(st.integers(least, 6)) for _ in range(ndim)]
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 250, [2 * n for n in shape]).astype(draw(st.sampled_from(DTYPES)))
    key = tuple(draw(st.sampled_from([slice(None, n), slice(None, None, 2), slice(None, None, -2), slice(-1, n - 1, -1)])) for n in shape)
    values = values[key].transpose(draw(st.permutations(range(ndim))))
    if draw(st.booleans()):
        values = np.broadcast_to(values[:1], values.shape)
    return values


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """A grid of any axes, invertible where it has three spatial ones."""
    axes = "".join(draw(st.permutations("xyzct"))[: draw(st.integers(1, 5))])
    shape = [draw(st.integers(1, 9)) for _ in axes]
    spatial = [axis for axis in axes if axis in "xyz"]
    rotation = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 999))).normal(size=(3, 3)))[0]
    steps = np.array([draw(st.floats(1e-3, 1e3)) for _ in spatial])
    shear = np.triu(np.full((len(spatial), len(spatial)), draw(st.floats(-0.5, 0.5))), 1) + np.eye(len(spatial))
    affine = np.zeros((4, len(spatial) + 1))
    affine[:3, :-1] = rotation[:, : len(spatial)] @ shear * steps
    affine[:3, -1] = [draw(FINITE) for _ in range(3)]
    affine[3, -1] = 1
    return Grid(shape, axes, affine, draw(st.sampled_from(["", "mm", "nm"])), draw(st.booleans()), draw(st.booleans()))


def worlds(grid: Grid) -> Any:
    """(*shape, 3): where each voxel lies, axes without a place in space repeated."""
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    return grid.world(index[..., list(grid.spatial)])


def close(one: Any, other: Any) -> bool:
    scale = max(1.0, float(np.abs(one).max(initial=0)), float(np.abs(other).max(initial=0)))
    return np.shape(one) == np.shape(other) and bool(np.allclose(one, other, rtol=0, atol=1e-9 * scale))


@examples(150)
@given(st.data())
def test_whatever_is_done_to_a_grid_its_voxels_stay_in_place(data: st.DataObject) -> None:
    """Crops, transpositions, dropped and added axes, one after the other: as indexing an array of world coordinates does."""
    grid = data.draw(grids())
    truth = worlds(grid)
    for _ in range(data.draw(st.integers(1, 4))):
        ndim = len(grid.shape)
        act = data.draw(st.sampled_from(["crop", "transpose", "drop", "add"]))
        if act == "crop":
            start = [data.draw(st.integers(0, n - 1)) for n in grid.shape]
            stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, grid.shape, strict=True)]
            grid, truth = grid.crop(start, stop), truth[tuple(map(slice, start, stop))]
        elif act == "transpose":
            order = data.draw(st.permutations(range(ndim)))
            grid, truth = grid.transpose(order), truth.transpose(*order, ndim)
        elif act == "drop" and ndim > 1:
            axis = data.draw(st.integers(0, ndim - 1))
            grid, truth = grid.drop(axis), truth.take(0, axis)
        elif act == "add" and "w" not in grid.axes:
            position = data.draw(st.integers(0, ndim))
            grid, truth = grid.add("w", 3, position), np.repeat(np.expand_dims(truth, position), 3, position)
        assert truth.shape == (*grid.shape, 3)
        assert close(worlds(grid), truth)


@examples(100)
@given(grids())
def test_the_inverse_of_an_affine_finds_the_voxel_again(grid: Grid) -> None:
    if not grid.spatial:
        assert np.array_equal(grid.world([]), grid.affine[:3, -1])
        return
    index = np.moveaxis(np.indices(grid.spatial_shape), 0, -1).reshape(-1, len(grid.spatial))
    world = grid.world(index)
    inverse = np.linalg.pinv(grid.affine[:3, :-1])
    assert np.allclose((world - grid.affine[:3, -1]) @ inverse.T, index, atol=1e-6)
    assert np.allclose(grid.spacing, np.linalg.norm(world_steps(grid), axis=1))
    assert grid.distance(grid) == 0
    assert grid.distance(grid.crop([0] * len(grid.shape), grid.shape)) == 0


def world_steps(grid: Grid) -> Any:
    eye = np.eye(len(grid.spatial))
    return grid.world(eye) - grid.world(0 * eye)


@examples(100)
@given(grids(), st.text(max_size=20))
def test_a_grid_written_down_is_the_same_grid(grid: Grid, noise: str) -> None:
    assert Grid.from_json(json.loads(json.dumps(grid.to_json()))) == grid
    assert grid.describe()
    with pytest.raises((ValueError, TypeError)):
        Grid.from_json({**grid.to_json(), "axes": grid.axes + noise + "?", "shape": [1] * (len(grid.axes) + len(noise))})


@examples(100)
@given(grids(), st.data())
def test_padding_and_cropping_back_is_nothing(grid: Grid, data: st.DataObject) -> None:
    before, after = ([data.draw(st.integers(0, 5)) for _ in grid.shape] for _ in range(2))
    padded = grid.pad(before, after)
    back = padded.crop(before, [b + n for b, n in zip(before, grid.shape, strict=True)])
    assert back.shape == grid.shape
    assert close(back.affine, grid.affine)


# Lazy arrays.


def double(values: Any) -> Any:
    return values + values


@st.composite
def views(draw: st.DrawFn) -> tuple[ArrayLike, Any]:
    """A lazy array and what it stands for."""
    eager = draw(arrays())
    lazy: ArrayLike = eager
    for _ in range(draw(st.integers(1, 4))):
        ndim = eager.ndim
        act = draw(st.sampled_from(["crop", "transpose", "take", "add", "concat", "map"]))
        if act == "crop":
            start = [draw(st.integers(0, n)) for n in eager.shape]
            stop = [draw(st.integers(a, n)) for a, n in zip(start, eager.shape, strict=True)]
            lazy, eager = CropArray(lazy, start, stop), eager[tuple(map(slice, start, stop))]
        elif act == "transpose":
            order = draw(st.permutations(range(ndim)))
            lazy, eager = TransposeArray(lazy, order), eager.transpose(order)
        elif act == "take" and ndim > 1:
            axis = draw(st.integers(0, ndim - 1))
            if eager.shape[axis]:
                index = draw(st.integers(0, eager.shape[axis] - 1))
                lazy, eager = TakeArray(lazy, index, axis), eager.take(index, axis)
        elif act == "add" and ndim < 5:
            axis = draw(st.integers(0, ndim))
            lazy, eager = AddAxisArray(lazy, axis), np.expand_dims(eager, axis)
        elif act == "concat" and ndim:
            axis = draw(st.integers(0, ndim - 1))
            lazy, eager = ConcatArray([lazy, lazy], axis), np.concatenate([eager, eager], axis)
        elif act == "map":
            made = double(eager)
            lazy, eager = MapArray(lazy, double, made.dtype), made
    return lazy, eager


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Any basic index: integers, slices with steps either way, an ellipsis, fewer than there are axes."""
    first = draw(st.integers(0, len(shape)))
    last = draw(st.integers(first, len(shape)))

    def entries(lengths: tuple[int, ...]) -> list[Any]:
        found: list[Any] = []
        for length in lengths:
            ends = st.one_of(st.none(), st.integers(-length - 2, length + 2))
            whole: Any = slice(draw(ends), draw(ends), draw(st.sampled_from([None, 1, 2, 3, -1, -2])))
            found.append(draw(st.integers(-length, length - 1)) if length and draw(st.booleans()) else whole)
        return found

    return (*entries(shape[:first]), *([Ellipsis, *entries(shape[last:])] if draw(st.booleans()) else []))


@examples(150)
@given(views(), st.data())
def test_a_lazy_array_is_the_eager_one(view: tuple[ArrayLike, Any], data: st.DataObject) -> None:
    lazy, eager = view
    assert tuple(lazy.shape) == eager.shape
    if isinstance(lazy, LazyArray):
        assert lazy.dtype == eager.dtype.newbyteorder("=") or lazy.dtype == eager.dtype
    key = data.draw(keys(eager.shape))
    assert np.array_equal(np.asarray(lazy[key]), eager[key])
    assert np.array_equal(read(lazy), eager)
    pieces = [read(lazy, where) for where in slabs(lazy, data.draw(st.integers(1, 200)))]
    if eager.size and eager.ndim:
        assert np.array_equal(np.concatenate(pieces), eager)


# Cutting.


@examples(200)
@given(arrays(least=2), st.data())
def test_cut_boxes_are_slices(values: Any, data: st.DataObject) -> None:
    size = [data.draw(st.integers(1, n)) for n in values.shape]
    drop = data.draw(st.sampled_from([None, *range(values.ndim)]))
    if drop is not None:
        size[drop] = 1
    count = data.draw(st.integers(1, 12))
    start = np.array([[data.draw(st.integers(0, n - s)) for n, s in zip(values.shape, size, strict=True)] for _ in range(count)])
    truth = np.array([values[tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))] for corner in start.tolist()])
    truth = truth if drop is None else truth.squeeze(drop + 1)
    for array in (values, MapArray(values, np.array, values.dtype)):
        found = cut_boxes(array, start, start + size, drop)
        assert found.shape == truth.shape
        assert np.array_equal(found, truth)


@examples(60)
@given(st.data())
def test_batches_give_every_sample_once_as_it_is(data: st.DataObject) -> None:
    shape = [data.draw(st.integers(1, 8)) for _ in range(3)]
    values = np.random.default_rng(0).integers(0, 9999, (*shape, 2)).astype(data.draw(st.sampled_from(["u1", ">u2", "<f4"])))
    grid = Grid.from_spacing(values.shape, "zyxc", (3, 2, 1), "nm")
    count = data.draw(st.integers(1, 30))
    start = np.array([[data.draw(st.integers(0, n - 1)) for n in shape] for _ in range(count)])
    stop = np.array([[data.draw(st.integers(a + 1, n)) for a, n in zip(row, shape, strict=True)] for row in start.tolist()])
    drop = np.array([data.draw(st.sampled_from([-1, *np.flatnonzero(size == 1).tolist()])) for size in stop - start])
    case = Case("c", {"em": Image(values, grid)})
    table = RoiTable.boxes(start, stop, "zyx", drop=drop)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1))))
    ids = table.ids("c")
    seen: list[int] = []
    for batch in batches(case, table, rows, [ids[row] for row in rows.tolist()]):
        for i, row in enumerate(batch.rows.tolist()):
            seen.append(row)
            truth = values[tuple(slice(a, b) for a, b in zip(start[row].tolist(), stop[row].tolist(), strict=True))]
            corner = grid.world(start[row])
            if drop[row] >= 0:
                truth = truth.squeeze(int(drop[row]))
            assert np.array_equal(batch.arrays["em"][i], truth)
            assert batch.grids["em"](i).shape == truth.shape
            assert np.allclose(batch.grids["em"](i).world([0] * len(batch.grids["em"](i).spatial)), corner)
            assert batch.ids[i] == ids[row]
    assert sorted(seen) == rows.tolist()
    assert len(set(ids)) == len(ids)
    sizes = row_bytes(case, table)
    edges = block_edges(sizes)
    assert edges[0] == 0
    assert edges[-1] == count
    assert edges == sorted(set(edges))
    assert sizes.tolist() == [int(np.prod(size)) * 2 * values.itemsize for size in stop - start]


# Files of ROIs and of arrays.


NAMES = st.text(min_size=1, max_size=6).filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text) and "\0" not in text)


@st.composite
def tables(draw: st.DrawFn) -> RoiTable:
    count = draw(st.integers(0, 6))
    axes = "".join(draw(st.permutations("zyx"))[: draw(st.integers(1, 3))])
    start = np.array([[draw(st.integers(-(2**40), 2**40)) for _ in axes] for _ in range(count)], np.int64).reshape(count, len(axes))
    size = np.array([[draw(st.integers(1, 99)) for _ in axes] for _ in range(count)], np.int64).reshape(count, len(axes))
    columns = {}
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        values = draw(
            st.sampled_from([st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), NAMES])
        )
        column: Any = np.array([draw(values) for _ in range(count)]) if count else np.zeros(0, np.int64)
        columns[name] = np.ma.MaskedArray(column, [draw(st.booleans()) for _ in range(count)]) if draw(st.booleans()) and count else column
    return RoiTable.boxes(start, start + size, axes, attributes=columns, name=draw(st.sampled_from(["", "{case}", "x{z0}"])))


@examples(100)
@given(tables(), NAMES, st.sampled_from([".npz", ".jsonl"]), grids())
def test_rois_written_down_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, table: RoiTable, case: str, suffix: str, grid: Grid
) -> None:
    path = tmp_path_factory.getbasetemp() / f"rois{suffix}"
    save_rois(path, {case: (table, {"em": grid})})
    found, grids_found = load_rois(path)[case]
    assert grids_found == {"em": grid}
    assert len(found) == len(table)
    assert np.array_equal(found.views[0].start, table.views[0].start)
    assert np.array_equal(found.views[0].stop, table.views[0].stop)
    assert found.name == table.name
    assert [found.row_attributes(row) for row in range(len(found))] == [table.row_attributes(row) for row in range(len(table))]
    assert found.ids(case) == table.ids(case)


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    out = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(out) - 1)))
        act = draw(st.sampled_from(["flip", "byte", "cut", "end", "double", "zeros"]))
        if act == "flip" and out:
            out[at] ^= 1 << draw(st.integers(0, 7))
        elif act == "byte" and out:
            out[at] = draw(st.sampled_from([0, 255, 57, 45, 34, 123]))
        elif act == "cut":
            del out[at : at + draw(st.integers(1, 40))]
        elif act == "end":
            del out[at:]
        elif act == "double":
            out[at:at] = out[at : at + draw(st.integers(1, 64))]
        else:
            out[at : at + 8] = bytes(8)
    return bytes(out)


TABLE = RoiTable.boxes(
    np.arange(12).reshape(4, 3), np.arange(12).reshape(4, 3) + 5, "zyx",
    attributes={"score": np.linspace(0, 1, 4), "plane": np.array(["xy", "xz", "yz", "xy"]), "n": np.ma.MaskedArray([1, 2, 3, 4], [0, 1, 0, 1])},
)  # fmt: skip


@examples(150)
@given(st.data(), st.sampled_from([".npz", ".jsonl"]))
def test_damaged_rois_are_rois_or_named(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str) -> None:
    """A changed digit in a line is another ROI; whatever comes out can be used."""
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    save_rois(path, {"case": (TABLE, {"em": Grid.from_spacing((9, 9, 9), "zyx")})})
    path.write_bytes(data.draw(damage(path.read_bytes())))
    try:
        found = load_rois(path)
    except RequestError as error:
        said = str(error)
    else:
        said = str(path)
        for case, (table, grids_found) in found.items():
            table.ids(case)
            [table.row_attributes(row) for row in range(len(table))]
            assert all(isinstance(grid, Grid) for grid in grids_found.values())
    assert str(path) in said


@examples(150)
@given(st.data())
def test_damaged_archives_are_refused_or_as_they_were(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """The archive's checksums see every changed byte of an array."""
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    given_arrays = {"a": np.arange(24).reshape(2, 3, 4), "b": np.array(["x", "yz"]), "c": np.zeros(0, ">f4")}
    save_arrays(path, given_arrays)
    path.write_bytes(data.draw(damage(path.read_bytes())))
    try:
        found = load_arrays(path)
    except Exception as error:  # callers turn all of them into an error that names the file
        assert not isinstance(error, CurateError)  # noqa: PT017
        return
    for name, values in found.items():
        assert name not in given_arrays or np.array_equal(values, given_arrays[name])


@examples(60)
@given(st.dictionaries(NAMES.filter(lambda name: "/" not in name), arrays(least=0), max_size=3))
def test_arrays_written_down_are_the_same(tmp_path_factory: pytest.TempPathFactory, arrays_given: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "arrays.npz"
    save_arrays(path, arrays_given)
    first = path.read_bytes()
    found = load_arrays(path)
    assert list(found) == list(arrays_given)
    for name, values in arrays_given.items():
        assert found[name].dtype == values.dtype
        assert np.array_equal(found[name], values)
    save_arrays(path, arrays_given)
    assert path.read_bytes() == first, "the same bytes for the same arrays"


def test_a_name_that_an_archive_would_cut_short_is_refused(tmp_path: Path) -> None:
    """Found by the test above: two columns became one."""
    columns = {"a\0b": np.arange(2), "a\0c": np.arange(2)}
    with pytest.raises(ValueError, match=r"no archive keeps the name 'a\\x00b' whole"):
        save_arrays(tmp_path / "arrays.npz", columns)
    with pytest.raises(ValueError, match=r"ROI attribute 'a\\x00b' needs a name without NUL"):
        RoiTable.boxes(np.zeros((2, 1)), np.ones((2, 1)), "x", attributes=columns)
    line = {"case": "c", "axes": "x", "start": [0], "stop": [1], "attributes": {"a\0b": 1}}
    (tmp_path / "rois.jsonl").write_text(json.dumps(line))
    with pytest.raises(RequestError, match="needs a name without NUL"):
        load_rois(tmp_path / "rois.jsonl")


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    """Found by the damaged archives: numpy gives bytes for it."""
    with zipfile.ZipFile(tmp_path / "arrays.npz", "w") as archive:
        archive.writestr("a.npy", b"")
        archive.writestr("b.npy", b"text")
    with pytest.raises(ValueError, match="the archive holds 'a', 'b', which is no array"):
        load_arrays(tmp_path / "arrays.npz")
    with pytest.raises(RequestError, match="this is no file of ROIs"):
        load_rois(tmp_path / "arrays.npz")


def test_rois_that_are_named_by_what_they_have_not_are_refused(tmp_path: Path) -> None:
    """Found by the damaged files: it showed when their ids were asked for."""
    with pytest.raises(ValueError, match="ROIs are named by the attribute 'place', which they have not"):
        RoiTable(TABLE.views, TABLE.attributes, identity="place")
    save_rois(tmp_path / "rois.jsonl", {"case": (RoiTable(TABLE.views, TABLE.attributes, identity="score"), {})})
    lines = (tmp_path / "rois.jsonl").read_text(encoding="utf-8").replace('"identity": "score"', '"identity": "scare"')
    (tmp_path / "rois.jsonl").write_text(lines, encoding="utf-8")
    with pytest.raises(RequestError, match="which they have not"):
        load_rois(tmp_path / "rois.jsonl")
