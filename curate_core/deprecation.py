"""What goes away warns first: names and functions as Python warnings, components and options as lines in the log ``curate``.

How long it stays is told in ``docs/explanation/versioning.md``.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import attrs

from curate_core.options import info_of

if TYPE_CHECKING:
    from curate_core.host import Host, Offer

P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger("curate")


class CurateDeprecationWarning(DeprecationWarning):
    """Something of the contract goes away; says since when, until when, and what to write instead."""


@attrs.frozen
class Moved:
    """A name that ``curate_core`` exported.

    Attributes:
        target: what it stands for, ``"package.module:name"``.
        since: the version that deprecated it.
        until: the version that no longer has it.
        instead: what to do.
    """

    target: str
    since: str
    until: str
    instead: str


NAMES: Mapping[str, Moved] = {}
"""Deprecated name of ``curate_core`` -> what it stands for."""


def say(what: str, since: str, until: str, instead: str) -> str:
    """The words of every such warning."""
    return f"{what} is deprecated since curate {since} and goes in {until}: {instead}"


def deprecated(since: str, until: str, instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function or method as going away: whoever calls it is warned at the line of the call.

    Args:
        since: the version that deprecated it.
        until: the version that no longer has it.
        instead: what to do, such as ``"use find_rois"``.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        message = say(function.__qualname__, since, until, instead)

        @functools.wraps(function)
        def warned(*args: P.args, **kwargs: P.kwargs) -> R:
            warnings.warn(message, CurateDeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        return warned

    return decorate


def moved(name: str, names: Mapping[str, Moved] | None = None) -> Any:
    """What a deprecated name of ``curate_core`` stands for; warns whoever asks for it.

    Raises:
        AttributeError: there is no such name.
    """
    known = NAMES if names is None else names
    if name not in known:
        message = f"module 'curate_core' has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    entry = known[name]
    warnings.warn(say(f"curate_core.{name}", entry.since, entry.until, entry.instead), CurateDeprecationWarning, stacklevel=3)
    module, _, attribute = entry.target.partition(":")
    return getattr(import_module(module), attribute)


def of_steps(steps: Iterable[Any]) -> Iterator[str]:
    """What the steps of a spec use that goes away: one line for each place.

    Args:
        steps: as :class:`curate_core.spec.Step`.
    """
    for step in steps:
        if step.offer is not None and step.offer.provider.deprecated:
            yield f"{step.path}.use: {step.use!r} is deprecated: {step.offer.provider.deprecated}"
        for field in attrs.fields(step.cls) if step.cls is not None else ():
            if field.name in step.options and info_of(field).deprecated:
                yield f"{step.path}.{field.name}: this option is deprecated: {info_of(field).deprecated}"


def tell(steps: Iterable[Any], where: str) -> None:
    """Warn in the log, which goes to stderr unless somebody listens."""
    for line in of_steps(steps):
        _log.warning("%s: %s", where, line)


def tell_offer(offer: Offer, where: str) -> None:
    """Warn of a component that no spec names, if it goes away."""
    if offer.provider.deprecated:
        _log.warning("%s: %r is deprecated: %s", where, offer.provider.name, offer.provider.deprecated)


def marked(text: str, deprecated: str) -> str:
    """A sentence about something, and the one about its going away, if it does."""
    return " ".join(filter(None, [text, deprecated and f"Deprecated: {deprecated}"]))


def tell_chosen(host: Host, chosen: Iterable[tuple[str, str]]) -> None:
    """Warn of readers that ``auto`` took and that go away: one line for each, however many files.

    Args:
        chosen: (layer, qualified name of its reader).
    """
    layers: dict[str, dict[str, None]] = {o.qualified: {} for o in host.offers("reader") if o.provider.deprecated}
    for layer, reader in chosen if layers else ():
        if reader in layers:
            layers[reader][layer] = None
    for offer in host.offers("reader"):
        if names := ", ".join(layers.get(offer.qualified, ())):
            _log.warning("read: auto takes %r for %s: it is deprecated: %s", offer.qualified, names, offer.provider.deprecated)
