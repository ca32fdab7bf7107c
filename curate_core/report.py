"""What became of each sample of one case, gathered from its parts: scores of those kept, reasons of those that went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from curate_core.arrays import NDArray
from curate_core.model import Plain
from curate_core.npz import load_arrays
from curate_core.parts import Parts, load_json
from curate_core.prepare import Prepared, load_prepared
from curate_core.rounds import CaseState
from curate_core.survey import Ledger, load_closure


class CaseReport:
    """One case that is through.

    Args:
        parts: of the dataset.
        state: as the last round left it.
    """

    def __init__(self, parts: Parts, state: CaseState) -> None:
        self.parts, self.state = parts, state

    @cached_property
    def prepared(self) -> Prepared:
        """The case's ROIs."""
        assert self.state.prepared is not None
        return load_prepared(self.parts.path(self.state.prepared.name))

    @cached_property
    def ids(self) -> list[str]:
        """Sample ids of all ROIs."""
        return self.prepared.table.ids(self.prepared.case.id)

    @property
    def found(self) -> int:
        """ROIs found."""
        return len(self.prepared.table)

    def written(self) -> list[NDArray]:
        """Rows among the ROIs of what each written part holds, in manifest order."""
        return [np.load(self.parts.path(key) / "rows.npy", allow_pickle=False) for key in self.state.written]

    def _ledgers(self) -> Iterator[Ledger]:
        assert self.state.prepared is not None
        for key in [self.state.prepared.name, *(s.key for s in self.state.scored), *self.state.written]:
            yield Ledger(self.parts.path(key))

    def scores(self, block: int, key: str, rows: NDArray) -> list[dict[str, Plain]]:
        """Filter -> value for each of the samples at ``rows``, ascending."""
        found: list[dict[str, Plain]] = [{} for _ in range(len(rows))]
        for name, where, values in self._kept:
            at = np.searchsorted(where, rows)
            for i, position in enumerate(at.tolist()):
                if position < len(where) and where[position] == rows[i] and not math.isnan(values[position]):
                    found[i][name] = float(values[position])
        return found

    @cached_property
    def _kept(self) -> list[tuple[str, NDArray, NDArray]]:
        found = [(name, rows, values) for ledger in self._ledgers() for name, (rows, values) in ledger.kept.items()]
        for scored in self.state.scored:
            closure, rows, keep, first = self._closure(scored.closing, scored.member, scored.key)
            if "score" in closure and scored.stage.step is not None:
                values = closure["score"][first : first + len(rows)]
                found.append((scored.stage.step.name, rows[keep], values[keep]))
        return [entry for entry in found if len(entry[1])]

    def _closure(self, closing: str, member: int, key: str) -> tuple[Mapping[str, NDArray], NDArray, NDArray, int]:
        closure = load_closure(self.parts.path(closing))
        rows = load_arrays(self.parts.path(key) / "score.npz")["rows"]
        first, last = closure["edges"][member : member + 2].tolist()
        return closure, rows, closure["keep"][first:last], first

    def dropped(self, reports: Mapping[str, CaseReport]) -> list[dict[str, Any]]:
        """Samples that filters dropped, in ROI order, as lines of ``dropped.jsonl``.

        Args:
            reports: case id -> report, for samples on whose account these went.
        """
        found: list[tuple[int, str, float, str | None]] = []
        for ledger in self._ledgers():
            for name, (rows, values) in ledger.dropped.items():
                found += [(row, name, value, None) for row, value in zip(rows.tolist(), values.tolist(), strict=True)]
        for scored in self.state.scored:
            assert scored.stage.step is not None
            closure, rows, keep, first = self._closure(scored.closing, scored.member, scored.key)
            gone = np.flatnonzero(~keep)
            scores = closure["score"][first + gone].tolist() if "score" in closure else [math.nan] * len(gone)
            because = closure["because"][first + gone].tolist() if "because" in closure else [-1] * len(gone)
            others = self._samples(scored.closing, closure, because, reports)
            for at, value, other in zip(gone.tolist(), scores, others, strict=True):
                found.append((int(rows[at]), scored.stage.step.name, value, other))
        return [
            {
                "id": self.ids[row],
                "case": self.prepared.case.id,
                "step": step,
                "score": None if math.isnan(value) else value,
                "because": other,
            }
            for row, step, value, other in sorted(found, key=lambda entry: entry[0])
        ]

    def _samples(
        self, closing: str, closure: Mapping[str, NDArray], indices: list[int], reports: Mapping[str, CaseReport]
    ) -> list[str | None]:
        """Ids of samples by their index in a group."""
        if all(index < 0 for index in indices):
            return [None] * len(indices)
        members = load_json(self.parts.path(closing) / "closure.json")["members"]
        rows_of: dict[int, tuple[str, NDArray]] = {}
        result: list[str | None] = []
        for index in indices:
            if index < 0:
                result.append(None)
                continue
            member = int(np.searchsorted(closure["edges"], index, side="right")) - 1
            if member not in rows_of:
                folder = self.parts.path(members[member])
                rows_of[member] = (load_json(folder / "score.json")["case"], load_arrays(folder / "score.npz")["rows"])
            case, rows = rows_of[member]
            result.append(reports[case].ids[int(rows[index - int(closure["edges"][member])])])
        return result

    def rejected(self) -> list[dict[str, Plain]]:
        """Samples that steps refused, in ROI order, as lines of ``quarantine.jsonl``."""
        found = [entry for ledger in self._ledgers() for entry in ledger.rejected]
        files: list[Plain] = [str(file) for file in self.state.source.files()]
        return [
            {"case": self.prepared.case.id, "sample": self.ids[row], "step": step, "reason": reason, "files": files}
            for row, step, reason in sorted(found)
        ]
