"""The kit's tests of ROI finders, filters, transforms and preprocessors pass what is right, and fail each kind of wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from attrs import frozen
from kit_toys import ToyFilter, ToyFinder, ToyFloor, ToyLevel, ToyPreprocessor, ToyTransform, ToyUnique, run_kit

from curate_core.arrays import MapArray, NDArray, read
from curate_core.batch import Batch
from curate_core.grid import Grid
from curate_core.kinds import Context, Features, Filter, RoiFinder, Verdict
from curate_core.model import Case, Tractogram
from curate_core.rois import RoiTable
from curate_core.testing import FilterTests, PreprocessorTests, RoiFinderTests, TransformTests


def failures(tmp_path: Path, base: type[Any], component: type[Any], **claims: Any) -> dict[str, str]:
    return run_kit(type("Claims", (base,), {"component": component, **claims}), tmp_path)


@pytest.mark.parametrize(
    ("base", "component", "claims"),
    [
        (RoiFinderTests, ToyFinder, {"seeded": True, "reads_pixels": False}),
        (RoiFinderTests, ToyFinder, {"seeded": True, "axes": "yx", "shape": (12, 13), "options": {"size": 2}}),
        (FilterTests, ToyFilter, {"options": {"least": 127}}),
        (FilterTests, ToyUnique, {"keeps_existing": True}),
        (TransformTests, ToyTransform, {}),
        (TransformTests, ToyLevel, {}),
        (TransformTests, ToyLevel, {"statistics": {"greatest": 9, "sum": 20, "count": 5}, "count": 2}),
        (PreprocessorTests, ToyPreprocessor, {}),
        (PreprocessorTests, ToyFloor, {}),
    ],
)
def test_right_components_pass(tmp_path, base, component, claims):
    assert failures(tmp_path, base, component, **claims) == {}


# ---------------------------------------------------------------------------------------------- ROI finders


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


# --------------------------------------------------------------------------------------------------- filters


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


# ------------------------------------------------------------------------------- transforms and preprocessors


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
