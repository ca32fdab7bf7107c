"""Reader of tractograms."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from attrs import frozen

from curate_core import Context, Grid, LayerSource, Plain, Reader, SourceError, Tractogram, option

if TYPE_CHECKING:
    from curate_dmri.trk import Parsed

_MARKS = {".trk": (b"TRACK", "TrackVis"), ".tck": (b"mrtrix tracks", "MRtrix"), ".trx": (b"PK", "TRX")}


@frozen
class TractogramReader(Reader):
    """Tractograms: TrackVis .trk, MRtrix .tck and .trx, points in the world (RAS+, mm, voxel centres), as nibabel has them.

    ``reference`` is a NIfTI volume of the same subject: the header of a .trk or .trx must agree with it, and a .tck, which says nothing of
    voxels, takes its grid. Data of each streamline are kept, all or those named; data of each point too. Points of a .tck, and of a .trx in
    float32, stay in the file, memory-mapped.

    Example::

        "read": {"streamlines": {"use": "tractogram", "reference": "dwi.nii.gz", "data_per_streamline": ["mean_color"]}}
    """

    version: ClassVar[int] = 1
    reference: Path | None = option(doc="A NIfTI volume whose grid the tractogram must have; null: what its header says.", default=None)
    tolerance: float = option(
        doc="What affines and voxel sizes of reference and header may differ by, relative and in mm.", default=1e-3, gt=0
    )
    data_per_streamline: tuple[str, ...] | None = option(
        doc="Names of the data of each streamline to keep, which must be there; null: all that there are.", default=None
    )

    def sniff(self, path: Path) -> str | None:
        if path.is_dir():
            return "is a folder, expected a file"
        mark, name = _MARKS.get(path.suffix.lower(), (b"", ""))
        with path.open("rb") as file:
            if file.read(len(mark)) != mark:
                return f"does not begin as a {name} file"
        return None if mark != b"PK" or _is_trx(path) else "is an archive without the header.json of a TRX file"

    def companions(self, path: Path) -> tuple[Path, ...]:
        return () if self.reference is None else (self.reference,)

    def open(self, source: LayerSource, context: Context) -> Tractogram:
        if len(source.files) != 1:
            message = f"tractogram reads one file at a time, got {len(source.files)}"
            raise SourceError(message, where=source.describe())
        path = source.files[0]
        try:
            parsed = _parse(path)
        except OSError as error:
            message = f"cannot be read: {error.strerror or error}"
            raise SourceError(message, where=str(path)) from error
        grid = self._grid(path, parsed.grid)
        data = parsed.per_streamline
        if self.data_per_streamline is not None:
            missing = [name for name in self.data_per_streamline if name not in data]
            if missing:
                message = f"has no data per streamline called {', '.join(map(repr, missing))}, only {', '.join(data) or 'none'}"
                raise SourceError(message, where=str(path))
            data = {name: data[name] for name in self.data_per_streamline}
        notes: dict[str, Plain] = dict(parsed.notes)
        return Tractogram(parsed.points, parsed.offsets, parsed.lengths, grid, data, parsed.per_point, notes)

    def _grid(self, path: Path, own: Grid | None) -> Grid:
        if self.reference is None:
            if own is None:
                message = "says nothing of the voxels that its streamlines belong to"
                raise SourceError(message, where=str(path), hint='name a volume of the subject with "reference"')
            return own
        wanted = reference_grid(self.reference)
        differences = [] if own is None else differing(own, wanted, self.tolerance)
        if differences:
            message = f"its header does not fit {self.reference}: {'; '.join(differences)}"
            raise SourceError(message, where=str(path), hint="register the two, or repair the header")
        return wanted


def _is_trx(path: Path) -> bool:
    """Whether an archive has what every TRX file has."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "header.json" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _parse(path: Path) -> Parsed:
    suffix = path.suffix.lower()
    if suffix == ".trk":
        from curate_dmri.trk import read_trk

        return read_trk(path)
    if suffix == ".tck":
        from curate_dmri.tck import read_tck

        return read_tck(path)
    if suffix == ".trx":
        from curate_dmri.trx import read_trx

        return read_trx(path)
    message = f"ends in {path.suffix!r}, expected .trk, .tck or .trx"
    raise SourceError(message, where=str(path))


def reference_grid(path: Path) -> Grid:
    """The spatial grid of a NIfTI volume, axes x, y, z.

    Raises:
        SourceError: it is none, or has no three axes.
    """
    import nibabel

    try:
        header = nibabel.load(path)
        shape, affine = header.shape[:3], np.asarray(header.affine, np.float64)
    except Exception as error:  # nibabel's own errors, and what damaged headers raise
        message = f"the reference volume cannot be read: {error}"
        raise SourceError(message, where=str(path)) from error
    if len(shape) != 3:
        message = f"a reference needs three axes, this has the shape {shape}"
        raise SourceError(message, where=str(path))
    return Grid(shape, "xyz", affine, "mm", oriented=True)


def differing(own: Grid, wanted: Grid, tolerance: float) -> list[str]:
    """In what two grids of axes x, y, z differ, in words; empty: in nothing."""
    found = []
    if own.shape != wanted.shape:
        found.append(f"{_sizes(own.shape)} voxels against {_sizes(wanted.shape)}")
    if not np.allclose(own.spacing, wanted.spacing, tolerance, tolerance):
        found.append(f"voxel size {_sizes(own.spacing)} mm against {_sizes(wanted.spacing)} mm")
    if not np.allclose(own.affine, wanted.affine, tolerance, tolerance):
        apart = float(np.abs(own.affine - wanted.affine).max())
        found.append(
            f"affines differ by up to {apart:.6g} ({own.affine[:3].round(4).tolist()} against {wanted.affine[:3].round(4).tolist()})"
        )
    return found


def _sizes(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)
