"""Python files that a spec names under ``plugins``: components without a package, run only where they are trusted.

A file is run from the bytes that were hashed, and that hash is the version of its components: it belongs to the keys of what they do.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import traceback
from collections import Counter
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from curate_core.errors import PluginError, Problem, SpecError
from curate_core.host import Host, PluginStatus, collect_local
from curate_core.kinds import KINDS as BASES
from curate_core.providers import KIND_NAMES, Provider, in_words, one

TRUSTED_VARIABLE = "CURATE_TRUSTED"
"""Folders whose Python files may run without being asked for, separated as in ``PATH``."""
KINDS = ("source", "reader", "preprocessor", "roi_finder", "transform", "filter")
"""What a file may bring: what a spec's steps use, apart from writers, which a dataset needs for as long as it is read."""


def with_local_plugins(host: Host, plugins: object, folder: Path, where: str, *, allowed: bool) -> Host:
    """The host with the components of the files that a spec names; the same one where it names none.

    Args:
        host: the installed plugins.
        plugins: the spec's ``plugins``; what is no list of paths is left to validation.
        folder: where relative paths start.
        where: the spec, for messages.
        allowed: the files may run; otherwise only those in a trusted folder.

    Raises:
        SpecError: a file may not run, is not there, fails, or brings nothing; all such mistakes at once.
    """
    if not isinstance(plugins, list | tuple) or not plugins or not all(isinstance(name, str) for name in plugins):
        return host
    files = [Path(os.path.abspath(folder / Path(name).expanduser())) for name in plugins]
    problems: list[Problem] = []
    loaded = []
    names = Counter(file.name for file in files)
    for number, (name, file) in enumerate(zip(plugins, files, strict=True)):
        problem = _refusal(name, file, allowed=allowed, again=names[file.name] > 1)
        found = problem or _load(name, file)
        if isinstance(found, PluginStatus):
            loaded.append(found)
        else:
            problems.append(Problem(f"plugins.{number}", *found))
    if problems:
        raise SpecError(problems, where=where)
    return host.with_plugins(loaded)


def trusted(file: Path) -> bool:
    """Whether a file lies in a folder that the user named in ``CURATE_TRUSTED``; symbolic links count where they lead."""
    folders = [Path(name).expanduser() for name in os.environ.get(TRUSTED_VARIABLE, "").split(os.pathsep) if name]
    real = file.resolve()
    return any(folder.is_absolute() and real.is_relative_to(folder.resolve()) for folder in folders)


def _refusal(name: str, file: Path, *, allowed: bool, again: bool) -> tuple[str, str] | None:
    """Why a file is not run: what is wrong, and what to do."""
    if file.suffix != ".py":
        return f"{name!r} is no Python file", 'installed plugins need no mention; a file is named like "./my_rois.py"'
    if again:
        return f"two files are called {file.name!r}", "rename one: their components are told apart by it"
    if not file.is_file():
        there = sorted(entry.name for entry in file.parent.glob("*.py"))[:5] if file.parent.is_dir() else []
        return f"there is no file {name!r}", f"{file.parent} holds {', '.join(there) or 'no Python files'}"
    if not (allowed or trusted(file)):
        hint = f"read it, and if you trust it add --allow-local-code, or name its folder in {TRUSTED_VARIABLE}"
        return f"{name!r} is Python code, which is not run unasked", hint
    return None


def _load(name: str, file: Path) -> PluginStatus | tuple[str, str]:
    """Run a file once, and look for what it brings; or what is wrong with it, and what to do."""
    try:
        content = file.read_bytes()
    except OSError as error:
        return f"{name!r} cannot be read: {error.strerror or error}", ""
    digest = hashlib.sha256(content).hexdigest()
    place = hashlib.sha256(f"{file}\0{digest}".encode("utf-8", "surrogatepass")).hexdigest()[:12]
    module_name = f"curate_local_{re.sub(r'[^a-z0-9]', '_', file.stem.lower())}_{place}"
    try:
        module = sys.modules.get(module_name) or _run(module_name, file, content)
        providers = [*_functions(module), *collect_local(module)]
    except PluginError as error:
        return f"{name!r}: {error.message}", error.hint
    except (Exception, SystemExit) as error:
        return f"{name!r} failed with {type(error).__name__}: {_said(error)}{_line(error, file)}", "it must run without an error by itself"
    problems = [problem for provider in providers for problem in provider.problems()]
    problems += [
        f"{p.name!r} is of kind {p.kind!r}, which only an installed plugin can bring"
        for p in providers
        if p.kind in KIND_NAMES and p.kind not in KINDS
    ]
    twice = [
        f"the {in_words(kind)} {name!r} is there twice" for (kind, name), n in Counter((p.kind, p.name) for p in providers).items() if n > 1
    ]
    if problems or twice:
        return f"{name!r}: {'; '.join(problems + twice)}", ""
    for p in providers:
        if p.target.partition(":")[0] != module_name:
            return f"{name!r}: the {in_words(p.kind)} {p.name!r} is {p.target!r}, outside of the file", _inside(p, module)
    if not providers:
        return f"{name!r} brings no component", _how(module)
    return PluginStatus(file.stem, file.name, f"sha256:{digest}", module_name, "loaded", providers=tuple(providers), local=True)


class _Bytes(SourceLoader):
    """Loads a module from bytes that were read before; leaves no compiled file."""

    def __init__(self, file: Path, content: bytes) -> None:
        self.file, self.content = file, content

    def get_filename(self, fullname: str) -> str:
        return str(self.file)

    def get_data(self, path: str | bytes) -> bytes:
        return self.content


def _run(name: str, file: Path, content: bytes) -> ModuleType:
    loader = _Bytes(file, content)
    described = spec_from_file_location(name, file, loader=loader)
    assert described is not None
    module = module_from_spec(described)
    sys.modules[name] = module  # type hints and pickling look there
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _functions(module: ModuleType) -> list[Provider]:
    """What decorated functions of the file became."""
    found = []
    for attribute, value in vars(module).items():
        provider = vars(value).get("__curate_provider__") if isinstance(value, type) else None
        if isinstance(provider, Provider) and value.__module__ == module.__name__:
            found.append(attrs.evolve(provider, target=f"{module.__name__}:{attribute}"))
    return found


def _said(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error).strip().split("\n")[0]


def _line(error: BaseException, file: Path) -> str:
    """Where in the file it happened."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f" (line {error.lineno})"
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(file)]
    return f" (line {lines[-1]})" if lines else ""


def _inside(provider: Provider, module: ModuleType) -> str:
    """How a file offers a class of its own: it is imported under a name that holds its hash, so no text could say where the class is."""
    fitting = [name for name, value in _classes(module).items() if issubclass(value, BASES[provider.kind])]
    named = provider.target.partition(":")[2]
    own = named if named in fitting else (fitting or ["MyClass"])[0]
    return f"offer a class of the file, and name it without quotes: {_offer(provider.kind, provider.name, own)}"


def _how(module: ModuleType) -> str:
    """What a file that brings nothing lacks."""
    for name, value in _classes(module).items():
        kind = next((kind for kind, base in BASES.items() if issubclass(value, base)), "")
        if kind in KINDS:
            return f"{name} has no name yet: write @hookimpl, def curate_register_{kind}s(): yield {_offer(kind, 'my-name', name)}"
        if kind:
            return f"{name} is {one(kind)}, which only an installed plugin can bring"
    return 'decorate a function with @curate_core.roi_finder("name"), or offer a class with a hook'


def _offer(kind: str, name: str, cls: str) -> str:
    return f'Provider("{kind}", "{name}", "What it does.", {cls})'


def _classes(module: ModuleType) -> dict[str, type[Any]]:
    """The classes that a file defines, by name, sorted."""
    return {name: value for name, value in sorted(vars(module).items()) if isinstance(value, type) and value.__module__ == module.__name__}
