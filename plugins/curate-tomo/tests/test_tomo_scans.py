"""Real scans: numbered files, flat fields, sizes, ROIs told apart by masks, frames, patches, estimates."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from curate_tomo.dynamic import SinogramFrames
from curate_tomo.estimate import EstimateClean
from curate_tomo.marks import Mark
from curate_tomo.normalize import MeanArray, NormalizeFlats
from curate_tomo.numbered import NumberedScans
from curate_tomo.patches import SinogramPatches
from curate_tomo.resize import Resize, covered, resized
from curate_tomo.sinograms import SinogramRois
from curate_tomo.stripes import AddStripes
from skimage.transform import resize

from curate_core import Case, LazyArray, RequestError, StepError
from curate_core.arrays import Box, NDArray, read
from curate_core.batch import Batch
from curate_core.testing import (
    PreprocessorTests,
    RoiFinderTests,
    SourceTests,
    TransformTests,
    context,
    make_batch,
    make_case,
    make_image,
    values,
)

SHAPE = (11, 5, 7)


class Carrier(LazyArray):
    """Counts with their fields, as the reader of scans gives them."""

    def __init__(self, counts: NDArray, flats: NDArray | None, darks: NDArray | None) -> None:
        self.counts, self.flats, self.darks = counts, flats, darks
        self.shape, self.dtype = counts.shape, counts.dtype

    def read_box(self, where: Box) -> NDArray:
        return read(self.counts, where)


def scan(counts: Any = None, flats: Any = "some", darks: Any = "some") -> Case:
    found = values(SHAPE, "uint16", "counts") if counts is None else counts
    if isinstance(flats, str):
        flats = values((4, *found.shape[1:]), "uint16", "flats")
    if isinstance(darks, str):
        darks = values((3, *found.shape[1:]), "uint16", "darks") // 64
    return Case("0", {"scan": make_image(Carrier(found, flats, darks), "azx")})


class TestNormalizeFlats(PreprocessorTests):
    component = NormalizeFlats
    lazy = False  # it looks for the fields that a scan carries

    def case(self) -> Case:
        return scan()


class TestResize(TransformTests):
    component = Resize
    options: ClassVar[dict[str, Any]] = {"size": [5, 6]}
    axes = "ax"
    shape = (13, 17)
    dtype = "uint16"
    spacing: ClassVar[Sequence[float]] = (0.5,)


class TestEstimateClean(TransformTests):
    component = EstimateClean
    options: ClassVar[dict[str, Any]] = {"array": "scan"}

    def batch(self) -> Batch:
        clean = values((5, 7, 11), "float32", "sinograms")
        return make_batch({"scan": clean, "mask": values((5, 7, 11), "bool", "mask")}, "ax")


class TestSinogramPatches(RoiFinderTests):
    component = SinogramPatches
    options: ClassVar[dict[str, Any]] = {"size": [4, 3]}
    axes = "azx"
    shape = SHAPE
    reads_pixels = False


class TestPatchesByMask(TestSinogramPatches):
    options: ClassVar[dict[str, Any]] = {
        "size": [4, 3], "layers": ["scan"], "attributes": {"kind": {"any": "mask", "true": "bad", "false": "good"}},
    }  # fmt: skip
    reads_pixels = True

    def case(self) -> Case:
        return make_case({"scan": values(SHAPE, "float32"), "mask": values(SHAPE, "bool")}, "azx")


class TestSinogramFrames(RoiFinderTests):
    component = SinogramFrames
    options: ClassVar[dict[str, Any]] = {"frame_angles": 4, "partial": "keep"}
    axes = "azx"
    shape = SHAPE
    reads_pixels = False


@pytest.mark.parametrize("log", [True, False])
def test_the_formula_in_float64(log: bool) -> None:
    case = scan()
    carried: Any = case.image("scan").array
    flat, dark = carried.flats.astype(float).mean(axis=0), carried.darks.astype(float).mean(axis=0)
    x = (carried.counts - dark) / np.maximum(flat - dark, 1e-6)
    x[x <= 0] = 1e-9
    image = NormalizeFlats(log=log).apply(case, context()).image("scan")
    assert image.dtype == np.float32
    np.testing.assert_allclose(read(image.array), -np.log(x) if log else x, rtol=3e-5, atol=1e-6)


def test_dead_and_hot_pixels_stay_finite() -> None:
    counts = np.full(SHAPE, 500, np.uint16)
    flats, darks = np.full((2, 5, 7), 1000, np.uint16), np.full((2, 5, 7), 100, np.uint16)
    flats[:, 0, 0], counts[:, 0, 0] = 100, 100  # dead: never more than dark
    flats[:, 0, 1], darks[:, 0, 1], counts[:, 0, 1] = 65535, 65535, 65535  # hot: always full
    flats[:, 0, 2] = 50  # darker in the beam than without it
    counts[3, 0, 3] = 0
    found = read(NormalizeFlats().apply(scan(counts, flats, darks), context()).image("scan").array)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0, 0, :2], -np.log(1e-9), rtol=1e-6)
    np.testing.assert_allclose(found[0, 0, 2], -np.log(400 / 1e-6), rtol=1e-6)
    np.testing.assert_allclose(found[3, 0, 3], -np.log(1e-9), rtol=1e-6)
    np.testing.assert_allclose(found[:, 1:], -np.log(4 / 9), rtol=1e-6)
    clipped = read(NormalizeFlats(clip=(-1.0, 6.0)).apply(scan(counts, flats, darks), context()).image("scan").array)
    np.testing.assert_array_equal(clipped, np.clip(found, -1, 6))
    with pytest.raises(ValueError, match=r"clip: \[6, 6\] is no range"):
        NormalizeFlats(clip=(6.0, 6.0))


def test_no_darks_and_no_flats() -> None:
    with pytest.raises(StepError, match='layer \'scan\' has no dark fields, .*"darks": "zero"'):
        NormalizeFlats().apply(scan(darks=None), context())
    with pytest.raises(StepError, match="layer 'scan' has no flat fields, neither its own .*\"normalize\": false"):
        NormalizeFlats().apply(scan(flats=None), context())
    with pytest.raises(StepError, match="layer 'image' does not carry flat fields as a scan does"):
        NormalizeFlats().apply(make_case(values(SHAPE), "azx"), context())
    case = scan(flats=np.full((1, 5, 7), 2000, np.uint16), darks=None, counts=np.full(SHAPE, 1000, np.uint16))
    found = read(NormalizeFlats(darks="zero").apply(case, context()).image("scan").array)
    np.testing.assert_allclose(found, np.log(2), rtol=1e-6)
    without = scan(flats=None, darks=None)
    assert NormalizeFlats(normalize=False).apply(without, context()) is without


def test_means_are_kept_beside_the_case(tmp_path: Path) -> None:
    NormalizeFlats().apply(scan(), context("normalize-flats", folder=tmp_path))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["normalize-flats.scan.dark.npy", "normalize-flats.scan.flat.npy"]
    stack = values((9, 4, 3), "uint16")
    np.testing.assert_array_equal(read(MeanArray(stack)), stack.astype(float).mean(axis=0).astype(np.float32))


@pytest.mark.parametrize("size", [(402, 362), (40, 30), (5, 6), (1, 1), (90, 50), (91, 200), (300, 90)])
@pytest.mark.parametrize("shape", [(90, 50), (181, 256), (402, 362), (7, 3)])
def test_resizing_is_that_of_scikit_image(size: tuple[int, int], shape: tuple[int, int]) -> None:
    sample = values(shape, "float32", "sample")
    exact = resize(sample.astype(float), size, order=1, anti_aliasing=True, clip=False)
    np.testing.assert_allclose(resized(sample, size), exact, atol=1e-5 * np.abs(sample).max())


def test_masks_cover_what_they_covered() -> None:
    mask = np.zeros((7, 10), bool)
    mask[3, 4] = True
    np.testing.assert_array_equal(np.argwhere(covered(mask, (7, 5))), [[3, 2]])
    np.testing.assert_array_equal(np.argwhere(covered(mask, (2, 3))), [[0, 1], [1, 1]])
    np.testing.assert_array_equal(np.argwhere(covered(mask, (7, 20))), [[3, 8], [3, 9]])
    assert covered(mask, (7, 10)).dtype == np.uint8
    batch = make_batch({"scan": values((1, 7, 10), "float32"), "mask": mask[None]}, "ax")
    after = Resize(size=(7, 5)).apply(batch, context())
    assert after.array("mask").sum() == 1
    assert Resize(size=None).apply(batch, context()) is batch


def test_a_resized_grid_has_the_same_extent() -> None:
    batch = make_batch(values((1, 8, 12), "float32"), "ax", (0.5,))
    grid = Resize(size=(4, 3)).apply(batch, context()).grids["image"](0)
    before = batch.grids["image"](0)
    assert grid.spacing == (2.0,)
    np.testing.assert_allclose(grid.world([-0.5]), before.world([-0.5]))
    np.testing.assert_allclose(grid.world([2.5]), before.world([11.5]))


def test_what_cannot_be_resized() -> None:
    with pytest.raises(StepError, match="array 'image' has 3 axes and type uint8, only 2D samples"):
        Resize().apply(make_batch(values((2, 3, 4, 5)), "azx"), context())


def scans_at(folder: Path, *numbers: object) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.nxs" for number in numbers]
    for path in paths:
        path.touch()
    return paths


class TestNumberedScans(SourceTests):
    component = NumberedScans
    options: ClassVar[dict[str, Any]] = {"shifts": 2, "beside": {"mask": "masks/m{scan}.npy"}}
    cases = ("0000_shift00", "0000_shift01", "0001_shift00", "0001_shift01")

    def make_files(self, folder: Path) -> dict[str, Any]:
        names = ("999", "1000", "2000", "2001")
        (folder / "masks").mkdir()
        for name in names:
            (folder / f"masks/m{name}.npy").touch()
        first, _, other, _ = scans_at(folder, *names)
        return {"first": [str(first), str(other)]}


def test_numbered_scans(tmp_path: Path) -> None:
    first, *_ = scans_at(tmp_path, *(f"run_{number:05}" for number in range(998, 1003)))
    cases = list(NumberedScans(first=first, start=7).find())
    assert [case.id for case in cases] == [f"0007_shift{shift:02}" for shift in range(5)]
    assert [case.layers["scan"].files[0].name for case in cases] == [f"run_{number:05}.nxs" for number in range(998, 1003)]
    assert cases[3].attributes == {"sample": 7, "shift": 3, "scan": "run_01001", "shiftstep": 2, "offset": 6}


def test_several_samples_and_lists_of_files(tmp_path: Path) -> None:
    a, b, c = scans_at(tmp_path, "1000", "1001", "2000")
    (tmp_path / "m1000.npy").touch()
    cases = list(NumberedScans(first=(a, c), shifts=1, samples=2).find())
    assert [(case.attributes["sample"], case.layers["scan"].files[0]) for case in cases] == [(0, a), (1, c)]
    cases = list(NumberedScans(files=((c, a), (b,)), shiftstep=0.5).find())
    assert [case.id for case in cases] == ["0000_shift00", "0000_shift01", "0001_shift00"]
    assert [case.attributes["offset"] for case in cases] == [0, 0.5, 0]
    (case,) = NumberedScans(first=a, shifts=1, beside={"mask": "m{scan}.npy"}).find()
    assert case.layers["mask"].files == (tmp_path / "m1000.npy",)


def test_mistakes_about_numbered_scans(tmp_path: Path) -> None:
    a, b, c, named = scans_at(tmp_path, "1000", "1001", "2000", "foam")
    with pytest.raises(RequestError, match=r"shift 2 would be .*1002.nxs, which is not there"):
        list(NumberedScans(first=a, shifts=3).find())
    with pytest.raises(RequestError, match=r"foam.nxs has no number, .*\"shifts\": 1"):
        list(NumberedScans(first=named).find())
    with pytest.raises(RequestError, match="3 samples are expected, the scans are of 1"):
        list(NumberedScans(first=a, shifts=2, samples=3).find())
    scans_at(tmp_path, "1002")
    with pytest.raises(RequestError, match=r"1001.nxs would be both 0000_shift01 and 0001_shift00"):
        list(NumberedScans(first=(a, b), shifts=2).find())
    with pytest.raises(RequestError, match=r"a scan would be .*none.nxs, which is not there"):
        list(NumberedScans(files=((tmp_path / "none.nxs",),)).find())
    with pytest.raises(RequestError, match=r"layer 'mask' of 2000.nxs would be .*m2000.npy, which is not there"):
        list(NumberedScans(first=c, shifts=1, beside={"mask": "m{scan}.npy"}).find())
    with pytest.raises(ValueError, match='either "first" or "files"'):
        NumberedScans()
    with pytest.raises(ValueError, match='either "first" or "files"'):
        NumberedScans(first=a, files=((a,),))
    with pytest.raises(ValueError, match="a sample needs at least one file"):
        NumberedScans(files=((),))
    with pytest.raises(ValueError, match="'scan' is the scan's own layer"):
        NumberedScans(first=a, beside={"scan": "x"})


MARK = {"artifact": Mark(any="mask", true="real", false="fake")}


def masked(*places: tuple[int, int, int], axes: str = "azx", shape: tuple[int, int, int] = SHAPE) -> Case:
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    order = ["azx".index(axis) for axis in axes]
    return Case("0", {"scan": make_image(values(SHAPE, "float32"), "azx"), "mask": make_image(mask.transpose(order), axes)})


@pytest.mark.parametrize("axes", ["azx", "zax", "xza"])
def test_sinograms_told_apart_by_a_mask(axes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = masked((10, 1, 6), (0, 3, 0), axes=axes)
    for slab in (1, 1 << 20):
        monkeypatch.setattr("curate_tomo.marks._SLAB", slab)
        table = SinogramRois(layers=("scan",), attributes=MARK).find(case, context())
        assert table.attributes["artifact"].tolist() == ["fake", "real", "fake", "real", "fake"]
        table = SinogramRois(layers=("scan",), attributes=MARK, start=1, every=3).find(case, context())
        assert table.attributes["artifact"].tolist() == ["real", "fake"]


def test_patches_told_apart_by_a_mask() -> None:
    """11 angles x 7 columns hold 2 x 3 patches of 5 x 2: half of one angle is none, so that the last one is left out."""
    table = SinogramPatches(size=(5, 2), layers=("scan",), attributes=MARK).find(masked((10, 1, 0), (4, 2, 1), (5, 2, 5)), context())
    assert table.attributes["angle"][:6].tolist() == [0, 5, 0, 5, 0, 5]
    assert table.attributes["column"][:6].tolist() == [0, 0, 2, 2, 4, 4]
    real = {(2, 0), (2, 5)}
    found = zip(table.attributes["row"].tolist(), table.attributes["patch"].tolist(), table.attributes["artifact"].tolist(), strict=True)
    assert {(row, patch) for row, patch, kind in found if kind == "real"} == real
    assert table.roi_name(8, masked()) == "0001_w02"


def test_masks_that_do_not_fit() -> None:
    wrong = masked(shape=(11, 4, 7))
    with pytest.raises(StepError, match="the mask 'mask' has 11 x 4 x 7 angles, rows and columns, the scan 11 x 5 x 7"):
        SinogramRois(layers=("scan",), attributes=MARK).find(wrong, context())
    with pytest.raises(StepError, match="layer 'scan' has 11 x 5 x 7 angles, rows and columns, layer 'mask' 11 x 4 x 7"):
        SinogramPatches(size=(1, 1)).find(wrong, context())
    with pytest.raises(StepError, match="a mask tells sinograms apart, not a projection"):
        SinogramRois(view="projection", attributes=MARK).find(masked(), context())
    with pytest.raises(StepError, match="there is no image layer 'mask', only scan"):
        SinogramRois(attributes=MARK).find(masked().without_layers(["mask"]), context())
    flat = Case("0", {"scan": masked().image("scan"), "mask": make_image(np.zeros((5, 7), bool), "zx")})
    with pytest.raises(StepError, match=r"the mask 'mask' has the axes 'zx', a scan has a .*\"axes\" of its reader"):
        SinogramRois(layers=("scan",), attributes=MARK).find(flat, context())
    with pytest.raises(StepError, match="layer 'mask' has the axes 'zx', a scan has a"):
        SinogramFrames(partial="keep").find(flat, context())
    with pytest.raises(StepError, match="the case has no image layer"):
        SinogramFrames().find(Case("0", {}), context())


def test_patches_that_do_not_fit() -> None:
    with pytest.raises(StepError, match="no patch of 1801 angles x 256 columns fits into sinograms of 11 x 7"):
        SinogramPatches().find(masked(), context())


@pytest.mark.parametrize(
    ("partial", "every", "frames"), [("drop", 1, [0, 1]), ("keep", 1, [0, 1, 2]), ("keep", 2, [0, 2]), ("drop", 2, [0])]
)
def test_frames_of_a_dynamic_scan(partial: Any, every: int, frames: list[int], caplog: pytest.LogCaptureFixture) -> None:
    case = make_case(values(SHAPE), "azx")
    with caplog.at_level(logging.WARNING, "curate_tomo"):
        table = SinogramFrames(frame_angles=4, partial=partial, every=every).find(case, context())
    assert table.attributes["frame"].tolist() == [frame for frame in frames for _ in range(5)]
    assert table.attributes["row"].tolist() == list(range(5)) * len(frames)
    assert table.views[0].start[:, 0].tolist() == [4 * frame for frame in frames for _ in range(5)]
    assert table.views[0].stop[:, 0].max() == min(4 * frames[-1] + 4, 11)
    assert ("the last 3 of 11 angles fill no frame of 4" in caplog.text) == (partial == "drop")
    assert ("left_out" in table.attributes) == (partial == "drop")


def test_too_few_angles_for_a_frame() -> None:
    with pytest.raises(StepError, match="the scan has 11 angles, which fill no frame of 900"):
        SinogramFrames().find(make_case(values(SHAPE), "azx"), context())


def test_estimates_are_straight_lines() -> None:
    ramp = np.add.outer(np.arange(4) * 10, np.arange(9)).astype(np.float32)
    mask = np.zeros((4, 9), bool)
    mask[0, 3:6] = mask[1, :2] = mask[2] = True
    striped = np.where(mask, 99, ramp).astype(np.float32)
    batch = make_batch({"scan": striped[None], "mask": mask[None]}, "ax")
    after = EstimateClean(array="scan").apply(batch, context())
    expected = ramp.copy()
    expected[1, :2] = ramp[1, 2]
    expected[2] = 99
    np.testing.assert_array_equal(after.array("clean")[0], expected)
    np.testing.assert_array_equal(after.array("stripe")[0], striped)
    assert after.attributes["estimate"].tolist() == [True]
    assert sorted(after.arrays) == ["clean", "mask", "stripe"]
    none = EstimateClean(array="scan", clean=None).apply(batch, context())
    assert sorted(none.arrays) == ["mask", "stripe"]
    assert "estimate" not in none.attributes


def test_estimates_that_cannot_be_made() -> None:
    floats, mask = values((2, 4, 9), "float32"), np.zeros((2, 4, 9), bool)
    with pytest.raises(StepError, match=r"array 'scan' holds uint8 of shape \(4, 9\), its mask has shape \(4, 9\)"):
        EstimateClean(array="scan").apply(make_batch({"scan": values((2, 4, 9)), "mask": mask}, "ax"), context())
    with pytest.raises(StepError, match="have an array 'clean' already"):
        EstimateClean(array="scan").apply(make_batch({"scan": floats, "clean": floats, "mask": mask}, "ax"), context())
    with pytest.raises(StepError, match="no array 'mask'"):
        EstimateClean(array="scan").apply(make_batch({"scan": floats}, "ax"), context())


def test_stripes_join_a_mask_that_is_there() -> None:
    before = np.zeros((3, 16, 80), bool)
    before[:, :, 11] = True
    batch = make_batch({"scan": np.abs(values((3, 16, 80), "float32")), "mask": before}, "ax")
    step = AddStripes(array="scan", clean="clean", percentage=10, kind="full")
    after = step.apply(batch, context(statistics=1.0))
    assert sorted(after.arrays) == ["clean", "mask", "stripe"]
    mask = after.array("mask")
    assert mask.dtype == np.uint8
    assert (mask[:, :, 11] == 1).all()
    changed = after.array("stripe") != after.array("clean")
    assert (mask[changed] == 1).all()
    assert mask.sum() > before.sum()
    with pytest.raises(StepError, match="have an array 'mask' already"):
        step.apply(make_batch({"scan": batch.array("scan"), "mask": batch.array("scan")}, "ax"), context(statistics=1.0))
