"""Parts: what units leave behind. A part is a folder named by the key of what it depends on; it appears at once, whole.

::

    .curate/parts/<key>/      a finished part; its ``seal.json`` holds checksums of the files beside it
    .curate/aside/<key>.<pid>/  one in the making
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from curate_core.durable import writing
from curate_core.errors import RunError
from curate_core.layout import WORK

SEAL = "seal.json"
LARGEST = 64 << 20


class Parts:
    """The parts of one dataset.

    Args:
        output: the dataset's folder.
    """

    def __init__(self, output: Path) -> None:
        self.work = output / WORK
        self.folder = self.work / "parts"
        self.aside = self.work / "aside"

    def path(self, key: str) -> Path:
        """Where the part of a key lies, finished or not."""
        return self.folder / key[:2] / key

    def has(self, key: str) -> bool:
        """Whether a part is there as it was made: what a disk or a hand has changed since does not count; whether it was whole, the
        journal knows.
        """
        folder = self.path(key)
        try:
            seal = json.loads((folder / SEAL).read_bytes())
            return all([*file_sum(folder / name)] == entry for name, entry in seal.items())
        except (OSError, ValueError, AttributeError):
            return False

    @contextmanager
    def making(self, key: str) -> Iterator[Path]:
        """A folder to fill, put in place when the block ends; a failure leaves nothing.

        Raises:
            DiskError: it cannot be written.
        """
        aside = self.aside / f"{key}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            with writing(aside):
                aside.mkdir(parents=True)
                with _held(aside):
                    yield aside
                    save_json(aside / SEAL, {path.name: file_sum(path) for path in sorted(aside.iterdir()) if path.is_file()})
                    target = self.path(key)
                    target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    aside.rename(target)
                except OSError:
                    if not target.is_dir():
                        raise
                    shutil.rmtree(aside)  # a worker that outlived a killed run was here first, with the same bytes
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def present(self) -> list[str]:
        """Keys of all folders that are there."""
        return sorted(path.name for path in self.folder.glob("*/*"))

    def remove(self, key: str) -> None:
        """Forget a part."""
        shutil.rmtree(self.path(key), ignore_errors=True)

    def links(self) -> list[Path]:
        """Symbolic links where curate keeps its own: through them it would write elsewhere."""
        levels = [[self.work], sorted(self.work.glob("*")), sorted(self.folder.glob("*")), sorted(self.folder.glob("*/*"))]
        return [path for level in levels for path in level if path.is_symlink()]

    def clear_aside(self) -> None:
        """Remove what an earlier process left unfinished.

        Renamed first: a worker that outlives its killed run by a moment must not find half of its folder, and put that in place.
        """
        with suppress(OSError):
            self.aside.rename(self.work / f"aside.{os.getpid()}")
        for folder in sorted(self.work.glob("aside*")):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder is the same one at the end, not another of that name that a writer made when a new run had cleared this one away.

    Raises:
        RunError: it is not.
    """
    handle = os.open(folder, os.O_RDONLY)  # an inode that is open is given to no other
    try:
        yield
        if not folder.exists() or folder.stat().st_ino != os.fstat(handle).st_ino:
            message = "another run has cleared away what this one was making"
            raise RunError(message, where=str(folder))
    finally:
        os.close(handle)


def file_sum(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file; of a large one, which holds voxels, the size alone."""
    size = path.stat().st_size
    return size, zlib.crc32(path.read_bytes()) if size <= LARGEST else 0


def save_sealed(path: Path, value: Any) -> None:
    """A plain value as JSON behind its checksum."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    path.write_bytes(b"%08x %s\n" % (zlib.crc32(text), text))


def load_sealed(path: Path) -> Any:
    """What ``save_sealed`` wrote.

    Raises:
        RunError: the file is damaged.
    """
    try:
        head, _, text = path.read_bytes().rstrip(b"\n").partition(b" ")
        if int(head, 16) == zlib.crc32(text):
            return json.loads(text.decode("utf-8", "surrogatepass"))
    except ValueError:
        pass
    message = "what curate keeps of the dataset is damaged"
    raise RunError(message, where=str(path), hint="remove the dataset's folder or choose another output, and run again")


def save_json(path: Path, value: Any) -> None:
    """A plain value, as compact JSON."""
    path.write_text(json.dumps(value, separators=(",", ":"), ensure_ascii=False), encoding="utf-8", errors="surrogatepass")


def load_json(path: Path) -> Any:
    """What ``save_json`` wrote."""
    return json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
