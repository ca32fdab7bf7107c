"""The kit's helpers give what the runner would give."""

from __future__ import annotations

import numpy as np
import pytest

from curate_core.arrays import box, read
from curate_core.cut import cut
from curate_core.host import installed_plugins
from curate_core.testing import make_batch, make_case, make_image, values
from curate_core.testing.checks import assert_equal, fingerprint, snapshot, some_boxes, unchanged_files
from curate_core.testing.fixtures import AWKWARD, awkward, awkward_image  # noqa: F401
from curate_core.testing.making import without_pixels


@pytest.mark.parametrize(("axes", "shape"), [("yx", (3, 4)), ("zyx", (2, 3, 4)), ("zyxc", (2, 3, 4, 3)), ("cyx", (2, 3, 4)), ("x", (5,))])
@pytest.mark.parametrize("first", [0, 2])
def test_a_batch_is_what_the_runner_cuts(axes, shape, first):
    """Truth: the runner's own cutting of the batch's case at the batch's ROIs."""
    stack = values((4, *shape), "uint16")
    spacing = [1.5, 2.5, 3.5][: sum(axis in "xyz" for axis in axes)]
    batch = make_batch({"ct": stack, "pet": stack // 2}, axes, spacing, first=first, attributes={"score": np.arange(4.0)})
    truth = cut(batch.case, batch.rois, batch.ids, batch.rows)
    assert batch.ids == truth.ids
    assert batch.rows.tolist() == list(range(first, first + 4))
    for name in ("ct", "pet"):
        assert_equal(batch.array(name), truth.array(name), name)
        assert [batch.grids[name](i) for i in range(4)] == [truth.grids[name](i) for i in range(4)]
    assert batch.sample_attributes(2) == truth.sample_attributes(2) == {"score": 2.0}
    with pytest.raises(ValueError, match="read-only"):
        batch.array("ct")[...] = 0


def test_batches_of_one_case_have_other_rois():
    ids = [make_batch(values((3, 2, 2)), first=first).ids for first in (0, 3)]
    assert not set(ids[0]) & set(ids[1])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", ">u2", "int64", "uint64", "float16", ">f4", "float64"])
def test_values(dtype):
    made = values((4, 5), dtype)
    assert made.dtype == np.dtype(dtype)
    assert made.shape == (4, 5)
    assert len(np.unique(made)) > 1
    assert_equal(values((4, 5), dtype), made, "again")
    assert not np.array_equal(values((4, 5), dtype, seed=1), made)
    with pytest.raises(ValueError, match="read-only"):
        made[0] = 0
    if made.dtype.kind in "iu":
        assert (made.min(), made.max()) == (np.iinfo(dtype).min, np.iinfo(dtype).max)


def test_cases_and_images():
    case = make_case({"ct": values((2, 3)), "pet": values((2, 3))}, spacing=(2, 1), split="train")
    assert list(case.images()) == ["ct", "pet"]
    assert dict(case.attributes) == {"split": "train"}
    assert (case.image("ct").grid.axes, case.image("ct").grid.spacing, case.image("ct").grid.unit) == ("yx", (2.0, 1.0), "nm")
    assert not make_image(values((2, 3, 4))).grid.calibrated


def test_awkward_images(awkward_image):  # noqa: F811
    assert read(awkward_image.array).shape == awkward_image.grid.shape


def test_the_awkward_are_of_every_kind():
    images = [awkward(what) for what in AWKWARD]
    assert {image.dtype.byteorder for image in images} >= {"|", "=", ">"}
    assert len({image.grid.axes for image in images}) >= 5
    assert {image.grid.calibrated for image in images} == {True, False}
    assert any(1 in image.grid.shape for image in images)


def test_pixels_can_be_forbidden():
    batch = without_pixels(make_batch(values((3, 4, 4))), "no pixels here")
    for act in (lambda: batch.array(), lambda: read(batch.case.image().array), lambda: batch.take([0, 1]).array()):
        with pytest.raises(AssertionError, match="no pixels here"):
            act()
    assert len(batch) == 3


def test_boxes_lie_inside_and_are_not_empty():
    for shape in ((1,), (1, 1, 1), (5, 7, 11), (2, 3, 4, 5)):
        boxes = some_boxes(shape)
        assert boxes[0] == box([0] * len(shape), shape)
        assert all(0 <= s.start < s.stop <= n for where in boxes for s, n in zip(where, shape, strict=True))


def test_fingerprints_tell_values_apart():
    a = np.arange(6)
    same = [fingerprint(v) for v in (a, a.copy(), np.arange(12)[::2] // 2)]
    assert len(set(same)) == 1
    different = [a, a.reshape(2, 3), a.astype(np.int32), a + 1, [a], {"a": a}, np.ma.MaskedArray(a, a == 3), make_case(a), "a", None]
    assert len({fingerprint(v) for v in different}) == len(different)


def test_files_that_change_are_seen(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    with unchanged_files(tmp_path, "nobody"):
        snapshot(tmp_path)
    for act, message in [
        (lambda: (tmp_path / "b").write_bytes(b""), "somebody left files beside its source: b"),
        (lambda: (tmp_path / "a").write_bytes(b"2"), r"somebody changed source files \(bytes or modification time\): a"),
        (lambda: (tmp_path / "b").unlink(), "somebody removed source files: b"),
    ]:
        with pytest.raises(AssertionError, match=message), unchanged_files(tmp_path, "somebody"):
            act()


def test_an_isolated_host(isolated_host, fake_plugin):
    source = "from curate_core import Provider, hookimpl\nCURATE_HOOK_API = 1\n"
    fake_plugin("curate-aa", plugin=source)
    fake_plugin("curate-ab", plugin=source)
    assert {"curate-aa", "curate-ab"} <= {entry.distribution for entry in installed_plugins()}
    assert [plugin.distribution for plugin in isolated_host().plugins] == ["curate-core"]
    assert [plugin.distribution for plugin in isolated_host("curate-ab").plugins] == ["curate-core", "curate-ab"]


def test_truth_values_are_bytes_of_one():
    """Others are equal to them, and become other bytes in files."""
    right = np.array([[False, True], [True, False]])
    assert_equal(right.T, right, "mask")
    with pytest.raises(AssertionError, match="mask: a true value is the byte 255"):
        assert_equal((right.view(np.uint8) * 255).view(np.bool_), right, "mask")
