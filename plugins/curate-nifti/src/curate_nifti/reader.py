"""Reader of NIfTI files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Context, Image, LayerSource, Plain, Reader, SourceError, option
from curate_nifti.files import HeadError, head, header_path, kind

if TYPE_CHECKING:
    from curate_nifti.header import Header

_EXACT = 2
"""Bytes of the integers whose every value float32 holds."""


@frozen
class NiftiReader(Reader):
    """NIfTI-1 and NIfTI-2 volumes, single files and pairs, plain or gzipped, with exact affines.

    Arrays have axes ``zyx`` (``yx`` for images, ``tzyx`` for series, a last ``c`` where a voxel holds several values), or nibabel's own
    order with ``"axes": "xyz"``. World coordinates are RAS+ in mm, or in um where the file says so. Values keep the stored type unless the
    header scales them. Plain files are memory-mapped, gzipped ones decompressed once a process.

    Example::

        "read": {"*": {"use": "nifti", "affine": "sform", "mismatch": "error"}}
    """

    version: ClassVar[int] = 1
    affine: Literal["auto", "sform", "qform", "pixdim"] = option(
        doc="Which statement of place to take; auto: the sform where its code is not 0, else the qform, else the voxel size alone.",
        default="auto",
    )
    mismatch: Literal["note", "error"] = option(
        doc="What to do where sform and qform, or the affine and the voxel size in pixdim, disagree.", default="note"
    )
    axes: Literal["zyx", "xyz"] = option(
        doc="Order of the array's axes: zyx, slowest first, or xyz, the indices that nibabel and FSL use.", default="zyx"
    )
    scaled: Literal["auto", "float32", "float64"] = option(
        doc="Type of values that the header scales; auto: float64 for stored types wider than 16 bits, but float32 for float32.",
        default="auto",
    )

    def sniff(self, path: Path) -> str | None:
        if path.is_dir():
            return "is a folder, expected a file"
        first = header_path(path)
        if not first.exists():
            return f"its header {first.name} is not there"
        try:
            kind(head(first))
        except HeadError as error:
            return str(error)
        return None

    def open(self, source: LayerSource, context: Context) -> Image:
        from curate_nifti.geometry import grid_of, place_of
        from curate_nifti.header import read_header
        from curate_nifti.voxels import array_of

        header = read_header(_one_file(source))
        place = place_of(header, self.affine)
        if place.disagreements and self.mismatch == "error":
            message = f"its header disagrees with itself: {'; '.join(place.disagreements)}"
            raise SourceError(
                message, where=source.describe(), hint='repair it, or name what to trust with "affine" and "mismatch": "note"'
            )
        notes: dict[str, Plain] = dict(place.notes)
        if place.disagreements:
            notes["geometry"] = "; ".join(place.disagreements)
        if header.oddities:
            notes["oddities"] = list(header.oddities)
        axes = "".join(axis for axis in ("tzyxc" if self.axes == "zyx" else "xyztc") if axis in header.axes)
        if header.slope is not None:
            notes["scaled"] = f"{header.dtype.name} * {header.slope:.9g} + {header.inter:.9g}"
        array = array_of(header, axes, self._float(header.dtype))
        return Image(array, grid_of(header, place, tuple(array.shape), axes), notes)

    def _float(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """Type of scaled values."""
        if self.scaled != "auto":
            return np.dtype(self.scaled)
        exact = stored.itemsize <= _EXACT or stored.newbyteorder("=") == np.float32
        return np.dtype(np.float32 if exact else np.float64)

    def companions(self, path: Path) -> tuple[Path, ...]:
        header = _header(path)
        return tuple(sorted({header_path(path), header.voxels} - {path}))

    def resident(self, source: LayerSource) -> int:
        header = _header(_one_file(source))
        return header.nbytes if header.compressed else 0


def _header(path: Path) -> Header:
    from curate_nifti.header import read_header

    return read_header(path)


def _one_file(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"nifti reads one file a layer, got {len(source.files)}"
        raise SourceError(message, where=source.describe())
    return source.files[0]
