"""Grids that must agree, orientation, cropping and intensity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from curate_pet.cropping import CropToForeground
from curate_pet.grids import CheckGrids, Reorient
from curate_pet.intensity import Clip, Window, ZScore

from curate_core import Case, Grid, Image, StepError, read
from curate_core.structure import structure
from curate_core.testing import context, make_case, make_image

RNG = np.random.default_rng(5)


def volume(affine: Any, shape: Any = (6, 7, 8), axes: str = "xyz") -> Image:
    return Image(RNG.integers(0, 1000, shape).astype(np.int16), Grid(shape, axes, affine, "mm", True))


def scaled(*spacing: float, origin: Any = (0, 0, 0)) -> Any:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def apply(component: Any, case: Case, **options: Any) -> Case:
    step = structure(options, component, Path())
    measured = step.merge([step.measure(case, context())]) if step.statistics_scope() else None
    return step.apply(case, context(case=case.id, statistics=measured))


def two(one: Any, other: Any, shapes: Any = ((6, 7, 8), (6, 7, 8))) -> Case:
    return Case("p.1", {"ct": volume(one, shapes[0]), "pet": volume(other, shapes[1])})


COS, SIN = np.cos(np.radians(5)), np.sin(np.radians(5))
TURNED = np.array([[COS, -SIN, 0, 0], [SIN, COS, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (two(scaled(1, 1, 1), scaled(1, 1, 1.5)), "spacing 1 x 1 x 1 and 1 x 1 x 1.5 mm, corners up to 3.5 mm apart along an axis, tolerance 0.001"),
        (two(scaled(1, 1, 1), scaled(1, 1, 1, origin=(3, 4, 0))), "first voxels 5 mm apart, corners up to 4 mm apart along an axis, tolerance 0.001"),
        (two(scaled(1, 1, 1), TURNED), "axes turned by 5 degrees, corners up to 0.541961 mm apart along an axis, tolerance 0.001"),
        (two(scaled(2, 1, 1), scaled(1, 1, 1), ((3, 7, 8), (6, 7, 8))),
         "3 x 7 x 8 and 6 x 7 x 8 voxels, spacing 2 x 1 x 1 and 1 x 1 x 1 mm"),
        (Case("p.1", {"ct": volume(scaled(1, 1, 1)), "pet": volume(scaled(1, 1, 1), axes="zyx")}), "axes xyz and zyx"),
        (Case("p.1", {"ct": volume(scaled(1, 1, 1)), "pet": Image(np.zeros((6, 7, 8)), Grid((6, 7, 8), "xyz", np.eye(4), "um"))}),
         "units mm and um"),
    ],
)  # fmt: skip
def test_grids_that_differ_and_by_how_much(case, message):
    with pytest.raises(StepError) as caught:
        apply(CheckGrids, case)
    text = str(caught.value)
    start, end = "case p.1: layers 'ct' and 'pet' lie on different grids: ", " (put resample under preprocess)"
    assert text.startswith(start)
    assert text.endswith(end)
    told = text.removeprefix(start).removesuffix(end)
    assert told == message


def test_grids_within_the_tolerance_agree():
    case = two(scaled(1, 1, 1), scaled(1, 1, 1, origin=(0.004, 0, 0)))
    assert apply(CheckGrids, case, tolerance=0.005) is case
    assert apply(CheckGrids, two(scaled(1, 1, 1), scaled(9, 1, 1)), layers=["ct"]) is not None
    with pytest.raises(StepError, match="first voxels 0.004 mm apart"):
        apply(CheckGrids, case, tolerance=0.003)


AFFINES = {
    "flipped": np.array([[-2, 0, 0, 90], [0, -1.5, 0, 80], [0, 0, 3, -40], [0, 0, 0, 1.0]]),
    "permuted": np.array([[0, 0, 2, 1], [-3, 0, 0, 2], [0, -1, 0, 3], [0, 0, 0, 1.0]]),
    "oblique": np.array([[0.2, 0.1, -2, 9], [-1.5, 0.2, 0, 8], [0.1, 1.4, 0.3, 7], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("code", ["RAS", "LPS", "LPI"])
def test_reorient_equals_nibabel(name, code):
    image = volume(AFFINES[name])
    made = apply(Reorient, Case("a", {"ct": image}), to=code).image("ct")
    theirs = nibabel.Nifti1Image(image.array, AFFINES[name])
    start = nibabel.orientations.io_orientation(theirs.affine)
    goal = nibabel.orientations.axcodes2ornt(code)
    theirs = theirs.as_reoriented(nibabel.orientations.ornt_transform(start, goal))
    np.testing.assert_array_equal(read(made.array), np.asarray(theirs.dataobj))
    np.testing.assert_allclose(made.grid.affine, theirs.affine, atol=1e-12)
    assert made.grid.axes == "xyz"


def test_reorient_keeps_the_order_of_the_letters():
    image = volume(AFFINES["permuted"])
    backwards = image.with_array(image.array.T, image.grid.transpose((2, 1, 0)))
    assert backwards.grid.axes == "zyx"
    made = [apply(Reorient, Case("a", {"ct": layer})).image("ct") for layer in (image, backwards)]
    np.testing.assert_array_equal(read(made[0].array), read(made[1].array).T)
    assert made[1].grid.axes == "zyx"
    for layer in made:
        for index in ((0, 0, 0), (1, 2, 3)):  # a voxel's value and its place in the world stay together
            place = layer.grid.world(index)
            old = np.rint(np.linalg.solve(AFFINES["permuted"], [*place, 1])[:3]).astype(int)
            assert read(layer.array)[index] == image.array[tuple(old)]


def test_channels_stay_where_they_are():
    series = Image(RNG.normal(size=(2, 4, 5, 6)), Grid((2, 4, 5, 6), "txyz", AFFINES["permuted"], "mm", True))
    made = apply(Reorient, Case("a", {"s": series})).image("s")
    single = apply(Reorient, Case("a", {"s": Image(series.array[1], Grid((4, 5, 6), "xyz", AFFINES["permuted"], "mm", True))})).image("s")
    np.testing.assert_array_equal(read(made.array)[1], read(single.array))


def test_what_cannot_be_turned():
    with pytest.raises(ValueError, match=r"^to: 'RAR' does not name three directions, such as RAS: one each of R or L, A or P, S or I$"):
        Reorient(to="RAR")
    nowhere = Case("a", {"ct": make_image(np.zeros((3, 3, 3)), "zyx", (1, 1, 1), "mm")})
    with pytest.raises(StepError, match=r"^layer 'ct' does not say which way it lies, so that it cannot be turned \(repair its header\)$"):
        apply(Reorient, nowhere)
    with pytest.raises(StepError, match=r"^layer 'image' has the axes 'yx'; only volumes with x, y and z can be turned$"):
        apply(Reorient, make_case(np.zeros((3, 3))))


def body() -> tuple[Any, Case]:
    ct = np.full((10, 12, 14), -1000, np.int16)
    ct[3:7, 2:9, 5:13] = 40
    grid = Grid((10, 12, 14), "zyx", scaled(1, 2, 3)[:, [2, 1, 0, 3]], "mm", True)
    return ct, Case("a", {"ct": Image(ct, grid), "pet": Image(ct.astype(np.float32) + 1, grid)})


def test_cropping_keeps_the_body_and_its_place():
    ct, case = body()
    made = apply(CropToForeground, case, layer="ct", threshold=-500, margin=[1, 0, 2])
    np.testing.assert_array_equal(read(made.image("ct").array), ct[2:8, 2:9, 3:14])
    np.testing.assert_array_equal(read(made.image("pet").array), ct[2:8, 2:9, 3:14].astype(np.float32) + 1)
    np.testing.assert_allclose(made.image("ct").grid.world((0, 0, 0)), case.image("ct").grid.world((2, 2, 3)))


def test_what_cannot_be_cropped():
    _, case = body()
    with pytest.raises(StepError) as caught:
        apply(CropToForeground, case, layer="ct", threshold=5000)
    assert str(caught.value) == 'case a: no voxel of layer \'ct\' lies above 5000 (set another "threshold", or "empty": "keep")'
    assert apply(CropToForeground, case, layer="ct", threshold=5000, empty="keep") is case
    with pytest.raises(StepError, match="^margin has 2 numbers for the axes 'zyx'$"):
        apply(CropToForeground, case, layer="ct", threshold=-500, margin=[1, 1])
    other = case.with_layers({"pet": volume(scaled(2, 2, 2), (10, 12, 14), "zyx")})
    with pytest.raises(StepError) as caught:
        apply(CropToForeground, other, layer="ct", threshold=-500)
    assert str(caught.value).startswith("case a: layers 'ct' and 'pet' lie on different grids: ")
    assert str(caught.value).endswith('(put resample before, or name the "layers" to crop)')


def test_clip():
    values = np.array([-3000, -1024, 0, 3071, 30000], np.int16)
    made = apply(Clip, make_case(values, "x"), low=-1024, high=3071).image()
    assert read(made.array).tolist() == [-1024, -1024, 0, 3071, 3071]
    assert made.dtype == np.int16
    assert read(apply(Clip, make_case(values, "x"), high=100000).image().array).tolist() == values.tolist()
    halves = np.array([-1.5, np.nan, 0.25], np.float32)
    np.testing.assert_array_equal(read(apply(Clip, make_case(halves, "x"), low=-0.5).image().array), [-0.5, np.nan, 0.25])


def test_window():
    values = np.array([-1000, -160, 40, 240, 3000], np.int16)
    made = apply(Window, make_case(values, "x"), low=-160, high=240, to=[-1, 1]).image()
    assert read(made.array).tolist() == [-1, -1, 0, 1, 1]
    assert made.dtype == np.float32
    assert made.notes["window"] == "-160 to 240"


def test_z_score():
    arrays = {"ct": RNG.normal(50, 20, (5, 6, 7)), "pet": RNG.exponential(3, (5, 6, 7)).astype(np.float32)}
    arrays["ct"][0, 0, 0] = np.nan
    made = apply(ZScore, make_case(arrays))
    for name, values in arrays.items():
        wide = values.astype(np.float64)
        np.testing.assert_allclose(read(made.image(name).array), (wide - np.nanmean(wide)) / np.nanstd(wide), rtol=1e-5, atol=1e-6)
    above = arrays["pet"][arrays["pet"] > 2].astype(np.float64)
    made = apply(ZScore, make_case(arrays), above=2, layers=["pet"])
    np.testing.assert_allclose(read(made.image("pet").array), (arrays["pet"] - above.mean()) / above.std(), rtol=1e-5, atol=1e-6)
    assert made.image("ct") is not None
    assert (read(apply(ZScore, make_case(np.full((4, 4), 0.1))).image().array) == 0).all()


def test_z_score_over_several_cases_is_that_of_all_voxels():
    parts = [RNG.normal(5, 2, (4, 4)), RNG.normal(-100, 9, (6, 3)), np.full((2, 2), np.nan)]
    step = structure({"over": "dataset"}, ZScore, Path())
    merged = step.merge([step.measure(make_case(part), context()) for part in parts])
    everything = np.concatenate([part.ravel() for part in parts[:2]])
    found = merged["image"]
    assert found["mean"] == pytest.approx(everything.mean())
    assert np.sqrt(found["moment"] / found["count"]) == pytest.approx(everything.std())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Clip(), 'neither "low" nor "high" is given, so that nothing would be clipped'),
        (lambda: Clip(low=3, high=2), "low: 3 is greater than high: 2"),
        (lambda: Window(low=2, high=2), "low: 2 is not less than high: 2"),
        (lambda: structure({"over": "sample"}, ZScore, Path()), "over: layers are whole here, expected case, dataset or an attribute"),
        (lambda: apply(Clip, make_case(np.zeros(3, np.uint8), "x"), low=0.5),
         "a limit of 0.5 does not exist among the uint8 values of layer 'image' (give a whole number, or make the layer a float first)"),
        (lambda: apply(Window, make_case(np.zeros(3, bool), "x"), low=0, high=1), "voxels of type bool have no intensity (layer 'image')"),
        (lambda: apply(ZScore, make_case(np.zeros(3, np.float32), "x"), above=1),
         "case case: layer 'image' has no finite voxel above 1"),
    ],
)  # fmt: skip
def test_intensities_that_make_no_sense(make, message):
    with pytest.raises(Exception) as caught:
        make()
    assert message in str(caught.value)
