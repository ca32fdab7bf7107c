"""Single steps over pairs: what they refuse, what they leave alone, the files they end in."""

from typing import ClassVar

import h5py
import numpy as np
import pytest
from curate_align.blockmatching import BlockMatchingField
from curate_align.fieldmodel import ModelField
from curate_align.following import FollowField
from curate_align.matching import BlockMatching
from curate_align.referencing import NormalizeByReference
from curate_align.warping import Warp
from curate_align.writer import PairHdf5Writer

from curate_core import Case, Context, Grid, Image, RoiTable, View, Worker
from curate_core.cut import cut
from curate_core.errors import RequestError, StepError
from curate_core.testing import TransformTests, WriterTests, values


def pairs(starts=((1, 8, 8), (2, 20, 12)), size=(16, 20), shape=(5, 64, 72), field=0.0, mip=2, mask=None, image=None):
    """A batch of pairs (z, z + 1) of layers image, field and mask on one grid."""
    grid = Grid.from_spacing(shape, "zyx", (40, 8 * 2**mip, 8 * 2**mip), "nm")
    pixels = np.random.default_rng(0).integers(1, 255, shape, np.uint8) if image is None else image
    vectors = np.broadcast_to(np.float32(field), (*shape, 2)).copy()
    hidden = np.zeros(shape, bool) if mask is None else mask
    layers = {
        "image": Image(pixels, grid, {"mip": mip}),
        "field": Image(vectors, Grid.from_spacing(vectors.shape, "zyxc", grid.spacing, "nm"), {"mip": mip}),
        "mask": Image(hidden, grid),
    }
    start = np.array(starts)
    views = [
        View(start + [z, 0, 0], start + [z + 1, *size], "zyx", ("image", "field", "mask"), name, np.zeros(len(start)))
        for z, name in enumerate(("src", "tgt"))
    ]
    table = RoiTable(views, {"pair": np.arange(len(start))})
    return cut(Case("site", layers), table, table.ids("site"), np.arange(len(start)))


def context():
    return Context("step", 0, "site")


# follow-field


def test_the_translation_is_rounded_down_and_what_is_left_stays():
    batch = pairs(field=[37.0, -21.0])  # of mip 0; pixels are 4 of those
    after = FollowField(step_mip=4, others=("mask",)).apply(batch, context())
    pixels = batch.case.image("image").array
    assert after.attributes["src_dy"].tolist() == after.attributes["tgt_dy"].tolist() == [32, 32]
    assert after.attributes["src_dx"].tolist() == [-32, -32]
    np.testing.assert_array_equal(after.arrays["src.image"][0], pixels[1, 8 + 8 : 24 + 8, 8 - 8 : 28 - 8])
    np.testing.assert_array_equal(after.arrays["tgt.image"][1], pixels[3, 20 + 8 : 36 + 8, 12 - 8 : 32 - 8])
    np.testing.assert_array_equal(after.arrays["src.field"][1, :, 3, 4], np.float32([5 / 4, 11 / 4]))
    assert after.arrays["src.field"].shape == (2, 2, 16, 20)
    assert after.grids["src.image"](0).world((0, 0)).tolist() == [0.0, 16 * 32.0, 40.0]
    assert after.grids["src.field"](0).axes == "cyx"
    fine = FollowField(step_mip=0).apply(
        pairs(field=[3.0, -1.0]), context()
    )  # finer than a pixel: the box begins in the pixel that holds it
    assert fine.attributes["src_dy"].tolist() == [3, 3]
    np.testing.assert_array_equal(fine.arrays["src.image"][0], pixels[1, 8:24, 7:27])


def test_the_translation_comes_from_the_reference_region():
    batch = pairs()
    field = batch.case.image("field").array
    field[1, 8:24, 8:28] = [64.0, 0.0]  # the sample alone
    assert FollowField(step_mip=2).apply(batch, context()).attributes["src_dy"][0] == 64
    wide = FollowField(step_mip=2, reference_size=(32, 40)).apply(batch, context())
    assert wide.attributes["src_dy"][0] == 64 // 4
    clipped = FollowField(step_mip=2, reference_size=(48, 20)).apply(batch, context())  # rows -8 to 40 of which 0 to 40 are there
    assert clipped.attributes["src_dy"][0] == np.floor(64 * 16 / 40 / 4) * 4


def test_pairs_that_cannot_follow_are_refused_alone():
    batch = pairs()
    field = batch.case.image("field").array
    field[1] = [0.0, -36.0]
    given = context()
    FollowField(step_mip=2).apply(batch, given)
    assert given.rejected == {0: "src, moved by its field by [0, -36] pixels of mip 0 to z 1, y 8 to 24, x -1 to 19, leaves the layer"}
    field[1], field[3] = 0.0, np.nan
    given = context()
    after = FollowField().apply(batch, given)
    assert list(given.rejected) == [1]
    assert "holds no finite vector" in given.rejected[1]
    assert np.isfinite(after.arrays["src.field"][0]).all()


def test_what_follow_field_wants_of_its_layers():
    batch = pairs()
    with pytest.raises(StepError, match="there is no image layer 'flow', only image, field, mask"):
        FollowField(field="flow").apply(batch, context())
    with pytest.raises(StepError, match=r"layer 'mask' has the shape \(5, 64, 72\) \(zyx\); a field has two channels, c"):
        FollowField(field="mask").apply(batch, context())
    with pytest.raises(StepError, match="the samples have no array old.image, only src.image"):
        FollowField(views=("old",)).apply(batch, context())
    other = Grid.from_spacing((5, 64, 36, 2), "zyxc", (40, 32, 64), "nm")
    layers = {**batch.case.layers, "field": Image(np.zeros(other.shape, "f4"), other)}
    moved = cut(Case("site", layers), RoiTable.boxes([[0, 0, 0]], [[1, 8, 8]], "zyx", layers=["image"]), ["a"], np.arange(1))
    with pytest.raises(StepError, match="'image' and 'field' lie on different grids.*resample one onto the other"):
        FollowField(views=("image",)).apply(moved, context())


# normalize-by-reference


def test_masked_and_black_pixels_neither_count_nor_stay():
    image = np.random.default_rng(1).integers(50, 200, (5, 64, 72)).astype(np.uint8)
    image[1, 10, 10:14] = 0
    mask = np.zeros(image.shape, bool)
    mask[1, 20:24] = True
    image[1, 20:24] = 255
    batch = pairs(image=image, mask=mask)
    after = NormalizeByReference(mask="mask", reference_size=(40, 44)).apply(batch, context())
    region = image[1, 0:36, 0:40].astype(float)  # rows -4 to 36, columns -4 to 40
    seen = region[(region > 0) & ~mask[1, 0:36, 0:40]]
    expected = (image[1, 8:24, 8:28].astype(float) - seen.mean()) / seen.std(ddof=1)
    expected[2, 2:6] = 0
    expected[12:16] = 0
    np.testing.assert_allclose(after.arrays["src.image"][0], expected, atol=1e-5)
    assert after.arrays["src.image"].dtype == np.float32


def test_a_reference_of_another_mip():
    batch = pairs()
    coarse = Grid.from_spacing((5, 32, 36), "zyx", (40, 64, 64), "nm", (16, 16, 0))  # 2 x 2 pixels: centres half a pixel further
    pixels = np.random.default_rng(2).integers(1, 99, coarse.shape, np.uint8)
    hidden = pixels > 90
    layers = {**batch.case.layers, "reference": Image(pixels, coarse), "reference_mask": Image(hidden, coarse)}
    batch = cut(Case("site", layers), batch.rois, batch.ids, batch.rows)
    step = NormalizeByReference(reference="reference", reference_mask="reference_mask", reference_size=(12, 10))
    after = step.apply(batch, context())
    region = pixels[1, 2:14, 4:14].astype(float)  # the centre (16, 18) is (8, 9) of it
    seen = region[region <= 90]
    expected = (batch.case.image("image").array[1, 8:24, 8:28] - seen.mean()) / seen.std(ddof=1)
    np.testing.assert_allclose(after.arrays["src.image"][0], expected, atol=1e-5)
    with pytest.raises(StepError, match=r"the mask 'mask' is 5 x 64 x 72 .* the reference 5 x 32 x 36 .*mask-union"):
        NormalizeByReference(reference="reference", reference_mask="mask", reference_size=(12, 10)).apply(batch, context())
    with pytest.raises(ValueError, match="reference_size: a reference of its own"):
        NormalizeByReference(reference="reference")
    elsewhere = Grid.from_spacing((5, 32, 36), "zyx", (40, 64, 64), "nm", (1e6, 0, 0))
    layers["reference"] = Image(pixels, elsewhere)
    given = context()
    batch = cut(Case("site", layers), batch.rois, batch.ids, batch.rows)
    NormalizeByReference(reference="reference", reference_size=(12, 10)).apply(batch, given)
    assert given.rejected[0] == "tgt: the reference lies outside of its layer (do both layers lie in one place?)"


def test_blank_sections_and_hidden_references_are_refused_and_never_nan():
    image = np.random.default_rng(1).integers(50, 200, (5, 64, 72)).astype(np.uint8)
    image[1], image[3] = 0, 7
    mask = np.zeros(image.shape, bool)
    mask[2] = True
    given = context()
    after = NormalizeByReference(mask="mask").apply(pairs(((1, 8, 8), (3, 8, 8)), image=image, mask=mask), given)
    assert list(given.rejected) == [0]
    assert "the reference region, 16 x 20 pixels, is wholly masked" in given.rejected[0]  # the last word is that of tgt
    assert (after.arrays["src.image"][1] == 0).all(), "constant: the variance counts as 1"
    assert np.isfinite(after.arrays["src.image"]).all()


# warp


def test_warp_wants_a_field_of_its_image():
    batch = pairs()
    with pytest.raises(StepError, match=r"the samples have no array 'tgt.flow', only .*follow-field"):
        Warp(field="flow").apply(batch, context())
    with pytest.raises(StepError, match=r"tgt.mask has the shape \(16, 20\); an image of \(16, 20\) needs \(2, 16, 20\)"):
        Warp(field="mask").apply(batch, context())
    moved = batch.with_array("tgt.field", np.broadcast_to(np.float32([1, -2])[:, None, None], (2, 2, 16, 20)), like="tgt.image")
    after = Warp().apply(moved, context()).arrays["tgt.image"]
    np.testing.assert_array_equal(after[:, :-1, 2:], batch.arrays["tgt.image"][:, 1:, :-2].astype(np.float32))
    assert (after[:, -1] == 0).all()
    assert (after[:, :, :2] == 0).all()


# pair-hdf5


def ready(count=3):
    batch = pairs(tuple((1, 4 * i, 5 * i) for i in range(count)), field=[1.234567, -7.0])
    return FollowField(step_mip=6).apply(batch, context()) if count else batch


class TestPairHdf5Writer(WriterTests):
    component = PairHdf5Writer
    options: ClassVar = {"images": "images.h5", "field": "fields.h5"}
    dtypes: ClassVar = ("float32",)
    arrays: ClassVar = ("src", "tgt", "src.field")

    def batch(self, dtype=None, *, count=3, first=0, case="case"):
        made = super().batch(dtype, count=count, first=first, case=case)
        field = values((count, 2, *self.shape), "float32", ("field", first, case))
        grid = made.grids["src"]
        return made.without_arrays(["src.field"]).with_array("src.field", field, grid=lambda row: grid(row).add("c", 2, 0))

    def expected(self, batch):
        images = np.stack([batch.array("src"), batch.array("tgt")], axis=1).swapaxes(2, 3)
        images = images.astype(np.float32)  # what float32 does not hold is refused
        return {"images": images, "field": batch.array("src.field").swapaxes(2, 3)}


def test_fields_are_lossless_unless_decimals_are_asked_for(tmp_path):
    batch = ready()
    exact = batch.arrays["src.field"].swapaxes(2, 3)
    for decimals in (None, 2):
        part = tmp_path / str(decimals)
        writer = PairHdf5Writer(images=None, field="f.h5", decimals=decimals)
        with writer.open(part, context()) as session:
            session.write(batch)
        with h5py.File(part / "f.h5") as file:
            assert file["main"].scaleoffset == decimals
            error = np.abs(file["main"][:] - exact).max()
        assert error == 0 if decimals is None else 0 < error <= 0.01


def test_what_the_writer_refuses(tmp_path):
    for options, text in (
        ({"images": None}, "neither images nor field names a file"),
        ({"images": "a.h5", "field": "a.h5"}, "images and field share the file 'a.h5'"),
        ({"images": "a.txt"}, "'a.txt' must end in .h5 or .hdf5"),
    ):
        with pytest.raises(ValueError, match=text):
            PairHdf5Writer(**options)
    batch = ready()
    for options, given, text in (
        ({"field": "f.h5"}, pairs(), r"no array 'src.field' of .*|src.field has the shape"),
        ({"field": "f.h5", "field_array": "flow"}, batch, "no array 'flow', only .*follow-field"),
        ({"image": "field"}, batch, "the images of a pair are planes of one shape, these are src.field"),
        ({"views": ("src", "old")}, batch, "no array old.image"),
        ({"field": "f.h5", "field_array": "src.mask"}, batch, r"src.mask has the shape \(16, 20\), a field has \(2, y, x\)"),
    ):
        with pytest.raises(StepError, match=text), PairHdf5Writer(**options).open(tmp_path / "part", context()) as session:
            session.write(given)


# fields


def test_the_defaults_are_those_of_the_algorithm():
    ours, theirs = BlockMatchingField(), BlockMatching()
    for name in ("block", "spacing", "levels", "max_displacement", "smoothness"):
        assert getattr(ours, name) == getattr(theirs, name)


class TestBlockMatching(TransformTests):
    component = BlockMatchingField
    options: ClassVar = {"src": "image", "tgt": "image"}
    shape: ClassVar = (48, 40)


def test_fields_for_another_mip_are_finer_and_longer():
    rng = np.random.default_rng(3)
    image = np.zeros((5, 64, 72), np.uint8)
    image[1] = np.kron(rng.integers(20, 250, (16, 18)), np.ones((4, 4)))
    image[2] = np.roll(image[1], (3, -2), (0, 1))
    batch = pairs(((1, 0, 0),), (64, 72), image=image)
    own = BlockMatchingField(src="src.image", tgt="tgt.image").apply(batch, context())
    found = own.arrays["field"][0, :, 20:44, 20:44]
    np.testing.assert_allclose(found[0], -3, atol=0.3)
    np.testing.assert_allclose(found[1], 2, atol=0.3)
    finer = BlockMatchingField(src="src.image", tgt="tgt.image", src_mip=6, dst_mip=4).apply(batch, context())
    assert finer.arrays["field"].shape == (1, 2, 256, 288)
    np.testing.assert_allclose(finer.arrays["field"][0, 0, 80:176, 80:176], -12, atol=1.2)
    one, other = own.grids["field"](0), finer.grids["field"](0)
    np.testing.assert_allclose(one.world((-0.5, -0.5)), other.world((-0.5, -0.5)))
    np.testing.assert_allclose(one.world((63.5, 71.5)), other.world((255.5, 287.5)))
    previous = np.broadcast_to(np.float32([-3, 2])[:, None, None], (1, 2, 64, 72))
    refined = BlockMatchingField(src="src.image", tgt="tgt.image", previous="p", max_displacement=1.0)
    again = refined.apply(batch.with_array("p", previous, like="src.image"), context()).arrays["field"]
    np.testing.assert_allclose(again[0, :, 20:44, 20:44], found, atol=0.2)


def test_what_generators_of_fields_refuse():
    batch = pairs()
    cases = (
        ({"previous": "src.mask"}, r"src.mask has the shape \(16, 20\); beside images of \(16, 20\) it is \(2, 16, 20\)"),
        ({"tgt": "tgt.field"}, r"tgt.field has the shape \(16, 20, 2\); images are planes"),
        ({"src": "old"}, "no array 'old'"),
    )
    for options, text in cases:
        with pytest.raises(StepError, match=text):
            BlockMatchingField(**{"src": "src.image", "tgt": "tgt.image", **options}).apply(batch, context())
    with pytest.raises(ValueError, match="dst_mip: it has a meaning beside src_mip"):
        BlockMatchingField(dst_mip=3)
    with pytest.raises(ValueError, match="block: 33 must be even"):
        BlockMatchingField(block=33)


def test_where_a_model_is_looked_for(tmp_path):
    with pytest.raises(RequestError, match="there is no such model"):
        ModelField(model=tmp_path / "none.pt").file()
    with pytest.raises(RequestError, match="the model is a folder, of which stage and checkpoint_name choose"):
        ModelField(model=tmp_path).file()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "last.pt").touch()
    assert ModelField(model=tmp_path, stage=1, checkpoint_name="last").file() == tmp_path / "1" / "last.pt"
    with pytest.raises(RequestError, match="there is no checkpoint 'test' of stage 1.*the folder has 1/last.pt; files end in .pt2"):
        ModelField(model=tmp_path, stage=1, checkpoint_name="test").file()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_models_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")

    class Shift(torch.nn.Module):
        def forward(self, src, tgt, previous):
            return previous + torch.cat([torch.cumsum(src, -1), tgt], dim=1)

    class Wrong(torch.nn.Module):
        def forward(self, src, tgt, previous):
            return src

    plane = torch.zeros(1, 1, 20, 16)
    inputs = (plane, plane + 1, torch.zeros(1, 2, 20, 16))
    torch.jit.save(torch.jit.trace(Shift(), inputs), tmp_path / "shift.pt")
    torch.jit.save(torch.jit.trace(Wrong(), inputs), tmp_path / "wrong.pt")
    torch.export.save(torch.export.export(Shift(), inputs), tmp_path / "shift.pt2")
    (tmp_path / "rubbish.pt").write_bytes(b"rubbish")
    batch = pairs()
    src, tgt = (batch.arrays[name].astype(np.float32) for name in ("src.image", "tgt.image"))
    for name in ("shift.pt", "shift.pt2"):
        step = ModelField(src="src.image", tgt="tgt.image", model=tmp_path / name, device="cpu")
        given = Context("step", 0, "site", step.setup(Worker()))
        np.testing.assert_array_equal(step.apply(batch, given).arrays["field"], np.stack([np.cumsum(src, axis=1), tgt], axis=1))
        earlier = np.full((2, 2, 16, 20), 0.5, np.float32)
        step = ModelField(src="src.image", tgt="tgt.image", model=tmp_path / name, device="cpu", previous="p")
        found = step.apply(batch.with_array("p", earlier, like="src.image"), given).arrays["field"]
        np.testing.assert_array_equal(found, np.stack([np.cumsum(src, axis=1), tgt], axis=1) + 0.5)
    wrong = ModelField(src="src.image", tgt="tgt.image", model=tmp_path / "wrong.pt", device="cpu")
    with pytest.raises(StepError, match=r"a field of the shape \(1, 16, 20\) was made for images of \(16, 20\)"):
        wrong.apply(batch, Context("step", 0, "site", wrong.setup(Worker())))
    with pytest.raises(RequestError, match=r"rubbish.pt: this is no model that can be loaded"):
        ModelField(model=tmp_path / "rubbish.pt").setup(Worker())
    small = pairs(size=(8, 8))
    step = ModelField(src="src.image", tgt="tgt.image", model=tmp_path / "shift.pt2", device="cpu")
    with pytest.raises(StepError, match=r"the model fails for images of \(8, 8\)"):
        step.apply(small, Context("step", 0, "site", step.setup(Worker())))
