"""The simplest TIFF there is: one grey plane in one uncompressed strip, little-endian, as TIFF 6.0 asks (section 4).

A general writer takes several times as long as the bytes themselves, which counts for patches by the hundred thousand.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np

from curate_core import NDArray

_SHORT, _LONG, _RATIONAL = 3, 4, 5
_SAMPLE_FORMAT = {"u": 1, "i": 2, "f": 3}
MAX_BYTES = (1 << 31) - (1 << 20)  # what one system call writes


def can_hold(values: NDArray) -> bool:
    """Whether ``write`` takes an array: (rows, columns) of whole numbers or floats, less than 2 GiB."""
    return values.ndim == 2 and values.dtype.kind in _SAMPLE_FORMAT and 0 < values.nbytes < MAX_BYTES


def write(path: Path, values: NDArray) -> None:
    """Write one plane, (rows, columns); larger values are brighter."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    with path.open("wb", buffering=0) as file:  # one system call a patch: there may be millions
        head = _head(*values.shape, values.dtype.itemsize, values.dtype.kind)
        written = os.writev(file.fileno(), [head, little.data])
        if written < len(head) + little.nbytes:  # the disk is full, or one call takes no more: the next ones tell
            rest = memoryview(head + little.tobytes())[written:]
            while rest:
                rest = rest[file.write(rest) :]


@lru_cache(maxsize=256)
def _head(rows: int, columns: int, itemsize: int, kind: str) -> bytes:
    """Header, directory and resolution: all that precedes the voxels."""
    entries = 13
    resolution = 8 + 2 + 12 * entries + 4
    strip = resolution + 16
    tags = [
        (256, _LONG, columns),  # ImageWidth
        (257, _LONG, rows),  # ImageLength
        (258, _SHORT, 8 * itemsize),  # BitsPerSample
        (259, _SHORT, 1),  # Compression: none
        (262, _SHORT, 1),  # PhotometricInterpretation: black is zero
        (273, _LONG, strip),  # StripOffsets
        (277, _SHORT, 1),  # SamplesPerPixel
        (278, _LONG, rows),  # RowsPerStrip
        (279, _LONG, rows * columns * itemsize),  # StripByteCounts
        (282, _RATIONAL, resolution),  # XResolution
        (283, _RATIONAL, resolution + 8),  # YResolution
        (296, _SHORT, 1),  # ResolutionUnit: none
        (339, _SHORT, _SAMPLE_FORMAT[kind]),  # SampleFormat
    ]
    directory = b"".join(struct.pack("<HHII", tag, field, 1, value) for tag, field, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, entries) + directory + struct.pack("<I4I", 0, 1, 1, 1, 1)
