"""Files of one subject: patterns with ``*`` and ``{a,b}`` below its folder."""

from __future__ import annotations

import re
from pathlib import Path

from curate_core import RequestError
from curate_core.patterns import natural_key

TRACTOGRAMS = (".trk", ".tck", ".trx")
_BRACES = re.compile(r"\{([^{}]*)\}")


def alternatives(pattern: str) -> list[str]:
    """``a.{trk,tck}`` as ``a.trk`` and ``a.tck``."""
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    return [text for word in match[1].split(",") for text in alternatives(pattern[: match.start()] + word + pattern[match.end() :])]


def check_pattern(pattern: str, where: str) -> None:
    """Refuse patterns that lead out of a subject's folder.

    Raises:
        RequestError: saying which.
    """
    parts = pattern.split("/")
    if not pattern or pattern.startswith("/") or ".." in parts or "" in parts or "\0" in pattern or "**" in parts:
        message = f"{pattern!r} is no path of files below a subject's folder"
        raise RequestError(message, where=where, hint='such as "dwi/dwi.nii.gz" or "bundles/*.trk"')


def files_of(folder: Path, pattern: str) -> list[Path]:
    """Files below a subject's folder that fit, in natural order; none where nothing does.

    Raises:
        RequestError: a pattern without ``*`` fits several files.
    """
    found: list[Path] = []
    for text in alternatives(pattern):
        if any(letter in text for letter in "*?["):
            found += [path for path in folder.glob(text) if path.is_file() and not path.name.startswith(".")]
        elif (folder / text).is_file():
            found.append(folder / text)
    found = sorted(dict.fromkeys(found), key=lambda path: (natural_key(path.relative_to(folder).as_posix()), str(path)))
    if len(found) > 1 and not any(letter in pattern for letter in "*?["):
        message = f"{pattern!r} stands for one file, and {folder} has {', '.join(path.name for path in found)}"
        raise RequestError(message, where="source.layers", hint="name the ending, or remove one of them")
    return found


def read_list(path: Path) -> list[str]:
    """Subjects of a text file, one a line; empty lines and what follows ``#`` do not count.

    Raises:
        RequestError: the file cannot be read, or a line is no name of a folder.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = f"the list of subjects cannot be read: {error}"
        raise RequestError(message, where=str(path)) from error
    names = [line.partition("#")[0].strip() for line in text.splitlines()]
    found = [name for name in names if name]
    bad = next((name for name in found if "/" in name or "\\" in name or name in (".", "..") or "\0" in name), None)
    if bad is not None:
        message = f"{bad!r} is no name of a subject's folder"
        raise RequestError(message, where=str(path), hint="one name a line, without slashes")
    return found


def is_tractogram(pattern: str) -> bool:
    """Whether files of a pattern are tractograms, by their endings."""
    return all(text.lower().endswith(TRACTOGRAMS) for text in alternatives(pattern))
