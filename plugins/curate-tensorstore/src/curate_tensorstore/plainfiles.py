"""Chunks of local precomputed layers that are stored as they are: of each file, only the planes or rows under a box are read.

Source: neuroglancer's description of the precomputed format: unsharded chunks are files named by their bounds in voxels of the level; the
raw encoding is little-endian, x fastest, then y, z and channels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from curate_core import NDArray
from curate_core.arrays import Box
from curate_tensorstore.address import Address
from curate_tensorstore.chunks import ChunkGrid, Index

_Span = tuple[str, int, slice, slice]
"""Along one axis of one chunk: its bounds in the file's name, its length, what is wanted of it, and where in the box that goes."""


@frozen
class PlainFiles:
    """The files of one level.

    Attributes:
        folder: that they lie in.
        offset: bounds in their names of the array's first voxel, z, y, x.
        channels: of each voxel; with one, boxes have no axis c.
        dtype: as stored.
        chunks: where they lie in the array.
    """

    folder: str
    offset: tuple[int, int, int]
    channels: int
    dtype: np.dtype[Any]
    chunks: ChunkGrid

    def stored(self, index: Index) -> bool:
        """Whether a chunk is there."""
        z, y, x = (f"{s.start + first}-{s.stop + first}" for s, first in zip(self.chunks.box(index), self.offset, strict=False))
        return Path(f"{self.folder}{x}_{y}_{z}").is_file()

    def read(self, where: Box) -> NDArray | None:
        """The voxels in a box, z, y, x and c where there are channels; None: a file is not there, or has not the length that it should."""
        out = np.empty([s.stop - s.start for s in where], self.dtype.newbyteorder("="))
        for (z_name, depth, z, z_to), (y_name, height, y, y_to), (x_name, width, x, x_to) in product(*map(self._spans, range(3), where)):
            row = width * self.dtype.itemsize
            if self.channels > 1:
                first, shape = 0, (self.channels, depth, height, width)
            elif z.stop - z.start == 1:
                first, shape = (z.start * height + y.start) * row, (1, 1, y.stop - y.start, width)
                z, y = slice(0, 1), slice(0, y.stop - y.start)
            else:
                first, shape = z.start * height * row, (1, z.stop - z.start, height, width)
                z = slice(0, z.stop - z.start)
            length, count = self.channels * depth * height * row, shape[0] * shape[1] * shape[2] * row
            data = _part(f"{self.folder}{x_name}_{y_name}_{z_name}", length, first, count)
            if data is None:
                return None
            values = np.frombuffer(data, self.dtype).reshape(shape)
            out[z_to, y_to, x_to] = values[0, z, y, x] if self.channels == 1 else values[where[3], z, y, x].transpose(1, 2, 3, 0)
        return out

    def _spans(self, axis: int, wanted: slice) -> list[_Span]:
        """The chunks under a box along one of its axes."""
        step, origin, end, offset = self.chunks.chunk[axis], self.chunks.origin[axis], self.chunks.shape[axis], self.offset[axis]
        found = []
        for low in range(origin + (wanted.start - origin) // step * step, wanted.stop, step):
            start, stop = max(low, 0), min(low + step, end)
            first, last = max(start, wanted.start), min(stop, wanted.stop)
            inside, target = slice(first - start, last - start), slice(first - wanted.start, last - wanted.start)
            found.append((f"{start + offset}-{stop + offset}", stop - start, inside, target))
        return found


def _part(path: str, length: int, first: int, count: int) -> bytes | None:
    """Some bytes of a file that has to have ``length``; None: it has not."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        data = os.pread(handle, count, first) if os.fstat(handle).st_size == length else b""
    except OSError:  # a folder, a disk that fails
        return None
    finally:
        os.close(handle)
    return data if len(data) == count else None


def plain_files(address: Address, chunks: ChunkGrid, described: Mapping[str, Any]) -> PlainFiles | None:
    """The files of a level, where they are plain.

    Args:
        address: of the volume.
        chunks: of the level, in the order z, y, x, and c where there are channels.
        described: TensorStore's spec of the opened level.
    """
    scale = described.get("scale_metadata", {})
    if address.remote or described["driver"] != "neuroglancer_precomputed" or scale["encoding"] != "raw" or scale["sharding"] is not None:
        return None
    x, y, z = scale["voxel_offset"]
    folder = f"{address.url.removeprefix('file://')}/{scale['key']}/"
    dtype = np.dtype(described["dtype"]).newbyteorder("<")
    return PlainFiles(folder, (z, y, x), described["multiscale_metadata"]["num_channels"], dtype, chunks)
