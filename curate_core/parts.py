"""Parts: what units leave behind. A part is a folder named by the key of what it depends on; it appears at once, whole.

::

    .curate/parts/<key>/      a finished part
    .curate/aside/<key>.<pid>/  one in the making
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate_core.layout import WORK


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
        """Whether a folder is there; whether it is whole, the journal knows."""
        return self.path(key).is_dir()

    @contextmanager
    def making(self, key: str) -> Iterator[Path]:
        """A folder to fill, put in place when the block ends; a failure leaves nothing."""
        aside = self.aside / f"{key}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            yield aside
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

    def clear_aside(self) -> None:
        """Remove what an earlier process left unfinished."""
        shutil.rmtree(self.aside, ignore_errors=True)


def save_json(path: Path, value: Any) -> None:
    """A plain value, as compact JSON."""
    path.write_text(json.dumps(value, separators=(",", ":"), ensure_ascii=False), encoding="utf-8", errors="surrogatepass")


def load_json(path: Path) -> Any:
    """What ``save_json`` wrote."""
    return json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
