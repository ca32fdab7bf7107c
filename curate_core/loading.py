"""From the place that a provider names to a class that keeps the contract of its kind."""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import attrs

from curate_core.errors import PluginError, place_in
from curate_core.kinds import KINDS, Scope
from curate_core.model import Plain
from curate_core.options import info_of
from curate_core.providers import Provider, in_words
from curate_core.structure import ByteSize

SEE = "see curate plugins --check"
_SCALARS = (bool, int, float, str, Path, Scope, ByteSize, type(None), object)


def import_class(provider: Provider, distribution: str) -> type[Any]:
    """The class that a provider names, imported now.

    Raises:
        PluginError: the import fails, or the class does not fulfil the contract of its kind.
    """
    where = f"plugin {distribution}"
    cls = _imported(provider, where)
    for message, hint in _breaches(provider, cls):
        raise PluginError(f"{provider.target} {message}", where=where, hint=hint)
    return cast(type[Any], cls)


def _imported(provider: Provider, where: str) -> object:
    module_name, _, class_name = provider.target.partition(":")
    failed = f"{provider.target} cannot be imported"
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        message = f"{failed}: {type(error).__name__}: {error}{place_in(module_name, error)}"
        gone = isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}.")
        raise PluginError(message, where=where, hint="the target in plugin.py names it" if gone else SEE) from error
    try:
        return getattr(module, class_name)
    except AttributeError as error:
        message = f"{failed}: AttributeError: {error}"
        close = _close(class_name, [name for name, value in vars(module).items() if isinstance(value, type)])
        raise PluginError(message, where=where, hint=f"did you mean {close!r} in plugin.py?" if close else SEE) from error


def _breaches(provider: Provider, cls: object) -> Sequence[tuple[str, str]]:
    """The first breach of the contract, (what, what to do); empty: there is none."""
    expected, kind = KINDS[provider.kind], in_words(provider.kind)
    if not (isinstance(cls, type) and issubclass(cls, expected)):
        base, own = expected.__name__, provider.target.partition(":")[2]
        return [(f"is not a subclass of curate_core.{base}", f"write class {own}({base})")]
    if "__attrs_attrs__" not in vars(cls):
        return [("is not an attrs class of its own", "decorate it with @attrs.frozen")]
    made = vars(cls).get("__curate_provider__")  # a function's decorator
    if made is not None and (wrong := attrs.evolve(made, target=provider.target).problems()):
        return [("has a decorator that cannot be", wrong[0])]
    if made is not None and made.name != provider.name:
        return [(f"is decorated as {made.name!r}, and offered as {provider.name!r}", "give it one name in both places")]
    if made is not None and made.suffixes and set(made.suffixes) != set(provider.suffixes):
        claims = [" ".join(suffixes) or "none" for suffixes in (made.suffixes, provider.suffixes)]
        return [(f"is decorated with the suffixes {claims[0]}, and offered with {claims[1]}", "write them in plugin.py")]
    shadowed = sorted(field.name for field in attrs.fields(cast(Any, cls)) if hasattr(expected, field.name))
    if shadowed:
        return [(f"has an option {shadowed[0]!r}, which is a method of every {kind}", "give the option another name")]
    for name in sorted(getattr(cls, "__abstractmethods__", ())):
        close = _close(name, [own for own, value in vars(cls).items() if inspect.isfunction(value)])
        return [(f"lacks the method {name!r} that every {kind} has", f"it has {close!r}: is that meant?" if close else "")]
    return _methods(cls, expected) or _options(cls)


def _methods(cls: type[Any], expected: type[Any]) -> Sequence[tuple[str, str]]:
    """A method that cannot be called as curate calls it."""
    for name, contract in inspect.getmembers(expected, inspect.isfunction):
        own = inspect.getattr_static(cls, name)
        if own is contract or name.startswith("_"):
            continue
        arguments = list(inspect.signature(contract).parameters)
        asked = f"def {name}({', '.join(arguments)})"
        if not callable(own) or isinstance(own, type):
            return [(f"has a {name!r} that is no method", f"write {asked}")]
        try:
            inspect.signature(own).bind(*arguments)
        except TypeError:
            takes = ", ".join(inspect.signature(own).parameters)
            return [(f"has a method {name}({takes}), which is called with ({', '.join(arguments)})", f"write {asked}")]
    return ()


def _options(cls: type[Any]) -> Sequence[tuple[str, str]]:
    """An option that no spec could give."""
    fields = [field for field in attrs.fields(cls) if field.init]
    for field in fields:
        if field.type is None:
            return [(f"has an option {field.name!r} without a type", f"write {field.name}: int = option(...)")]
    try:
        hints = get_type_hints(cls)
    except Exception as error:
        return [(f"has an option whose type cannot be found: {type(error).__name__}: {error}", "import it outside of TYPE_CHECKING")]
    for field in fields:
        if not plain(hints[field.name], ()):
            shown = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
            message = f"has an option {field.name!r} of type {shown}, which no value of a spec can have"
            return [(message, "say what it holds, such as dict[str, int] or tuple[float, ...]")]
        made = field.default is attrs.NOTHING or isinstance(field.default, attrs.Factory)  # type: ignore[arg-type]
        if not made and (problem := info_of(field).problem(field.default)) is not None:
            return [(f"has an option {field.name!r} with a default that it cannot have: {problem}", "change the default, or its bounds")]
    return ()


def plain(kind: Any, inside: Sequence[type[Any]]) -> bool:
    """Whether a spec can hold values of a type.

    Args:
        kind: as annotated.
        inside: the classes whose fields are being looked at.
    """
    if kind in _SCALARS or kind is Any or kind == Plain:
        return True
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return all(type(word) in (str, int, bool, type(None)) for word in arguments)
    if origin in (dict, Mapping):
        return len(arguments) == 2 and arguments[0] is str and plain(arguments[1], inside)
    if origin in (Union, types.UnionType, tuple, list, Sequence):
        return bool(arguments) and all(argument is Ellipsis or plain(argument, inside) for argument in arguments)
    if attrs.has(kind):
        hints = get_type_hints(kind)
        return kind in inside or all(plain(hints.get(f.name), (*inside, kind)) for f in attrs.fields(kind) if f.init)
    return False


def _close(word: str, candidates: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(word, candidates, n=1)), "")
