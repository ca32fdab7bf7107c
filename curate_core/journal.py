"""What a run remembers: an append-only file of finished parts. What it does not name never counts as done.

Each line is JSON with a checksum; a torn last line, all that a crash can leave, is ignored. Lines are written after the parts that they
name have reached the disk, in groups.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import logging
import os
import shutil
import socket
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from attrs import frozen

from curate_core.digest import Known, known_content
from curate_core.durable import FULL, replace_file, sync_below
from curate_core.errors import DiskError, RequestError, SourceError
from curate_core.layout import WORK
from curate_core.model import Plain

_log = logging.getLogger("curate")
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


@frozen
class Quarantined:
    """A case that did not make it.

    Attributes:
        case: its id.
        step: where it failed.
        reason: the error.
        files: of the case.
    """

    case: str
    step: str
    reason: str
    files: tuple[str, ...] = ()


class Journal:
    """The memory of one dataset folder. Only the process that holds the lock writes it; each shard writes a file of its own beside it.

    Args:
        output: the dataset's folder.
        shard: name of the file of the shard that this process is; empty: it is none.

    Attributes:
        name: of the spec that the folder belongs to; empty for a new one.
        parts: key -> record of each finished part.
        memo: file -> what is known of a source that was hashed before.
        committed: keys of the written parts whose data are in the dataset's files.
        pending: plan of a commit that was begun and not ended; None: there is none.
    """

    def __init__(self, output: Path, shard: str = "") -> None:
        self.work = output / WORK
        self.shards = self.work / "shards"
        main = self.work / "journal.jsonl"
        self.path = self.shards / shard if shard else main
        self.name = ""
        self.parts: dict[str, Record] = {}
        self.memo: dict[str, Known] = {}
        self.committed: frozenset[str] = frozenset()
        self.pending: str | None = None
        self._tried: dict[str, tuple[float, Quarantined | None]] = {}
        self._waiting: list[str] = []
        self._last = time.monotonic()
        self._file: io.FileIO | None = None
        self._torn_at: int | None = None
        for path in [main, *sorted(self.shards.glob("*.jsonl"))]:
            if path.exists():
                self._load(path)

    @property
    def failures(self) -> dict[str, Quarantined]:
        """Case -> why it failed when a shard tried it last."""
        return {case: failure for case, (_, failure) in self._tried.items() if failure is not None}

    def _load(self, path: Path) -> None:
        good = 0
        with path.open("rb") as file:
            for line in file:
                value = _parse(line)
                if value is None or not self._takes(value):
                    break
                good += len(line)
        if path == self.path and good < path.stat().st_size:
            self._torn_at = good

    def _takes(self, value: dict[str, Any]) -> bool:
        """Whether a line is of a kind and shape that we know."""
        try:
            self._take(value)
        except (KeyError, TypeError, ValueError):
            return False
        return True

    def _take(self, value: dict[str, Any]) -> None:
        kind = value.pop("type")
        if kind == "part":
            record = Record(**value)
            self.parts[record.key] = record
        elif kind == "file":
            others = tuple((path, None if found is None else tuple(found)) for path, found in value["companions"])
            known, before = Known(tuple(value["stamp"]), value["digest"], others), self.memo.get(value["path"])
            if before is None or before == known or not before.holds(Path(value["path"])):  # shards' files are in no order of time
                self.memo[value["path"]] = known
        elif kind == "tried":
            case, at, failure = value["case"], float(value["at"]), value["failure"]
            if at >= self._tried.get(case, (0.0, None))[0]:
                found = None if failure is None else Quarantined(case, failure["step"], failure["reason"], tuple(failure["files"]))
                self._tried[case] = (at, found)
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

    def add_trial(self, case: str, failure: Quarantined | None) -> None:
        """Remember that a case failed, or that it is tried anew. The latest counts, whichever shard says it."""
        now = time.time()
        self._tried[case] = (now, failure)
        said = None if failure is None else {"step": failure.step, "reason": failure.reason, "files": list(failure.files)}
        self._add({"type": "tried", "case": case, "at": now, "failure": said})

    def unchanged(self, path: Path) -> str | None:
        """The hash of a source that, by its stamps, is as it was when it was hashed; None: it must be read."""
        known = self.memo.get(str(path))
        return known.digest if known is not None and known.holds(path) else None

    def changed(self, files: Iterable[Path]) -> Path | None:
        """The first of some sources that is there and no longer as it was when it was hashed; read again only where its stamps differ."""
        for file in files:
            known = self.memo.get(str(file))
            if known is None or known.holds(file) or not file.exists():
                continue
            with suppress(SourceError):
                if known_content(file, [Path(other) for other, _ in known.companions]).digest == known.digest:
                    continue
            return file
        return None

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
        """Sync the parts named by waiting lines, then write the lines and sync them.

        Where that fails the lines are forgotten, and their parts made again by another run: a sync that failed once may succeed when it
        is tried again, although what it was for is lost.

        Raises:
            OSError: the disk is full, or fails.
        """
        lines, self._waiting = self._waiting, []
        if lines:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            sync_below(self.work)
            if self._file is None:
                if self._torn_at is not None:
                    os.truncate(self.path, self._torn_at)
                self._file = self.path.open("ab", buffering=0)
            left = memoryview("".join(lines).encode())
            while left:
                left = left[self._file.write(left) or 0 :]
            os.fsync(self._file.fileno())
        self._last = time.monotonic()

    def compact(self, live: Iterable[str]) -> None:
        """Rewrite the file with the parts in ``live`` alone; what shards wrote is in it, or forgotten."""
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
        shutil.rmtree(self.shards, ignore_errors=True)
        self._tried.clear()

    def close(self) -> None:
        """Let the file go; nothing waiting is written."""
        if self._file is not None:
            with suppress(OSError):  # all lines that count were synced
                self._file.close()
            self._file = None


def _holder(file: IO[str]) -> str:
    """Who has a lock, as far as its file tells."""
    file.seek(0)
    text = "".join(c for c in file.read(200) if c.isprintable())
    return text if text.startswith("process ") else "a process that does not say which"


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

    Attributes:
        waited: there was another run.
    """

    def __init__(self, output: Path, *, wait: bool = False) -> None:
        self.path, self.wait = output / WORK / "lock", wait
        self.waited = False
        self._file: IO[str] | None = None

    def __enter__(self) -> Lock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+", encoding="utf-8", errors="replace")
        except OSError as error:
            if error.errno in (*FULL, errno.EIO):
                message = f"writing failed: {error.strerror}"
                raise DiskError(message, where=str(self.path.parent), hint="make room there, or mend it, and run again") from error
            message = f"the output folder cannot be written: {error.strerror or error}"
            raise RequestError(message, where=str(self.path.parent.parent), hint="choose another with --output") from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"another run is at work on this folder: {_holder(file)}"
                if not self.wait:
                    file.close()
                    hint = "wait for it (--wait), or choose another output"
                    raise RequestError(message, where=str(self.path.parent.parent), hint=hint) from error
                _log.warning("%s: waiting for it", message)
                self.waited = True
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            file.close()
            message = f"the output folder cannot be locked: {error.strerror or error}"
            raise RequestError(message, where=str(self.path.parent.parent), hint="choose one on another disk") from error
        with suppress(OSError):  # who it is is told as a courtesy; the disk may be full
            file.truncate(0)
            line = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
            os.write(file.fileno(), line.encode(errors="replace"))
        self._file = file
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.truncate(0)
            self._file.close()
