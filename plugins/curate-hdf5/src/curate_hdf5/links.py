"""From a path in a file to the dataset behind it: soft links, external links, and the files that hold a dataset's voxels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import frozen

from curate_core import SourceError
from curate_core.errors import nearest
from curate_hdf5.opening import opened

MAX_HOPS = 32
_SHOWN = 12
_BLOCK = re.compile(r"(%%|%b)")


@frozen
class Place:
    """Where an object is after all links.

    Attributes:
        file: the file that holds it.
        name: its path in that file.
        parents: (file, path) of the groups in which its last name was looked up, the one asked for first.
        passed: files that external links led through, the first one not included.
    """

    file: Path
    name: str
    parents: tuple[tuple[Path, str], ...] = ()
    passed: tuple[Path, ...] = ()


@frozen
class Fence:
    """Which other files a file may lead to.

    Attributes:
        home: the folder of the file that was asked for.
        anywhere: all of them; otherwise those below ``home``.
    """

    home: Path
    anywhere: bool

    def locate(self, main: Path, name: str, what: str) -> Path:
        """The file that ``main`` calls ``name``, as HDF5 finds it: beside ``main``, also where an absolute path is not there any more.

        Args:
            what: what leads to it, for messages.

        Raises:
            SourceError: it is missing, no plain file, or outside of the fence.
        """
        given = Path(name)
        tried = [given, main.parent / given.name] if given.is_absolute() else [main.parent / given]
        found = next((path for path in tried if path.is_file()), None)
        if found is None:
            message = f"{what} leads to {name}, which is not there"
            raise SourceError(message, where=str(main), hint=f"put it beside {main.name}, or copy both again")
        if not self.anywhere and not found.resolve().is_relative_to(self.home.resolve()):
            message = f"{what} leads out of the file's folder, to {found}"
            raise SourceError(message, where=str(main), hint='set the reader\'s "follow_links": true to take it')
        return found


def resolve(path: Path, name: str, fence: Fence) -> Place:
    """Follow all links on the way to an object.

    Args:
        path: the file.
        name: path of the object in it, with or without a leading slash.

    Raises:
        SourceError: there is no such object, a link leads nowhere, in circles, or out of the fence.
    """
    parents: list[tuple[Path, str]] = []
    passed: list[Path] = []
    file, wanted = path, name
    for _ in range(MAX_HOPS):
        step = _walk(file, wanted, parents)
        if isinstance(step, str):
            return Place(file, step, tuple(parents), tuple(passed))
        target, wanted = step
        if target:
            file = fence.locate(file, target, f"the external link to {wanted}")
            passed.append(file)
    message = f"the links of {name} lead in circles, or through more than {MAX_HOPS} others"
    raise SourceError(message, where=str(path))


def within(group: Any, name: str) -> Any:
    """What a name in an ``h5py.Group`` leads to inside of its file; None where it leads nowhere, or into another file."""
    wanted = f"{group.name}/{name}"
    for _ in range(MAX_HOPS):
        try:
            step = _descend(group.file, Path(group.file.filename), wanted, [])
        except SourceError:
            return None
        if isinstance(step, str):
            return group.file[step]
        target, wanted = step
        if target:
            return None
    return None


def _walk(path: Path, name: str, parents: list[tuple[Path, str]]) -> str | tuple[str, str]:
    with opened(path) as file:
        return _descend(file, path, name, parents)


def _descend(file: Any, path: Path, name: str, parents: list[tuple[Path, str]]) -> str | tuple[str, str]:
    """Along hard links; returns the path of the object, or (file, path) that a link on the way leads to; file empty: the same."""
    import h5py

    parts = [part for part in name.split("/") if part not in ("", ".")]
    group, at = file["/"], ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if last:
            parents.append((path, at or "/"))
        link = group.get(part, getlink=True) if part in group.keys() else None  # noqa: SIM118 - "in group" follows the link
        if link is None:
            raise _missing(path, group, at, part)
        rest = "/".join(parts[number + 1 :])
        if isinstance(link, h5py.ExternalLink):
            return str(link.filename), f"{link.path}/{rest}" if rest else str(link.path)
        if isinstance(link, h5py.SoftLink):
            target = str(link.path) if str(link.path).startswith("/") else f"{at}/{link.path}"
            return "", f"{target}/{rest}" if rest else target
        group, at = group[part], f"{at}/{part}"
        if not last and not isinstance(group, h5py.Group):
            message = f"{at} is no group, so that there is no {name}"
            raise SourceError(message, where=str(path))
    return at or "/"


def _missing(path: Path, group: Any, at: str, part: str) -> SourceError:
    there = sorted(group.keys())
    held = ", ".join(there[:_SHOWN]) + (", ..." if len(there) > _SHOWN else "")
    message = f"there is no {part!r} in {at or '/'}, which holds {held or 'nothing'}"
    close = nearest(part, there)
    return SourceError(message, where=str(path), hint=close if "did you" in close else "")


def voxel_files(path: Path, dataset: Any, fence: Fence) -> list[tuple[Path, str]]:
    """Other files, and datasets in them, that hold the voxels of a dataset; the dataset's name is empty for bare bytes.

    HDF5 itself reads zeros where a file of a virtual dataset is missing; here that is an error.

    Raises:
        SourceError: one is missing, or outside of the fence.
    """
    found: dict[tuple[Path, str], None] = {}
    for name, _, _ in dataset.external or ():
        found[fence.locate(path, str(name), f"the external storage of {dataset.name}"), ""] = None
    for source in dataset.virtual_sources() if dataset.is_virtual else ():
        for name, inner in _expanded(path, str(source.file_name), str(source.dset_name)):
            file = path if name == "." else fence.locate(path, name, f"the virtual dataset {dataset.name}")
            found[file, inner] = None
    return list(found)


def _expanded(path: Path, name: str, inner: str) -> list[tuple[str, str]]:
    """(file, dataset) behind the names of a virtual source; ``%b`` stands for the numbers 0, 1, ... of the files that are there."""
    if "%b" not in name.replace("%%", "") and "%b" not in inner.replace("%%", ""):
        return [(name.replace("%%", "%"), inner.replace("%%", "%"))]
    if "%b" not in name.replace("%%", ""):
        return [(name, inner)] if name == "." else []  # numbered datasets of one file: HDF5 finds them
    found = []
    number = 0
    while (path.parent / _fill(name, number)).is_file():
        found.append((_fill(name, number), _fill(inner, number)))
        number += 1
    return found or [(_fill(name, 0), _fill(inner, 0))]


def _fill(text: str, number: int) -> str:
    return _BLOCK.sub(lambda match: "%" if match[1] == "%%" else str(number), text)
