"""Files that stay open between reads: opening one takes longer than reading a patch of it."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from curate_core import ArrayLike, LazyArray, NDArray
from curate_core.arrays import Box
from curate_hdf5.filters import require_filters
from curate_hdf5.lazy import PATCH_CACHE_BYTES, mapped_at, open_dataset
from curate_hdf5.opening import open_file

_FILES, _DATASETS = 16, 64


class _Open:
    """One open file and some of its datasets."""

    def __init__(self, path: Path, stamp: tuple[int, ...]) -> None:
        self.path, self.stamp = path, stamp
        self.file = open_file(path)
        self.datasets: OrderedDict[str, Any] = OrderedDict()

    def dataset(self, name: str) -> Any:
        """An ``h5py.Dataset``; the ones used last are kept, with what they have found out of their chunks."""
        if name not in self.datasets:
            dataset = open_dataset(self.file, name, PATCH_CACHE_BYTES)
            require_filters(dataset, self.path)
            self.datasets[name] = dataset
            if len(self.datasets) > _DATASETS:
                self.datasets.popitem(last=False)
        self.datasets.move_to_end(name)
        return self.datasets[name]


class _Kept(LazyArray):
    """A dataset of a file among those that are kept open."""

    def __init__(self, handles: Handles, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.handles, self.path, self.name = handles, path, name
        self.shape, self.dtype = shape, dtype

    def read_box(self, where: Box) -> NDArray:
        values: NDArray = self.handles.dataset(self.path, self.name)[where]
        return values


class Handles:
    """Open files of one process, those used last; empty again in a copy, and in another process.

    A file that was replaced since is opened anew.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[Path, _Open] = OrderedDict()
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type[Handles], tuple[()]]:
        return (Handles, ())

    def dataset(self, path: Path, name: str) -> Any:
        """An ``h5py.Dataset``, to be used at once.

        Raises:
            SourceError: the file cannot be opened.
            KeyError: it has no such dataset.
        """
        if self._process != os.getpid():
            self._open, self._process = OrderedDict(), os.getpid()  # what a fork left is the parent's
        status = path.stat()
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        held = self._open.get(path)
        if held is None or held.stamp != stamp:
            self.forget(path)
            held = self._open[path] = _Open(path, stamp)
            if len(self._open) > _FILES:
                self._close(self._open.popitem(last=False)[1])
        self._open.move_to_end(path)
        return held.dataset(name)

    def lazy(self, path: Path, name: str) -> ArrayLike:
        """A dataset that is memory-mapped where it lies in one piece, otherwise looked up, and opened if it must be, at each reading."""
        dataset = self.dataset(path, name)
        shape, dtype = tuple(dataset.shape), np.dtype(dataset.dtype.str)
        found = mapped_at(dataset) if shape and not dataset.external else None
        if found is not None:
            mapped: ArrayLike = np.memmap(path, dtype, "r", found[1], shape)
            return mapped
        return _Kept(self, path, name, shape, dtype)

    def forget(self, path: Path) -> None:
        """Close a file, if it is open: it will be written to."""
        held = self._open.pop(path, None)
        if held is not None and self._process == os.getpid():
            self._close(held)

    def _close(self, held: _Open) -> None:
        held.datasets.clear()
        held.file.close()
