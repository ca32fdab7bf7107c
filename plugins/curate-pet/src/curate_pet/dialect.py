"""What nucli-train's configurations say of one tracer, in each of the ways they say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from attrs import field, frozen

from curate_core import Plain, RequestError
from curate_core.errors import nearest

_INPUTS, _TARGETS = ("inputs", "modalities"), ("targets", "segmentations")
_PAIR = (*_INPUTS, *_TARGETS, "patients")
_SETTINGS = ("patients", "resample_to", "target_spacing", "share_patients")
_LEVELS = ("dataset", "center", "tracer")
Ids = int | str | tuple[str, ...]


@frozen
class PairEntry:
    """Inputs, targets and patients of one pair."""

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    patients: Ids
    labels: tuple[str, ...] = ()


@frozen
class Entry:
    """One tracer of one split.

    Attributes:
        path: its place in the configuration.
        split: ``train``, ``val`` or ``test``.
        where: dataset, center and tracer.
        pairs: name -> pair; one with an empty name where pairs are not named.
        resample_to, spacing: as given, or None.
        share: as given, or None.
    """

    path: str
    split: str
    where: Mapping[str, str]
    pairs: Mapping[str, PairEntry] = field(factory=dict)
    resample_to: str | None = None
    spacing: list[float] | None = None
    share: bool | None = None

    @property
    def layers(self) -> list[str]:
        """All layers of all pairs."""
        return list(dict.fromkeys(layer for pair in self.pairs.values() for layer in (*pair.inputs, *pair.targets)))

    @property
    def labels(self) -> list[str]:
        """Layers said to be segmentations."""
        return [label for pair in self.pairs.values() for label in pair.labels]

    def cohort(self, share: bool) -> dict[str, Plain]:
        """A cohort as the source ``cohorts`` has it.

        Raises:
            RequestError: pairs that share their patients ask for different ones.
        """
        made: dict[str, Plain] = {"split": self.split, "where": dict(self.where)}
        shared = share if self.share is None else self.share
        if list(self.pairs) == [""]:
            pair = self.pairs[""]
            return {**made, "cases": _plain(pair.patients), "inputs": list(pair.inputs), "targets": list(pair.targets)}
        asked = {name: pair.patients for name, pair in self.pairs.items()}
        if shared and len({frozenset(a) if isinstance(a, tuple) else a for a in asked.values()}) > 1:
            message = f"the pairs {', '.join(asked)} ask for different patients, and a tracer's pairs have one set"
            raise RequestError(message, where=self.path, hint="ask for the same in all, or set share_patients: false (--separate-patients)")
        roles: dict[str, Plain] = {name: {"inputs": list(p.inputs), "targets": list(p.targets)} for name, p in self.pairs.items()}
        if shared:
            return {**made, "cases": _plain(next(iter(asked.values()))), "pairs": roles}
        own: dict[str, Plain] = {name: {**cast(dict[str, Plain], roles[name]), "cases": _plain(asked[name])} for name in roles}
        return {**made, "pairs": own, "share_patients": False}


def _plain(patients: Ids) -> Plain:
    return list(patients) if isinstance(patients, tuple) else patients


def expect(value: Any, kind: type, path: str, words: str) -> Any:
    """The value, if it is a mapping, list or text as it should be.

    Raises:
        RequestError: it is something else.
    """
    if not isinstance(value, kind):
        got = "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value) if value else "nothing"
        message = f"expected {words}, got {got}"
        raise RequestError(message, where=path)
    return value


def entries(split: str, value: Any) -> Iterator[Entry]:
    """The tracers of one split, in the order written.

    Raises:
        RequestError: something is not as it should be; names its place.
    """
    yield from _level(split, value, split, {})


def _level(split: str, value: Any, path: str, where: dict[str, str]) -> Iterator[Entry]:
    depth = len(where)
    if depth == len(_LEVELS):
        yield _tracer(split, value, path, where)
        return
    level = _LEVELS[depth]
    for name, inner in expect(value, dict, path, f"a mapping from {level} to what it holds").items():
        if name in (*_PAIR, "pairs"):
            message = f"{name} stands where a {level} should be named"
            raise RequestError(message, where=f"{path}.{name}", hint=f"the levels are {' > '.join(_LEVELS)}")
        yield from _level(split, inner, f"{path}.{name}", {**where, level: str(name)})


def _tracer(split: str, value: Any, path: str, where: dict[str, str]) -> Entry:
    node: dict[str, Any] = expect(value, dict, path, "inputs, targets and patients, or named pairs")
    single = any(key in node for key in (*_INPUTS, *_TARGETS))
    known: tuple[str, ...]
    if "pairs" in node:
        named: dict[str, Any] = expect(node["pairs"], dict, f"{path}.pairs", "a mapping from name to pair")
        prefix, known = f"{path}.pairs", ("pairs", *_SETTINGS)
    elif single:
        named, prefix, known = {"": {key: node[key] for key in node if key in _PAIR}}, path, (*_PAIR, *_SETTINGS)
    else:
        named, prefix, known = {key: node[key] for key in node if key not in _SETTINGS}, path, tuple(node)
    for key in node:
        if key not in known:
            raise RequestError("unknown key", where=f"{path}.{key}", hint=nearest(str(key), known))
    if not named:
        message = "no pair asks for any layers"
        raise RequestError(message, where=prefix, hint="give inputs, targets and patients")
    pairs = {str(name): _pair(pair, f"{prefix}.{name}" if name else path, node.get("patients")) for name, pair in named.items()}
    return Entry(
        path,
        split,
        where,
        pairs,
        str(node["resample_to"]) if node.get("resample_to") else None,
        spacing_of(node, f"{path}.target_spacing"),
        None if "share_patients" not in node else _truth(node["share_patients"], f"{path}.share_patients"),
    )


def _pair(value: Any, path: str, patients: Any) -> PairEntry:
    node: dict[str, Any] = expect(value, dict, path, "inputs, targets and patients")
    for key in node:
        if key not in _PAIR:
            raise RequestError("unknown key", where=f"{path}.{key}", hint=nearest(str(key), _PAIR))
    inputs = _either(node, _INPUTS, path)
    targets = _either(node, _TARGETS, path)
    layers = listed(node[inputs], f"{path}.{inputs}")
    if not layers:
        message = "there is no layer to go in"
        raise RequestError(message, where=f"{path}.{inputs}")
    goals = listed(node[targets], f"{path}.{targets}")
    asked = node.get("patients", patients)
    return PairEntry(layers, goals, _patients(asked, f"{path}.patients"), goals if targets == "segmentations" else ())


def _either(node: dict[str, Any], names: tuple[str, str], path: str) -> str:
    found = [name for name in names if name in node]
    if len(found) == 1:
        return found[0]
    message = f"{names[0]} are missing" if not found else f"{names[0]} and {names[1]} say the same"
    hint = "an empty list, [], is self-supervised" if names == _TARGETS and not found else ""
    raise RequestError(message, where=path, hint=hint)


def listed(value: Any, path: str) -> tuple[str, ...]:
    """Texts from a list, or from one text.

    Raises:
        RequestError: it is something else, or names one twice.
    """
    found = [value] if isinstance(value, str) and value else expect(value, list, path, "a list of names")
    names = tuple(expect(entry, str, f"{path}.{i}", "a name") for i, entry in enumerate(found))
    if len(set(names)) < len(names):
        message = f"{', '.join(names)} names one twice"
        raise RequestError(message, where=path)
    return names


def _patients(value: Any, path: str) -> Ids:
    if isinstance(value, list):
        return listed(value, path) or _no_patients(path)
    if value == "all":
        return "all"
    if isinstance(value, str) and value.isascii() and value.isdecimal() and int(value) > 0:
        return int(value)
    message = f"expected a number of patients, a list of their ids, or all, got {value!r}" if value else "patients are missing"
    raise RequestError(message, where=path)


def _no_patients(path: str) -> Ids:
    message = "the list of patients is empty"
    raise RequestError(message, where=path)


def _truth(value: Any, path: str) -> bool:
    if value not in ("true", "false", "True", "False"):
        message = f"expected true or false, got {value!r}"
        raise RequestError(message, where=path)
    return bool(value in ("true", "True"))


def spacing_of(node: dict[str, Any], path: str) -> list[float] | None:
    """``target_spacing`` of a part of the configuration; None where it says none.

    Raises:
        RequestError: it is not three numbers above 0.
    """
    if not node.get("target_spacing"):
        return None
    found = numbers(node["target_spacing"], path)
    if min(found) <= 0:
        message = f"expected three lengths above 0, got {node['target_spacing']}"
        raise RequestError(message, where=path)
    return found


def numbers(value: Any, path: str) -> list[float]:
    """Three numbers.

    Raises:
        RequestError: they are not three, or not numbers.
    """
    given = expect(value, list, path, "three numbers")
    try:
        found = [float(entry) for entry in given]
    except (TypeError, ValueError):
        found = []
    if len(found) != 3 or not all(abs(n) < float("inf") for n in found):
        message = f"expected three numbers, got {given}"
        raise RequestError(message, where=path)
    return found
