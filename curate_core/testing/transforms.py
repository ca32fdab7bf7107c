"""What every transform must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from curate_core.batch import Batch
from curate_core.kinds import Transform, generator
from curate_core.model import Plain
from curate_core.testing.checks import assert_equal, unchanged
from curate_core.testing.making import make_batch, make_component, values
from curate_core.testing.measuring import MeasuringTests, difference


class TransformTests(MeasuringTests[Batch]):
    """A transform gives one sample for each, each by itself, and leaves its input alone; what it measures, it can measure in parts.

    Example::

        class TestBlur(TransformTests):
            component = Blur
            options = {"sigma": 1.5}
            dtype = "float32"

    Attributes:
        component: the class under test.
        options: its options, as a spec writes them.
        axes, shape, dtype, spacing: of one sample.
        count: samples in a batch.
        statistics: the merged value that ``apply`` gets; None: what ``measure`` and ``merge`` give for the batch, where they are used.
        merge_tolerance: what a value merged from parts may differ by from one measured in one pass, relative.
    """

    component: ClassVar[type[Transform]]
    options: ClassVar[Mapping[str, Any]] = {}
    axes: ClassVar[str] = "yx"
    shape: ClassVar[Sequence[int]] = (7, 11)
    dtype: ClassVar[str] = "uint8"
    spacing: ClassVar[Sequence[float] | None] = None
    count: ClassVar[int] = 5
    statistics: ClassVar[Plain] = None
    merge_tolerance: ClassVar[float] = 1e-9

    def transform(self) -> Transform:
        """The component under test."""
        return make_component(self.component, self.options)

    def batch(self) -> Batch:
        """Samples to change; replace it for other needs."""
        return make_batch(values((self.count, *self.shape), self.dtype, self.component.__name__), self.axes, self.spacing)

    def apply(self, batch: Batch) -> Batch:
        """The batch transformed, with all its arrays computed."""
        step = self.transform()
        after = step.apply(batch, self._context(step, batch, self._statistics(step, self.batch())))
        for name in after.arrays:
            after.array(name)
        return after

    def step(self) -> Transform:
        return self.transform()

    def given(self) -> Batch:
        return self.batch()

    def test_one_sample_for_each(self) -> None:
        """Ids and order stay; every array and grid fits."""
        before = self.batch()
        after = self.apply(before)
        assert after.ids == before.ids, f"{self._name} changes the samples' ids or their order"
        for name in after.arrays:
            array = after.array(name)
            assert len(array) == len(before), f"{self._name}: array {name!r} has {len(array)} rows for {len(before)} samples"
            for row in range(len(before)):
                shape = after.grids[name](row).shape
                assert shape == array.shape[1:], f"{self._name}: array {name!r} has shape {array.shape[1:]} on a grid of shape {shape}"
        for name, column in after.attributes.items():
            assert len(column) == len(before), f"{self._name}: attribute {name!r} has {len(column)} rows for {len(before)} samples"

    def test_each_sample_by_itself(self) -> None:
        """Samples come out alike in any company and order."""
        batch = self.batch()
        whole = self.apply(batch)
        order = generator("transform order").permutation(len(batch))
        groups = [[row] for row in range(len(batch))] + [order.tolist()]
        for rows in groups:
            part = self.apply(batch.take(rows))
            for name in whole.arrays:
                what = f"{self._name}: array {name!r} of samples {rows}, apart from the others"
                assert_equal(part.array(name), whole.array(name)[rows], what)

    def test_leaves_its_input_alone(self) -> None:
        """No bit of the batch changes."""
        batch = self.batch()
        with unchanged(batch, self._name):
            self.apply(batch)

    def test_same_input_same_output(self) -> None:
        """Twice the same."""
        first, second = self.apply(self.batch()), self.apply(self.batch())
        for name in first.arrays:
            assert_equal(second.array(name), first.array(name), f"{self._name}: array {name!r}, the second time")

    def test_measures_in_parts(self) -> None:
        """Samples of a case are measured batch by batch, and block by block: it must come to what one pass over all gives."""
        step, batch = self._measuring(), self.batch()
        if len(batch) < 3:
            pytest.skip("fewer than three samples")
        whole = self._merged(step, [self._measured(step, batch)])
        first, second, rest = (self._measured(step, batch.take(rows)) for rows in (slice(0, 1), slice(1, 2), slice(2, None)))
        block = self._merged(step, [first, second])
        for found, how in (
            (self._merged(step, [first, second, rest]), "three batches"),
            (self._merged(step, [block, self._merged(step, [rest])]), "two blocks, the first of two batches"),
        ):
            wrong = difference(found, whole, self.merge_tolerance)
            assert not wrong, f"{self._name}.merge of {how} is not what one pass gives, within merge_tolerance: {wrong}"
