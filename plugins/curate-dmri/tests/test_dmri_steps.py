"""Steps on streamlines and volumes: closed forms, dipy, NumPy."""

import attrs
import nibabel
import numpy as np
import pytest
from curate_dmri.connectivity import Connectivity
from curate_dmri.space import to_space, transformed, voxel_order
from curate_dmri.standardize import Standardize
from curate_dmri.streamlines import CompressStreamlines, RemoveInvalid, ResampleStreamlines
from dipy.io.stateful_tractogram import Origin, Space, StatefulTractogram
from dipy.tracking.streamlinespeed import compress_streamlines, set_number_of_points

from curate_core import Case, Grid, Image, StepError, Tractogram
from curate_core.arrays import read
from curate_core.testing import context

AFFINE = np.array([[-2.0, 0.2, 0, 20], [0.1, 2.5, 0, -15], [0, 0, 3, -30], [0, 0, 0, 1]])
GRID = Grid((14, 12, 10), "xyz", AFFINE, "mm", oriented=True)


def tractogram(lines, grid=GRID, gap=0, **data):
    """With ``gap`` rows of NaN between streamlines, as .tck files have them."""
    rows, offsets, at = [np.zeros((0, 3), np.float32)], [], 0
    for line in lines:
        offsets.append(at)
        rows += [np.asarray(line, np.float32).reshape(-1, 3), np.full((gap, 3), np.nan, np.float32)]
        at += len(line) + gap
    lengths = np.array([len(line) for line in lines], np.int64)
    return Tractogram(np.concatenate(rows), np.array(offsets, np.int64), lengths, grid, **data)


def apply(step, lines, **others):
    case = step.apply(Case("s", {"lines": lines, **others}), context("step"))
    return case.layers["lines"]


def streamlines(lines):
    return [lines.streamline(i) for i in range(len(lines))]


def walks(count, seed=0, low=2, high=60):
    rng = np.random.default_rng(seed)
    return [np.cumsum(rng.normal(0, 0.4, (int(rng.integers(low, high)), 3)), axis=0).astype(np.float32) for _ in range(count)]


def steps_of(line):
    return np.linalg.norm(np.diff(line.astype(np.float64), axis=0), axis=1)


# Spaces.


def test_spaces_are_those_of_dipy_with_the_origin_at_the_corner():
    inside = [nibabel.affines.apply_affine(AFFINE, np.random.default_rng(i).uniform(1, 8, (9, 3))).astype("f4") for i in range(4)]
    reference = nibabel.Nifti1Image(np.zeros((14, 12, 10), np.uint8), AFFINE)
    for space in ("vox", "voxmm", "rasmm"):
        sft = StatefulTractogram(inside, reference, Space.RASMM)
        sft.to_space(Space(space))
        sft.to_origin(Origin.TRACKVIS)
        ours = transformed(np.concatenate(inside), to_space(GRID, space))
        np.testing.assert_allclose(ours, sft.streamlines.get_data(), rtol=1e-6, atol=1e-5)


def test_spaces_follow_the_axes_of_the_grid_not_their_order_in_the_array():
    turned = GRID.transpose([2, 1, 0]).add("c", 4, 3)
    for space in ("vox", "voxmm", "rasmm"):
        np.testing.assert_array_equal(to_space(turned, space), to_space(GRID, space))
    assert voxel_order(turned) == "LAS"


# Resampling.


@pytest.mark.parametrize("gap", [0, 1])
def test_a_number_of_points_is_what_dipy_gives(gap):
    lines = walks(30)
    for count in (2, 3, 17, 100):
        ours = streamlines(apply(ResampleStreamlines(layer="lines", points=count), tractogram(lines, gap=gap)))
        for mine, theirs in zip(ours, set_number_of_points(lines, nb_points=count), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_the_step_that_is_asked_for_is_the_step():
    straight = np.linspace([0, 0, 0], [10, 0, 0], 7)
    (line,) = streamlines(apply(ResampleStreamlines(layer="lines", step_size=0.4), tractogram([straight])))
    np.testing.assert_allclose(line[:, 0], np.arange(26) * 0.4, atol=1e-5)
    (line,) = streamlines(apply(ResampleStreamlines(layer="lines", step_size=0.3), tractogram([straight])))
    np.testing.assert_allclose(line[:, 0], [*np.arange(34) * 0.3, 10], atol=1e-5)


def test_steps_on_a_circle_have_the_chord_of_their_arc():
    angles = np.linspace(0, 1.5 * np.pi, 20_001)
    circle = 5 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    (line,) = streamlines(apply(ResampleStreamlines(layer="lines", step_size=0.5), tractogram([circle])))
    chord = 2 * 5 * np.sin(0.5 / 5 / 2)
    np.testing.assert_allclose(steps_of(line)[:-1], chord, rtol=1e-4)
    assert len(line) == int(np.ceil(1.5 * np.pi * 5 / 0.5)) + 1
    np.testing.assert_allclose(line[[0, -1]], circle[[0, -1]], atol=1e-5)


def test_ends_stay_and_data_of_streamlines_too():
    lines = walks(20, high=9)
    given = tractogram(lines, per_streamline={"w": np.arange(20.0)[:, None]}, per_point={"fa": np.zeros((sum(map(len, lines)), 1))})
    for step in (ResampleStreamlines(layer="lines", step_size=0.1), ResampleStreamlines(layer="lines", points=9)):
        made = apply(step, given)
        for before, after in zip(lines, streamlines(made), strict=True):
            np.testing.assert_array_equal(after[[0, -1]], before[[0, -1]])
        assert made.per_streamline["w"].tolist() == given.per_streamline["w"].tolist()
        assert made.per_point == {}


def test_streamlines_of_one_point_or_none_or_without_length_are_no_error():
    lines = [[[1, 2, 3]], [], [[4, 4, 4]] * 5]
    by_step = streamlines(apply(ResampleStreamlines(layer="lines", step_size=0.5), tractogram(lines)))
    assert [line.tolist() for line in by_step] == [[[1, 2, 3]], [], [[4, 4, 4]]]
    by_number = streamlines(apply(ResampleStreamlines(layer="lines", points=3), tractogram(lines)))
    assert [line.tolist() for line in by_number] == [[[1, 2, 3]] * 3, [], [[4, 4, 4]] * 3]
    empty = apply(ResampleStreamlines(layer="lines", points=3), tractogram([]))
    assert empty.points.shape == (0, 3)


def test_a_streamline_with_nan_is_no_endless_one():
    with pytest.raises(StepError, match="streamline 1 of layer 'lines' holds NaN"):
        apply(ResampleStreamlines(layer="lines", step_size=0.5), tractogram([[[0, 0, 0]] * 2, [[0, 0, 0], [np.nan, 0, 0]]]))


def test_resampling_needs_either_a_step_or_a_number():
    for options in ({}, {"step_size": 1.0, "points": 3}):
        with pytest.raises(ValueError, match="either step_size or points"):
            ResampleStreamlines(layer="lines", **options)


# Compression.


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("tolerance", [0.01, 0.3])
def test_compression_keeps_the_points_that_dipy_keeps(tolerance, gap):
    rng = np.random.default_rng(1)
    smooth = [
        np.stack([t, np.sin(t * a), 0.3 * t * t], axis=1).astype("f4") for a in rng.uniform(0, 2, 20) for t in [np.linspace(0, 6, 80)]
    ]
    lines = [*smooth, *walks(20, seed=2), *walks(5, low=1, high=3)]
    ours = streamlines(apply(CompressStreamlines(layer="lines", tolerance=tolerance), tractogram(lines, gap=gap)))
    for mine, theirs in zip(ours, compress_streamlines(lines, tol_error=tolerance), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert sum(map(len, ours)) < sum(map(len, lines))


def test_compression_keeps_the_data_of_points_that_stay():
    line = np.stack([np.linspace(0, 4, 9), np.zeros(9), np.zeros(9)], axis=1)
    line[4, 1] = 1
    made = apply(CompressStreamlines(layer="lines"), tractogram([line], per_point={"n": np.arange(9)[:, None]}))
    assert made.per_point["n"].ravel().tolist() == [0, 3, 4, 5, 8]
    assert made.lengths.tolist() == [5]


# Removal.


def test_streamlines_that_leave_the_volume_go_and_are_counted():
    world = [nibabel.affines.apply_affine(AFFINE, np.array(v, float)) for v in (
        [[0, 0, 0], [13, 11, 9]], [[-0.49, 0, 0], [13.49, 11, 9]], [[-0.51, 0, 0], [1, 1, 1]], [[1, 1, 1], [1, 1, 9.51]], [[5, np.nan, 1]],
    )]  # fmt: skip
    lines = tractogram([*world, []], gap=1, per_streamline={"n": np.arange(6)[:, None]})
    case = RemoveInvalid(layer="lines").apply(Case("s", {"lines": lines}), context("step"))
    made = case.layers["lines"]
    assert made.per_streamline["n"].ravel().tolist() == [0, 1]
    assert case.attributes == {"lines_removed": 4}
    np.testing.assert_array_equal(made.streamline(1), world[1].astype("f4"))
    again = RemoveInvalid(layer="lines").apply(case, context("step"))
    assert again.attributes == {"lines_removed": 4}


def test_removal_with_another_step_removes_what_is_outside_after_it():
    inside, outside = [[0, 0, -20], [3, 0, -20]], [[0, 0, -20], [0, 0, 900]]
    for step in (
        ResampleStreamlines(layer="lines", points=4, remove_invalid=True),
        CompressStreamlines(layer="lines", remove_invalid=True),
    ):
        made = apply(step, tractogram([inside, outside]))
        assert len(made) == made.notes["removed"] == 1


def test_a_layer_that_is_no_tractogram_is_named():
    with pytest.raises(StepError, match="there is no tractogram layer 'other', only lines"):
        RemoveInvalid(layer="other").apply(Case("s", {"lines": tractogram([])}), context("step"))


# Standardisation.


def volume(values, axes="zyxc"):
    shape = values.shape
    spatial = "".join(axis for axis in axes if axis in "xyz")
    return Image(values, Grid.from_spacing(shape, axes, [2.0] * len(spatial), "mm"))


def standardize(image, mask=None, **options):
    layers = {"input": image} if mask is None else {"input": image, "mask": mask}
    step = Standardize(layer="input", **options) if mask is None else Standardize(layer="input", mask="mask", **options)
    case = Case("s", layers)
    found = context("standardize")
    known = attrs.evolve(found, statistics=step.merge([step.measure(case, found)]))
    return step.apply(case, known).image("input")


def values(seed=0, shape=(6, 5, 4, 3), dtype=np.float32):
    return (np.random.default_rng(seed).uniform(1, 900, shape)).astype(dtype)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", "int32"])
@pytest.mark.parametrize("over", ["layer", "feature", "file"])
def test_statistics_are_those_of_numpy_within_the_mask(over, dtype):
    given = values().astype(dtype)
    inside = np.random.default_rng(1).integers(0, 2, given.shape[:3])
    image = volume(given)
    image = Image(image.array, image.grid, {"joined": [2, 1]})
    made = standardize(image, volume(inside, "zyx"), over=over)
    chosen = given[inside > 0].astype(np.float64)
    groups = {"layer": [[0, 1, 2]], "feature": [[0], [1], [2]], "file": [[0, 1], [2]]}[over]
    expected = np.empty(given.shape)
    for group in groups:
        expected[..., group] = (given[..., group].astype(np.float64) - chosen[:, group].mean()) / chosen[:, group].std()
    assert made.dtype == np.float32
    np.testing.assert_allclose(read(made.array), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made.notes["standardized"]["mean"][2], chosen[:, next(g for g in groups if 2 in g)].mean())
    np.testing.assert_array_equal(made.array[1:3, :, 2, 1:], read(made.array)[1:3, :, 2, 1:])


def test_any_place_of_the_features_axis_gives_the_same():
    given = values()
    expected = read(standardize(volume(given), over="feature").array)
    first = standardize(volume(np.moveaxis(given, 3, 0).copy(), "tzyx"), over="feature")
    np.testing.assert_array_equal(np.moveaxis(read(first.array), 0, 3), expected)
    np.testing.assert_array_equal(first.array[1:3, 2:5, 1, 3:0:-1], np.moveaxis(expected, 3, 0)[1:3, 2:5, 1, 3:0:-1])
    alone = standardize(volume(given[..., 0], "zyx"), over="layer")
    np.testing.assert_array_equal(read(alone.array), expected[..., 0])


def test_without_a_mask_voxels_count_where_all_features_are_other_than_0():
    given = values()
    given[0, :, :, 1] = 0
    given[:, 0, :, 2] = 0
    filled = (given != 0).all(axis=3)
    made = standardize(volume(given), over="feature")
    np.testing.assert_allclose(made.notes["standardized"]["mean"], given[filled].astype(np.float64).mean(axis=0))
    assert made.notes["standardized"]["voxels"] == [int(filled.sum())]


def test_a_feature_that_is_0_everywhere_does_not_empty_the_mask():
    given = values()
    given[..., 1] = 0
    for over in ("layer", "feature", "file"):
        made = read(standardize(volume(given), over=over).array)
        assert np.isfinite(made).all()
    by_feature = read(standardize(volume(given), over="feature").array)
    assert (by_feature[..., 1] == 0).all()
    np.testing.assert_allclose(by_feature[..., 0].std(), 1, rtol=1e-5)
    zeros = read(standardize(volume(0 * given), over="layer").array)
    assert (zeros == 0).all()


def test_a_constant_layer_is_divided_by_the_smallest_deviation():
    given = np.full((3, 3, 3, 1), 7, np.float32)
    given[0, 0, 0] = 8
    mask = np.ones((3, 3, 3), np.uint8)
    mask[0, 0, 0] = 0
    made = read(standardize(volume(given), volume(mask, "zyx"), over="layer").array)
    np.testing.assert_allclose(made[0, 0, 0], 1e6, rtol=1e-4)


def test_several_masks_count_where_one_of_them_is_above_0():
    given, masks = values(), np.zeros((6, 5, 4, 2), np.int16)
    masks[:2, ..., 0], masks[4:, ..., 1] = 3, 1
    masks[3] = -1
    made = standardize(volume(given), volume(masks), over="layer")
    np.testing.assert_allclose(made.notes["standardized"]["mean"][0], given[[0, 1, 4, 5]].astype(np.float64).mean())


def test_masks_that_cannot_be_used_are_refused():
    given = volume(values())
    with pytest.raises(StepError, match="layer 'input' and its mask 'mask' lie on different grids"):
        standardize(given, volume(np.ones((6, 5, 5)), "zyx"))
    moved = Image(np.ones((6, 5, 4)), Grid.from_spacing((6, 5, 4), "zyx", [2.0] * 3, "mm", origin=(0, 0, 0.5)))
    with pytest.raises(StepError, match="corners are 0.5 mm apart"):
        standardize(given, moved)
    with pytest.raises(StepError, match="features 0 to 2 of layer 'input' have no voxel in the mask 'mask'"):
        standardize(given, volume(np.zeros((6, 5, 4)), "zyx"))


def test_features_that_are_nowhere_filled_together_are_refused():
    given = np.zeros((4, 4, 4, 2), np.float32)
    given[:2, ..., 0], given[2:, ..., 1] = 1, 1
    with pytest.raises(StepError, match="no voxel at which they are all other than 0"):
        standardize(volume(given))


def test_nan_where_it_is_measured_is_refused():
    given = values()
    given[2, 2, 2, 0] = np.nan
    with pytest.raises(StepError, match="holds NaN or infinity where it is measured"):
        standardize(volume(given))


def test_two_axes_of_features_are_refused():
    with pytest.raises(StepError, match="has the axes 'tzyxc', expected one at most that is not in space"):
        standardize(volume(np.ones((2, 3, 3, 3, 2), np.float32), "tzyxc"))


# Connectivity.


def labels(*used):
    made = np.zeros((10, 12, 14), np.int32)
    made.flat[: len(used)] = used
    return Image(made, GRID.transpose([2, 1, 0]))


def matrix(n, m=None):
    return Image(np.arange(n * (m or n)).reshape(n, m or n) % 2, Grid.from_spacing((n, m or n), "yx"))


def connect(others, **options):
    step = Connectivity(layer="lines", matrix="matrix", **options)
    return step.apply(Case("s", {"lines": tractogram([]), **others}), context("step"))


def test_a_matrix_of_blocs_or_labels_is_noted_with_its_streamlines():
    case = connect({"matrix": matrix(8)}, blocs=2)
    assert case.layers["lines"].notes == {"connectivity_matrix_type": "from_blocs", "connectivity_nb_blocs": [2, 2, 2]}
    assert case.image("matrix").dtype == bool
    case = connect({"matrix": matrix(3), "atlas": labels(5, 1, 70_00)}, labels="atlas")
    assert case.layers["lines"].notes == {"connectivity_matrix_type": "from_labels"}
    assert case.image("atlas").dtype == np.uint16


def test_matrices_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="either blocs or labels"):
        Connectivity(layer="lines", matrix="matrix")
    with pytest.raises(StepError, match="has 8 regions, there are 2 x 2 x 3 blocs"):
        connect({"matrix": matrix(8)}, blocs=(2, 2, 3))
    with pytest.raises(StepError, match="has 8 regions, there are 2 labels"):
        connect({"matrix": matrix(8), "atlas": labels(5, 1)}, labels="atlas")
    with pytest.raises(StepError, match=r"has the shape \(8, 7\), expected as many rows as columns"):
        connect({"matrix": matrix(8, 7)}, blocs=2)
    with pytest.raises(StepError, match="must be whole numbers from 0 to 65535"):
        connect({"matrix": matrix(1), "atlas": labels(70_000)}, labels="atlas")
    elsewhere = Image(np.ones((3, 3, 3), int), Grid.from_spacing((3, 3, 3), "zyx", [1.0] * 3, "mm"))
    with pytest.raises(StepError, match="labels 'atlas' and tractogram 'lines' lie on different grids"):
        connect({"matrix": matrix(1), "atlas": elsewhere}, labels="atlas")
