"""Grids against NIfTI affines (nibabel), SimpleITK and plain numpy: no voxel ever moves in the world."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core.errors import StepError
from curate_core.grid import Grid

AFFINE = np.array([[0.0, 0.3, 2.0, -7.0], [0.1, -1.5, 0.0, 11.0], [3.0, 0.2, 0.1, 5.0], [0.0, 0.0, 0.0, 1.0]])
"""Oblique; columns along z, y, x."""


def oblique(shape=(4, 5, 6), axes="zyx"):
    columns = ["zyx".index(axis) for axis in axes if axis in "zyx"]
    return Grid(shape, axes, AFFINE[:, [*columns, 3]], "mm", oriented=True)


def positions(grid):
    """World place of every voxel, (*spatial shape, 3), voxel by voxel from the affine alone."""
    out = np.empty((*grid.spatial_shape, 3))
    for index in np.ndindex(*grid.spatial_shape):
        out[index] = (grid.affine @ [*index, 1.0])[:3]
    return out


def test_world_is_the_affine():
    grid = oblique()
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    np.testing.assert_allclose(grid.world(index), positions(grid))


def test_world_equals_nibabels():
    nibabel = pytest.importorskip("nibabel")
    grid = oblique()
    affine_xyz = np.array(grid.affine[:, [2, 1, 0, 3]])  # nibabel's indices run x, y, z
    image = nibabel.Nifti1Image(np.zeros(grid.shape[::-1], np.uint8), affine_xyz)
    index = np.array([[0, 0, 0], [3, 4, 5], [1, 2, 0]])
    np.testing.assert_allclose(grid.world(index), nibabel.affines.apply_affine(image.affine, index[:, ::-1]))
    np.testing.assert_allclose(grid.spacing[::-1], nibabel.affines.voxel_sizes(image.affine))
    start, stop = (1, 2, 3), (4, 5, 5)
    cut = image.slicer[start[2] : stop[2], start[1] : stop[1], start[0] : stop[0]]
    np.testing.assert_allclose(grid.crop(start, stop).affine[:, [2, 1, 0, 3]], cut.affine)


def test_world_and_crop_equal_simpleitks():
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.Image([6, 5, 4], sitk.sitkUInt8)
    image.SetSpacing((0.5, 1.5, 2.5))
    image.SetOrigin((10, -20, 30))
    turn = np.deg2rad(30)
    direction = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    image.SetDirection(direction.ravel())
    affine = np.eye(4)
    affine[:3, :3] = (direction * image.GetSpacing())[:, ::-1]  # array order is z, y, x
    affine[:3, 3] = image.GetOrigin()
    grid = Grid((4, 5, 6), "zyx", affine)
    for index in [(0, 0, 0), (3, 4, 5), (1, 2, 3)]:
        np.testing.assert_allclose(grid.world(index), image.TransformIndexToPhysicalPoint(index[::-1]))
    part = sitk.RegionOfInterest(image, [2, 3, 2], [1, 2, 0])
    cropped = grid.crop((0, 2, 1), (2, 5, 3))
    assert cropped.shape == part.GetSize()[::-1]
    np.testing.assert_allclose(cropped.world((1, 2, 1)), part.TransformIndexToPhysicalPoint((1, 2, 1)))
    padded = sitk.ConstantPad(image, [1, 0, 3], [2, 2, 0])
    ours = grid.pad((3, 0, 1), (0, 2, 2))
    assert ours.shape == padded.GetSize()[::-1]
    np.testing.assert_allclose(ours.world((0, 0, 0)), padded.TransformIndexToPhysicalPoint((0, 0, 0)))  # index 0 of ours
    flipped = sitk.PermuteAxes(image, [2, 0, 1])
    turned = grid.transpose([1, 2, 0])
    assert turned.shape == flipped.GetSize()[::-1]
    np.testing.assert_allclose(turned.world((1, 2, 3)), flipped.TransformIndexToPhysicalPoint((3, 2, 1)))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_crop_pad_drop_transpose_keep_every_voxel_in_place(data):
    """The world place travels with the voxel: each voxel carries its place as its value."""
    axes = data.draw(st.sampled_from(["zyx", "xyz", "zyxc", "czyx", "zcyx", "tzyx"]))
    shape = tuple(data.draw(st.integers(1, 4)) for _ in axes)
    grid = oblique(shape, axes)
    places = positions(grid)
    for position, axis in enumerate(axes):
        if axis not in "xyz":
            places = np.repeat(np.expand_dims(places, position), shape[position], position)
    for _ in range(data.draw(st.integers(1, 4))):
        n = len(grid.shape)
        kind = data.draw(st.sampled_from(["crop", "drop", "transpose", "pad"]))
        if kind == "crop":
            start = [data.draw(st.integers(0, k - 1)) for k in grid.shape]
            stop = [data.draw(st.integers(a + 1, k)) for a, k in zip(start, grid.shape, strict=True)]
            places, grid = places[tuple(map(slice, start, stop))], grid.crop(start, stop)
        elif kind == "drop" and n > 1 and 1 in grid.shape:
            axis = grid.shape.index(1)
            places, grid = places.take(0, axis), grid.drop(axis)
        elif kind == "transpose":
            order = data.draw(st.permutations(range(n)))
            places, grid = places.transpose([*order, n]), grid.transpose(order)
        elif kind == "pad":
            before = [data.draw(st.integers(0, 2)) for _ in grid.shape]
            after = [data.draw(st.integers(0, 2)) for _ in grid.shape]
            nothing = np.pad(places, [*zip(before, after, strict=True), (0, 0)], constant_values=np.nan)
            places, grid = nothing, grid.pad(before, after)
    assert grid.shape == places.shape[:-1]
    spatial = places.reshape(places.shape)
    for index in np.ndindex(*grid.shape):
        if np.isnan(spatial[index]).any():
            continue
        world = grid.world([index[i] for i in grid.spatial])
        np.testing.assert_allclose(world, spatial[index], atol=1e-9)


def test_pad_then_crop_is_nothing():
    grid = oblique()
    back = grid.pad((1, 2, 3), (4, 5, 6)).crop((1, 2, 3), (5, 7, 9))
    assert back.shape == grid.shape
    assert back.distance(grid) < 1e-12


def test_from_spacing():
    grid = Grid.from_spacing((4, 5, 6, 2), "zyxc", (3.0, 1.5, 0.75), "nm", origin=(100, 200, 300))
    assert grid.spacing == (3.0, 1.5, 0.75)
    assert [grid.spacing_of(axis) for axis in "xyz"] == [0.75, 1.5, 3.0]
    np.testing.assert_array_equal(grid.world((1, 2, 3)), [100 + 3 * 0.75, 200 + 2 * 1.5, 300 + 3.0])
    assert grid.spatial == (0, 1, 2)
    assert grid.spatial_axes == "zyx"
    assert grid.spatial_shape == (4, 5, 6)
    assert grid.calibrated
    assert not Grid.from_spacing((2, 2), "yx").calibrated
    with pytest.raises(ValueError, match="2 spacings for the 3 spatial axes of 'zyx'"):
        Grid.from_spacing((1, 1, 1), "zyx", (1.0, 2.0))


def test_add_an_axis():
    grid = oblique().add("c", 3, 0)
    assert (grid.shape, grid.axes) == ((3, 4, 5, 6), "czyx")
    np.testing.assert_array_equal(grid.affine, oblique().affine)
    with pytest.raises(ValueError, match="only non-spatial axes can be added, not 'x'"):
        Grid.from_spacing((2, 2), "zy").add("x", 1, 0)


@pytest.mark.parametrize(
    ("shape", "axes", "affine", "message"),
    [
        ((2, 3), "zyx", np.eye(4), r"axes 'zyx' do not name the 2 axes of shape \(2, 3\), each once"),
        ((2, 3), "yy", np.eye(4)[:, :3], "axes 'yy' do not name"),
        ((2, 3), "yx", np.eye(4), r"affine has shape \(4, 4\), expected \(4, 3\) for axes 'yx'"),
    ],
)
def test_what_is_no_grid(shape, axes, affine, message):
    with pytest.raises(ValueError, match=message):
        Grid(shape, axes, affine)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda g: g.drop(-1), "axes 'zyx' have no position -1"),
        (lambda g: g.drop(3), "axes 'zyx' have no position 3"),
        (lambda g: g.transpose([0, 1]), r"\(0, 1\) is not an order of 3 axes"),
        (lambda g: g.transpose([0, 1, -1]), r"\(0, 1, -1\) is not an order of 3 axes"),
    ],
)
def test_what_is_no_axis(act, message):
    with pytest.raises(ValueError, match=message):
        act(oblique())


def test_a_grid_is_a_value():
    affine = np.array(AFFINE)
    grid = Grid((4, 5, 6), "zyx", affine)
    affine[0, 0] = 99
    assert grid.affine[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 1.0
    assert grid == Grid((4, 5, 6), "zyx", AFFINE)
    assert grid != attrs.evolve(grid, unit="mm")
    assert grid != Grid((4, 5, 6), "zyx", AFFINE * 2)


def test_distance_is_the_farthest_corner():
    grid = Grid.from_spacing((10, 10, 10), "zyx", (1, 1, 1), "mm")
    shifted = Grid.from_spacing((10, 10, 10), "zyx", (1, 1, 1), "mm", origin=(0, 0, 0.25))
    stretched = Grid.from_spacing((10, 10, 10), "zyx", (1, 1, 1.1), "mm")
    assert grid.distance(grid) == 0
    assert grid.distance(shifted) == pytest.approx(0.25)
    assert grid.distance(stretched) == pytest.approx(0.9)  # nine steps of 0.1
    assert grid.distance(Grid.from_spacing((10, 10, 9), "zyx")) == float("inf")
    assert grid.distance(Grid.from_spacing((10, 10, 10), "xyz")) == float("inf")


def test_grids_without_space_do_not_differ():
    films = Grid.from_spacing((5, 2), "tc"), Grid.from_spacing((7, 2), "tc")
    assert films[0].distance(films[1]) == 0
    films[0].require_same(films[1], 1e-3, "films")
    assert films[0].describe() == "5 x 2 tc"


def test_require_same():
    grid = Grid.from_spacing((10, 10), "yx", (1, 1), "mm")
    near = Grid.from_spacing((10, 10), "yx", (1, 1), "mm", origin=(1e-4, 0, 0))
    grid.require_same(near, 1e-3, "ct and pet")
    far = Grid.from_spacing((10, 10), "yx", (1, 1), "mm", origin=(0.5, 0, 0))
    with pytest.raises(StepError) as caught:
        grid.require_same(far, 1e-3, "ct and pet")
    expected = "ct and pet lie on different grids: corners are 0.5 mm apart, tolerance 0.001 (resample one onto the other first)"
    assert str(caught.value) == expected
    with pytest.raises(StepError) as caught:
        grid.require_same(Grid.from_spacing((10, 9), "yx"), 1e-3, "ct and pet")
    expected = "ct and pet lie on different grids: 10 x 10 yx, spacing 1 x 1 mm against 10 x 9 yx, spacing unknown"
    assert caught.value.message == expected


def test_require_same_compares_units():
    grids = [Grid.from_spacing((3, 3), "yx", (1, 1), unit) for unit in ("mm", "um", "")]
    with pytest.raises(StepError) as caught:
        grids[0].require_same(grids[1], 1e-3, "ct and pet")
    assert str(caught.value) == "ct and pet lie on grids in different units: mm and um (give both one unit first)"
    grids[0].require_same(grids[2], 1e-3, "ct and pet")


def test_require_same_refuses_nan():
    grid = oblique()
    broken = attrs.evolve(grid, affine=np.full((4, 4), np.nan))
    with pytest.raises(StepError, match="corners are nan mm apart"):
        grid.require_same(broken, 1e-3, "ct and pet")


def test_json_is_without_loss():
    grid = attrs.evolve(oblique((4, 5, 6, 2), "zyxc"), affine=AFFINE / 3, calibrated=False)
    back = Grid.from_json(json.loads(json.dumps(grid.to_json())))
    assert back == grid
    assert back.affine.tobytes() == grid.affine.tobytes()
