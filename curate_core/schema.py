"""The JSON Schema of specs, made from the same attrs classes that validate them.

A step's ``use`` is an enum, and each component's options follow by ``if``/``then``: editors give a better message for that than for
``oneOf``. What a schema cannot say stays with :mod:`curate_core.spec`: checks across options, and that ``4.0`` is not a whole number.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import attrs

from curate_core.deprecation import marked
from curate_core.errors import PluginError
from curate_core.host import Host, Offer
from curate_core.kinds import Component, Scope
from curate_core.model import Plain
from curate_core.options import OptionInfo, info_of
from curate_core.spec import AUTO, STEP_LISTS, VERSION, Settings
from curate_core.structure import TEMPLATED_KINDS, ByteSize, takes_text, unstructure

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
STEP_KINDS = ("source", "reader", *STEP_LISTS.values(), "engine")
TEMPLATE: Schema = {"type": "string", "pattern": r"^\{[A-Za-z_][A-Za-z0-9_]*\}$", "description": "The value of an attribute of the case."}
BYTES: Schema = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[kKMGTP]?i?B?\s*$"}],
    "description": 'A number of bytes, or text such as "8 GB".',
}
SCOPE: Schema = {
    "anyOf": [
        {"enum": ["sample", "case", "dataset"]},
        {
            "type": "object",
            "properties": {"attribute": {"type": "string"}},
            "required": ["attribute"],
            "additionalProperties": False,
        },
    ]
}
PLAIN_VALUE: Schema = {"type": ["string", "number", "boolean", "null"]}
WHEN: Schema = {
    "type": "object",
    "description": "The step applies only where each attribute has the value, or one of the values.",
    "additionalProperties": {"type": ["string", "number", "boolean", "null", "array"], "items": PLAIN_VALUE, "minItems": 1},
}
_SCALARS: Mapping[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string", "minLength": 1, "format": "path"},
    type(None): {"type": "null"},
    ByteSize: BYTES,
    Scope: SCOPE,
}
_STEP_DOCS = {
    "source": "Which cases are there?",
    "preprocess": "What each case should look like, top to bottom.",
    "rois": "Where the samples are.",
    "transform": "What becomes of a cut sample, top to bottom.",
    "filter": "Which samples stay, top to bottom.",
    "write": "How the samples are stored.",
    "engine": "Who does the work.",
    "read": 'How layers are opened: a layer\'s name, or a pattern such as "*", to a reader or a list of readers.',
}


class _Types:
    """Schemas of option types; those of nested attrs classes are collected in ``definitions``."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}

    def of(self, kind: Any, info: OptionInfo, template: bool = False) -> Schema:
        """The schema of one type.

        Args:
            kind: as annotated.
            info: bounds that hold for numbers, and for those in lists.
            template: the value, or an entry of a list, may also be ``"{attribute}"``.
        """
        schema = self._of(kind, info, template)
        if not template or kind is type(None) or get_origin(kind) in (Union, types.UnionType):
            return schema
        return {"anyOf": [schema, TEMPLATE]}

    def _of(self, kind: Any, info: OptionInfo, template: bool) -> Schema:
        origin, arguments = get_origin(kind), get_args(kind)
        if kind is Any or kind is object or kind == Plain:
            return _bounds(info)
        if kind in _SCALARS:
            return {**_SCALARS[kind], **_bounds(info, kind)}
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (Union, types.UnionType):
            choices = [self._of(argument, info, template) for argument in arguments]
            if template:
                choices.append(TEMPLATE)
            return {"anyOf": choices}
        if origin in (tuple, list, Sequence):
            return self._list(origin, arguments, info, template)
        if origin in (dict, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1], OptionInfo(""))}
        if attrs.has(kind):
            return self._attrs(kind)
        message = f"options of type {kind!r} have no JSON Schema"
        raise TypeError(message)

    def _list(self, origin: Any, arguments: tuple[Any, ...], info: OptionInfo, template: bool) -> Schema:
        if origin is not tuple or (len(arguments) == 2 and arguments[1] is Ellipsis):
            return {"type": "array", "items": self.of(arguments[0], info, template), **_bounds(info, list)}
        entries = [self.of(argument, info, template) for argument in arguments]
        return {"type": "array", "prefixItems": entries, "minItems": len(entries), "maxItems": len(entries)}

    def _attrs(self, cls: type[Any]) -> Schema:
        name = re.sub(r"[^\w.]", "_", f"{cls.__module__}.{cls.__qualname__}")  # local classes have <> in theirs
        if name not in self.definitions:
            self.definitions[name] = {}  # a class may hold itself
            self.definitions[name] = self.options(cls)
        return {"$ref": f"#/$defs/{name}"}

    def options(self, cls: type[Any], *, templates: bool = False) -> Schema:
        """The schema of an attrs class: its fields are the keys, no others are allowed."""
        hints = get_type_hints(cls)
        fields = [field for field in attrs.fields(cast(Any, cls)) if field.init]
        properties = {}
        for field in fields:
            kind, info = hints[field.name], info_of(field)
            schema = self.of(kind, info, templates and not takes_text(kind))
            properties[field.name] = {**schema, **_described(info.doc, info.deprecated), **_default(field)}
        required = [field.name for field in fields if field.default is attrs.NOTHING]
        return {
            "type": "object",
            "description": description(cls),
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }


def _described(doc: str, deprecated: str) -> Schema:
    """What editors show of an option or a component: its sentence, and that it goes away."""
    text = marked(doc, deprecated)
    return {**({"description": text} if text else {}), **({"deprecated": True} if deprecated else {})}


def _bounds(info: OptionInfo, kind: Any = None) -> Schema:
    """The keywords of what an option declares that apply to a type; to any type without one."""
    numbers = {"minimum": info.ge, "exclusiveMinimum": info.gt, "maximum": info.le, "exclusiveMaximum": info.lt}
    found: Schema = {}
    if kind in (None, int, float, ByteSize):
        found |= {key: _whole(bound) for key, bound in numbers.items() if bound is not None}
    if kind is str and info.choices:
        found["enum"] = list(info.choices)
    if kind in (None, str) and info.min_length is not None:
        found["minLength"] = info.min_length
    if kind in (None, list) and info.min_length is not None:
        found["minItems"] = info.min_length
    return found


def _whole(bound: float) -> float:
    return int(bound) if float(bound).is_integer() else bound


def _default(field: attrs.Attribute[Any]) -> Schema:
    default: Any = field.default
    if default is attrs.NOTHING:
        return {}
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        if default.takes_self:
            return {}
        default = default.factory()
    return {"default": unstructure(default)}


def description(cls: type[Any]) -> str:
    """The first paragraph of a class's docstring, on one line."""
    first = (cls.__doc__ or "").strip().split("\n\n")[0]
    return re.sub(r"\s+", " ", first)


def spec_schema(host: Host) -> tuple[Schema, list[str]]:
    """The JSON Schema (draft 2020-12) of specs with the plugins of ``host``.

    Returns:
        The schema, and what was left out of it: components that cannot be imported, with the reason.
    """
    made = _Types()
    left_out: list[str] = []
    steps = {}
    for kind in STEP_KINDS:
        steps[kind] = _step(kind, _usable(host, kind, left_out), made)
    settings = made.options(Settings)
    properties: Schema = {
        "$schema": {"description": "Where this schema lies, for editors."},
        **settings["properties"],
        "version": {"const": VERSION, "description": settings["properties"]["version"]["description"]},
        "source": {"$ref": "#/$defs/source"},
        "read": {
            "type": "object",
            "additionalProperties": {
                "if": {"type": "array"},
                "then": {"items": {"$ref": "#/$defs/reader"}, "minItems": 1},
                "else": {"$ref": "#/$defs/reader"},
            },
        },
        "engine": {"$ref": "#/$defs/engine"},
    }
    needed = ("rois", "write")
    for key, kind in STEP_LISTS.items():
        properties[key] = {"type": "array", "items": {"$ref": f"#/$defs/{kind}"}, **({"minItems": 1} if key in needed else {})}
    for key, doc in _STEP_DOCS.items():
        properties[key]["description"] = doc
    schema: Schema = {
        "$schema": DRAFT,
        "title": "curate spec",
        "description": "How raw images become a training set: source, read, preprocess, rois, transform, filter, write.",
        "type": "object",
        "properties": properties,
        "required": [*settings["required"], "source", *needed],
        "additionalProperties": False,
        "$defs": {**steps, **dict(sorted(made.definitions.items()))},
    }
    return schema, left_out


def options_schema(cls: type[Component]) -> Schema:
    """The JSON Schema of the options of one component, such as an importer, which specs do not name."""
    made = _Types()
    return {**made.options(cls), "$defs": made.definitions}


def _usable(host: Host, kind: str, left_out: list[str]) -> list[tuple[Offer, tuple[str, ...], type[Component]]]:
    """The components of a kind that load, each with the names that a spec may give it."""
    offers = host.offers(kind)
    plain_names = [offer.provider.name for offer in offers]
    usable: list[tuple[Offer, tuple[str, ...], type[Component]]] = []
    for offer in offers:
        name = offer.provider.name
        names = (offer.qualified,) if plain_names.count(name) > 1 else (name, offer.qualified)
        try:
            usable.append((offer, names, host.load(offer)))
        except PluginError as error:
            left_out.append(f"{kind} {offer.qualified}: {error}")
    return usable


def _step(kind: str, components: Iterable[tuple[Offer, tuple[str, ...], type[Component]]], made: _Types) -> Schema:
    """The schema of one step: ``use`` says which options follow."""
    words: list[tuple[str, str]] = []
    branches = []
    if kind == "reader":
        words.append((AUTO, "The reader that claims the file."))
        branches.append(_branch([AUTO], _only_common({"type": "object", "description": "The reader that claims the file."})))
    for offer, names, cls in components:
        options = made.options(cls, templates=kind in TEMPLATED_KINDS)
        provider = offer.provider
        made.definitions[f"{kind}.{offer.qualified}"] = {**_only_common(options), **_described(options["description"], provider.deprecated)}
        words += [(name, marked(provider.summary, provider.deprecated)) for name in names]
        branches.append(_branch(names, {"$ref": f"#/$defs/{kind}.{offer.qualified}"}))
    when = {"type": "object", "maxProperties": 0} if kind in ("source", "engine") else WHEN
    use = {
        "enum": [word for word, _ in words],
        "enumDescriptions": [summary for _, summary in words],  # no keyword of the standard: editors show it while they complete
        "description": "The component.",
    }
    return {"type": "object", "properties": {"use": use, "when": when}, "required": ["use"], "allOf": branches}


def _branch(names: Sequence[str], then: Schema) -> Schema:
    return {"if": {"properties": {"use": {"enum": list(names)}}, "required": ["use"]}, "then": then}


def _only_common(options: Schema) -> Schema:
    """A component's options with the keys that every step has, which the step itself describes."""
    properties = {"use": True, "when": True, **options.get("properties", {})}
    return {**options, "properties": properties, "additionalProperties": False}
