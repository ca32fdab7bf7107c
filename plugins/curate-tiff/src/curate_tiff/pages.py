"""Voxels of a TIFF series that cannot be memory-mapped: only the strips and tiles that a box touches are decoded."""

from __future__ import annotations

import math
import struct
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from curate_core import LazyArray, NDArray, SourceError
from curate_core.arrays import Box

CACHE_BYTES = 64 << 20
"""Decoded strips and tiles that an open series keeps."""
RATIOS = {5: 1400, 8: 1032, 32773: 128, 32946: 1032}
"""Compression (LZW, deflate, PackBits) -> how many bytes one byte can become at the most."""
_ANY, _FREE = 1 << 40, 1 << 20
_JPEG, _JPEG2000 = (6, 7, 33007, 34892), (33003, 33004, 33005, 34712)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class PageStack(LazyArray):
    """A series as its pages, each cut into strips or tiles.

    Args:
        tif: an open ``tifffile.TiffFile``.
        series: one of its series.
        path: the file to name in errors.
        close: called when this object is dropped.
    """

    def __init__(self, tif: Any, series: Any, path: Path, close: Callable[[], None]) -> None:
        self.shape, self.dtype = tuple(series.shape), np.dtype(series.dtype).newbyteorder("=")
        self._tif, self._path, self._pages = tif, path, series.pages
        self._key = series.keyframe
        self._outer = self.shape[: _outer_axes(self.shape, len(series.pages), self._key.size)]
        self._cache: OrderedDict[tuple[int, int], NDArray] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()
        self._arguments = {}
        if self._key.compression in _JPEG:  # JPEG keeps tables apart from its tiles
            self._arguments = {"jpegtables": self._key.jpegtables, "jpegheader": self._key.jpegheader}
        weakref.finalize(self, close)

    def read_box(self, where: Box) -> NDArray:
        outer, inner = where[: len(self._outer)], where[len(self._outer) :]
        out = np.empty([s.stop - s.start for s in where], self.dtype)
        if 0 in out.shape:
            return out
        with self._lock:
            for index in product(*(range(s.start, s.stop) for s in outer)):
                number = int(np.ravel_multi_index(index, self._outer)) if index else 0
                target = tuple(i - s.start for i, s in zip(index, outer, strict=True))
                out[target] = self._page(number, inner)
        return out

    def _page(self, number: int, where: Sequence[slice]) -> NDArray:
        """A box of one page, in the page's axes as the series has them."""
        key = self._key
        _, depth, length, width, _ = key.shaped
        slices = _expand(where, self.shape[len(self._outer) :], key.shaped)
        if slices is None or depth > 1:
            return np.asarray(self._whole(number).reshape(self.shape[len(self._outer) :])[tuple(where)])
        s, _, y, x, c = slices
        out = np.zeros([part.stop - part.start for part in slices], self.dtype)
        tall, wide = segment_shape(key)
        down, across = math.ceil(length / tall), math.ceil(width / wide)
        for plane, row, column in product(
            range(s.start, s.stop), range(y.start // tall, _up(y.stop, tall)), range(x.start // wide, _up(x.stop, wide))
        ):
            segment = self._segment(number, (plane * down + row) * across + column)
            if segment is None:
                continue
            top, left = row * tall, column * wide
            y0, y1 = max(y.start, top), min(y.stop, top + segment.shape[1])
            x0, x1 = max(x.start, left), min(x.stop, left + segment.shape[2])
            if y0 < y1 and x0 < x1:
                part = segment[0, y0 - top : y1 - top, x0 - left : x1 - left, c]
                out[plane - s.start, 0, y0 - y.start : y1 - y.start, x0 - x.start : x1 - x.start] = part
        return out.reshape([part.stop - part.start for part in where])

    def _segment(self, number: int, index: int) -> NDArray | None:
        """One decoded strip or tile, (depth, rows, columns, samples); None for one that the file leaves out."""
        found = self._cache.get((number, index))
        if found is not None:
            self._cache.move_to_end((number, index))
            return found
        page = self._pages[number]
        if page is None:
            message = f"page {number} is missing"
            raise SourceError(message, where=str(self._path), hint="its metadata announces more pages than there are")
        if index >= len(page.dataoffsets):
            message = f"page {number} has {len(page.dataoffsets)} strips or tiles, its size needs more"
            raise SourceError(message, where=str(self._path), hint="the file is damaged or cut short")
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if count == 0:
            return None
        file = self._tif.filehandle
        file.seek(offset)
        data = file.read(count)
        if len(data) < count:
            message = f"ends within page {number}"
            raise SourceError(message, where=str(self._path), hint="it was cut short: copy it again")
        self._check_claim(data, number)
        try:
            decoded = self._key.decode(data, index, **self._arguments)[0]
        except Exception as error:  # codecs raise errors of their own kinds
            message = f"page {number} cannot be decoded: {type(error).__name__}: {error}"
            raise SourceError(message, where=str(self._path), hint="the file is damaged or cut short") from error
        if decoded is None:
            return None
        return self._keep((number, index), np.asarray(decoded))

    def _check_claim(self, data: bytes, number: int) -> None:
        """Refuse a strip or tile that would become more than its bytes can hold, before a decoder asks for its memory.

        Raises:
            SourceError: naming the page.
        """
        key = self._key
        announced, held = segment_bytes(key), len(data) * RATIOS.get(key.compression, _ANY)
        if key.compression in (*_JPEG, *_JPEG2000):  # states a size of its own, which its decoder goes by
            announced, held = jpeg_pixels(data) * key.samplesperpixel, 4 * announced
        if announced > max(held, _FREE):
            message = f"a strip or tile of page {number} announces {announced:,} bytes, which its {len(data):,} bytes do not hold"
            raise SourceError(message, where=str(self._path), hint="the file is damaged")

    def _whole(self, number: int) -> NDArray:
        """A page of an unusual kind, decoded by tifffile."""
        found = self._cache.get((number, -1))
        if found is not None:
            return found
        try:
            return self._keep((number, -1), np.asarray(self._pages[number].asarray()))
        except Exception as error:  # codecs raise errors of their own kinds
            message = f"page {number} cannot be decoded: {type(error).__name__}: {error}"
            raise SourceError(message, where=str(self._path), hint="the file is damaged or cut short") from error

    def _keep(self, key: tuple[int, int], values: NDArray) -> NDArray:
        self._cache[key] = values
        self._held += values.nbytes
        while self._held > CACHE_BYTES and len(self._cache) > 1:
            self._held -= self._cache.popitem(last=False)[1].nbytes
        return values


def jpeg_pixels(data: bytes) -> int:
    """Pixels that the head of a JPEG or JPEG 2000 stream announces; 0 where there is none."""
    if data.startswith(b"\xff\x4f\xff\x51") and len(data) >= 16:
        width, height = struct.unpack_from(">II", data, 8)
        return int(width * height)
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        if data[at + 1] in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return int(height * width)
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return 0


def fits(key: Any, there: int) -> bool:
    """Whether a strip or tile of a page can come from so many bytes."""
    return segment_bytes(key) <= max(there * RATIOS.get(key.compression, _ANY), _FREE)


def segment_shape(key: Any) -> tuple[int, int]:
    """Rows and columns of the strips or tiles of a page."""
    return (key.tilelength, key.tilewidth) if key.is_tiled else (min(key.rowsperstrip, key.imagelength), key.imagewidth)


def segment_bytes(key: Any) -> int:
    """Bytes of a strip or tile of a page, decoded."""
    samples = key.samplesperpixel if key.planarconfig == 1 else 1
    return int(math.prod(segment_shape(key)) * max(1, key.tiledepth) * samples * np.dtype(key.dtype).itemsize)


def _up(stop: int, step: int) -> int:
    return -(-stop // step)


def _outer_axes(shape: Sequence[int], pages: int, page_size: int) -> int:
    """How many leading axes count pages.

    Raises:
        ValueError: pages and shape do not fit together.
    """
    for count in range(len(shape) + 1):
        if math.prod(shape[:count]) == pages and math.prod(shape[count:]) == page_size:
            return count
    message = f"{pages} pages of {page_size} values do not make a shape of {tuple(shape)}"
    raise ValueError(message)


def _expand(where: Sequence[slice], shape: Sequence[int], shaped: Sequence[int]) -> list[slice] | None:
    """``where`` over ``shape`` as slices over ``shaped``, which has more axes of length one; None where they do not match."""
    given: Iterator[tuple[slice, int]] = iter(zip(where, shape, strict=True))
    entry = next(given, None)
    result = []
    for length in shaped:
        if entry is not None and entry[1] == length:
            result.append(entry[0])
            entry = next(given, None)
        elif length == 1:
            result.append(slice(0, 1))
        else:
            return None
    return result if entry is None else None
