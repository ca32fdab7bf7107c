"""Faults in what a run writes: the library of ``faults.c``, what it is told, what it logged; and power cuts made from that log.

The library counts every operation that changes files below one folder, over all processes of a run. A ``Rule`` picks one of them and says
what happens there. After a kill, ``cut_power`` takes back what a power cut could have: names that were given or removed since the last
``syncfs`` (either all of the last ones, as file systems with ordered metadata keep a beginning of what was done, or any that have nothing to
do with those that stay), and content that was written since the last sync of its file. That is harsher than ext4, XFS and btrfs are.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

HEADER = struct.Struct("<6Q4I128s512s4096s4096s")
LOG_BYTES = 4 << 20
ACTIONS = {"nothing": 0, "kill": 1, "die": 2, "fail": 3}
MOMENTS = {"before": 0, "half": 1, "after": 2}
GROWS = "create|write|mkdir|link|fallocate"
"""Operations that a full disk refuses; it still renames and removes."""


@frozen
class Rule:
    """What happens, and where.

    Attributes:
        action: ``kill`` the process group, let only the process ``die``, ``fail`` the operation.
        nth: the how-manieth of the operations that match.
        op, path: patterns, several between bars; paths are relative to the folder, ``origin>target`` for a rename.
        when: ``before``, ``half`` way through a write, or ``after`` it.
        error: with which an operation fails.
        forever: all later ones that match fail as well.
    """

    action: str = "nothing"
    nth: int = 1
    op: str = "*"
    path: str = "*"
    when: str = "before"
    error: int = errno.ENOSPC
    forever: bool = False


@frozen
class Op:
    """A logged operation; ``result`` is negative for one that failed."""

    number: int
    process: int
    name: str
    result: int
    inode: int
    offset: int
    length: int
    path: str
    other: str

    @property
    def text(self) -> str:
        return f"{self.path}>{self.other}" if self.other else self.path


class Control:
    """The file that tells the library of one run what to do, and what it writes down.

    Args:
        file: the file, made anew.
        root: the folder that is watched.
        grave: folder for what the run removes, for power cuts; None: nothing is kept.
        log: write a log.
    """

    def __init__(self, file: Path, root: Path, rule: Rule | None = None, *, grave: Path | None = None, log: bool = True) -> None:
        rule = rule or Rule()
        self.file, self.root, self.grave = file, root, grave
        size = LOG_BYTES if log else 0
        if grave is not None:
            shutil.rmtree(grave, ignore_errors=True)
            grave.mkdir(parents=True)
        header = HEADER.pack(
            *(0, 0, 0, 0, size, rule.nth),
            *(ACTIONS[rule.action], MOMENTS[rule.when], rule.error, rule.forever),
            *(rule.op.encode(), rule.path.encode(), os.path.realpath(root).encode(), b"" if grave is None else bytes(grave)),
        )
        with file.open("wb") as out:
            out.write(header)
            out.truncate(HEADER.size + size)

    def _header(self) -> tuple[int, ...]:
        with self.file.open("rb") as file:
            return HEADER.unpack(file.read(HEADER.size))[:6]

    @property
    def count(self) -> int:
        """Operations so far."""
        return self._header()[0]

    @property
    def struck(self) -> int:
        """Number of the operation that the rule struck last; 0: it struck none."""
        return self._header()[2]

    def ops(self) -> list[Op]:
        """What was logged, in the order in which it began."""
        end = self._header()[3]
        assert end <= LOG_BYTES, "the log is full"
        with self.file.open("rb") as file:
            file.seek(HEADER.size)
            lines = [line.split("\t") for line in file.read(end).decode().split("\n") if "\0" not in line]
        ops = [Op(int(n), int(p), name, *map(int, more[:4]), *more[4:]) for n, p, name, *more in (line for line in lines if len(line) == 9)]
        return sorted(ops, key=lambda op: op.number)


def compiler() -> str | None:
    """A C compiler."""
    return next((found for found in map(shutil.which, ("cc", "gcc", "clang")) if found), None)


def build(folder: Path) -> Path:
    """Compile the library into a folder."""
    library = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    command = [compiler(), "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return library


@frozen
class Cut:
    """What a power cut took: names taken back, and files that lost content."""

    names: int
    files: int


def cut_power(control: Control, rng: random.Random) -> Cut:
    """Take back what a power cut at the end of a run could have, by chance."""
    assert control.grave is not None
    ops = [op for op in control.ops() if op.result >= 0]
    barrier = max((op.number for op in ops if op.name == "syncfs"), default=0)
    unsure = [op for op in ops if op.number > barrier]
    how = rng.choice(["all are there", "a beginning", "any"])
    lost: list[Op] = []
    if how == "a beginning" and unsure:
        after = rng.randint(barrier, unsure[-1].number)
        lost = [op for op in unsure if op.number > after]
    elif how == "any":
        lost = _independent(unsure, control.root, rng)
    names = sum(_take_back(op, control.root, control.grave) for op in reversed(lost))
    return Cut(names, _lose_content(ops, control.root, rng))


def _independent(unsure: Sequence[Op], root: Path, rng: random.Random) -> list[Op]:
    """Some of the operations on names, such that none that stays has to do with them; what a sync of their folder covers stays."""
    synced = {op.path: op.number for op in unsure if op.name == "fsync" and (root / op.path).is_dir()}
    kept: set[str] = set()
    lost = []
    share = rng.choice([0.2, 0.5, 0.9])
    for op in reversed(unsure):
        if op.name in ("write", "fsync", "open", "fallocate"):
            continue
        touched = [path for path in (op.path, op.other) if path]
        related = any(a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/") for a in touched for b in kept)
        covered = all(synced.get(path.rpartition("/")[0], 0) > op.number for path in touched)
        if related or covered or rng.random() > share:
            kept.update(touched)
        else:
            lost.append(op)
    return lost[::-1]


def _take_back(op: Op, root: Path, grave: Path) -> int:
    """Undo an operation on names, or a cutting of content; 1 when it was one."""
    path, kept = root / op.path, grave / str(op.number)
    if op.name == "create":
        path.unlink()
    elif op.name in ("truncate", "ftruncate"):
        if not kept.exists():
            return 0
        path.write_bytes(kept.read_bytes())
    elif op.name == "mkdir":
        path.rmdir()
    elif op.name == "rename":
        (root / op.other).rename(path)
        if kept.exists():
            os.link(kept, root / op.other)
    elif op.name == "unlink":
        os.link(kept, path)
    elif op.name == "rmdir":
        path.mkdir()
    else:
        return 0
    return 1


def _lose_content(ops: list[Op], root: Path, rng: random.Random) -> int:
    """Of each file, lose what was written since its last sync: cut off, or zeros, or all of it is there by luck."""
    files = {path.stat().st_ino: path for path in root.rglob("*") if path.is_file()}
    unsynced: dict[int, list[tuple[int, int]]] = {}
    for op in ops:
        if op.name == "syncfs":
            unsynced.clear()
        elif op.name == "fsync":
            unsynced.pop(op.inode, None)
        elif op.name == "write" and op.length:
            unsynced.setdefault(op.inode, []).append((op.offset, op.length))
    lost = 0
    luck = rng.choice([0.0, 0.5, 0.9, 0.97])
    for inode, writes in sorted(unsynced.items()):
        how = "kept" if rng.random() < luck else rng.choice(["cut", "zeros"])
        path = files.get(inode)
        if path is None or how == "kept":
            continue
        size = path.stat().st_size
        with path.open("r+b") as file:
            if how == "cut":
                file.truncate(min(size, *(offset for offset, _ in writes)))
            else:
                for offset, length in writes:
                    file.seek(offset)
                    file.write(bytes(max(0, min(length, size - offset))))
        lost += 1
    return lost
