from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from curate_em.names import parse_loc
from curate_em.sections import EmSections

from curate_core.builtin.tiling import tile_edges
from curate_core.cut import batches
from curate_core.structure import structure
from curate_core.testing import RoiFinderTests, context, make_case, values

ISOTROPIC = (4.0, 4.0, 4.0)


class TestEmSections(RoiFinderTests):
    component = EmSections
    options: ClassVar[dict[str, Any]] = {"size": 16}
    reads_pixels = False
    spacing = ISOTROPIC


class TestEmSectionsOfImages(RoiFinderTests):
    component = EmSections
    options: ClassVar[dict[str, Any]] = {"size": 16, "edge": "shift"}
    reads_pixels = False
    axes = "yx"
    shape = (33, 41)
    spacing = (4.0, 4.0)


def patchify3d(name: str, volume: Any, size: int, spacing: int = 1, axes: tuple[int, ...] = (0, 1, 2)) -> Iterator[tuple[str, Any]]:
    """The rule as it is stated, patch by patch: names and pixels, the last slice of each axis included."""
    for axis in axes:
        slices = np.moveaxis(volume, axis, 0)
        for index in range(0, len(slices), spacing):
            image = slices[index]
            for y in range(max(1, round(image.shape[0] / size))):
                for x in range(max(1, round(image.shape[1] / size))):
                    top, left = y * size, x * size
                    bottom, right = min(top + size, image.shape[0]), min(left + size, image.shape[1])
                    number = str(index).zfill(len(str(len(slices) - 1)))
                    yield f"{name}-LOC-{axis}_{number}_{top}-{bottom}_{left}-{right}", image[top:bottom, left:right]


def cut_all(case: Any, table: Any) -> dict[str, Any]:
    """Name of each ROI -> what the runner cuts there."""
    found = {}
    for batch in batches(case, table, np.arange(len(table)), table.ids(case.id)):
        for row, pixels in zip(batch.rows.tolist(), batch.array(), strict=True):
            found[table.roi_name(row, case)] = pixels
    return found


def find(case: Any, **options: Any) -> Any:
    return structure(options, EmSections, Path()).find(case, context("rois"))


@pytest.mark.parametrize(
    ("shape", "size", "spacing"), [((12, 30, 41), 10, 1), ((11, 5, 101), 10, 3), ((7, 25, 35), 10, 2), ((4, 4, 4), 9, 1), ((1, 1, 1), 4, 1)]
)
def test_names_and_pixels_by_the_rule(shape: tuple[int, ...], size: int, spacing: int) -> None:
    volume = np.array(values(shape))
    case = make_case(volume, spacing=ISOTROPIC, id="mito")
    table = find(case, size=size, spacing=spacing)
    expected = list(patchify3d("mito", volume, size, spacing))
    assert [table.roi_name(row, case) for row in range(len(table))] == [name for name, _ in expected]
    cut = cut_all(case, table)
    for name, pixels in expected:
        np.testing.assert_array_equal(cut[name], pixels)


def test_names_lead_back_to_the_box() -> None:
    case = make_case(values((12, 30, 41)), spacing=ISOTROPIC, id="a-b_c")
    table = find(case, size=10)
    for row in range(len(table)):
        location = parse_loc(f"out/a-b_c/{table.roi_name(row, case)}.tiff")
        view = table.views[0]
        assert (location.dataset, location.box()) == ("a-b_c", (tuple(view.start[row].tolist()), tuple(view.stop[row].tolist())))
        attributes = table.row_attributes(row)
        assert (location.plane, location.index) == (attributes["plane"], attributes["index"])


def test_the_last_slice_of_each_axis_is_taken() -> None:
    table = find(make_case(values((12, 30, 41)), spacing=ISOTROPIC), size=10)
    planes, indices = table.attributes["plane"], table.attributes["index"]
    assert [int(indices[planes == plane].max()) for plane in (b"xy", b"xz", b"yz")] == [11, 29, 40]


@pytest.mark.parametrize(("length", "digits"), [(1, 1), (9, 1), (10, 1), (11, 2), (100, 2), (101, 3)])
def test_index_is_padded_to_the_last_one(length: int, digits: int) -> None:
    """As many digits as the last index has: every name of a volume is of one length, and they sort."""
    case = make_case(np.broadcast_to(np.uint8(0), (length, 4, 4)), spacing=ISOTROPIC)
    table = find(case, size=4, planes=["xy"])
    names = [table.roi_name(row, case) for row in range(len(table))]
    assert names[0] == f"case-LOC-0_{'0' * digits}_0-4_0-4"
    assert names == sorted(names)


def test_half_a_tile() -> None:
    """Python's round: exactly half goes to the even number of tiles."""
    lengths = (4, 14, 15, 16, 24, 25, 26)
    edges = [tile_edges(length, 10, None, "half") for length in lengths]
    tiles = {length: (stops - starts).tolist() for length, (starts, stops) in zip(lengths, edges, strict=True)}
    assert tiles == {4: [4], 14: [10], 15: [10, 5], 16: [10, 6], 24: [10, 10], 25: [10, 10], 26: [10, 10, 6]}


@pytest.mark.parametrize(
    ("edge", "columns"),
    [
        ("half", [(0, 10), (10, 16)]),
        ("short", [(0, 10), (10, 16)]),
        ("drop", [(0, 10)]),
        ("shift", [(0, 10), (6, 16)]),
    ],
)
def test_edges(edge: str, columns: list[tuple[int, int]]) -> None:
    view = find(make_case(values((2, 10, 16)), spacing=ISOTROPIC), size=10, edge=edge, planes=["xy"]).views[0]
    assert list(zip(view.start[:, 2].tolist(), view.stop[:, 2].tolist(), strict=True)) == 2 * columns


def test_no_tile_fits() -> None:
    table = find(make_case(values((2, 3, 4)), spacing=ISOTROPIC), size=10, edge="drop")
    assert len(table) == 0


@pytest.mark.parametrize(
    ("spacing", "options", "planes"),
    [
        ((5.0, 4.0, 4.0), {}, {b"xy", b"xz", b"yz"}),  # 0.25 is not more than 0.25
        ((5.01, 4.0, 4.0), {}, {b"xy"}),
        ((2.9, 4.0, 4.0), {}, {b"xy"}),
        ((4.0, 40.0, 4.0), {}, {b"xy", b"xz", b"yz"}),  # y plays no part
        ((40.0, 4.0, 4.0), {"isotropy_tolerance": 9.0}, {b"xy", b"xz", b"yz"}),
        (None, {}, {b"xy", b"xz", b"yz"}),
        ((40.0, 4.0, 4.0), {"planes": ["xz", "yz"]}, set()),
        (ISOTROPIC, {"planes": ["yz", "xz"]}, {b"xz", b"yz"}),
    ],
)
def test_planes_that_are_cut(spacing: Any, options: dict[str, Any], planes: set[bytes]) -> None:
    table = find(make_case(values((8, 9, 10)), spacing=spacing), size=8, **options)
    assert set(table.attributes["plane"].tolist()) == planes


OTHER_NAMES = ["volume", "volume-LOC-", "-LOC-0_1_0-2_0-2", "v-LOC-3_1_0-2_0-2", "v-LOC-0_1_0-2"]
OTHER_NAMES += ["v-LOC-0-1_0-2_0-2", "v-LOC-2d_0-2_0-2", "v-LOC-0_1_0-2_0-2x"]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a patch's name such as"):
        parse_loc(name)
