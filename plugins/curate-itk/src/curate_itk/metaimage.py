"""Headers of MetaImage files (https://itk.org/Wiki/MetaIO/Documentation)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from curate_itk.headers import Header, Layout, bad, beside, check_sizes, integers, text_lines, unit_of

_MOST_AXES = 10
_DTYPE = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4",
    "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip


def read_header(path: Path) -> Header:
    """The header up to the line ``ElementDataFile``.

    Raises:
        SourceError: it is malformed.
    """
    lines, end = text_lines(path, rb"(?m)^ElementDataFile[ \t]*=[^\n]*\n?")
    fields: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.partition("=")
        if separator and fields.setdefault(name.strip(), value.strip()) != value.strip():
            message = f"its header says {name.strip()!r} twice"
            raise bad(path, message, "the file may be damaged")
    for name in ("NDims", "DimSize", "ElementType", "ElementDataFile"):
        if name not in fields:
            message = f"its header has no {name!r}"
            raise bad(path, message, "the file may be cut short")
    sizes = integers(path, "DimSize", fields["DimSize"])
    check_sizes(path, sizes)
    if integers(path, "NDims", fields["NDims"]) != (len(sizes),) or len(sizes) > _MOST_AXES:  # ITK's reader trusts them, and crashes
        message = f"its header says {fields['NDims'][:40]!r} axes, and the sizes {fields['DimSize'][:60]!r}"
        raise bad(path, message, "the file may be damaged")
    steps = fields.get("ElementSpacing", fields.get("ElementSize"))
    if steps is not None:
        _check_steps(path, steps)
    oriented = any(name in fields for name in ("TransformMatrix", "Rotation", "Orientation", "AnatomicalOrientation"))
    unit = unit_of(fields.get("DistanceUnits", "mm")) or "mm"
    data, elsewhere = fields["ElementDataFile"], None
    if not _is_true(fields.get("BinaryData", "True")) and data.split()[:1] != ["LIST"] and "%" not in data:
        elsewhere = (path if data.upper() == "LOCAL" else beside(path, data), "text")
    return Header(_layout(path, fields, sizes, end), steps is not None, oriented, unit, elsewhere=elsewhere)


def _check_steps(path: Path, text: str) -> None:
    try:
        steps = [float(word) for word in text.split()]
    except ValueError:
        steps = [math.nan]
    if not all(math.isfinite(step) and step != 0 for step in steps):
        message = f"states the voxel size {text!r}, expected finite numbers other than zero"
        raise bad(path, message, "repair the header: the size of its voxels is not known")


def _is_true(text: str) -> bool:
    return text[:1] in ("T", "t", "1")


def _layout(path: Path, fields: dict[str, str], sizes: tuple[int, ...], end: int) -> Layout | None:
    dtype = _DTYPE.get(fields["ElementType"])
    data = fields["ElementDataFile"]
    if dtype is None or not _is_true(fields.get("BinaryData", "True")) or data.split()[:1] == ["LIST"] or "%" in data:
        return None
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    shape = (*sizes[::-1], channels) if channels > 1 else sizes[::-1]
    big = _is_true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")))
    stored = np.dtype((">" if big else "<") + dtype)
    compressed = _is_true(fields.get("CompressedData", "False"))
    local = data.upper() == "LOCAL"
    where = path if local else beside(path, data)
    skip = int(fields.get("HeaderSize", "0"))
    layout = Layout(where, end if local else max(0, skip), "deflate" if compressed else "raw", stored, shape, tuple(range(len(shape))))
    if skip == -1 and not compressed:
        layout = Layout(where, max(0, where.stat().st_size - layout.nbytes), "raw", stored, shape, layout.order)
    return layout
