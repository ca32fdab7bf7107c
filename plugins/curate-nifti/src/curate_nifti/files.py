"""The files of a NIfTI volume: one, or a header with its voxels beside it; each plain or gzipped, whatever its name says."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from curate_core import SourceError

HEAD_BYTES = 540
_GZIP = b"\x1f\x8b"
_SIZES = {348: (344, (b"n+1\0", b"ni1\0")), 540: (4, (b"n+2\0", b"ni2\0"))}
"""Size of a header -> where its mark is, and the mark of single files and of pairs."""
BUFFER = 1 << 18


class HeadError(ValueError):
    """These bytes are not the beginning of a NIfTI header; says why."""


def header_path(path: Path) -> Path:
    """The file with the header: the path itself, or the ``.hdr`` beside an ``.img``."""
    return _exchange(path, ".img", ".hdr") or path


def voxel_path(path: Path, mark: bytes) -> Path:
    """The file with the voxels: the header's, or the ``.img`` beside it where the header's mark says that it is one of a pair."""
    return path if mark.startswith(b"n+") else _exchange(path, ".hdr", ".img") or path


def _exchange(path: Path, old: str, new: str) -> Path | None:
    """The neighbour with another suffix; that of an uncompressed file beside a compressed one, too."""
    name, low = path.name, path.name.lower()
    for ending in (old, f"{old}.gz"):
        if low.endswith(ending):
            stem = name[: -len(ending)]
            wanted = new if name[-len(ending) + 1].islower() else new.upper()
            same, other = (f"{wanted}.gz", wanted) if ending.endswith(".gz") else (wanted, f"{wanted}.gz")
            first = path.with_name(stem + same)
            second = path.with_name(stem + other)
            return second if second.exists() and not first.exists() else first
    return None


@contextmanager
def stream(path: Path, compressed: bool) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed by ISA-L where they are compressed; its checksum is verified where the end is reached."""
    if not compressed:
        with path.open("rb") as file:
            yield file
        return
    from isal import igzip

    with path.open("rb") as file, igzip.open(file, "rb") as opened:
        yield opened


def damage() -> tuple[type[Exception], ...]:
    """What decompressing a damaged file raises."""
    from isal import igzip_lib

    error: Any = igzip_lib.IsalError  # its stub takes it for an instance
    return (error, EOFError, OSError, ValueError)


def is_compressed(path: Path) -> bool:
    """Whether the file begins as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def head(path: Path) -> bytes:
    """The first 540 bytes, decompressed; fewer where the file is shorter.

    Raises:
        HeadError: the file is compressed, and damaged before their end.
        OSError: it cannot be read.
    """
    compressed = is_compressed(path)
    with stream(path, compressed) as file:
        if not compressed:
            return file.read(HEAD_BYTES)
        try:
            return file.read(HEAD_BYTES)
        except damage() as error:
            message = f"is compressed and damaged from its beginning: {error}"
            raise HeadError(message) from error


def kind(start: bytes) -> tuple[int, bytes]:
    """Size of the header (348: NIfTI-1, 540: NIfTI-2) and its mark.

    Raises:
        HeadError: this is no NIfTI header, or one that is cut short.
    """
    if len(start) < min(_SIZES):
        message = f"has {len(start)} bytes, fewer than the {min(_SIZES)} of a NIfTI header"
        raise HeadError(message)
    size = next((size for size in _SIZES for order in "<>" if start[:4] == struct.pack(f"{order}i", size)), 0)
    if not size:
        message = "does not begin with the size of a NIfTI header (348 or 540)"
        raise HeadError(message)
    at, marks = _SIZES[size]
    if start[at : at + 4] not in marks:
        also = " (Analyze 7.5 states no orientation and is not read)" if size == min(_SIZES) else ""
        message = f"has no NIfTI mark at byte {at}{also}"
        raise HeadError(message)
    if len(start) < size:
        message = f"has {len(start)} bytes, fewer than the {size} of its NIfTI-2 header"
        raise HeadError(message)
    return size, start[at : at + 4]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what the system says of a file into a SourceError.

    Raises:
        SourceError: naming the file.
    """
    try:
        yield
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or error}"
        raise SourceError(message, where=str(error.filename or path)) from error


def bad(path: Path, message: str, hint: str = "") -> SourceError:
    """An error about a file."""
    return SourceError(message, where=str(path), hint=hint)
