"""Finding plugins and resolving names to components. A broken plugin is explained, and never takes another down."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Sequence
from copy import copy
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import attrs
import pluggy
from attrs import frozen

from curate_core import hookspec
from curate_core.errors import PluginError, nearest, place_in
from curate_core.providers import KIND_NAMES, Provider, in_words, one

CORE = "curate-core"
BUILTIN = "curate_core.builtin.plugin"
BLOCK_VARIABLE = "CURATE_BLOCK_PLUGINS"


@frozen
class PluginStatus:
    """What became of one installed plugin.

    Attributes:
        name: of the entry point.
        distribution: the package that brought it, and its version.
        module: what the entry point names.
        status: ``loaded``, ``blocked`` (by ``CURATE_BLOCK_PLUGINS``) or ``broken``.
        reason: why it is not loaded.
        providers: what it offers; empty unless loaded.
        editable: the distribution is installed from a working tree, so that its version says little.
        local: no distribution, but a file that a spec names; the version is a hash of its content.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Literal["loaded", "blocked", "broken"]
    reason: str = ""
    providers: tuple[Provider, ...] = ()
    editable: bool = False
    local: bool = False


@frozen
class Offer:
    """A provider and the distribution that makes it."""

    provider: Provider
    distribution: str
    version: str
    editable: bool = False

    @property
    def qualified(self) -> str:
        """The name that is never ambiguous: ``curate-mrc:mrc``."""
        return f"{self.distribution}:{self.provider.name}"


class Host:
    """The plugins of one process: who offers what.

    Args:
        entry_points: ``(name, module, distribution, version, editable)`` of each plugin; the installed ones by default.
        blocked: names of plugins or distributions to leave out.
    """

    def __init__(self, entry_points: Iterable[EntryPoint] | None = None, blocked: Sequence[str] = ()) -> None:
        self._manager = pluggy.PluginManager(hookspec.PROJECT)
        self._manager.add_hookspecs(hookspec.RegisterHooks)
        self._manager.add_hookspecs(hookspec.EventHooks)
        core = EntryPoint("core", BUILTIN, CORE, _core_version(), editable=_is_editable(CORE))
        found = installed_plugins() if entry_points is None else sorted(entry_points, key=lambda e: (e.distribution, e.name))
        self.plugins: tuple[PluginStatus, ...] = tuple(self._load(entry, blocked) for entry in [core, *found])
        self._offers = [
            Offer(provider, plugin.distribution, plugin.version, plugin.editable)
            for plugin in self.plugins
            for provider in plugin.providers
        ]
        self._classes: dict[str, type[Any]] = {}

    @property
    def hook(self) -> Any:
        """The event hooks, to be called with keyword arguments."""
        return self._manager.hook

    @property
    def manager(self) -> pluggy.PluginManager:
        """Where listeners of a single run are registered."""
        return self._manager

    def _load(self, entry: EntryPoint, blocked: Sequence[str]) -> PluginStatus:
        """One plugin in one ``try``: all of its providers or none."""
        status = PluginStatus(entry.name, entry.distribution, entry.version, entry.module, "broken", editable=entry.editable)
        if entry.name in blocked or entry.distribution in blocked:
            return attrs.evolve(status, status="blocked", reason=f"named in {BLOCK_VARIABLE}")
        name = f"{entry.distribution}:{entry.name}"
        try:
            module = import_module(entry.module)
            problems = _api_problems(module)
            if not problems and self._manager.is_registered(module):
                problems = [f"{entry.module} is loaded already, as {self._manager.get_name(module)}"]
            if problems:
                return attrs.evolve(status, reason="; ".join(problems))
            check_hooks(self._manager, module)
            self._manager.register(module, name=name)
            providers = _collect(self._manager, module)
            problems = _provider_problems(providers)
        except (Exception, SystemExit) as error:
            kind = "" if isinstance(error, PluginError) else f"{type(error).__name__}: "
            place = place_in(entry.module, error) if kind else ""
            problems, providers = [f"{kind}{error}{place}{_misspelt(entry, error)}"], []
        if problems:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            return attrs.evolve(status, reason="; ".join(problems))
        return attrs.evolve(status, status="loaded", providers=tuple(providers))

    def with_plugins(self, plugins: Iterable[PluginStatus]) -> Host:
        """A host that has some more, those that it has already left out; events still reach the listeners of this one."""
        made = copy(self)
        made._extend(plugins)  # noqa: SLF001 - a copy of ours
        return made

    def _extend(self, plugins: Iterable[PluginStatus]) -> None:
        """For a copy: what it changes is made anew, not shared."""
        known = {plugin.module for plugin in self.plugins}
        added = tuple(plugin for plugin in plugins if plugin.module not in known)
        self.plugins = (*self.plugins, *added)
        self._offers = self._offers + [Offer(provider, p.distribution, p.version) for p in added for provider in p.providers]
        self._classes = dict(self._classes)

    def offers(self, kind: str) -> list[Offer]:
        """All that is offered of a kind, sorted by name and distribution."""
        return sorted((o for o in self._offers if o.provider.kind == kind), key=lambda o: (o.provider.name, o.distribution))

    def conflicts(self) -> list[tuple[Offer, ...]]:
        """Offers of different distributions that claim one name of one kind."""
        groups: dict[tuple[str, str], list[Offer]] = {}
        for offer in self._offers:
            groups.setdefault((offer.provider.kind, offer.provider.name), []).append(offer)
        return [tuple(group) for group in groups.values() if len(group) > 1]

    def find(self, kind: str, use: str) -> Offer:
        """The offer that ``use`` names, plainly or as ``distribution:name``.

        Raises:
            PluginError: nothing, several things or a broken plugin stand behind the name.
        """
        offers = self.offers(kind)
        matches = [o for o in offers if use in (o.provider.name, o.qualified)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = " or ".join(repr(o.qualified) for o in matches)
            message = f"{len(matches)} distributions offer the {in_words(kind)} {use!r}"
            raise PluginError(message, hint=f"write {names}")
        for plugin in self.plugins:
            if plugin.status != "loaded" and use.partition(":")[0] in (plugin.distribution, plugin.name):
                message = f"the {in_words(kind)} {use!r} is not there: plugin {plugin.distribution} is {plugin.status}: {plugin.reason}"
                raise PluginError(message, hint="see curate plugins")
        for other in KIND_NAMES:
            if other != kind and any(use in (o.provider.name, o.qualified) for o in self.offers(other)):
                message = f"{use!r} is {one(other)}, not {one(kind)}"
                raise PluginError(message)
        hint = nearest(use, [o.provider.name for o in offers])
        broken = [p.distribution for p in self.plugins if p.status == "broken"]
        if broken:
            perhaps = f"a broken plugin may offer it, see curate plugins: {', '.join(broken)}"
            hint = f"{hint} {perhaps}" if hint.endswith("?") else f"{hint}; {perhaps}" if hint else perhaps
        elif not offers:
            hint = f"no installed plugin brings {one(kind)}"
        message = f"there is no {in_words(kind)} {use!r}"
        raise PluginError(message, hint=hint)

    def load(self, offer: Offer) -> type[Any]:
        """The class behind an offer, imported now.

        Raises:
            PluginError: the import fails, or the class does not fulfil the contract of its kind.
        """
        target = offer.provider.target
        if target not in self._classes:
            from curate_core.loading import import_class  # with what structures options

            self._classes[target] = import_class(offer.provider, offer.distribution)
        return self._classes[target]

    def readers_for(self, path: Path) -> list[Offer]:
        """Readers that claim the file's suffix (or the folder's), the first to ask first."""
        name = path.name.lower() + ("/" if path.is_dir() else "")
        claims = [
            (max(len(suffix) for suffix in o.provider.suffixes if name.endswith(suffix)), o)
            for o in self.offers("reader")
            if any(name.endswith(suffix) for suffix in o.provider.suffixes)
        ]
        claims.sort(key=lambda claim: (-claim[1].provider.priority, -claim[0], claim[1].qualified))
        return [offer for _, offer in claims]


@frozen
class EntryPoint:
    """An installed plugin before it is imported."""

    name: str
    module: str
    distribution: str
    version: str
    editable: bool = False


def installed_plugins() -> list[EntryPoint]:
    """The plugins of this environment, sorted by distribution and name."""
    found = []
    for entry in metadata.entry_points(group=hookspec.ENTRY_POINT_GROUP):
        name, version = _named(entry.dist)
        found.append(EntryPoint(entry.name, entry.value, name, version, editable=_is_editable(name)))
    return sorted(set(found), key=lambda e: (e.distribution, e.name))


@lru_cache(maxsize=1)
def default_host() -> Host:
    """The host of the installed plugins, made once a process."""
    blocked = [name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(",")]
    return Host(blocked=[name for name in blocked if name])


def _collect(manager: pluggy.PluginManager, module: ModuleType) -> list[Provider]:
    """What the hooks of one of the manager's plugins offer.

    Raises:
        PluginError: a hook gives something else than it should.
    """
    providers: list[Provider] = []
    for kind in KIND_NAMES:
        name = f"curate_register_{kind}s"
        hook = manager.subset_hook_caller(name, [p for p in manager.get_plugins() if p is not module])
        given = hook()
        if hook.get_hookimpls() and not given:  # pluggy leaves None out
            message = f"{name} gave nothing"
            raise PluginError(message, hint="write yield before Provider(...)")
        for offered in given:
            if not isinstance(offered, Iterable):
                message = f"{name} must give Provider objects one by one, not {type(offered).__name__}"
                raise PluginError(message, hint="write yield before Provider(...)")
            for provider in offered:
                if not isinstance(provider, Provider):
                    message = f"{name} must give Provider objects, not {type(provider).__name__}"
                    raise PluginError(message)
                if provider.kind != kind and provider.kind in KIND_NAMES:  # others are a problem of the provider's own
                    message = f"{name} gave {provider.name!r} of kind {provider.kind!r}"
                    raise PluginError(message, hint=f"yield it from curate_register_{provider.kind}s")
                providers.append(provider)
    return providers


def check_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    """Refuse what would be silence, or a word of pluggy's: a misspelt hook, one that is not marked, one that asks for too much.

    Args:
        manager: knows the hooks that there are.
        plugin: a module, or an object that listens.

    Raises:
        PluginError: it has such a thing.
    """
    known = [name for name in dir(manager.hook) if name.startswith("curate_") and getattr(manager.hook, name).has_spec()]
    for name in sorted({*dir(plugin)} - {*dir(object)}):
        value = getattr(plugin, name, None)
        marked = hasattr(value, f"{hookspec.PROJECT}_impl")
        if marked and name not in known and hasattr(hookspec.EventHooks, name):
            message = f"{name} is an event, of which only installed plugins hear"
            raise PluginError(message, hint="curate new-plugin makes a package")
        if marked and name not in known:
            message = f"there is no hook {name!r}"
            close = nearest(name, known)
            raise PluginError(message, hint=close if "did you mean" in close else f"there are {', '.join(known)}")
        if marked:
            _check_arguments(name, value)
        if not marked and callable(value) and (name.startswith("curate_register_") or hasattr(hookspec.EventHooks, name)):
            message = f"{name} is not marked as a hook"
            raise PluginError(message, hint="write @hookimpl above it")


def check_listener(manager: pluggy.PluginManager, listener: object) -> None:
    """Refuse an object that would hear nothing, or not what it means to.

    Raises:
        PluginError: it is such a one.
    """
    if isinstance(listener, type):
        message = f"the listener {listener.__name__} is a class"
        raise PluginError(message, hint=f"give an object of it: {listener.__name__}()")
    check_hooks(manager, listener)
    if not any(hasattr(getattr(listener, name, None), f"{hookspec.PROJECT}_impl") for name in dir(listener)):
        message = f"the listener {listener!r} hears of no event"
        raise PluginError(message, hint="write @hookimpl above its methods, which are called as events are, such as curate_unit_finished")


def _check_arguments(name: str, implementation: Any) -> None:
    contract = getattr(hookspec.RegisterHooks, name, None) or getattr(hookspec.EventHooks, name)
    told = [argument for argument in inspect.signature(contract).parameters if argument != "self"]
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    asked = [p.name for p in inspect.signature(implementation).parameters.values() if p.default is p.empty and p.kind not in open_ended]
    unknown = [argument for argument in asked if argument not in told]
    if unknown and not told:
        message = f"{name} takes {', '.join(unknown)}: registering hooks take no arguments"
        raise PluginError(message, hint=f"write def {name}():")
    if unknown:
        message = f"{name} takes {unknown[0]!r}, which the event does not tell"
        raise PluginError(message, hint=nearest(unknown[0], told))


def _misspelt(entry: EntryPoint, error: BaseException) -> str:
    """Where to look when the module that an entry point names is not there."""
    missing = isinstance(error, ModuleNotFoundError) and error.name and f"{entry.module}.".startswith(f"{error.name}.")
    if not missing:
        return ""
    return f"; the entry point {entry.name!r} of {entry.distribution} names it: mend it in pyproject.toml, install again"


def collect_local(module: ModuleType) -> list[Provider]:
    """What the hooks of a module offer that is no installed plugin.

    Raises:
        PluginError: a hook gives something else than it should, or there is no such hook.
    """
    manager = pluggy.PluginManager(hookspec.PROJECT)
    manager.add_hookspecs(hookspec.RegisterHooks)
    check_hooks(manager, module)
    manager.register(module)
    return _collect(manager, module)


def _provider_problems(providers: Sequence[Provider]) -> list[str]:
    problems = [problem for provider in providers for problem in provider.problems()]
    if problems:
        return problems
    names = [(p.kind, p.name) for p in providers]
    return [f"the {in_words(kind)} {name!r} is offered twice" for kind, name in sorted(set(names)) if names.count((kind, name)) > 1]


def _api_problems(module: ModuleType) -> list[str]:
    from curate_core.kinds import HOOK_API

    api = getattr(module, "CURATE_HOOK_API", None)
    if api is None:
        return [f"{module.__name__} does not state CURATE_HOOK_API; write CURATE_HOOK_API = {HOOK_API}"]
    if api != HOOK_API:
        return [f"written for plugin API {api} (CURATE_HOOK_API), this curate has {HOOK_API}; install versions that fit together"]
    return []


def _named(distribution: metadata.Distribution | None) -> tuple[str, str]:
    """Name and version; what a failed installation left behind may have neither, which the importlib_metadata package calls an error."""
    try:
        found: Any = {} if distribution is None else distribution.metadata
        return str(found.get("Name") or "unknown"), str(found.get("Version") or "0")
    except (TypeError, OSError):
        return "unknown", "0"


def _core_version() -> str:
    try:
        return metadata.version(CORE)
    except metadata.PackageNotFoundError:
        return "0"


@lru_cache(maxsize=256)
def _is_editable(distribution: str) -> bool:
    """Whether pip installed it from a working tree (PEP 610)."""
    import json

    try:
        text = metadata.distribution(distribution).read_text("direct_url.json")
        return bool(text and json.loads(text)["dir_info"].get("editable"))
    except metadata.PackageNotFoundError:
        return True
    except (KeyError, ValueError, TypeError, AttributeError):  # from an archive, or damaged
        return False
