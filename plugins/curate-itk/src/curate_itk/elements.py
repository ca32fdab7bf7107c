"""The sizes that a DICOM file states of its elements and compressed frames (DICOM PS3.5, section 7, annex A.4), held against each other.

GDCM asks for the memory of an element on the word of its length, and does not give it back where the file ends before: a file of one
kilobyte takes more than a gigabyte from the process for good. A JPEG stream that states another size than the file's rows and columns takes
as much for a while. So neither reaches it.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path

from curate_core import SourceError

_LONG = set(re.findall(b"..", b"OBODOFOLOVOWSQSVUCUNURUTUV"))
_SHORT = set(re.findall(b"..", b"AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS"))
_START, _ITEM, _DELIMITER = 132, 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED, _PIXELS = 0xFFFFFFFF, 0x7FE00010
_ROWS, _COLUMNS, _FRAME = 0x00280010, 0x00280011, 0x7FE00000
_MISLABELLED, _UNKNOWN_PIECE, _UNKNOWN_TYPE, _CUT_STREAM = range(4)  # in the place of tags, of which none is as small
_WRONG = {
    _MISLABELLED: "its transfer syntax says that elements name their types, and they do not",
    _UNKNOWN_PIECE: "its compressed voxels do not lie in pieces one after the other",
    _UNKNOWN_TYPE: "one of its elements names a type that there is not",
    _CUT_STREAM: "its deflated elements cannot be inflated to their end",
}
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_LOOK_AT, _FREE = 1 << 16, 1 << 20
_SYNTAX, _IMPLICIT, _BIG, _DEFLATED = 0x00020010, b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"


def check_lengths(path: Path) -> None:
    """Refuse a file with an element that is longer than what is left of the file. A file without DICOM's mark passes.

    Raises:
        SourceError: naming the element.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(_START)[128:] != b"DICM":
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            sides = {_ROWS: 0, _COLUMNS: 0}
            for at, tag, length in _elements(data):
                if tag in _WRONG:
                    raise SourceError(
                        _WRONG[tag], where=str(path), hint="it is damaged: copy it again, or repair it with a tool such as dcmconv"
                    )
                if tag in sides and length == 2:
                    # low byte first, as all syntaxes with compressed frames have it; the largest, as icons have rows, too
                    sides[tag] = max(sides[tag], struct.unpack_from("<H", data, at)[0])
                if tag == _FRAME:
                    _check_frame(path, data[at : at + min(length, _LOOK_AT)], sides[_ROWS] * sides[_COLUMNS])
                if length > len(data) - at:
                    message = f"its element ({tag >> 16:04x},{tag & 0xFFFF:04x}) announces {length:,} bytes, {len(data) - at:,} are left"
                    raise SourceError(message, where=str(path), hint="it is damaged, or was cut short: copy it again")


def _check_frame(path: Path, stream: bytes, pixels: int) -> None:
    """Refuse a compressed frame that states far more pixels than the file, before its decoder asks for their memory.

    Raises:
        SourceError: it does.
    """
    found = frame_pixels(stream)
    if found > max(4 * pixels, _FREE):
        message = f"a compressed frame announces {found:,} pixels, its rows and columns {pixels:,}"
        raise SourceError(message, where=str(path), hint="it is damaged: copy it again")


def frame_pixels(stream: bytes) -> int:
    """Pixels that the head of a JPEG, JPEG-LS or JPEG 2000 stream announces; 0 for any other."""
    if stream.startswith(b"\xff\x4f\xff\x51") and len(stream) >= 16:
        width, height = struct.unpack_from(">II", stream, 8)
        return int(width * height)
    at = 2
    while stream.startswith(b"\xff\xd8") and at + 9 <= len(stream) and stream[at] == 0xFF:
        if stream[at + 1] in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", stream, at + 5)
            return int(height * width)
        at += 2 + int(struct.unpack_from(">H", stream, at + 2)[0])
    return 0


def _elements(data: mmap.mmap) -> Iterator[tuple[int, int, int]]:
    """(place of the value, tag, stated length) of every element, those inside of sequences and the pieces of compressed voxels included."""
    at, order, implicit, meta = _START, "<", False, True
    syntax = b""
    while at + 8 <= len(data):
        group, element = struct.unpack_from(order + "HH", data, at)
        if meta and group != 2:
            if syntax == _DEFLATED:
                if not _is_whole(data, at):
                    yield at, _CUT_STREAM, 0
                return
            meta, order = False, ">" if syntax == _BIG else "<"
            implicit = data[at + 4 : at + 6] not in _SHORT | _LONG  # whatever the file says: some are not what they say
            if implicit and syntax not in (b"", _IMPLICIT):
                yield at, _MISLABELLED, 0
            continue
        tag = group << 16 | element
        kind = data[at + 4 : at + 6]
        if tag >> 16 == _ITEM >> 16 or implicit:
            at, length = at + 8, struct.unpack_from(order + "I", data, at + 4)[0]
        elif kind in _SHORT:
            at, length = at + 8, struct.unpack_from(order + "H", data, at + 6)[0]
        elif kind not in _LONG:
            yield at, _UNKNOWN_TYPE, 0
            return
        elif at + 12 <= len(data):
            at, length = at + 12, struct.unpack_from(order + "I", data, at + 8)[0]
        else:
            return
        nested = length == _UNDEFINED
        if not nested:
            yield at, tag, length
        if tag == _SYNTAX:
            syntax = data[at : at + length].rstrip(b"\0 ")
        if tag == _PIXELS:
            at = (yield from _frames(data, at, order)) if nested else at + length
            if not any(data[at:]):  # some writers fill the last block of a disk
                return
            continue
        if nested and kind == b"UN" and not implicit:
            return
        sequence = kind == b"SQ" if not implicit else data[at : at + 4] == struct.pack(order + "HH", _ITEM >> 16, _ITEM & 0xFFFF)
        if not (nested or tag == _ITEM or sequence):
            at += length


def _is_whole(data: mmap.mmap, at: int) -> bool:
    """Whether a deflated dataset can be inflated to its end."""
    inflate = zlib.decompressobj(-15)
    try:
        while at < len(data) and not inflate.eof:
            inflate.decompress(data[at : at + _LOOK_AT])
            at += _LOOK_AT
    except zlib.error:
        return False
    return inflate.eof


def _frames(data: mmap.mmap, at: int, order: str) -> Generator[tuple[int, int, int], None, int]:
    """The pieces of compressed voxels, in the form of elements; returns the place after them."""
    while at + 8 <= len(data):
        group, element, length = struct.unpack_from(order + "HHI", data, at)
        if group << 16 | element != _ITEM:
            if group << 16 | element != _DELIMITER:
                yield at, _UNKNOWN_PIECE, 0
            return at + 8
        at += 8
        yield at, _FRAME, length
        at += length
    return at
