"""What became of a set of samples in one stage: dropped, rejected, scored or passed by; and the verdict over a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from curate_core.arrays import NDArray
from curate_core.batch import Batch
from curate_core.errors import StepError
from curate_core.kinds import Context, Features, Filter, Verdict
from curate_core.npz import load_arrays, save_arrays
from curate_core.parts import Parts, load_json, save_json
from curate_core.spec import Step
from curate_core.steps import blame, split

_NO_ROWS = np.zeros(0, np.int64)


class Survey:
    """A ledger that a unit fills as its batches go by, and saves in its part.

    Rows are positions in the case's ROI table.
    """

    def __init__(self) -> None:
        self._dropped: list[tuple[str, NDArray, NDArray]] = []
        self._kept: list[tuple[str, NDArray, NDArray]] = []
        self.rejected: dict[int, tuple[str, str]] = {}
        self._scored: list[tuple[NDArray, dict[str, NDArray]]] = []
        self._passed: list[NDArray] = []

    def reject(self, batch: Batch, step: str, context: Context) -> Batch:
        """Note the samples that a step refused; returns the others."""
        if not context.rejected:
            return batch
        for row, reason in sorted(context.rejected.items()):
            self.rejected[int(batch.rows[row])] = (step, reason)
        keep = np.ones(len(batch), bool)
        keep[list(context.rejected)] = False
        return batch.take(keep)

    def _features(self, step: Step, part: Batch, context: Context) -> tuple[NDArray, dict[str, NDArray]]:
        """Rows that a filter accepts, and their feature columns.

        Raises:
            StepError: a column has not one entry for each sample.
        """
        assert isinstance(step.component, Filter)
        with blame(step, part.case.id):
            scores: object = step.component.score(part, context)
            if not isinstance(scores, Mapping):
                message = f"score must give a mapping of names to columns, not {type(scores).__name__}"
                raise StepError(message)
            columns = {name: np.asarray(column) for name, column in scores.items()}
            for name, column in columns.items():
                if column.shape[:1] != (len(part),):
                    message = f"score gave the column {name!r} of shape {column.shape} for {len(part)} samples"
                    raise StepError(message)
        accepted = np.ones(len(part), bool)
        accepted[list(context.rejected)] = False
        self.reject(part, step.name, context)
        context.rejected.clear()
        return part.rows[accepted], {name: column[accepted] for name, column in columns.items()}

    def judge(self, step: Step, batch: Batch, context: Context) -> Batch:
        """Let a filter over single samples act on a batch; returns the survivors, those that ``when`` passes by included."""
        component = step.component
        assert isinstance(component, Filter)
        survivors = np.ones(len(batch), bool)
        for part, applies in split(step, batch):
            if not applies:
                continue
            rows, columns = self._features(step, part, context)
            with blame(step, batch.case.id):
                verdict = verdict_of(component, columns, len(rows), context)
            self._note(step.name, rows, verdict)
            stays = np.isin(part.rows, rows[verdict.keep], assume_unique=True)
            survivors[np.isin(batch.rows, part.rows, assume_unique=True)] = stays
        return batch.take(survivors)

    def _note(self, step: str, rows: NDArray, verdict: Verdict) -> None:
        score = np.full(len(rows), np.nan) if verdict.score is None else np.asarray(verdict.score, np.float64)
        self._dropped.append((step, rows[~verdict.keep], score[~verdict.keep]))
        self._kept.append((step, rows[verdict.keep], score[verdict.keep]))

    def score(self, step: Step, batch: Batch, context: Context) -> None:
        """Let a filter over a group compute the features of a batch."""
        for part, applies in split(step, batch):
            if applies:
                self._scored.append(self._features(step, part, context))
            else:
                self._passed.append(part.rows)

    def dropped_counts(self) -> dict[str, int]:
        """Filter -> samples that it dropped."""
        counts: dict[str, int] = {}
        for step, rows, _ in self._dropped:
            counts[step] = counts.get(step, 0) + len(rows)
        return counts

    def save(self, folder: Path) -> None:
        """Write the ledger of dropped, kept and rejected samples into a part."""
        names = sorted({step for step, _, _ in [*self._dropped, *self._kept]})
        arrays: dict[str, NDArray] = {}
        for prefix, entries in (("dropped", self._dropped), ("kept", self._kept)):
            for i, name in enumerate(names):
                rows = np.concatenate([_NO_ROWS, *(r for step, r, _ in entries if step == name)])
                scores = np.concatenate([np.zeros(0), *(s for step, _, s in entries if step == name)])
                order = np.argsort(rows)
                arrays[f"{prefix}.{i}.rows"], arrays[f"{prefix}.{i}.score"] = rows[order], scores[order]
        save_arrays(folder / "survey.npz", arrays)
        rejected = [[row, step, reason] for row, (step, reason) in sorted(self.rejected.items())]
        save_json(folder / "survey.json", {"steps": names, "rejected": rejected})

    def save_scores(self, folder: Path, origin: Mapping[str, str]) -> int:
        """Write features, sorted by row, into a part; returns how many samples have them.

        Args:
            origin: case id and key of its prepared part, to find the samples' ids later.
        """
        rows = np.concatenate([_NO_ROWS, *(r for r, _ in self._scored)])
        order = np.argsort(rows, kind="stable")
        arrays = {"rows": rows[order], "passed": np.sort(np.concatenate([_NO_ROWS, *self._passed]))}
        for name in self._scored[0][1] if self._scored else ():
            arrays[f"feature.{name}"] = np.concatenate([columns[name] for _, columns in self._scored])[order]
        save_arrays(folder / "score.npz", arrays)
        save_json(folder / "score.json", dict(origin))
        return len(rows)


class Ledger:
    """A saved survey, read back."""

    def __init__(self, folder: Path) -> None:
        found = load_json(folder / "survey.json")
        arrays = load_arrays(folder / "survey.npz")
        self.rejected: list[tuple[int, str, str]] = [(row, step, reason) for row, step, reason in found["rejected"]]
        self.dropped = {name: (arrays[f"dropped.{i}.rows"], arrays[f"dropped.{i}.score"]) for i, name in enumerate(found["steps"])}
        self.kept = {name: (arrays[f"kept.{i}.rows"], arrays[f"kept.{i}.score"]) for i, name in enumerate(found["steps"])}


def verdict_of(component: Filter, columns: Mapping[str, NDArray], count: int, context: Context, existing: NDArray | None = None) -> Verdict:
    """Ask a filter, and hold its answer to the contract.

    Raises:
        StepError: the answer has another length than what it is about.
    """
    kept_before = np.zeros(count, bool) if existing is None else existing
    verdict = component.keep(Features(columns, kept_before, _no_ids), context)
    if not isinstance(verdict, Verdict):
        message = f"keep must give a Verdict, not {type(verdict).__name__}"
        raise StepError(message)
    for name, value in (("keep", verdict.keep), ("score", verdict.score), ("because", verdict.because)):
        if value is not None and np.shape(value) != (count,):
            message = f"keep gave {name} of shape {np.shape(value)} for {count} samples"
            raise StepError(message)
    return Verdict(np.asarray(verdict.keep, bool), verdict.score, verdict.because)


def _no_ids(row: int) -> str:
    message = "filters judge by features alone"
    raise LookupError(message)


def close_filter(
    parts: Parts, closing: str, step: Step, members: Sequence[str], context: Context, existing: Sequence[NDArray | None] | None = None
) -> None:
    """Judge the samples of a group together, and keep the verdict as a part.

    Args:
        closing: key of the verdict.
        members: keys of the scored parts, in manifest order.
        existing: for each member that the dataset which is continued had, which of its scored rows it kept: these verdicts stay.
    """
    component = step.component
    assert isinstance(component, Filter)
    loaded = [load_arrays(parts.path(key) / "score.npz") for key in members]
    counts = [len(arrays["rows"]) for arrays in loaded]
    filled = [arrays for arrays, count in zip(loaded, counts, strict=True) if count]
    names = [name for name in filled[0] if name.startswith("feature.")] if filled else []
    with blame(step):
        for arrays in filled[1:]:
            if [name for name in arrays if name.startswith("feature.")] != names:
                message = "score gave different columns for different batches"
                raise StepError(message)
        columns = {name.removeprefix("feature."): np.concatenate([arrays[name] for arrays in filled]) for name in names}
        kept = [np.zeros(n, bool) if e is None else e for n, e in zip(counts, existing or [None] * len(counts), strict=True)]
        judged = [np.full(n, e is not None) for n, e in zip(counts, existing or [None] * len(counts), strict=True)]
        before, known = np.concatenate([np.zeros(0, bool), *kept]), np.concatenate([np.zeros(0, bool), *judged])
        total = sum(counts)
        verdict = verdict_of(component, columns, total, context, before) if total else Verdict(np.zeros(0, bool))
        verdict = Verdict(np.where(known, before, verdict.keep), verdict.score, verdict.because)
    with parts.making(closing) as folder:
        arrays = {"keep": verdict.keep, "edges": np.cumsum([0, *counts])}
        if verdict.score is not None:
            arrays["score"] = np.asarray(verdict.score, np.float64)
        if verdict.because is not None:
            arrays["because"] = np.asarray(verdict.because, np.int64)
        save_arrays(folder / "closure.npz", arrays)
        save_json(folder / "closure.json", {"members": list(members)})


@lru_cache(maxsize=2)
def load_closure(folder: Path) -> Mapping[str, NDArray]:
    """A verdict over a group; the last ones are held, as many cases ask for one."""
    return load_arrays(folder / "closure.npz")


def survivors(parts: Parts, closing: str, member: int, scored: str) -> NDArray:
    """Rows of one member that are left after a verdict, those that the filter passed by included, ascending.

    Args:
        closing: key of the verdict.
        member: index among its members.
        scored: key of the member's scored part.
    """
    closure = load_closure(parts.path(closing))
    scores = load_arrays(parts.path(scored) / "score.npz")
    first, last = closure["edges"][member : member + 2]
    rows: NDArray = np.sort(np.concatenate([scores["rows"][closure["keep"][first:last]], scores["passed"]]))
    return rows


def early_survivors(survey: Survey, steps: Sequence[Step], batch: Batch, contexts: Sequence[Context]) -> NDArray:
    """Rows left by the filters that act while ROIs are found."""
    for step, context in zip(steps, contexts, strict=True):
        if len(batch):
            batch = survey.judge(step, batch, context)
    return batch.rows
