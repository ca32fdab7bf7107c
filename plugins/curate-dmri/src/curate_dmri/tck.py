"""MRtrix files: points in the world, with rows of NaN between streamlines, and one of infinity at the end.

https://mrtrix.readthedocs.io/en/latest/getting_started/image_data.html#tracks-file-format-tck
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from nibabel.streamlines import tck  # noqa: TID253 - this module is imported where the reader works

from curate_core import SourceError
from curate_dmri.trk import Parsed

MARK = b"mrtrix tracks"


def read_tck(path: Path) -> Parsed:
    """A .tck file; its points stay in the file, memory-mapped, where they are little-endian float32.

    Raises:
        SourceError: the header is none, or the file has no end.
    """
    with path.open("rb") as file:
        if not file.read(len(MARK)).startswith(MARK):
            message = "does not begin as an MRtrix track file"
            raise SourceError(message, where=str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = tck.TckFile.load(path, lazy_load=True).header
            dtype, start = np.dtype(header["_dtype"]), int(header["_offset_data"])
        except Exception as error:  # what a damaged header raises is endless
            message = f"has a header that nibabel refuses: {error}"
            raise SourceError(message, where=str(path)) from error
    rows = (path.stat().st_size - start) // (3 * dtype.itemsize)
    if rows < 1:
        message = "ends where its points should begin"
        raise SourceError(message, where=str(path), hint="copy it again")
    points: np.ndarray = np.memmap(path, dtype, "r", start, (rows, 3))
    if dtype != np.dtype("=f4"):
        points = np.asarray(points, np.float32)
    first = np.asarray(points[:, 0])
    breaks = np.flatnonzero(np.isnan(first))
    breaks = breaks[np.isnan(points[breaks]).all(axis=1)]
    if not np.isinf(points[-1]).all():
        message = "has no end (a row of infinity): it is cut short"
        raise SourceError(message, where=str(path), hint="copy it again")
    edges = np.concatenate([[-1], breaks])
    if edges[-1] != rows - 2:
        message = "has no row of NaN behind its last streamline: it is damaged"
        if rows > 1:
            raise SourceError(message, where=str(path), hint="copy it again")
    offsets = (edges[:-1] + 1).astype(np.int64)
    lengths = (edges[1:] - edges[:-1] - 1).astype(np.int64)
    kept = lengths > 0
    return Parsed(points, offsets[kept], lengths[kept], None, {}, {}, {})
