"""Samples whose fate changed: what the dataset held before, and what it holds of the same cases now.

Filters that judge cases together may decide otherwise once there is one case more. Such changes are told, and named in a file of
the work folder: they belong to the history of a folder, not to the dataset, which is the same however it came about.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from curate_core.layout import DATASET, INDEX, MANIFEST

if TYPE_CHECKING:
    from curate_core.report import CaseReport

FATES = "fates.jsonl"
"""Inside of the work folder: a line for each sample whose fate the last commit changed."""


@frozen
class Fates:
    """How many samples of cases that the dataset had already left it at a commit, and how many joined it."""

    left: int = 0
    joined: int = 0


class Before:
    """Samples of the dataset that a folder holds before a commit; none when it holds none, or a damaged one."""

    def __init__(self, output: Path) -> None:
        self._manifest = output / MANIFEST
        self._places: dict[str, tuple[int, int]] = {}
        try:
            cases: Mapping[str, int] = json.loads((output / DATASET).read_text(encoding="utf-8", errors="surrogatepass"))["cases"]
            self._offsets = np.load(output / INDEX, allow_pickle=False)
            edges = np.cumsum([0, *cases.values()]).tolist()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        if edges[-1] == len(self._offsets) - 1:
            self._places = dict(zip(cases, pairwise(edges), strict=True))

    def count(self, case: str) -> int | None:
        """Samples of a case; None when the dataset did not have it."""
        if case not in self._places:
            return None
        first, last = self._places[case]
        return last - first

    def ids(self, case: str) -> list[str] | None:
        """Sample ids of a case, in manifest order; None when they cannot be read."""
        first, last = (int(self._offsets[i]) for i in self._places[case])
        try:
            with self._manifest.open("rb") as file:
                file.seek(first)
                lines = file.read(last - first).decode("utf-8", "surrogatepass").split("\n")
            return [json.loads(line)["id"] for line in lines if line]
        except (OSError, ValueError, KeyError, TypeError):
            return None


def write_fates(file: Path, before: Before, reports: Mapping[str, CaseReport], committed: Container[str]) -> Fates:
    """Compare each case that the dataset had already with what there is of it now, and name the samples that left or joined.

    Args:
        file: where the names go, as lines of JSON.
        reports: case id -> what became of its samples, in manifest order.
        committed: keys of written parts that the dataset holds already.
    """
    left = joined = 0
    with file.open("w", encoding="utf-8", errors="surrogatepass") as out:
        for case, report in reports.items():
            had = None if _same(before.count(case), report, committed) else before.ids(case)
            if had is None:
                continue
            old, new = dict.fromkeys(had), dict.fromkeys(report.ids[row] for rows in report.written() for row in rows.tolist())
            gone, came = [i for i in old if i not in new], [i for i in new if i not in old]
            steps = {row["id"]: row["step"] for row in report.dropped(reports)} if gone else {}
            rows = [{"id": i, "case": case, "now": "dropped" if i in steps else "not found", "step": steps.get(i)} for i in gone]
            rows += [{"id": i, "case": case, "now": "kept", "step": None} for i in came]
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            left, joined = left + len(gone), joined + len(came)
    return Fates(left, joined)


def _same(count: int | None, report: CaseReport, committed: Container[str]) -> bool:
    """Whether there is nothing to compare: a new case, or one of which all parts are in the dataset and make up all that it has."""
    return count is None or (all(key in committed for key in report.state.written) and count == sum(map(len, report.written())))
