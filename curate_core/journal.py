"""What a run remembers: an append-only file of finished parts. What it does not name never counts as done.

Each line is JSON with a checksum; a torn last line, all that a crash can leave, is ignored. Lines are written after the parts that they
name have reached the disk, in groups.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from attrs import frozen

from curate_core.digest import Known
from curate_core.durable import replace_file, sync_below
from curate_core.errors import RequestError
from curate_core.layout import WORK
from curate_core.model import Plain

GROUP_LINES = 256
GROUP_SECONDS = 5.0


@frozen
class Record:
    """A finished part.

    Attributes:
        key: its name.
        case: id of the case, or the name of a group of cases.
        stage: what was done.
        block: index of the block; None: the whole case.
        facets: what the key is made of, name -> short hash, to say later why a key changed.
        info: plain values that the runner needs without opening the part.
    """

    key: str
    case: str
    stage: str
    block: int | None
    facets: Mapping[str, str]
    info: Mapping[str, Any]


class Journal:
    """The memory of one dataset folder. Only the process that holds the lock writes it.

    Attributes:
        name: of the spec that the folder belongs to; empty for a new one.
        parts: key -> record of each finished part.
        memo: file -> what is known of a source that was hashed before.
        committed: keys of the written parts whose data are in the dataset's files.
        pending: plan of a commit that was begun and not ended; None: there is none.
    """

    def __init__(self, output: Path) -> None:
        self.path = output / WORK / "journal.jsonl"
        self.name = ""
        self.parts: dict[str, Record] = {}
        self.memo: dict[str, Known] = {}
        self.committed: frozenset[str] = frozenset()
        self.pending: str | None = None
        self._waiting: list[str] = []
        self._last = time.monotonic()
        self._file: IO[str] | None = None
        self._torn_at: int | None = None
        if self.path.exists():
            self._load()

    def _load(self) -> None:
        good = 0
        with self.path.open("rb") as file:
            for line in file:
                value = _parse(line)
                if value is None:
                    break
                good += len(line)
                self._take(value)
        self._torn_at = good if good < self.path.stat().st_size else None

    def _take(self, value: dict[str, Any]) -> None:
        kind = value.pop("type")
        if kind == "part":
            record = Record(**value)
            self.parts[record.key] = record
        elif kind == "file":
            others = tuple((path, None if found is None else tuple(found)) for path, found in value["companions"])
            self.memo[value["path"]] = Known(tuple(value["stamp"]), value["digest"], others)
        elif kind == "name":
            self.name = value["name"]
        elif kind == "commit":
            self.pending = value["plan"]
        elif kind == "committed":
            self.committed, self.pending = frozenset(value["keys"]), None

    def _add(self, value: Mapping[str, Plain]) -> None:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
        self._waiting.append(f"{zlib.crc32(text.encode()):08x} {text}\n")

    def begin(self, name: str) -> None:
        """Say whose folder it is."""
        self.name = name
        self._add({"type": "name", "name": name})

    def add_part(self, record: Record) -> None:
        """Remember a finished part; on disk at the next flush."""
        self.parts[record.key] = record
        fields = {"key": record.key, "case": record.case, "stage": record.stage, "block": record.block}
        self._add({"type": "part", **fields, "facets": dict(record.facets), "info": dict(record.info)})

    def add_file(self, path: str, known: Known) -> None:
        """Remember the hash of a source, if its stamp can tell of changes."""
        self.memo[path] = known
        if known.stamp is not None:
            others = [[other, None if found is None else list(found)] for other, found in known.companions]
            self._add({"type": "file", "path": path, "stamp": list(known.stamp), "digest": known.digest, "companions": others})

    def unchanged(self, path: Path) -> str | None:
        """The hash of a source that, by its stamps, is as it was when it was hashed; None: it must be read."""
        known = self.memo.get(str(path))
        return known.digest if known is not None and known.holds(path) else None

    def add_commit(self, plan: str) -> None:
        """A commit begins: its plan, all that it needs, is on disk."""
        self.pending = plan
        self._add({"type": "commit", "plan": plan})
        self.flush()

    def add_committed(self, keys: Iterable[str]) -> None:
        """The commit ended; the data of these written parts are in the dataset's files."""
        self.committed, self.pending = frozenset(keys), None
        self._add({"type": "committed", "keys": sorted(self.committed)})
        self.flush()

    def flush_if_due(self) -> None:
        """Flush when enough has gathered, or enough time has passed."""
        if len(self._waiting) >= GROUP_LINES or (self._waiting and time.monotonic() - self._last > GROUP_SECONDS):
            self.flush()

    def flush(self) -> None:
        """Sync the parts named by waiting lines, then write the lines and sync them."""
        if self._waiting:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            sync_below(self.path.parent)
            if self._file is None:
                if self._torn_at is not None:
                    os.truncate(self.path, self._torn_at)
                self._file = self.path.open("a", encoding="utf-8")
            self._file.write("".join(self._waiting))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._waiting.clear()
        self._last = time.monotonic()

    def compact(self, live: Iterable[str]) -> None:
        """Rewrite the file with the parts in ``live`` alone."""
        wanted = set(live)
        self._waiting.clear()
        self.begin(self.name)
        for path, known in sorted(self.memo.items()):
            self.add_file(path, known)
        kept = [record for key, record in sorted(self.parts.items()) if key in wanted]
        self.parts = {}
        for record in kept:
            self.add_part(record)
        self._add({"type": "committed", "keys": sorted(self.committed)})
        self.close()
        replace_file(self.path, "".join(self._waiting))
        self._waiting.clear()

    def close(self) -> None:
        """Let the file go; nothing waiting is written."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _parse(line: bytes) -> dict[str, Any] | None:
    """A line's value; None when it is torn or not ours."""
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    text = line[9:-1]
    try:
        if int(line[:8], 16) != zlib.crc32(text):
            return None
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class Lock:
    """One run at a time in a folder; the system lets go of it when the process ends, however it ends.

    Args:
        output: the dataset's folder.
        wait: wait for the other run instead of refusing.
    """

    def __init__(self, output: Path, *, wait: bool = False) -> None:
        self.path, self.wait = output / WORK / "lock", wait
        self._file: IO[str] | None = None

    def __enter__(self) -> Lock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+", encoding="utf-8")
        except OSError as error:
            message = f"the output folder cannot be written: {error.strerror or error}"
            raise RequestError(message, where=str(self.path.parent.parent), hint="choose another with --output") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if self.wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            message = f"another run is at work on this folder: {holder}"
            raise RequestError(message, where=str(self.path.parent.parent), hint="wait for it, or choose another output") from error
        except OSError as error:
            file.close()
            message = f"the output folder cannot be locked: {error.strerror or error}"
            raise RequestError(message, where=str(self.path.parent.parent), hint="choose one on another disk") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self._file = file
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
