"""Back from patches to volumes, against slices of numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from curate_em.around import AroundPatches, SectionFirst, boxes, choose
from curate_em.patches import read_patches

from curate_core import Context, RequestError, StepError
from curate_core.batch import Batch
from curate_core.cut import batches
from curate_core.kinds import Worker
from curate_core.testing import RoiFinderTests, TransformTests, make_batch, make_case, run_spec, values

NAMES = ["case-LOC-0_4_0-16_16-32.tiff", "case-LOC-1_08_0-8_0-16.tiff", "case-LOC-2_20_0-9_16-32.png", "other-LOC-0_0_0-4_0-4.tif"]


def folder_of(names: list[str], folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    for name in names:
        (folder / "deep" / name).touch()
    (folder / "deep/readme.txt").touch()
    return folder


class TestAroundPatches(RoiFinderTests):
    component = AroundPatches
    seeded = True
    reads_pixels = False
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _patches(self, tmp_path: Path) -> None:
        names = [f"case-LOC-0_{i}_{y}-{y + 8}_0-16" for i in range(2, 7) for y in range(24)]
        type(self).options = {"patches": str(folder_of(names, tmp_path / "patches")), "depth": 3, "limit": 10}


class TestSectionFirst(TransformTests):
    component = SectionFirst
    axes = "zyx"
    shape = (3, 7, 11)
    spacing = (40.0, 4.0, 8.0)

    def batch(self) -> Batch:
        return make_batch(values((5, *self.shape)), self.axes, self.spacing, attributes={"plane": np.array([b"xz"] * 5)})


def find(case: Any, patches: Path | tuple[Path, ...], seed: int = 0, **options: Any) -> Any:
    step = AroundPatches(patches=patches, **options)
    return step.find(case, Context("rois", seed, case.id, step.setup(Worker())))


def test_boxes_and_names(tmp_path: Path) -> None:
    volume = values((9, 33, 41))
    case = make_case(volume)
    table = find(case, folder_of(NAMES, tmp_path / "p"), depth=5)
    names = [table.roi_name(row, case) for row in range(len(table))]
    assert names == ["case-LOC-0_2-7_0-16_16-32", "case-LOC-1_6-11_0-8_0-16", "case-LOC-2_18-23_0-9_16-32"]
    truth = [volume[2:7, :16, 16:32], volume[:8, 6:11, :16].transpose(1, 0, 2), volume[:9, 16:32, 18:23].transpose(2, 0, 1)]
    found = {}
    for batch in batches(case, table, np.arange(3), table.ids("case")):
        turned = SectionFirst().apply(batch, Context("turn", 0))
        for row in range(len(batch)):
            found[int(batch.rows[row])] = turned.array()[row]
            grid = turned.grids["image"](row)
            assert grid.axes == {b"xy": "zyx", b"xz": "yzx", b"yz": "xzy"}[batch.attributes["plane"][row]]
            assert grid.shape == turned.array()[row].shape
    for row, expected in enumerate(truth):
        np.testing.assert_array_equal(found[row], expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 5, 9])
def test_the_last_legal_slice_is_taken(tmp_path: Path, depth: int) -> None:
    """Every index of which all slices are there, the last one too."""
    names = [f"case-LOC-0_{i}_0-4_0-4" for i in range(9)]
    case = make_case(values((9, 8, 8)))
    table = find(case, folder_of(names, tmp_path / "p"), depth=depth)
    firsts = table.views[0].start[:, 0].tolist()
    assert firsts == list(range(9 - depth + 1))
    assert (table.views[0].stop[:, 0] - table.views[0].start[:, 0] == depth).all()
    moved = find(case, tmp_path / "p", depth=depth, edge="shift")
    assert len(moved) == 9
    assert moved.views[0].start[:, 0].tolist() == [min(max(i - depth // 2, 0), 9 - depth) for i in range(9)]


def test_more_slices_than_there_are_give_none(tmp_path: Path) -> None:
    case = make_case(values((9, 8, 8)))
    names = folder_of(["case-LOC-0_4_0-4_0-4"], tmp_path / "p")
    for edge in ("skip", "shift"):
        assert len(find(case, names, depth=10, edge=edge)) == 0


def test_a_volume_without_patches_has_no_boxes(tmp_path: Path) -> None:
    assert len(find(make_case(values((9, 8, 8)), id="unknown"), folder_of(NAMES, tmp_path / "p"))) == 0


def test_the_limit_is_drawn_with_the_seed(tmp_path: Path) -> None:
    names = folder_of([f"case-LOC-0_{i}_0-4_0-4" for i in range(40)], tmp_path / "p")
    case = make_case(values((40, 8, 8)))
    draws = [find(case, names, seed, limit=6).views[0].start[:, 0].tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert all(len(draw) == 6 and draw == sorted(draw) for draw in draws)
    assert len(find(case, names, limit=1000)) == 36


@pytest.mark.parametrize("most", [0.0, 0.25, 0.5])
def test_no_two_share_more_than_allowed(most: float) -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, 3, 200), rng.integers(4, 30, 200), *[rng.integers(0, 20, 200)] * 4], axis=1)
    rows[:, 3], rows[:, 5] = rows[:, 2] + 8, rows[:, 4] + 12
    start, stop = boxes(rows, 4)
    order = rng.permutation(200)
    chosen = choose(start, stop, order, most, None)

    def share(a: int, b: int) -> float:
        sides = [max(0, min(stop[a, i], stop[b, i]) - max(start[a, i], start[b, i])) for i in range(3)]
        return np.prod(sides) / min(np.prod(stop[a] - start[a]), np.prod(stop[b] - start[b]))

    kept = set(chosen.tolist())
    assert 3 < len(kept) < 200
    assert all(share(a, b) <= most for a in kept for b in kept if a < b)
    rank = {row: i for i, row in enumerate(order.tolist())}
    for row in set(range(200)) - kept:
        assert any(share(row, other) > most for other in kept if rank[other] < rank[row])
    assert choose(start, stop, order, most, 3).tolist() == sorted(sorted(kept, key=rank.__getitem__)[:3])


def test_every_roi_volume_of_a_dataset_is_served(tmp_path: Path) -> None:
    """There, only the first was."""
    volumes = ["liver-ROI-0-8_0-8_0-9", "liver-ROI-8-16_0-8_0-9", "liver"]
    names = folder_of([f"{volume}-LOC-0_4_0-4_0-4.tiff" for volume in volumes], tmp_path / "p")
    for volume in volumes:
        table = find(make_case(values((9, 8, 8)), id=f"cohort/{volume}"), names, depth=3)
        assert len(table) == 1
        assert table.row_attributes(0)["group"] == "liver"


def test_a_patch_of_another_volume_is_refused(tmp_path: Path) -> None:
    names = folder_of(["case-LOC-1_7_0-4_0-9"], tmp_path / "p")
    find(make_case(values((9, 8, 9))), names)
    with pytest.raises(StepError, match=r"the patch 1_7_0-4_0-9 lies outside of the volume of shape \[9, 8, 8\]"):
        find(make_case(values((9, 8, 8))), names)
    with pytest.raises(StepError, match=r"the patch 1_7_0-4_0-9 lies outside of the volume of shape \[9, 7, 9\]"):
        find(make_case(values((9, 7, 9))), names)


def test_only_volumes(tmp_path: Path) -> None:
    names = folder_of(NAMES, tmp_path / "p")
    with pytest.raises(StepError, match="cuts volumes with the axes zyx, layer 'image' has 'yx'"):
        find(make_case(values((8, 8)), "yx"), names)
    with pytest.raises(StepError, match="the case has no image layer to cut"):
        find(make_case({}), names)


def test_what_names_no_patch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no curated dataset and no folder of patches"):
        read_patches([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/plain.tif").touch()
    with pytest.raises(RequestError, match="nothing here says where a patch was cut"):
        read_patches([tmp_path / "empty"])
    (tmp_path / "manifest.jsonl").write_text('{"arrays": 3}\n')
    with pytest.raises(RequestError, match="line 1 is not one of a manifest"):
        read_patches([tmp_path / "manifest.jsonl"])


def test_single_images_have_no_depth(tmp_path: Path) -> None:
    names = folder_of(["7-LOC-2d-0-4_0-4.tiff", "case-LOC-0_4_0-4_0-4.tiff"], tmp_path / "p")
    assert list(read_patches([names])) == ["case"]


@pytest.mark.parametrize("writer", [{"path": "{case}/{roi}.npy"}, {"path": "{case}.npy", "stack": True}])
def test_manifests_tell_the_same_as_names(tmp_path: Path, writer: dict[str, Any]) -> None:
    """By the names of files, and by the boxes where samples share a file; of a filtered dataset, too."""
    np.save(tmp_path / "vol.npy", values((7, 20, 24)))
    spec = {
        "source": {"use": "files", "pattern": "{case}.npy", "root": str(tmp_path)},
        "rois": [{"use": "em-sections", "size": 8}],
        "write": [{"use": "npy", **writer}],
    }
    if "stack" in writer:
        spec["rois"] = [{"use": "em-sections", "size": 8, "edge": "drop"}]
    dataset = run_spec(spec, tmp_path / "run")
    found = read_patches([dataset.path])
    assert list(found) == ["vol"]
    assert len(found["vol"]) == len(dataset)
    np.testing.assert_array_equal(found["vol"], read_patches([dataset.path / "manifest.jsonl"])["vol"])
    if "stack" not in writer:
        np.testing.assert_array_equal(found["vol"], read_patches([dataset.path / "vol"])["vol"])
        again = {
            "source": {"use": "dataset", "path": str(dataset.path)},
            "read": {"*": {"use": "samples"}},
            "rois": [{"use": "samples"}],
            "filter": [{"use": "limit", "count": 20}],
            "write": [{"use": "npy", "path": "{case}.npy", "stack": True}],
            "transform": [{"use": "pad", "size": 8}],
        }
        filtered = run_spec(again, tmp_path / "filtered")
        kept = read_patches([filtered.path])["vol"]
        assert len(kept) == 20
        assert {tuple(row) for row in kept.tolist()} <= {tuple(row) for row in found["vol"].tolist()}


def test_turning_needs_planes() -> None:
    with pytest.raises(StepError, match="section-first turns samples with the axes zyx and an attribute plane, these have 'zyx'"):
        SectionFirst().apply(make_batch(values((2, 3, 4, 5))), Context("turn", 0))
    mixed = make_batch(values((2, 3, 4, 3)), attributes={"plane": np.array([b"xy", b"yz"])})
    with pytest.raises(StepError, match="samples of one shape get different ones when they are turned"):
        SectionFirst().apply(mixed, Context("turn", 0))
