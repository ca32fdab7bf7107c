"""No two samples may take one path: found out before anything is cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from curate_core.arrays import NDArray
from curate_core.cut import without_pixels
from curate_core.errors import StepError
from curate_core.kinds import Writer
from curate_core.model import Case
from curate_core.rois import RoiTable
from curate_core.spec import Spec
from curate_core.steps import split


def sample_paths(spec: Spec, case: Case, table: RoiTable) -> list[tuple[str, int]] | None:
    """(path, row) of each sample under each writer that gives it one of its own; None where that is not known before it is cut."""
    found: list[tuple[str, int]] = []
    batch = without_pixels(case, table, table.ids(case.id), np.arange(len(table)))
    for step in spec.write:
        assert isinstance(step.component, Writer)
        for part, applies in split(step, batch):
            if not applies or not len(part):
                continue
            try:
                paths = step.component.paths(part)
            except StepError:
                return None  # the path uses what a transform adds; the commit looks again
            if paths is not None:
                found += zip(paths, part.rows.tolist(), strict=True)
    return found


def path_hashes(spec: Spec, case: Case, table: RoiTable) -> NDArray | None:
    """(n,) uint64 hashes of the samples' paths, small enough to compare between all cases; None where paths are not known."""
    paths = sample_paths(spec, case, table)
    if paths is None:
        return None
    digests = b"".join(hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest() for path, _ in paths)
    return np.frombuffer(digests, "<u8")


TWICE = "add a field to the writer's path; where both are the same box, let the ROI finder give it once"


def duplicate_path(spec: Spec, case: Case, table: RoiTable, hashes: NDArray) -> str:
    """What to say of two samples of one case that would take one path; empty when none do."""
    if len(np.unique(hashes)) == len(hashes):
        return ""
    seen: dict[str, int] = {}
    for path, row in sample_paths(spec, case, table) or ():
        if path in seen:
            ids = table.ids(case.id)
            return f"two samples would be written to {path}: {ids[seen[path]]} and {ids[row]}"
        seen[path] = row
    return ""


def shared_hashes(per_case: Iterator[NDArray]) -> NDArray:
    """Hashes that occur in more than one place, ascending."""
    arrays = [np.zeros(0, np.uint64), *per_case]
    values, counts = np.unique(np.concatenate(arrays), return_counts=True)
    return values[counts > 1]
