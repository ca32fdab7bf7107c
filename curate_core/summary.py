"""What a run did, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from curate_core.fates import Fates


@frozen
class Summary:
    """The outcome of one run.

    Attributes:
        name: of the dataset.
        output: its folder.
        cases: cases in the dataset.
        found: ROIs found in them.
        dropped: filter -> samples that it dropped, in the order of the filters.
        written: samples in the dataset.
        quarantined_cases, quarantined_samples: what is named in ``quarantine.jsonl``.
        nbytes: size of the data files.
        seconds: time that the run took.
        units_done: parts made by this run.
        units_reused: parts that were there already and still count.
        fates: how many samples of cases that the dataset had already left or joined it.
    """

    name: str
    output: Path
    cases: int
    found: int
    dropped: Mapping[str, int]
    written: int
    quarantined_cases: int
    quarantined_samples: int
    nbytes: int
    seconds: float
    units_done: int
    units_reused: int
    fates: Fates = Fates()

    @property
    def exit_code(self) -> int:
        """0 when all is complete, 1 when something is in quarantine."""
        return 1 if self.quarantined_cases or self.quarantined_samples else 0
