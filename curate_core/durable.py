"""Making sure that what was written survives a power cut, at a price that many small files can pay."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from pathlib import Path
from typing import Any


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


def replace_file(path: Path, text: str) -> None:
    """Put a small file in place at once, synced."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
