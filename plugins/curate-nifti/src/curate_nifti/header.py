"""What a NIfTI header says (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h, nifti2.h), by nibabel's word."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from nibabel import nifti1, nifti2  # noqa: TID253 - this module is imported where the reader works
from nibabel.spatialimages import HeaderDataError  # noqa: TID253
from nibabel.wrapstruct import WrapStructError  # noqa: TID253

from curate_core import SourceError
from curate_nifti.files import HeadError, bad, head, header_path, is_compressed, kind, reading, voxel_path

_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOURS = {128: 3, 2304: 4}
_REFUSED = {
    1: "single bits", 32: "complex numbers", 1536: "floats of 128 bits", 1792: "complex numbers", 2048: "complex numbers of 256 bits",
}  # fmt: skip
_LETTERS = "xyztc"
_MOST = 1040
"""Times that deflate can make anything smaller, and a little."""
_CLASSES = {
    b"n+1\0": nifti1.Nifti1Header, b"ni1\0": nifti1.Nifti1PairHeader, b"n+2\0": nifti2.Nifti2Header, b"ni2\0": nifti2.Nifti2PairHeader,
}  # fmt: skip


@frozen(eq=False)
class Header:
    """A header and where its voxels are.

    Attributes:
        path: the file that it was asked of.
        voxels: the file with the voxels.
        compressed: the voxels are gzipped.
        offset: byte at which they begin, decompressed.
        dtype: of the voxels as stored, with byte order.
        shape: of the voxels as stored, slowest axis first; axes of length one beyond the third are left out.
        axes: letters of ``shape``.
        slope, inter: what makes values of stored ones; None: nothing.
        nifti: nibabel's header, its repairs applied.
        oddities: what nibabel found wrong and repaired, in words.
    """

    path: Path
    voxels: Path
    compressed: bool
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    axes: str
    slope: float | None
    inter: float | None
    nifti: Any
    oddities: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels as stored, decompressed."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def sizes(self) -> tuple[int, ...]:
        """Voxels along x, y and z, those that there are."""
        return tuple(self.shape[self.axes.index(axis)] for axis in "xyz" if axis in self.axes)

    def describe(self) -> str:
        """The voxels for a message: shape, axes, type."""
        return f"{' x '.join(map(str, self.shape))} {self.axes}, {self.dtype.name}"


def read_header(path: Path) -> Header:
    """The header of a file or pair; the length of the file with the voxels is checked.

    Raises:
        SourceError: it is none, malformed, of a type that is no image of real numbers, or announces more voxels than the file can hold.
    """
    first = header_path(path)
    with reading(first):
        if first != path and not first.exists():
            message = f"its header {first.name} is not there"
            raise bad(path, message, "both files of the pair are needed")
        try:
            start = head(first)
            size, mark = kind(start)
        except HeadError as error:
            raise bad(path, str(error), "the file may be cut short or of another format") from error
    nifti, oddities = _parsed(path, start[:size], mark)
    shape, axes = _shape(path, nifti)
    code = int(nifti["datatype"])
    colours = _COLOURS.get(code, 0)
    if colours and "c" in axes:
        message = "is a vector of colours at each voxel, which has no place in an array of named axes"
        raise bad(path, message)
    if colours:
        shape, axes = (*shape, colours), f"{axes}c"
    slope, inter = (None, None) if colours else _scaling(path, nifti)
    voxels = voxel_path(first, mark)
    with reading(voxels):
        if not voxels.exists():
            message = f"its voxels {voxels.name} are not there"
            raise bad(path, message, "both files of the pair are needed")
        compressed = is_compressed(voxels)
        there = voxels.stat().st_size
    try:
        offset = int(nifti.get_data_offset())
    except (ValueError, OverflowError) as error:
        message = "its header does not say at which byte its voxels begin"
        raise bad(path, message, "the file may be damaged") from error
    header = Header(path, voxels, compressed, offset, _dtype(path, nifti), shape, axes, slope, inter, nifti, oddities)
    check_length(header, there)
    return header


def check_length(header: Header, there: int) -> None:
    """Refuse a file that cannot hold its voxels.

    Args:
        header: what is announced.
        there: bytes of the file with the voxels, as it lies.

    Raises:
        SourceError: it is cut short, or the header is nonsense.
    """
    if not header.compressed and there - header.offset < header.nbytes:
        raise too_short(header, max(0, there - header.offset))
    if header.compressed and header.nbytes + header.offset > there * _MOST:
        message = f"its header announces {header.nbytes} bytes of voxels ({header.describe()}), more than {there} compressed bytes can hold"
        raise bad(header.path, message, "it was cut short, or its header is wrong")


def too_short(header: Header, found: int) -> SourceError:
    """The error for a file that ends before its last voxel."""
    message = f"holds {found} bytes of voxels, its header announces {header.nbytes} ({header.describe()})"
    return bad(header.path, message, "it was cut short: copy it again")


def _parsed(path: Path, block: bytes, mark: bytes) -> tuple[Any, tuple[str, ...]]:
    """The header in nibabel's hands, checked and repaired as ``nibabel.load`` does, and what it had to say."""
    said: list[str] = []
    logger = logging.Logger("curate.nifti")
    logger.addHandler(_Collect(said))
    try:
        nifti = _CLASSES[mark](block, check=False)
        code = int(nifti["datatype"])
        if code not in _DTYPES and code not in _COLOURS:
            message = f"holds {_REFUSED.get(code, f'voxels of the unknown type {code}')}, expected real numbers or colours"
            raise bad(path, message)
        nifti.check_fix(logger=logger, error_level=40)
    except (HeaderDataError, WrapStructError, OverflowError, ValueError) as error:  # it turns NaN and infinity into whole numbers
        raise bad(path, f"has a header that nibabel refuses: {error}") from error
    return nifti, tuple(said)


class _Collect(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(level=logging.WARNING)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _shape(path: Path, nifti: Any) -> tuple[tuple[int, ...], str]:
    """Shape, slowest axis first, and letters."""
    count = int(nifti["dim"][0])
    if not 1 <= count <= 7:
        message = f"its header says {count} axes, expected 1 to 7"
        raise bad(path, message)
    sizes = [int(n) for n in nifti.get_data_shape()]
    if min(sizes) < 1:
        message = f"its header says {' x '.join(map(str, sizes))} voxels, expected at least 1 along each axis"
        raise bad(path, message)
    if max(sizes[5:], default=1) > 1:
        message = f"has {len(sizes)} axes ({' x '.join(map(str, sizes))}), of which curate has names for 5"
        raise bad(path, message, "split it into volumes first")
    kept = [(n, _LETTERS[i]) for i, n in enumerate(sizes[:5]) if i < 3 or n > 1][::-1]
    return tuple(n for n, _ in kept), "".join(letter for _, letter in kept)


def _dtype(path: Path, nifti: Any) -> np.dtype[Any]:
    code = int(nifti["datatype"])
    return np.dtype("u1") if code in _COLOURS else np.dtype(nifti.endianness + _DTYPES[code])


def _scaling(path: Path, nifti: Any) -> tuple[float | None, float | None]:
    """Slope and intercept; None for both where stored values are the values."""
    try:
        slope, inter = nifti.get_slope_inter()
    except HeaderDataError as error:
        raise bad(path, f"has a header that nibabel refuses: {error}", "repair scl_inter") from error
    if slope is None or (slope, inter) == (1.0, 0.0):
        return None, None
    return float(slope), float(inter)
