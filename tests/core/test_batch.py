"""Batches: arrays made once and when asked, rows taken alike from everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core.batch import Batch, LazyArrays
from curate_core.errors import StepError
from curate_core.grid import Grid
from curate_core.model import Case, Image, Tractogram
from curate_core.rois import RoiTable


def lines(k):
    return Tractogram(np.full((k, 3), k, np.float32), np.zeros(1, np.int64), np.array([k]), Grid.from_spacing((2, 2, 2), "zyx"))


def batch(n=5, made=None):
    volume = np.arange(n * 4 * 3, dtype=np.int16).reshape(n, 4, 3)
    case = Case("c", {"ct": Image(volume, Grid.from_spacing(volume.shape, "zyx", (2.0, 1.0, 0.5)))}, {"split": "train", "score": "case"})
    start = np.stack([np.arange(n), np.zeros(n, int), np.zeros(n, int)], axis=1)
    score = np.ma.MaskedArray(np.arange(n) / 2, np.arange(n) % 2 == 1)
    rois = RoiTable.boxes(start, start + np.array([1, 4, 3]), "zyx", drop=np.zeros(n), attributes={"score": score})
    made = [] if made is None else made

    def ct():
        made.append("ct")
        return volume

    def mask():
        made.append("mask")
        return volume > 10

    def grid_of(row):
        return case.image().grid.crop(start[row], start[row] + np.array([1, 4, 3])).drop(0)

    tracts = {"lines": tuple(lines(k) for k in range(n))}
    arrays = LazyArrays({"ct": ct, "mask": mask})
    return Batch(case, rois, rois.ids("c"), arrays, {"ct": grid_of, "mask": grid_of}, np.arange(n) + 100, tracts, rois.attributes)


def test_arrays_are_made_once_and_when_asked():
    made = []
    samples = batch(made=made)
    assert list(samples.arrays) == ["ct", "mask"]
    assert len(samples) == 5
    assert made == []
    assert samples.array("ct") is samples.array("ct")
    assert made == ["ct"]
    changed = samples.with_array("mask", samples.array("ct") * 2, like="ct").without_arrays(["nothing"])
    np.testing.assert_array_equal(changed.array("mask"), samples.array("ct") * 2)
    changed.array("ct")
    assert made == ["ct"]  # what was made stays made


def test_asking_whether_there_is_an_array_does_not_make_it():
    made = []
    samples = batch(made=made)
    assert "ct" in samples.arrays
    assert "other" not in samples.arrays
    assert made == []


def test_a_sample_that_nobody_has_made_is_read_as_it_is_sliced():
    made = []
    unread = np.arange(24).reshape(2, 3, 4)

    def maker():
        made.append(1)
        return unread + 100

    arrays = LazyArrays({"ct": maker, "mask": maker}, {"ct": list(unread)})
    assert arrays.row("ct", 1) is not None
    np.testing.assert_array_equal(arrays.row("ct", 1)[1:2], unread[1, 1:2])
    np.testing.assert_array_equal(arrays.taking(np.array([1])).row("ct", 0), unread[1])
    np.testing.assert_array_equal(arrays.without(["mask"]).row("ct", 0), unread[0])
    assert made == []
    np.testing.assert_array_equal(arrays.with_maker("ct", lambda: unread * 2).row("ct", 1), unread[1] * 2)
    np.testing.assert_array_equal(arrays.row("mask", 0), unread[0] + 100)
    arrays["ct"]
    np.testing.assert_array_equal(arrays.row("ct", 1), unread[1] + 100)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_take_takes_alike_from_everything(data):
    """Values, grids, ids, attributes, tractograms and rows of sample i all move together; takes of takes too."""
    samples, index = batch(), np.arange(5)
    for _ in range(data.draw(st.integers(1, 3))):
        if not len(index):
            break
        rows = data.draw(
            st.one_of(
                st.lists(st.integers(0, len(index) - 1), max_size=6).map(lambda v: np.array(v, int)),
                st.lists(st.booleans(), min_size=len(index), max_size=len(index)).map(lambda v: np.array(v, bool)),
            )
        )
        samples, index = samples.take(rows), index[rows]
    full = batch()
    assert samples.ids == tuple(full.ids[i] for i in index)
    assert samples.rows.tolist() == (index + 100).tolist()
    np.testing.assert_array_equal(samples.array("ct"), full.array("ct")[index])
    np.testing.assert_array_equal(samples.array("mask"), full.array("mask")[index])
    assert [samples.grids["ct"](i) for i in range(len(index))] == [full.grids["ct"](int(i)) for i in index]
    assert [len(t.points) for t in samples.tractograms["lines"]] == index.tolist()
    assert [samples.sample_attributes(i) for i in range(len(index))] == [full.sample_attributes(int(i)) for i in index]
    np.testing.assert_array_equal(samples.rois.views[0].start[:, 0], index)


def test_taking_all_is_the_batch_itself():
    samples = batch()
    assert samples.take(slice(None)) is samples
    assert samples.take(np.ones(5, bool)) is samples


def test_the_place_of_a_section():
    grid = batch().grids["ct"](3)
    assert (grid.axes, grid.shape) == ("yx", (4, 3))
    np.testing.assert_array_equal(grid.world((1, 2)), [2 * 0.5, 1.0, 3 * 2.0])


def test_a_samples_attributes_override_the_cases():
    samples = batch()
    assert samples.sample_attributes(2) == {"split": "train", "score": 1.0}
    assert samples.sample_attributes(1) == {"split": "train", "score": "case"}  # masked: it has none of its own


def test_with_attributes():
    samples = batch().with_attributes(mean=np.arange(5.0), unit="HU", rank=np.ma.MaskedArray(np.arange(5), np.arange(5) == 0))
    assert samples.sample_attributes(0) == {"split": "train", "score": 0.0, "mean": 0.0, "unit": "HU"}
    assert samples.sample_attributes(4) == {"split": "train", "score": 2.0, "mean": 4.0, "unit": "HU", "rank": 4}


@pytest.mark.parametrize("value", [np.zeros(4), np.zeros((5, 2)), None, {"a": 1}])
def test_attributes_that_are_no_columns(value):
    with pytest.raises(ValueError, match="attribute 'mean' needs one plain value or 5 of them, not "):
        batch().with_attributes(mean=value)


def test_array_names():
    samples = batch()
    assert samples.array_name("mask") == "mask"
    assert samples.without_arrays(["mask"]).array_name() == "ct"
    np.testing.assert_array_equal(samples.without_arrays(["mask"]).array(), samples.array("ct"))
    with pytest.raises(StepError) as caught:
        samples.array()
    assert str(caught.value) == 'case c: the samples have 2 arrays to choose from (ct, mask) (name it with "array")'
    with pytest.raises(StepError) as caught:
        samples.array("pet")
    assert str(caught.value) == "case c: the samples have no array 'pet' (ct, mask)"
    with pytest.raises(StepError, match=r"the samples have 0 arrays to choose from \(none\)"):
        samples.without_arrays(["ct", "mask"]).array()


def test_arrays_that_do_not_fit():
    samples = batch()
    with pytest.raises(ValueError, match="array 'ct' has 4 rows for 5 samples"):
        samples.with_array("ct", np.zeros((4, 2)))
    with pytest.raises(ValueError, match="array 'new' is new: say where its voxels lie with grid, or with like one of ct, mask"):
        samples.with_array("new", np.zeros((5, 2)))
    with pytest.raises(ValueError, match="array 'new' is new"):
        samples.with_array("new", np.zeros((5, 2)), like="nothing")


def test_grids_of_new_arrays():
    samples = batch()
    own = Grid.from_spacing((2,), "x")
    made = samples.with_array("new", np.zeros((5, 2)), grid=lambda row: own).with_array("twin", np.zeros((5, 4, 3)), like="ct")
    assert made.grids["new"](3) is own
    assert made.grids["twin"](3) == samples.grids["ct"](3)
    assert "new" not in samples.grids
    assert "new" not in made.without_arrays(["new"]).grids
