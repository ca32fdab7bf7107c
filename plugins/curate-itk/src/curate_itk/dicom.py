"""Reader of DICOM series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from curate_core import Context, Image, LayerSource, NDArray, OpenedArray, Reader, SourceError, option
from curate_core.digest import refuse_special
from curate_core.patterns import natural_key
from curate_itk.elements import check_lengths
from curate_itk.headers import reading

if TYPE_CHECKING:
    from curate_itk.simpleitk import Information

_SERIES, _SPACING, _DETECTOR_SPACING, _ORIENTATION = "0020|000e", "0028|0030", "0018|1164", "0020|0037"
_TAGS = (_SERIES, _SPACING, _DETECTOR_SPACING, _ORIENTATION)
_LOOK_AT = 32


def has_mark(path: Path) -> bool:
    """Whether a file carries DICOM's mark after its preamble."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@frozen
class DicomReader(Reader):
    """One DICOM series, from its folder or its files, with rescaled values.

    Slices are ordered by their place along the normal of the first, whatever their names and numbers say. The layer has axes ``zyx``
    (``zyxc`` in colour), RAS+, millimetres; a gantry tilt is kept as a sheared affine. A missing slice is an error.

    Example::

        "read": {"ct": {"use": "dicom-series", "series": "1.2.840.113619.2.55.3"}, "*": {"use": "auto"}}
    """

    many = True

    series: str = option(doc="Series instance UID to take where there are several; empty: the only one.", default="")
    uneven: float = option(doc="Largest deviation of a distance between slices from their mean, as a fraction of it.", default=0.02, ge=0)

    def sniff(self, path: Path) -> str | None:
        if not path.is_dir():
            return None if has_mark(path) else "has no DICOM mark at byte 128"
        files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
        if any(has_mark(file) for file in files[:_LOOK_AT]):
            return None
        return f"none of its first {_LOOK_AT} files has a DICOM mark" if files else "is a folder without files"

    def open(self, source: LayerSource, context: Context) -> Image:
        slices = self._slices(source)
        from curate_itk.geometry import grid_from_itk

        where = source.describe()
        first = slices[0][1]
        frames = first.size[2] if len(first.size) == 3 else 1
        if len(slices) == 1 and frames > 1:
            depth, step = frames, first.matrix[:, 2]
        else:
            slices, step = self._sorted(slices, where)
            first, depth = slices[0][1], len(slices)
        matrix = np.column_stack([first.matrix[:, :2], step])
        shape = (depth, *first.size[1::-1], *((first.channels,) if first.channels > 1 else ()))
        dtype = np.result_type(*(found.dtype for _, found in slices))
        calibrated = _SPACING in first.tags or _DETECTOR_SPACING in first.tags or frames > 1
        oriented = _ORIENTATION in first.tags or frames > 1
        axes = "zyxc" if first.channels > 1 else "zyx"
        grid = grid_from_itk(shape, axes, matrix, first.origin, oriented=oriented, calibrated=calibrated)
        files = tuple(path for path, _ in slices)
        return Image(OpenedArray(partial(load, files, shape, dtype), shape, dtype), grid, {"series": first.tags.get(_SERIES, "")})

    def resident(self, source: LayerSource) -> int:
        slices = self._slices(source)
        return sum(math.prod(found.size) * found.channels * found.dtype.itemsize for _, found in slices)

    def _slices(self, source: LayerSource) -> list[tuple[Path, Information]]:
        """Files of the wanted series and what each says.

        Raises:
            SourceError: there is none, or several and no choice was made.
        """
        from curate_itk.simpleitk import information

        where = source.describe()
        files = _candidates(source)
        series: dict[str, list[tuple[Path, Information]]] = {}
        for path in files:
            _check(path)
            found = information(path, _TAGS)
            if len(found.size) != 3:
                message = f"has {len(found.size)} axes, expected a slice or a stack of slices"
                raise SourceError(message, where=str(path))
            series.setdefault(found.tags.get(_SERIES, ""), []).append((path, found))
        if not series:
            message = "holds no DICOM file"
            raise SourceError(message, where=where)
        listed = ", ".join(f"{uid!r} ({len(paths)} files)" for uid, paths in sorted(series.items()))
        if self.series and self.series not in series:
            message = f"has no series {self.series!r}, only {listed}"
            raise SourceError(message, where=where)
        if not self.series and len(series) > 1:
            message = f"holds {len(series)} series: {listed}"
            raise SourceError(message, where=where, hint='choose one with the reader\'s option "series"')
        return series[self.series or next(iter(series))]

    def _sorted(self, slices: Sequence[tuple[Path, Information]], where: str) -> tuple[list[tuple[Path, Information]], NDArray]:
        """The slices by place, and the step from one to the next (LPS, mm).

        Raises:
            SourceError: they do not stack: other sizes or orientations, two at one place, a gap.
        """
        reference = slices[0][1]
        for path, found in slices:
            same = found.size == reference.size and found.channels == reference.channels
            if not same or found.size[2] != 1 or not np.allclose(found.matrix[:, :2], reference.matrix[:, :2], rtol=0, atol=1e-3):
                message = f"its slice has another size or orientation than {slices[0][0].name} of the same series"
                raise SourceError(message, where=str(path), hint="split the series, or list the files of one volume")
        normal = np.cross(reference.matrix[:, 0], reference.matrix[:, 1])
        length = np.linalg.norm(normal)
        if not np.isfinite(length) or length == 0:
            message = f"has the pixel steps {reference.matrix[:, :2].T.tolist()}, expected two different directions"
            raise SourceError(message, where=str(slices[0][0]))
        if len(slices) == 1:
            return list(slices), reference.matrix[:, 2]
        places = np.array([found.origin @ normal / length for _, found in slices])
        order = np.lexsort((np.arange(len(places)), places))
        places = places[order]
        result = [slices[i] for i in order]
        steps = np.diff(places)
        mean = float(steps.mean())
        if steps.min() < 1e-3 * max(mean, 1e-3):
            message = f"two slices of one series lie at one place: {_pair(result, int(steps.argmin()))}"
            raise SourceError(message, where=where, hint="it holds several volumes (time points, echoes) or copies: list the files of one")
        worst = int(np.abs(steps - np.median(steps)).argmax())
        if np.abs(steps - mean).max() > self.uneven * mean:
            message = f"slices are {np.median(steps):.4g} mm apart, but {steps[worst]:.4g} mm between {_pair(result, worst)}"
            raise SourceError(message, where=where, hint='a slice is missing; or allow for it with the option "uneven"')
        return result, (result[-1][1].origin - result[0][1].origin) / (len(result) - 1)


def _pair(slices: Sequence[tuple[Path, Information]], index: int) -> str:
    return f"{slices[index][0].name} and {slices[index + 1][0].name}"


def _candidates(source: LayerSource) -> list[Path]:
    """Files to look at, in natural order: those listed, or those of a folder that GDCM takes for DICOM."""
    folders = [path for path in source.files if path.is_dir()]
    if not folders:
        missing = [path for path in source.files if not path.exists()]
        if missing:
            message = "there is no such file"
            raise SourceError(message, where=str(missing[0]))
        return sorted(source.files, key=lambda path: natural_key(str(path)))
    if len(source.files) > 1:
        message = f"a DICOM layer is one folder or a list of files, got {len(source.files)} paths of which {len(folders)} are folders"
        raise SourceError(message, where=source.describe())
    for path in folders[0].iterdir():
        refuse_special(path)  # GDCM looks into all of them
        _check(path)
    from curate_itk.simpleitk import sitk

    names = sitk.ImageSeriesReader
    folder = str(folders[0])
    found = {Path(name) for uid in names.GetGDCMSeriesIDs(folder) for name in names.GetGDCMSeriesFileNames(folder, uid)}
    return sorted(found, key=lambda path: natural_key(path.name))


def _check(path: Path) -> None:
    with reading(path):
        if path.is_file():
            check_lengths(path)


def load(files: Sequence[Path], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
    """The voxels of a series, slice by slice into one array.

    Raises:
        SourceError: a file cannot be decoded, or has another size than its header said.
    """
    from curate_itk.simpleitk import voxels

    out = np.empty(shape, dtype)
    step = shape[0] // len(files)
    for index, path in enumerate(files):
        values = voxels(path)
        target = out[index * step : (index + 1) * step]
        if values.shape != target.shape:
            message = f"decodes to {values.shape}, its header says {target.shape}"
            raise SourceError(message, where=str(path))
        target[...] = values
    return out
