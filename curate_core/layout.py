"""Names inside a dataset's folder."""

from __future__ import annotations

WORK = ".curate"
"""What a later run needs to continue or to add cases; a reader needs none of it."""

DATASET = "dataset.json"
"""Written last: its presence means that the dataset is complete."""

MANIFEST, INDEX = "manifest.jsonl", "manifest.index.npy"
DROPPED, QUARANTINE, LOCK = "dropped.jsonl", "quarantine.jsonl", "spec.lock.json"
OWN_FILES = (DATASET, MANIFEST, INDEX, DROPPED, QUARANTINE, LOCK)
