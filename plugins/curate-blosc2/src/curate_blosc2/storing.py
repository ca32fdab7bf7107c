"""Arrays in .b2nd files: writing them reproducibly, opening them without trust. The only module that imports blosc2."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal

import blosc2  # noqa: TID253 - this module is imported where a component works
import msgpack
import numpy as np
from blosc2 import blosc2_ext  # noqa: TID253

from curate_core import ArrayLike, NDArray, Plain, SourceError, read, slabs

Codec = Literal["zstd", "lz4", "lz4hc", "zlib", "blosclz"]
Filter = Literal["auto", "none", "shuffle", "bitshuffle"]
META = "curate"
"""Name of the variable-length metalayer."""

_CODECS = {name: getattr(blosc2.Codec, name.upper()) for name in ("zstd", "lz4", "lz4hc", "zlib", "blosclz")}
_FILTERS = {"none": blosc2.Filter.NOFILTER, "shuffle": blosc2.Filter.SHUFFLE, "bitshuffle": blosc2.Filter.BITSHUFFLE}
_TRIED: tuple[Filter, ...] = ("none", "shuffle", "bitshuffle")
_WORTH = 1.02
_MAPPED: dict[str, str] = {} if os.name == "nt" else {"mmap_mode": "r"}
_HEAD = 24
_MAGIC = b"\x9e\xa8b2frame\0"


def store(
    path: Path,
    values: NDArray,
    blocks: Sequence[int],
    chunks: Sequence[int],
    meta: Mapping[str, Plain],
    *,
    codec: Codec = "lz4hc",
    level: int = 5,
    filter: Filter = "auto",
) -> None:
    """Write an array into a new file; the same values give the same bytes.

    Args:
        path: of the file; its folder is there.
        values: any shape, machine byte order.
        blocks, chunks: array order, as ``partition`` gives them.
        meta: what the metalayer ``curate`` holds.
        codec, level: of the compression.
        filter: ``auto``: see ``smallest``.
    """
    chosen = smallest(values, blocks, chunks, codec, level) if filter == "auto" else filter
    array = blosc2.asarray(
        np.ascontiguousarray(values),
        urlpath=str(path),
        mode="w",
        chunks=tuple(chunks),
        blocks=tuple(blocks),
        cparams=_parameters(codec, level, chosen),
        dparams={"nthreads": 1},
    )
    array.schunk.vlmeta[META] = dict(meta)


def smallest(values: NDArray, blocks: Sequence[int], chunks: Sequence[int], codec: Codec, level: int) -> Filter:
    """The filter under which the chunk in the middle becomes smallest; a simpler one where it comes within 2 %, as it reads faster."""
    size = [min(c, n) for c, n in zip(chunks, values.shape, strict=True)]
    piece = np.ascontiguousarray(values[tuple(slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(values.shape, size, strict=True))])
    inner = tuple(min(b, s) for b, s in zip(blocks, size, strict=True))
    packed = {}
    for name in _TRIED:
        trial = blosc2.asarray(
            piece, chunks=tuple(size), blocks=inner, cparams=_parameters(codec, min(level, 1), name)
        )  # a rank needs no effort
        packed[name] = int(trial.schunk.cbytes)
    return next(name for name in _TRIED if packed[name] <= _WORTH * min(packed.values()))


def _parameters(codec: Codec, level: int, filter: Filter) -> dict[str, Any]:
    """One thread: with more, the order of blocks in a chunk is left to chance."""
    return {"codec": _CODECS[codec], "clevel": level, "filters": [_FILTERS[filter]], "filters_meta": [0], "nthreads": 1}


def foreign(path: Path) -> str:
    """Why a file is no whole Blosc2 frame; empty when it is one.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.startswith(_MAGIC) or len(head) < _HEAD:
        return "it does not begin as a Blosc2 frame"
    announced, there = int.from_bytes(head[16:_HEAD], "big"), path.stat().st_size
    if announced > there:
        return f"its frame has {announced} bytes, the file {there}: it was cut short"
    return ""


def open_array(path: Path) -> Any:
    """The array in a file: memory-mapped, read by one thread.

    ``blosc2.open`` would also run what a file brings: a lazy array's function. The array behind it does not.

    Raises:
        SourceError: it holds none, or cannot be read.
    """
    try:
        reason = foreign(path)
        array: Any = None if reason else blosc2_ext.open(str(path), "r", 0, dparams={"nthreads": 1}, **_MAPPED)
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or error}"
        raise SourceError(message, where=str(path)) from error
    except Exception as error:
        message = f"blosc2 cannot open it: {error}"
        raise SourceError(message, where=str(path), hint="the file is damaged: copy it again") from error
    if reason:
        raise SourceError(reason, where=str(path), hint="copy it again, or use the reader of its format")
    layers = sorted(set(getattr(array, "schunk", array).meta) - {"b2nd"})
    if not isinstance(array, blosc2.NDArray) or layers:
        message = f"it holds no plain array{f', but {layers[0]}' if layers else ''}"
        raise SourceError(message, where=str(path), hint="write the values themselves with blosc2.asarray")
    wanted = prod(-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True) if c)
    if 0 not in array.shape and wanted != array.schunk.nchunks:  # a false size would be allocated before anything is decompressed
        size, cut = (" x ".join(map(str, numbers)) for numbers in (array.shape, array.chunks))
        message = f"it has {array.schunk.nchunks} chunks, {size} voxels in chunks of {cut} are {wanted}"
        raise SourceError(message, where=str(path), hint="the file is damaged: copy it again")
    return array


def meta_of(array: Any, path: Path) -> dict[str, Any] | None:
    """What the metalayer ``curate`` holds; None where there is none.

    Raises:
        SourceError: it is no mapping.
    """
    layers = array.schunk.vlmeta
    if META not in list(layers):
        return None
    try:
        found = msgpack.unpackb(blosc2_ext.vlmeta.get_vlmeta(layers, META))  # without the types of blosc2's own, which may run code
    except Exception as error:
        message = f"its metadata {META!r} is damaged: {error}"
        raise SourceError(message, where=str(path)) from error
    if not isinstance(found, dict):
        message = f"its metadata {META!r} is {type(found).__name__}, expected a mapping"
        raise SourceError(message, where=str(path))
    return found


def check_content(array: ArrayLike, meta: Mapping[str, Any] | None, path: Path) -> None:
    """Read all voxels and compare them with the digest that the file holds.

    Raises:
        SourceError: they are others, or there is none.
    """
    told = (meta or {}).get("sha256")
    if not isinstance(told, str):
        message = "it holds no digest to verify its voxels by"
        raise SourceError(message, where=str(path), hint='leave out "verify": curate did not write this file')
    found = hashlib.sha256()
    for where in slabs(array):
        values = read(array, where)
        found.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).view(np.uint8).data)
    if found.hexdigest() != told:
        message = "its voxels are not those that were written: their SHA-256 differs"
        raise SourceError(message, where=str(path), hint="the file is damaged: copy it again")


class Guarded:
    """An opened array whose errors name the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.array = open_array(path)
        self.shape, self.dtype = tuple(self.array.shape), np.dtype(self.array.dtype)

    def __getitem__(self, key: Any) -> NDArray:
        try:
            return np.asarray(self.array[key])
        except MemoryError:
            raise
        except Exception as error:
            message = f"blosc2 cannot decompress it: {error}"
            raise SourceError(message, where=str(self.path), hint="the file is damaged: copy it again") from error
