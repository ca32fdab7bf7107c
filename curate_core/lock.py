"""What a dataset says of how it was made: the lock, from which the same bytes come again, and the base of ``dataset.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from curate_core.host import Host
from curate_core.journal import Journal
from curate_core.model import Plain
from curate_core.parts import load_json
from curate_core.rounds import CaseState, statistics_of
from curate_core.spec import STEP_LISTS, Spec, Step
from curate_core.unit import Bench


def lock_content(spec: Spec, host: Host, bench: Bench, states: Sequence[CaseState], journal: Journal) -> dict[str, Any]:
    """Content of ``spec.lock.json``: every default filled in, versions, chosen readers, hashes of the sources.

    Paths are relative to the spec's folder and the source's root, so that a moved folder gives the same lock.
    """
    cases: dict[str, Plain] = {}
    for state in states:
        assert state.prepared is not None
        described = load_json(bench.parts.path(state.prepared.name) / "case.json")
        readers = {name: layer["reader"] for name, layer in described["layers"].items()}
        hashes = {
            name: [journal.memo[str(f)].digest if str(f) in journal.memo else None for f in layer.files]
            for name, layer in state.source.layers.items()
        }
        cases[state.source.id] = {"readers": readers, "sha256": dict(hashes)}
    steps: dict[str, Plain] = {
        "source": _plain(spec.source, spec),
        "read": {n: [_plain(s, spec) for s in steps] for n, steps in spec.read.items()},
    }
    for key in STEP_LISTS:
        steps[key] = [_plain(step, spec) for step in getattr(spec, key)]
    steps_used = [step for step in spec.steps() if step is not spec.engine]  # who does the units changes nothing
    used = sorted({step.offer.distribution for step in steps_used if step.offer is not None} | _reader_distributions(cases))
    settings = {"version": 1, "name": spec.name, "seed": spec.seed, "on_error": spec.settings.on_error}
    local = {"plugins": spec.given["plugins"]} if spec.settings.plugins else {}
    versions = {plugin.distribution: plugin.version for plugin in spec.host.plugins if plugin.local}
    distributions = {name: versions.get(name) or _version(name) for name in used}
    return {"spec": {**settings, **local, **steps}, "distributions": distributions, "cases": cases}


def chosen_readers(spec: Spec, states: Sequence[CaseState], lock: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(layer, reader) of every layer that opened with a reader that the spec does not name; ``lock``: what ``lock_content`` gave."""
    for state in states:
        for name, reader in lock["cases"][state.source.id]["readers"].items():
            if reader and spec.reader_for(name, state.source.attributes) is None:
                yield name, reader


def _plain(step: Step, spec: Spec) -> dict[str, Plain]:
    """A step with its defaults filled in; paths as the user wrote them."""
    plain = step.plain()
    for name in step.path_options:
        if name in step.options:
            plain[name] = step.options[name]
        elif plain.get(name) is not None:
            plain[name] = _relative(plain[name], spec)
    return plain


def _relative(value: Any, spec: Spec) -> Plain:
    if isinstance(value, list):
        return [_relative(entry, spec) for entry in value]
    return str(value).replace(str(spec.folder), ".", 1)


def _reader_distributions(cases: dict[str, Any]) -> set[str]:
    return {reader.partition(":")[0] for case in cases.values() for reader in case["readers"].values() if reader}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def dataset_base(spec: Spec, host: Host, states: Sequence[CaseState], version: str) -> dict[str, Any]:
    """What ``dataset.json`` says besides its counts."""
    writers = []
    for step in spec.write:
        options = {name: value for name, value in _plain(step, spec).items() if name not in ("use", "when")}
        writers.append({"use": step.offer.qualified if step.offer else step.use, "options": options})
    return {
        "curate": version,
        "format": 1,
        "name": spec.name,
        "description": spec.settings.description,
        "writers": writers,
        "pairs": _pairs(states),
        "statistics": dict(statistics_of(states)),
        "filters": [step.name for step in spec.filter],
    }


def _pairs(states: Sequence[CaseState]) -> list[Plain]:
    """Split and pair -> inputs, targets and cases, so that a loader needs no spec; empty where cases have no roles."""
    found: dict[tuple[Plain, ...], list[Plain]] = {}
    for state in states:
        split = state.source.attributes.get("split")
        for name, role in state.source.roles.items():
            known = (str(split) if split is not None else None, name, role.inputs, role.targets)
            found.setdefault(known, []).append(state.source.id)  # type: ignore[arg-type]
    keys = ("split", "pair", "inputs", "targets")
    return [
        {**{k: list(v) if isinstance(v, tuple) else v for k, v in zip(keys, known, strict=True)}, "cases": cases}
        for known, cases in found.items()
    ]
