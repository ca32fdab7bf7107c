"""Reading a finished dataset: a map-style dataset that PyTorch accepts as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from curate_core.arrays import NDArray
from curate_core.digest import digest_of, file_digest
from curate_core.errors import CurateError, RequestError
from curate_core.host import Host, default_host
from curate_core.kinds import Writer
from curate_core.layout import DATASET, DROPPED, INDEX, MANIFEST, OWN_FILES, QUARANTINE, WORK
from curate_core.model import Tractogram, matches
from curate_core.structure import Mistakes, structure

Row = dict[str, Any]
_ROW = ("id", "case", "attributes", "sources", "views", "scores", "arrays", "sha256")
_SUMMARY = {
    "name": str, "description": str, "samples": int, "found": int, "files": int, "bytes": int, "cases": dict, "dropped": dict,
    "quarantined": dict, "writers": list, "manifest_sha256": str,
}  # fmt: skip


class Dataset:
    """The samples of a finished dataset, in manifest order.

    ``dataset[i]`` is a dict from array name to array; nothing is read before it is asked for, and nothing is held but the index. It
    pickles, so that workers of a loader can have it.

    Args:
        path: its folder.
        host: plugins, of which those that wrote it are needed to read it; the installed ones by default.
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
            self._made = _identity((self.path / MANIFEST).stat())
            _check_summary(self.summary, self._offsets)
        except Exception as error:  # what a damaged header of an array raises is endless
            message = f"the dataset cannot be read: {error or type(error).__name__}"
            raise RequestError(message, where=str(path), hint="run its spec again: that makes anew what is damaged") from error
        if not (self.path / DATASET).exists():
            message = "the dataset is being made again"
            raise RequestError(message, where=str(path), hint="open it again when the run has ended")
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
            raise IndexError(self._beyond(index))
        at = int(self._rows[index])
        start, stop = map(int, self._offsets[at : at + 2])
        with self._manifest() as file:
            file.seek(max(0, start))
            return self._parse(file.read(max(0, stop - start)))

    def _beyond(self, index: int) -> str:
        """Why there is no such sample; whoever looks at the first one of none wants to know why there is none."""
        summary = self.summary
        if summary["samples"] or not summary["quarantined"]["cases"]:
            return f"sample {index} of {len(self)}"
        return f"the dataset has no samples, its cases failed; the first because: {next(self.quarantined())['reason']}"

    def rows(self) -> Iterator[Row]:
        """The manifest's rows of all samples, in order."""
        wanted = set(self._rows.tolist()) if len(self._rows) < len(self._offsets) - 1 else None
        with self._manifest() as file:
            for number, line in enumerate(file):
                if wanted is None or number in wanted:
                    yield self._parse(line)

    def _parse(self, line: bytes) -> Row:
        """A row of the manifest.

        Raises:
            RequestError: it is damaged.
        """
        try:
            row: Row = json.loads(line.decode("utf-8", "surrogatepass"))
            return {key: row[key] for key in _ROW}
        except (ValueError, TypeError, KeyError) as error:
            message = f"a row of {MANIFEST} is damaged: {error}"
            raise RequestError(message, where=str(self.path), hint="run its spec again: that makes anew what is damaged") from error

    def _manifest(self) -> BinaryIO:
        """The manifest that the index is of.

        Raises:
            RequestError: a run has put another in its place.
        """
        file = (self.path / MANIFEST).open("rb")
        if _identity(os.fstat(file.fileno())) != self._made:
            file.close()
            message = "the dataset was made again since it was opened"
            raise RequestError(message, where=str(self.path), hint="open it again")
        return file

    def select(self, where: Callable[[Row], bool] | None = None, **attributes: Any) -> Dataset:
        """The samples whose attributes have these values (or one of a list), and for which ``where(row)`` holds.

        An attribute that is a list, such as the pairs that a sample belongs to, has the value of each of its entries.
        """
        wanted = {key: value if isinstance(value, list | tuple | set) else [value] for key, value in attributes.items()}
        keep = [
            position
            for position, row in zip(self._rows.tolist(), self.rows(), strict=True)
            if all(key in row["attributes"] and matches(row["attributes"][key], values) for key, values in wanted.items())
            and (where is None or where(row))
        ]
        return self._selected(np.array(keep, np.int64))

    def _selected(self, rows: NDArray) -> Dataset:
        return Dataset(self.path, self._host, rows)

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

    def lazy(self, index: int, arrays: Sequence[str] | None = None) -> dict[str, Any]:
        """Arrays of a sample that are read box by box as they are sliced, where their format can; all, or those named.

        Raises:
            RequestError: the sample has no array of a name.
        """
        placements = self.row(index)["arrays"]
        missing = [name for name in arrays or () if name not in placements]
        if missing:
            message = f"sample {index} has the arrays {', '.join(placements)}, not {', '.join(missing)}"
            raise RequestError(message, where=str(self.path))
        return {name: self._lazy(placements[name]) for name in (placements if arrays is None else arrays)}

    def _lazy(self, placement: Mapping[str, Any]) -> Any:
        return self._writer(placement.get("writer", 0)).lazy(self.path / placement["file"], placement.get("place"))

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
        indexes = {self._writer(number).index() for number in range(len(self.summary["writers"]))}
        problems += [f"{name}: is not there" for name in sorted(indexes - {""}) if not (self.path / name).is_file()]
        problems += [f"{name}: not part of the dataset" for name in _strangers(self.path, files | indexes)]
        return problems

    def _check(self, placement: Mapping[str, Any], digest: str) -> Sequence[str]:
        try:
            values = self.read(placement)
        except (CurateError, OSError, ValueError, KeyError, IndexError) as error:
            return [f"cannot be read: {error}"]
        return [] if digest_of(values) == digest else ["the values are not those that were written (checksum differs)"]


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _check_summary(summary: object, offsets: NDArray) -> None:
    """Raises a ValueError where ``dataset.json`` and the index are not what a run writes."""
    if not isinstance(summary, dict):
        message = f"{DATASET} holds no object"
        raise ValueError(message)
    wrong = [name for name, kind in _SUMMARY.items() if type(summary.get(name)) is not kind]
    if wrong:
        message = f"{DATASET} says nothing of {', '.join(wrong)}"
        raise ValueError(message)
    if offsets.ndim != 1 or offsets.dtype != np.int64 or len(offsets) != summary["samples"] + 1:
        message = f"{INDEX} is not of {summary['samples']} samples"
        raise ValueError(message)


def _strangers(folder: Path, known: set[str]) -> list[str]:
    found = [p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).parts[0] != WORK]
    names = [p.relative_to(folder).as_posix() for p in found]
    return sorted(name for name in names if name not in known and name not in OWN_FILES)
