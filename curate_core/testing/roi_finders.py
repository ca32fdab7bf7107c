"""What every ROI finder must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from curate_core.errors import StepError
from curate_core.kinds import RoiFinder, Worker
from curate_core.model import Case, Image
from curate_core.rois import RoiTable
from curate_core.testing.checks import assert_equal, unchanged
from curate_core.testing.making import Untouchable, context, make_case, make_component, values


class RoiFinderTests:
    """A ROI finder gives boxes inside the layers, the same for the same seed, and leaves the case alone.

    Example::

        class TestHotSpots(RoiFinderTests):
            component = HotSpots
            options = {"size": 8}
            seeded = False

    Attributes:
        component: the class under test.
        options: its options, as a spec writes them.
        axes: axes of the layer to search.
        shape: its shape, awkward on purpose.
        dtype: of its voxels.
        spacing: along the spatial axes, array order.
        seeded: draws at random; False: the seed must change nothing.
        reads_pixels: looks at voxels; False: geometry alone decides, and no voxel may be read.
    """

    component: ClassVar[type[RoiFinder]]
    options: ClassVar[Mapping[str, Any]] = {}
    axes: ClassVar[str] = "zyx"
    shape: ClassVar[Sequence[int]] = (9, 33, 41)
    dtype: ClassVar[str] = "uint8"
    spacing: ClassVar[Sequence[float] | None] = None
    seeded: ClassVar[bool] = False
    reads_pixels: ClassVar[bool] = True

    def finder(self) -> RoiFinder:
        """The component under test."""
        return make_component(self.component, self.options)

    def case(self) -> Case:
        """A case with ROIs to be found; replace it for other needs."""
        return make_case(values(self.shape, self.dtype, self.component.__name__), self.axes, self.spacing)

    def find(self, case: Case, seed: int = 0) -> RoiTable:
        """The ROIs of a case, without those that the finder refuses."""
        finder = self.finder()
        given = context("rois", seed, case=case.id, state=finder.setup(Worker()))
        table = finder.find(case, given)
        beyond = [row for row in given.rejected if not 0 <= row < len(table)]
        assert not beyond, f"{self._name} refuses row {beyond[:1]} of {len(table)}"
        return table.take(np.setdiff1d(np.arange(len(table)), list(given.rejected))) if given.rejected else table

    @property
    def _name(self) -> str:
        return self.component.__name__

    def test_gives_a_table(self) -> None:
        """ROI columns, at least one row of them for this case."""
        table = self.find(self.case())
        assert isinstance(table, RoiTable), f"{self._name}.find gave {type(table).__name__}, expected a RoiTable"
        assert len(table), f"{self._name} finds nothing in the case of this test; give it one in which it does"

    def test_boxes_lie_inside(self) -> None:
        """Every box of every view lies in the layers that it cuts."""
        case = self.case()
        for view in self.find(case).views:
            for layer in view.cuts(case).values():
                assert layer in case.layers, f"{self._name} cuts layer {layer!r}, the case has {', '.join(case.layers)}"
            grid = view.grid(case)
            if grid is None:
                continue
            shape = np.array([grid.shape[grid.axes.index(axis)] for axis in view.axes])
            outside = np.flatnonzero(((view.start < 0) | (view.stop > shape)).any(axis=1))
            first = f"{view.start[outside[0]].tolist()} to {view.stop[outside[0]].tolist()}" if len(outside) else ""
            assert not len(outside), f"{self._name}: ROI {outside[:1].tolist()} ({first}) leaves the layer of shape {shape.tolist()}"

    def test_same_seed_same_rois(self) -> None:
        """Found twice, from two equal cases: equal in every column."""
        _assert_equal(self.find(self.case(), 7), self.find(self.case(), 7), f"{self._name} with one seed")

    def test_another_seed(self) -> None:
        """Only finders that say so depend on the seed; they must not fail for any."""
        tables = [self.find(self.case(), seed) for seed in (0, 1, 2, 3)]
        if not self.seeded:
            for table in tables[1:]:
                _assert_equal(table, tables[0], f"{self._name}, seeded = False, with another seed")
            return
        same = all(_rows(table) == _rows(tables[0]) for table in tables[1:])
        assert not same, f"{self._name}, seeded = True, finds the same for every seed"

    def test_leaves_the_case_alone(self) -> None:
        """No bit of the case changes."""
        case = self.case()
        with unchanged(case, self._name):
            self.find(case)

    def test_reads_pixels_only_if_it_says_so(self) -> None:
        """Geometry is known without reading a volume."""
        if self.reads_pixels:
            pytest.skip("reads_pixels = True")
        case = self.case()
        why = f"{self._name}, reads_pixels = False, reads voxels"
        lazy = {
            name: layer.with_array(Untouchable(layer.array.shape, layer.dtype, why))
            for name, layer in case.layers.items()
            if isinstance(layer, Image)
        }
        _assert_equal(self.find(case.with_layers(lazy)), self.find(case), self._name)

    def test_nothing_to_find(self) -> None:
        """A layer of one voxel gives an empty table, a small one, or a StepError; never another exception."""
        case = make_case(values((1,) * len(self.shape), self.dtype), self.axes, self.spacing)
        try:
            table = self.find(case)
        except StepError:
            return
        except Exception as error:
            message = f"{self._name} in a layer of one voxel: expected an empty table, got {type(error).__name__}: {error}"
            raise AssertionError(message) from error
        for view in table.views:
            assert (view.start >= 0).all(), f"{self._name} in a layer of one voxel: ROIs leave it"
            assert (view.stop <= 1).all(), f"{self._name} in a layer of one voxel: ROIs leave it"

    def test_every_roi_has_a_name_and_an_id(self) -> None:
        """Names are filled in for each row; ids differ."""
        case = self.case()
        table = self.find(case)
        for row in range(len(table)):
            name = table.roi_name(row, case)
            assert name, f"{self._name}: ROI {row} has an empty name"
        ids = table.ids(case.id)
        assert len(set(ids)) == len(ids), f"{self._name}: several ROIs have one id"

    def test_table_can_be_kept(self, tmp_path: Path) -> None:
        """Saved and loaded: equal in every column."""
        table = self.find(self.case())
        try:
            table.save(tmp_path / "rois.npz")
        except Exception as error:
            message = f"{self._name}: the table cannot be saved: {type(error).__name__}: {error}"
            raise AssertionError(message) from error
        _assert_equal(RoiTable.load(tmp_path / "rois.npz")[0], table, f"{self._name}, saved and loaded")


def _columns(table: RoiTable) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for i, view in enumerate(table.views):
        columns[f"view {i} start"], columns[f"view {i} stop"] = view.start, view.stop
        if view.drop is not None:
            columns[f"view {i} drop"] = view.drop
    for name, column in table.attributes.items():
        columns[f"attribute {name!r}"] = np.ma.getdata(column)
        columns[f"missing {name!r}"] = np.ma.getmaskarray(column)
    return columns


def _rows(table: RoiTable) -> list[Any]:
    return [(name, column.tolist()) for name, column in _columns(table).items()]


def _assert_equal(actual: RoiTable, expected: RoiTable, what: str) -> None:
    assert len(actual) == len(expected), f"{what}: {len(actual)} ROIs, expected {len(expected)}"
    given, wanted = _columns(actual), _columns(expected)
    assert sorted(given) == sorted(wanted), f"{what}: columns {sorted(given)}, expected {sorted(wanted)}"
    for name, column in wanted.items():
        assert_equal(given[name], column, f"{what}, {name}")
    described = [[(view.axes, view.layers, view.name) for view in table.views] for table in (actual, expected)]
    assert described[0] == described[1], f"{what}: views {described[0]}, expected {described[1]}"
    assert actual.name == expected.name, f"{what}: named {actual.name!r}, expected {expected.name!r}"
