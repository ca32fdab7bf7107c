"""Which patients belong to which split: lists as they are written, numbers by a seeded draw, and nobody in two splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from attrs import frozen

from curate_core import RequestError
from curate_core.errors import nearest
from curate_pet.tree import Patient

SHOWN = 10
Cases = int | str | tuple[str, ...]
"""A number, ``"all"``, or ids."""


@frozen
class Selection:
    """Patients asked for at one place of a spec.

    Attributes:
        where: that place, for messages.
        split: they belong to.
        cases: how many, or which.
        layers: each needs them all.
        patients: those that the place may choose from, in natural order.
        key: two selections with equal keys prefer the same patients.
    """

    where: str
    split: str
    cases: Cases
    layers: tuple[str, ...]
    patients: tuple[Patient, ...]
    key: str

    @property
    def complete(self) -> list[Patient]:
        """Patients that have every layer."""
        return [patient for patient in self.patients if not patient.lacks(self.layers)]


def choose(selections: Sequence[Selection], seed: int) -> list[list[Patient]]:
    """The patients of each selection.

    Lists count first, wherever they stand; then numbers and ``"all"`` in the order written. A number draws among the complete patients
    that no other split has; ``"all"`` takes those that no other split before it has. A draw orders patients by a hash of seed, key and
    patient, so that a patient who is added to the tree changes little.

    Raises:
        RequestError: an id is not there or not complete, there are too few patients, or one would be in two splits.
    """
    listed: list[list[Patient] | None] = []
    splits: dict[str, tuple[str, str]] = {}
    for selection in selections:
        chosen = _listed(selection, selection.cases) if isinstance(selection.cases, tuple) else None
        for patient in chosen or ():
            other = splits.setdefault(patient.person, (selection.split, selection.where))
            if other[0] != selection.split:
                raise _in_both(patient, other, selection)
        listed.append(chosen)
    named = dict(splits)
    taken: dict[str, tuple[str, str]] = {}
    result = []
    for selection, chosen in zip(selections, listed, strict=True):
        if chosen is None:
            chosen = _numbered(selection, seed, taken, named)
        for patient in chosen:
            taken[patient.person] = (selection.split, selection.where)
        result.append(chosen)
    return result


def _in_both(patient: Patient, other: tuple[str, str], selection: Selection) -> RequestError:
    message = f"patient {patient.person!r} would be in the split {selection.split!r} and, by {other[1]}, in {other[0]!r}"
    return RequestError(message, where=selection.where, hint="a patient belongs to one split")


def _listed(selection: Selection, ids: Sequence[str]) -> list[Patient]:
    known: dict[str, list[Patient]] = {}
    for patient in selection.patients:
        for name in {patient.id, patient.fields["case"]}:
            known.setdefault(name, []).append(patient)
    found: list[Patient] = []
    for name in ids:
        matching = known.get(name, [])
        if not matching:
            message = f"there is no case {name!r} among the {len(selection.patients)} of this cohort"
            raise RequestError(message, where=selection.where, hint=nearest(name, list(known)[:1000]) if len(known) <= 1000 else "")
        if len(matching) > 1:
            message = f"{name!r} may be {' or '.join(patient.id for patient in matching[:SHOWN])}"
            raise RequestError(message, where=selection.where, hint="name the case by its whole id")
        lacks = matching[0].lacks(selection.layers)
        if lacks:
            message = f"case {name!r} has no {' and no '.join(lacks)}"
            raise RequestError(message, where=selection.where, hint=f"it has {', '.join(matching[0].layers)}")
        if matching[0] in found:
            message = f"case {name!r} is named twice"
            raise RequestError(message, where=selection.where)
        found.append(matching[0])
    return found


def _numbered(selection: Selection, seed: int, taken: Mapping[str, tuple[str, str]], named: Mapping[str, tuple[str, str]]) -> list[Patient]:
    complete = selection.complete
    free = [p for p in complete if taken.get(p.person, (selection.split,))[0] == selection.split]
    elsewhere = f"{len(complete)} of {len(selection.patients)} patients have {', '.join(selection.layers)}"
    if selection.cases == "all":
        for patient in free:
            if named.get(patient.person, (selection.split,))[0] != selection.split:
                raise _in_both(patient, named[patient.person], selection)
        if not free:
            message = f"no patient is left: {elsewhere}, {len(complete) - len(free)} of them in other splits"
            raise RequestError(message, where=selection.where)
        return free
    assert isinstance(selection.cases, int)
    free = [p for p in free if named.get(p.person, (selection.split,))[0] == selection.split]
    if len(free) < selection.cases:
        others = f"{len(complete) - len(free)} of them in other splits"
        message = f"{selection.cases} patients are asked for, {len(free)} are left: {elsewhere}, {others}"
        raise RequestError(message, where=selection.where, hint="ask for fewer")
    return sorted(free, key=lambda patient: _rank(seed, selection.key, patient))[: selection.cases]


def _rank(seed: int, key: str, patient: Patient) -> str:
    return hashlib.sha256(json.dumps([seed, key, patient.person, patient.id]).encode()).hexdigest()
