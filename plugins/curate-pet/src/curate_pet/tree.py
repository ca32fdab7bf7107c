"""Patients of a tree of files: which layers each has, and where a layer that it lacks would be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from curate_core import RequestError
from curate_core.patterns import field_names, find, natural_key
from curate_core.templates import PathTemplate, fill_in

NOT_OF_THE_PATIENT = ("layer", "ext")
"""Fields of a pattern that tell the files of one patient apart."""


@frozen
class Patient:
    """Files that belong together.

    Attributes:
        id: of the case.
        person: what tells the patient from others; equal for two cases of one patient.
        fields: name -> value, of the pattern; ``case`` among them.
        layers: name -> file.
    """

    id: str
    person: str
    fields: Mapping[str, str]
    layers: Mapping[str, Path]

    def lacks(self, layers: Sequence[str]) -> list[str]:
        """Those of some layers that it has not."""
        return [layer for layer in layers if layer not in self.layers]


@frozen
class Tree:
    """Where patients are found.

    Attributes:
        root: where relative patterns start.
        patterns: layer -> pattern of its files; under an empty name one pattern with ``{layer}``.
        id: what a case is called, with the patterns' fields.
        person: names of the fields that tell a patient; empty: the id does.
        follow_links: take files that a symbolic link outside of the root leads to.
    """

    root: Path
    patterns: Mapping[str, str]
    id: str
    person: tuple[str, ...]
    follow_links: bool

    def fields(self) -> tuple[str, ...]:
        """Fields that tell patients apart.

        Raises:
            RequestError: a pattern lacks one, or the id or ``person`` wants another.
        """
        found: dict[str, tuple[str, ...]] = {}
        for layer, pattern in self.patterns.items():
            names = field_names(pattern)
            for needed in ("case", *(() if layer else ("layer",))):
                if needed not in names:
                    message = f"the pattern {pattern!r} has no field {{{needed}}}"
                    hint = "" if needed == "case" else ', or give one pattern for each layer: {"ct": "{case}/ct.nii.gz"}'
                    raise RequestError(message, where="source.pattern", hint=f"put it where the {needed} is named{hint}")
            if layer and "layer" in names:
                message = f"the pattern of layer {layer!r} has a field {{layer}}: {pattern!r}"
                raise RequestError(message, where="source.pattern", hint="patterns that are named after their layer have none")
            found[layer] = tuple(name for name in names if name not in NOT_OF_THE_PATIENT)
        first = next(iter(found.values()))
        for layer, names in found.items():
            if set(names) != set(first):
                told = f"{', '.join(sorted(first))}, and for {layer!r} {', '.join(sorted(names))}"
                message = f"the patterns tell patients by different fields: {told}"
                raise RequestError(message, where="source.pattern")
        for option, wanted in (("id", PathTemplate(self.id).fields), ("person", self.person)):
            for name in wanted:
                if name not in first:
                    message = f"there is no field {name!r} in the pattern"
                    raise RequestError(message, where=f"source.{option}", hint=f"it has {', '.join(first)}")
        return first

    def patients(self) -> list[Patient]:
        """All that are there, in natural order of their ids.

        Raises:
            RequestError: there are none, or two files claim one place.
        """
        names = self.fields()
        found: dict[tuple[str, ...], dict[str, Path]] = {}
        for layer, pattern in self.patterns.items():
            for match in find(self.root, pattern):
                self._check_link(match.path)
                layers = found.setdefault(tuple(match.fields[name] for name in names), {})
                name = layer or match.fields["layer"]
                if name in layers:
                    message = f"two files are the layer {name!r} of one patient: {layers[name]} and {match.path}"
                    raise RequestError(message, where="source.pattern", hint="narrow the pattern")
                layers[name] = match.path
        if not found:
            message = f"no file fits {' or '.join(map(repr, self.patterns.values()))} below {self.root}"
            raise RequestError(message, where="source.pattern")
        patients = []
        for values, layers in found.items():
            fields = dict(zip(names, values, strict=True))
            id_ = fill_in(self.id, fields, "id")
            person = "/".join(fields[name] for name in self.person) if self.person else id_
            patients.append(Patient(id_, person, fields, dict(sorted(layers.items()))))
        return sorted(patients, key=lambda patient: (natural_key(patient.id), *natural_key("/".join(patient.fields.values()))))

    def expected(self, patient: Patient, layer: str) -> Path:
        """Where a layer that a patient lacks was looked for."""
        pattern = self.patterns.get(layer, self.patterns.get("", ""))
        known = {**patient.fields, "layer": layer, "ext": "*"}
        relative = re.sub(r"\{(\w+)\}", lambda match: known.get(match[1], "*"), pattern)
        return self.root / relative

    def _check_link(self, path: Path) -> None:
        inside = [part for part in (path, *path.parents) if part != self.root and part.is_relative_to(self.root)]
        if self.follow_links or not any(part.is_symlink() for part in inside):
            return
        if not path.resolve().is_relative_to(self.root.resolve()):
            message = f"a symbolic link leads out of the root: {path} is {path.resolve()}"
            raise RequestError(message, where="source.pattern", hint='set "follow_links": true to take it')


def tree(root: Path, pattern: str | Mapping[str, str], id_: str, person: Sequence[str] | None, follow_links: bool) -> Tree:
    """A tree as the options describe it."""
    patterns = {"": pattern} if isinstance(pattern, str) else dict(pattern)
    return Tree(root, patterns, id_, tuple(person or ()), follow_links)
