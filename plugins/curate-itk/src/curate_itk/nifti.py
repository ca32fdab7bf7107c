"""Headers of NIfTI-1 files (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from curate_itk.headers import Header, Layout, bad, check_sizes

_HEADER_BYTES = 348
_DTYPE = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8", 1792: "c16"}
_COLOURS = {128: 3, 2304: 4}
_GZIP = b"\x1f\x8b"


def _head(path: Path) -> tuple[bytes, bool]:
    """The first 348 bytes, decompressed, and whether the file is compressed."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.startswith(_GZIP):
        return head[:_HEADER_BYTES], False
    try:
        return zlib.decompressobj(31).decompress(head, _HEADER_BYTES), True
    except zlib.error:
        return b"", True


def kind_of(path: Path) -> str:
    """``nifti``, or what was expected instead."""
    head, _ = _head(path)
    if len(head) < _HEADER_BYTES:
        return f"has fewer than the {_HEADER_BYTES} bytes of a NIfTI header"
    size = head[:4]
    if size in (struct.pack("<i", 540), struct.pack(">i", 540)):
        return "is NIfTI-2, which SimpleITK does not read"
    if size not in (struct.pack("<i", _HEADER_BYTES), struct.pack(">i", _HEADER_BYTES)):
        return "does not begin with the size of a NIfTI header"
    if head[344:348] not in (b"n+1\0", b"ni1\0"):
        return "has no NIfTI mark at byte 344 (Analyze 7.5 states no orientation and is not read)"
    return "nifti"


def read_header(path: Path) -> Header:
    """The header, of single files and of pairs (``.hdr`` and ``.img``).

    Raises:
        SourceError: it is malformed.
    """
    head, compressed = _head(path)
    order = "<" if head[:4] == struct.pack("<i", _HEADER_BYTES) else ">"

    def get(kind: str, offset: int) -> tuple[float, ...]:
        return struct.unpack_from(order + kind, head, offset)

    dim = [int(n) for n in get("8h", 40)]
    if not 1 <= dim[0] <= 7:
        message = f"its header says {dim[0]} axes, expected 1 to 7"
        raise bad(path, message)
    sizes = dim[1 : 1 + dim[0]]
    check_sizes(path, sizes)
    pixdim = get("8f", 76)
    numbers = (*pixdim[1:4], *get("6f", 256), *get("12f", 280))
    if not np.isfinite(numbers).all():
        message = "its spacing, quaternion or affine contains NaN or infinity"
        raise bad(path, message, "repair the header: the volume's place in space is not known")
    qform, sform = (int(code) for code in get("2h", 252))
    frame = np.reshape(get("12f", 280), (3, 4)).astype(np.float64) if sform > 0 else None
    slope, inter = get("2f", 112)
    scaled = np.isfinite(slope) and np.isfinite(inter) and slope != 0
    calibrated = sform > 0 or min(pixdim[1 : min(4, dim[0] + 1)]) > 0
    layout = _layout(path, compressed, int(get("h", 70)[0]), int(get("f", 108)[0]), order, sizes)
    unit = {1: 1e3, 3: 1e-3}.get(int(head[123]) & 7, 1.0)  # ITK turns metres and microns into millimetres
    if frame is not None:
        frame *= unit
    return Header(layout, calibrated, qform > 0 or sform > 0, "mm", slope if scaled else 1.0, inter if scaled else 0.0, frame)


def _layout(path: Path, compressed: bool, datatype: int, offset: int, byte_order: str, sizes: list[int]) -> Layout | None:
    pair = path.name.lower().endswith(".hdr")
    where = path.with_suffix(".img") if pair else path
    if pair and (compressed or not where.exists()):
        return None
    shape = tuple(sizes[::-1])
    while len(shape) > 3 and shape[0] == 1:  # a fourth axis of length one and later ones, as ITK drops them
        shape = shape[1:]
    order = tuple(range(len(shape)))
    if datatype in _COLOURS:
        dtype, shape, order = "u1", (*shape, _COLOURS[datatype]), (*order, len(order))
    elif datatype in _DTYPE:
        dtype = _DTYPE[datatype]
    else:
        return None
    if len(shape) == 5 and shape[1] == 1:  # a vector a voxel: components are the slowest axis
        shape, order = (shape[0], *shape[2:]), (1, 2, 3, 0)
    start = max(0, offset) if pair else max(_HEADER_BYTES + 4, offset)
    return Layout(where, start, "deflate" if compressed else "raw", np.dtype(byte_order + dtype), shape, order, whole=compressed)
