"""From plain JSON values to components and back: strict, complete in its complaints, and exact in where they lie.

cattrs does the walking. Its own hooks accept ``"4"`` for 4, 3.7 for an int and ``"abc"`` for a list; ours do not. Every mistake of a
value is found in one pass and raised as one :class:`Mistakes` with paths.
"""

from __future__ import annotations

import math
import os
import re
import types
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import attrs
import cattrs
from attrs import frozen

from curate_core.errors import CurateError, Problem, nearest
from curate_core.kinds import Scope
from curate_core.model import Plain
from curate_core.options import info_of
from curate_core.templates import PathTemplate

TEMPLATE = re.compile(r"\{[A-Za-z_]\w*\}")
TEMPLATED_KINDS = ("reader", "preprocessor", "roi_finder", "transform")
"""Kinds that work on one case at a time, so that its attributes can fill in their options."""
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGTP]?)(i?)B?")
_LONGEST_PATH = 4096
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


class ByteSize(int):
    """A number of bytes; in a spec ``8000000`` or ``"8 GB"`` (powers of 1000; ``"8 GiB"``: of 1024)."""

    @classmethod
    def parse(cls, value: object) -> ByteSize:
        """Bytes from a number or a text with a unit.

        Raises:
            ValueError: it is neither.
        """
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = _BYTES.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            message = f'expected bytes such as 8000000 or "8 GB", got {value!r}'
            raise ValueError(message)
        number, prefix, binary = match.groups()
        return cls(round(Fraction(number) * (1024 if binary else 1000) ** _POWERS[prefix.upper()]))


@frozen
class Mistake:
    """One thing wrong with a value: where (keys and indices from the top), what, and a hint."""

    path: tuple[str | int, ...]
    message: str
    hint: str = ""


class Mistakes(Exception):
    """Everything wrong with a value."""

    def __init__(self, found: Sequence[Mistake]) -> None:
        super().__init__("; ".join(m.message for m in found))
        self.found = tuple(found)

    def problems(self, *prefix: str | int) -> list[Problem]:
        """As problems of a spec, with the path to the value in front."""
        return [Problem(".".join(map(str, (*prefix, *m.path))), m.message, m.hint) for m in self.found]


def _fail(message: str, hint: str = "") -> Mistakes:
    return Mistakes([Mistake((), message, hint)])


def _name(value: object) -> str:
    """How a message calls a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return str(value)


def _origin(kind: Any) -> Any:
    return get_origin(kind)


class _Strict:
    """The hooks of one converter: paths are resolved against ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.converter = cattrs.Converter(prefer_attrib_converters=False)
        add = self.converter.register_structure_hook
        add(bool, lambda v, _: self._exact(v, bool, "true or false"))
        add(int, lambda v, _: self._exact(v, int, "a whole number"))
        add(float, lambda v, _: self._float(v))
        add(str, lambda v, _: self._exact(v, str, "text"))
        add(type(None), lambda v, _: self._exact(v, type(None), "null"))
        add(Path, lambda v, _: self._path(v))
        add(Scope, lambda v, _: self._scope(v))
        add(ByteSize, lambda v, _: self._bytes(v))
        factory = self.converter.register_structure_hook_factory
        factory(lambda t: _origin(t) is Literal, self._literal)
        factory(lambda t: _origin(t) in (tuple, list, Sequence), self._list)
        factory(lambda t: _origin(t) in (dict, Mapping), self._dict)
        factory(lambda t: isinstance(t, types.UnionType) or _origin(t) is Union, self._union)
        factory(attrs.has, self._attrs)
        self.converter.register_structure_hook_func(lambda t: t is Any or t is object or t == Plain, lambda v, _: v)

    def _exact(self, value: object, kind: type, words: str) -> Any:
        if type(value) is not kind:
            raise _fail(f"expected {words}, got {_name(value)}")
        return value

    def _float(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _fail(f"expected a number, got {_name(value)}")
        try:
            number = float(value)
        except OverflowError:  # a whole number of more than 308 digits
            number = math.inf
        if not math.isfinite(number):
            raise _fail("expected a number, got one that is not finite")
        return number

    def _path(self, value: object) -> Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise _fail(f"expected a path, got {_name(value)}")
        if len(value) > _LONGEST_PATH:
            raise _fail(f"expected a path, got {_name(value)} of {len(value):,} characters")
        try:
            os.fsencode(value)
            return self.folder / Path(value).expanduser()
        except (RuntimeError, UnicodeEncodeError) as error:
            raise _fail(f"expected a path, got {_name(value)}: {error}") from error

    def _scope(self, value: object) -> Scope:
        words = ("sample", "case", "dataset")
        if isinstance(value, str) and value in words:
            return Scope(cast(Any, value))
        if isinstance(value, dict) and set(value) == {"attribute"} and isinstance(value["attribute"], str):
            return Scope("attribute", value["attribute"])
        hint = nearest(value, words) if isinstance(value, str) else ""
        raise _fail(f'expected "sample", "case", "dataset" or {{"attribute": name}}, got {_name(value)}', hint)

    def _bytes(self, value: object) -> ByteSize:
        try:
            return ByteSize.parse(value)
        except ValueError as error:
            raise _fail(str(error)) from None

    def _literal(self, cls: Any) -> Callable[[Any, Any], Any]:
        words = get_args(cls)

        def structure(value: Any, _: Any) -> Any:
            for word in words:
                if type(value) is type(word) and value == word:
                    return value
            hint = nearest(value, [w for w in words if isinstance(w, str)]) if isinstance(value, str) else ""
            raise _fail(f"expected one of {', '.join(map(_name, words))}, got {_name(value)}", hint)

        return structure

    def _list(self, cls: Any) -> Callable[[Any, Any], Any]:
        arguments = get_args(cls)
        make = list if get_origin(cls) is list else tuple
        open_ended = make is list or get_origin(cls) is Sequence or (len(arguments) == 2 and arguments[1] is Ellipsis)

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, list | tuple):
                raise _fail(f"expected a list, got {_name(value)}")
            kinds = [arguments[0]] * len(value) if open_ended else list(arguments)
            if len(kinds) != len(value):
                raise _fail(f"expected {len(kinds)} entries, got {len(value)}")
            return make(self._each(zip(range(len(value)), value, kinds, strict=True)))

        return structure

    def _dict(self, cls: Any) -> Callable[[Any, Any], Any]:
        _, kind = get_args(cls)

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, Mapping):
                raise _fail(f"expected an object, got {_name(value)}")
            return dict(zip(value, self._each((key, entry, kind) for key, entry in value.items()), strict=True))

        return structure

    def _each(self, entries: Any) -> list[Any]:
        made: list[Any] = []
        found: list[Mistake] = []
        for key, value, kind in entries:
            try:
                made.append(self.converter.structure(value, kind))
            except Mistakes as mistakes:
                found += [attrs.evolve(m, path=(key, *m.path)) for m in mistakes.found]
        if found:
            raise Mistakes(found)
        return made

    def _union(self, cls: Any) -> Callable[[Any, Any], Any]:
        arguments = get_args(cls)

        def structure(value: Any, _: Any) -> Any:
            if value is None and type(None) in arguments:
                return None
            complaints = []
            for kind in arguments:
                if kind is type(None):
                    continue
                try:
                    return self.converter.structure(value, kind)
                except Mistakes as mistakes:
                    complaints.append(mistakes)
            deepest = max(complaints, key=lambda m: max(len(f.path) for f in m.found))
            if len(complaints) == 1 or any(m.path for m in deepest.found):
                raise deepest
            wants = dict.fromkeys(re.sub(r"^expected (.*), got .*$", r"\1", f.message) for c in complaints for f in c.found)
            if type(None) in arguments:
                wants["null"] = None
            raise _fail(f"expected {' or '.join(wants)}, got {_name(value)}")

        return structure

    def _attrs(self, cls: Any) -> Callable[[Any, Any], Any]:
        hints = get_type_hints(cls)
        fields = {f.name: f for f in attrs.fields(cls) if f.init}

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, Mapping):
                raise _fail(f"expected an object, got {_name(value)}")
            found: list[Mistake] = []
            made: dict[str, Any] = {}
            for key in value:
                if key not in fields:
                    found.append(Mistake((key,), f"unknown option {key!r}", nearest(str(key), list(fields))))
            for name, field in fields.items():
                if name not in value:
                    if field.default is attrs.NOTHING:
                        doc = info_of(field).doc
                        found.append(Mistake((), f"option {name!r} is missing", doc.rstrip(".")))
                    elif isinstance(field.default, Path):
                        made[name] = self.folder / field.default
                    continue
                try:
                    made[name] = self.converter.structure(value[name], hints[name])
                except Mistakes as mistakes:
                    found += [attrs.evolve(m, path=(name, *m.path)) for m in mistakes.found]
                    continue
                problem = info_of(field).problem(made[name])
                if problem:
                    found.append(Mistake((name,), problem))
            if found:
                raise Mistakes(found)
            try:
                return cls(**made)
            except CurateError as error:
                raise _fail(error.message, error.hint) from error
            except (ValueError, TypeError) as error:
                raise _fail(str(error)) from error

        return structure


def structure(value: object, cls: type[Any], folder: Path) -> Any:
    """An instance of an attrs class from plain values; relative paths are resolved against ``folder``.

    Raises:
        Mistakes: everything that is wrong, with paths.
    """
    return _strict(folder).converter.structure(value, cls)


@lru_cache(maxsize=16)
def _strict(folder: Path) -> _Strict:
    """Made once a folder: it learns about each class, and cases without number are structured."""
    return _Strict(folder)


def unstructure(value: Any) -> Any:
    """The plain value that ``structure`` reads; defaults are filled in. Paths become absolute text."""
    if isinstance(value, Scope):
        return {"attribute": value.attribute} if value.over == "attribute" else value.over
    if attrs.has(type(value)):
        return {f.name: unstructure(getattr(value, f.name)) for f in attrs.fields(type(value)) if f.init}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): unstructure(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [unstructure(entry) for entry in value]
    return int(value) if isinstance(value, ByteSize) else value


def templated(value: Mapping[str, Any], cls: type[Any]) -> tuple[str, ...]:
    """Options given as ``"{attribute}"`` where something other than text is expected, and texts with fields where an option says that it
    takes them: filled in case by case.
    """
    hints, texts = get_type_hints(cls), text_templates(cls)
    found = (key for key, entry in value.items() if key in hints and not takes_text(hints[key]) and _has_template(entry))
    return (*found, *(key for key in texts if isinstance(value.get(key), str) and "{" in value[key]))


def text_templates(cls: type[Any]) -> list[str]:
    """Text options that take ``{attribute}`` within."""
    return [field.name for field in attrs.fields(cls) if info_of(field).template]


def check_templated(options: Mapping[str, Any], cls: type[Any], folder: Path, templates: Sequence[str]) -> None:
    """What can be known of options before the attributes of a case fill in the templates among them.

    Raises:
        Mistakes: everything that is wrong already, with paths.
    """
    found: list[Mistake] = []
    try:
        structure(options, cls, folder)
    except Mistakes as mistakes:
        found = [m for m in mistakes.found if not (m.path and m.path[0] in templates and _is_template_at(options, m.path))]
    infos = {field.name: info_of(field) for field in attrs.fields(cls)}
    for name in templates:
        if infos[name].template:
            try:
                PathTemplate(options[name]).fields  # noqa: B018 - raises for a malformed one
            except ValueError as error:
                found.append(Mistake((name,), str(error)))
            continue
        problem = infos[name].problem(_without_templates(options[name]))
        if problem and not any(m.path[:1] == (name,) for m in found):
            found.append(Mistake((name,), problem))
    if found:
        raise Mistakes(found)


def _is_template_at(value: Any, path: Sequence[str | int]) -> bool:
    for key in path:
        value = value[key]
    return isinstance(value, str) and TEMPLATE.fullmatch(value) is not None


def _without_templates(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_without_templates(entry) for entry in value]
    return None if isinstance(value, str) and TEMPLATE.fullmatch(value) else value


def takes_text(kind: Any) -> bool:
    """Whether text is a value of an option's type, so that ``"{name}"`` in it is just text."""
    if kind is str or kind is Path or kind is Any:
        return True
    if get_origin(kind) is Literal:
        return False
    return any(takes_text(argument) for argument in get_args(kind) if argument is not Ellipsis)


def names_path(kind: Any) -> bool:
    """Whether an option's type is a path, or a list of paths."""
    return kind is Path or any(names_path(argument) for argument in get_args(kind) if argument is not Ellipsis)


def takes_list(kind: Any) -> bool:
    """Whether an option's type is a list, or may be one."""
    return _origin(kind) in (tuple, list, Sequence) or any(takes_list(argument) for argument in get_args(kind))


def _has_template(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_template(entry) for entry in value)
    return isinstance(value, str) and TEMPLATE.fullmatch(value) is not None


def fill(value: Any, attributes: Mapping[str, Plain]) -> Any:
    """``"{attribute}"`` replaced by the attribute's value, in lists too.

    Raises:
        KeyError: there is no such attribute.
    """
    if isinstance(value, list | tuple):
        return [fill(entry, attributes) for entry in value]
    if isinstance(value, str) and TEMPLATE.fullmatch(value):
        return attributes[value[1:-1]]
    return value
