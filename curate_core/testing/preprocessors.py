"""What every preprocessor must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from curate_core.arrays import read
from curate_core.kinds import CASE, Preprocessor
from curate_core.model import Case, Image, Plain
from curate_core.testing.checks import assert_equal, fingerprint, some_boxes, unchanged
from curate_core.testing.making import Untouchable, make_case, make_component, values
from curate_core.testing.measuring import MeasuringTests


class PreprocessorTests(MeasuringTests[Case]):
    """A preprocessor makes another case, lazily where it can, and leaves the given one alone; what it measures is plain.

    Example::

        class TestMedian(PreprocessorTests):
            component = Median
            options = {"radius": 2}
            lazy = False

    Attributes:
        component: the class under test.
        options: its options, as a spec writes them.
        axes, shape, dtype, spacing: of the case's layer.
        lazy: ``apply`` reads no voxels.
        statistics: the merged value that ``apply`` gets; None: what ``measure`` and ``merge`` give for the case, where they are used.
    """

    component: ClassVar[type[Preprocessor]]
    options: ClassVar[Mapping[str, Any]] = {}
    axes: ClassVar[str] = "zyx"
    shape: ClassVar[Sequence[int]] = (5, 7, 11)
    dtype: ClassVar[str] = "uint8"
    spacing: ClassVar[Sequence[float] | None] = (3.0, 1.5, 0.75)
    lazy: ClassVar[bool] = True
    statistics: ClassVar[Plain] = None

    def preprocessor(self) -> Preprocessor:
        """The component under test."""
        return make_component(self.component, self.options)

    def case(self) -> Case:
        """A case to change; replace it for other needs."""
        return make_case(values(self.shape, self.dtype, self.component.__name__), self.axes, self.spacing)

    def apply(self, case: Case) -> Case:
        """The case as it leaves the step."""
        step = self.preprocessor()
        return step.apply(case, self._context(step, case, self._statistics(step, self.case())))

    def step(self) -> Preprocessor:
        return self.preprocessor()

    def given(self) -> Case:
        return self.case()

    def _alone(self, step: Any) -> bool:
        return bool(step.statistics_scope() == CASE)

    def test_keeps_id_and_attributes(self) -> None:
        """The case stays the same case."""
        before = self.case().with_attributes(split="train")
        after = self.apply(before)
        assert after.id == before.id, f"{self._name} changes the case's id"
        assert after.attributes.get("split") == "train", f"{self._name} loses attributes of the case"

    def test_leaves_the_case_alone(self) -> None:
        """No bit of the given case changes, not even when the result is read."""
        case = self.case()
        with unchanged(case, self._name):
            for layer in self.apply(case).images().values():
                read(layer.array)

    def test_boxes_equal_the_whole(self) -> None:
        """Any box of the result, read on its own, is that box of the whole; dtype and shape are as announced."""
        for name, layer in self.apply(self.case()).images().items():
            whole = read(layer.array)
            assert whole.shape == tuple(layer.array.shape), f"{self._name}: layer {name!r} announces {layer.array.shape}, has {whole.shape}"
            assert whole.dtype == layer.dtype, f"{self._name}: layer {name!r} announces {layer.dtype}, has {whole.dtype}"
            for where in some_boxes(whole.shape):
                assert_equal(read(layer.array, where), whole[where], f"{self._name}: layer {name!r}, box {where}")

    def test_reads_nothing_before_it_is_asked(self) -> None:
        """Applying it costs nothing; reading does."""
        if not self.lazy:
            pytest.skip("lazy = False")
        case, why = self.case(), f"{self._name}.apply reads voxels; lazy = False if it must"
        layers = {
            name: layer.with_array(Untouchable(layer.array.shape, layer.dtype, why))
            for name, layer in case.layers.items()
            if isinstance(layer, Image)
        }
        self.apply(case.with_layers(layers))

    def test_same_case_same_result(self) -> None:
        """Twice the same."""
        first, second = self.apply(self.case()), self.apply(self.case())
        assert list(first.layers) == list(second.layers), f"{self._name} gives other layers the second time"
        for name, layer in first.images().items():
            assert_equal(np.asarray(second.image(name).array), np.asarray(layer.array), f"{self._name}: layer {name!r}, the second time")
            assert second.image(name).grid == layer.grid, f"{self._name}: layer {name!r} has another grid the second time"
        for name in first.layers.keys() - first.images().keys():
            same = fingerprint(second.layers[name]) == fingerprint(first.layers[name])
            assert same, f"{self._name}: layer {name!r} is another the second time"

    def test_cases_are_measured_together(self) -> None:
        """What several cases give is one value, with which each can be changed."""
        step, case = self._measuring(), self.case()
        if self._alone(step):
            pytest.skip("measures each case alone")
        together = self._merged(step, [self._measured(step, case), self._measured(step, self.case())])
        after = step.apply(case, self._context(step, case, together))
        for layer in after.images().values():
            read(layer.array)
