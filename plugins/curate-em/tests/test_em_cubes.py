"""Sparse cubes: which are drawn, by brute force over the voxels of the volume and of its overview."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import curate_em.padding
import numpy as np
import pytest
from curate_em.budget import TotalGigabytes
from curate_em.cubes import SparseCubes
from curate_em.padding import Overview

from curate_core import Case, Grid, Image, StepError
from curate_core.arrays import LazyArray
from curate_core.batch import Batch
from curate_core.builtin.rois import GridRois
from curate_core.kinds import SAMPLE, Features
from curate_core.structure import structure
from curate_core.testing import FilterTests, RoiFinderTests, context, make_batch, make_case, values

SHAPE = (70, 84, 96)


class TestSparseCubes(RoiFinderTests):
    component = SparseCubes
    options: ClassVar[dict[str, Any]] = {"size": 8, "count": 6}
    seeded = True


class TestSparseCubesWithoutPadding(RoiFinderTests):
    component = SparseCubes
    options: ClassVar[dict[str, Any]] = {"size": [4, 8, 8], "count": 6, "padding_value": None, "min_thickness": 4}
    seeded = True
    reads_pixels = False


class TestTotalGigabytes(FilterTests):
    component = TotalGigabytes
    options: ClassVar[dict[str, Any]] = {"gb": 2.5e-6}
    keeps_existing = True

    def batch(self) -> Batch:
        return make_batch(values((6, 3, 4, 5)), attributes={"nbytes": np.full(6, 1000)})


class TestTotalGigabytesOfNoLimit(FilterTests):
    component = TotalGigabytes


class Watched(LazyArray):
    """An array that remembers how many voxels were read."""

    def __init__(self, base: np.ndarray) -> None:
        self.base, self.shape, self.dtype, self.voxels = base, base.shape, base.dtype, 0

    def read_box(self, where: tuple[slice, ...]) -> np.ndarray:
        self.voxels += self.base[where].size
        return self.base[where]


def volume() -> np.ndarray:
    """Values from 1 on; zeros outside of an ellipsoid."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    inside = ((z - 40) / 42) ** 2 + ((y - 45) / 40) ** 2 + ((x - 40) / 44) ** 2 < 1
    return np.where(inside, values(SHAPE, "uint8", "em") | 1, 0).astype(np.uint8)


def case_of(voxels: Any, overview: Any = None, **notes: Any) -> Case:
    layers = {"em": Image(voxels, Grid.from_spacing(voxels.shape, "zyx", (4, 4, 4), "nm"))}
    if overview is not None:
        layers["overview"] = Image(overview, Grid.from_spacing(overview.shape, "zyx"), notes)
    return Case("fly/brain", layers, {"mip": 2})


def find(case: Case, seed: int = 0, **options: Any) -> Any:
    return structure(options, SparseCubes, Path()).find(case, context("rois", seed, case=case.id))


def boxes_of(table: Any) -> list[tuple[slice, ...]]:
    (view,) = table.views
    return [tuple(map(slice, a, b)) for a, b in zip(view.start.tolist(), view.stop.tolist(), strict=True)]


def grid_of_cubes(size: int, thin: int = 5) -> list[tuple[slice, ...]]:
    """By the rule: n = max(1, round(length / size)) along each axis, the last one cut off by the volume."""
    found = []
    for axis in range(3):
        spans = [(i * size, min(i * size + size, SHAPE[axis])) for i in range(max(1, round(SHAPE[axis] / size)))]
        found.append([slice(a, b) for a, b in spans if b - a >= thin])
    return [(z, y, x) for z in found[0] for y in found[1] for x in found[2]]


def test_all_cubes_under_the_share_of_padding_by_the_voxels_themselves() -> None:
    voxels = volume()
    wanted = [box for box in grid_of_cubes(16) if (voxels[box] == 0).mean() < 0.3]
    table = find(case_of(voxels), size=16, gb=None)
    assert boxes_of(table) == wanted
    assert 10 < len(wanted) < len(grid_of_cubes(16))
    np.testing.assert_allclose(table.attributes["padding"], [(voxels[box] == 0).mean() for box in wanted])
    assert table.attributes["nbytes"].tolist() == [voxels[box].size for box in wanted]


@pytest.mark.parametrize(("factor", "rounding"), [(2, "up"), (3, "down"), (4, "down"), (8, "up")])
@pytest.mark.parametrize("size", [16, 20])
def test_the_overview_alone_is_read_and_tells_the_padding(factor, rounding, size) -> None:
    """Of each cube the coarse voxels whose centres it holds; by the note of the reader, whatever the last voxels stand for."""
    voxels = Watched(volume())
    end = [n // factor * factor if rounding == "down" else n for n in SHAPE]
    coarse = voxels.base[: end[0] : factor, : end[1] : factor, : end[2] : factor].copy()
    note = {"factor": [factor] * 3, "first": [(factor - 1) / 2] * 3}
    table = find(case_of(voxels, coarse, of=note), size=size, gb=None, overview="overview", max_padding=0.4)
    assert voxels.voxels == 0
    wanted = []
    for box in grid_of_cubes(size):
        under = []
        for part, n in zip(box, coarse.shape, strict=True):
            centres = np.arange(n) * factor + (factor - 1) / 2
            held = np.flatnonzero((centres > part.start - 0.5 - 1e-9) & (centres < part.stop - 0.5 - 1e-9))
            under.append(held if len(held) else [n - 1])
        if (coarse[np.ix_(*under)] == 0).mean() < 0.4:
            wanted.append(box)
    assert boxes_of(table) == wanted
    assert 0 < len(wanted) < len(grid_of_cubes(size))


def test_an_overview_that_does_not_say_where_it_lies_has_the_same_extent() -> None:
    voxels = volume()
    coarse = voxels[::2, ::4, ::4].copy()
    said = find(case_of(voxels, coarse, of={"factor": [2, 4, 4], "first": [0.5, 1.5, 1.5]}), size=16, gb=None, overview="overview")
    silent = find(case_of(voxels, coarse), size=16, gb=None, overview="overview")
    assert boxes_of(said) == boxes_of(silent)


def test_a_coarse_voxel_may_be_larger_than_a_cube() -> None:
    voxels = volume()
    table = find(case_of(voxels, voxels[8::35, 8::42, 8::48].copy()), size=8, gb=None, overview="overview")
    assert set(table.attributes["padding"].tolist()) == {0.0}


def test_one_by_one_and_at_once_draw_the_same_cubes(monkeypatch) -> None:
    """The order is the seed's; an overview that is too large to be read whole is read cube by cube, no further than the budget."""
    voxels = volume()
    whole = find(case_of(voxels), size=16, count=10)
    monkeypatch.setattr(curate_em.padding, "WHOLE_BYTES", 0)
    watched = Watched(voxels)
    table = find(case_of(watched), size=16, count=10)
    assert boxes_of(table) == boxes_of(whole)
    np.testing.assert_allclose(table.attributes["padding"], whole.attributes["padding"])
    assert watched.voxels < voxels.size / 2
    watched.voxels = 0
    larger = find(case_of(watched), size=32, count=2)
    assert watched.voxels < 32**3 * 8, "16 sections of each"
    assert len(larger) == 2


def test_budgets_in_gigabytes_and_in_cubes() -> None:
    case = case_of(volume())
    everything = find(case, size=16, gb=None)
    ten = find(case, size=16, gb=10.5 * 16**3 / 1e9)
    assert int(ten.attributes["nbytes"].sum()) <= 10.5 * 16**3
    assert len(ten) >= 10
    assert len(find(case, size=16, count=7)) == 7
    assert {str(box) for box in boxes_of(ten)} < {str(box) for box in boxes_of(everything)}
    wide = case_of(volume().astype(np.uint16))
    assert int(find(wide, size=16, gb=1e-4).attributes["nbytes"].sum()) <= 1e5
    drawn = [str(boxes_of(find(case, seed, size=16, count=7))) for seed in range(5)]
    assert len(set(drawn)) == 5
    with pytest.raises(StepError, match=r'a cube has 4,096 bytes, more than the budget of 1,000 \(raise "gb" or lower "size"\)'):
        find(case, size=16, gb=1e-6, padding_value=None, min_thickness=16)


def test_every_cube_is_drawn_as_often_as_any_other() -> None:
    case = case_of(volume())
    counts: dict[str, int] = {}
    total = len(find(case, size=16, gb=None))
    for seed in range(300):
        for box in boxes_of(find(case, seed, size=16, count=5)):
            counts[str(box)] = counts.get(str(box), 0) + 1
    expected = 300 * 5 / total
    chi2 = sum((n - expected) ** 2 / expected for n in counts.values()) + expected * (total - len(counts))
    assert chi2 < total + 4 * np.sqrt(2 * total)


def test_thin_cubes_are_passed_over() -> None:
    flat = case_of(np.ones((4, 40, 44), np.uint8))
    with pytest.raises(StepError, match=r'no cube is 5 voxels thick \(lower "min_thickness"\)'):
        find(flat, size=16)
    assert len(find(flat, size=16, min_thickness=4)) == 3 * 3 - 3  # 40 is 2.5 cubes, which Python rounds to 2
    np.testing.assert_array_equal(np.unique(find(flat, size=16, min_thickness=4).views[0].shape[:, 2]), [12, 16])
    assert len(find(flat, size=16, min_thickness=4).views[0]) == 6


def test_names() -> None:
    case = case_of(np.ones((16, 32, 48), np.uint8))
    table = find(case, size=16, label="{brain}_s2")
    assert table.roi_names(case)[:4] == [f"{{brain}}_s2-ROI-x{x}-{x + 16}_y0-16_z0-16" for x in (0, 16, 32)] + [
        "{brain}_s2-ROI-x0-16_y16-32_z0-16"
    ]
    assert find(case, size=16).roi_names(case)[5] == "brain-ROI-x32-48_y16-32_z0-16"
    with pytest.raises(StepError, match="the name 'a-LOC-b' contains '-LOC-', which marks the place of a patch"):
        find(case, label="a-LOC-b")


def test_small_volumes_pass_whole() -> None:
    voxels = Watched(np.zeros((16, 32, 48), np.uint8))
    table = find(case_of(voxels), size=16, min_gb=16 * 32 * 48 / 1e9)
    assert boxes_of(table) == [(slice(0, 16), slice(0, 32), slice(0, 48))]
    assert (table.attributes["cropped"].tolist(), table.roi_names(case_of(voxels))) == ([False], ["brain"])
    assert voxels.voxels == 0
    with pytest.raises(StepError, match=r"in each of 6 cubes, 30% or more of the voxels have the padding value 0 \(is"):
        find(case_of(voxels), size=16, min_gb=16 * 32 * 48 / 1e9 - 1e-9)
    plane = find(make_case(np.zeros((5, 7), np.uint8), "yx"), min_gb=1)
    assert boxes_of(plane) == [(slice(0, 5), slice(0, 7))]


def test_mistakes() -> None:
    voxels = np.ones((8, 8, 8), np.uint8)
    with pytest.raises(StepError, match=r'the case has 2 layers to choose from \(em, overview\) \(name it with "layer"\)'):
        find(case_of(voxels, voxels))
    assert len(find(case_of(voxels, voxels), layer="em")) == 1
    with pytest.raises(StepError, match=r"layer 'overview' of shape \[16, 16, 16\] is finer than layer 'em' of \[8, 8, 8\]"):
        find(case_of(voxels, np.ones((16, 16, 16), np.uint8)), overview="overview")
    with pytest.raises(StepError, match=r"padding is looked for in layers with the axes zyx, layer 'image' has 'zyxc'.*pick-channel"):
        find(make_case(np.ones((8, 8, 8, 3), np.uint8), "zyxc"))
    with pytest.raises(StepError, match=r"layer 'overview' has 'zyxc'"):
        find(
            Case("a", {**case_of(voxels).layers, "overview": make_case(np.ones((4, 4, 4, 3), np.uint8), "zyxc").image()}),
            overview="overview",
        )
    with pytest.raises(StepError, match=r"sparse-cubes cuts volumes with the axes zyx, layer 'image' has 'xyz'"):
        find(make_case(voxels, "xyz"))
    assert len(find(make_case(np.ones((8, 8, 8, 3), np.uint8), "zyxc"), padding_value=None)) == 1


def test_overview_edges_partition_the_overview() -> None:
    """Each coarse voxel belongs to one cube, whatever the factor and offset."""
    for factor, first in ((2.0, 0.5), (2.0, -0.5), (3.0, 1.0), (4.5, 1.75), (128.0, 60.5)):
        n = int((1000 - 1 - first) // factor) + 1
        overview = Overview(
            np.empty((n, n, n), np.uint8) if n < 50 else np.broadcast_to(np.uint8(0), (n, n, n)), (factor,) * 3, (first,) * 3
        )
        starts = np.arange(0, 1000, 250)
        low, high = overview.edges([(starts, starts + 250)] * 3)[0]
        assert low[0] == 0
        assert (low[1:] == high[:-1]).all()
        centres = np.arange(n) * factor + first
        assert [int(((centres >= s - 0.5) & (centres < s + 249.5)).sum()) for s in starts[:-1]] == (high - low)[:-1].tolist()


def test_total_gb_keeps_a_seeded_share_of_all_layers() -> None:
    sizes = np.array([4, 4, 2, 4, 1, 4]) * 100
    step = TotalGigabytes(gb=900e-9)
    batch = make_batch(values((6, 2, 2, 2)), attributes={"nbytes": sizes})
    columns = step.score(batch, context())
    existing = np.array([False, False, False, True, False, False])
    kept = [step.keep(Features(columns, existing, str), context(seed=seed)).keep for seed in range(20)]
    assert all(mask[3] and sizes[mask].sum() <= 900 for mask in kept)
    assert len({mask.tobytes() for mask in kept}) > 3
    with pytest.raises(StepError, match=r"the samples have no attribute nbytes.*find them with sparse-cubes, or use limit"):
        step.score(make_batch(values((2, 3, 4, 5))), context())
    with pytest.raises(ValueError, match='within: "sample" would keep or drop all'):
        TotalGigabytes(gb=1, within=SAMPLE)


def test_no_cube_overlaps_another() -> None:
    table = find(case_of(volume()), size=16, gb=None, padding_value=None)
    counts = np.zeros(SHAPE, np.uint8)
    for box in boxes_of(table):
        counts[box] += 1
    assert counts.max() == 1
    full = GridRois(size=16).find(case_of(volume()), context())
    assert len(table) >= len(full)
