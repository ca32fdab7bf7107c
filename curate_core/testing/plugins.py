"""What every plugin must be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import attrs
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from curate_core import __version__
from curate_core.hookspec import EventHooks
from curate_core.host import CORE, EntryPoint, Host, Offer, installed_plugins
from curate_core.kinds import HOOK_API, Component
from curate_core.options import info_of
from curate_core.scaffold.bounds import bounds
from curate_core.structure import Mistakes, structure, unstructure
from curate_core.testing.checks import sent

_ENDS = {"a lower": (">=", ">", "==", "===", "~="), "an upper": ("<", "<=", "==", "===", "~=")}
_LIGHT = {"curate_core", "pluggy", "attr", "attrs"}
_PROBE = """
import json, sys
import curate_core.hookspec, curate_core.providers
before = set(sys.modules)
__import__(sys.argv[1])
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(name for name in new if getattr(sys.modules.get(name), "__spec__", None))))  # Cython makes modules of its own
"""


class PluginTests:
    """A plugin is light to import, well described, and every component that it offers can be had.

    Example::

        class TestMrcPlugin(PluginTests):
            plugin_module = "curate_mrc.plugin"
            distribution = "curate-mrc"
            readme = Path(__file__).parents[1] / "README.md"
            examples = {"reader:raw-mrc": {"shape": [1, 2, 3]}}

    Attributes:
        plugin_module: what the entry point names.
        distribution: the package that brings it.
        readme: must name every component in ``backticks``; None: there is none.
        examples: ``kind:name`` -> options, for components that have required ones.
    """

    plugin_module: ClassVar[str]
    distribution: ClassVar[str]
    readme: ClassVar[Path | None] = None
    examples: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def host(self) -> Host:
        """The built-ins and this plugin alone."""
        return Host([EntryPoint("under-test", self.plugin_module, self.distribution, "0")])

    def offers(self) -> list[Offer]:
        """What the plugin offers."""
        host = self.host()
        kinds = dict.fromkeys(provider.kind for plugin in host.plugins for provider in plugin.providers)
        return [offer for kind in kinds for offer in host.offers(kind) if offer.distribution == self.distribution]

    def components(self) -> Iterator[tuple[str, type[Any]]]:
        """``kind:name`` and class of each component."""
        host = self.host()
        for offer in self.offers():
            yield f"{offer.provider.kind}:{offer.provider.name}", host.load(offer)

    def made(self) -> Iterator[tuple[str, Component]]:
        """Each component with the options of its example, and what to call it."""
        for name, cls in self.components():
            try:
                component = structure(self._example(name), cls, Path.cwd())
            except Mistakes as mistakes:
                message = f"{name} cannot be built: {mistakes}; name its options in examples[{name!r}]"
                raise AssertionError(message) from mistakes
            yield name, component

    def test_importing_it_is_light(self) -> None:
        """``plugin.py`` imports its own package, curate_core and the standard library: nothing that takes time."""
        command = [sys.executable, "-c", _PROBE, self.plugin_module]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - our own interpreter
        assert done.returncode == 0, f"{self.plugin_module} cannot be imported: {done.stderr.strip().splitlines()[-1:]}"
        own = self.plugin_module.partition(".")[0]
        heavy = [name for name in json.loads(done.stdout) if name not in _LIGHT | {own} | sys.stdlib_module_names]
        assert not heavy, f"importing {self.plugin_module} imports {', '.join(heavy)}: import it where a component needs it"

    def test_states_the_api(self) -> None:
        """``CURATE_HOOK_API`` is this curate's."""
        api = getattr(import_module(self.plugin_module), "CURATE_HOOK_API", None)
        assert api == HOOK_API, f"{self.plugin_module} states CURATE_HOOK_API = {api!r}, this curate has {HOOK_API}"

    def test_loads(self) -> None:
        """Every provider is well described; at least one is offered, or an event listened to."""
        host = self.host()
        status = next(plugin for plugin in host.plugins if plugin.module == self.plugin_module)
        assert status.status == "loaded", f"{self.plugin_module} is {status.status}: {status.reason}"
        heard = [caller.name for caller in host.manager.get_hookcallers(import_module(self.plugin_module)) or []]
        listens = any(hasattr(EventHooks, name) for name in heard)
        assert status.providers or listens, f"{self.plugin_module} offers nothing and listens to no event"

    def test_claims_no_built_in_name(self) -> None:
        """Its names are its own."""
        conflicts = [" and ".join(offer.qualified for offer in group) for group in self.host().conflicts()]
        assert not conflicts, f"names are claimed twice: {'; '.join(conflicts)}"

    def test_is_installed(self) -> None:
        """The distribution has an entry point that names the module."""
        found = [entry for entry in installed_plugins() if entry.module == self.plugin_module]
        named = [entry for entry in found if _normal(entry.distribution) == _normal(self.distribution)]
        assert named, f"no entry point of {self.distribution} in the group curate.plugins names {self.plugin_module}"

    def test_bounds_the_core(self) -> None:
        """The distribution says which versions of the core it works with, from a first to a last, and the installed one is among them."""
        try:
            lines = metadata.requires(self.distribution) or []
        except metadata.PackageNotFoundError:
            message = f"{self.distribution} is not installed"
            raise AssertionError(message) from None
        asked = [found for found in map(Requirement, lines) if found.marker is None or found.marker.evaluate({"extra": ""})]
        ranges = SpecifierSet(",".join(str(found.specifier) for found in asked if _normal(found.name) == CORE))
        advice = f'write "{CORE}{bounds(__version__)}" in its dependencies'
        assert any(_normal(found.name) == CORE for found in asked), f"{self.distribution} does not require {CORE}: {advice}"
        for end, operators in _ENDS.items():
            assert any(one.operator in operators for one in ranges), (
                f"{self.distribution} requires {CORE}{ranges}, without {end} end: {advice}"
            )
        inside = ranges.contains(__version__, prereleases=True)
        assert inside, f"{self.distribution} requires {CORE}{ranges}, and is tested with {__version__}: {advice}"

    def test_components_can_be_had(self) -> None:
        """Each target is imported and fulfils the contract of its kind."""
        host = self.host()
        for offer in self.offers():
            host.load(offer)

    def test_components_are_frozen_and_described(self) -> None:
        """Frozen attrs classes with a docstring and a whole number as version."""
        for name, cls in self.components():
            own = cls.__dict__.get("__doc__") or ""
            assert own.strip(), f"{name}: {cls.__name__} has no docstring; its first line describes the component"
            assert not own.startswith(f"{cls.__name__}("), f"{name}: {cls.__name__} has no docstring of its own"
            assert type(cls.version) is int, f"{name}: version is {cls.version!r}, expected a whole number"
            assert cls.version >= 1, f"{name}: version is {cls.version}, expected at least 1"
            bare = object.__new__(cls)
            try:
                bare.surprise = 1
            except (attrs.exceptions.FrozenInstanceError, attrs.exceptions.FrozenAttributeError):
                continue
            except AttributeError:
                pass
            message = f"{name}: {cls.__name__} is not frozen; decorate it with @attrs.frozen"
            raise AssertionError(message)

    def test_options_are_documented(self) -> None:
        """Every option says in a sentence what it does, and has a type."""
        for name, cls in self.components():
            hints = get_type_hints(cls)
            for field in attrs.fields(cls):
                if not field.init:
                    continue
                doc = info_of(field).doc
                how = "declare it with curate_core.option(doc=...), or describe it under Args: in the docstring of a function"
                assert doc.strip(), f"{name}: option {field.name!r} is not documented; {how}"
                assert field.name in hints, f"{name}: option {field.name!r} has no type"

    def test_defaults_are_values_of_their_options(self) -> None:
        """What an option is when a spec leaves it out, a spec may also say: of its type, within its bounds."""
        for name, cls in self.components():
            for field in attrs.fields(cls):
                if not field.init or field.default is attrs.NOTHING or isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
                    continue
                written = unstructure(field.default)
                try:
                    structure({**self._example(name), field.name: written}, cls, Path.cwd())
                except Mistakes as mistakes:
                    wrong = [mistake.message for mistake in mistakes.found if mistake.path[:1] == (field.name,)]
                    assert not wrong, f"{name}: the default of option {field.name!r}, {written!r}, is none of its values: {wrong[0]}"

    def test_unknown_options_are_refused(self) -> None:
        """An option is given under its own name; a misspelt one is a mistake that a spec's author hears of."""
        for name, cls in self.components():
            hidden = [field.name for field in attrs.fields(cls) if field.init and field.alias != field.name]
            assert not hidden, (
                f"{name}: no spec can give the option {hidden[0]!r}, which attrs knows by another name; take its underscore away"
            )
            options = {**self._example(name), "no-such-option": 1}
            with pytest.raises(Mistakes) as caught:
                structure(options, cls, Path.cwd())
            found = [mistake.message for mistake in caught.value.found]
            assert "unknown option 'no-such-option'" in found, f"{name}: a misspelt option is reported as {found}"

    def test_components_cross_processes(self) -> None:
        """Each can be built from its options and sent to a worker."""
        for name, made in self.made():
            copy = sent(made, name)
            assert copy == made, f"{name}: the copy in another process is {copy!r}, expected {made!r}"

    def test_what_it_asks_of_a_worker_can_be_counted(self) -> None:
        """Estimates are whole bytes; needs beside memory are amounts under names."""
        for name, made in self.made():
            nbytes = made.estimate(1_000_000)
            assert type(nbytes) is int, f"{name}: estimate gives {nbytes!r}, expected bytes as a whole number"
            needs = made.needs()
            right = isinstance(needs, Mapping) and all(
                isinstance(n, str) and isinstance(v, int | float) and v > 0 for n, v in needs.items()
            )
            assert right, f'{name}: needs gives {needs!r}, expected amounts above 0 under names, such as {{"gpu": 1}}'

    def test_readme_names_every_component(self) -> None:
        """Who reads the README learns of all that the plugin offers."""
        if self.readme is None:
            pytest.skip("readme = None")
        assert self.readme.is_file(), f"there is no {self.readme}, which is to name every component"
        text = self.readme.read_text(encoding="utf-8")
        missing = [offer.provider.name for offer in self.offers() if not re.search(rf"`{re.escape(offer.provider.name)}`", text)]
        assert not missing, f"{self.readme.name} does not name {', '.join(f'`{name}`' for name in missing)}"

    def _example(self, name: str) -> dict[str, Any]:
        return dict(self.examples.get(name, {}))


def _normal(distribution: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
