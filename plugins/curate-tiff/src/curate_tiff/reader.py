"""Reader of TIFF files."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from attrs import frozen

from curate_core import Context, Grid, Image, LayerSource, LazyArray, MapArray, NDArray, OpenedArray, Plain, Reader, SourceError, option
from curate_tiff import axes as letters_of
from curate_tiff.spacing import Spacing, imagej_spacing, ome_spacing, planes_of

_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MINISWHITE, _PALETTE = 0, 3
_LEAST_PAGE, _MOST_PLANES = 16, 1 << 20


@frozen
class TiffReader(Reader):
    """TIFF pages, multi-page stacks, ImageJ hyperstacks and OME-TIFF.

    Axes are the file's, in lower case; an unnamed stack of pages is ``zyx``. The voxel size is what OME or ImageJ state; a resolution in
    dots per inch is print size and leaves the grid uncalibrated. Contiguous voxels are memory-mapped; of others only the strips and
    tiles that a box touches are decoded. MINISWHITE is inverted, so that larger always means brighter.

    Example::

        "read": {"*": {"use": "tiff", "axes": "zyx"}}
    """

    series: int = option(doc="Number of the image to take from a file that holds several; the first is 0.", default=0, ge=0)
    level: int = option(doc="Resolution level of a pyramid; 0 is the full one.", default=0, ge=0)
    axes: str = option(doc="Letters of the axes in array order, where the file does not name them; empty: the file's.", default="")
    palette: Literal["apply", "index"] = option(
        doc="Whether indexed colours become red, green and blue (grey where they are grey) or stay indices.", default="apply"
    )

    def sniff(self, path: Path) -> str | None:
        if path.is_dir():
            return "is a folder, expected a file"
        with path.open("rb") as file:
            return None if file.read(4) in _MARKS else "does not begin with the mark of a TIFF file"

    def open(self, source: LayerSource, context: Context) -> Image:
        path = _one_file(source)
        with opened(path) as tif:
            chosen = self._choose(tif, path)
            axes = self._axes(chosen, path)
            spacing = _spacing(tif, self.series, self.level, chosen)
            array, axes = self._colours(_lazy(tif, chosen, path, self.series, self.level), axes, chosen)
            notes: dict[str, Plain] = {"series": len(tif.series)} if len(tif.series) > 1 else {}
        steps = spacing.along(axes) if spacing else None
        grid = Grid.from_spacing(array.shape, axes, steps, spacing.unit if spacing and steps else "")
        return Image(array, grid, notes)

    def resident(self, source: LayerSource) -> int:
        from curate_tiff.pages import CACHE_BYTES, segment_bytes

        path = _one_file(source)
        with opened(path) as tif:
            chosen = self._choose(tif, path)
            return 0 if chosen.dataoffset is not None else min(CACHE_BYTES + segment_bytes(chosen.keyframe), int(chosen.nbytes))

    def _choose(self, tif: Any, path: Path) -> Any:
        """The wanted series at the wanted level.

        Raises:
            SourceError: there is no such series or level, or it holds nothing.
        """
        from curate_tiff.pages import fits, segment_bytes

        if self.series >= len(tif.series):
            message = f"has {len(tif.series)} images, there is no number {self.series}"
            raise SourceError(message, where=str(path), hint="counting starts at 0")
        levels = tif.series[self.series].levels
        if self.level >= len(levels):
            message = f"image {self.series} has {len(levels)} resolution levels, there is no level {self.level}"
            raise SourceError(message, where=str(path), hint="counting starts at 0")
        chosen = levels[self.level]
        if chosen.dtype is None or 0 in chosen.shape or len(chosen.shape) < 2:
            message = f"image {self.series} has shape {tuple(chosen.shape)} and type {chosen.dtype}, expected a plane or a stack of numbers"
            raise SourceError(message, where=str(path))
        if chosen.is_multifile:
            message = f"image {self.series} spreads over several files"
            raise SourceError(message, where=str(path), hint="join them into one file first")
        key = chosen.keyframe
        if min(key.tilelength, key.tilewidth) < 1 if key.is_tiled else key.rowsperstrip < 1:
            found = f"tiles of {key.tilelength} x {key.tilewidth}" if key.is_tiled else f"strips of {key.rowsperstrip} rows"
            message = f"image {self.series} is cut into {found}, expected at least one"
            raise SourceError(message, where=str(path), hint="its header is damaged")
        if chosen.dataoffset is None and not fits(key, tif.filehandle.size):
            there = f"{tif.filehandle.size:,} bytes do not hold"
            message = f"image {self.series} announces strips or tiles of {segment_bytes(key):,} bytes, which its {there}"
            raise SourceError(message, where=str(path), hint="its header is damaged")
        return chosen

    def _axes(self, chosen: Any, path: Path) -> str:
        axes = letters_of.letters(chosen.axes, self.axes)
        if axes is None:
            message = f"has axes {chosen.axes} of shape {tuple(chosen.shape)}, which do not say what each counts"
            raise SourceError(message, where=str(path), hint='name them with the reader\'s option "axes", such as "tzyx"')
        wrong = letters_of.problem(axes, chosen.shape)
        if wrong:
            raise SourceError(wrong, where=str(path))
        return axes

    def _colours(self, array: LazyArray, axes: str, chosen: Any) -> tuple[LazyArray, str]:
        """What the stored values mean: white counted from zero, indices into a palette."""
        key = chosen.keyframe
        if key.photometric == _MINISWHITE and array.dtype.kind in "bu":
            return MapArray(array, partial(_invert, top=(1 << key.bitspersample) - 1), array.dtype), axes
        map_ = None if chosen.kind in ("imagej", "ome") else key.colormap  # there it is how to show them, not what they are
        if key.photometric != _PALETTE or map_ is None or self.palette == "index":
            return array, axes
        colours = np.asarray(map_)
        if (colours == (colours >> 8) << 8).all() or (colours == (colours >> 8) * 257).all():
            colours = (colours >> 8).astype(np.uint8)
        if (colours == colours[:1]).all():
            return MapArray(array, partial(_look_up, colours=colours[0]), colours.dtype), axes
        return _Coloured(array, colours), axes + "c"


class _Coloured(LazyArray):
    """Indices as red, green and blue, a new last axis."""

    def __init__(self, base: LazyArray, colours: NDArray) -> None:
        self.base, self.colours = base, np.ascontiguousarray(colours.T)
        self.shape, self.dtype = (*base.shape, 3), colours.dtype

    def read_box(self, where: tuple[slice, ...]) -> NDArray:
        return np.asarray(self.colours[self.base.read_box(where[:-1])][..., where[-1]])


def _invert(values: NDArray, top: int) -> NDArray:
    return ~values if values.dtype.kind == "b" else (top - values).astype(values.dtype)


def _look_up(values: NDArray, colours: NDArray) -> NDArray:
    return np.asarray(colours[values])


def _one_file(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"tiff reads one file a layer, got {len(source.files)}"
        raise SourceError(message, where=source.describe())
    return source.files[0]


@frozen(eq=False)
class OpenFile:
    """A TIFF file whose series have been found.

    Attributes:
        tif: ``tifffile.TiffFile``.
        file: what it reads; ours, because tifffile leaves it open when a directory breaks it.
    """

    tif: Any
    file: BinaryIO

    def close(self) -> None:
        """Close both."""
        self.tif.close()
        self.file.close()


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open ``tifffile.TiffFile``; its complaints become errors.

    Raises:
        SourceError: there is no such file, it is no TIFF, or its chain of pages is broken.
    """
    found = open_file(path)
    try:
        yield found.tif
    except (ValueError, IndexError, KeyError, TypeError, ArithmeticError, AttributeError, struct.error) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    finally:
        found.close()


def _damaged(path: Path, reason: str) -> SourceError:
    message = f"is a damaged TIFF file: {reason}"
    return SourceError(message, where=str(path), hint="it may have been cut short: copy it again")


def open_file(path: Path) -> OpenFile:
    """Open a file and find its series.

    Raises:
        SourceError: as ``opened``.
    """
    if path.is_dir():
        message = "is a folder, expected a TIFF file"
        raise SourceError(message, where=str(path))
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        message = "there is no such file"
        raise SourceError(message, where=str(path)) from error
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        raise SourceError(message, where=str(path)) from error
    try:
        return OpenFile(_parse(file, path), file)
    except BaseException:
        file.close()
        raise


def _parse(file: BinaryIO, path: Path) -> Any:
    """The ``tifffile.TiffFile`` of an open file.

    Raises:
        SourceError: it is no TIFF, or its chain of pages is broken.
    """
    import tifffile

    complaints = _Complaints()
    logger = logging.getLogger("tifffile")
    logger.addHandler(complaints)
    was, logger.propagate = logger.propagate, False
    try:
        tif = tifffile.TiffFile(file)
        _check_planes(tif, path)
        empty = not len(tif.pages) or not tif.series
    except tifffile.TiffFileError as error:
        message = f"is not a TIFF file, or its start is damaged: {error}"
        raise SourceError(message, where=str(path), hint="copy it again") from error
    except SourceError:
        raise
    except Exception as error:  # a damaged directory breaks tifffile in many ways
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    finally:
        logger.removeHandler(complaints)
        logger.propagate = was
    if empty or complaints.serious:
        raise _damaged(path, complaints.serious[0] if complaints.serious else "it has no pages")
    return tif


def _check_planes(tif: Any, path: Path) -> None:
    """OME-XML may announce any number of planes, for each of which tifffile makes an entry in a list.

    Raises:
        SourceError: more than the file has bytes for, and than a set of files may have.
    """
    planes = planes_of(tif.ome_metadata) if tif.is_ome else 0
    if planes > max(_MOST_PLANES, tif.filehandle.size // _LEAST_PAGE):
        message = f"its OME-XML announces {planes:,} planes, of which its {tif.filehandle.size:,} bytes cannot hold the pages"
        raise SourceError(message, where=str(path), hint="its metadata is damaged")


class _Complaints(logging.Handler):
    """Keeps what tifffile logs and goes on after: a broken chain of pages would silently shorten a stack."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.serious: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR or "invalid" in text or "corrupt" in text:
            self.serious.append(text)


def _lazy(tif: Any, chosen: Any, path: Path, series: int, level: int) -> LazyArray:
    """Memory-mapped where the voxels lie together, otherwise decoded where touched; native byte order.

    Raises:
        SourceError: the file ends before its last voxel.
    """
    shape, native = tuple(chosen.shape), np.dtype(chosen.dtype).newbyteorder("=")
    if chosen.dataoffset is None:
        return OpenedArray(partial(page_stack, path, series, level), shape, native)
    stored = native.newbyteorder(tif.byteorder)
    there, needed = tif.filehandle.size - chosen.dataoffset, int(chosen.nbytes)
    if there < needed:
        message = f"holds {max(0, there)} bytes of voxels, its pages announce {needed}"
        raise SourceError(message, where=str(path), hint="it was cut short: copy it again")
    array = OpenedArray(partial(memory_mapped, path, stored, chosen.dataoffset, shape), shape, stored)
    return array if stored == native else MapArray(array, partial(_native, dtype=native), native)


def _native(values: NDArray, dtype: np.dtype[Any]) -> NDArray:
    return values.astype(dtype)


def memory_mapped(path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> NDArray:
    """Contiguous voxels, read-only, in the file."""
    return np.memmap(path, dtype, "r", offset, shape)


def page_stack(path: Path, series: int, level: int) -> LazyArray:
    """A series to be decoded; holds the file open until it is dropped.

    Raises:
        SourceError: the file changed or is damaged.
    """
    from curate_tiff.pages import PageStack

    found = open_file(path)
    try:
        return PageStack(found.tif, found.tif.series[series].levels[level], path, found.close)
    except Exception as error:
        found.close()
        raise _damaged(path, str(error)) from error


def _spacing(tif: Any, series: int, level: int, chosen: Any) -> Spacing | None:
    """What OME or ImageJ state; levels of a pyramid are coarser by the ratio of their sizes."""
    found = None
    if tif.ome_metadata:
        found = ome_spacing(tif.ome_metadata, series)
    elif tif.imagej_metadata:
        tags = tif.pages.first.tags
        x, y = (tags[name].value if name in tags else None for name in ("XResolution", "YResolution"))
        found = imagej_spacing(tif.imagej_metadata, x, y)
    if found is None or level == 0:
        return found
    full = tif.series[series].levels[0]
    ratio = {axis.lower(): a / b for axis, a, b in zip(full.axes, full.shape, chosen.shape, strict=True)}
    return Spacing({axis: step * ratio.get(axis, 1.0) for axis, step in found.steps.items()}, found.unit)
