"""Layers of different mips on one grid: against closed forms, and PyTorch's interpolate where it is installed."""

from typing import ClassVar

import numpy as np
import pytest
from curate_align.masks import MaskUnion
from curate_align.ongrid import OnGrid, grid_at
from curate_align.places import corner_of
from curate_align.taps import METHODS, taps
from curate_align.tomip import ToMip

from curate_core import Case, Context, Grid, Image
from curate_core.arrays import read
from curate_core.errors import StepError
from curate_core.testing import PreprocessorTests

CONTEXT = Context("to-mip", 0, "site")


def volume(mip, corner, shape, axes="zyx", values=None, finest=(40.0, 8.0, 8.0)):
    """A level of a pyramid whose first voxel has the number ``corner`` (z, y, x), as precomputed volumes lie in the world."""
    spacing = (finest[0], finest[1] * 2**mip, finest[2] * 2**mip)
    origin = [(n + 0.5) * step for n, step in zip(corner, spacing, strict=True)][::-1]
    grid = Grid.from_spacing(shape, axes, spacing, "nm", origin)
    if values is None:
        values = np.random.default_rng(mip).random(shape, np.float32)
    return Image(values, grid, {"mip": mip})


def resampled(values, new, method):
    found = taps(0, new, ratio=len(values) / new, edge=0.0, length=len(values), method=method)
    return found.apply(values, 0, 0)


@pytest.mark.parametrize(("old", "new"), [(8, 16), (16, 8), (5, 40), (40, 5), (12, 5), (5, 12), (7, 7)])
def test_the_same_as_pytorch(old, new):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).random(old)
    tensor = torch.from_numpy(values)[None, None]
    for method, name in (("bilinear", "linear"), ("nearest", "nearest")):
        align = {"align_corners": False} if name == "linear" else {}
        expected = torch.nn.functional.interpolate(tensor, size=new, mode=name, **align)[0, 0].numpy()
        np.testing.assert_allclose(resampled(values, new, method), expected, atol=1e-12)
    if old % new == 0:
        expected = torch.nn.functional.interpolate(tensor, size=new, mode="area")[0, 0].numpy()
        np.testing.assert_allclose(resampled(values, new, "area"), expected, atol=1e-12)


def test_closed_forms():
    ramp = np.arange(8.0)
    fine = resampled(ramp, 32, "bilinear")
    np.testing.assert_allclose(fine[2:-2], (np.arange(32) + 0.5)[2:-2] / 4 - 0.5)
    assert fine[0] == 0
    assert fine[-1] == 7
    np.testing.assert_array_equal(resampled(ramp, 2, "area"), [1.5, 5.5])
    np.testing.assert_array_equal(resampled(ramp, 2, "bilinear"), [1.5, 5.5])
    np.testing.assert_array_equal(resampled(ramp, 2, "nearest"), [0, 4])
    np.testing.assert_allclose(resampled(np.array([0.0, 3.0, 9.0]), 2, "area"), [1.0, 7.0])  # (0 + 3/2) / 1.5, (3/2 + 9) / 1.5
    np.testing.assert_array_equal(resampled(ramp, 16, "nearest"), np.repeat(ramp, 2))


@pytest.mark.parametrize("method", METHODS)
def test_outside_lie_zeros_and_at_the_border_what_is_there(method):
    found = taps(-2, 4, ratio=2.0, edge=1.0, length=5, method=method)  # output pixel j covers 1 + 2j to 3 + 2j of 0..5
    out = found.apply(np.arange(1.0, 6.0), 0)
    assert out[0] == 0
    assert out[4] == out[5] == 0
    assert (out[2:4] == {"bilinear": [2.5, 4.5], "nearest": [2, 4], "area": [2.5, 4.5]}[method]).all()
    assert out[1] == {"bilinear": 0, "nearest": 0, "area": 1}[method]  # it covers -1 to 1, its centre and its beginning lie outside


def test_what_is_not_finite_reaches_no_further_than_its_weight():
    values = np.array([1.0, np.nan, 3.0, 4.0])
    np.testing.assert_array_equal(resampled(values, 2, "area"), [np.nan, 3.5])
    fine = resampled(values, 16, "bilinear")
    assert np.isfinite(fine[:2]).all()
    assert np.isfinite(fine[10:]).all()
    assert np.isnan(fine[2:10]).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("mip", "to"), [(3, 1), (1, 3), (2, 2)])
def test_a_box_is_what_the_whole_has_there(method, mip, to):
    layer = volume(mip, (5, 40 >> mip, 24 >> mip), (4, 96 >> mip, 64 >> mip))
    target = grid_at(volume(0, (5, 40, 24), (4, 96, 64)).grid, 2.0**to)
    array = OnGrid(layer.array, layer.grid, target, method, "layer")
    assert array.shape == (4, 96 >> to, 64 >> to)
    whole = read(array)
    part = (slice(1, 3), slice(3, 9), slice(2, 5))
    np.testing.assert_array_equal(read(array, part), whole[part])
    if mip == to:
        np.testing.assert_array_equal(whole, layer.array)


def test_layers_that_begin_elsewhere():
    fine = volume(1, (10, 8, 16), (3, 32, 32))
    coarse = volume(3, (9, 1, 5), (4, 10, 6))  # from voxel 4 and 20 of mip 1 on, a section earlier
    array = OnGrid(coarse.array, coarse.grid, fine.grid, "nearest", "layer")
    expected = np.zeros((3, 32, 32), np.float32)
    for y in range(32):
        for x in range(32):
            row, column = (y + 8) // 4 - 1, (x + 16) // 4 - 5
            if 0 <= row < 10 and 0 <= column < 6:
                expected[:, y, x] = coarse.array[1:, row, column]
    np.testing.assert_array_equal(read(array), expected)
    np.testing.assert_array_equal(read(OnGrid(coarse.array, coarse.grid, fine.grid, "area", "layer")), expected)


def test_the_grid_of_a_mip_counts_from_the_origin():
    grid = volume(0, (7, 3, 8), (2, 30, 17)).grid  # y 3 to 33, x 8 to 25
    coarse = grid_at(grid, 4.0)
    assert corner_of(coarse).tolist() == [2, 1, 7]
    assert coarse.shape == (2, 7, 4)  # y 4 to 32, x 8 to 24: only whole voxels
    assert corner_of(grid_at(coarse, 0.25)).tolist() == [8, 4, 7]
    assert coarse.spacing == (40.0, 32.0, 32.0)
    assert corner_of(Grid.from_spacing((4, 8, 8), "zyx")).tolist() == [0, 0, 0]


def test_to_mip_brings_layers_to_the_grid_of_the_first():
    image, field = volume(2, (5, 10, 6), (4, 24, 16)), volume(4, (5, 2, 1), (4, 8, 6, 2), "zyxc")
    case = Case("site", {"image": image, "field": field, "other": volume(3, (5, 5, 3), (4, 12, 8))})
    found = ToMip(mip=2, layers=("image", "field")).apply(case, CONTEXT)
    assert found.image("image").array is image.array
    assert found.image("other") is case.image("other")
    assert found.image("field").grid.shape == (4, 24, 16, 2)
    assert found.image("field").notes == {"mip": 2, "interpolated": "bilinear"}
    found.image("image").grid.require_same(found.image("field").grid, 1e-9, "both")
    expected = OnGrid(field.array, field.grid, image.grid, "bilinear", "")
    np.testing.assert_array_equal(read(found.image("field").array), read(expected))
    coarser = ToMip(mip=3, methods={"other": "nearest"}, layers=("other", "image")).apply(case, CONTEXT)
    assert (coarser.image("image").notes["interpolated"], coarser.image("image").grid.shape) == ("area", (4, 12, 8))
    means = image.array.reshape(4, 12, 2, 8, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(read(coarser.image("image").array), means, atol=1e-6)


def test_what_to_mip_refuses():
    image = volume(2, (5, 10, 6), (4, 24, 16))
    turned = Image(image.array, Grid(image.grid.shape, "zyx", image.grid.affine[[1, 0, 2, 3]], "nm"))
    thick = volume(2, (5, 10, 6), (4, 24, 16), finest=(80.0, 8.0, 8.0))
    for other, text in (
        (turned, "layer 'b' is turned or mirrored against its own axes"),
        (thick, r"layer 'b' has other sections .*: -?\d+.* of its sections lie before"),
        (Image(image.array, Grid.from_spacing((4, 24, 16), "zyx", (40, 32, 32), "um")), "layer 'b' has voxels in um"),
        (Image(image.array[0], image.grid.drop(0)), "layer 'b' has the axes 'yx', without z"),
        (image.with_array(image.array.astype(complex)), "holds complex128"),
    ):
        with pytest.raises(StepError, match=text):
            ToMip(mip=2).apply(Case("site", {"a": image, "b": other}), CONTEXT)
    bare = Case("site", {"a": Image(image.array, image.grid)})
    with pytest.raises(StepError, match="nothing says which mip layer 'a' has.*like_mip"):
        ToMip(mip=2).apply(bare, CONTEXT)
    assert ToMip(mip=3, like_mip=2).apply(bare, CONTEXT).image("a").grid.shape == (4, 12, 8)
    with pytest.raises(StepError, match="methods names 'b', which is none of the layers a"):
        ToMip(mip=2, methods={"b": "area"}).apply(bare, CONTEXT)
    with pytest.raises(StepError, match="no image layer"):
        ToMip(mip=2).apply(Case("site", {}), CONTEXT)


def test_the_union_of_masks():
    image = volume(2, (0, 0, 0), (2, 8, 8))
    fold = volume(3, (0, 0, 0), (2, 4, 4), values=np.zeros((2, 4, 4), np.uint8))
    tissue = volume(1, (0, 0, 0), (2, 16, 16), values=np.zeros((2, 16, 16), np.uint8))
    fold.array[0, 1, 1] = 200
    tissue.array[1, 4:6, 4:6] = 255
    tissue.array[1, 10, 10] = 255
    case = Case("site", {"image": image, "fold": fold, "tissue": tissue})
    step = MaskUnion(layers=("fold", "tissue"), thresholds=(178, 64), like="image", method="nearest")
    mask = read(step.apply(case, CONTEXT).image("mask").array)
    expected = np.zeros((2, 8, 8), bool)
    expected[0, 2:4, 2:4] = True
    expected[1, 2, 2] = expected[1, 5, 5] = True
    np.testing.assert_array_equal(mask, expected)
    smooth = MaskUnion(layers=("fold", "tissue"), thresholds=(64,), like="image", to="m").apply(case, CONTEXT).image("m")
    assert smooth.dtype == bool
    expected[1, 5, 5] = False  # a quarter of the pixel: 63.75
    expected[0] = read(OnGrid(fold.array, fold.grid, image.grid, "bilinear", ""))[0] >= 64
    np.testing.assert_array_equal(read(smooth.array), expected)
    with pytest.raises(ValueError, match="3 for 2 layers"):
        MaskUnion(layers=("fold", "tissue"), thresholds=(1, 2, 3), like="image")
    colour = Case("site", {**case.layers, "fold": volume(3, (0, 0, 0), (2, 4, 4, 2), "zyxc")})
    with pytest.raises(StepError, match="the mask 'fold' has the axes 'zyxc'"):
        step.apply(colour, CONTEXT)
    with pytest.raises(StepError, match="would lie on 'fold' with the axes 'zyxc'"):
        MaskUnion(layers=("tissue",), thresholds=(1,), like="fold").apply(colour, CONTEXT)


class TestToMip(PreprocessorTests):
    component = ToMip
    options: ClassVar = {"mip": 1, "like_mip": 0}


class TestMaskUnion(PreprocessorTests):
    component = MaskUnion
    options: ClassVar = {"layers": ["image"], "thresholds": [99], "like": "image"}
