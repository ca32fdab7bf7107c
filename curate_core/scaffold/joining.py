"""A new plugin of this repository joins the lists that name plugins; tests/test_repo.py holds them complete."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from curate_core import __version__
from curate_core.errors import RequestError
from curate_core.scaffold.bounds import bounds


def repository_of(folder: Path) -> Path | None:
    """The root of the repository that holds curate's core and its plugins, if ``folder`` is that or its ``plugins``."""
    for root in (folder, folder.parent) if folder.name == "plugins" else (folder,):
        if (root / "curate_core" / "__init__.py").is_file() and (root / "tox.ini").is_file() and (root / "plugins").is_dir():
            return root
    return None


def joined(root: Path, name: str, summary: str) -> dict[str, str]:
    """File of the repository -> its text with the new plugin in it; nothing is written.

    Args:
        root: of the repository.
        name: of the plugin, without ``curate-``.
        summary: for the README's table.

    Raises:
        RequestError: a file does not look as it should.
    """
    editors: dict[str, Callable[[str, str, str], str]] = {
        "tox.ini": _tox,
        "requirements-dev.txt": _requirements,
        "pyproject.toml": _bundle,
        ".importlinter": _import_rules,
        "README.md": _readme,
    }
    texts = {}
    for file, edit in editors.items():
        before = (root / file).read_text(encoding="utf-8")
        after = edit(before, name, summary)
        if after == before:
            message = f"there is no list of plugins to join for curate-{name}"
            raise RequestError(message, where=str(root / file), hint="nothing was changed; see CONTRIBUTING.md")
        texts[file] = after
    return texts


def _tox(text: str, name: str, summary: str) -> str:
    """One word, and one line behind the last of its like."""
    text = re.sub(r"^plugins = .+$", rf"\g<0>,{name}", text, count=1, flags=re.MULTILINE)
    return _behind_last(text, r"^    [\w-]+,all: -e plugins/.*\n", f"    {name},all: -e plugins/curate-{name}[test]\n")


def _requirements(text: str, name: str, summary: str) -> str:
    return _sorted_in(text, r"^-e plugins/.*\n", f"-e plugins/curate-{name}[test]\n")


def _bundle(text: str, name: str, summary: str) -> str:
    """The bundle of all plugins."""
    return re.sub(
        r"(?<=^all = \[\n)(?:    \".*\n)+",
        lambda match: _sorted_in(match[0], r"^    \".*\n", f'    "curate-{name}{bounds(__version__)}",\n'),
        text,
        count=1,
        flags=re.MULTILINE,
    )


def _import_rules(text: str, name: str, summary: str) -> str:
    """Every list of packages, or of their plugin modules, that holds more than the core."""
    package = f"curate_{name.replace('-', '_')}"
    block = r"(?:^    curate_(?!core)\w+\n)+"
    text = re.sub(block, lambda match: _sorted_in(match[0], r"^    .*\n", f"    {package}\n"), text, flags=re.MULTILINE)
    light = r"(?:^    curate_(?!core)\w+\.plugin\n)+"
    return re.sub(light, lambda match: _sorted_in(match[0], r"^    .*\n", f"    {package}.plugin\n"), text, flags=re.MULTILINE)


def _readme(text: str, name: str, summary: str) -> str:
    row = f"| [plugins/curate-{name}](plugins/curate-{name}) | {summary[0].lower()}{summary[1:].removesuffix('.')} |\n"
    return _behind_last(text, r"^\| \[plugins/curate-.*\n", row)


def _behind_last(text: str, pattern: str, line: str) -> str:
    """The text with a line behind the last that matches; as it was where none does."""
    found = list(re.finditer(pattern, text, re.MULTILINE))
    return text if not found else text[: found[-1].end()] + line + text[found[-1].end() :]


def _sorted_in(text: str, pattern: str, line: str) -> str:
    """The text with a line before the first match that sorts behind it, or behind the last match."""
    for match in re.finditer(pattern, text, re.MULTILINE):
        if match[0] > line:
            return text[: match.start()] + line + text[match.start() :]
    return _behind_last(text, pattern, line)
