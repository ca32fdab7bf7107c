"""Which dataset of a file is the image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from curate_core import SourceError
from curate_hdf5.links import Fence, Place, resolve, within
from curate_hdf5.opening import opened

LEAST = 5
"""Axes of fewer voxels make no image by themselves: matrices and lists of points have them too."""
_SHOWN = 20
_MOST_ENTRIES, _MOST = 100, 1000
"""NeXus files have few entries; whoever has more candidates than this has to name one anyway."""


@frozen
class Candidate:
    """A dataset that may be an image.

    Attributes:
        name: its path, as asked of the file that was searched.
        shape, dtype: as stored.
        large: at least two axes are long enough for an image; otherwise it may be a matrix.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    large: bool

    def describe(self) -> str:
        """One line for people."""
        return f"{self.name} ({' x '.join(map(str, self.shape))} {self.dtype})"


def refusal(dataset: Any) -> str | None:
    """Why an ``h5py.Dataset`` is no image; None when it may be one."""
    try:
        dtype = dataset.dtype
    except TypeError as error:
        return f"holds a type that numpy has not ({error})"
    if dataset.shape is None:
        return "is empty: it has a type and no values"
    if dtype.names is not None:
        return f"holds compound values with the fields {', '.join(dtype.names)}, expected one number a voxel"
    if dtype.subdtype is not None:
        return f"holds arrays of shape {dtype.subdtype[1]} as values, expected one number a voxel"
    if dtype.kind not in "biufc":
        words = {"O": "texts, references or lists of varying length", "S": "texts", "V": "opaque bytes"}
        return f"holds {words.get(dtype.kind, str(dtype))}, expected numbers"
    if dataset.shape == ():
        return "is a single number, expected an array"
    return f"has shape {dataset.shape}, which holds no voxels" if 0 in dataset.shape else None


def find_dataset(path: Path, name: str, fence: Fence) -> tuple[str, Place]:
    """The dataset that is asked for, or the only one that can be meant.

    Without a name it is the one that NeXus's attributes ``default`` and ``signal`` name, otherwise the only image of the file.

    Returns:
        Its path as asked for, and where it is.

    Raises:
        SourceError: there is none, or there are several to choose from; lists them.
    """
    if name:
        return name, resolve(path, name, fence)
    with opened(path) as file:
        default = nexus_default(file)
    if default is not None:
        return default, resolve(path, default, fence)
    found = candidates(path, fence)
    large = [candidate for candidate in found if candidate.large]
    chosen = large or found
    if len(chosen) == 1:
        return chosen[0].name, resolve(path, chosen[0].name, fence)
    if not chosen:
        message = "there is no image in the file: no dataset of numbers with two axes or more"
        raise SourceError(message, where=str(path), hint='name what to read with the reader\'s option "dataset"')
    listed = "; ".join(candidate.describe() for candidate in chosen[:_SHOWN])
    more = f"; and {len(chosen) - _SHOWN} more" if len(chosen) > _SHOWN else ""
    count = f"{len(chosen)} datasets" if len(found) < _MOST else f"at least {len(chosen)} datasets"
    message = f"{count} may be the image: {listed}{more}"
    raise SourceError(message, where=str(path), hint='name one with the reader\'s option "dataset"')


def nexus_default(file: Any) -> str | None:
    """The dataset to be plotted by default, as NeXus's rules of 2014 find it; None where the file does not say.

    https://manual.nexusformat.org/datarules.html#find-the-plottable-data
    """
    group, at = file["/"], ""
    for _ in range(8):
        signal = _text(group.attrs.get("signal"))
        if signal and signal in group.keys():  # noqa: SIM118 - "in group" follows links, into other files too
            return f"{at}/{signal}"
        child = _text(group.attrs.get("default")) or (_only_entry(group) if not at else "")
        found = within(group, child) if child else None
        if not hasattr(found, "keys"):
            return None
        group, at = found, f"{at}/{child}"
    return None


def _only_entry(root: Any) -> str:
    if len(root) > _MOST_ENTRIES:
        return ""
    found = ((name, within(root, name)) for name in root)
    entries = [name for name, entry in found if entry is not None and _text(entry.attrs.get("NX_class")) == "NXentry"]
    return entries[0] if len(entries) == 1 else ""


def _text(value: Any) -> str:
    """An attribute as text; empty for anything else."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def candidates(path: Path, fence: Fence) -> list[Candidate]:
    """Datasets of a file that may be images, each once, in the order of their names; those behind external links included.

    No more than a thousand: a curated dataset may hold millions.
    """
    return list(itertools.islice(_search(path, "/", "", fence, set()), _MOST))


def _search(path: Path, start: str, prefix: str, fence: Fence, seen: set[tuple[Path, int]]) -> Iterator[Candidate]:
    """Below the object at ``start`` of a file, which the file asked for calls ``prefix``."""
    import h5py

    outside: list[tuple[str, str]] = []
    with opened(path) as file:
        pending = [(start, prefix)]
        while pending:
            at, shown = pending.pop()
            found = file[at]
            address = (path, int(h5py.h5o.get_info(found.id).addr))
            if address in seen:
                continue
            seen.add(address)
            if isinstance(found, h5py.Dataset):
                candidate = _candidate(found, shown or "/")
                if candidate is not None:
                    yield candidate
            elif isinstance(found, h5py.Group):
                below: list[tuple[str, str]] = []
                for name in sorted(found.keys()):
                    link = found.get(name, getlink=True)
                    if isinstance(link, h5py.ExternalLink):
                        outside.append((f"{at.rstrip('/')}/{name}", f"{shown}/{name}"))
                    elif isinstance(link, h5py.HardLink):  # what a soft link leads to has a name of its own
                        below.append((f"{at.rstrip('/')}/{name}", f"{shown}/{name}"))
                pending += reversed(below)
    for inside, shown in outside:
        try:
            place = resolve(path, inside, fence)
        except SourceError:
            continue  # who asks for it by name is told
        yield from _search(place.file, place.name, shown, fence, seen)


def _candidate(dataset: Any, name: str) -> Candidate | None:
    if refusal(dataset) is not None or len(dataset.shape) < 2 or bool(dataset.is_scale):
        return None
    shape = tuple(int(n) for n in dataset.shape)
    return Candidate(name, shape, str(dataset.dtype), sum(n >= LEAST for n in shape) >= 2 and math.prod(shape) > 0)
