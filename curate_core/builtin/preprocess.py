"""Changes of whole layers that are lazy: nothing is read before it is cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core.arrays import Box, CropArray, LazyArray, MapArray, NDArray, TakeArray, TransposeArray, absent, read
from curate_core.errors import StepError
from curate_core.kinds import Context, Preprocessor
from curate_core.model import Case, Image
from curate_core.options import option

LUMINANCE = (19595, 38470, 7471)
"""ITU-R BT.601 weights of red, green and blue in 1/65536, as Pillow's mode L has them; they add up to 65536."""


class _Luminance(LazyArray):
    """Brightness of colour voxels: exact integers for integer types, rounded half up; float64 sums for floats."""

    def __init__(self, base: LazyArray, axis: int) -> None:
        self.base, self.axis = base, axis
        self.shape = (*base.shape[:axis], *base.shape[axis + 1 :])
        self.dtype = np.dtype(base.dtype)

    def read_box(self, where: Box) -> NDArray:
        values = read(self.base, (*where[: self.axis], slice(0, 3), *where[self.axis :]))
        channels = [values.take(i, self.axis) for i in range(3)]
        if self.dtype.kind == "f":
            mixed = sum(weight / 65536 * channel.astype(np.float64) for weight, channel in zip(LUMINANCE, channels, strict=True))
            return np.asarray(mixed).astype(self.dtype)
        total = sum(weight * channel.astype(np.int64) for weight, channel in zip(LUMINANCE, channels, strict=True))
        return np.asarray((total + 0x8000) >> 16).astype(self.dtype)

    def absent(self, where: Box) -> float:
        return absent(self.base, (*where[: self.axis], slice(0, 3), *where[self.axis :]))


@frozen
class PickChannel(Preprocessor):
    """Keep one channel, or the luminance.

    A layer without a channel axis ``c`` passes as it is.

    Example::

        "preprocess": [{"use": "pick-channel", "channel": "luminance"}]
    """

    version: ClassVar[int] = 1
    channel: int | str = option(doc='Index of the channel, or "luminance".', default=0, ge=0, choices=("luminance",))
    layers: tuple[str, ...] | None = option(doc="Layers to change; null: all images.", default=None)

    def apply(self, case: Case, context: Context) -> Case:
        return case.with_layers({name: self._pick(image, name) for name, image in case.images(self.layers).items()})

    def _pick(self, image: Image, name: str) -> Image:
        if "c" not in image.grid.axes:
            return image
        axis = image.grid.axes.index("c")
        count = image.grid.shape[axis]
        grid = image.grid.drop(axis)
        if self.channel == "luminance":
            if count < 3:
                return image.with_array(TakeArray(image.array, 0, axis), grid, channel=0)
            if image.dtype.kind not in "uif" or image.dtype.itemsize > 4:
                message = f"the luminance of {image.dtype} voxels is not defined (layer {name!r})"
                raise StepError(message, hint="pick a channel by its index")
            return image.with_array(_Luminance(image.array, axis), grid, channel="luminance")  # type: ignore[arg-type]
        assert isinstance(self.channel, int)
        if self.channel >= count:
            message = f"layer {name!r} has {count} channels, there is no channel {self.channel}"
            raise StepError(message, hint=f"the last is {count - 1}")
        return image.with_array(TakeArray(image.array, self.channel, axis), grid, channel=self.channel)


def inverted(values: NDArray) -> NDArray:
    """Integers: reflected within their type's range (exact). Booleans: not. Floats: 1 - value."""
    if values.dtype.kind in "ub":
        return np.invert(values)
    return np.invert(values) if values.dtype.kind == "i" else (1 - values).astype(values.dtype)


@frozen
class Invert(Preprocessor):
    """Swap dark and bright.

    Unsigned integers become maximum - value, signed ones -1 - value, which reflects them within their range; floats, taken to lie within
    0..1, become 1 - value.

    Example::

        "preprocess": [{"use": "invert", "when": {"invert": true}}]
    """

    version: ClassVar[int] = 1
    layers: tuple[str, ...] | None = option(doc="Layers to change; null: all images.", default=None)

    def apply(self, case: Case, context: Context) -> Case:
        changed = {}
        for name, image in case.images(self.layers).items():
            if image.dtype.kind not in "biuf":
                message = f"voxels of type {image.dtype} have no dark and bright (layer {name!r})"
                raise StepError(message)
            changed[name] = image.with_array(MapArray(image.array, inverted, image.dtype), inverted=True)
        return case.with_layers(changed)


@frozen
class Crop(Preprocessor):
    """Keep a box of each layer.

    Give ``start`` and ``stop`` by the letters of the axes; an axis left out is kept whole, negative numbers count from the end.

    Example::

        "preprocess": [{"use": "crop", "start": {"z": 10}, "stop": {"z": -10, "y": 512}}]
    """

    version: ClassVar[int] = 1
    start: dict[str, int] = option(doc="First voxel to keep, by axis.", factory=dict)
    stop: dict[str, int] = option(doc="First voxel not to keep, by axis.", factory=dict)
    layers: tuple[str, ...] | None = option(doc="Layers to change; null: all images.", default=None)

    def apply(self, case: Case, context: Context) -> Case:
        return case.with_layers({name: self._crop(image, name) for name, image in case.images(self.layers).items()})

    def _crop(self, image: Image, name: str) -> Image:
        grid = image.grid
        for axis in (*self.start, *self.stop):
            if axis not in grid.axes:
                message = f"layer {name!r} has the axes {grid.axes!r}, not {axis!r}"
                raise StepError(message)
        start = [_absolute(self.start.get(axis, 0), n) for axis, n in zip(grid.axes, grid.shape, strict=True)]
        stop = [_absolute(self.stop.get(axis, n), n) for axis, n in zip(grid.axes, grid.shape, strict=True)]
        if any(not 0 <= a < b <= n for a, b, n in zip(start, stop, grid.shape, strict=True)):
            message = f"the box {start} to {stop} is empty or leaves layer {name!r} of shape {list(grid.shape)} ({grid.axes})"
            raise StepError(message)
        return image.with_array(CropArray(image.array, start, stop), grid.crop(start, stop))


def _absolute(value: int, length: int) -> int:
    return value + length if value < 0 else value


@frozen
class Transpose(Preprocessor):
    """Put the axes in another order.

    Example::

        "preprocess": [{"use": "transpose", "axes": "xyz"}]
    """

    version: ClassVar[int] = 1
    axes: str = option(doc="All letters of the layer's axes, in the order wanted.", min_length=1)
    layers: tuple[str, ...] | None = option(doc="Layers to change; null: all images.", default=None)

    def apply(self, case: Case, context: Context) -> Case:
        changed: dict[str, Image] = {}
        images: Mapping[str, Image] = case.images(self.layers)
        for name, image in images.items():
            if sorted(self.axes) != sorted(image.grid.axes):
                message = f"layer {name!r} has the axes {image.grid.axes!r}, which {self.axes!r} does not reorder"
                raise StepError(message)
            order = [image.grid.axes.index(axis) for axis in self.axes]
            changed[name] = image.with_array(TransposeArray(image.array, order), image.grid.transpose(order))
        return case.with_layers(changed)
