"""What people said of samples, and how they are split for training."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curate_core import NDArray, RequestError

WORDS = {"good": 1, "informative": 1, "1": 1, "bad": 0, "uninformative": 0, "0": 0, "none": -1, "": -1}
"""Label -> 1: stays, 0: goes, -1: not labelled."""


def read_labels(file: Path, ids: Sequence[str]) -> NDArray:
    """(n,) int8: the label of each sample, -1 where it has none.

    Args:
        file: a CSV table with the columns ``id`` and ``label``, or a .npy array with a label for each sample in manifest order.
        ids: of the samples, in manifest order.

    Raises:
        RequestError: it is neither, or speaks of other samples.
    """
    return _from_array(file, len(ids)) if file.suffix.lower() == ".npy" else _from_table(file, ids)


def _from_array(file: Path, count: int) -> NDArray:
    try:
        given = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        message = f"this is no array of labels: {error}"
        raise RequestError(message, where=str(file)) from error
    if given.shape != (count,):
        message = f"labels of shape {given.shape} for {count} samples: one for each is needed, in manifest order"
        raise RequestError(message, where=str(file))
    return np.array([_value(str(word), file, f"entry {i}") for i, word in enumerate(given.tolist())], np.int8)


def _from_table(file: Path, ids: Sequence[str]) -> NDArray:
    position = {name: i for i, name in enumerate(ids)}
    labels = np.full(len(ids), -1, np.int8)
    unknown = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text)
            if not {"id", "label"} <= set(rows.fieldnames or ()):
                message = f"a table of labels needs the columns id and label, this has {', '.join(rows.fieldnames or ()) or 'none'}"
                raise RequestError(message, where=str(file))
            for row in rows:
                if row["id"] not in position:
                    unknown.append(row["id"])
                else:
                    labels[position[row["id"]]] = _value(row["label"] or "", file, f"line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"this is no table of labels: {error}"
        raise RequestError(message, where=str(file)) from error
    if unknown:
        message = f"{len(unknown)} labelled samples are not in the dataset, {unknown[0]!r} is the first"
        raise RequestError(message, where=str(file), hint="ids are those of manifest.jsonl")
    return labels


def _value(word: str, file: Path, place: str) -> int:
    try:
        return WORDS[word.strip().lower()]
    except KeyError:
        message = f"{place}: {word!r} is no label"
        raise RequestError(message, where=str(file), hint="labels are good, bad and none (1, 0 and empty)") from None


def split_by_source(labels: NDArray, sources: Sequence[str], share: float, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Rows to train on and rows to validate with; no source is on both sides, and both labels are about as frequent on each.

    Sources are taken in a drawn order, each where it brings both counts of the validation side nearer to ``share`` of all. With a single
    source its samples are split, label by label.

    Args:
        labels: (n,) 0, 1, or -1 for rows to leave out.
        sources: (n,) what each row comes from.
        share: of the labelled rows to validate with, 0..1.
    """
    rows = np.flatnonzero(labels >= 0)
    groups: dict[str, list[int]] = {}
    for row in rows.tolist():
        groups.setdefault(sources[row], []).append(row)
    if len(groups) < 2:
        chosen = []
        for value in (0, 1):
            of = generator.permutation(rows[labels[rows] == value])
            chosen += of[: round(share * len(of))].tolist()
    else:
        wanted = share * np.array([np.sum(labels == value) for value in (0, 1)])
        counts, chosen, taken = np.zeros(2), [], 0
        names = list(groups)
        for index in generator.permutation(len(names)):
            group = groups[names[index]]
            added = counts + [np.sum(labels[group] == value) for value in (0, 1)]
            if taken < len(names) - 1 and np.abs(added - wanted).sum() < np.abs(counts - wanted).sum():
                counts, taken = added, taken + 1
                chosen += group
    validate = np.sort(np.array(chosen, np.int64))
    return np.setdiff1d(rows, validate), validate


def auroc(labels: NDArray, scores: NDArray) -> float:
    """Area under the ROC curve: the chance that a good sample scores above a bad one, ties counting half (Mann and Whitney, 1947)."""
    good, bad = scores[labels == 1], scores[labels == 0]
    if not len(good) or not len(bad):
        return float("nan")
    order = np.sort(bad)
    below, up_to = np.searchsorted(order, good, "left"), np.searchsorted(order, good, "right")
    return float((below + up_to).sum() / (2 * len(good) * len(bad)))


def roc_curve(labels: NDArray, scores: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """False positive rate, true positive rate and threshold: a point for each distinct score, from (0, 0) on."""
    order = np.argsort(-scores, kind="stable")
    ordered, thresholds = labels[order], scores[order]
    last = np.flatnonzero(np.append(np.diff(thresholds) != 0, True))
    true, false = np.cumsum(ordered == 1)[last], np.cumsum(ordered == 0)[last]
    rates = [np.concatenate([[0.0], counts / max(1, counts[-1])]) for counts in (false, true)]
    return rates[0], rates[1], np.concatenate([[np.inf], thresholds[last]])
