"""Regular tilings, against counting every voxel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate_core.builtin.tiling import boxes_of_grid, boxes_of_sections, sections, tile_edges

LENGTHS = st.integers(1, 40)
SIZES = st.integers(1, 15)
EDGES = st.sampled_from(["short", "drop", "shift"])


def by_hand(length, size, stride, edge):
    """Tiles of one axis, one after the other."""
    tiles, at = [], 0
    while at + size <= length:
        tiles.append((at, at + size))
        at += stride
    covered = tiles[-1][1] if tiles else 0
    if covered < length:
        if edge == "short" and at < length:
            tiles.append((at, length))
        if edge == "shift" and length >= size:
            tiles.append((length - size, length))
    return tiles


def counted(shape, start, stop):
    count = np.zeros(shape, int)
    for a, b in zip(start.tolist(), stop.tolist(), strict=True):
        count[tuple(slice(*ends) for ends in zip(a, b, strict=True))] += 1
    return count


@given(LENGTHS, SIZES, SIZES, EDGES)
def test_tiles_of_one_axis(length, size, stride, edge):
    starts, stops = tile_edges(length, size, stride, edge)
    assert list(zip(starts.tolist(), stops.tolist(), strict=True)) == by_hand(length, size, stride, edge)
    assert starts.dtype == stops.dtype == np.int64


@given(LENGTHS, SIZES, EDGES)
def test_the_stride_is_the_size_unless_given(length, size, edge):
    for given_, default in zip(tile_edges(length, size, size, edge), tile_edges(length, size, None, edge), strict=True):
        np.testing.assert_array_equal(given_, default)


@given(LENGTHS, SIZES)
def test_short_tiles_cover_every_voxel_once(length, size):
    starts, stops = tile_edges(length, size, None, "short")
    np.testing.assert_array_equal(counted((length,), starts[:, None], stops[:, None]), np.ones(length))
    assert (stops - starts)[:-1].tolist() == [size] * (len(starts) - 1)


@given(LENGTHS, SIZES, SIZES)
def test_full_tiles_are_full_and_shift_covers_what_strides_reach(length, size, stride):
    for edge in ("drop", "shift"):
        starts, stops = tile_edges(length, size, stride, edge)
        assert (stops - starts == size).all()
        assert ((starts >= 0) & (stops <= length)).all()
        assert (np.diff(starts) > 0).all()
    if length >= size:
        assert stops[-1] == length
        if stride <= size:
            assert counted((length,), starts[:, None], stops[:, None]).min() == 1 or length < size


@given(LENGTHS, SIZES, SIZES)
def test_drop_leaves_less_than_a_stride(length, size, stride):
    starts, stops = tile_edges(length, size, stride, "drop")
    if length >= size:
        assert length - stops[-1] < stride
        assert starts.tolist() == list(range(0, length - size + 1, stride))
    else:
        assert len(starts) == 0


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6)), min_size=1, max_size=4))
def test_grids_of_boxes_cover_every_voxel_once(axes):
    shape = tuple(length for length, _ in axes)
    start, stop = boxes_of_grid([tile_edges(length, size, None, "short") for length, size in axes])
    np.testing.assert_array_equal(counted(shape, start, stop), np.ones(shape))
    assert start.tolist() == sorted(start.tolist())  # the last axis runs fastest
    assert start.dtype == stop.dtype == np.int64


def test_a_grid_without_tiles_is_empty():
    start, stop = boxes_of_grid([tile_edges(5, 8), tile_edges(9, 3)])
    assert (start.shape, stop.shape) == ((0, 2), (0, 2))


PLANES = st.sampled_from(["xy", "yx", "xz", "zx", "yz", "zy"])
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))


@given(SHAPES, PLANES, st.integers(1, 5), st.integers(1, 5))
def test_sections_cover_every_voxel_once_last_slices_included(shape, plane, rows, columns):
    start, stop, drop = boxes_of_sections(shape, "zyx", plane, (rows, columns), edge="short")
    np.testing.assert_array_equal(counted(shape, start, stop), np.ones(shape))
    across = "zyx".index(next(axis for axis in "zyx" if axis not in plane))
    assert (drop == across).all()
    assert drop.dtype == np.int8
    assert (stop[:, across] - start[:, across] == 1).all()
    assert start[:, across].max() == shape[across] - 1
    inside = [i for i in range(3) if i != across]
    assert (stop - start)[:, inside].max(axis=0).tolist() == [min(rows, shape[inside[0]]), min(columns, shape[inside[1]])]
    assert start[:, [across, *inside]].tolist() == sorted(start[:, [across, *inside]].tolist())


@given(SHAPES, PLANES, st.integers(1, 12))
def test_spacing_takes_every_so_manyth_section_from_the_first(shape, plane, spacing):
    start, _, drop = boxes_of_sections(shape, "zyx", plane, (3, 2), edge="short", spacing=spacing)
    index = start[np.arange(len(start)), drop]
    assert sorted(set(index.tolist())) == list(range(0, shape[drop[0]], spacing))


@pytest.mark.parametrize("stride", [None, (2, 5)])
@pytest.mark.parametrize("edge", ["drop", "shift", "short"])
def test_tiles_on_a_section_are_those_of_its_axes(stride, edge):
    start, stop, _ = boxes_of_sections((6, 17, 11), "zyx", "zx", (4, 3), stride, edge)
    steps = stride or (4, 3)
    truth = [
        ([z, y, x], [zz, y + 1, xx])
        for y in range(17)
        for z, zz in by_hand(6, 4, steps[0], edge)
        for x, xx in by_hand(11, 3, steps[1], edge)
    ]
    assert list(zip(start.tolist(), stop.tolist(), strict=True)) == truth


def test_sections_of_an_image_are_its_lines():
    edges = tile_edges(4, 2)
    with pytest.raises(ValueError, match="^plane 'x' does not name all but one of the axes 'zyx'$"):
        sections((4, 4, 4), "zyx", "x", edges, edges)


@pytest.mark.parametrize("plane", ["xyz", "xx", "xc", "", "abc"])
def test_planes_that_are_none(plane):
    edges = tile_edges(4, 2)
    with pytest.raises(ValueError, match=f"^plane '{plane}' does not name all but one of the axes 'zyx'$"):
        sections((4, 4, 4), "zyx", plane, edges, edges)


def test_half_of_a_tile_decides():
    """max(1, round(length / size)) tiles, as Python rounds; with a stride, half of a stride decides."""
    for length, expected in {4: [4], 14: [10], 15: [10, 5], 16: [10, 6], 25: [10, 10], 26: [10, 10, 6]}.items():
        starts, stops = tile_edges(length, 10, None, "half")
        assert (stops - starts).tolist() == expected
        assert starts.tolist() == [10 * i for i in range(len(expected))]
    starts, stops = tile_edges(22, 10, 5, "half")
    assert list(zip(starts.tolist(), stops.tolist(), strict=True)) == [(0, 10), (5, 15), (10, 20)]
    assert tile_edges(23, 10, 5, "half")[1].tolist() == [10, 15, 20, 23]
