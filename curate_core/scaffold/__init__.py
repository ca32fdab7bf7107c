"""What ``curate new-plugin`` writes: a package with one honest component, its README and its tests, from the templates beside this file."""

from __future__ import annotations

import keyword
import os
import re
from importlib import resources
from pathlib import Path
from string import Template

from attrs import frozen

from curate_core import __version__
from curate_core.commands import COMMANDS
from curate_core.errors import RequestError, nearest
from curate_core.host import Host
from curate_core.kinds import HOOK_API
from curate_core.providers import KIND_NAMES, NAME, in_words, name_like, one
from curate_core.scaffold.bounds import bounds
from curate_core.scaffold.joining import joined, repository_of

PREFIX = "curate-"
MAX_NAME = 40
RESERVED = ("core", "plugins", "local")
FACTORS = ("all", "core", "docs", "exhaustive", "full", "imports", "lint", "lowest", "newest", "quick", "types")
_LICENCE = 'license = "Apache-2.0"\nlicense-files = ["LICENSE"]'
_SETTINGS = '\n[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n'


@frozen
class Sort:
    """What differs between the kinds in the templates.

    Attributes:
        module: where the component lies in its package.
        ending: of its class's name.
        summary: one line for ``curate plugins``.
        use: how the README shows its use, ``%s`` for its name.
    """

    module: str
    ending: str
    summary: str
    use: str


def _step(key: str, options: str, *, many: bool = True) -> str:
    step = f'{{"use": "%s"{options}}}'
    return f'```json\n"{key}": {f"[{step}]" if many else step}\n```'


SORTS = {
    "source": Sort("source", "Source", "Every file of one ending in one folder.", _step("source", ', "folder": "scans"', many=False)),
    "reader": Sort("reader", "Reader", "Voxels behind one line of JSON, memory-mapped.", _step("read", "", many=False)),
    "preprocessor": Sort("preprocessor", "Preprocessor", "Makes voxels below a level 0.", _step("preprocess", ', "level": 20')),
    "roi_finder": Sort("rois", "Finder", "Boxes around the brightest voxels.", _step("rois", ', "size": 16, "count": 10')),
    "transform": Sort("transform", "Transform", "Subtracts from each sample its own mean.", _step("transform", "")),
    "filter": Sort("filter", "Filter", "Drops samples of little contrast.", _step("filter", ', "least": 10')),
    "writer": Sort("writer", "Writer", "Voxels behind one line of JSON, a file a sample.", _step("write", ', "path": "{case}/{roi}%s"')),
    "engine": Sort("engine", "Engine", "Units one after the other in the calling process.", _step("engine", "", many=False)),
    "importer": Sort("importer", "Importer", "Lines of key = value.", "```console\ncurate import %s settings.txt -o spec.json\n```"),
    "command": Sort("command", "Command", "Counts the samples of each case.", "```console\ncurate %s out/patches\n```"),
}


@frozen
class Made:
    """What was written.

    Attributes:
        folder: of the new package.
        files: relative to it.
        joined: files of the repository that name it now, relative to the repository; empty elsewhere.
    """

    folder: Path
    files: tuple[str, ...]
    joined: tuple[str, ...]


def new_plugin(name: str, kind: str, into: Path, host: Host) -> Made:
    """Write a plugin package whose tests pass.

    Args:
        name: what a spec will call the component; with ``curate-`` before it, the distribution.
        kind: of the component, ``roi-finder`` or ``roi_finder``.
        into: the folder that will hold the package's folder; in this repository its root, or ``plugins``.
        host: the installed plugins, whose names are taken.

    Raises:
        RequestError: the name is none or taken, or the folder is there already; nothing was written.
    """
    kind = kind.replace("-", "_")
    if kind not in KIND_NAMES:
        message = f"there is no kind {kind!r}"
        raise RequestError(message, where="--kind", hint=nearest(kind.replace("_", "-"), [known.replace("_", "-") for known in KIND_NAMES]))
    name = name.removeprefix(PREFIX)
    check_name(name, kind, host)
    into = Path(os.path.abspath(into))
    if into.exists() and not into.is_dir():
        message = "it is a file, expected a folder"
        raise RequestError(message, where=str(into))
    repository = repository_of(into)
    if repository is not None:
        check_factor(name)
    folder = (into if repository is None else repository / "plugins") / f"{PREFIX}{name}"
    if os.path.lexists(folder):
        message = "it is there already"
        raise RequestError(message, where=str(folder), hint="choose another name or --into DIR; nothing was changed")
    files = package_files(name, kind, repository)
    lists = joined(repository, name, SORTS[kind].summary) if repository is not None else {}
    try:
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        for path, text in lists.items():
            (repository or folder).joinpath(path).write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"it cannot be written: {error.strerror or error}"
        raise RequestError(message, where=str(error.filename or folder)) from error
    return Made(folder, tuple(files), tuple(lists))


def check_name(name: str, kind: str, host: Host) -> None:
    """Refuse a name that no component, package or distribution may have, or that another component has.

    Raises:
        RequestError: it is refused.
    """
    if not NAME.fullmatch(name) or len(name) > MAX_NAME:
        better = name_like(name)[:MAX_NAME].rstrip("-")
        hint = f"did you mean {better!r}?" if better else "such as hot-spots"
        message = f"{name!r} cannot name a plugin: up to {MAX_NAME} lower-case letters and digits, words joined by hyphens, a letter first"
        raise RequestError(message, hint=hint)
    if name in RESERVED:
        message = f"{name!r} is a name of curate's own"
        raise RequestError(message, hint="choose another")
    if any(plugin.distribution == f"{PREFIX}{name}" for plugin in host.plugins):
        message = f"a plugin called {PREFIX}{name} is installed"
        raise RequestError(message, hint="choose another name")
    taken = [offer for offer in host.offers(kind) if offer.provider.name == name]
    if taken:
        message = f"{taken[0].distribution} has {one(kind)} {name!r} already"
        raise RequestError(message, hint="choose another name")
    if kind == "command" and name in COMMANDS:
        message = f"curate has a command {name!r} already"
        raise RequestError(message, hint="choose another name")


def check_factor(name: str) -> None:
    """Refuse what cannot be a factor of this repository's tox environments, which are named after plugins.

    Raises:
        RequestError: it is refused.
    """
    if not name.isalnum() or name in FACTORS or re.fullmatch(r"py\d+", name):
        message = (
            f"{name!r} cannot be a plugin of this repository: tox names environments after plugins, so one word that is none of tox.ini's"
        )
        raise RequestError(message, hint=f"such as {name.replace('-', '')!r}" if "-" in name else "choose another")


def class_name(name: str, kind: str) -> str:
    """``hot-spots`` -> ``HotSpotsFinder``, never a name that curate_core exports."""
    import curate_core

    made = "".join(word.capitalize() for word in name.split("-"))
    ending = SORTS[kind].ending
    whole = made if made.endswith(ending) and made != ending else made + ending
    return f"My{whole}" if whole in curate_core.__all__ or keyword.iskeyword(whole) else whole


def package_files(name: str, kind: str, repository: Path | None) -> dict[str, str]:
    """Path in the package's folder -> content."""
    sort, package = SORTS[kind], f"curate_{name.replace('-', '_')}"
    suffix = f".{name.replace('-', '')}"
    values = {
        "name": name,
        "distribution": f"{PREFIX}{name}",
        "package": package,
        "module": sort.module,
        "cls": class_name(name, kind),
        "kind": kind,
        "words": in_words(kind),
        "summary": sort.summary,
        "suffix": suffix,
        "suffixes": f', suffixes=("{suffix}",)' if kind == "reader" else "",
        "mark": name.replace("-", "").upper(),
        "use": _use(kind, name, suffix),
        "api": str(HOOK_API),
        "bounds": bounds(__version__),
        "version": __version__ if repository is not None else "0.1.0",
        "licence": _LICENCE if repository is not None else "# license: yours to choose",
        "settings": "" if repository is not None else _SETTINGS,
    }

    def filled(template: str) -> str:
        text = resources.files(__package__).joinpath("templates", f"{template}.txt").read_text(encoding="utf-8")
        return Template(text).substitute(values).rstrip() + "\n"

    files = {
        "pyproject.toml": filled("pyproject.toml"),
        "README.md": filled("README.md"),
        f"src/{package}/__init__.py": f'"""The {in_words(kind)} {name} for curate."""\n',
        f"src/{package}/plugin.py": filled("plugin.py"),
        f"src/{package}/{sort.module}.py": filled(f"{kind}.py"),
        f"src/{package}/py.typed": "",
        f"tests/test_{name.replace('-', '_')}_{sort.module}.py": filled(f"{kind}_test.py"),
    }
    if repository is None:
        return {**files, "tox.ini": filled("tox.ini")}
    return {**files, "LICENSE": (repository / "LICENSE").read_text(encoding="utf-8")}


def _use(kind: str, name: str, suffix: str) -> str:
    text = SORTS[kind].use
    if kind == "reader":
        return f'Files that end in `{suffix}` find it by themselves; to name it:\n\n```json\n"read": {{"*": {{"use": "{name}"}}}}\n```'
    return text.replace("%s", name, 1).replace("%s", suffix)


__all__ = ["SORTS", "Made", "new_plugin"]
