"""Headers of NRRD files (http://teem.sourceforge.net/nrrd/format.html)."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from curate_itk.headers import Header, Layout, bad, beside, check_sizes, integers, text_lines, unit_of

_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPE = {name: dtype for dtype, names in _TYPES.items() for name in names.split(", ")}
_DOMAIN = {"domain", "space", "time", "none", "???"}
_ORIENTED = re.compile(r"(right|left|[rl])-?(anterior|posterior|[ap])-?(superior|[s])(-time|t)?", re.IGNORECASE)


def read_header(path: Path) -> Header:
    """The header up to its first blank line.

    Raises:
        SourceError: it is malformed.
    """
    lines, end = text_lines(path, rb"\r?\n\r?\n")
    fields = {}
    for line in lines[1:]:
        name, separator, value = line.partition(":")
        if separator and not line.startswith("#") and not value.startswith("="):
            fields[name.strip().lower()] = value.strip()
    for name in ("type", "sizes", "encoding"):
        if name not in fields:
            message = f"its header has no {name!r}"
            raise bad(path, message, "the file may be cut short")
    sizes = integers(path, "sizes", fields["sizes"])
    check_sizes(path, sizes)
    spacings = _steps(path, fields)
    oriented = _ORIENTED.fullmatch(fields.get("space", "")) is not None
    words = re.findall(r'"([^"]*)"', fields.get("space units", "") or fields.get("units", ""))
    units = [unit for unit in map(unit_of, words) if unit]
    unit = units[0] if units else "mm" if oriented else ""
    return Header(_layout(path, fields, sizes, end), bool(spacings), oriented, unit, elsewhere=_elsewhere(path, fields))


def _elsewhere(path: Path, fields: dict[str, str]) -> tuple[Path, str] | None:
    data = fields.get("data file", fields.get("datafile", ""))
    encoding = {"txt": "text", "text": "text", "ascii": "text", "hex": "text", "bz2": "bzip2", "bzip2": "bzip2"}.get(
        fields["encoding"].lower()
    )
    if encoding is None or data.startswith("LIST") or "%" in data:
        return None
    return (beside(path, data) if data else path), encoding


def _steps(path: Path, fields: dict[str, str]) -> list[float]:
    """The voxel sizes that it states, to be judged: none of a spatial axis may be NaN or zero."""
    if "space directions" in fields:
        text = fields["space directions"]
        vectors = [v for v in re.findall(r"\([^)]*\)|none", text) if v != "none"]
        steps = [math.hypot(*map(float, v[1:-1].split(","))) for v in vectors]
    elif "spacings" in fields:
        text = fields["spacings"]
        kinds = fields.get("kinds", "").lower().split()
        words = text.split()
        if not kinds:
            kinds = ["domain"] * len(words)
        steps = [float(word) for word, kind in zip(words, kinds, strict=False) if kind in _DOMAIN]
    else:
        return []
    if not all(math.isfinite(step) and step != 0 for step in steps):
        message = f"states the voxel size {text!r}, expected finite numbers other than zero"
        raise bad(path, message, "repair the header: the size of its voxels is not known")
    return steps


def _layout(path: Path, fields: dict[str, str], sizes: tuple[int, ...], end: int) -> Layout | None:
    dtype = _DTYPE.get(fields["type"].lower())
    encoding = {"raw": "raw", "gzip": "deflate", "gz": "deflate"}.get(fields["encoding"].lower())
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")) or 0)
    lines = int(fields.get("line skip", fields.get("lineskip", "0")) or 0)
    if dtype is None or encoding is None or lines or (encoding != "raw" and skip):
        return None
    data = fields.get("data file", fields.get("datafile", ""))
    if data.startswith("LIST") or "%" in data:
        return None
    where = beside(path, data) if data else path
    order = _order(fields, len(sizes))
    if order is None:
        return None
    byte_order = "<" if fields.get("endian", "little").lower() == "little" else ">"
    layout = Layout(where, 0 if data else end, "raw" if encoding == "raw" else "deflate", np.dtype(byte_order + dtype), sizes[::-1], order)
    if encoding == "raw":
        offset = where.stat().st_size - layout.nbytes if skip == -1 else layout.offset + skip
        layout = Layout(where, max(0, offset), "raw", layout.dtype, layout.shape, order)
    return layout


def _order(fields: dict[str, str], count: int) -> tuple[int, ...] | None:
    """Transposition that puts the one axis that is no domain (colour, vector, list) last; None with several of them."""
    kinds = fields.get("kinds", "").lower().split()
    directions = re.findall(r"\([^)]*\)|none", fields.get("space directions", ""))
    pixel = [i for i, kind in enumerate(kinds) if kind not in _DOMAIN]
    if not kinds:
        pixel = [i for i, direction in enumerate(directions) if direction == "none"]
    if len(pixel) > 1:
        return None
    axes = list(range(count))
    if pixel:
        stored = count - 1 - pixel[0]
        axes.append(axes.pop(stored))
    return tuple(axes)
