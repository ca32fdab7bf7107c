"""Reader of MRC files."""

from __future__ import annotations

import bz2
import gzip
import zlib
from functools import partial
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
from attrs import frozen

from curate_core import (
    ArrayLike,
    Context,
    Grid,
    Image,
    LayerSource,
    LazyArray,
    MapArray,
    NDArray,
    OpenedArray,
    Plain,
    Reader,
    SourceError,
    option,
    read,
)
from curate_core.arrays import Box, TransposeArray
from curate_mrc.header import BYTES, DTYPES, HEADER_BYTES, PACKED, RGB, SIGNED_BYTES, Header, HeaderError, parse

RATIOS = {".gz": 1032, ".bz2": 1_300_000}
"""Suffix -> how many bytes one byte of a file can become at the most."""
REST = 1 << 26
"""Bytes behind the voxels of a compressed file that are read, for the checksum at its end; more than that are no mistake of a writer."""
BAD_STREAM = (EOFError, MemoryError, OSError, ValueError, zlib.error)


@frozen
class MrcReader(Reader):
    """MRC2014, CCP4 and IMOD files: volumes, images, tilt series and stacks.

    Axes are ``zyx``; ``yx`` for a file that says it is a single image (space group 0, one section); ``nzyx`` for a stack of volumes (space
    groups 401 to 630); with a last axis ``c`` for IMOD's colour mode 16. Columns that run along y or z are put in order. The voxel size
    is in nanometres. Uncompressed files are memory-mapped, others decompressed into memory.

    Example::

        "read": {"*": {"use": "mrc", "bytes": "unsigned"}}
    """

    bytes: Literal["auto", "signed", "unsigned"] = option(
        doc="What 8-bit voxels (mode 0) are: auto goes by IMOD's flag, then by the header's maximum, then by MRC2014 (signed).",
        default="auto",
    )

    def sniff(self, path: Path) -> str | None:
        if path.is_dir():
            return "is a folder, expected a file"
        try:
            with _stream(path) as file:
                parse(file.read(HEADER_BYTES), _length(path))
        except HeaderError as error:
            return str(error)
        except BAD_STREAM as error:
            return f"cannot be read: {error}"
        return None

    def open(self, source: LayerSource, context: Context) -> Image:
        path = _one_file(source)
        header = _header(path)
        notes: dict[str, Plain] = {"mrc mode": header.mode}
        oddities = list(header.oddities)
        dtype = np.dtype(header.order + DTYPES[header.mode])
        if header.mode == BYTES:
            dtype, notes["bytes"] = self._byte_type(header)
        stored = _stored_shape(header)
        array: ArrayLike
        if _compressed(path):
            array = _decompress(path, header, dtype, stored)
        else:
            found = path.stat().st_size - header.offset
            if found < header.nbytes:
                raise _truncated(path, header, max(found, 0))
            if found > header.nbytes:
                oddities.append(f"{found - header.nbytes} bytes follow the voxels")
            array = OpenedArray(partial(_map, path, header.offset, dtype, stored), stored, dtype)
        if oddities:
            notes["oddities"] = cast(Plain, oddities)
        return _image(array, header, notes)

    def resident(self, source: LayerSource) -> int:
        path = _one_file(source)
        return _header(path).nbytes if _compressed(path) else 0

    def _byte_type(self, header: Header) -> tuple[np.dtype[np.int8] | np.dtype[np.uint8], str]:
        """Type of the voxels of mode 0, and on whose word."""
        if self.bytes != "auto":
            signed, why = self.bytes == "signed", "as the spec says"
        elif header.imod is not None:
            signed, why = bool(header.imod & SIGNED_BYTES), "by IMOD's flag"
        elif header.low >= 0 and 127 < header.high <= 255:
            signed, why = False, f"by the maximum {header.high:g} in the header"
        else:
            signed, why = True, "by MRC2014"
        return (np.dtype(np.int8), f"signed, {why}") if signed else (np.dtype(np.uint8), f"unsigned, {why}")


class PackedArray(LazyArray):
    """4-bit values, two a byte, the first in the low half; rows of an odd length end with half a byte unused.

    Args:
        base: (sections, rows, bytes of a row) uint8.
        columns: values in a row.
    """

    def __init__(self, base: ArrayLike, columns: int) -> None:
        self.base = base
        self.shape, self.dtype = (*base.shape[:-1], columns), np.dtype(np.uint8)

    def read_box(self, where: Box) -> NDArray:
        first, last = where[-1].start, where[-1].stop
        packed = read(self.base, (*where[:-1], slice(first // 2, (last + 1) // 2)))
        values = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], 2 * packed.shape[-1])
        begin = first % 2
        return values[..., begin : begin + last - first]


def _image(array: ArrayLike, header: Header, notes: dict[str, Plain]) -> Image:
    """The layer: native byte order, axes in order, on its grid."""
    axes = header.letters
    if header.mode == PACKED:
        array = PackedArray(array, header.stored[2])
    elif not np.dtype(array.dtype).isnative:
        native = np.dtype(array.dtype).newbyteorder("=")
        array = MapArray(array, partial(_astype, dtype=native), native)
    if header.volumes:
        axes = "n" + axes
    if header.mode == RGB:
        axes += "c"
    wanted = "".join(axis for axis in "nzyxc" if axis in axes)
    if header.image:
        axes = wanted = wanted.replace("z", "")
    if axes != wanted:
        notes["stored axes"] = axes
        array = TransposeArray(array, [axes.index(axis) for axis in wanted])
    sizes = [size for axis, size in zip("zyx", header.size, strict=True) if axis in wanted]
    if all(sizes):
        return Image(array, Grid.from_spacing(array.shape, wanted, sizes, "nm", header.origin), notes)
    return Image(array, Grid.from_spacing(array.shape, wanted), notes)


def _stored_shape(header: Header) -> tuple[int, ...]:
    """Shape of the voxels as they lie in the file, in units of the dtype."""
    sections, rows, columns = header.stored
    if header.mode == PACKED:
        columns = (columns + 1) // 2
    shape: tuple[int, ...] = (sections, rows, columns)
    if header.volumes:
        shape = (header.volumes, sections // header.volumes, rows, columns)
    elif header.image:
        shape = (rows, columns)
    return (*shape, 3) if header.mode == RGB else shape


def _astype(values: NDArray, dtype: np.dtype[np.generic]) -> NDArray:
    return values.astype(dtype)


def _map(path: Path, offset: int, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> ArrayLike:
    mapped: ArrayLike = np.memmap(path, dtype, "r", offset, shape)
    return mapped


def _one_file(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"expected one MRC file, got {len(source.files)}"
        raise SourceError(message, where=source.describe())
    return source.files[0]


def _compressed(path: Path) -> bool:
    return path.suffix.lower() in (".gz", ".bz2")


def _stream(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return cast(IO[bytes], bz2.open(path, "rb")) if suffix == ".bz2" else path.open("rb")


def _length(path: Path) -> int | None:
    """Bytes of an uncompressed file; None: not known before it is decompressed."""
    return None if _compressed(path) else path.stat().st_size


def _header(path: Path) -> Header:
    try:
        with _stream(path) as file:
            header = parse(file.read(HEADER_BYTES), _length(path))
        there = path.stat().st_size
    except HeaderError as error:
        raise SourceError(str(error), where=str(path)) from error
    except BAD_STREAM as error:
        message = f"the file cannot be read: {error}"
        raise SourceError(message, where=str(path)) from error
    if _compressed(path) and header.offset + header.nbytes > there * RATIOS[path.suffix.lower()]:
        message = f"its header announces {header.nbytes:,} bytes of voxels, its {there:,} bytes hold fewer"
        raise SourceError(message, where=str(path), hint="its header is damaged, or it was cut short: copy it again")
    return header


def _truncated(path: Path, header: Header, found: int) -> SourceError:
    shape = " x ".join(map(str, header.stored))
    message = f"expected {header.nbytes} bytes of voxels ({shape} of mode {header.mode}), found {found}: the file is cut short"
    return SourceError(message, where=str(path), hint="copy it again")


def _decompress(path: Path, header: Header, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> NDArray:
    """The voxels of a compressed file, in memory, each byte held once.

    Raises:
        SourceError: the stream is damaged or ends too early.
    """
    try:
        with _stream(path) as file:
            file.seek(header.offset)
            content = _fill(file, header.nbytes)
            rest = 0
            while rest <= REST and (piece := file.read(1 << 22)):  # to the end of the stream, where its checksum is
                rest += len(piece)
    except BAD_STREAM as error:
        message = f"the compressed file is damaged: {error}"
        raise SourceError(message, where=str(path), hint="copy it again") from error
    if len(content) < header.nbytes:
        raise _truncated(path, header, len(content))
    if rest > REST:
        message = f"more than {REST >> 20} MiB follow the voxels that its header announces"
        raise SourceError(message, where=str(path), hint="its header is damaged")
    voxels = content.view(dtype).reshape(shape)
    voxels.setflags(write=False)
    return voxels


def _fill(file: IO[bytes], nbytes: int) -> NDArray:
    """The next ``nbytes`` bytes, fewer where the stream ends; a false size in a header costs no memory before bytes arrive."""
    content = np.empty(nbytes, np.uint8)  # untouched pages of it are not backed by memory
    at = 0
    while at < nbytes:
        part = file.read(min(nbytes - at, 1 << 24))
        if not part:
            break
        content[at : at + len(part)] = np.frombuffer(part, np.uint8)
        at += len(part)
    return content[:at]
