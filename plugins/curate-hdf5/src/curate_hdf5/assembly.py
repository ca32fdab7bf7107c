"""From parts to one file, in manifest order: compressed chunks are copied as they are, in constant memory."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np

from curate_core import Piece, Plain, StepError
from curate_hdf5.create import Groups, Storage, close_file, create_dataset, create_file, encoded, flush
from curate_hdf5.opening import open_file
from curate_hdf5.session import attributes_json, beside

_OPEN_FILES = 4
"""Parts open at once; each brings a cache of tens of MB, and manifest order goes through them one after the other."""
_BUFFER = 16 << 20
StorageOf = Callable[[tuple[int, ...], int], Storage]


class Sources:
    """Files that pieces come from; the ones used last are open."""

    def __init__(self) -> None:
        self._open: dict[Path, Any] = {}

    def file(self, path: Path) -> Any:
        found = self._open.pop(path, None)
        if found is None:
            if len(self._open) >= _OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            found = open_file(path)
        self._open[path] = found
        return found

    def close(self) -> None:
        for file in self._open.values():
            file.close()


@contextmanager
def assembling(out: Path) -> Iterator[tuple[Groups, Sources]]:
    """A new file, and those that its pieces come from; all are closed at the end, the new one with what HDF5 still held of it."""
    sources = Sources()
    target = create_file(out)
    try:
        yield Groups(target), sources
    finally:
        try:
            close_file(target)
        finally:
            sources.close()


def assemble_samples(out: Path, pieces: Sequence[Piece]) -> list[Plain]:
    """One file of the datasets of many; each is copied whole, attributes and compressed chunks, by HDF5 itself.

    Raises:
        StepError: two pieces have one path.
    """
    from h5py import h5o

    places: list[Plain] = []
    with assembling(out) as (groups, sources):
        for piece in pieces:
            path = str(piece.place)
            group, name = groups.parent_of(path)
            h5o.copy(sources.file(piece.path).id, encoded(path), group, name)
            places.append(path)
    return places


def link_files(out: Path, name: str, files: Sequence[Path]) -> None:
    """A file of external links: each other file is a group at its path.

    Args:
        out: the file to make.
        name: where it will lie in the dataset's folder; links are relative to its folder there.
        files: relative to the dataset's folder; each counts once.
    """
    with assembling(out) as (groups, _):
        for file in dict.fromkeys(files):
            group, last = groups.parent_of(file.as_posix())
            target = os.path.relpath(file, Path(name).parent).replace(os.sep, "/")
            group.links.create_external(last, os.fsencode(target), b"/")


def assemble_stacks(out: Path, pieces: Sequence[Piece], storage_of: StorageOf) -> list[Plain]:
    """One file of stacks, each of the rows of many.

    Args:
        out: the file to make.
        pieces: in manifest order.
        storage_of: (shape of a row, bytes of a voxel) -> how a stack is stored.

    Raises:
        StepError: rows of one stack have different kinds.
    """
    places: list[Plain] = [None] * len(pieces)
    stacks: dict[str, list[int]] = {}
    for number, piece in enumerate(pieces):
        path, _ = cast(list[Any], piece.place)
        places[number] = [path, len(stacks.setdefault(path, []))]
        stacks[path].append(number)
    with assembling(out) as (groups, sources):
        for path, members in stacks.items():
            rows = [(pieces[i].path, cast(list[Any], pieces[i].place)[1]) for i in members]
            _stack(groups, sources, path, rows, storage_of)
            for suffix in (".affine", ".start", ".stop"):
                if all(encoded(path + suffix) in sources.file(file).id for file, _ in dict(rows).items()):
                    _stack(groups, sources, path + suffix, rows, lambda shape, _: beside(shape))
            _texts(groups, f"{path}.ids", [pieces[i].sample for i in members])
            _texts(groups, f"{path}.attributes", [attributes_json(pieces[i].attributes) for i in members])
    return places


def _stack(groups: Groups, sources: Sources, path: str, rows: Sequence[tuple[Path, int]], storage_of: StorageOf) -> None:
    """A dataset of rows that lie in datasets of the same path in other files."""
    kinds: dict[tuple[tuple[int, ...], str], Any] = {}
    for file in dict.fromkeys(file for file, _ in rows):
        dataset = sources.file(file)[encoded(path)]
        kinds[dataset.shape[1:], dataset.dtype.str] = dataset.dtype
    if len(kinds) > 1:
        described = " and ".join(sorted(f"{shape} {dtype}" for shape, dtype in kinds))
        message = f"samples of different kinds cannot share the stack {path}: {described}"
        raise StepError(message, hint="pad them to one shape, or add a field to the path")
    shape, dtype = next((shape, dtype) for (shape, _), dtype in kinds.items())
    storage = storage_of(shape, dtype.itemsize)
    each_its_own = storage.chunks is not None and storage.chunks[0] == 1
    if storage.chunks is not None:
        storage = attrs.evolve(storage, chunks=(min(storage.chunks[0], len(rows)), *storage.chunks[1:]))
    target = create_dataset(groups, path, dtype, (len(rows), *shape), storage)
    if each_its_own:
        _copy_chunks(target, sources, path, rows)
    elif math.prod(shape):
        _copy_values(target, sources, path, rows)
    flush(target)


def _copy_chunks(target: Any, sources: Sources, path: str, rows: Sequence[tuple[Path, int]]) -> None:
    """Chunks of one row each, compressed as they are."""
    corners = list(itertools.product(*(range(0, n, c) for n, c in zip(target.shape[1:], target.chunks[1:], strict=True))))
    held: tuple[Path, Any] | None = None
    for number, (file, row) in enumerate(rows):
        if held is None or held[0] != file:
            held = (file, sources.file(file)[encoded(path)].id)
        for corner in corners:
            mask, data = held[1].read_direct_chunk((row, *corner))
            target.id.write_direct_chunk((number, *corner), data, mask)


def _copy_values(target: Any, sources: Sources, path: str, rows: Sequence[tuple[Path, int]]) -> None:
    """Rows that share chunks, decoded and encoded anew, a buffer of whole chunks at a time."""
    step = target.chunks[0] if target.chunks else 1
    nbytes = max(1, math.prod(target.shape[1:]) * target.dtype.itemsize)
    many = max(1, _BUFFER // (nbytes * step)) * step
    for start in range(0, len(rows), many):
        part = rows[start : start + many]
        values = np.empty((len(part), *target.shape[1:]), target.dtype)
        at = 0
        while at < len(part):
            file, row = part[at]
            run = 1
            while at + run < len(part) and part[at + run] == (file, row + run):
                run += 1
            values[at : at + run] = sources.file(file)[encoded(path)][row : row + run]
            at += run
        target[start : start + len(part)] = values


def _texts(groups: Groups, path: str, texts: Sequence[str]) -> None:
    """A column of UTF-8 texts of one length, which compress well and need no heap."""
    import h5py

    column = [text.encode("utf-8", "backslashreplace") for text in texts]
    length = max(1, *map(len, column))
    dtype = h5py.string_dtype("utf-8", length)
    rows = min(len(column), max(1, (64 << 10) // length))
    dataset = create_dataset(groups, path, dtype, (len(column),), Storage((rows,), "gzip"))
    many = rows * max(1, _BUFFER // (rows * length))
    for start in range(0, len(column), many):
        dataset[start : start + many] = np.array(column[start : start + many], dtype)
    flush(dataset)
