"""Voxels of a file by its layout: memory-mapped where they lie open, decompressed once a process where they do not."""

from __future__ import annotations

import gzip
import io
import zlib
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from curate_core import ArrayLike, LazyArray, MapArray, NDArray, OpenedArray, SourceError
from curate_core.arrays import TransposeArray
from curate_itk.headers import Header, Layout, bad, reading

_CHUNK = 1 << 22
_REST = 1 << 26
"""Bytes behind the voxels of a compressed file that are read, for the checksum at its end; more than that are no mistake of a writer."""


def array_of(layout: Layout, header: Header, dtype: npt.DTypeLike, path: Path) -> LazyArray:
    """The lazy array of a layout: native byte order, scaled where the header says so.

    Args:
        layout: where the voxels are.
        header: for slope and intercept.
        dtype: what the voxels become.
        path: the file to name in errors.

    Raises:
        SourceError: an uncompressed file is shorter than its header says.
    """
    wanted = np.dtype(dtype)
    if layout.encoding == "raw":
        check_length(layout, path)
    opener = memory_mapped if layout.encoding == "raw" else decompressed
    array: ArrayLike = OpenedArray(partial(opener, layout, path), layout.shape, layout.dtype)
    if layout.order != tuple(range(len(layout.shape))):
        array = TransposeArray(array, layout.order)
    if (header.slope, header.inter) != (1.0, 0.0):
        array = MapArray(array, partial(_scale, slope=header.slope, inter=header.inter, dtype=wanted), wanted)
    elif layout.dtype != wanted:
        array = MapArray(array, partial(_native, dtype=wanted), wanted)
    assert isinstance(array, LazyArray)
    return array


def _native(values: NDArray, dtype: np.dtype[Any]) -> NDArray:
    return values.astype(dtype)


def _scale(values: NDArray, slope: float, inter: float, dtype: np.dtype[Any]) -> NDArray:
    return (values.astype(np.float64) * slope + inter).astype(dtype)


def check_length(layout: Layout, path: Path) -> None:
    """Refuse a file that ends before its last voxel.

    Raises:
        SourceError: it is cut short, or not there.
    """
    with reading(layout.path):
        there = layout.path.stat().st_size - layout.offset
    if there < layout.nbytes:
        raise too_short(path, layout, there)


def too_short(path: Path, layout: Layout, there: int) -> SourceError:
    """The error for a file that was cut short."""
    size = " x ".join(map(str, layout.shape))
    message = f"holds {max(0, there)} bytes of voxels, its header announces {layout.nbytes} ({size} {layout.dtype.name})"
    return bad(path, message, "it was cut short: copy it again")


def memory_mapped(layout: Layout, path: Path) -> NDArray:
    """The voxels as stored, read-only, in the file."""
    with reading(layout.path):
        check_length(layout, path)
        return np.memmap(layout.path, layout.dtype, "r", layout.offset, layout.shape)


def decompressed(layout: Layout, path: Path) -> NDArray:
    """The voxels as stored, in memory, once and no copy; checksums of gzip and zlib are verified.

    Raises:
        SourceError: the file is damaged or cut short.
    """
    out = np.empty(layout.shape, layout.dtype)
    target = memoryview(out.reshape(-1).view(np.uint8).data)
    with reading(layout.path), layout.path.open("rb") as file:
        try:
            if layout.whole:
                with gzip.open(file, "rb") as stream:
                    stream.seek(layout.offset)
                    done = _fill(stream, target)
            else:
                file.seek(layout.offset)
                with _Inflate(file) as stream:
                    done = _fill(stream, target)
        except (zlib.error, gzip.BadGzipFile, EOFError) as error:
            message = f"its compressed voxels are damaged or cut short: {error}"
            raise bad(path, message, "copy the file again") from error
    if done < len(target):
        raise too_short(path, layout, done)
    return out


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes | None: ...
    def readinto(self, target: memoryview, /) -> int | None: ...


def _fill(stream: _Stream, target: memoryview) -> int:
    """Read until ``target`` is full or the stream ends, then to the stream's end, where its checksum is."""
    done = 0
    while done < len(target):
        count = stream.readinto(target[done : done + _CHUNK])
        if not count:
            return done
        done += count
    rest = 0
    while piece := stream.read(_CHUNK):
        rest += len(piece)
        if rest > _REST:
            message = f"more than {_REST >> 20} MiB follow the voxels that its header announces"
            raise EOFError(message)
    return done


class _Inflate(io.RawIOBase):
    """A zlib or gzip stream that begins at the file's position; what follows it is ignored."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._inflate = file, zlib.decompressobj(47)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._inflate.eof:
            data = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
            if not data:
                message = "the stream ends too early"
                raise EOFError(message)
            piece = self._inflate.decompress(data, len(target))
            if piece:
                target[: len(piece)] = piece
                return len(piece)
        return 0
