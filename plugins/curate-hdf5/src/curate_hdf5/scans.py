"""Where a tomography scan's frames, keys and fields lie in its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core import NDArray, SourceError
from curate_hdf5.links import Fence, resolve
from curate_hdf5.opening import opened

PROJECTION, FLAT, DARK = 0, 1, 2
"""Values of ``image_key`` in the NeXus definition NXtomo; 3 is an invalid frame."""
_SHOWN = 12


@frozen
class ScanPaths:
    """Paths of datasets in one file; empty: there is none.

    Attributes:
        data: frames, (frame, detector row, detector column).
        key: what each frame is, (frame,) integers; empty: all are projections.
        angles: rotation angle of each frame.
        flats, darks: frames of their own (DXchange), where the key does not tell them.
    """

    data: str = ""
    key: str = ""
    angles: str = ""
    flats: str = ""
    darks: str = ""


def scan_paths(path: Path, given: ScanPaths, fence: Fence) -> ScanPaths:
    """The paths that are asked for, and for those that are not, what the file's layout says.

    Layouts: DXchange (``exchange/data``, ``data_white``, ``data_dark``); NeXus as Diamond writes it (``entry1/tomo_entry/data/data``,
    ``rotation_angle``, ``../instrument/detector/image_key``) and as NXtomo defines it, in any entry.

    Raises:
        SourceError: there is no scan in a known layout, or more than one.
    """
    if given.data:
        return _filled(given, _beside(path, given.data, fence))
    found = list(_layouts(path, fence))
    if len(found) == 1:
        return _filled(given, found[0])
    with opened(path) as file:
        there = ", ".join(sorted(file.keys())[:_SHOWN]) or "nothing"
    hint = 'name the frames with the reader\'s option "data"'
    if not found:
        message = f"there is no scan as NeXus or DXchange keep one; the file holds {there}"
        raise SourceError(message, where=str(path), hint=hint)
    message = f"there are {len(found)} scans: {', '.join(layout.data for layout in found[:_SHOWN])}"
    raise SourceError(message, where=str(path), hint=hint)


def _filled(given: ScanPaths, found: ScanPaths) -> ScanPaths:
    return ScanPaths(**{name: getattr(given, name) or value for name, value in attrs.asdict(found).items()})


def is_there(path: Path, name: str, fence: Fence) -> bool:
    """Whether a path of a file leads somewhere."""
    try:
        resolve(path, name, fence)
    except SourceError:
        return False
    return True


def _first(path: Path, fence: Fence, *names: str) -> str:
    return next((name for name in names if is_there(path, name, fence)), "")


def _layouts(path: Path, fence: Fence) -> Iterator[ScanPaths]:
    if is_there(path, "exchange/data", fence):
        yield _exchange(path, fence)
        return
    with opened(path) as file:
        entries = sorted(file.keys())
    for entry in entries:
        for root in (f"{entry}/tomo_entry", entry):
            data = _first(path, fence, f"{root}/instrument/detector/data", f"{root}/data/data")
            key = _first(path, fence, f"{root}/instrument/detector/image_key")
            if data and key:
                yield _entry(path, root, fence)
                break


def _exchange(path: Path, fence: Fence) -> ScanPaths:
    optional = {"angles": "theta", "flats": "data_white", "darks": "data_dark"}
    found = {field: f"exchange/{name}" for field, name in optional.items() if is_there(path, f"exchange/{name}", fence)}
    return ScanPaths("exchange/data", **found)


def _entry(path: Path, root: str, fence: Fence) -> ScanPaths:
    return ScanPaths(
        _first(path, fence, f"{root}/data/data", f"{root}/instrument/detector/data"),
        _first(path, fence, f"{root}/instrument/detector/image_key"),
        _first(path, fence, f"{root}/data/rotation_angle", f"{root}/sample/rotation_angle"),
    )


def _beside(path: Path, data: str, fence: Fence) -> ScanPaths:
    """What lies around frames that were named, where the layout is a known one."""
    name = data.strip("/")
    if name == "exchange/data":
        return _exchange(path, fence)
    for ending in ("/data/data", "/instrument/detector/data"):
        if name.endswith(ending):
            return attrs.evolve(_entry(path, name.removesuffix(ending), fence), data=data)
    return ScanPaths(data)


def read_numbers(path: Path, name: str, fence: Fence) -> NDArray:
    """A 1D dataset of numbers.

    Raises:
        SourceError: it is none.
    """
    import h5py

    place = resolve(path, name, fence)
    with opened(place.file) as file:
        found: Any = file[place.name]
        if not isinstance(found, h5py.Dataset) or found.shape is None or len(found.shape) != 1 or found.dtype.kind not in "iuf":
            message = f"{name} is no list of numbers, one for each frame"
            raise SourceError(message, where=str(path))
        return np.asarray(found[()])


def unwritten_frames(path: Path, name: str, fence: Fence) -> NDArray:
    """Frames whose chunks were never written, ascending int64: a writer that crashed leaves them, and HDF5 reads them as zeros."""
    place = resolve(path, name, fence)
    with opened(place.file) as file:
        dataset: Any = file[place.name]
        if dataset.chunks is None or dataset.is_virtual:
            return np.zeros(0, np.int64)
        layers = [-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
        if dataset.id.get_num_chunks() == int(np.prod(layers)):
            return np.zeros(0, np.int64)
        written = np.zeros(layers[0], np.int64)
        if hasattr(dataset.id, "chunk_iter"):
            dataset.id.chunk_iter(lambda info: _count(written, info.chunk_offset[0] // dataset.chunks[0]))
        else:
            for index in range(dataset.id.get_num_chunks()):
                _count(written, dataset.id.get_chunk_info(index).chunk_offset[0] // dataset.chunks[0])
        short = np.repeat(written < int(np.prod(layers[1:])), dataset.chunks[0])[: dataset.shape[0]]
        return np.flatnonzero(short)


def _count(written: NDArray, layer: int) -> None:
    written[layer] += 1
