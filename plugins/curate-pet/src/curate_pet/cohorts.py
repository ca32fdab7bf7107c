"""The source of patients from a tree of studies, split into cohorts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import frozen

from curate_core import CaseSource, LayerSource, Plain, RequestError, Role, Source, option
from curate_core.patterns import natural_key
from curate_pet.drawing import SHOWN, Selection, choose
from curate_pet.tree import Patient, Tree, tree

MAIN = "main"
"""What the pair of a cohort without named pairs is called."""
Ids = int | Literal["all"] | tuple[str, ...]


@frozen
class Pair:
    """Which layers play which part."""

    inputs: tuple[str, ...] = option(doc="Layers that go in, in this order.", default=())
    targets: tuple[str, ...] = option(doc="Layers that should come out, in this order; none: self-supervised.", default=())
    cases: Ids | None = option(doc="As of the cohort, for this pair; null: the cohort's.", default=None, ge=1)


@frozen
class Cohort:
    """Patients of one split."""

    split: str = option(doc="Split that they belong to, such as train or val.", min_length=1)
    where: dict[str, str | tuple[str, ...]] = option(doc="Field of the pattern -> the value, or values, that it must have.", factory=dict)
    cases: Ids | None = option(doc='How many patients, which by id, or "all"; null: as the pairs say, or all.', default=None, ge=1)
    inputs: tuple[str, ...] = option(doc="Layers that go in, in this order.", default=())
    targets: tuple[str, ...] = option(doc="Layers that should come out, in this order; none: self-supervised.", default=())
    pairs: dict[str, Pair] = option(doc="Name -> inputs and targets, in place of one pair.", factory=dict)
    share_patients: bool = option(
        doc="All pairs have one set of patients, who have the layers of all; false: each pair has its own.", default=True
    )
    attributes: dict[str, Any] = option(doc='Attributes of its cases, for "when" and "{name}" in options.', factory=dict)


@frozen
class CohortsSource(Source):
    """Patients of a layered tree, drawn into splits and pairs.

    The pattern names where files lie: ``{case}`` is the patient, ``{layer}`` the modality, every other field an attribute. A cohort takes
    patients whose fields are as ``where`` says and who have every layer asked for, over all its pairs: so many, drawn by the spec's seed,
    those listed, or all. Nobody is in two splits: numbers draw among patients that no other split has, ``"all"`` takes those that no split
    before it has, and a patient listed for two splits is an error. Draws depend on seed, ``where`` and patient alone; new patients in the
    tree change them little.

    A patient of several pairs is one case, with the layers of all; its ``roles`` say which pair takes which, and its attribute ``pair`` is
    the pair's name, or the list of them. Other attributes: ``split``, ``patient`` (what ``{case}`` stood for), the pattern's fields, and
    those of the cohort.

    A patient who lacks a layer is set aside, with the path that was looked for, unless ``incomplete`` says otherwise.

    Example::

        "source": {
          "use": "cohorts", "root": "storage", "pattern": "{dataset}/{center}/{tracer}/{layer}/{case}.nii.gz",
          "cohorts": [
            {"split": "train", "where": {"tracer": "fdg"}, "cases": 40, "inputs": ["ct", "25pc"], "targets": ["100pc"]},
            {"split": "val", "where": {"tracer": "fdg"}, "cases": ["a041", "a042.rescan"], "inputs": ["ct", "25pc"], "targets": ["100pc"]}
          ]
        }
    """

    version: ClassVar[int] = 1
    pattern: str | dict[str, str] = option(doc="Pattern of the files' paths with {case} and {layer}; or layer -> pattern without {layer}.")
    cohorts: tuple[Cohort, ...] = option(doc="Who is taken.", min_length=1)
    root: Path = option(doc="Folder where patterns start.", default=Path())
    id: str = option(doc="What a case is called: fields of the pattern; it must tell all cases apart.", default="{case}", min_length=1)
    person: tuple[str, ...] | None = option(doc="Fields that tell a patient, for splits; null: the id does.", default=None, min_length=1)
    incomplete: Literal["report", "ignore", "error"] = option(
        doc="What becomes of patients who lack a layer, where they are not listed by id: quarantined, left out without a word, or refused.",
        default="report",
    )
    follow_links: bool = option(doc="Take files that a symbolic link outside of the root leads to.", default=False)

    def find(self) -> Iterable[CaseSource]:
        return self.find_seeded(0)

    def find_seeded(self, seed: int) -> Iterable[CaseSource]:
        files = tree(self.root, self.pattern, self.id, self.person, self.follow_links)
        patients = files.patients()
        entries = [
            (cohort, names, s) for i, cohort in enumerate(self.cohorts) for names, s in _selections(cohort, i, patients, files.fields())
        ]
        chosen = choose([selection for _, _, selection in entries], seed)
        drafts: dict[str, _Draft] = {}
        for (cohort, names, selection), found in zip(entries, chosen, strict=True):
            for patient in found:
                self._draft(drafts, patient, files).add(cohort, names, selection)
        for cohort, names, selection in entries:
            lacking = [p for p in selection.patients if p.lacks(selection.layers) and p.id not in drafts]
            if isinstance(selection.cases, tuple) or self.incomplete == "ignore":
                continue
            if lacking and self.incomplete == "error":
                shown = ", ".join(f"{p.id} (no {', no '.join(p.lacks(selection.layers))})" for p in lacking[:SHOWN])
                message = f"{len(lacking)} patients lack a layer: {shown}{' ...' if len(lacking) > SHOWN else ''}"
                raise RequestError(message, where=selection.where)
            for patient in lacking:
                self._draft(drafts, patient, files).add(cohort, names, selection)
        return [drafts[name].case() for name in sorted(drafts, key=natural_key)]

    def _draft(self, drafts: dict[str, _Draft], patient: Patient, files: Tree) -> _Draft:
        draft = drafts.setdefault(patient.id, _Draft(patient, files))
        if draft.patient is not patient:
            paths = [str(next(iter(p.layers.values()))) for p in (draft.patient, patient)]
            message = f"two patients are called {patient.id!r}: {paths[0]} and {paths[1]}"
            names = "/".join(f"{{{name}}}" for name in files.fields())
            raise RequestError(message, where="source.id", hint=f'tell them apart, for example with "id": "{names}"')
        return draft


def _selections(
    cohort: Cohort, number: int, patients: list[Patient], fields: tuple[str, ...]
) -> Iterable[tuple[dict[str, Role], Selection]]:
    """What a cohort asks for: once for all its pairs, or once for each."""
    path = f"source.cohorts.{number}"
    for name in cohort.where:
        if name not in fields:
            message = f"there is no field {name!r} in the pattern"
            raise RequestError(message, where=f"{path}.where", hint=f"it has {', '.join(fields)}")
    wanted = {name: (value,) if isinstance(value, str) else value for name, value in cohort.where.items()}
    own = tuple(p for p in patients if all(p.fields[name] in values for name, values in wanted.items()))
    if not own:
        there = {name: sorted({p.fields[name] for p in patients}, key=natural_key) for name in wanted}
        message = f"no patient has {' and '.join(f'{k} {_text(v)}' for k, v in wanted.items())}"
        raise RequestError(message, where=f"{path}.where", hint="; ".join(f"{k} is one of {_text(v)}" for k, v in there.items()))
    if cohort.pairs and (cohort.inputs or cohort.targets):
        message = "a cohort has either inputs and targets, or named pairs"
        raise RequestError(message, where=path)
    pairs = cohort.pairs or {MAIN: Pair(inputs=cohort.inputs, targets=cohort.targets)}
    for name, pair in pairs.items():
        if not pair.inputs and not pair.targets:
            where = f"{path}.pairs.{name}" if cohort.pairs else path
            raise RequestError(
                "no layer is asked for", where=where, hint='name some under "inputs", and under "targets" unless it is self-supervised'
            )
    roles = {name: Role(pair.inputs, pair.targets) for name, pair in pairs.items()}
    key = json.dumps(sorted((name, sorted(values)) for name, values in wanted.items()))
    asked = {name: cohort.cases if pair.cases is None else pair.cases for name, pair in pairs.items()}
    if not cohort.share_patients:
        for name, role in roles.items():
            yield (
                {name: role},
                Selection(f"{path}.pairs.{name}", cohort.split, asked[name] or "all", _layers({name: role}), own, f"{key}{name}"),
            )
        return
    different = {_comparable(cases) for cases in [*asked.values(), *([cohort.cases] if cohort.cases is not None else [])]}
    if len(different) > 1:
        told = ", ".join(f"{name}: {_text(cases) if isinstance(cases, tuple) else cases or 'all'}" for name, cases in asked.items())
        message = f"the pairs ask for different patients ({told})"
        raise RequestError(message, where=path, hint='give all one set, or set "share_patients": false')
    yield roles, Selection(f"{path}.cases", cohort.split, next(iter(asked.values())) or "all", _layers(roles), own, key)


def _comparable(cases: Ids | None) -> object:
    return frozenset(cases) if isinstance(cases, tuple) else cases or "all"


def _layers(roles: Mapping[str, Role]) -> tuple[str, ...]:
    """Layers of some pairs, each once, in the order in which they are named."""
    return tuple(dict.fromkeys(layer for role in roles.values() for layer in (*role.inputs, *role.targets)))


def _text(values: Iterable[str]) -> str:
    return " or ".join(map(repr, values))


class _Draft:
    """A case as cohorts add to it."""

    def __init__(self, patient: Patient, files: Tree) -> None:
        self.patient, self.files = patient, files
        self.roles: dict[str, Role] = {}
        self.attributes: dict[str, Plain] = {}
        self.path = ""

    def add(self, cohort: Cohort, roles: Mapping[str, Role], selection: Selection) -> None:
        """Make the patient part of a selection as well.

        Raises:
            RequestError: what another one says of it contradicts this one.
        """
        attributes: dict[str, Plain] = {"split": cohort.split, **cohort.attributes}
        if self.attributes and self.attributes != attributes:
            names = sorted(n for n in {*attributes, *self.attributes} if attributes.get(n) != self.attributes.get(n))
            message = f"case {self.patient.id!r} is also in {self.path}, which gives it another {', '.join(names)}"
            raise RequestError(message, where=selection.where)
        for name, role in roles.items():
            if self.roles.setdefault(name, role) != role:
                message = f"case {self.patient.id!r} is also in {self.path}, where the pair {name!r} has other layers"
                raise RequestError(message, where=selection.where, hint="give the pairs different names")
        self.attributes, self.path = attributes, selection.where

    def case(self) -> CaseSource:
        """The case; a layer that the patient lacks leads to where it was looked for, so that opening it tells."""
        patient, names = self.patient, list(self.roles)
        layers = {name: LayerSource((patient.layers.get(name) or self.files.expected(patient, name),)) for name in _layers(self.roles)}
        fields = {name: value for name, value in patient.fields.items() if name != "case"}
        pair: Plain = names[0] if len(names) == 1 else names
        attributes = {"patient": patient.fields["case"], **fields, **self.attributes, "pair": pair}
        return CaseSource(patient.id, layers, attributes, self.roles, self.files.root)
