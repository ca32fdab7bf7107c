"""Reader of tomography scans."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import ByteSize, Context, Image, LayerSource, NDArray, Plain, Reader, SourceError, option
from curate_hdf5 import opening
from curate_hdf5.frames import Frames, ScanArray
from curate_hdf5.links import Fence
from curate_hdf5.reader import Hdf5Reader
from curate_hdf5.scans import DARK, FLAT, PROJECTION, ScanPaths, read_numbers, scan_paths, unwritten_frames

AXES = "azx"


@frozen
class NexusReader(Reader):
    """The projections of a tomography scan, with its flat and dark fields: NeXus (NXtomo, Diamond) and DXchange.

    The layer has the axes azx (angle, detector row, detector column) and holds exactly the frames that ``image_key`` calls projections
    (0), wherever flat (1) and dark fields (2) stand; ``normalize-flats`` divides by them. Paths are those of the file's layout, unless
    options name others. Frames are read in chunks of rows: of ``chunk`` at most, fewer where these would need more than ``memory``. The
    file may keep its frames in any way that HDF5 has, virtual datasets, external links and compressed chunks included.

    Example::

        "read": {"scan": {"use": "nexus", "flats": "998.nxs", "chunk": 243, "memory": "512 MB"}}
    """

    version: ClassVar[int] = 1
    flats: Path | None = option(doc="File of flat and dark fields; null: the scan itself.", default=None)
    data: str = option(doc="Path of the frames; empty: as the layout has it.", default="")
    image_key: str = option(doc="Path of what each frame is; empty: as the layout has it.", default="")
    rotation_angle: str = option(doc="Path of the angles; empty: as the layout has it.", default="")
    data_white: str = option(doc="Path of frames that are flat fields, in the file of the fields; empty: as the layout has it.", default="")
    data_dark: str = option(doc="Path of frames that are dark fields, in the same file; empty: as the layout has it.", default="")
    chunk: int = option(doc="Detector rows read at once, at most.", default=243, ge=1)
    memory: ByteSize = option(doc="Memory for the rows read at once.", default=ByteSize(512_000_000))
    partial: Literal["error", "keep"] = option(
        doc="A scan that was broken off: it is refused, or the frames that are there are taken.", default="error"
    )
    follow_links: bool = option(doc="Follow external links and virtual datasets out of the file's folder, too.", default=False)

    def sniff(self, path: Path) -> str | None:
        return opening.foreign(path)

    def open(self, source: LayerSource, context: Context) -> Image:
        path = _one_file(source)
        paths = self._paths(path)
        image = self._dataset(path, paths.data, context)
        key, notes = self._keys(path, paths, image.array.shape[0])
        projections = np.flatnonzero(key == PROJECTION)
        if not len(projections):
            message = f"no frame is a projection: {paths.key} calls none of {len(key)} frames {PROJECTION}"
            raise SourceError(message, where=str(path), hint='name another list with the reader\'s option "image_key"')
        flats, darks = self._fields(path, image, key, paths, context)
        frames = Frames(image.array, projections)
        array = ScanArray(frames, self.chunk, int(self.memory), flats, darks)
        grid = image.grid.crop((0, 0, 0), array.shape)
        counts: dict[str, Plain] = {"flats": 0 if flats is None else flats.shape[0], "darks": 0 if darks is None else darks.shape[0]}
        return Image(array, grid, {"dataset": paths.data, "projections": len(projections), **counts, **notes})

    def companions(self, path: Path) -> tuple[Path, ...]:
        found = dict.fromkeys(self._hdf5(self._paths(path).data).companions(path))
        if self.flats is not None and self.flats != path:
            found[self.flats] = None
            inside = self._field_paths(self.flats)
            for name in filter(None, (inside.data if inside.key else "", inside.flats, inside.darks)):
                found |= dict.fromkeys(self._hdf5(name).companions(self.flats))
        return tuple(found)

    def resident(self, source: LayerSource) -> int:
        path = _one_file(source)
        paths = self._paths(path)
        reader = self._hdf5(paths.data)
        image = reader.open(source, Context("read", 0))
        row = image.array.shape[0] * image.array.shape[2] * np.dtype(image.array.dtype).itemsize
        kept = min(max(int(self.memory), row), row * min(self.chunk, image.array.shape[1]))
        return kept + reader.resident(source)

    def _paths(self, path: Path) -> ScanPaths:
        own = self.flats is None or self.flats == path
        fields = (self.data_white, self.data_dark) if own else ("", "")
        return scan_paths(path, ScanPaths(self.data, self.image_key, self.rotation_angle, *fields), self._fence(path))

    def _field_paths(self, path: Path) -> ScanPaths:
        """In a file of fields: it may hold nothing else, so that its frames need not be found."""
        given = ScanPaths(self.data, self.image_key, "", self.data_white, self.data_dark)
        if given.flats:
            return given if given.data and given.key else ScanPaths(flats=given.flats, darks=given.darks)
        return scan_paths(path, given, self._fence(path))

    def _fence(self, path: Path) -> Fence:
        return Fence(path.parent, self.follow_links)

    def _hdf5(self, name: str) -> Hdf5Reader:
        return Hdf5Reader(dataset=name, axes=AXES, follow_links=self.follow_links)

    def _dataset(self, path: Path, name: str, context: Context) -> Image:
        return self._hdf5(name).open(LayerSource((path,)), context)

    def _keys(self, path: Path, paths: ScanPaths, frames: int) -> tuple[NDArray, dict[str, Plain]]:
        """What each frame is, (n,) integers; -1 for frames that were never written.

        Raises:
            SourceError: the scan was broken off, and that is not allowed for.
        """
        fence = self._fence(path)
        key = read_numbers(path, paths.key, fence) if paths.key else np.full(frames, PROJECTION)
        counts = {paths.data: frames, **({paths.key: len(key)} if paths.key else {})}
        notes: dict[str, Plain] = {}
        if paths.angles:
            angles = read_numbers(path, paths.angles, fence)
            counts[paths.angles] = len(angles)
        missing = unwritten_frames(path, paths.data, fence)
        if self.partial == "error" and len(set(counts.values())) > 1:
            message = f"the scan was broken off: {', '.join(f'{name} has {count} frames' for name, count in counts.items())}"
            raise SourceError(message, where=str(path), hint='set the reader\'s "partial": "keep" to take the frames that are there')
        if self.partial == "error" and len(missing):
            message = f"the scan was broken off: {len(missing)} of {frames} frames were never written, the first is frame {missing[0]}"
            raise SourceError(message, where=str(path), hint='set the reader\'s "partial": "keep" to take the frames that are there')
        there = min(counts.values())
        kinds = np.array(key[:there], dtype=np.int64)
        kinds[missing[missing < there]] = -1
        if paths.angles and (kinds == PROJECTION).any():
            turned = angles[:there][kinds == PROJECTION].astype(float)
            notes["angles"] = [round(float(turned[0]), 6), round(float(turned[-1]), 6)]
        if there < frames or len(missing):
            notes["missing"] = int(frames - (kinds >= 0).sum())
        return kinds, notes

    def _fields(self, path: Path, image: Image, key: NDArray, paths: ScanPaths, context: Context) -> tuple[Frames | None, Frames | None]:
        """Flat and dark fields, from this file or the other one."""
        base, other = image.array, path
        if self.flats is not None and self.flats != path:
            other, paths = self.flats, self._field_paths(self.flats)
            if paths.key:
                base = self._dataset(other, paths.data, context).array
                key = self._keys(other, paths, base.shape[0])[0]
            else:
                key = np.zeros(0, np.int64)
        found = []
        for name, kind, what in ((paths.flats, FLAT, "flat"), (paths.darks, DARK, "dark")):
            stack = self._dataset(other, name, context).array if name else base
            frames = np.arange(stack.shape[0]) if name else np.flatnonzero(key == kind)
            if len(frames) and stack.shape[1:] != image.array.shape[1:]:
                sizes = f"{stack.shape[1]} x {stack.shape[2]} pixels, projections {image.array.shape[1]} x {image.array.shape[2]}"
                message = f"{what} fields have {sizes}"
                raise SourceError(message, where=str(other))
            found.append(Frames(stack, frames) if len(frames) else None)
        return found[0], found[1]


def _one_file(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"nexus reads one file a layer, got {len(source.files)}"
        raise SourceError(message, where=source.describe())
    return source.files[0]
