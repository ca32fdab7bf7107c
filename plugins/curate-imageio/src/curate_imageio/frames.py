"""The frames of a video as a lazy array: decoded in order, as they are asked for, and never kept."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from curate_core import LazyArray, NDArray, SourceError
from curate_core.arrays import Box
from curate_imageio.scan import Scan, open_container


class VideoFrames(LazyArray):
    """Frames along the first axis: (z, y, x) or (z, y, x, c).

    The decoder stays where it is between reads, so that slabs in order decode the video once. Going back, or far ahead, begins at the key
    frame before; where frames do not tell their time, at the start. Memory is that of the decoder and of what is asked for.

    Args:
        path: the file.
        found: what ``scan`` said of it.
    """

    def __init__(self, path: Path, found: Scan) -> None:
        self.path, self.found = path, found
        self.shape, self.dtype = found.shape, found.dtype
        self._container = open_container(path)
        self._stream = self._container.streams.video[0]
        self._frames: Iterator[Any] = iter(())
        self._next = found.count  # begins anew at the first read
        self._sought = False
        self._starts = np.flatnonzero(found.keys) if len(found.times) else np.zeros(0, np.int64)
        weakref.finalize(self, self._container.close)

    def read_box(self, where: Box) -> NDArray:
        first, last = where[0].start, where[0].stop
        out = np.empty([s.stop - s.start for s in where], self.dtype)
        if 0 in out.shape:
            return out
        for position, frame in enumerate(self._from(first, last)):
            out[position] = frame.to_ndarray(format=self.found.pixel)[where[1:]]
        return out

    def _from(self, first: int, last: int) -> Iterator[Any]:
        """The frames from ``first`` to before ``last``.

        Raises:
            SourceError: the file does not give them again.
        """
        import av

        try:
            self._go_to(first)
            for _ in range(first, last):
                yield self._advance()
        except (av.error.FFmpegError, EOFError) as error:
            self._next = self.found.count
            message = f"frame {first} cannot be decoded, where {self.found.count} were counted: {error}"
            raise SourceError(message, where=str(self.path), hint="the file changed, or is damaged") from error

    def _go_to(self, first: int) -> None:
        """Make ``first`` the frame that is decoded next."""
        start = self._start_before(first)
        if not self._next <= first or start > self._next:
            self._seek(start)
        while self._next < first:
            self._advance()

    def _advance(self) -> Any:
        """The next frame. Behind a seek, some decoders lose one: its time tells, and then all begins anew.

        Raises:
            EOFError: the video ends before it.
        """
        frame = next(self._frames, None)
        if self._sought and (frame is None or frame.pts != self.found.times[self._next]):
            wanted = self._next
            self._restart()
            for _ in range(wanted):
                next(self._frames, None)
            frame, self._next = next(self._frames, None), wanted
        if frame is None:
            message = "the video ends before"
            raise EOFError(message)
        self._next += 1
        return frame

    def _start_before(self, first: int) -> int:
        """The last frame up to ``first`` where decoding can begin; 0 where that is not known."""
        place = int(np.searchsorted(self._starts, first, side="right")) - 1
        return int(self._starts[place]) if place >= 0 else 0

    def _seek(self, start: int) -> None:
        """Begin to decode at a key frame; from the start of the file where seeking leads elsewhere."""
        if start > 0:
            time = int(self.found.times[start])
            self._container.seek(time, stream=self._stream)
            self._frames = self._container.decode(self._stream)
            for frame in self._frames:
                if frame.pts == time and frame.key_frame:
                    self._frames, self._next = _with_first(frame, self._frames), start
                    self._sought = True
                    return
                if frame.pts is None or frame.pts > time:
                    break
        self._restart()

    def _restart(self) -> None:
        """A new decoder: at the start of a file, seeking is not exact in every container."""
        self._container.close()
        self._container = open_container(self.path)
        weakref.finalize(self, self._container.close)
        self._stream = self._container.streams.video[0]
        self._frames, self._next, self._sought = self._container.decode(self._stream), 0, False


def _with_first(frame: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield frame
    yield from rest


def open_frames(path: Path, found: Scan) -> LazyArray:
    """The frames of a scanned video; for ``OpenedArray``, which opens it again in each process."""
    return VideoFrames(path, found)
