"""Reader of still images, and of animated ones."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from attrs import frozen

from curate_core import Context, Grid, Image, LayerSource, OpenedArray, Plain, Reader, SourceError, option
from curate_imageio.stills import Still, decode, look


@frozen
class ImageReader(Reader):
    """PNG, JPEG, BMP, GIF and WebP images, decoded when they are first used.

    Axes are ``yx``, or ``yxc`` in colour; an animated image is a stack of frames along ``z``. Values are the file's: 8 or 16 bits, booleans
    where a pixel has one bit. Palettes become red, green and blue, or grey where they are grey. Dots per inch are print size and leave
    the grid uncalibrated.

    Example::

        "read": {"*": {"use": "imageio", "orientation": "ignore"}}
    """

    version: ClassVar[int] = 2
    orientation: Literal["apply", "ignore"] = option(
        doc="Whether an image is turned upright as its EXIF tag says, as viewers show it, or taken as it is stored.", default="apply"
    )
    max_pixels: int = option(doc="Pixels that an image may have, over all frames; more are refused before decoding.", default=1 << 30, ge=1)

    def sniff(self, path: Path) -> str | None:
        if path.is_dir():
            return "is a folder, expected a file"
        with path.open("rb") as file:
            head = file.read(32)
        return None if _known(head) else "does not begin as a PNG, JPEG, BMP, GIF or WebP image"

    def open(self, source: LayerSource, context: Context) -> Image:
        path = _one_file(source)
        still = self._look(path)
        notes: dict[str, Plain] = {"format": still.format}
        if still.orientation > 1:
            notes["turned from EXIF orientation"] = still.orientation
        array = OpenedArray(partial(decode, path, still), still.shape, still.dtype)
        return Image(array, Grid.from_spacing(still.shape, still.axes), notes)

    def resident(self, source: LayerSource) -> int:
        return self._look(_one_file(source)).nbytes

    def _look(self, path: Path) -> Still:
        return look(path, upright=self.orientation == "apply", most=self.max_pixels)


def _known(head: bytes) -> bool:
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return 0 not in struct.unpack_from(">II", head, 16)
    webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    return webp or head.startswith((b"\xff\xd8\xff", b"GIF87a", b"GIF89a")) or (head.startswith(b"BM") and head[6:10] == bytes(4))


def _one_file(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"imageio reads one file a layer, got {len(source.files)}"
        raise SourceError(message, where=source.describe(), hint='say how they are joined, such as "join": "z"')
    return source.files[0]
