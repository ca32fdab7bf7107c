"""What every filter must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest

from curate_core.arrays import NDArray
from curate_core.batch import Batch
from curate_core.kinds import Features, Filter, Verdict, Worker, generator
from curate_core.rois import COLUMN_KINDS
from curate_core.testing.checks import unchanged
from curate_core.testing.making import context, make_batch, make_component, values, without_pixels


class FilterTests:
    """A filter scores each sample by itself and judges by scores alone, the same way every time.

    Example::

        class TestNearDuplicates(FilterTests):
            component = NearDuplicates
            options = {"distance": 12, "within": "case"}
            order_free = False  # the first of two equal samples stays
            keeps_existing = True

    Attributes:
        component: the class under test.
        options: its options, as a spec writes them.
        axes: axes of the samples.
        shape: shape of one sample.
        dtype: of its voxels.
        count: samples in a batch.
        order_free: the verdict on a sample does not depend on the order of the others; always asked of filters over single samples.
        keeps_existing: samples of the dataset that a run continues always stay.
    """

    component: ClassVar[type[Filter]]
    options: ClassVar[Mapping[str, Any]] = {}
    axes: ClassVar[str] = "yx"
    shape: ClassVar[Sequence[int]] = (16, 21)
    dtype: ClassVar[str] = "uint8"
    count: ClassVar[int] = 24
    order_free: ClassVar[bool] = False
    keeps_existing: ClassVar[bool] = False

    def filter(self) -> Filter:
        """The component under test."""
        return make_component(self.component, self.options)

    def batch(self) -> Batch:
        """Samples to judge: random ones, a blank one, and every fifth equal to the first. Replace it for other needs."""
        stack = np.array(values((self.count, *self.shape), self.dtype, self.component.__name__))
        stack[1] = 0
        stack[::5] = stack[0]
        return make_batch(stack, self.axes)

    @property
    def _name(self) -> str:
        return self.component.__name__

    def _score(self, batch: Batch) -> Mapping[str, NDArray]:
        judge = self.filter()
        return judge.score(batch, context("filter", state=judge.setup(Worker())))

    def _keep(self, columns: Mapping[str, NDArray], ids: Sequence[str], existing: NDArray | None = None) -> Verdict:
        judge = self.filter()
        known = np.zeros(len(ids), bool) if existing is None else existing
        state = judge.setup(Worker())
        return judge.keep(Features(dict(columns), known, lambda i: ids[i]), context("filter", state=state))

    def test_scores_are_columns(self) -> None:
        """A mapping of names to (n, ...) arrays of plain dtypes."""
        batch = self.batch()
        columns = self._score(batch)
        assert isinstance(columns, Mapping), f"{self._name}.score gave {type(columns).__name__}, expected a mapping of names to arrays"
        for name, column in columns.items():
            assert isinstance(column, np.ndarray), f"feature {name!r} is {type(column).__name__}, expected an array"
            assert len(column) == len(batch), f"feature {name!r} has {len(column)} rows for {len(batch)} samples"
            assert column.dtype.kind in COLUMN_KINDS, f"feature {name!r} has dtype {column.dtype}: numbers, booleans or fixed-width text"

    def test_scores_do_not_depend_on_the_batch(self) -> None:
        """A batch's scores are those of its samples one by one, in any order, bit for bit, and of one dtype."""
        batch = self.batch()
        whole = self._score(batch)
        singles = [self._score(batch.take([row])) for row in range(len(batch))]
        order = generator("order").permutation(len(batch))
        shuffled = self._score(batch.take(order))
        for name, column in whole.items():
            for row, single in enumerate(singles):
                kinds = column.dtype, single[name].dtype
                assert kinds[0] == kinds[1], f"feature {name!r} has dtype {kinds[0]} in a batch, {kinds[1]} alone"
                same = _same(single[name][0], column[row])
                assert same, f"feature {name!r} of sample {row} is {single[name][0]} alone, {column[row]} in a batch of {len(batch)}"
            assert _same(shuffled[name], column[order]), f"feature {name!r} depends on the order of the batch"

    def test_scoring_leaves_its_input_alone(self) -> None:
        """No bit of the batch changes."""
        batch = self.batch()
        with unchanged(batch, f"{self._name}.score"):
            self._score(batch)

    def test_uses_pixels_only_if_it_says_so(self) -> None:
        """A filter that needs no pixels gets none."""
        if self.filter().needs_pixels():
            pytest.skip("needs pixels")
        self._score(without_pixels(self.batch(), f"{self._name}.needs_pixels is False, but score uses pixels"))

    def test_verdict_has_its_shape(self) -> None:
        """``keep`` is a mask; scores and reasons, where given, have a row a sample."""
        batch = self.batch()
        self._check_verdict(self._keep(self._score(batch), batch.ids), len(batch))

    def _check_verdict(self, verdict: Verdict, count: int) -> None:
        assert isinstance(verdict, Verdict), f"{self._name}.keep gave {type(verdict).__name__}, expected a Verdict"
        keep = verdict.keep
        assert isinstance(keep, np.ndarray), f"{self._name}: keep is {type(keep).__name__}, expected an array"
        assert keep.dtype == bool, f"{self._name}: keep has dtype {keep.dtype}, expected bool"
        assert keep.shape == (count,), f"{self._name}: keep has shape {keep.shape}, expected ({count},)"
        if verdict.score is not None:
            assert verdict.score.shape == (count,), f"{self._name}: score has shape {verdict.score.shape}, expected ({count},)"
        if verdict.because is None:
            return
        because = verdict.because
        assert because.shape == (count,), f"{self._name}: because has shape {because.shape}, expected ({count},)"
        assert because.dtype == np.int64, f"{self._name}: because has dtype {because.dtype}, expected int64"
        assert ((because >= -1) & (because < count)).all(), f"{self._name}: because points outside the samples"
        blamed = np.flatnonzero(because >= 0)
        assert not keep[blamed].any(), f"{self._name}: sample {blamed[keep[blamed]].tolist()[:1]} is kept, and yet goes because of another"
        assert keep[because[blamed]].all(), f"{self._name}: a sample goes because of one that is not kept either"

    def test_verdict_is_deterministic(self) -> None:
        """The same features give the same verdict."""
        batch = self.batch()
        columns = self._score(batch)
        first, second = (self._keep(columns, batch.ids) for _ in range(2))
        assert _same(first.keep, second.keep), f"{self._name}.keep gives another verdict the second time"
        if first.score is not None and second.score is not None:
            assert _same(first.score, second.score), f"{self._name}.keep gives other scores the second time"

    def test_verdict_leaves_features_alone(self) -> None:
        """No bit of the features changes."""
        batch = self.batch()
        columns = {name: np.array(column) for name, column in self._score(batch).items()}
        for column in columns.values():
            column.setflags(write=False)
        with unchanged(columns, f"{self._name}.keep"):
            self._keep(columns, batch.ids)

    def test_verdict_on_a_permutation(self) -> None:
        """Filters over single samples, and those that say so, judge each sample alike in any order."""
        alone = self.filter().scope().over == "sample"
        if not (alone or self.order_free):
            pytest.skip("order_free = False")
        batch = self.batch()
        columns = self._score(batch)
        order = generator("verdict order").permutation(len(batch))
        shuffled = {name: column[order] for name, column in columns.items()}
        verdict = self._keep(columns, batch.ids)
        other = self._keep(shuffled, [batch.ids[i] for i in order])
        assert _same(other.keep, verdict.keep[order]), f"{self._name}.keep depends on the order of the samples"

    def test_verdict_on_single_samples(self) -> None:
        """A filter over single samples judges each as if it were alone."""
        if self.filter().scope().over != "sample":
            pytest.skip("judges samples together")
        batch = self.batch()
        columns = self._score(batch)
        keep = self._keep(columns, batch.ids).keep
        for row in range(len(batch)):
            single = self._keep({name: column[row : row + 1] for name, column in columns.items()}, [batch.ids[row]]).keep
            assert single[0] == keep[row], f"{self._name}.keep judges sample {row} otherwise among others"

    def test_nothing_to_judge(self) -> None:
        """No samples, no verdicts, no error."""
        columns = {name: column[:0] for name, column in self._score(self.batch()).items()}
        self._check_verdict(self._keep(columns, []), 0)

    def test_existing_samples_stay(self) -> None:
        """What the dataset already holds is not taken out again."""
        if not self.keeps_existing:
            pytest.skip("keeps_existing = False")
        batch = self.batch()
        columns = self._score(batch)
        existing = self._keep(columns, batch.ids).keep
        verdict = self._keep(columns, batch.ids, existing)
        self._check_verdict(verdict, len(batch))
        assert verdict.keep[existing].all(), f"{self._name}.keep drops a sample that the dataset holds already"

    def test_attributes_survive(self) -> None:
        """Samples that carry attributes are judged like those that carry none."""
        batch = self.batch()
        plain = self._score(batch)
        marked = self._score(attrs.evolve(batch, attributes={**batch.attributes, "kit-mark": np.arange(len(batch))}))
        assert list(plain) == list(marked), f"{self._name}.score gives other features when samples carry an attribute more"
        for name, column in plain.items():
            assert _same(column, marked[name]), f"feature {name!r} is another when samples carry an attribute more"


def _same(a: Any, b: Any) -> bool:
    left, right = np.asarray(a), np.asarray(b)
    return left.shape == right.shape and left.tobytes() == right.tobytes()
