"""Still images through Pillow: what a file will give, from its header; and its pixels.

16-bit colour PNGs go through FFmpeg instead, as Pillow cuts them to 8 bits without a word.
"""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from curate_core import NDArray, SourceError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
ANIMATED = ("PNG", "GIF", "WEBP")
_GREY = {"1": "bool", "L": "uint8", "I;16": "uint16", "I;16L": "uint16", "I;16B": "uint16", "I;16N": "uint16", "I": "int32", "F": "float32"}
_COLOURS = {"LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_DEEP = {2: 3, 4: 2, 6: 4}  # colour type of a PNG -> channels
_ORIENTATION = 0x0112
_DEFLATE = 1032  # bytes that one byte of a deflate stream can become at the most
_lock = threading.Lock()


@frozen
class Still:
    """What a file will give.

    Attributes:
        shape: ``(y, x)``, with frames before and channels behind where there are some.
        axes: its letters: ``yx``, ``yxc``, ``zyx``, ``zyxc``.
        dtype: of the pixels.
        convert: the Pillow mode that the pixels are taken from; empty: the file's own.
        deep: a PNG of 16-bit colours.
        orientation: of EXIF, 1 to 8; 1 where there is none, or where it is not wanted.
        format: Pillow's name of it.
    """

    shape: tuple[int, ...]
    axes: str
    dtype: str
    convert: str
    deep: bool
    orientation: int
    format: str

    @property
    def nbytes(self) -> int:
        """Of the decoded pixels."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A ``PIL.Image.Image`` whose pixels have not been decoded; whatever Pillow raises becomes a ``SourceError``.

    Pillow's own limit of pixels, which warns first and is the same for every program, is put aside: callers check sizes.

    Raises:
        SourceError: there is no such file, or it cannot be decoded.
    """
    from PIL import Image

    if path.is_dir():
        message = "is a folder, expected an image"
        raise SourceError(message, where=str(path))
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata and palettes; what matters is an error
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with Image.open(path, formats=FORMATS) as image:
                yield image
        except SourceError:
            raise
        except FileNotFoundError as error:
            message = "there is no such file"
            raise SourceError(message, where=str(path)) from error
        except Exception as error:  # damaged files break decoders in many ways
            message = f"the image cannot be decoded: {error or type(error).__name__}"
            raise SourceError(message, where=str(path), hint="it is damaged, cut short, or not what its ending says") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def look(path: Path, *, upright: bool, most: int) -> Still:
    """What a file will give, from its header.

    Args:
        upright: turn the image as EXIF says.
        most: pixels that it may have, over all frames.

    Raises:
        SourceError: it cannot be read, or announces more pixels than ``most`` or than its bytes can hold.
    """
    with opened(path) as image:
        frames = _frames(image)
        width, height = image.size
        pixels = frames * width * height
        if pixels > most:
            message = f"it announces {pixels:,} pixels ({frames} x {height} x {width}), the limit is {most:,}"
            raise SourceError(message, where=str(path), hint='if it is no mistake, set "max_pixels" of the reader higher')
        channels = _deep_channels(path) if image.format == "PNG" else 0
        if channels and frames == 1:
            convert, dtype, deep = "", "uint16", True
        else:
            (convert, channels, dtype), deep = _kind(image, frames), False
        orientation = _orientation(image) if upright and frames == 1 else 1
        kind = str(image.format)
    if kind == "PNG" and width * height > max(8 * _DEFLATE * path.stat().st_size, 1 << 20):
        message = f"it announces {height} x {width} pixels, which its {path.stat().st_size:,} bytes do not hold"
        raise SourceError(message, where=str(path), hint="it is damaged")
    shape = (width, height) if orientation >= 5 else (height, width)
    axes = ("z" if frames > 1 else "") + "yx" + ("c" if channels else "")
    whole = (*([frames] if frames > 1 else []), *shape, *([channels] if channels else []))
    return Still(whole, axes, dtype, convert, deep, orientation, kind)


def decode(path: Path, still: Still) -> NDArray:
    """The pixels, read-only.

    Raises:
        SourceError: they are damaged, or no longer what the header said.
    """
    pixels = _decode_deep(path, still.shape) if still.deep else _decode(path, still)
    if still.orientation > 1:
        pixels = turned(pixels, still.orientation)
    if pixels.shape != still.shape or pixels.dtype != np.dtype(still.dtype):
        message = f"its pixels have shape {pixels.shape} and type {pixels.dtype}, its header announced {still.shape} {still.dtype}"
        raise SourceError(message, where=str(path), hint="the file changed, or is damaged")
    pixels = np.ascontiguousarray(pixels)
    pixels.setflags(write=False)
    return pixels


def _decode(path: Path, still: Still) -> NDArray:
    with opened(path) as image:
        if "z" not in still.axes:
            return _pixels(image, still)
        out = np.empty(still.shape, still.dtype)
        for number in range(still.shape[0]):
            image.seek(number)
            out[number] = _pixels(image, still)
        return out


def _pixels(image: Any, still: Still) -> NDArray:
    made = np.asarray(image.convert(still.convert) if still.convert else image)
    if made.dtype == bool:
        made = made.view(np.uint8) != 0  # Pillow's are bytes of 255, which count as other values wherever bytes do
    return made.astype(still.dtype, copy=False)


def _frames(image: Any) -> int:
    """Frames of an animation; a JPEG that holds several pictures (a preview, a second eye) counts as its first."""
    return int(getattr(image, "n_frames", 1)) if image.format in ANIMATED else 1


def _kind(image: Any, frames: int) -> tuple[str, int, str]:
    """(mode to convert to or empty, channels or 0, dtype) of what Pillow decodes."""
    if frames > 1:  # frames of an animation may differ in mode
        if image.mode in ("L", "1"):
            image.seek(1)
            if image.mode in ("L", "1"):
                return "L", 0, "uint8"
        alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        return ("RGBA", 4, "uint8") if alpha else ("RGB", 3, "uint8")
    mode = image.mode
    if mode == "I" and image.format == "PNG":
        return "", 0, "uint16"  # some releases of Pillow give 16-bit PNGs as 32-bit integers
    if mode in _GREY:
        return "", 0, _GREY[mode]
    if mode == "P":
        return ("L", 0, "uint8") if _grey_palette(image) else ("RGB", 3, "uint8")
    target = _COLOURS.get(mode, "RGB")
    return ("" if target == mode else target), len(target), "uint8"


def _grey_palette(image: Any) -> bool:
    rawmode, data = image.palette.getdata()
    colours = np.frombuffer(bytes(data), np.uint8)
    entries = colours[: len(colours) // len(rawmode) * len(rawmode)].reshape(-1, len(rawmode))[:, :3]
    return bool((entries == entries[:, :1]).all())


def _orientation(image: Any) -> int:
    """EXIF's, where it can be had without decoding the pixels."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turned(pixels: NDArray, orientation: int) -> NDArray:
    """An image, (y, x) or (y, x, c), turned upright (EXIF 2.3, tag 274)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def _deep_channels(path: Path) -> int:
    """Channels of a PNG of 16-bit colours; 0 for every other PNG."""
    with path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26:
        return 0
    depth, colour = struct.unpack_from(">BB", head, 24)
    return _DEEP.get(colour, 0) if depth == 16 else 0


def _decode_deep(path: Path, shape: tuple[int, ...]) -> NDArray:
    """A PNG of 16-bit colours, (y, x, c) uint16.

    Raises:
        SourceError: it is damaged.
    """
    import av

    with opened(path) as image:
        image.load()  # checks what FFmpeg passes over: checksums, and the end of the data
    try:
        with av.open(f"file:{path.absolute()}", format="png_pipe") as container:
            frame = next(container.decode(video=0))
    except (av.error.FFmpegError, StopIteration) as error:
        message = f"the image cannot be decoded: {error or 'it holds no pixels'}"
        raise SourceError(message, where=str(path), hint="it is damaged or cut short") from error
    plane = frame.planes[0]
    rows = np.frombuffer(plane, ">u2").reshape(frame.height, plane.line_size // 2)
    channels = {"rgb48be": 3, "rgba64be": 4, "ya16be": 2}.get(frame.format.name)
    if channels is None:
        message = f"16-bit colours decode as {frame.format.name}, expected RGB, RGBA or grey with alpha"
        raise SourceError(message, where=str(path))
    return rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels).astype(np.uint16)
