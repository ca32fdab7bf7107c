"""A level opened: an array that reads the chunks under each box, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from attrs import frozen

from curate_core import Grid, LazyArray, NDArray, SourceError
from curate_core.arrays import Box
from curate_tensorstore.address import Address
from curate_tensorstore.chunks import ChunkGrid, Index, presence_of, shared, voxels
from curate_tensorstore.kept import KeptChunks
from curate_tensorstore.levels import Level
from curate_tensorstore.plainfiles import plain_files
from curate_tensorstore.waiting import Patience


@frozen
class Access:
    """How volumes are read.

    Attributes:
        cache: bytes of decoded chunks kept in a process.
        concurrency: requests at once.
        retries: tries after a request that failed, each after a longer pause.
        fill: voxels of missing chunks get the format's fill value; otherwise they are an error.
        timeout: seconds that one box may take; None: any number.
        kept: folder where chunks of remote volumes are kept for later runs; None: they are not.
    """

    cache: int
    concurrency: int
    retries: int
    fill: bool
    timeout: float | None = None
    kept: Path | None = None

    def context(self) -> ts.Context:
        """TensorStore's resources; one for equal accesses in a process, so that they share their cache."""
        key = (os.getpid(), self.cache, self.concurrency, self.retries)
        if key not in _contexts:
            retries = {"max_retries": self.retries + _counts_first_try(), "initial_delay": "500ms", "max_delay": "16s"}
            requests = {"limit": self.concurrency}
            described = {
                "cache_pool": {"total_bytes_limit": self.cache},
                "file_io_concurrency": {"limit": "shared"},
                "http_request_concurrency": requests, "gcs_request_concurrency": requests, "s3_request_concurrency": requests,
                "http_request_retries": retries, "gcs_request_retries": retries, "s3_request_retries": retries,
            }  # fmt: skip
            _contexts[key] = ts.Context(described)
        return _contexts[key]


@cache
def _counts_first_try() -> bool:
    """Whether TensorStore's ``max_retries`` counts the first try as well, as it does before 0.1.86, where it may not be 0."""
    try:
        ts.Context({"http_request_retries": {"max_retries": 0}})["http_request_retries"]
    except ValueError:
        return True
    return False


_contexts: dict[tuple[int, ...], ts.Context] = {}


def read_metadata(address: Address, path: str, access: Access) -> bytes | None:
    """What lies at a path of a volume's folder; None when nothing does.

    Raises:
        SourceError: it cannot be asked.
    """
    patience = Patience(access.timeout, f"{address.text}, {path}")
    try:
        store = patience.result(ts.KvStore.open(address.store(), context=access.context()))
        found = patience.result(store.read(path))
    except ValueError as error:
        raise SourceError(_told(error), where=f"{address.text}, {path}", hint=_hint(address)) from error
    return None if found.state == "missing" else bytes(found.value)


class Volume(LazyArray):
    """A level as an array in the order z, y, x, c; other axes, of length one, are left out.

    Pickles as its address: a process that unpickles it opens it anew.
    """

    def __init__(self, address: Address, level: Level, access: Access) -> None:
        self.address, self.level, self.access = address, level, access
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address, "level": self.level, "access": self.access}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def _open(self) -> None:
        level = self.level
        self._store = self._oriented(fill=self.access.fill)
        self._strict = None if self.access.fill else self._store
        layout = self._store.chunk_layout
        self.shape = tuple(int(n) for n in self._store.shape)
        self.dtype = np.dtype(self._store.dtype.numpy_dtype)
        chunk = tuple(int(n) for n in layout.read_chunk.shape)
        self.chunks = ChunkGrid(self.shape, chunk, tuple(int(n) for n in layout.grid_origin))
        self._presence = presence_of(self.address.url, level.inside, level.index)
        self._plain = plain_files(self.address, self.chunks, self._store.spec().to_json())
        self._kept: KeptChunks | None = None
        if self.access.kept is not None and self.address.remote:
            self._kept = KeptChunks(self.access.kept, f"{self.address.url} {level.inside} {level.index}")

    def _oriented(self, *, fill: bool) -> Any:
        """The store with the axes z, y, x, c, from 0 on."""
        level = self.level
        spec: dict[str, Any] = {"driver": level.driver, "kvstore": self.address.store(level.inside), "open": True}
        if level.driver == "neuroglancer_precomputed":
            spec["scale_index"] = level.index
        spec["fill_missing_data_reads"] = fill
        spec["recheck_cached_data"] = False  # what lies behind an address is taken not to change
        try:
            store = Patience(self.access.timeout, self.address.text).result(ts.open(spec, context=self.access.context(), read=True))
        except ValueError as error:
            raise SourceError(_told(error), where=self.address.text, hint=_hint(self.address)) from error
        order = "".join(axis for axis in "zyxc" if axis in level.axes)
        axes = level.axes + "c" if store.rank == len(level.axes) + 1 and "c" not in level.axes else level.axes
        for axis, extent in zip(axes, store.shape, strict=True):
            if axis not in order and extent != 1:
                message = f"the axis {axis!r} has {extent} entries; volumes have the axes z, y, x and c"
                raise SourceError(message, where=self.address.text, hint=f"its axes are {level.axes}, its shape is {store.shape}")
        left_out = [position for position, axis in enumerate(axes) if axis not in order]
        for position in reversed(left_out):
            store = store[(slice(None),) * position + (store.domain[position].inclusive_min,)]
        kept = [axis for axis in axes if axis in order]
        self.axes = order
        return store[ts.d[:].translate_to[0]].transpose([kept.index(axis) for axis in order])

    def read_box(self, where: Box) -> NDArray:
        if self._plain is not None:
            found = self._plain.read(where)
            if found is not None:
                return found  # otherwise TensorStore knows what to say, or to fill in
        patience = Patience(self.access.timeout, self._place(where))
        if self._kept is not None:
            return self._read_chunks(where, self._kept, patience)
        try:
            values: NDArray = patience.result(self._store[where].read(order="C"))
        except ValueError as error:
            raise self._failed(error, where) from error
        return values

    def _read_chunks(self, where: Box, kept: KeptChunks, patience: Patience) -> NDArray:
        """A box from whole chunks: those that are kept, and others, which are kept from now on."""
        out = np.empty([s.stop - s.start for s in where], self.dtype)
        store, asked = self._without_fill(), []
        for index, box in self.chunks.under(where):
            if self.access.fill and self._presence.known(index) is False:
                self._put(out, where, box, None)
                continue
            values = kept.load(index, tuple(s.stop - s.start for s in box), self.dtype)
            if values is None:
                asked.append((index, box, store[box].read(order="C")))
            else:
                self._put(out, where, box, values)
        for index, box, future in asked:
            try:
                values = patience.result(future)
            except ValueError as error:
                if not (self.access.fill and _is_missing(error)):
                    raise self._failed(error, where) from error
                self._presence.note(index, stored=False)
                values = None
            else:
                kept.save(index, values)
            self._put(out, where, box, values)
        return out

    def _put(self, out: NDArray, where: Box, box: Box, values: NDArray | None) -> None:
        """Copy what a chunk at ``box`` has in common with ``where``; without values, what stands for missing ones."""
        common = shared(box, where)
        target = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(common, where, strict=True))
        if values is None:
            fill = self._store.fill_value
            out[target] = 0 if fill is None else fill
        else:
            out[target] = values[tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(common, box, strict=True))]

    def _without_fill(self) -> Any:
        """The store to which a missing chunk is an error."""
        if self._strict is None:
            self._strict = self._oriented(fill=False)
        return self._strict

    def _failed(self, error: Exception, where: Box) -> SourceError:
        hint = _hint(self.address, missing=_is_missing(error))
        return SourceError(_told(error), where=self._place(where), hint=hint)

    def absent(self, where: Box) -> float:
        """Fraction of the voxels in ``where`` whose chunks are not stored.

        Looks for the file of each chunk that this process has not met. Where a chunk has none of its own, it asks for one voxel: the chunk
        stays in the cache, for whoever reads the box next.

        Raises:
            SourceError: a chunk is there and cannot be read.
        """
        under = dict(self.chunks.under(where))
        stored: dict[Index, bool | None] = {index: self._stored(index) for index in under}
        store, patience = self._without_fill(), Patience(self.access.timeout, self._place(where))
        asked = {index: store[tuple(s.start for s in under[index])].read() for index, there in stored.items() if there is None}
        for index, future in asked.items():
            try:
                patience.result(future)
            except ValueError as error:
                if not _is_missing(error):
                    raise self._failed(error, where) from error
                stored[index] = False
            else:
                stored[index] = True
        for index, there in stored.items():
            self._presence.note(index, stored=bool(there))
        missing = sum(voxels(shared(under[index], where)) for index, there in stored.items() if not there)
        return missing / max(1, voxels(where))

    def _stored(self, index: Index) -> bool | None:
        """Whether a chunk is stored, as far as that can be told without asking a server."""
        known = self._presence.known(index)
        if known is None and self._plain is not None:
            return self._plain.stored(index)
        if known is None and self._kept is not None and self._kept.path(index).exists():  # torn or not: somebody had it
            return True
        return known

    def _place(self, where: Box) -> str:
        place = ", ".join(f"{axis} {s.start}:{s.stop}" for axis, s in zip(self.axes, where, strict=True))
        return f"{self.address.text}, {place}"

    def grid(self) -> Grid:
        """Where its voxels lie."""
        level, spatial = self.level, [axis for axis in self.axes if axis in "zyx"]
        stored = [axis for axis in level.axes if axis in "zyx"]
        order = [stored.index(axis) for axis in spatial]
        spacing: Sequence[float] | None = None if level.spacing is None else [level.spacing[i] for i in order]
        first = dict(zip(stored, level.first, strict=True))
        origin = [first.get(axis, 0.0) for axis in "xyz"]
        return Grid.from_spacing(self.shape, self.axes, spacing, level.unit if spacing is not None else "", origin)


def _is_missing(error: Exception) -> bool:
    """Whether TensorStore says that a chunk is not stored."""
    text = str(error)
    return text.startswith("NOT_FOUND") and " is missing" in text


def _told(error: Exception) -> str:
    """TensorStore's words without its source locations."""
    text = " ".join(str(error).split())
    return f"it cannot be read: {text.partition(' [source locations=')[0][:400]}"


def _hint(address: Address, *, missing: bool = False) -> str:
    if missing and not address.remote:
        return 'missing chunks can be filled, "missing": "fill"; cloud-volume writes local chunks that others find with compress=False only'
    if missing:
        return 'missing chunks can be filled: "missing": "fill"'
    return "is the address right, and may it be read?" if address.remote else ""
