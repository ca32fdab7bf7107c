"""Making sure that what was written survives a power cut, at a price that many small files can pay."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from curate_core.errors import CurateError, DiskError

FULL = {errno.ENOSPC, errno.EDQUOT}
_DISK = {*FULL, errno.EROFS, errno.EFBIG, errno.ENXIO, errno.ENODEV}
_HINTS = {
    errno.ENOSPC: "make room there and run again: it continues; so it does where the whole folder is moved to another disk",
    errno.EDQUOT: "make room within your quota and run again: it continues",
    errno.EFBIG: "the file system, or ulimit -f, refuses files of that size: choose another disk or raise it, and run again: it continues",
    errno.EIO: "the disk fails, see the system's log; once it is well, run again: it continues",
    errno.EACCES: "give yourself the right to write there and run again: it continues",
    errno.EROFS: "the disk is mounted for reading only: mount it for writing and run again: it continues",
}
_PROBE_BYTES = 65536


@lru_cache(maxsize=1)
def _syncfs() -> Any:
    """Linux's syncfs(2): one call for all files of a file system; None elsewhere."""
    try:
        return ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return None


def sync_below(folder: Path) -> None:
    """Everything written below a folder so far is on disk when this returns.

    Raises:
        OSError: the disk reports a failure of an earlier write.
    """
    syncfs = _syncfs()
    if syncfs is None:
        os.sync()
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(handle) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(handle)


@contextmanager
def writing(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Whatever fails within because of the disk is a ``DiskError`` that says so; errors about files elsewhere pass.

    Libraries report a full disk in ways of their own, so that for other errors the disk is asked whether it takes anything.

    Args:
        folder: what is written lies below it.
        needed: bytes that are written within, where that is known.

    Raises:
        DiskError: the disk is to blame.
    """
    try:
        yield
    except CurateError:
        raise
    except OSError as error:
        number = _number_of(error)
        elsewhere = error.filename is not None and not _is_below(error.filename, folder)
        if number == errno.ENAMETOOLONG or (number not in _DISK and (elsewhere or (number is None and _refusal(folder) is None))):
            raise
        raise _disk_error(error, number, folder, needed) from error
    except Exception as error:
        refusal = _refusal(folder)
        if refusal is None:
            raise
        raise _disk_error(refusal, refusal.errno, folder, needed) from error


def _number_of(error: OSError) -> int | None:
    """The system's number of an error; libraries hide it in the text (HDF5), or have none (NumPy: 10 requested and 3 written)."""
    if error.errno is not None:
        return error.errno
    found = re.search(r"errno = (\d+)", str(error))
    if found:
        return int(found[1])
    return errno.ENOSPC if re.search(r"\d+ requested and \d+ written", str(error)) else None


def _refusal(folder: Path) -> OSError | None:
    """What the disk says to a small file; None: it takes it."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _disk_error(error: OSError, number: int | None, folder: Path, needed: int | None) -> DiskError:
    """The error as a user can act on it: what, where, how much room there is and how much was needed, what to do."""
    said = error.strerror or (os.strerror(number) if number else str(error))
    room = []
    if number in FULL:
        if needed:
            room.append(f"{_size(needed)} are needed")
        try:
            status = os.statvfs(_existing(folder))
            room.append(f"{_size(status.f_bavail * status.f_frsize)} are free there")
        except OSError:
            pass
    message = f"writing failed: {said}" + (f" ({', '.join(room)})" if room else "")
    hint = _HINTS.get(number or 0, "mend it and run again: it continues")
    return DiskError(message, where=str(error.filename or folder), hint=hint)


def with_need(error: DiskError, left: int) -> DiskError:
    """A copy that also says, where room is what is missing, how many bytes are still to be written."""
    if not left or "free there" not in error.message:
        return error
    message = f"{error.message}; the samples that are not written yet take up to {_size(left)}"
    return DiskError(message, where=error.where, hint=error.hint)


def _size(count: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000  # type: ignore[assignment]
    return f"{count:.3g} {unit}" if count < 1000 else f"{count:,.0f} {unit}"


def _is_below(path: object, folder: Path) -> bool:
    return isinstance(path, str | Path) and Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def sync_folder(folder: Path) -> None:
    """The names in a folder are on disk when this returns."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, text: str) -> None:
    """Put a small file in place at once, synced."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync_folder(path.parent)
