"""Patterns over existing files: ``"volumes/{case}.{ext}"`` finds files and names their parts.

A field matches within one folder level; ``*`` matches anything within a level, ``**`` any number of levels. A pattern that ends with
a slash matches folders (a DICOM series, an OME-Zarr). Hidden files and folders are never matched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from curate_core.errors import RequestError
from curate_core.layout import WORK

_TOKEN = re.compile(r"\{([^\W\d]\w*)\}|(\*\*/?)|(\*)|(\?)|\{([^}]*)\}?")


@frozen
class Match:
    """A file that fits a pattern, and what its fields stand for."""

    path: Path
    fields: dict[str, str]


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts ``s2`` before ``s10``, the same way on every machine."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text) if part)


def field_names(pattern: str) -> tuple[str, ...]:
    """Names of the fields in a pattern, each once, in order.

    Raises:
        RequestError: a brace does not enclose a name, ``**`` shares its level, or no file name has such characters.
    """
    names = []
    for match in _TOKEN.finditer(pattern):
        if match[5] is not None:
            message = f"{match[0]!r} in the pattern {pattern!r} is not a field such as {{case}}"
            raise RequestError(message)
        if match[1]:
            names.append(match[1])
    if "\0" in pattern or not _encodable(pattern):
        message = f"the pattern {pattern!r} holds characters that no file name has"
        raise RequestError(message)
    if any("**" in part and part != "**" for part in pattern.split("/")):
        message = f"'**' in the pattern {pattern!r} stands for whole folder levels, so nothing else fits between its slashes"
        raise RequestError(message)
    return tuple(dict.fromkeys(names))


def _encodable(text: str) -> bool:
    try:
        return bool(os.fsencode(text)) or not text
    except UnicodeEncodeError:
        return False


def find(root: Path, pattern: str) -> list[Match]:
    """Files (or folders) below ``root`` that fit, in natural order of their relative path.

    Args:
        root: where relative patterns start; absolute patterns ignore it.

    Raises:
        RequestError: the pattern is malformed, or a folder cannot be listed.
    """
    field_names(pattern)
    parts = [part for part in pattern.split("/") if part]
    folders = pattern.endswith("/")
    start = Path("/") if pattern.startswith("/") else root
    while parts and parts[0] in (".", ".."):
        start = start.parent if parts.pop(0) == ".." else start
    while len(parts) > 1 and not _TOKEN.search(parts[0]):
        start = start / parts.pop(0)
    expression = re.compile(_expression("/".join(parts)))
    depth = None if "**" in parts else len(parts)
    found = []
    for path in _walk(start, depth, folders):
        relative = path.relative_to(start).as_posix()
        match = expression.fullmatch(relative)
        if match:
            found.append((natural_key(relative), relative, Match(path, match.groupdict())))
    return [match for _, _, match in sorted(found, key=lambda entry: entry[:2])]


def _expression(pattern: str) -> str:
    """A regular expression for the pattern; a repeated field must match the same text.

    ``{ext}`` takes the longest known double ending, so that ``a.nii.gz`` is case ``a`` of ``nii.gz``.
    """
    out, last, seen = [], 0, set()
    for match in _TOKEN.finditer(pattern):
        out.append(re.escape(pattern[last : match.start()]))
        last = match.end()
        name, deep, star, _, _ = match.groups()
        if name == "ext" and name not in seen:
            out.append(r"(?P<ext>(?:(?:nii|ome|tar|mrc|rec|map)\.)?[^/.]+)")
        elif name:
            out.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
        else:
            out.append(r"(?:[^/]+/)*" if deep and deep.endswith("/") else ".*" if deep else "[^/]*" if star else "[^/]")
        seen.add(name)
    out.append(re.escape(pattern[last:]))
    return "".join(out)


def _walk(folder: Path, depth: int | None, folders: bool, level: int = 1, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    above = (*above, folder.resolve())
    try:
        entries = sorted(folder.iterdir(), key=lambda p: p.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        message = f"the folder cannot be listed: {error.strerror or error}"
        raise RequestError(message, where=str(folder)) from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        is_folder = entry.is_dir()
        if is_folder and (entry / WORK).is_dir():
            continue  # a curated dataset: what a run wrote is not found again by the next
        if is_folder == folders and (depth is None or level == depth):
            yield entry
        loops = is_folder and entry.is_symlink() and any(way.is_relative_to(entry.resolve()) for way in above)
        if is_folder and not loops and (depth is None or level < depth):
            yield from _walk(entry, depth, folders, level + 1, above)
