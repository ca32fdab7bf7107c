"""Adding cases to a complete dataset: what it must remember of the earlier ones.

Earlier samples keep their place and their values: filters see them as existing, verdicts and statistics that were made stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray
from curate_core.digest import identities, key_of
from curate_core.errors import RequestError
from curate_core.layout import WORK
from curate_core.model import CaseSource, Plain
from curate_core.parts import Parts, load_sealed
from curate_core.rounds import CaseState
from curate_core.spec import STEP_LISTS, Spec
from curate_core.structure import structure, unstructure
from curate_core.survey import load_closure

CASES = "cases.json"


@frozen(eq=False)
class Earlier:
    """A case of the dataset that is continued.

    Attributes:
        source: the case as it was found then.
        key: of its contents then.
        statistics: merged values that it was made with.
        verdicts: index of a scoring stage -> (verdict's key, index among its members) by scored part.
    """

    source: CaseSource
    key: str
    statistics: Mapping[str, Plain]
    verdicts: Mapping[str, tuple[str, int]]

    def kept(self, parts: Parts, scored: str) -> NDArray | None:
        """(n,) bool: which samples of a scored part were kept; None when it was not part of a verdict."""
        if scored not in self.verdicts:
            return None
        closing, member = self.verdicts[scored]
        closure = load_closure(parts.path(closing))
        first, last = closure["edges"][member : member + 2]
        return np.asarray(closure["keep"][first:last], bool)


def fingerprints(spec: Spec) -> dict[str, str]:
    """What two specs must share for one to continue the other's dataset: all but source, engine and output."""
    found = {key: key_of(identities(getattr(spec, key))) for key in STEP_LISTS}
    found["read"] = key_of({name: identities(steps) for name, steps in spec.read.items()})
    found["seed"] = key_of(spec.seed)
    return found


def describe_cases(spec: Spec, states: Sequence[CaseState]) -> dict[str, Any]:
    """What a later run needs in order to continue; content of ``cases.json``."""
    cases = [
        {
            "source": unstructure(state.source),
            "key": state.key,
            "statistics": state.statistics,
            "verdicts": {scored.key: [scored.closing, scored.member] for scored in state.scored},
        }
        for state in states
    ]
    return {"spec": fingerprints(spec), "cases": cases}


def load_earlier(output: Path, spec: Spec) -> list[Earlier]:
    """The cases of the dataset in a folder; empty when there is none yet.

    Raises:
        RequestError: its spec was another.
    """
    path = output / WORK / CASES
    if not path.exists():
        return []
    found = load_sealed(path)
    now = fingerprints(spec)
    differing = sorted(key for key, value in now.items() if found["spec"].get(key) != value)
    if differing:
        message = f"the dataset was made with another {', '.join(differing)}, so that cases cannot be added to it"
        raise RequestError(message, where=str(output), hint="use the same spec, another output, or --overwrite")
    return [
        Earlier(
            structure(case["source"], CaseSource, spec.folder),
            case["key"],
            case["statistics"],
            {key: (closing, member) for key, (closing, member) in case["verdicts"].items()},
        )
        for case in found["cases"]
    ]


def earlier_states(earlier: Sequence[Earlier], parts: Parts) -> list[CaseState]:
    """The state of such cases at the beginning of a run."""
    return [CaseState(case.source, case.key, kept=partial(case.kept, parts), fixed=case.statistics) for case in earlier]
