"""Opening HDF5 files, and saying what is wrong with those that do not open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate_core import SourceError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF4 = b"\x0e\x03\x13\x01"
_LAST_USER_BLOCK = 1 << 30


def foreign(path: Path) -> str | None:
    """Why a path is no HDF5 file; None when it begins as one.

    The signature may stand at byte 0, 512, 1024, 2048 and so on, behind a user block (HDF5 file format specification, II.A).

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        return "is a folder, expected a file"
    size = path.stat().st_size
    if size == 0:
        return "the file is empty"
    with path.open("rb") as file:
        head = file.read(len(SIGNATURE))
        if head == SIGNATURE:
            return None
        at = 512
        while at < min(size, _LAST_USER_BLOCK):
            file.seek(at)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return None
            at *= 2
    if head.startswith(_HDF4):
        return "is an HDF4 file, another format than HDF5: convert it with h4toh5 first"
    return "has no HDF5 signature"


def open_file(path: Path) -> Any:
    """An ``h5py.File`` for reading; the caller closes it.

    Raises:
        SourceError: there is no such file, it is none of HDF5, cut short, damaged, or open elsewhere for writing.
    """
    import h5py

    try:
        reason = foreign(path)
    except FileNotFoundError as error:
        message = "there is no such file"
        raise SourceError(message, where=str(path)) from error
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or error}"
        raise SourceError(message, where=str(path)) from error
    if reason is not None:
        raise SourceError(reason, where=str(path))
    try:
        return h5py.File(path, "r", locking="best-effort")
    except Exception as error:  # what a damaged superblock raises is endless
        raise _unopened(path, str(error)) from error


def _unopened(path: Path, reason: str) -> SourceError:
    """What became of a file that begins as HDF5 and does not open."""
    if "truncated" in reason or path.stat().st_size < 96:
        message = f"has the signature of HDF5, but is cut short: {reason}"
        return SourceError(message, where=str(path), hint="copy it again, or repeat what wrote it")
    if "h5clear" in reason or "already open for write" in reason:
        message = "was not closed by the program that wrote it, or is still being written"
        return SourceError(message, where=str(path), hint="wait for it; if it has crashed, h5clear -s makes the file readable")
    if "lock" in reason:
        message = f"is locked by a program that writes it: {reason}"
        return SourceError(message, where=str(path), hint="run again when it is closed")
    message = f"has the signature of HDF5, but is cut short or damaged: {reason}"
    return SourceError(message, where=str(path), hint="copy it again, or repeat what wrote it")


def damaged(path: Path, error: BaseException) -> SourceError:
    """What HDF5 raised while it read a file that had opened."""
    message = f"cannot be read, the file may be damaged: {type(error).__name__}: {error}"
    return SourceError(message, where=str(path), hint="h5dump or h5check tell more; copy it again")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open ``h5py.File``; what HDF5 raises inside becomes an error about the file.

    Raises:
        SourceError: as ``open_file``, or reading it fails.
    """
    file = open_file(path)
    try:
        yield file
    except SourceError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, UnicodeError) as error:
        raise damaged(path, error) from error
    finally:
        file.close()
