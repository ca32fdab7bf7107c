"""TRX files (https://github.com/tee-ar-ex/trx-spec/blob/master/specifications.md): a folder of plain arrays, in a zip archive."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from curate_core import Grid, NDArray, SourceError
from curate_dmri.trk import Parsed

_NAME = re.compile(r"(?P<name>[^/]+?)(?:\.(?P<columns>[0-9]+))?\.(?P<dtype>[a-z]+[0-9]+)")
_KINDS = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {"float16", "float32", "float64"}
_LOCAL_HEADER = 30


class _Archive:
    """The arrays of an archive: memory-mapped where they are stored as they are, which is what the format asks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.entries = {info.filename: info for info in archive.infolist() if not info.is_dir()}
                self.header: dict[str, Any] = json.loads(archive.read("header.json"))
                self.rows, self.streamlines = int(self.header["NB_VERTICES"]), int(self.header["NB_STREAMLINES"])
                shape = [int(n) for n in self.header["DIMENSIONS"]]
                affine = np.array(self.header["VOXEL_TO_RASMM"], np.float64)
                self.grid = Grid(tuple(shape), "xyz", affine, "mm", oriented=True)
        except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
            message = f"is no TRX file: {error}"
            raise SourceError(message, where=str(path)) from error

    def find(self, folder: str, stem: str = "") -> dict[str, NDArray]:
        """Name -> (n, k) array of the entries of one folder (empty: the archive's root)."""
        found = {}
        for filename in sorted(self.entries):
            parent, _, last = filename.rpartition("/")
            match = _NAME.fullmatch(last)
            if parent == folder and match and match["dtype"] in _KINDS and (not stem or match["name"] == stem):
                found[match["name"]] = self._array(filename, match["dtype"], int(match["columns"] or 1))
        return found

    def _array(self, filename: str, dtype: str, columns: int) -> NDArray:
        info = self.entries[filename]
        kind = np.dtype(dtype).newbyteorder("<")
        if info.file_size % (kind.itemsize * columns):
            message = f"its entry {filename} has {info.file_size} bytes, which are no rows of {columns} {dtype}"
            raise SourceError(message, where=str(self.path), hint="copy it again")
        shape = (info.file_size // (kind.itemsize * columns), columns)
        if info.compress_type == zipfile.ZIP_STORED and info.file_size:
            with self.path.open("rb") as file:
                file.seek(info.header_offset)
                head = file.read(_LOCAL_HEADER)
            start = info.header_offset + _LOCAL_HEADER + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
            return np.memmap(self.path, kind, "r", start, shape)
        try:
            with zipfile.ZipFile(self.path) as archive:
                return np.frombuffer(archive.read(filename), kind).reshape(shape)
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            message = f"its entry {filename} cannot be read: {error}"
            raise SourceError(message, where=str(self.path), hint="copy it again") from error


def read_trx(path: Path) -> Parsed:
    """A .trx file; points of float32 stay in the file, memory-mapped.

    Raises:
        SourceError: it is no such file, or its parts do not fit together.
    """
    archive = _Archive(path)
    positions, starts = archive.find("", "positions").get("positions"), archive.find("", "offsets").get("offsets")
    if positions is None or starts is None:
        if archive.rows or archive.streamlines:
            message = "has no positions or no offsets"
            raise SourceError(message, where=str(path))
        positions, starts = np.zeros((0, 3), np.float32), np.zeros((0, 1), np.int64)
    points = positions if positions.dtype == np.float32 else np.asarray(positions, np.float32)
    edges = starts.reshape(-1).astype(np.int64)[: archive.streamlines + 1]
    if len(edges) == archive.streamlines:
        edges = np.append(edges, archive.rows)
    lengths = np.diff(edges)
    fits = points.shape == (archive.rows, 3) and len(lengths) == archive.streamlines and (lengths >= 0).all()
    if not fits or (len(edges) > 1 and (edges[0] < 0 or edges[-1] > archive.rows)):
        message = f"its header announces {archive.streamlines} streamlines of {archive.rows} points, its arrays hold something else"
        raise SourceError(message, where=str(path), hint="copy it again")
    data = {"dps": archive.streamlines, "dpv": archive.rows}
    columns = {folder: archive.find(folder) for folder in data}
    for folder, rows in data.items():
        for name, values in columns[folder].items():
            if len(values) != rows:
                message = f"its data {folder}/{name} has {len(values)} rows, expected {rows}"
                raise SourceError(message, where=str(path), hint="copy it again")
    return Parsed(points, edges[:-1], lengths, archive.grid, columns["dps"], columns["dpv"], {})
