"""One pass over a video: how many frames it really has, when each is shown, and from where decoding can begin.

A header's count is a claim: streams are cut short, containers count packets, edit lists drop frames. So every frame is decoded
once, and forgotten; only its time and whether it is a key frame are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core import NDArray, SourceError

_MICROSECONDS = 1_000_000


@frozen(eq=False)
class Scan:
    """What a video holds.

    Attributes:
        size: (y, x) of its frames.
        pixel: FFmpeg's name of the format that frames are decoded to: ``gray``, ``gray16le``, ``rgb24`` or ``rgb48le``.
        times: (n,) int64: when each frame is shown, in ticks of the stream; empty where frames do not say, or not in order.
        keys: (n,) bool: decoding can begin at the frame.
        count: frames.
        rate: average frames a second, as the container states it; empty where it does not.
        problem: why there may be fewer frames than there were; empty: all are there.
    """

    size: tuple[int, int]
    pixel: str
    times: NDArray
    keys: NDArray
    count: int
    rate: str
    problem: str

    @property
    def shape(self) -> tuple[int, ...]:
        """(z, y, x), with c behind in colour."""
        return (self.count, *self.size, *((3,) if self.pixel.startswith("rgb") else ()))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the frames."""
        return np.dtype(np.uint16 if "16" in self.pixel or "48" in self.pixel else np.uint8)

    @property
    def variable(self) -> bool:
        """Frames are shown for unequal times, by more than the rounding of their clock."""
        steps = np.diff(self.times)
        return len(steps) > 0 and int(np.ptp(steps)) > 1


def container_format(path: Path) -> str | None:
    """FFmpeg's name of a container, from its first bytes; None for anything else. Playlists, which lead to other files, are none."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    return "mov" if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip") else None


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """(container, stream) of the first video stream of a file.

    Raises:
        SourceError: there is none, or the container cannot be opened.
    """
    container = open_container(path)
    try:
        yield container, container.streams.video[0]
    finally:
        container.close()


def open_container(path: Path) -> Any:
    """An open ``av`` container with at least one video stream, which decodes in one thread.

    Raises:
        SourceError: it is no video that is read here, or is damaged.
    """
    import av

    try:
        kind = container_format(path)
        if kind is None:
            message = "does not begin as an AVI, MP4, MOV or MKV video"
            raise SourceError(message, where=str(path), hint="it is damaged, or not what its ending says")
        container = av.open(f"file:{path.absolute()}", format=kind, **_lenient())
    except av.error.FFmpegError as error:
        message = f"the video cannot be opened, so that no frame of it can be read: {error.strerror or error}"
        raise SourceError(message, where=str(path), hint="it is damaged or cut short: copy it again") from error
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or error}"
        raise SourceError(message, where=str(path)) from error
    if not container.streams.video:
        container.close()
        message = "the file has no video stream"
        raise SourceError(message, where=str(path))
    if container.streams.video[0].codec_context is None:
        container.close()
        message = "the video is coded in a way that is not known here"
        raise SourceError(message, where=str(path), hint="it is damaged, or needs to be converted first")
    container.streams.video[0].codec_context.thread_count = 1
    return container


def _lenient() -> dict[str, str]:
    """Titles and the like may be no UTF-8, which PyAV refuses unless told otherwise, until version 19."""
    import av

    return {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}


def scan(path: Path) -> Scan:
    """Decode a video once; the answer for files that stay as they are is kept.

    Raises:
        SourceError: no frame of it can be decoded, or its frames change size.
    """
    try:
        status = path.stat()
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or error}"
        raise SourceError(message, where=str(path)) from error
    return _scan(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _scan(path: Path, changed: int, size: int) -> Scan:
    import av

    times: list[int | None] = []
    keys: list[bool] = []
    packets, damaged, end, pixel = 0, "", 0, ""
    shape: tuple[int, int] | None = None
    with opened(path) as (container, stream):
        try:
            for packet in container.demux(stream):
                if packet.size:
                    packets += 1
                    if packet.is_corrupt:
                        damaged = damaged or f"packet {packets} is incomplete"
                    if packet.pts is not None:
                        end = max(end, packet.pts + (packet.duration or 0))
                for frame in packet.decode():
                    found = (frame.height, frame.width)
                    if shape is not None and found != shape:
                        message = f"frame {len(times)} is {found[0]} x {found[1]} pixels, those before are {shape[0]} x {shape[1]}"
                        raise SourceError(message, where=str(path), hint="cut the video where its size changes")
                    shape, pixel = found, pixel or _pixel(frame.format)
                    if frame.is_corrupt:
                        damaged = damaged or f"frame {len(times)} is incomplete"
                    times.append(frame.pts)
                    keys.append(bool(frame.key_frame))
        except av.error.FFmpegError as error:
            damaged = damaged or f"decoding stops with: {error.strerror or error}"
        damaged = damaged or _missing(container, stream, packets, end)
        rate = str(Fraction(stream.average_rate)) if stream.average_rate else ""
    if shape is None:
        message = f"no frame of the video can be read{': ' if damaged else ''}{damaged}"
        raise SourceError(message, where=str(path), hint="it is damaged or cut short: copy it again")
    known = np.array([] if None in times else times, np.int64)
    if len(known) and (np.diff(known) <= 0).any():
        known = known[:0]
    return Scan(shape, pixel, known, np.array(keys, bool), len(times), rate, damaged)


def _missing(container: Any, stream: Any, packets: int, end: int) -> str:
    """What the container announces and does not hold; empty: nothing."""
    if packets < stream.frames:
        return f"its header announces {stream.frames} frames, the file ends after {packets}"
    announced = _announced_seconds(container, stream)
    if announced is None or stream.frames or not end or not stream.average_rate:
        return ""
    there = float(end * stream.time_base)
    if there < announced - 1.5 / float(stream.average_rate):
        return f"its header announces {announced:.2f} seconds, the file ends after {there:.2f}"
    return ""


def _announced_seconds(container: Any, stream: Any) -> float | None:
    """How long the video stream is said to be; None: not said. Containers without an index say it for each stream, or for all at once."""
    text = next((value for key, value in stream.metadata.items() if key.upper() == "DURATION"), "")
    parts = text.split(":")
    if len(parts) == 3:
        try:
            return int(parts[0]) * 3600.0 + int(parts[1]) * 60.0 + float(parts[2])
        except ValueError:
            return None
    if len(container.streams) == 1 and container.duration:
        return float(container.duration) / _MICROSECONDS
    return None


def _pixel(format_: Any) -> str:
    """The format that frames are decoded to: grey stays grey, and what has more than 8 bits keeps them."""
    deep = any(component.bits > 8 for component in format_.components)
    if format_.name.startswith("gray"):
        return "gray16le" if deep else "gray"
    return "rgb48le" if deep else "rgb24"


def shortened(found: Scan, path: Path) -> SourceError:
    """What to say of a video that is not all there."""
    message = f"{found.count} frames of the video can be read: {found.problem}"
    return SourceError(message, where=str(path), hint='copy it again, or set "truncated": "keep" to take those frames')


def without_problem(found: Scan) -> Scan:
    """The same frames, taken as all there are."""
    return attrs.evolve(found, problem="")
