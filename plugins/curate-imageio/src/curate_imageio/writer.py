"""Writer of PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core import FileWriter, Grid, NDArray, Plain, StepError, Tractogram, option
from curate_core.templates import PathTemplate

_GREY = ("bool", "uint8", "uint16")


@frozen
class PngWriter(FileWriter):
    """One PNG file a sample array: grey planes of 1, 8 or 16 bits, RGB and RGBA of 8.

    No time stamp is written: with one release of zlib the same samples give the same bytes.

    Example::

        "write": [{"use": "png", "path": "{case}/{roi}.png"}]
    """

    version: ClassVar[int] = 1
    path: str = option(doc="Path template of the files, ending in .png.", default="{case}/{roi}.png")
    level: int = option(doc="Effort of the compression, 0 to 9.", default=6, ge=0, le=9)

    def __attrs_post_init__(self) -> None:
        PathTemplate(self.path).fields  # noqa: B018 - raises ValueError for a malformed template
        if not self.path.endswith(".png"):
            message = f"path: {self.path!r} must end in .png"
            raise ValueError(message)

    def write_array(self, path: Path, values: NDArray, grid: Grid, attributes: Mapping[str, Plain]) -> None:
        from PIL import Image

        _check(path, values, grid)
        Image.fromarray(np.ascontiguousarray(values)).save(path, "PNG", compress_level=self.level)

    def read(self, path: Path, place: Plain) -> NDArray | Tractogram:
        from curate_imageio.stills import decode, look

        return decode(path, look(path, upright=False, most=1 << 40))


def _check(path: Path, values: NDArray, grid: Grid) -> None:
    """Refuse what a PNG would not give back.

    Raises:
        StepError: axes, type or byte order.
    """
    colour = grid.axes.endswith("c")
    axes = grid.axes.removesuffix("c")
    if values.ndim != 2 + colour or len(axes) != 2 or not set(axes) <= set("xyz") or 0 in values.shape:
        message = f"a sample of shape {values.shape} with axes {grid.axes!r} is no plane"
        raise StepError(message, where=path.name, hint="find ROIs that are planes, or write TIFF")
    kind = values.dtype.name
    fits = kind in _GREY if not colour else kind == "uint8" and values.shape[-1] in (3, 4)
    if not fits or not values.dtype.isnative:
        what = f"{values.shape[-1]} channels of {kind}" if colour else values.dtype.str
        message = f"PNG holds no {what} here, but {', '.join(_GREY)} of one channel, and uint8 of 3 or 4"
        raise StepError(message, where=path.name, hint='change the type first: {"use": "cast"}, or write TIFF')
