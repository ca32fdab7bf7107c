"""The kit's tests of ROI finders fail each kind of wrong one."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
from attrs import frozen
from kit_toys import failures

from curate_core.arrays import NDArray, read
from curate_core.kinds import Context, RoiFinder
from curate_core.model import Case
from curate_core.rois import RoiTable
from curate_core.testing import RoiFinderTests


def boxes(case: Case, start: Any, size: int = 3, **columns: NDArray) -> RoiTable:
    corners = np.asarray(start)
    return RoiTable.boxes(corners, corners + size, case.image().grid.axes, attributes=columns)


@frozen
class Unrepeatable(RoiFinder):
    """Draws from its own generator."""

    def find(self, case: Case, context: Context) -> RoiTable:
        return boxes(case, np.random.default_rng().integers(0, 6, (6, 3)))


@frozen
class Outside(RoiFinder):
    """Forgets the size of the box."""

    def find(self, case: Case, context: Context) -> RoiTable:
        return boxes(case, [[0, 0, 0], [7, 30, 39]])


@frozen
class Negative(RoiFinder):
    """Centres boxes on the first voxel."""

    def find(self, case: Case, context: Context) -> RoiTable:
        return boxes(case, [[-1, -1, -1]])


@frozen
class Elsewhere(RoiFinder):
    """Cuts a layer that is not there."""

    def find(self, case: Case, context: Context) -> RoiTable:
        return RoiTable.boxes([[0, 0, 0]], [[1, 1, 1]], "zyx", layers=["mask"])


@frozen
class Lister(RoiFinder):
    """Gives a list."""

    def find(self, case: Case, context: Context) -> Any:
        return [(0, 0, 0)]


@frozen
class Blind(RoiFinder):
    """Finds nothing."""

    def find(self, case: Case, context: Context) -> RoiTable:
        return boxes(case, np.zeros((0, 3)))


@frozen
class Mutating(RoiFinder):
    """Subtracts the background in place."""

    def find(self, case: Case, context: Context) -> RoiTable:
        array = case.image().array
        array -= array.min()  # type: ignore[misc]
        return boxes(case, [[0, 0, 0]], 1)


@frozen
class Forcing(RoiFinder):
    """Subtracts the background in place, and takes the lock off first."""

    def find(self, case: Case, context: Context) -> RoiTable:
        array: Any = case.image().array
        array.setflags(write=True)
        array += 1
        return boxes(case, [[0, 0, 0]], 1)


@frozen
class Crashing(RoiFinder):
    """Does not think of small layers."""

    def find(self, case: Case, context: Context) -> RoiTable:
        return boxes(case, np.random.default_rng(0).integers(0, np.array(case.image().array.shape) - 3, (4, 3)))


@frozen
class Reading(RoiFinder):
    """Looks at voxels."""

    def find(self, case: Case, context: Context) -> RoiTable:
        place = np.argwhere(read(case.image().array) > 250)[:5]
        return boxes(case, place, 1)


@frozen
class Refusing(RoiFinder):
    """Refuses what leaves the layer."""

    last: int = 0

    def find(self, case: Case, context: Context) -> RoiTable:
        starts = [[0, 0, 0], [7, 30, 39], [1, 1, 1]]
        for row in np.flatnonzero((np.array(starts) + 3 > case.image().array.shape).any(axis=1)):
            context.reject(row, "it leaves the layer")
        if len(case.image().array) > 1 and self.last:
            context.reject(self.last, "it is not there")
        return boxes(case, starts)


@frozen
class Miscounting(Refusing):
    """Refuses a row that it has not."""

    last: int = 3


@frozen
class Nameless(RoiFinder):
    """Names its ROIs after a label that not all have."""

    def find(self, case: Case, context: Context) -> RoiTable:
        table = boxes(case, [[0, 0, 0], [1, 1, 1]], 1, label=np.array(["a", ""]))
        return attrs.evolve(table, name="{label}")


@frozen
class Alike(RoiFinder):
    """Tells its ROIs apart by labels that look like its ordinals."""

    def find(self, case: Case, context: Context) -> RoiTable:
        table = boxes(case, [[0, 0, 0]] * 3, 1, label=np.array(["a", "a", "a#1"]))
        return attrs.evolve(table, identity="label")


@frozen
class Unsaved(RoiFinder):
    """Calls an attribute after a file whose name is no text."""

    def find(self, case: Case, context: Context) -> RoiTable:
        return boxes(case, [[0, 0, 0]], 1, **{"d\udce9j\udce0": np.array([1])})


ALONE = "test_nothing_to_find"


def test_a_finder_may_refuse_rois(tmp_path):
    assert failures(tmp_path, RoiFinderTests, Refusing) == {}


@pytest.mark.parametrize(
    ("finder", "claims", "test", "message"),
    [
        (Unrepeatable, {}, "test_same_seed_same_rois", "Unrepeatable with one seed, view 0 start: "),
        (Unrepeatable, {}, "test_another_seed", "Unrepeatable, seeded = False, with another seed"),
        (Crashing, {"seeded": True}, "test_another_seed", "Crashing, seeded = True, finds the same for every seed"),
        (Outside, {}, "test_boxes_lie_inside", "Outside: ROI [1] ([7, 30, 39] to [10, 33, 42]) leaves the layer of shape [9, 33, 41]"),
        (Negative, {}, "test_boxes_lie_inside", "Negative: ROI [0] ([-1, -1, -1] to [2, 2, 2]) leaves the layer"),
        (Outside, {}, ALONE, "Outside in a layer of one voxel: ROIs leave it"),
        (Miscounting, {}, "test_gives_a_table", "Miscounting refuses row [3] of 3"),
        (Elsewhere, {}, "test_boxes_lie_inside", "Elsewhere cuts layer 'mask', the case has image"),
        (Lister, {}, "test_gives_a_table", "Lister.find gave list, expected a RoiTable"),
        (Blind, {}, "test_gives_a_table", "Blind finds nothing in the case of this test; give it one in which it does"),
        (Mutating, {}, "test_leaves_the_case_alone", "Mutating changes its input in place: "),
        (Forcing, {}, "test_leaves_the_case_alone", "Forcing changes its input in place"),
        (Crashing, {}, ALONE, "Crashing in a layer of one voxel: expected an empty table, got ValueError"),
        (Nameless, {}, "test_every_roi_has_a_name_and_an_id", "Nameless: ROI 1 has an empty name"),
        (Alike, {}, "test_every_roi_has_a_name_and_an_id", "Alike: several ROIs have one id"),
        (Unsaved, {}, "test_table_can_be_kept", "Unsaved: the table cannot be saved: UnicodeEncodeError"),
        (Reading, {"reads_pixels": False}, "test_reads_pixels_only_if_it_says_so", "Reading, reads_pixels = False, reads voxels"),
    ],
)
def test_bad_finders(tmp_path, finder, claims, test, message):
    failed = failures(tmp_path, RoiFinderTests, finder, **claims)
    assert failed[test].startswith(f"AssertionError: {message}")


def test_a_reading_finder_may_read(tmp_path):
    assert failures(tmp_path, RoiFinderTests, Reading) == {}
