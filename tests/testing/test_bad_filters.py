"""The kit's tests of filters fail each kind of wrong one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from attrs import frozen
from kit_toys import ToyUnique, failures

from curate_core.arrays import NDArray
from curate_core.batch import Batch
from curate_core.kinds import Context, Features, Filter, Verdict
from curate_core.testing import FilterTests


class Bad(Filter):
    """Scores by the mean, keeps all; subclasses break it."""

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        return {"mean": batch.array().mean(axis=(1, 2))}

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(np.ones(len(features), bool))


@frozen
class Relative(Bad):
    """Scores against the batch's mean."""

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        array = batch.array()
        return {"contrast": array.mean(axis=(1, 2)) - array.mean()}


@frozen
class Counting(Bad):
    """Takes the position in the batch for a score."""

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        return {"row": np.arange(len(batch))}


@frozen
class Fickle(Bad):
    """Another dtype for small batches."""

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        return {"mean": np.zeros(len(batch), np.float32 if len(batch) == 1 else np.float64)}


@frozen
class Objects(Bad):
    """Columns of Python objects."""

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        return {"hash": np.array([[1]] * len(batch) + [[1, 2]], dtype=object)[:-1]}


@frozen
class Short(Bad):
    """A score for the batch instead of each sample."""

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        return {"mean": np.array([batch.array().mean()])}


@frozen
class Mutator(Bad):
    """Centres the samples in place."""

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        array = batch.array()
        array -= array.min()
        return {"mean": array.mean(axis=(1, 2))}


@frozen
class Secretive(Bad):
    """Uses pixels though it says that it does not."""

    def needs_pixels(self) -> bool:
        return False


@frozen
class Numbers(Bad):
    """Keeps by numbers instead of a mask."""

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(np.ones(len(features)))


@frozen
class Indices(Bad):
    """Keeps by index."""

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(np.zeros(1, bool))


@frozen
class Dice(Bad):
    """Throws dice."""

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(np.random.default_rng().random(len(features)) < 0.5)


@frozen
class Positional(Bad):
    """Keeps every second sample, one at a time."""

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(np.arange(len(features)) % 2 == 0)


@frozen
class Normalising(Bad):
    """Normalises the features in place."""

    def keep(self, features: Features, context: Context) -> Verdict:
        features.columns["mean"][:] /= 2
        return Verdict(np.ones(len(features), bool))


@frozen
class Largest(Bad):
    """Cannot choose from nothing."""

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(features.columns["mean"] >= features.columns["mean"].max() - 1000)


@frozen
class Blaming(Bad):
    """Names a reason for what it keeps."""

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(np.ones(len(features), bool), because=np.zeros(len(features), np.int64))


@frozen
class BlamingDropped(Bad):
    """Drops all because of the first, which goes as well."""

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(np.zeros(len(features), bool), because=np.zeros(len(features), np.int64))


@frozen
class Purging(Bad):
    """Drops what the dataset holds."""

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(~features.existing)


@frozen
class Collecting(Bad):
    """Takes every attribute for a feature."""

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        return dict(batch.attributes)


@frozen
class Weighing(Bad):
    """Weighs the mean with the number of attributes."""

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        return {"mean": batch.array().mean(axis=(1, 2)) * len(batch.attributes)}


@pytest.mark.parametrize(
    ("judge", "claims", "test", "message"),
    [
        (Relative, {}, "test_scores_do_not_depend_on_the_batch", "feature 'contrast' of sample 0 is 0.0 alone, "),
        (Counting, {}, "test_scores_do_not_depend_on_the_batch", "feature 'row' of sample 1 is 0 alone, 1 in a batch of 24"),
        (Fickle, {}, "test_scores_do_not_depend_on_the_batch", "feature 'mean' has dtype float64 in a batch, float32 alone"),
        (Objects, {}, "test_scores_are_columns", "feature 'hash' has dtype object: numbers, booleans or fixed-width text"),
        (Short, {}, "test_scores_are_columns", "feature 'mean' has 1 rows for 24 samples"),
        (Mutator, {}, "test_scoring_leaves_its_input_alone", "Mutator.score changes its input in place: "),
        (Secretive, {}, "test_uses_pixels_only_if_it_says_so", "Secretive.needs_pixels is False, but score uses pixels"),
        (Numbers, {}, "test_verdict_has_its_shape", "Numbers: keep has dtype float64, expected bool"),
        (Indices, {}, "test_verdict_has_its_shape", "Indices: keep has shape (1,), expected (24,)"),
        (Blaming, {}, "test_verdict_has_its_shape", "Blaming: sample [0] is kept, and yet goes because of another"),
        (BlamingDropped, {}, "test_verdict_has_its_shape", "BlamingDropped: a sample goes because of one that is not kept either"),
        (Dice, {}, "test_verdict_is_deterministic", "Dice.keep gives another verdict the second time"),
        (Normalising, {}, "test_verdict_leaves_features_alone", "Normalising.keep changes its input in place: "),
        (Positional, {}, "test_verdict_on_single_samples", "Positional.keep judges sample 1 otherwise among others"),
        (Positional, {}, "test_verdict_on_a_permutation", "Positional.keep depends on the order of the samples"),
        (Collecting, {}, "test_attributes_survive", "Collecting.score gives other features when samples carry an attribute more"),
        (Weighing, {}, "test_attributes_survive", "feature 'mean' is another when samples carry an attribute more"),
        (Purging, {"keeps_existing": True}, "test_existing_samples_stay", "Purging.keep drops a sample that the dataset holds already"),
    ],
)
def test_bad_filters(tmp_path, judge, claims, test, message):
    failed = failures(tmp_path, FilterTests, judge, **claims)
    assert failed[test].startswith(f"AssertionError: {message}")


def test_filters_that_fail_on_nothing(tmp_path):
    failed = failures(tmp_path, FilterTests, Largest)
    assert set(failed) == {"test_nothing_to_judge"}
    assert failed["test_nothing_to_judge"].startswith("ValueError: zero-size array")


def test_order_is_a_claim(tmp_path):
    name = "test_verdict_on_a_permutation"
    assert name not in failures(tmp_path / "modest", FilterTests, ToyUnique)
    assert failures(tmp_path / "bold", FilterTests, ToyUnique, order_free=True) == {
        name: "AssertionError: ToyUnique.keep depends on the order of the samples"
    }
