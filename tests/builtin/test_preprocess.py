"""Changes of whole layers."""

import numpy as np
import pytest
import skimage.data
from PIL import Image as Pillow

from curate_core.builtin.preprocess import Crop, Invert, PickChannel, Transpose, inverted
from curate_core.errors import StepError
from curate_core.model import Case
from curate_core.structure import Mistakes, structure
from curate_core.testing import context, make_case, make_image, values
from curate_core.testing.making import Untouchable


def applied(cls, array, letters="", spacing=None, **options):
    return structure(options, cls, None).apply(make_case(array, letters, spacing), context()).image()


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_luminance_is_pillows_mode_l(name):
    colour = getattr(skimage.data, name)()
    image = applied(PickChannel, colour, "yxc", channel="luminance")
    np.testing.assert_array_equal(image.array[...], np.asarray(Pillow.fromarray(colour).convert("L")))
    assert (image.dtype, image.grid.axes, image.notes["channel"]) == (np.uint8, "yx", "luminance")


def test_luminance_of_many_colours_and_any_box():
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    colour = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(len(steps) ** 2, len(steps), 3)
    truth = np.asarray(Pillow.fromarray(colour).convert("L"))
    array = applied(PickChannel, colour, "yxc", channel="luminance").array
    np.testing.assert_array_equal(array[...], truth)
    np.testing.assert_array_equal(array[7:300, 3], truth[7:300, 3])


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_luminance_wherever_the_channels_are(axis):
    colour = values((2, 5, 6, 4), "uint8")  # a fourth channel, alpha, does not count
    moved = np.moveaxis(colour, -1, axis)
    axes = "zyx"[:axis] + "c" + "zyx"[axis:]
    truth = np.stack([np.asarray(Pillow.fromarray(np.ascontiguousarray(plane[..., :3])).convert("L")) for plane in colour])
    image = applied(PickChannel, moved, axes, channel="luminance")
    np.testing.assert_array_equal(image.array[...], truth)
    assert image.grid.axes == "zyx"


@pytest.mark.parametrize("dtype", ["uint16", ">u2", "int16", "uint32", "int32"])
def test_luminance_of_wide_integers_is_exact(dtype):
    colour = values((9, 8, 3), dtype)
    weights = (19595, 38470, 7471)
    truth = [sum(w * int(v) for w, v in zip(weights, voxel, strict=True)) + 32768 >> 16 for voxel in colour.reshape(-1, 3)]
    image = applied(PickChannel, colour, "yxc", channel="luminance")
    assert image.dtype == np.dtype(dtype)
    assert image.array[...].reshape(-1).tolist() == truth


@pytest.mark.parametrize("dtype", ["float32", ">f4"])
def test_luminance_of_floats(dtype):
    colour = values((9, 8, 3), dtype)
    image = applied(PickChannel, colour, "yxc", channel="luminance")
    np.testing.assert_allclose(image.array[...], colour.astype(float) @ [0.299, 0.587, 0.114], rtol=0, atol=2e-3)
    assert image.array[...].dtype == np.dtype(dtype)


@pytest.mark.parametrize(("dtype", "name"), [("float64", "float64"), ("complex64", "complex64"), ("bool", "bool"), ("int64", "int64")])
def test_luminance_of_other_types_is_not_defined(dtype, name):
    with pytest.raises(StepError) as caught:
        applied(PickChannel, np.zeros((2, 2, 3), dtype), "yxc", channel="luminance")
    assert str(caught.value) == f"the luminance of {name} voxels is not defined (layer 'image') (pick a channel by its index)"


@pytest.mark.parametrize("count", [1, 2])
def test_luminance_of_grey_layers_is_their_first_channel(count):
    array = values((4, 5, count))
    image = applied(PickChannel, array, "yxc", channel="luminance")
    np.testing.assert_array_equal(image.array[...], array[..., 0])
    assert image.notes["channel"] == 0


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_channel_by_its_index(channel):
    array = values((3, 4, 5))
    image = applied(PickChannel, array, "cyx", [2, 1], channel=channel)
    np.testing.assert_array_equal(image.array[...], array[channel])
    assert (image.grid.axes, image.grid.spacing, image.notes["channel"]) == ("yx", (2, 1), channel)


def test_a_layer_without_channels_passes():
    array = values((4, 5))
    assert applied(PickChannel, array, channel=3).array is array


def test_a_channel_that_is_not_there():
    with pytest.raises(StepError, match=r"^layer 'image' has 3 channels, there is no channel 3 \(the last is 2\)$"):
        applied(PickChannel, values((4, 5, 3)), "yxc", channel=3)
    for wrong, message in (
        (-1, "-1 must be at least 0"),
        ("red", "'red' is not one of 'luminance'"),
        (True, "expected a whole number or text"),
    ):
        with pytest.raises(Mistakes, match=message):
            structure({"channel": wrong}, PickChannel, None)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u4", "uint64"])
def test_inverted_unsigned_integers(dtype):
    array = values((5, 6), dtype)
    top = int(np.iinfo(dtype).max)
    image = applied(Invert, array)
    assert image.array[...].reshape(-1).tolist() == [top - int(v) for v in array.flat]
    assert image.dtype == image.array[...].dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize("dtype", ["int8", ">i2", "int32", "int64"])
def test_inverted_signed_integers(dtype):
    array = values((5, 6), dtype)
    assert applied(Invert, array).array[...].reshape(-1).tolist() == [-1 - int(v) for v in array.flat]


def test_inverted_booleans_and_floats():
    np.testing.assert_array_equal(applied(Invert, np.array([[True, False]])).array[...], [[False, True]])
    for dtype in ("float16", "float32", ">f4", "float64"):
        array = np.array([[0, 0.25, 1]], dtype)
        got = applied(Invert, array).array[...]
        np.testing.assert_array_equal(got, [[1, 0.75, 0]])
        assert got.dtype == np.dtype(dtype).newbyteorder("=")


def test_inverting_twice_gives_back_what_was():
    for dtype in ("uint8", "int16", "bool", ">u2"):
        array = values((5, 6), dtype)
        np.testing.assert_array_equal(inverted(inverted(array)), array)


def test_complex_voxels_have_no_dark_and_bright():
    with pytest.raises(StepError, match=r"^voxels of type complex64 have no dark and bright \(layer 'image'\)$"):
        applied(Invert, np.zeros((2, 2), "complex64"))


def test_crop_by_letters():
    array = values((10, 20, 30))
    image = applied(Crop, array, "zyx", [40, 4, 5], start={"z": 2, "x": -10}, stop={"z": -3, "y": 7})
    np.testing.assert_array_equal(image.array[...], array[2:7, :7, 20:])
    np.testing.assert_array_equal(image.grid.world([0, 0, 0]), [20 * 5, 0, 2 * 40])
    assert image.grid.shape == (5, 7, 10)


def test_crop_takes_axes_that_are_not_spatial():
    array = values((4, 5, 6))
    np.testing.assert_array_equal(applied(Crop, array, "tyx", start={"t": 1}, stop={"t": 3}).array[...], array[1:3])


def test_crop_of_nothing_changes_nothing():
    array = values((3, 4))
    np.testing.assert_array_equal(applied(Crop, array).array[...], array)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"start": {"y": 4}}, "[4, 0] to [4, 5]"),
        ({"stop": {"x": 6}}, "[0, 0] to [4, 6]"),
        ({"start": {"x": -6}}, "[0, -1] to [4, 5]"),
        ({"start": {"x": 3}, "stop": {"x": 2}}, "[0, 3] to [4, 2]"),
        ({"stop": {"y": 0}}, "[0, 0] to [0, 5]"),
    ],
)
def test_boxes_that_are_empty_or_leave_the_layer(options, shown):
    with pytest.raises(StepError) as caught:
        applied(Crop, values((4, 5)), **options)
    assert str(caught.value) == f"the box {shown} is empty or leaves layer 'image' of shape [4, 5] (yx)"


@pytest.mark.parametrize("key", ["start", "stop"])
def test_axes_that_are_not_there(key):
    with pytest.raises(StepError, match=r"^layer 'image' has the axes 'yx', not 'z'$"):
        applied(Crop, values((4, 5)), **{key: {"z": 1}})


@pytest.mark.parametrize("axes", ["xyz", "zxy", "yxz", "zyx"])
def test_transpose_moves_voxels_and_places(axes):
    array = values((3, 4, 5))
    image = applied(Transpose, array, "zyx", [30, 20, 10], axes=axes)
    order = ["zyx".index(axis) for axis in axes]
    np.testing.assert_array_equal(image.array[...], array.transpose(order))
    assert (image.grid.axes, image.grid.shape) == (axes, array.transpose(order).shape)
    index = {"z": 2, "y": 1, "x": 3}
    np.testing.assert_array_equal(image.grid.world([index[axis] for axis in axes]), [30, 20, 60])


def test_transpose_with_channels():
    array = values((3, 4, 5))
    np.testing.assert_array_equal(applied(Transpose, array, "yxc", axes="cyx").array[...], array.transpose(2, 0, 1))


@pytest.mark.parametrize("axes", ["zy", "zyxc", "zzyx", "abc"])
def test_transpose_needs_all_axes(axes):
    with pytest.raises(StepError, match=rf"^layer 'image' has the axes 'zyx', which '{axes}' does not reorder$"):
        applied(Transpose, values((3, 4, 5)), axes=axes)


STEPS = [(PickChannel, {}), (Invert, {}), (Crop, {"start": {"y": 1}}), (Transpose, {"axes": "xyc"})]


@pytest.mark.parametrize(("cls", "options"), STEPS)
def test_nothing_is_read_before_it_is_asked_for(cls, options):
    untouchable = make_image(Untouchable((4, 5, 3), "uint8", "voxels were read"), "yxc")
    done = structure(options, cls, None).apply(Case("case", {"image": untouchable}), context())
    with pytest.raises(AssertionError, match="voxels were read"):
        done.image().array[...]


@pytest.mark.parametrize(("cls", "options"), STEPS)
def test_only_the_named_layers_change_and_unknown_ones_are_named(cls, options):
    case = make_case({"a": values((4, 5, 3)), "b": values((4, 5, 3), seed=1)}, "yxc")
    done = structure({**options, "layers": ["b"]}, cls, None).apply(case, context())
    assert done.layers["a"] is case.layers["a"]
    assert done.layers["b"] is not case.layers["b"]
    with pytest.raises(StepError, match="there is no image layer 'c', only a, b"):
        structure({**options, "layers": ["c"]}, cls, None).apply(case, context())
