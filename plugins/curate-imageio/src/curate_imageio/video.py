"""Reader of videos."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from attrs import frozen

from curate_core import Context, Grid, Image, LayerSource, OpenedArray, Plain, Reader, SourceError, option
from curate_imageio.frames import open_frames
from curate_imageio.scan import container_format, opened, scan, shortened, without_problem

_DECODER_FRAMES = 24
"""Frames that a decoder holds at the most: 16 to refer to, and those on their way."""


@frozen
class VideoReader(Reader):
    """AVI, MP4, MOV and MKV videos: frames along ``z``, decoded as a stream.

    Grey videos are ``zyx``, others ``zyxc`` with red, green and blue; alpha is left out, and what has more than 8 bits a channel becomes
    16-bit. Opening a video decodes it once to count its frames, whatever its header says; no frame is kept. The layer's notes tell the
    frame rate, and whether it varies.

    Example::

        "read": {"*": {"use": "video", "truncated": "keep"}}
    """

    version: ClassVar[int] = 1
    truncated: Literal["error", "keep"] = option(
        doc="What becomes of a video that is cut short or damaged: an error that tells how many frames can be read, or those frames.",
        default="error",
    )

    def sniff(self, path: Path) -> str | None:
        if path.is_dir():
            return "is a folder, expected a file"
        return None if container_format(path) else "does not begin as an AVI, MP4, MOV or MKV video"

    def open(self, source: LayerSource, context: Context) -> Image:
        path = _one_file(source)
        found = scan(path)
        notes: dict[str, Plain] = {"frame rate": found.rate}
        if found.problem:
            if self.truncated == "error":
                raise shortened(found, path)
            notes["truncated"] = found.problem
        if found.variable:
            notes["frame rate varies"] = True
        array = OpenedArray(partial(open_frames, path, without_problem(found)), found.shape, found.dtype)
        return Image(array, Grid.from_spacing(found.shape, "zyx" + ("c" if len(found.shape) == 4 else "")), notes)

    def resident(self, source: LayerSource) -> int:
        with opened(_one_file(source)) as (_, stream):
            context = stream.codec_context
            return int(_DECODER_FRAMES * context.width * context.height * 3)


def _one_file(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"video reads one file a layer, got {len(source.files)}"
        raise SourceError(message, where=source.describe())
    return source.files[0]
