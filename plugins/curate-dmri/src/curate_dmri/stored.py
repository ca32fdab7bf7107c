"""Groups of the file read back: volumes box by box, streamlines one by one, offsets and lengths once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from curate_hdf5.create import encoded
from curate_hdf5.handles import Handles

from curate_core import ArrayLike, Grid, LazyArray, NDArray, SourceError, Tractogram, read
from curate_core.arrays import Box
from curate_dmri.space import SPACES, to_space, transformed


class WorldPoints(LazyArray):
    """Stored points as points in the world, computed for what is read.

    Args:
        base: (P, 3) float32 in the file's space.
        matrix: (4, 4) float64: from there to the world.
    """

    def __init__(self, base: ArrayLike, matrix: NDArray) -> None:
        self.base, self.matrix = base, matrix
        self.shape, self.dtype = tuple(base.shape), np.dtype(np.float32)

    def read_box(self, where: Box) -> NDArray:
        whole = (where[0], slice(0, 3))
        rows = self.base.read_box(whole) if isinstance(self.base, LazyArray) else read(self.base, whole)
        return transformed(rows, self.matrix)[:, where[1]]


def as_tractogram(attributes: Mapping[str, Any], arrays: Mapping[str, ArrayLike]) -> Tractogram:
    """The tractogram that a group's attributes and datasets (by their paths in it) describe."""
    shape = [int(n) for n in attributes["dimensions"]]
    grid = Grid(tuple(shape), "xyz", np.asarray(attributes["affine"], np.float64), "mm", oriented=True)
    space = str(attributes["space"]).lower().removeprefix("space.")
    if space not in SPACES:
        message = f"streamlines lie in the space {attributes['space']!r}, expected one of {', '.join(SPACES)}"
        raise SourceError(message)
    points = WorldPoints(arrays["data"], np.linalg.inv(to_space(grid, space)))
    prefix = "data_per_streamline/"
    data = {name.removeprefix(prefix): array for name, array in sorted(arrays.items()) if name.startswith(prefix)}
    lengths = read(arrays["lengths"]).astype(np.int64)
    return Tractogram(points, read(arrays["offsets"]).astype(np.int64), lengths, grid, data)


def open_group(handles: Handles, path: Path, place: str) -> ArrayLike | Tractogram:
    """A volume, a tractogram or a single dataset at a place in the file, lazily; its handle is one of those kept open.

    Raises:
        SourceError: there is nothing of the kind.
    """
    import h5py

    try:
        probe = handles.dataset(path, f"{place}/data")
    except KeyError:
        return handles.lazy(path, place)
    group = probe.file[encoded(place)]
    if text_of(group.attrs.get("type")) != "streamlines":
        return handles.lazy(path, f"{place}/data")
    names: list[str] = []

    def note(name: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset) and not name.startswith("connectivity_"):
            names.append(name)

    group.visititems(note)
    attributes = {name: text_of(value) for name, value in group.attrs.items()}
    return as_tractogram(attributes, {name: handles.lazy(path, f"{place}/{name}") for name in names if name != "euclidean_lengths"})


def loaded(value: ArrayLike | Tractogram) -> NDArray | Tractogram:
    """All of it in memory."""
    if not isinstance(value, Tractogram):
        return read(value)
    data = {name: read(array) for name, array in value.per_streamline.items()}
    return attrs.evolve(value, points=read(value.points), per_streamline=data)


def text_of(value: Any) -> Any:
    """Text of an attribute, whichever way it was stored; other values as they are."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
