"""Attributes of ROIs by what a mask holds in them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from attrs import frozen

from curate_core import Case, NDArray, StepError, option, read
from curate_core.arrays import TransposeArray

AXES = "azx"
_SLAB = 64 << 20


@frozen
class Mark:
    """One of two words, by whether any pixel of a mask is set."""

    any: str = option(doc="Layer that is the mask.", min_length=1)
    true: str = option(doc="Value of the attribute where a pixel is set.", min_length=1)
    false: str = option(doc="Value where none is.", min_length=1)


def require_scan(case: Case, layers: tuple[str, ...]) -> tuple[int, int, int]:
    """The shape (angle, row, column) that all layers to be cut share.

    Raises:
        StepError: there are none, or they are no scans, or of different shapes.
    """
    images = case.images(layers or None)
    if not images:
        message = "the case has no image layer"
        raise StepError(message, where=f"case {case.id}")
    shapes: dict[str, tuple[int, ...]] = {}
    for name, image in images.items():
        if sorted(image.grid.axes) != sorted(AXES):
            message = f"layer {name!r} has the axes {image.grid.axes!r}, a scan has a (angle), x (column) and z (row)"
            raise StepError(message, where=f"case {case.id}", hint='name the scan under "layers"; "axes" of its reader names axes')
        shapes[name] = tuple(image.grid.shape[image.grid.axes.index(axis)] for axis in AXES)
    first, *others = shapes
    for name in others:
        if shapes[name] != shapes[first]:
            sizes = [" x ".join(map(str, shapes[layer])) for layer in (first, name)]
            message = f"layer {first!r} has {sizes[0]} angles, rows and columns, layer {name!r} {sizes[1]}"
            raise StepError(message, where=f"case {case.id}", hint="a mask must be of this very scan, before it is resized")
    angles, rows, columns = shapes[first]
    return angles, rows, columns


def mark_columns(case: Case, marks: Mapping[str, Mark], start: NDArray, stop: NDArray, shape: tuple[int, int, int]) -> dict[str, NDArray]:
    """Attribute columns: for each ROI, whether the mask has a pixel in it.

    Args:
        start, stop: (n, 3) int64 corners along angle, row and column; one row each, rows ascending.
        shape: of the scan that is cut.

    Raises:
        StepError: there is no such mask, or it is of another shape.
    """
    columns = {}
    for name, mark in marks.items():
        image = case.image(mark.any)
        if sorted(image.grid.axes) != sorted(AXES):
            message = f"the mask {mark.any!r} has the axes {image.grid.axes!r}, a scan has a (angle), x (column) and z (row)"
            raise StepError(message, where=f"case {case.id}", hint='"axes" of its reader names axes, such as "azx"')
        array = TransposeArray(image.array, [image.grid.axes.index(axis) for axis in AXES])
        if array.shape != shape:
            sizes = [" x ".join(map(str, one)) for one in (array.shape, shape)]
            message = f"the mask {mark.any!r} has {sizes[0]} angles, rows and columns, the scan {sizes[1]}"
            raise StepError(message, where=f"case {case.id}", hint="a mask must be of this very scan")
        columns[name] = np.where(_any(array, start, stop), mark.true, mark.false)
    return columns


def _any(mask: TransposeArray, start: NDArray, stop: NDArray) -> NDArray:
    """(n,) bool; the mask is read once, some rows at a time."""
    found = np.zeros(len(start), bool)
    angles, _, columns = mask.shape
    rows = max(1, _SLAB // max(1, angles * columns * mask.dtype.itemsize))
    first = 0
    while first < len(start):
        low = int(start[first, 1])
        last = int(np.searchsorted(start[:, 1], low + rows))
        high = int(start[last - 1, 1]) + 1
        slab = read(mask, (slice(0, angles), slice(low, high), slice(0, columns)))
        for i in range(first, last):
            (a0, z, x0), (a1, _, x1) = start[i], stop[i]
            found[i] = bool(slab[a0:a1, z - low, x0:x1].any())
        first = last
    return found
