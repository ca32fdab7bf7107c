"""Reading a finished dataset: a map-style dataset that PyTorch accepts as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curate_core.arrays import NDArray
from curate_core.digest import digest_of, file_digest
from curate_core.errors import CurateError, RequestError
from curate_core.host import Host, default_host
from curate_core.kinds import Writer
from curate_core.layout import DATASET, DROPPED, INDEX, MANIFEST, OWN_FILES, QUARANTINE, WORK
from curate_core.model import Tractogram
from curate_core.structure import Mistakes, structure

Row = dict[str, Any]


def open(path: str | os.PathLike[str], host: Host | None = None) -> Dataset:
    """Open a finished dataset.

    Args:
        path: its folder.
        host: plugins, of which those that wrote it are needed to read it.

    Raises:
        RequestError: there is no finished dataset.
    """
    return Dataset(Path(path), host)


class Dataset:
    """The samples of a finished dataset, in manifest order.

    ``dataset[i]`` is a dict from array name to array; nothing is read before it is asked for, and nothing is held but the index. It
    pickles, so that workers of a loader can have it.

    Args:
        path: its folder.
        host: plugins; the installed ones by default.
        rows: positions in the manifest that this selection holds; all by default.
    """

    def __init__(self, path: Path, host: Host | None = None, rows: NDArray | None = None) -> None:
        self.path = Path(os.path.abspath(path))
        if not (self.path / DATASET).exists():
            unfinished = (self.path / WORK / "journal.jsonl").exists()
            message = "the dataset is not complete: run its spec again to continue" if unfinished else "there is no curated dataset here"
            raise RequestError(message, where=str(path))
        try:
            self.summary: dict[str, Any] = json.loads((self.path / DATASET).read_text(encoding="utf-8", errors="surrogatepass"))
            self._offsets: NDArray = np.load(self.path / INDEX, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            message = f"the dataset cannot be read: {error}"
            raise RequestError(message, where=str(path), hint="curate verify tells more") from error
        self._rows = np.arange(len(self._offsets) - 1) if rows is None else rows
        self._host = host
        self._writers: dict[int, Writer] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, NDArray | Tractogram]:
        row = self.row(index)
        return {name: self.read(placement) for name, placement in row["arrays"].items()}

    def __iter__(self) -> Iterator[dict[str, NDArray | Tractogram]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Dataset({self.summary['name']!r}, {len(self)} samples, {self.path})"

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "rows": self._rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], rows=state["rows"])  # type: ignore[misc]

    def row(self, index: int) -> Row:
        """The manifest's row of a sample: id, case, attributes, sources, views, scores, arrays, sha256."""
        if not -len(self) <= index < len(self):
            message = f"sample {index} of {len(self)}"
            raise IndexError(message)
        at = int(self._rows[index])
        with (self.path / MANIFEST).open("rb") as file:
            file.seek(int(self._offsets[at]))
            text = file.read(int(self._offsets[at + 1] - self._offsets[at]))
        row: Row = json.loads(text.decode("utf-8", "surrogatepass"))
        return row

    def rows(self) -> Iterator[Row]:
        """The manifest's rows of all samples, in order."""
        wanted = set(self._rows.tolist()) if len(self._rows) < len(self._offsets) - 1 else None
        with (self.path / MANIFEST).open(encoding="utf-8", errors="surrogatepass") as file:
            for number, line in enumerate(file):
                if wanted is None or number in wanted:
                    yield json.loads(line)

    def select(self, where: Callable[[Row], bool] | None = None, **attributes: Any) -> Dataset:
        """The samples whose attributes have these values (or one of a list), and for which ``where(row)`` holds."""
        wanted = {key: value if isinstance(value, list | tuple | set) else [value] for key, value in attributes.items()}
        keep = [
            position
            for position, row in zip(self._rows.tolist(), self.rows(), strict=True)
            if all(key in row["attributes"] and row["attributes"][key] in values for key, values in wanted.items())
            and (where is None or where(row))
        ]
        return Dataset(self.path, self._host, np.array(keep, np.int64))

    def dropped(self) -> Iterator[Row]:
        """Lines of ``dropped.jsonl``: samples that filters dropped, with step, score, and on whose account."""
        return self._lines(DROPPED)

    def quarantined(self) -> Iterator[Row]:
        """Lines of ``quarantine.jsonl``: cases and samples that could not be used, with step and reason."""
        return self._lines(QUARANTINE)

    def _lines(self, name: str) -> Iterator[Row]:
        with (self.path / name).open(encoding="utf-8", errors="surrogatepass") as file:
            for line in file:
                yield json.loads(line)

    def _writer(self, index: int) -> Writer:
        if index not in self._writers:
            described = self.summary["writers"][index]
            host = self._host or default_host()
            try:
                self._writers[index] = structure(described["options"], host.load(host.find("writer", described["use"])), self.path)
            except Mistakes as mistakes:
                message = f"the installed {described['use']} does not read what it wrote: {mistakes}"
                raise RequestError(message, where=str(self.path)) from mistakes
        return self._writers[index]

    def read(self, placement: Mapping[str, Any]) -> NDArray | Tractogram:
        """The array that an entry of a row's ``arrays`` points to."""
        return self._writer(placement.get("writer", 0)).read(self.path / placement["file"], placement.get("place"))

    def verify(self, progress: Callable[[int], None] | None = None) -> list[str]:
        """Recompute checksums, counts and the manifest against the files; what is wrong, empty when nothing is.

        Args:
            progress: called with the number of samples checked so far.
        """
        if file_digest(self.path / MANIFEST) != self.summary["manifest_sha256"]:
            return [f"{MANIFEST}: it is not the file that the run wrote"]
        problems: list[str] = []
        files: set[str] = set()
        ids: set[str] = set()
        for number, row in enumerate(self.rows(), 1):
            if row["id"] in ids:
                problems.append(f"{MANIFEST}: two rows have the id {row['id']}")
            ids.add(row["id"])
            for name, placement in row["arrays"].items():
                files.add(placement["file"])
                problems += [
                    f"{placement['file']}: sample {row['id']}, array {name}: {p}" for p in self._check(placement, row["sha256"][name])
                ]
            if progress is not None:
                progress(number)
        if len(ids) != self.summary["samples"]:
            problems.append(f"{MANIFEST}: {len(ids)} rows, {DATASET} counts {self.summary['samples']}")
        problems += [f"{name}: not part of the dataset" for name in _strangers(self.path, files)]
        return problems

    def _check(self, placement: Mapping[str, Any], digest: str) -> Sequence[str]:
        try:
            values = self.read(placement)
        except (CurateError, OSError, ValueError, KeyError, IndexError) as error:
            return [f"cannot be read: {error}"]
        return [] if digest_of(values) == digest else ["the values are not those that were written (checksum differs)"]


def _strangers(folder: Path, known: set[str]) -> list[str]:
    found = [p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).parts[0] != WORK]
    names = [p.relative_to(folder).as_posix() for p in found]
    return sorted(name for name in names if name not in known and name not in OWN_FILES)
