"""Lazy arrays against numpy: whatever numpy gives for basic indexing, a lazy view gives as well."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from curate_core.arrays import (
    AddAxisArray,
    ArrayLike,
    ConcatArray,
    CropArray,
    LazyArray,
    MapArray,
    OpenedArray,
    TakeArray,
    TransposeArray,
    absent,
    box,
    nbytes,
    read,
    slabs,
)

SHAPES = st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple)


def counted(shape, dtype="int32"):
    return np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)


@st.composite
def arrays_with_keys(draw):
    """(a numpy array, a basic index of it): slices with any start, stop and step, integers, an ellipsis, or fewer keys than axes."""
    shape = draw(SHAPES)
    key = draw(npst.basic_indices(shape, allow_newaxis=False, allow_ellipsis=True))
    return counted(shape), key


class Box(LazyArray):
    """A view that refuses anything but plain boxes, as readers of file formats do."""

    def __init__(self, base):
        self.base, self.shape, self.dtype = base, base.shape, base.dtype

    def read_box(self, where):
        assert len(where) == len(self.shape)
        for entry, length in zip(where, self.shape, strict=True):
            assert entry.step is None
            assert 0 <= entry.start <= entry.stop <= length
        return self.base[where]


@given(arrays_with_keys())
@settings(max_examples=300, deadline=None)
def test_indexing_equals_numpys(case):
    array, key = case
    result, expected = Box(array)[key], array[key]
    assert np.shape(result) == np.shape(expected)
    np.testing.assert_array_equal(result, expected)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_views_of_views_equal_numpys(data):
    """Random chains of views, then a random index, against the same done with numpy."""
    plain = counted(data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple)))
    lazy = Box(plain)
    for _ in range(data.draw(st.integers(0, 4))):
        ndim = plain.ndim
        kind = data.draw(st.sampled_from(["crop", "transpose", "take", "add", "concat", "map"]))
        if kind == "crop":
            start = [data.draw(st.integers(0, n)) for n in plain.shape]
            stop = [data.draw(st.integers(a, n)) for a, n in zip(start, plain.shape, strict=True)]
            lazy, plain = CropArray(lazy, start, stop), plain[box(start, stop)]
        elif kind == "transpose":
            order = data.draw(st.permutations(range(ndim)))
            lazy, plain = TransposeArray(lazy, order), plain.transpose(order)
        elif kind == "take":
            axis = data.draw(st.integers(0, ndim - 1))
            if plain.shape[axis] and ndim > 1:
                index = data.draw(st.integers(0, plain.shape[axis] - 1))
                lazy, plain = TakeArray(lazy, index, axis), plain.take(index, axis)
        elif kind == "add":
            axis = data.draw(st.integers(0, ndim))
            lazy, plain = AddAxisArray(lazy, axis), np.expand_dims(plain, axis)
        elif kind == "concat":
            axis = data.draw(st.integers(0, ndim - 1))
            lazy, plain = ConcatArray([lazy, lazy, plain], axis), np.concatenate([plain] * 3, axis)
        else:
            lazy, plain = MapArray(lazy, lambda a: a * 2 + 1, plain.dtype), plain * 2 + 1
    assert lazy.shape == plain.shape
    assert lazy.dtype == plain.dtype
    key = data.draw(npst.basic_indices(plain.shape, allow_newaxis=False, allow_ellipsis=True))
    np.testing.assert_array_equal(lazy[key], plain[key])
    np.testing.assert_array_equal(np.asarray(lazy), plain)


def test_integers_of_numpy_index_as_well():
    array = counted((3, 4))
    assert Box(array)[np.int64(-1), np.uint8(2)] == array[-1, 2]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ((0, 0, 0), "3 indices for an array of 2 axes"),
        ((None,), "only slices and integers index a lazy array, not NoneType"),
        (([0, 1],), "only slices and integers index a lazy array, not list"),
        ((np.array([0, 1]),), "only slices and integers index a lazy array, not ndarray"),
        ((np.array([0, 1]), ...), "only slices and integers index a lazy array, not ndarray"),
        ((True,), "only slices and integers index a lazy array, not bool"),
        ((1.0,), "only slices and integers index a lazy array, not float"),
        ((..., ...), "only slices and integers index a lazy array, not ellipsis"),
        ((3,), "range object index out of range"),
        ((-4,), "range object index out of range"),
    ],
)
def test_what_is_no_basic_index_is_refused(key, message):
    with pytest.raises(IndexError, match=message):
        Box(counted((3, 4)))[key]


def test_a_view_reads_only_its_box():
    asked = []

    class Watched(Box):
        def read_box(self, where):
            asked.append(where)
            return super().read_box(where)

    view = TransposeArray(CropArray(Watched(counted((10, 20, 30))), [1, 2, 3], [9, 18, 27]), [2, 0, 1])
    view[4:6, 1, ::-2]
    assert asked == [(slice(2, 3), slice(3, 18), slice(7, 9))]


def test_concat_leaves_out_parts_that_are_not_asked():
    class Never(Box):
        def read_box(self, where):
            raise AssertionError

    joined = ConcatArray([Never(counted((2, 3))), counted((4, 3)), Never(counted((1, 3)))], 0)
    np.testing.assert_array_equal(joined[2:6], counted((4, 3)))


def test_concat_promotes_as_numpy_does():
    parts = [np.full((1, 2), 255, np.uint8), np.full((1, 2), -1, np.int8)]
    joined = ConcatArray(parts, 0)
    expected = np.concatenate(parts)
    assert joined.dtype == expected.dtype == np.int16
    np.testing.assert_array_equal(joined[...], expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: CropArray(a, [0, 0], [2, 4]), r"box \(0, 0\) to \(2, 4\) leaves the array of shape \(2, 3\)"),
        (lambda a: CropArray(a, [-1, 0], [2, 3]), "leaves the array"),
        (lambda a: CropArray(a, [1, 0], [0, 3]), "leaves the array"),
        (lambda a: TransposeArray(a, [0, 0]), r"\(0, 0\) is not an order of 2 axes"),
        (lambda a: TransposeArray(a, [0]), r"\(0,\) is not an order of 2 axes"),
        (lambda a: TakeArray(a, 3, 1), r"index 3 leaves axis 1 of shape \(2, 3\)"),
        (lambda a: TakeArray(a, -1, 1), "index -1 leaves axis 1"),
        (lambda a: TakeArray(a, 0, -1), "index 0 leaves axis -1"),
        (lambda a: AddAxisArray(a, 3), r"no axis can be added before 3 of shape \(2, 3\)"),
        (lambda a: AddAxisArray(a, -1), "no axis can be added before -1"),
        (lambda a: ConcatArray([a, counted((2, 4))], 0), r"arrays of shapes \(2, 3\), \(2, 4\) do not join along axis 0"),
        (lambda a: ConcatArray([a, counted((2, 3, 1))], 0), "do not join along axis 0"),
        (lambda a: ConcatArray([a], 2), "do not join along axis 2"),
        (lambda a: ConcatArray([a], -1), "do not join along axis -1"),
    ],
)
def test_impossible_views_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(counted((2, 3)))


@given(SHAPES, st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_slabs_cover_the_array_once_in_order(shape, max_bytes):
    array = counted(shape)
    seen = np.zeros(shape, int)
    starts = []
    for where in slabs(array, max_bytes):
        seen[where] += 1
        starts.append(where[0].start)
        one_plane = where[0].stop - where[0].start == 1
        assert array[where].nbytes <= max_bytes or one_plane
    assert (seen == 1).all()
    assert starts == sorted(starts)


def test_slabs_of_a_single_value():
    assert list(slabs(np.array(3.0))) == [()]
    assert nbytes(np.array(3.0)) == 8
    assert nbytes(np.zeros((0, 5))) == 0
    assert nbytes(Box(counted((3, 4), "uint16"))) == 24


def test_box_and_read():
    array = counted((4, 5))
    assert box(np.array([1, 2]), [3, 4]) == (slice(1, 3), slice(2, 4))
    np.testing.assert_array_equal(read(array, box([1, 2], [3, 4])), array[1:3, 2:4])
    np.testing.assert_array_equal(read(Box(array)), array)
    assert type(read(Box(array))) is np.ndarray
    with pytest.raises(ValueError, match="zip"):
        box([1], [2, 3])


def test_numpy_and_views_are_array_like():
    assert isinstance(counted((2,)), ArrayLike)
    assert isinstance(Box(counted((2,))), ArrayLike)
    assert not isinstance([1, 2], ArrayLike)


@pytest.mark.parametrize("function", [lambda a: a, np.invert, lambda a: a.astype(">u2"), lambda a: a + np.uint16(1)])
def test_mapped_values_have_the_announced_byte_order(function):
    lazy = MapArray(counted((2, 3), ">u2"), function, ">u2")
    assert lazy.dtype.str == lazy[...].dtype.str == lazy[:1].dtype.str == np.dtype("u2").str
    np.testing.assert_array_equal(lazy[...], function(counted((2, 3), ">u2")))


def test_as_numpy_array():
    lazy = MapArray(counted((2, 3), "uint8"), lambda a: a + np.uint8(1), "uint8")
    assert np.asarray(lazy).dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(lazy, dtype="float32"), np.arange(1, 7, dtype="float32").reshape(2, 3))
    assert repr(lazy) == "MapArray(shape=(2, 3), dtype=uint8)"
    assert lazy.ndim == 2


OPENED = []


def open_counted():
    OPENED.append(1)
    return counted((3, 4), "int16")


def test_opened_array_opens_at_first_use_and_again_after_pickling():
    OPENED.clear()
    lazy = OpenedArray(open_counted, (3, 4), "int16")
    assert not OPENED
    np.testing.assert_array_equal(lazy[1], counted((3, 4))[1])
    lazy[2]
    assert len(OPENED) == 1
    copy = ForkingPickler.loads(ForkingPickler.dumps(lazy))
    assert len(OPENED) == 1
    np.testing.assert_array_equal(copy[...], counted((3, 4)))
    assert len(OPENED) == 2


def test_large_boxes_are_mapped_slab_by_slab(monkeypatch):
    seen = []

    def double(values):
        seen.append(values.shape)
        return values.astype(np.int16) * 2

    monkeypatch.setattr("curate_core.arrays.MAP_BYTES", 100)
    base = np.arange(7 * 40, dtype=np.uint8).reshape(7, 40)
    mapped = MapArray(base, double, np.int16)
    np.testing.assert_array_equal(mapped[...], base.astype(np.int16) * 2)
    assert seen == [(2, 40), (2, 40), (2, 40), (1, 40)]
    np.testing.assert_array_equal(mapped[1:6, 3:38], base[1:6, 3:38].astype(np.int16) * 2)
    assert max(a * b for a, b in seen) <= 100


class Holed(Box):
    """A source that does not store the voxels where it is 0."""

    def absent(self, where):
        return float((self.base[where] == 0).mean())


@given(npst.arrays(np.int32, (4, 5, 6), elements=st.integers(0, 1)), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=4))
@settings(max_examples=100, deadline=None)
def test_views_pass_on_what_their_source_does_not_store(voxels, ends):
    base = Holed(voxels)
    views = {
        "crop": CropArray(base, (1, 0, 2), (4, 5, 5)),
        "transposed": TransposeArray(base, (2, 0, 1)),
        "taken": TakeArray(base, 3, 1),
        "with an axis": AddAxisArray(base, 1),
        "mapped": MapArray(base, lambda values: values, np.int32),
        "joined": ConcatArray([base, voxels, Holed(voxels[:, ::-1])], 1),
        "opened": OpenedArray(lambda: base, voxels.shape, np.int32),
    }
    for name, view in views.items():
        corners = [(int(min(pair) * (n - 1)), int(max(pair) * (n - 1)) + 1) for pair, n in zip(ends, view.shape, strict=False)]
        where = tuple(slice(*pair) for pair in corners)
        expected = (view[where] == 0).astype(float)
        if name == "joined":
            low, high = where[1].start, where[1].stop
            expected[:, max(0, 5 - low) : max(0, min(high, 10) - low)] = 0  # the middle part is a plain array, which stores all
        assert absent(view, where) == pytest.approx(expected.mean()), name
    assert absent(views["taken"]) == pytest.approx((voxels[:, 3] == 0).mean())


def test_arrays_that_say_nothing_store_all():
    assert absent(counted((2, 3))) == absent(Box(counted((2, 3))), box((0, 0), (1, 1))) == 0.0
    assert absent(Holed(counted((0, 3)))) == 0.0
