"""What is killed: runs of small specs over small volumes, and the points where a run can be killed, by what it is doing there."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from attrs import frozen
from faults import Op

POINTS = (
    ("lock", "*", ".curate/lock*"),
    ("journal: begun", "create|open|truncate|ftruncate", ".curate/journal.jsonl"),
    ("journal: lines", "write", ".curate/journal.jsonl"),
    ("journal: synced", "fsync", ".curate/journal.jsonl"),
    ("journal: rewritten", "*", ".curate/journal.jsonl.partial*|.curate>.curate"),
    ("part: samples", "*", ".curate/aside/*/data*"),
    ("part: in place", "rename", ".curate/aside/*>.curate/parts/*"),
    ("parts: cleared away", "rename|rmdir", ".curate/aside>*|.curate/aside*"),
    ("part: notes", "*", ".curate/aside*"),
    ("commit: shared file assembled", "*", ".curate/commit/assembled.?"),
    ("commit: plan", "*", ".curate/commit/plan.json"),
    ("commit: dataset.json goes", "unlink", "dataset.json"),
    ("commit: samples in place", "rename", ".curate/parts/*>[!.]*"),
    ("commit: shared file in place", "rename", ".curate/commit/assembled.*>*"),
    ("commit: dataset.json comes", "rename", ".curate/commit/dataset.json>dataset.json"),
    ("commit: notes in place", "rename", ".curate/commit/*>*"),
    ("commit: outdated samples go", "unlink|rmdir", "[!.]*"),
    ("commit: notes", "create|write|open|mkdir|truncate", ".curate/commit*"),
    ("commit: cleared away", "unlink|rmdir", ".curate/commit*"),
    ("parts: cleared away", "unlink|rmdir", ".curate/parts*"),
    ("synced", "syncfs|fsync", "*"),
    ("folders", "mkdir", "*"),
    ("other", "*", "*"),
)
"""Kinds of points: name, operations, paths (``origin>target`` for renames); the first that matches counts."""


def kind_of(op: Op) -> str:
    """What a run is doing at an operation."""
    return next(
        name
        for name, ops, paths in POINTS
        if op.name in ops.replace("*", op.name).split("|") and any(fnmatchcase(op.text, path) for path in paths.split("|"))
    )


def one_of_each(ops: Sequence[Op], more: int = 0) -> list[tuple[Op, str]]:
    """Points of a run: (operation, moment), one of each kind that there is, and so many more, evenly; writes half way, too."""
    groups: dict[tuple[str, str], list[Op]] = {}
    for op in ops:
        groups.setdefault((kind_of(op), "before"), []).append(op)
        if op.name == "write" and op.length > 1:
            groups.setdefault((kind_of(op), "half"), []).append(op)
    chosen = {(group[len(group) // 2].number, moment): group[len(group) // 2] for (_, moment), group in groups.items()}
    chosen |= {(op.number, "before"): op for op in (ops[i * len(ops) // more] for i in range(more))}
    return [(op, moment) for (_, moment), op in sorted(chosen.items())]


@frozen
class Scenario:
    """A run, and the dataset that its folder holds before.

    Attributes:
        spec: changes of the plain spec.
        base: changes of the plain spec for the run before; None: the folder is new.
        words: further arguments of the run.
        code: its exit code.
        needs: packages without which it is left out.
    """

    name: str
    spec: dict[str, Any]
    base: dict[str, Any] | None = None
    words: tuple[str, ...] = ()
    code: int = 0
    needs: tuple[str, ...] = ()


PLAIN: dict[str, Any] = {
    "version": 1,
    "name": "lab",
    "source": {"use": "files", "pattern": "data/{case}.npy"},
    "rois": [{"use": "grid", "size": 8, "planes": ["xy"]}],
    "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
    "output": "out",
    "engine": {"use": "local", "workers": 0, "memory": "2 GB"},
}
STACK = {"use": "npy", "path": "all/stack.npy", "stack": True}
UNIQUE = {"use": "near-duplicates", "hash_size": 4, "distance": 2, "within": "dataset"}
BARRIER = {"use": "to-uint8", "range": "min-max", "over": "dataset"}
CHOICE = {"filter": [{"use": "limit", "count": 20, "within": "dataset"}]}
VOLUMES = [{"use": "grid", "size": [2, 8, 8]}]
SCENARIOS = (
    Scenario("files", {}),
    Scenario("stack", {"write": [STACK]}),
    Scenario("files and stacks", {"write": [{"use": "npy", "path": "{case}.npy", "stack": True}, {"use": "npy"}]}),
    Scenario("chosen over the dataset", CHOICE),
    Scenario("statistics and a stack", {"preprocess": [BARRIER], "write": [STACK]}),
    Scenario("two in quarantine", {"source": {"use": "files", "pattern": ["data/{case}.npy", "bad/{case}.npy"]}}, code=1),
    Scenario("tiff", {"write": [{"use": "tiff"}]}, needs=("curate_tiff",)),
    Scenario(
        "tiff volumes", {"rois": VOLUMES, "write": [{"use": "tiff", "stack": True, "compression": "deflate"}]}, needs=("curate_tiff",)
    ),
    Scenario("png", {"write": [{"use": "png"}]}, needs=("curate_imageio",)),
    Scenario("hdf5", {"rois": VOLUMES, "write": [{"use": "hdf5"}]}, needs=("curate_hdf5",)),
    Scenario("hdf5 stack", {"write": [{"use": "hdf5", "stack": True}]}, needs=("curate_hdf5",)),
    Scenario("blosc2", {"rois": VOLUMES, "write": [{"use": "blosc2"}]}, needs=("curate_blosc2",)),
    Scenario("near-duplicates and a stack", {"filter": [UNIQUE], "write": [STACK]}, needs=("curate_em",)),
    Scenario(
        "appended",
        {**CHOICE, "write": [STACK]},
        base={**CHOICE, "write": [STACK], "source": {"use": "files", "pattern": "first/{case}.npy"}},
        words=("--append",),
    ),
    Scenario("another size of samples", {"rois": [{"use": "grid", "size": 4, "planes": ["xy"]}]}, base={}),
    Scenario(
        "another choice in a stack",
        {"filter": [{"use": "intensity", "min_mean": 120}], "write": [STACK]},
        base={"write": [STACK], "filter": [{"use": "intensity", "min_mean": 125}]},
    ),
    Scenario("fewer cases", {}, base={"source": {"use": "files", "pattern": ["data/{case}.npy", "first/{case}.npy"]}}),
    Scenario("overwritten", {"name": "other", "write": [STACK]}, base={}, words=("--overwrite",)),
)
