"""Resampling against scipy, SimpleITK, scikit-image and closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import SimpleITK
from curate_pet.mapping import at_spacing, mapping
from curate_pet.resample import Resample
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import resize

from curate_core import Case, Grid, Image, StepError, read
from curate_core.structure import structure
from curate_core.testing import PreprocessorTests, context, make_case, make_image, values

RNG = np.random.default_rng(0)


def rotation(degrees: float, axis: int = 2) -> Any:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    turned[i, i] = turned[j, j] = c
    turned[i, j], turned[j, i] = -s, s
    return turned


def grid(
    shape: Any, spacing: Any = (1.0, 1.0, 1.0), origin: Any = (0, 0, 0), turn: Any = None, flips: Any = (1, 1, 1), axes: str = "zyx"
) -> Grid:
    """A grid whose array axes run along world axes (x for "x"), turned about the world's origin."""
    affine = np.zeros((4, 4))
    for column, (letter, step, sign) in enumerate(zip(axes, spacing, flips, strict=True)):
        affine["xyz".index(letter), column] = step * sign
    affine[:3, 3] = origin
    affine[3, 3] = 1
    if turn is not None:
        affine[:3] = turn @ affine[:3]
    return Grid(shape, axes, affine, "mm", oriented=True)


def ramp(where: Grid, slopes: Any = (0.25, -0.5, 1.5), dtype: Any = np.float32) -> Image:
    """A layer whose value is a linear function of the place in the world."""
    index = np.stack(np.meshgrid(*map(np.arange, where.shape), indexing="ij"), -1)
    return Image((where.world(index) @ np.array(slopes) + 7).astype(dtype), where)


def resample(case: Case, **options: Any) -> Case:
    step = structure(options, Resample, Path())
    ctx = context("resample", statistics=step.merge([step.measure(case, context())]) if step.statistics_scope() else None)
    return step.apply(case, ctx)


def zoomed(array: Any, shape: Any, order: int = 3) -> Any:
    factors = [m / n for m, n in zip(shape, array.shape, strict=True)]
    return ndimage.zoom(array, factors, order=order, mode="nearest", grid_mode=True)


class TestSpacing(PreprocessorTests):
    component = Resample
    options: ClassVar[dict[str, Any]] = {"spacing": [1.0, 1.0, 1.0], "anisotropy": None}
    dtype = "int16"
    shape = (15, 17, 21)


class TestLabels(PreprocessorTests):
    component = Resample
    options: ClassVar[dict[str, Any]] = {"spacing": 1.3, "labels": ["image"]}
    dtype = "uint16"


class TestClipped(PreprocessorTests):
    component = Resample
    options: ClassVar[dict[str, Any]] = {"spacing": 0.5, "clip": True, "anti_aliasing": True}
    dtype = "float32"
    shape = (9, 14, 11)


class Pair(PreprocessorTests):
    component = Resample
    options: ClassVar[dict[str, Any]] = {"to": "pet"}

    def case(self) -> Case:
        ct = Image(values((12, 17, 19), "int16"), grid((12, 17, 19), (2, 1, 1), (-1, 4, 2)))
        labels = Image(values((12, 17, 19), "uint8"), ct.grid)
        pet = Image(values((9, 11, 13), "float32"), self.target())
        return Case("case", {"ct": ct, "pet": pet, "organs": labels})


class TestFlipped(Pair):
    def target(self) -> Grid:
        return grid((9, 11, 13), (1.7, 2.1, 1.3), (14, 20, 25), flips=(-1, 1, -1))


class TestOblique(Pair):
    options: ClassVar[dict[str, Any]] = {"to": "pet", "labels": ["organs"]}

    def target(self) -> Grid:
        return grid((9, 11, 13), (1.7, 2.1, 1.3), (1, 2, 3), rotation(20) @ rotation(-35, 0))


class TestObliqueLinear(TestOblique):
    options: ClassVar[dict[str, Any]] = {"to": "pet", "labels": ["organs"], "interpolation": "linear"}


class TestObliqueSmooth(TestOblique):
    options: ClassVar[dict[str, Any]] = {"to": "pet", "labels": ["organs"], "interpolation": "linear", "anti_aliasing": True}


@pytest.mark.parametrize("new", [(30, 20, 41), (7, 33, 12), (1, 64, 25), (15, 21, 25)])
def test_cubic_equals_scipys_zoom(new):
    array = RNG.normal(size=(15, 21, 25)).astype(np.float32)
    array += 100 * (array > 1)
    spacing = [n / m for n, m in zip(array.shape, new, strict=True)]
    case = make_case(array, spacing=(1.0, 1.0, 1.0))
    made = resample(case, spacing=spacing, anisotropy=None).image()
    expected = zoomed(array.astype(np.float64), new)
    assert made.grid.shape == new
    assert made.dtype == np.float32
    np.testing.assert_allclose(read(made.array), expected, atol=1e-5 * np.ptp(array))


@given(
    old=st.lists(st.integers(1, 24), min_size=3, max_size=3),
    new=st.lists(st.integers(1, 40), min_size=3, max_size=3),
    order=st.sampled_from([1, 3]),
)
@settings(max_examples=60, deadline=None)
def test_any_shape_equals_scipys_zoom(old, new, order):
    array = np.random.default_rng(1).normal(size=old)
    spacing = [n / m for n, m in zip(old, new, strict=True)]
    kind = {1: "linear", 3: "cubic"}[order]
    made = resample(make_case(array, spacing=(1.0, 1.0, 1.0)), spacing=spacing, anisotropy=None, interpolation=kind).image()
    assert made.grid.shape == tuple(new)
    np.testing.assert_allclose(read(made.array), zoomed(array, new, order), atol=1e-5 * max(np.ptp(array), 1e-3))


def test_the_new_shape_and_extent():
    old = Grid.from_spacing((50, 142, 99), "zyx", (3.0, 1.37, 1.1), "mm", origin=(5, 6, 7))
    new = at_spacing(old, (2.0, 2.0, 2.0))
    assert new.shape == (75, round(1.37 / 2 * 142), round(1.1 / 2 * 99))
    for corner in ((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)):  # outer corners of the first and the last voxel
        ends = [[c if c < 0 else n - 1 + c for c, n in zip(corner, g.shape, strict=True)] for g in (old, new)]
        np.testing.assert_allclose(old.world(ends[0]), new.world(ends[1]))
    np.testing.assert_allclose(new.spacing, [n * s / m for n, s, m in zip(old.shape, old.spacing, new.shape, strict=True)])


@pytest.mark.parametrize("kind", ["cubic", "linear"])
@pytest.mark.parametrize(
    "target",
    [
        grid((8, 9, 10), (1.5, 1.2, 1.1), (4, 4, 4)),
        grid((8, 9, 10), (1.5, 1.2, 1.1), (16, 15, 16), flips=(-1, -1, -1)),
        grid((8, 9, 10), (1.1, 1.2, 1.5), (4, 4, 4), axes="xyz"),
        grid((8, 9, 10), (1.1, 1.2, 1.3), (2, 8, 7), rotation(15) @ rotation(10, 1)),
    ],
    ids=["aligned", "flipped", "permuted", "oblique"],
)
def test_a_linear_ramp_in_the_world_survives(kind, target):
    """Cubic splines whose ends go on flat bend near the edge: looked at 4 voxels inside."""
    source = ramp(grid((30, 28, 32), (0.9, 1.0, 1.1), (-3, -4, -2)))
    case = Case("a", {"ct": source, "pet": Image(np.zeros(target.shape, np.float32), target)})
    made = resample(case, to="pet", interpolation=kind, fill=-99).image("ct")
    assert made.grid == target
    at = mapping(source.grid, target, "both")
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), -1)
    place = index @ at.matrix.T + at.offset
    deep = ((place >= 4) & (place <= np.array(source.grid.shape) - 5)).all(-1)
    assert deep.sum() > 200
    expected = ramp(target).array
    atol = 1e-4 if kind == "linear" else 2e-3 * np.ptp(source.array)
    np.testing.assert_allclose(read(made.array)[deep], np.asarray(expected)[deep], atol=atol)


def itk(image: Image) -> Any:
    """The layer as SimpleITK has it: axes reversed, LPS."""
    made = SimpleITK.GetImageFromArray(np.asarray(image.array))
    matrix = image.grid.affine[:3, :3][:, ::-1] * np.array([-1, -1, 1])[:, None]
    spacing = np.linalg.norm(matrix, axis=0)
    made.SetSpacing(spacing.tolist())
    made.SetDirection((matrix / spacing).ravel().tolist())
    made.SetOrigin((image.grid.affine[:3, 3] * np.array([-1, -1, 1])).tolist())
    return made


@pytest.mark.parametrize("turn", [np.eye(3), rotation(25) @ rotation(-12, 0)], ids=["aligned", "oblique"])
@pytest.mark.parametrize(("kind", "interpolator"), [("linear", SimpleITK.sitkLinear), ("nearest", SimpleITK.sitkNearestNeighbor)])
def test_equals_simpleitks_resample(turn, kind, interpolator):
    """Partly overlapping volumes: both leave the same voxels to the fill value."""
    source = Image(
        ndimage.gaussian_filter(RNG.normal(size=(20, 24, 28)), 1).astype(np.float32), grid((20, 24, 28), (2, 1.1, 0.9), (3, -5, 2))
    )
    target = Image(np.zeros((18, 19, 20), np.float32), grid((18, 19, 20), (1.9, 1.3, 1.7), (1, 1, 1), turn))
    made = read(resample(Case("a", {"s": source, "t": target}), to="t", interpolation=kind, fill=-5).image("s").array)
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.Resample(itk(source), itk(target), SimpleITK.Transform(), interpolator, -5.0))
    outside = theirs == -5
    assert 0.1 < outside.mean() < 0.9
    assert (made == -5).mean() == pytest.approx(outside.mean(), abs=0.002)
    both = ~outside & (made != -5)
    if kind == "nearest":  # ties go either way
        assert (made[both] == theirs[both]).mean() > 0.995
    else:
        np.testing.assert_allclose(made[both], theirs[both], atol=1e-4)


def test_oblique_cubic_equals_map_coordinates():
    source = Image(RNG.normal(size=(16, 18, 20)), grid((16, 18, 20), (1.2, 1, 1)))
    goal = grid((9, 10, 11), (1.1, 1.3, 1.2), (2, 3, 4), rotation(11) @ rotation(7, 1))
    made = read(resample(Case("a", {"s": source, "t": Image(np.zeros(goal.shape), goal)}), to="t", fill=-9).image("s").array)
    inverse = np.linalg.inv(source.grid.affine) @ goal.affine
    index = np.stack([*np.meshgrid(*map(np.arange, goal.shape), indexing="ij"), np.ones(goal.shape)], 0)
    place = np.tensordot(inverse, index, 1)[:3]
    expected = ndimage.map_coordinates(source.array, place, order=3, mode="nearest")
    within = ((place >= -0.5) & (place <= np.array([15.5, 17.5, 19.5]).reshape(3, 1, 1, 1))).all(0)
    assert within.mean() > 0.3
    np.testing.assert_allclose(made[within], expected[within], atol=1e-6)
    assert (made[~within] == -9).all()


def test_anti_aliasing_equals_scikit_image():
    array = RNG.normal(size=(40, 48, 44)).astype(np.float64)
    new = (17, 20, 44)
    spacing = [n / m for n, m in zip(array.shape, new, strict=True)]
    made = resample(make_case(array, spacing=(1.0,) * 3), spacing=spacing, anti_aliasing=True, anisotropy=None).image()
    theirs = resize(array, new, order=3, mode="edge", anti_aliasing=True, preserve_range=True, clip=False)
    np.testing.assert_allclose(read(made.array), theirs, atol=1e-5 * np.ptp(array))


def test_clipping_takes_back_the_overshoot_and_no_more():
    step = np.zeros((8, 20, 20), np.int16)
    step[:, 10:] = 1000
    case = make_case(step, spacing=(1.0, 1.0, 1.0))
    free, clipped = (read(resample(case, spacing=0.7, clip=clip).image().array) for clip in (False, True))
    assert free.min() < -20
    assert free.max() > 1020
    np.testing.assert_array_equal(clipped, np.clip(free, 0, 1000))


def test_labels_never_take_new_values_and_keep_their_type():
    """Values above 2,048, which float16 does not hold, among them."""
    labels = RNG.choice(np.array([0, 3, 2049, 4097, 65535], np.uint16), (20, 22, 24))
    plain, turned = grid((20, 22, 24), (1, 1, 1)), grid((18, 18, 18), (1.1, 1.2, 1.3), (1, 1, 1), rotation(20))
    for goal in (grid((31, 15, 40), (0.6, 1.4, 0.6)), turned):
        case = Case("a", {"organs": Image(labels, plain), "pet": Image(np.zeros(goal.shape, np.float32), goal)})
        made = resample(case, to="pet", labels=["organs"]).image("organs")
        assert made.dtype == np.uint16
        assert set(np.unique(read(made.array))) <= {0, 3, 2049, 4097, 65535}
        assert {2049, 4097} <= set(np.unique(read(made.array)))


def test_types():
    kinds = {"bool": "bool", "uint8": "float32", "int16": "float32", "float16": "float32", "int32": "float64", "float64": "float64"}
    for given_type, expected in kinds.items():
        case = make_case(values((6, 6, 6), given_type) if given_type != "float16" else np.full((6, 6, 6), 60000, "f2"), spacing=(1.0,) * 3)
        made = resample(case, spacing=0.8).image()
        assert made.dtype == expected
        if given_type == "float16":
            np.testing.assert_allclose(read(made.array), 60000, rtol=1e-6)  # sums of halves would be infinite
        same = resample(case, spacing=1.0).image()
        assert same.dtype == expected, "a case that lies right already has the type of those that do not"
        np.testing.assert_array_equal(read(same.array), read(case.image().array))
    assert resample(make_case(values((6, 6, 6), ">i2"), spacing=(1.0,) * 3), spacing=0.7, interpolation="nearest").image().dtype == "int16"


def test_anisotropic_volumes_take_the_nearest_slice():
    array = RNG.normal(size=(10, 30, 30)).astype(np.float32)
    case = make_case(array, spacing=(5.0, 1.0, 1.0))
    made = resample(case, spacing=[2.5, 1.5, 1.5]).image()
    planes = np.stack([zoomed(plane.astype(np.float64), (20, 20)) for plane in array])
    np.testing.assert_allclose(read(made.array), np.repeat(planes, 2, 0), atol=1e-5 * np.ptp(array))
    assert made.notes["resampled"] == "cubic, nearest along z"
    isotropic = resample(make_case(array, spacing=(3.0, 1.0, 1.0)), spacing=[1.5, 1.5, 1.5]).image()
    np.testing.assert_allclose(read(isotropic.array), zoomed(array.astype(np.float64), (20, 20, 20)), atol=1e-5 * np.ptp(array))


def test_oblique_anisotropic_volumes_take_the_nearest_slice():
    array = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None] ** 2, (8, 24, 24)).copy()
    goal = grid((10, 12, 12), (2, 1, 1), (4, 4, 1), rotation(8, 0))
    case = Case("a", {"s": Image(array, grid(array.shape, (5, 1, 1))), "t": Image(np.zeros(goal.shape, np.float32), goal)})
    made = read(resample(case, to="t", fill=-1).image("s").array)
    found = made[made >= 0]
    np.testing.assert_allclose(found, np.rint(np.sqrt(np.maximum(found, 0))) ** 2, atol=1e-3)  # no value between two slices


def test_reference_and_spacing_together_interpolate_once():
    ct, pet = ramp(grid((20, 22, 24), (1, 1, 1))), ramp(grid((10, 11, 12), (2, 2, 2), (0.5, 0.5, 0.5)))
    made = resample(Case("a", {"ct": ct, "pet": pet}), to="pet", spacing=1.5)
    assert made.image("ct").grid == made.image("pet").grid == at_spacing(pet.grid, (1.5,) * 3)
    direct = resample(Case("a", {"ct": ct, "goal": Image(np.zeros(made.image("pet").grid.shape), made.image("pet").grid)}), to="goal")
    np.testing.assert_array_equal(read(made.image("ct").array), read(direct.image("ct").array))


def test_channels_and_time_ride_along():
    series = RNG.normal(size=(3, 12, 13, 14, 2))
    case = Case("a", {"s": make_image(series, "tzyxc", (1.0, 1.0, 1.0), "mm")})
    made = resample(case, spacing=[0.5, 0.7, 0.9]).image("s")
    assert made.grid.axes == "tzyxc"
    for t in range(3):
        for c in range(2):
            expected = zoomed(series[t, ..., c], made.grid.spatial_shape)
            np.testing.assert_allclose(read(made.array)[t, ..., c], expected, atol=1e-5)
    turned = grid((9, 9, 9), (1, 1, 1), (2, 2, 2), rotation(10))
    both = Case(
        "a",
        {"s": Image(series, Grid(series.shape, "tzyxc", grid((12, 13, 14)).affine, "mm", True)), "t": Image(np.zeros((9, 9, 9)), turned)},
    )
    single = Case("a", {"s": Image(series[1, ..., 1], grid((12, 13, 14))), "t": both.image("t")})
    np.testing.assert_allclose(read(resample(both, to="t").image("s").array)[1, ..., 1], read(resample(single, to="t").image("s").array))


def test_planes():
    image = RNG.normal(size=(20, 30))
    made = resample(make_case(image, "yx", (1.0, 1.0)), spacing=[0.8, 0.9]).image()
    np.testing.assert_allclose(read(made.array), zoomed(image, (25, 33)), atol=1e-5)


def test_partial_overlap_is_filled_layer_by_layer():
    ct = Image(np.full((10, 10, 10), 40, np.int16), grid((10, 10, 10), (1, 1, 1), (0, 0, 5)))
    organs = Image(np.full((10, 10, 10), 7, np.uint8), ct.grid)
    pet = Image(np.zeros((10, 10, 10), np.float32), grid((10, 10, 10)))
    made = resample(Case("a", {"ct": ct, "organs": organs, "pet": pet}), to="pet", labels=["organs"], fill={"ct": -1024, "organs": 255})
    assert (read(made.image("ct").array)[:5] == -1024).all()
    np.testing.assert_allclose(read(made.image("ct").array)[5:], 40, rtol=1e-6)
    assert (read(made.image("organs").array)[:5] == 255).all()
    plain = resample(Case("a", {"ct": ct, "organs": organs, "pet": pet}), to="pet", labels=["organs"], fill=-1024)
    assert (read(plain.image("organs").array)[:5] == 0).all(), "labels get 0 unless they are named"
    far = Image(ct.array, grid((10, 10, 10), (1, 1, 1), (0, 0, 500)))
    assert (read(resample(Case("a", {"ct": far, "pet": pet}), to="pet", fill=-3).image("ct").array) == -3).all()


def test_layers_can_be_kept_on_disk(tmp_path):
    case = make_case(values((20, 20, 20), "float32"), spacing=(1.0,) * 3)
    step = structure({"spacing": 0.7, "keep": True}, Resample, Path())
    kept = step.apply(case, context("resample", folder=tmp_path)).image()
    assert isinstance(kept.array, np.memmap)
    np.testing.assert_array_equal(read(kept.array), read(resample(case, spacing=0.7).image().array))


MM, UM, NOWHERE = (grid((4, 4, 4)), Grid((4, 4, 4), "zyx", np.eye(4), "um", True), Grid((4, 4, 4), "zyx", np.eye(4), "mm", False))


@pytest.mark.parametrize(
    ("case", "options", "message"),
    [
        (Case("a", {"s": Image(np.zeros((4,) * 3), MM), "t": Image(np.zeros((4,) * 3), UM)}), {"to": "t"},
         "layers 's' and 't' lie on grids in different units: mm and um (give both one unit first)"),
        (Case("a", {"s": Image(np.zeros((4,) * 3), MM), "t": Image(np.zeros((4,) * 3), NOWHERE)}), {"to": "t"},
         "layers 's' and 't': one of them does not say how it lies in space, so that its place in the other is not known "
         "(repair the header of the one without orientation)"),
        (Case("a", {"s": make_image(np.zeros((4, 4)), "yx", (1, 1), "mm"), "t": make_image(np.zeros((4, 4, 4)), "zyx", (1, 1, 1), "mm")}),
         {"to": "t"}, "layers 's' and 't' have 2 and 3 spatial axes"),
        (Case("a", {"s": Image(np.zeros((4, 4)), Grid((4, 4), "yx", MM.affine[:, 1:], "mm")),
                    "t": Image(np.zeros((4, 4)), Grid.from_spacing((4, 4), "yx", (1, 1), "mm", (0, 0, 3)))}), {"to": "t"},
         "layers 's' and 't' lie in different planes, up to 3 mm apart"),
        (make_case(np.zeros((4, 4, 4))), {"spacing": 1.0},
         "layer 'image': the voxel size is not known, so that no other can be asked for (say it in the source, or repair the file)"),
        (make_case(np.zeros((4, 4, 4)), spacing=(1.0,) * 3), {"spacing": [1.0, 2.0]}, "layer 'image': 2 spacings for the 3 spatial axes 'zyx'"),
        (make_case(np.zeros((4, 4, 4), "c8"), spacing=(1.0,) * 3), {"spacing": 2.0},
         "voxels of type complex64 cannot be resampled (layer 'image')"),
        (make_case(np.zeros((4, 4, 4), "u1"), spacing=(1.0,) * 3), {"spacing": 2.0, "interpolation": "nearest", "fill": -1},
         "a fill of -1 does not exist among the uint8 values of layer 'image' (give one for each layer: \"fill\": {\"image\": 0})"),
        (make_case(np.zeros((4, 4, 4)), spacing=(1.0,) * 3), {"to": "pet"}, "case case: there is no image layer 'pet', only image"),
    ],
)  # fmt: skip
def test_what_cannot_be_resampled(case, options, message):
    with pytest.raises(StepError) as caught:
        resample(case, **options)
    assert str(caught.value) == message


def test_a_step_without_a_grid_is_refused():
    with pytest.raises(ValueError, match=r'neither "to" nor "spacing" is given, so that there is no grid to resample onto'):
        Resample()


def test_its_estimate_counts_the_wider_type():
    assert Resample(spacing=1.0).estimate(100) == 600
