"""The kit's tests of transforms and preprocessors fail each kind of wrong one."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
from attrs import frozen
from kit_toys import ToyFloor, ToyLevel, ToyPreprocessor, ToyTransform, failures

from curate_core.arrays import MapArray, read
from curate_core.batch import Batch
from curate_core.grid import Grid
from curate_core.kinds import Context
from curate_core.model import Case, Tractogram
from curate_core.testing import PreprocessorTests, TransformTests


@frozen
class Centring(ToyTransform):
    """Subtracts the batch's mean."""

    def apply(self, batch: Batch, context: Context) -> Batch:
        array = batch.array()
        return batch.with_array("image", array - array.mean())


@frozen
class Halving(ToyTransform):
    """Halves in place."""

    def apply(self, batch: Batch, context: Context) -> Batch:
        array = batch.array()
        array //= 2
        return batch


@frozen
class Dropping(ToyTransform):
    """Loses a sample."""

    def apply(self, batch: Batch, context: Context) -> Batch:
        return batch.take(np.arange(len(batch) - 1)) if len(batch) > 1 else batch


@frozen
class Padding(ToyTransform):
    """Pads without moving the grid."""

    def apply(self, batch: Batch, context: Context) -> Batch:
        return batch.with_array("image", np.pad(batch.array(), [(0, 0), (1, 1), (1, 1)]))


@frozen
class Noise(ToyTransform):
    """Adds noise of its own."""

    def apply(self, batch: Batch, context: Context) -> Batch:
        array = batch.array()
        return batch.with_array("image", array + np.random.default_rng().random(array.shape))


@pytest.mark.parametrize(
    ("transform", "test", "message"),
    [
        (Centring, "test_each_sample_by_itself", "Centring: array 'image' of samples [0], apart from the others: "),
        (Halving, "test_leaves_its_input_alone", "Halving changes its input in place: "),
        (Dropping, "test_one_sample_for_each", "Dropping changes the samples' ids or their order"),
        (Padding, "test_one_sample_for_each", "Padding: array 'image' has shape (9, 13) on a grid of shape (7, 11)"),
        (Noise, "test_same_input_same_output", "Noise: array 'image', the second time: "),
    ],
)
def test_bad_transforms(tmp_path, transform, test, message):
    assert failures(tmp_path, TransformTests, transform)[test].startswith(f"AssertionError: {message}")


def measuring(base: type[Any], name: str, **methods: Any) -> type[Any]:
    """A step like another, some of its methods replaced."""
    return frozen(type(name, (base,), {"__doc__": base.__doc__, "__module__": __name__, **methods}))


def in_place(self, batch, context):
    found = ToyLevel.measure(self, batch, context)
    array = batch.array()
    array -= array.min()
    return found


def into_the_first(self, partials):
    for partial in partials[1:]:
        partials[0]["sum"] += partial["sum"]
    return dict(partials[0])


def mean_of_means(self, partials):
    return {"greatest": 1, "sum": sum(p["sum"] / p["count"] for p in partials) / len(partials), "count": 1}


def another_form(self, partials):
    return [max(partial["greatest"] for partial in partials)]


def by_dice(self, batch, context):
    return {**ToyLevel.measure(self, batch, context), "sum": int(np.random.default_rng().integers(1 << 60))}


APART = "test_measures_in_parts"
ANY = "test_one_sample_for_each"


@pytest.mark.parametrize(
    ("methods", "test", "message"),
    [
        ({"measure": lambda self, batch, context: (1, 2)}, ANY, "what Bad.measure gives is another after it was saved (a tuple, "),
        ({"measure": lambda self, batch, context: {1: 2}}, ANY, "what Bad.measure gives is another after it was saved (a tuple, "),
        ({"measure": lambda self, batch, context: np.int64(1)}, ANY, "what Bad.measure gives holds what JSON cannot: Object of type int64"),
        ({"merge": lambda self, partials: {"greatest": np.zeros(2)}}, ANY, "what Bad.merge gives holds what JSON cannot: "),
        ({"merge": lambda self, partials: partials["greatest"]}, ANY, "Bad.merge of [{'greatest': 255, "),
        (
            {"merge": lambda self, partials: partials[0]},
            APART,
            "Bad.merge of three batches is not what one pass gives, within merge_tolerance: value['",
        ),
        (
            {"merge": mean_of_means},
            APART,
            "Bad.merge of three batches is not what one pass gives, within merge_tolerance: value['sum'] is ",
        ),
        ({"merge": another_form}, APART, "Bad.merge of [[255], [255]] failed with TypeError: list indices must be integers"),
        ({"merge": into_the_first}, "test_measuring_leaves_its_input_alone", "Bad.merge changes its input in place"),
        ({"measure": in_place}, "test_measuring_leaves_its_input_alone", "Bad.measure changes its input in place: "),
        ({"measure": by_dice}, "test_measures_the_same_again", "Bad measures {'greatest': 255, "),
    ],
)
def test_transforms_that_measure_badly(tmp_path, methods, test, message):
    assert failures(tmp_path, TransformTests, measuring(ToyLevel, "Bad", **methods))[test].startswith(f"AssertionError: {message}")


def test_how_near_parts_must_come_is_a_claim(tmp_path):
    rounded = measuring(
        ToyLevel, "Rounded", merge=lambda self, partials: {**ToyLevel.merge(self, partials), "sum": round(partials[0]["sum"], -3)}
    )
    claims = {"options": {}, "merge_tolerance": 1e9}
    assert APART in failures(tmp_path / "a", TransformTests, rounded)
    assert APART not in failures(tmp_path / "b", TransformTests, rounded, **claims)


def only_one(self, partials):
    (only,) = partials
    return only


def listed(self, partials):
    return partials[0] if len(partials) == 1 else [partial[0] for partial in partials]


@pytest.mark.parametrize(
    ("methods", "test", "message"),
    [
        (
            {"merge": only_one},
            "test_cases_are_measured_together",
            "AssertionError: Bad.merge of [[0], [0]] failed with ValueError: too many",
        ),
        ({"merge": listed}, "test_cases_are_measured_together", "ValueError: too many values to unpack"),
        (
            {"measure": lambda self, case, context: (0,)},
            "test_boxes_equal_the_whole",
            "AssertionError: what Bad.measure gives is another after it was saved",
        ),
        (
            {"measure": lambda self, case, context: [int(np.random.default_rng().integers(1 << 60))]},
            "test_measures_the_same_again",
            "AssertionError: Bad measures [",
        ),
    ],
)
def test_preprocessors_that_measure_badly(tmp_path, methods, test, message):
    assert failures(tmp_path, PreprocessorTests, measuring(ToyFloor, "Bad", **methods))[test].startswith(message)


@frozen
class EagerInvert(ToyPreprocessor):
    """Reads the volume to invert it."""

    def apply(self, case: Case, context: Context) -> Case:
        return case.with_layers({name: image.with_array(~read(image.array)) for name, image in case.images().items()})


@frozen
class Renaming(ToyPreprocessor):
    """Makes a new case, and forgets the attributes."""

    def apply(self, case: Case, context: Context) -> Case:
        return Case(case.id, case.layers)


@frozen
class LocalContrast(ToyPreprocessor):
    """Normalises each box that is read."""

    def apply(self, case: Case, context: Context) -> Case:
        image = case.image()
        return case.with_layers({"image": image.with_array(MapArray(image.array, lambda a: a - a.min(initial=255), image.dtype))})


@frozen
class Undeclared(ToyPreprocessor):
    """Announces another dtype than it gives."""

    def apply(self, case: Case, context: Context) -> Case:
        image = case.image()
        return case.with_layers({"image": image.with_array(MapArray(image.array, lambda a: a / 2, "uint8"))})


@frozen
class Overwriting(ToyPreprocessor):
    """Inverts in place."""

    def apply(self, case: Case, context: Context) -> Case:
        image = case.image()
        return case.with_layers({"image": image.with_array(MapArray(image.array, lambda a: np.invert(a, out=a), image.dtype))})


@pytest.mark.parametrize(
    ("preprocessor", "test", "message"),
    [
        (EagerInvert, "test_reads_nothing_before_it_is_asked", "EagerInvert.apply reads voxels; lazy = False if it must"),
        (Renaming, "test_keeps_id_and_attributes", "Renaming loses attributes of the case"),
        (LocalContrast, "test_boxes_equal_the_whole", "LocalContrast: layer 'image', box "),
        (Undeclared, "test_boxes_equal_the_whole", "Undeclared: layer 'image' announces uint8, has float64"),
        (Overwriting, "test_leaves_the_case_alone", "Overwriting changes its input in place: "),
    ],
)
def test_bad_preprocessors(tmp_path, preprocessor, test, message):
    assert failures(tmp_path, PreprocessorTests, preprocessor)[test].startswith(f"AssertionError: {message}")


@frozen
class Shaking(ToyPreprocessor):
    """Moves points by chance."""

    def apply(self, case: Case, context: Context) -> Case:
        lines = case.layers["lines"]
        assert isinstance(lines, Tractogram)
        noise = np.random.default_rng().normal(size=lines.points.shape).astype(np.float32)
        return case.with_layers({"lines": attrs.evolve(lines, points=read(lines.points) + noise)})


class OfLines(PreprocessorTests):
    def case(self) -> Case:
        points, grid = np.zeros((5, 3), np.float32), Grid.from_spacing((3, 4, 5), "zyx", (1.0, 1.0, 1.0), "mm")
        return Case("case", {"lines": Tractogram(points, np.array([0, 2]), np.array([2, 3]), grid)})


def test_streamlines_are_judged_as_images_are(tmp_path):
    assert failures(tmp_path / "right", OfLines, ToyPreprocessor) == {}
    failed = failures(tmp_path / "wrong", OfLines, Shaking)
    assert "Shaking: layer 'lines' is another the second time" in failed["test_same_case_same_result"]
