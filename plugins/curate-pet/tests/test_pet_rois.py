"""Finders and pruning against the rules written out voxel by voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from curate_pet.foreground import Foreground, window_sums
from curate_pet.lesions import LabelCenters
from curate_pet.prune import PruneOverlap
from curate_pet.pruning import _compare, prune, reach
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.ndimage import binary_closing, binary_opening

from curate_core import Case, Features, RoiTable, StepError
from curate_core.structure import structure
from curate_core.testing import context, make_case

RNG = np.random.default_rng(3)


def blobs(shape: Any, seed: int = 0) -> Any:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return smooth / smooth.std() + 0.5


def foreground(case: Case, **options: Any) -> RoiTable:
    return structure(options, Foreground, Path()).find(case, context("foreground"))


def lesions(case: Case, seed: int = 0, **options: Any) -> RoiTable:
    return structure({"layer": "image", **options}, LabelCenters, Path()).find(case, context("label-centers", seed))


def centers_by_the_rule(volume: Any, threshold: float, size: Any, least: float) -> dict[tuple[int, ...], float]:
    """Centre -> mean of the foreground, by looking at every box that lies inside."""
    mask = binary_opening(binary_closing(volume > threshold))
    found = {}
    for start in np.ndindex(*(n - s + 1 for n, s in zip(volume.shape, size, strict=True))):
        part = mask[tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))]
        if part.mean() >= least:
            found[tuple(a + s // 2 for a, s in zip(start, size, strict=True))] = part.mean()
    return found


@pytest.mark.parametrize(
    ("shape", "size", "least"),
    [
        ((12, 14, 16), (5, 4, 7), 0.2),
        ((12, 14, 16), (12, 4, 4), 0.3),  # fills an axis: one place along it
        ((9, 9, 9), (9, 9, 9), 0.05),  # one place in all
        ((20, 22), (5, 6), 0.6),
        ((7, 21), (7, 3), 0.1),
        ((10, 11, 12), (1, 1, 1), 1.0),
        ((10, 11, 12), (2, 5, 5), 0.5),  # 25 of 50: exactly the least
    ],
)
def test_every_legal_box_and_no_other(shape, size, least):
    volume = blobs(shape)
    table = foreground(make_case(volume), size=list(size), min_fraction=least)
    expected = centers_by_the_rule(volume, 0.4, size, least)
    view = table.views[0]
    assert [tuple(c) for c in (view.start + view.shape // 2).tolist()] == sorted(expected)
    assert len(expected) > 0
    assert (view.shape == size).all()
    np.testing.assert_allclose(table.attributes["fraction"], [expected[key] for key in sorted(expected)], rtol=1e-6)


def test_a_share_that_is_just_reached_counts():
    """0.6 of ten voxels is six, whatever floats make of it; the same for every share of a hundred."""
    for hundredths in range(101):
        volume = np.zeros((1, 1, 100))
        volume[..., :hundredths] = 1
        found = foreground(make_case(volume), size=[1, 1, 100], min_fraction=hundredths / 100, smooth=False)
        assert len(found) == 1, hundredths


def test_the_last_place_counts():
    volume = np.zeros((30, 30, 30))
    volume[-8:, -8:, -8:] = 1
    table = foreground(make_case(volume), size=8, min_fraction=1.0, smooth=False)
    assert table.views[0].start.tolist() == [[22, 22, 22]]


def test_sections_lose_their_axis():
    volume = blobs((6, 20, 22))
    table = foreground(make_case(volume), size=[-1, 8, 9], min_fraction=0.4)
    view = table.views[0]
    assert (view.shape == (1, 8, 9)).all()
    assert view.drop is not None
    assert (view.drop == 0).all()
    assert len(view) == len(centers_by_the_rule(volume, 0.4, (1, 8, 9), 0.4))


def test_strides_start_at_the_first_place():
    volume = np.ones((10, 10, 10))
    table = foreground(make_case(volume), size=4, stride=[3, 2, 5], smooth=False)
    starts = table.views[0].start
    assert [np.unique(column).tolist() for column in starts.T] == [[0, 3, 6], [0, 2, 4, 6], [0, 5]]


def test_thinned_out_as_the_filter_does():
    volume = blobs((20, 22, 24))
    every = foreground(make_case(volume), size=6)
    kept = foreground(make_case(volume), size=6, max_overlap=0.3)
    judge = PruneOverlap(max_overlap=0.3)
    columns = {"start": every.views[0].start, "size": every.views[0].shape}
    keep = judge.keep(Features(columns, np.zeros(len(every), bool), str), context("foreground")).keep
    np.testing.assert_array_equal(kept.views[0].start, every.views[0].start[keep])
    np.testing.assert_array_equal(kept.attributes["fraction"], every.attributes["fraction"][keep])
    assert 1 < len(kept) < len(every) / 50
    assert len(foreground(make_case(volume), size=6, limit=7)) == 7
    assert len(foreground(make_case(volume), size=6, max_overlap=0.3, limit=0)) == 0


def test_nothing_found():
    case = make_case(np.zeros((9, 10, 11)))
    assert len(foreground(case, size=4)) == 0
    table = foreground(case, size=4, empty="center")
    assert table.views[0].start.tolist() == [[2, 3, 3]]
    assert table.attributes["fraction"].tolist() == [0.0]


def test_nan_is_no_foreground():
    volume = np.full((5, 5, 5), np.nan)
    assert len(foreground(make_case(volume), size=3, min_fraction=0.1)) == 0


@given(shape=st.lists(st.integers(1, 9), min_size=1, max_size=3), data=st.data())
@settings(max_examples=60, deadline=None)
def test_window_sums_are_exact(shape, data):
    size = [data.draw(st.integers(1, n)) for n in shape]
    mask = np.random.default_rng(0).random(shape) > 0.5
    views = np.lib.stride_tricks.sliding_window_view(mask, size)
    expected = views.sum(axis=tuple(range(len(shape), 2 * len(shape))))
    np.testing.assert_array_equal(window_sums(mask, size), expected)


@pytest.mark.parametrize(
    ("shape", "axes", "options", "message"),
    [
        ((8, 8, 8), "", {"size": 9}, "case case: boxes of [9, 9, 9] do not fit into the layer of [8, 8, 8] (zyx) "
         "(choose a smaller size, or pad the layer)"),
        ((8, 8, 8), "", {"size": [4, 4]}, "case case: size has 2 numbers for the axes 'zyx'"),
        ((8, 8, 8), "", {"size": [-1, -1, 4]}, "case case: size [-1, -1, 4] needs numbers of voxels, -1 along one axis at most"),
        ((8, 8, 8), "", {"size": 4, "stride": [1, 1]}, "stride has 2 numbers for the axes 'zyx'"),
        ((2, 8, 8), "cyx", {"size": 4}, "case case: foreground looks at volumes and planes without channels or time, the layer has the axes "
         "'cyx' (keep one channel with pick-channel)"),
    ],
)  # fmt: skip
def test_what_foreground_cannot_search(shape, axes, options, message):
    with pytest.raises(StepError) as caught:
        foreground(make_case(np.zeros(shape), axes), **options)
    assert str(caught.value) == message


# Lesions


def labelled() -> Any:
    """Two lesions of label 1, three of label 2 (one of them a single voxel), one bent one of label 3."""
    volume = np.zeros((24, 32, 32), np.uint16)
    volume[2:5, 2:5, 2:5] = 1
    volume[10:13, 20:25, 20:25] = 1
    volume[20:23, 2:5, 27:30] = 2
    volume[15:17, 10:12, 4:6] = 2
    volume[23, 31, 31] = 2
    volume[5:7, 20:22, 2:14] = 3
    volume[5:7, 20:30, 2:4] = 3
    return volume


def test_a_box_for_each_lesion():
    volume = labelled()
    table = lesions(make_case(volume), size=6)
    assert table.attributes["label"].tolist() == [1, 1, 2, 2, 2, 3]
    assert table.attributes["voxels"].tolist() == [27, 75, 8, 27, 1, 80]
    view = table.views[0]
    for start, stop, label in zip(view.start, view.stop, table.attributes["label"], strict=True):
        assert (start >= 0).all()
        assert (stop <= volume.shape).all()
        assert volume[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].max() == label
    assert view.start[1].tolist() == [11 - 3, 22 - 3, 22 - 3], "an even box around the middle voxel"
    assert view.start[0].tolist() == [0, 0, 0], "moved back inside"
    middle = view.start[5] + 3
    assert volume[tuple(middle)] == 3, "the centre of mass of a bent lesion lies outside of it; its nearest voxel is taken"


def test_every_label_gives_as_many():
    volume = labelled()
    table = lesions(make_case(volume), size=4, count=5)
    assert np.unique(table.attributes["label"], return_counts=True)[1].tolist() == [5, 5, 5]
    of_two = table.attributes["lesion"][table.attributes["label"] == 2]
    assert sorted(of_two[:3].tolist()) == [0, 1, 2], "each lesion once before one comes again"
    view = table.views[0]
    for start, stop, label in zip(view.start, view.stop, table.attributes["label"], strict=True):
        assert (volume[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] == label).any()
    some = lesions(make_case(volume), size=4, count=5, labels=[2, 9])
    assert some.attributes["label"].tolist() == [2] * 5
    np.testing.assert_array_equal(some.views[0].start, view.start[table.attributes["label"] == 2])


def test_lesions_touch_by_faces_edges_or_corners():
    volume = np.zeros((4, 4, 4), np.uint8)
    volume[0, 0, 0] = volume[1, 1, 1] = volume[2, 1, 2] = volume[2, 1, 3] = 1
    counts = {kind: len(lesions(make_case(volume), size=1, connectivity=kind)) for kind in ("faces", "edges", "corners")}
    assert counts == {"faces": 3, "edges": 2, "corners": 1}
    assert len(lesions(make_case(volume), size=1, connectivity="faces", min_voxels=2)) == 1


def test_no_lesions():
    table = lesions(make_case(np.zeros((6, 6, 6), np.uint8)), size=3)
    assert len(table) == 0
    assert table.views[0].axes == "zyx"


def test_sections_through_lesions():
    table = lesions(make_case(labelled()), size=[-1, 8, 8])
    assert (table.views[0].shape == (1, 8, 8)).all()
    assert table.views[0].drop.tolist() == [0] * 6


def test_interpolated_labels_are_refused():
    with pytest.raises(StepError) as caught:
        lesions(make_case(np.zeros((6, 6, 6), np.float32)), size=3)
    assert str(caught.value) == (
        "case case: layer 'image' holds float32 values, labels are whole numbers (was it interpolated? Name it under labels of resample)"
    )


# Pruning


def by_the_rule(start: Any, size: Any, order: Any, max_overlap: float, limit: int | None = None, fixed: int = 0) -> Any:
    """Candidates times kept, as it is told."""
    keep, alive, position = np.zeros(len(start), bool), np.ones(len(start), bool), np.argsort(order)
    for candidate in order:
        if not alive[candidate] or (limit is not None and keep.sum() >= max(limit, fixed)):
            continue
        keep[candidate] = True
        away = np.abs((start + size / 2) - (start[candidate] + size[candidate] / 2))
        near = (away < (1 - max_overlap) * size[candidate] - 1e-9).all(axis=1)
        near[candidate] = True
        alive &= ~near | (position < fixed)
    return keep


@given(
    dims=st.integers(1, 3),
    count=st.integers(0, 250),
    overlap=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0]),
    stride=st.sampled_from([1, 1, 3]),
    limit=st.sampled_from([None, None, 0, 3, 10]),
    mixed=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_pruning_is_the_greedy_rule(dims, count, overlap, stride, limit, mixed, seed):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 40, (count, dims)) * stride
    size = rng.integers(1, 20, (count if mixed else 1, dims)) * np.ones((count, 1), np.int64)
    fixed = int(rng.integers(0, 3)) if count > 5 else 0
    order = rng.permutation(count)
    expected = by_the_rule(start, size, order, overlap, limit, fixed)
    np.testing.assert_array_equal(prune(start, size, order, overlap, limit, fixed), expected)
    if count:
        pairwise = np.zeros(count, bool)
        _compare(2 * start + size, size, order, overlap, count if limit is None else max(limit, fixed), fixed, pairwise)
        np.testing.assert_array_equal(pairwise, expected)


def test_many_candidates_obey_the_rule():
    """More than one look-up of candidates; all of a volume's places, some of them several times."""
    start = np.argwhere(np.ones((30, 31, 32), bool))
    start = np.concatenate([start, start[::7]])
    size = np.broadcast_to(np.array([8, 7, 6]), start.shape)
    order = np.random.default_rng(0).permutation(len(start))
    kept = prune(start, size, order, 0.4)
    np.testing.assert_array_equal(kept, by_the_rule(start, size, order, 0.4))
    assert 50 < kept.sum() < 1000


def test_far_apart_boxes_need_no_volume():
    start = np.array([[0, 0, 0], [3, 3, 3], [10**9, 10**9, 10**9 + 7], [10**9, 10**9, 10**9]])
    size = np.full((4, 3), 8)
    assert prune(start, size, np.arange(4), 0.5).tolist() == [True, False, True, True]


def test_the_distance_is_exact():
    """(1 - 0.7) * 10 is 3, not 3.0000000000000004: boxes 3 apart overlap by just 0.7, which is allowed."""
    assert reach(np.array([10]), 0.7).tolist() == [2]
    assert reach(np.array([10]), 0.0).tolist() == [9]
    assert reach(np.array([10]), 1.0).tolist() == [-1]
    start, size = np.array([[0], [3]]), np.array([[10], [10]])
    assert prune(start, size, np.arange(2), 0.7).all()


def test_the_filter_draws_its_order_from_the_seed_and_keeps_what_was_kept():
    table = RoiTable.boxes(start := np.argwhere(np.ones((20, 20), bool)), start + 6, "yx")
    judge = PruneOverlap(max_overlap=0.2, limit=5)
    columns = {"start": table.views[0].start, "size": table.views[0].shape}

    def keep(seed: int, existing: Any = None) -> Any:
        held = np.zeros(len(table), bool) if existing is None else existing
        return judge.keep(Features(columns, held, str), context("prune-overlap", seed)).keep

    assert keep(0).sum() == 5
    np.testing.assert_array_equal(keep(0), keep(0))
    assert (keep(0) != keep(1)).any()
    old = np.zeros(len(table), bool)
    old[[0, 1, 2]] = True  # nearer than the rule allows: kept nevertheless, and in the way of others
    kept = keep(0, old)
    assert kept[old].all()
    assert kept.sum() == 5
