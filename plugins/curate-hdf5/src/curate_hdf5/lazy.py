"""The voxels of a dataset, read box by box; files are opened again in each process."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from curate_core import LazyArray, MapArray, NDArray, OpenedArray, SourceError
from curate_core.arrays import Box
from curate_hdf5.create import encoded
from curate_hdf5.filters import require_filters
from curate_hdf5.links import Fence
from curate_hdf5.opening import damaged, open_file

CACHE_BYTES = 64 << 20
"""Decoded chunks that are kept at most, unless one alone is larger."""
PATCH_CACHE_BYTES = 4 << 20
"""The same where patches are read at random from many datasets that are open at once."""
_DEFAULT_CACHE = 1 << 20
"""What every HDF5 has at least without being asked."""
_PRIMES = (521, 5003, 50021, 500009)


def cache_bytes(shape: Sequence[int], chunks: Sequence[int] | None, itemsize: int, limit: int = CACHE_BYTES) -> int:
    """Bytes of decoded chunks worth keeping: one layer of chunks across the first axis, which neighbouring boxes share.

    Args:
        shape: of the dataset.
        chunks: of its chunks; None: it is not chunked, and nothing is kept.
    """
    if chunks is None:
        return 0
    one = math.prod(chunks) * itemsize
    layer = math.prod(-(-n // c) for n, c in zip(shape[1:], chunks[1:], strict=True))
    return max(one, min(one * layer, limit))


def open_dataset(file: Any, name: str, limit: int = CACHE_BYTES) -> Any:
    """An ``h5py.Dataset`` with a chunk cache that fits its chunks, of ``limit`` bytes at most unless one alone is larger."""
    import h5py

    path = encoded(name)
    found = h5py.h5d.open(file.id, path)
    plist = found.get_create_plist()
    if plist.get_layout() != h5py.h5d.CHUNKED:
        return h5py.Dataset(found, readonly=True)  # h5py then keeps what it finds out of it
    chunks, itemsize = plist.get_chunk(), found.get_type().get_size()
    size = cache_bytes(found.shape, chunks, itemsize, limit)
    if size <= _DEFAULT_CACHE:
        return h5py.Dataset(found, readonly=True)  # h5py then keeps what it finds out of it
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    wanted = 10 * max(1, size // (math.prod(chunks) * itemsize))
    access.set_chunk_cache(next((prime for prime in _PRIMES if prime >= wanted), _PRIMES[-1]), size, 0.0)
    del found  # HDF5 gives a dataset that is open already with its old cache
    return h5py.Dataset(h5py.h5d.open(file.id, path, access), readonly=True)


class DatasetArray(LazyArray):
    """A dataset of a file that is opened at first use, again in each process: handles never cross a fork or a pipe.

    Args:
        path: the file.
        name: the dataset's path in it.
        shape, dtype: of the dataset; read values have the machine's byte order.
    """

    def __init__(self, path: Path, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        self.path, self.name = path, name
        self.shape, self.dtype = tuple(int(n) for n in shape), dtype.newbyteorder("=")
        self._open: tuple[int, Any] | None = None

    def read_box(self, where: Box) -> NDArray:
        try:
            values = np.asarray(self._dataset()[where])
        except SourceError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise damaged(self.path, error) from error
        return values.astype(self.dtype, copy=False)

    def _dataset(self) -> Any:
        if self._open is None or self._open[0] != os.getpid():
            dataset = open_dataset(open_file(self.path), self.name)  # the dataset keeps its file open
            require_filters(dataset, self.path)
            if dataset.shape != self.shape:
                message = f"{self.name} has shape {dataset.shape}, it had {self.shape} before: the file changed"
                raise SourceError(message, where=str(self.path))
            self._open = (os.getpid(), dataset)
        return self._open[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


def lazy_array(path: Path, dataset: Any, name: str, fence: Fence) -> LazyArray:
    """The voxels of an ``h5py.Dataset``: memory-mapped where they lie in one piece as numpy has them, otherwise through HDF5.

    Raises:
        SourceError: the file ends before its last voxel, or external storage is of a kind that is not read.
    """
    dtype = np.dtype(dataset.dtype.str)
    found = mapped_at(dataset)
    if found is None and dataset.external:
        message = f"{dataset.name} has external storage in {len(dataset.external)} files, or of a type that numpy has not"
        raise SourceError(message, where=str(path), hint="h5repack it into one file first")
    if found is None:
        return DatasetArray(path, name, dataset.shape, dtype)
    other, offset = found
    file = fence.locate(path, other, f"the external storage of {dataset.name}") if other else path
    needed, there = offset + math.prod(dataset.shape) * dtype.itemsize, file.stat().st_size
    if there < needed:
        message = f"has {there} bytes, {dataset.name} needs {needed}: the file is cut short"
        raise SourceError(message, where=str(file), hint="copy it again")
    array = OpenedArray(partial(_map, file, offset, dtype, dataset.shape), dataset.shape, dtype)
    return array if dtype.isnative else MapArray(array, partial(_astype, dtype=dtype.newbyteorder("=")), dtype)


def mapped_at(dataset: Any) -> tuple[str, int] | None:
    """The file (empty: its own) and byte at which a dataset's voxels begin, where they lie in one piece and in a type of numpy's."""
    import h5py

    if dataset.id.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS or dataset.dtype.kind not in "iuf":
        return None
    if not h5py.h5t.py_create(dataset.dtype).equal(dataset.id.get_type()):
        return None
    external = dataset.external
    if external:
        return (str(external[0][0]), int(external[0][1])) if len(external) == 1 else None
    offset = dataset.id.get_offset()
    return None if offset is None else ("", int(offset))


def _map(path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray:
    return np.memmap(path, dtype, "r", offset, shape)


def _astype(values: NDArray, dtype: np.dtype[Any]) -> NDArray:
    return values.astype(dtype)
