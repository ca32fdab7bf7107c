"""The 1024 bytes that an MRC file starts with, as MRC2014 and IMOD define them.

mrcfile knows the layout of the fields; what they mean where the two standards differ, and what files in the wild have there instead, is
decided here. Lengths in a header are in ångström; ours are in nanometres.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from attrs import frozen

HEADER_BYTES = 1024
MAP_ID_AT, STAMP_AT, IMOD_AT = 208, 212, 152
IMOD_STAMP = 1146047817
SIGNED_BYTES, INVERTED_ORIGIN, PACKED_BYTES = 1, 4, 16
BYTES, RGB, PACKED = 0, 16, 101
DTYPES = {BYTES: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", RGB: "u1", PACKED: "u1"}
COMPLEX = (3, 4)
LARGEST = 1 << 24
"""More voxels than this along an axis are a sign of the wrong byte order."""


class HeaderError(ValueError):
    """These bytes are not the header of an MRC file that can be read; says why."""


@frozen
class Header:
    """What a header says.

    Attributes:
        order: byte order of the file, ``<`` or ``>``.
        mode: number of the voxel type.
        stored: (sections, rows, columns) as they lie in the file.
        volumes: number of volumes that follow each other; 0 for a single one.
        image: a single image, not a volume of one section.
        letters: which spatial axis the sections, rows and columns run along.
        offset: byte at which the voxels start.
        size: (z, y, x) voxel size, nanometres; 0 where the header states none.
        origin: (x, y, z) of the first voxel, nanometres.
        imod: flags of IMOD; None: not marked as written by a program that sets them.
        low, high: smallest and largest voxel that the header states.
        oddities: what is not as it should be, in words.
    """

    order: str
    mode: int
    stored: tuple[int, int, int]
    volumes: int
    image: bool
    letters: str
    offset: int
    size: tuple[float, float, float]
    origin: tuple[float, float, float]
    imod: int | None
    low: float
    high: float
    oddities: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels in the file."""
        return _voxel_bytes(self.mode, *self.stored)


def parse(head: bytes, file_bytes: int | None) -> Header:
    """The header in the first 1024 bytes of a file.

    Args:
        head: those bytes.
        file_bytes: length of the file, where known; helps with files that do not say what they are.

    Raises:
        HeaderError: this is no MRC file, or one whose voxels cannot be read.
    """
    if len(head) < HEADER_BYTES:
        message = f"{len(head)} bytes are less than the {HEADER_BYTES} of an MRC header"
        raise HeaderError(message)
    oddities: list[str] = []
    order = _byte_order(head, file_bytes, oddities)
    fields = _fields(head, order)
    mode = int(fields["mode"])
    imod = int(struct.unpack_from(order + "i", head, IMOD_AT + 4)[0]) if _marked(head, order) else None
    if mode in COMPLEX:
        message = f"it holds complex numbers (mode {mode}), as a Fourier transform does, expected real voxels"
        raise HeaderError(message)
    if mode == BYTES and imod is not None and imod & PACKED_BYTES:
        message = "it packs two 4-bit values in a byte of mode 0 (IMOD's flag 16), expected mode 101 or whole bytes"
        raise HeaderError(message)
    columns, rows, sections = (int(fields[name]) for name in ("nx", "ny", "nz"))
    ispg, mz = int(fields["ispg"]), int(fields["mz"])
    volumes = 0
    if 401 <= ispg <= 630:
        if mz > 0 and sections % mz == 0:
            volumes = sections // mz
        else:
            oddities.append(
                f"a stack of volumes (space group {ispg}) whose {sections} sections are not a multiple of {mz}: read as one volume"
            )
    letters = _letters(fields, oddities)
    size = _voxel_size(fields, oddities)
    return Header(
        order=order,
        mode=mode,
        stored=(sections, rows, columns),
        volumes=volumes,
        image=ispg == 0 and sections == 1 and letters == "zyx",
        letters=letters,
        offset=HEADER_BYTES + int(fields["nsymbt"]),
        size=size,
        origin=_origin(fields, letters, size, imod),
        imod=imod,
        low=float(fields["dmin"]),
        high=float(fields["dmax"]),
        oddities=tuple(oddities),
    )


def _fields(head: bytes, order: str) -> Any:
    from mrcfile.dtypes import HEADER_DTYPE

    return np.frombuffer(head[:HEADER_BYTES], HEADER_DTYPE.newbyteorder(order))[0]


def _marked(head: bytes, order: str) -> bool:
    return bool(struct.unpack_from(order + "i", head, IMOD_AT)[0] == IMOD_STAMP)


def _voxel_bytes(mode: int, sections: int, rows: int, columns: int) -> int:
    if mode == PACKED:
        return sections * rows * ((columns + 1) // 2)
    return sections * rows * columns * (3 if mode == RGB else 8 if mode == 4 else 4 if mode == 3 else np.dtype(DTYPES[mode]).itemsize)


def _byte_order(head: bytes, file_bytes: int | None, oddities: list[str]) -> str:
    """The order that the machine stamp states if the sizes make sense in it; otherwise that in which they do."""
    named = head[MAP_ID_AT : MAP_ID_AT + 3] == b"MAP"
    stamp = head[STAMP_AT : STAMP_AT + 2]
    stated = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}.get(stamp)
    possible = [order for order in "<>" if not _nonsense(head, order)]
    if named and stated in possible:
        return str(stated)
    fitting = [order for order in possible if file_bytes is None or _end(head, order) <= file_bytes]
    if not possible or not (named or fitting):
        reason = _nonsense(head, stated or "<") or f"the {_end(head, possible[0])} bytes that it would announce are not there"
        message = f"not an MRC file: {reason}" if named else f"not an MRC file: no 'MAP' at byte {MAP_ID_AT}, and {reason}"
        raise HeaderError(message)
    order = stated if stated in fitting else (fitting or possible)[0]
    words = "little" if order == "<" else "big"
    if not named:
        oddities.append(f"no 'MAP' at byte {MAP_ID_AT}, as before the year 2000")
    if stated != order:
        oddities.append(f"machine stamp {stamp.hex(' ')}, but the sizes make sense as {words}-endian")
    return order


def _nonsense(head: bytes, order: str) -> str:
    """Why the sizes make no sense in a byte order; empty when they do."""
    columns, rows, sections, mode = struct.unpack_from(order + "4i", head, 0)
    extended = struct.unpack_from(order + "i", head, 92)[0]
    if min(columns, rows, sections) < 1 or max(columns, rows) > LARGEST:
        return f"{columns} columns, {rows} rows and {sections} sections are no size"
    if mode not in DTYPES and mode not in COMPLEX:
        return f"there is no mode {mode}"
    return f"the extended header has {extended} bytes" if extended < 0 else ""


def _end(head: bytes, order: str) -> int:
    columns, rows, sections, mode = struct.unpack_from(order + "4i", head, 0)
    return HEADER_BYTES + int(struct.unpack_from(order + "i", head, 92)[0]) + _voxel_bytes(mode, sections, rows, columns)


def _letters(fields: Any, oddities: list[str]) -> str:
    numbers = [int(fields[name]) for name in ("maps", "mapr", "mapc")]
    if sorted(numbers) == [1, 2, 3]:
        return "".join("xyz"[number - 1] for number in numbers)
    oddities.append(f"axes {numbers[::-1]} (mapc, mapr, maps) are not an order of 1, 2, 3: read as columns x, rows y, sections z")
    return "zyx"


def _voxel_size(fields: Any, oddities: list[str]) -> tuple[float, float, float]:
    """(z, y, x) nanometres: the cell's length over its number of intervals, along the axes of space, not those of the file."""
    sizes = []
    for axis in "zyx":
        length, intervals = float(fields["cella"][axis]), int(fields["m" + axis])
        fine = math.isfinite(length) and length > 0 and intervals > 0
        sizes.append(length / intervals / 10 if fine else 0.0)
    angles = [float(fields["cellb"][name]) for name in ("alpha", "beta", "gamma")]
    if any(angle not in (0.0, 90.0) for angle in angles):
        oddities.append(f"cell angles {', '.join(f'{angle:g}' for angle in angles)} are not right angles: ignored")
    return (sizes[0], sizes[1], sizes[2])


def _origin(fields: Any, letters: str, size: tuple[float, float, float], imod: int | None) -> tuple[float, float, float]:
    """(x, y, z) nanometres of the first voxel: ``origin`` where it is set, otherwise the first column, row and section (CCP4).

    IMOD's own origin is that of the coordinate system seen from the first voxel, so its sign is turned unless the flag says that it was.
    """
    origin = [float(fields["origin"][axis]) / 10 for axis in "xyz"]
    if not all(map(math.isfinite, origin)):
        return (0.0, 0.0, 0.0)
    if any(origin):
        sign = -1.0 if imod is not None and not imod & INVERTED_ORIGIN else 1.0
        return (sign * origin[0], sign * origin[1], sign * origin[2])
    starts = {letter: int(fields[name]) for letter, name in zip(letters, ("nzstart", "nystart", "nxstart"), strict=True)}
    return (starts["x"] * size[2], starts["y"] * size[1], starts["z"] * size[0])
