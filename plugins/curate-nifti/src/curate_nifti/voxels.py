"""The voxels of a NIfTI file: memory-mapped where they lie open, decompressed once a process where they do not."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core import ArrayLike, LazyArray, MapArray, NDArray, OpenedArray
from curate_core.arrays import TransposeArray
from curate_nifti.files import bad, damage, reading, stream
from curate_nifti.header import Header, check_length, too_short

_PART = 1 << 17
_SURPLUS = 1 << 26
"""Bytes after the voxels that are read for the sake of the checksum at the end of a compressed file; a bomb has more."""


@frozen(eq=False)
class _Opener:
    """Opens the voxels in whichever process wants them.

    Attributes:
        header: without nibabel's header, which need not travel.
    """

    header: Header

    def __call__(self) -> ArrayLike:
        return _decompressed(self.header) if self.header.compressed else _mapped(self.header)


def array_of(header: Header, axes: str, dtype: np.dtype[Any]) -> ArrayLike:
    """The lazy array of a volume, in the machine's byte order.

    Args:
        header: of the volume.
        axes: its letters in the wanted order.
        dtype: what scaled values become; not used where nothing is scaled.
    """
    array: LazyArray = OpenedArray(_Opener(attrs.evolve(header, nifti=None)), header.shape, header.dtype)
    if axes != header.axes:
        array = TransposeArray(array, [header.axes.index(axis) for axis in axes])
    if header.slope is not None and header.inter is not None:
        return MapArray(array, partial(_scaled, slope=header.slope, inter=header.inter, dtype=dtype), dtype)
    if not header.dtype.isnative:
        native = header.dtype.newbyteorder("=")
        return MapArray(array, partial(_cast, dtype=native), native)
    return array


def _cast(values: NDArray, dtype: np.dtype[Any]) -> NDArray:
    return values.astype(dtype)


def _scaled(values: NDArray, slope: float, inter: float, dtype: np.dtype[Any]) -> NDArray:
    """In float64, as nibabel does, rounded once at the end."""
    return (values.astype(np.float64) * slope + inter).astype(dtype)


def _mapped(header: Header) -> NDArray:
    """The voxels as stored, read-only, in the file."""
    with reading(header.voxels):
        check_length(header, header.voxels.stat().st_size)
        return np.memmap(header.voxels, header.dtype, "r", header.offset, header.shape)


def _decompressed(header: Header) -> NDArray:
    """The voxels as stored, in memory, each byte held once; the file's checksum is verified.

    Raises:
        SourceError: the file is damaged or cut short; says how many bytes arrived.
    """
    content = np.empty(header.nbytes, np.uint8)  # pages that no byte reaches are not backed by memory
    done = 0
    with reading(header.voxels), stream(header.voxels, compressed=True) as file:
        try:
            _skip(file, header.offset)
            target = memoryview(content.data)
            while done < len(target):
                count = file.readinto(target[done : done + _PART])  # type: ignore[attr-defined]
                if not count:
                    raise too_short(header, done)
                done += count
            _skip(file, _SURPLUS)
        except damage() as error:
            message = f"is damaged or cut short: after {done} of {header.nbytes} bytes of voxels ({header.describe()}): {error}"
            raise bad(header.path, message, "copy the file again") from error
    voxels = content.view(header.dtype).reshape(header.shape)
    voxels.setflags(write=False)
    return voxels


def _skip(file: Any, count: int) -> None:
    while count > 0:
        part = file.read(min(count, _PART))
        if not part:
            return
        count -= len(part)
