"""Writer of neuroglancer precomputed layers whose sections are samples.

Source: neuroglancer's description of the precomputed format: ``info`` with its scales; one file for each chunk, named by its bounds; the
raw encoding, x fastest, then y, z and channels, little-endian.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from attrs import frozen

from curate_core import Batch, Context, Grid, Image, NDArray, Piece, Placement, Plain, StepError, Writer, WriteSession, option
from curate_core.naming import plain
from curate_core.templates import check_relative

_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")
"""Types of voxels that the format knows."""
_NANOMETRES = {"nm": 1.0, "um": 1e3, "mm": 1e6}


@frozen
class Section:
    """What the sections of one layer have in common.

    Attributes:
        shape: channels, y, x.
        dtype: its name.
        resolution: nm along x, y, z.
    """

    shape: tuple[int, int, int]
    dtype: str
    resolution: tuple[float, float, float]

    @property
    def key(self) -> str:
        """Folder of the chunks: the resolution, as neuroglancer and cloud-volume name it (``4_4_40``)."""
        return "_".join(str(_short(step)) for step in self.resolution)

    def describe(self) -> str:
        """One line for people."""
        channels, height, width = self.shape
        return f"{width} x {height} voxels of {channels} x {self.dtype} at {' x '.join(str(_short(r)) for r in self.resolution)} nm"


@frozen
class PrecomputedWriter(Writer):
    """Samples as the sections of one neuroglancer precomputed layer.

    The arrays of sample number k become the sections ``z = n k + i``, for n arrays, i = 0, 1, ...: pairs give even sections their first
    image and odd ones their second. ``number`` names the attribute that holds k; samples that were dropped leave gaps. All sections have
    one shape and type; an axis that is not in space becomes channels. Each section is one chunk, uncompressed.

    Example::

        "write": [{"use": "precomputed", "path": "images.precomputed", "arrays": ["src", "tgt"], "number": "pair"}]
    """

    version: ClassVar[int] = 1
    path: str = option(doc="Folder of the layer in the dataset.", default="layer.precomputed", min_length=1)
    arrays: tuple[str, ...] | None = option(doc="Arrays of a sample, in the order of the sections; null: all.", default=None, min_length=1)
    number: str = option(doc="Attribute that holds the sample's number, 0 the first, no two alike.", default="pair", min_length=1)
    type: Literal["image", "segmentation"] = option(doc="What neuroglancer takes it for.", default="image")
    thickness: float | None = option(
        doc="Distance of sections in nm, for viewers; null: that of the layers, or the step along x.", default=None, gt=0
    )

    def __attrs_post_init__(self) -> None:
        if "{" in self.path:
            message = f"path: {self.path!r} must be a plain path: all samples of a dataset go into one layer, which the number orders"
            raise ValueError(message)
        try:
            check_relative(self.path)
        except StepError as error:
            message = f"path: {error}"
            raise ValueError(message) from error
        if self.arrays is not None and len(set(self.arrays)) < len(self.arrays):
            message = f"arrays: {list(self.arrays)} names one twice"
            raise ValueError(message)

    def paths(self, batch: Batch) -> list[str]:
        # a section's file tells its size as well, which is not known before it is cut: sections of one number are what must not happen
        return [f"{self.path}/{self.number} {self.number_of(batch, row)}" for row in range(len(batch))]

    def open(self, part: Path, context: Context) -> WriteSession:
        return _Sections(self, part)

    def index(self) -> str:
        return f"{self.path}/info"

    def make_index(self, out: Path, pieces: Sequence[Piece]) -> None:
        known: tuple[Section, str] | None = None
        last = 0
        for piece in pieces:
            section = _section_at(piece.place)
            known = known or (section, piece.sample)
            if section != known[0]:
                message = f"{known[1]} is {known[0].describe()}, {piece.sample} is {section.describe()}; a layer has sections of one kind"
                raise StepError(message, hint="give samples of each kind a spec, or a writer with a path and arrays of its own")
            last = max(last, int(piece.path.name.rpartition("-")[2]))
        out.write_text(json.dumps(self._info(None if known is None else known[0], last)) + "\n", encoding="utf-8")

    def read(self, path: Path, place: Plain) -> NDArray:
        axes = str(_described(place)["axes"])
        stored = _stored_axes(axes)
        values = np.fromfile(path, np.dtype(_section_at(place).dtype).newbyteorder("<")).reshape(_section_at(place).shape)
        return (values if len(axes) == 3 else values[0]).transpose([stored.index(axis) for axis in axes])

    def number_of(self, batch: Batch, row: int) -> int:
        """The number of a sample.

        Raises:
            StepError: it has none, or one that cannot number sections.
        """
        own = batch.attributes[self.number][row] if self.number in batch.attributes else np.ma.masked
        value = batch.case.attributes.get(self.number) if own is np.ma.masked else plain(own)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            there = "there is none" if value is None else f"it is {value!r}"
            message = f"the attribute {self.number!r} must be a whole number from 0 on, {there}"
            raise StepError(message, where=f"sample {batch.ids[row]}", hint='"number" names the attribute that orders the samples')
        return value

    def section_of(self, batch: Batch, name: str, row: int) -> tuple[Section, NDArray, str]:
        """What a sample's array is as a section, its values (channels, y, x), and its axes.

        Raises:
            StepError: it is no section, or of a type that the format does not know.
        """
        values: NDArray = batch.array(name)[row]
        grid = batch.grids[name](row)
        stored = _stored_axes(grid.axes)
        if sorted(grid.spatial_axes) != ["x", "y"] or len(grid.axes) > 3:
            message = f"array {name!r} has the axes {grid.axes!r}, sections have y, x and at most one more that is not in space"
            raise StepError(message, hint='ROIs of one section become 2D with "drop", or cut them in an earlier step')
        if values.dtype.name not in _DTYPES:
            message = f"array {name!r} holds {values.dtype}, the format knows {', '.join(_DTYPES)}"
            raise StepError(message, hint="cast it in an earlier step")
        planes = values.transpose([grid.axes.index(axis) for axis in stored])
        planes = planes if planes.ndim == 3 else planes[None]
        shape = (planes.shape[0], planes.shape[1], planes.shape[2])
        return Section(shape, values.dtype.name, self._resolution(batch, name, grid)), planes, grid.axes

    def _resolution(self, batch: Batch, name: str, grid: Grid) -> tuple[float, float, float]:
        """Steps along x, y, z in nm; lengths without a unit count as nm."""
        steps = [grid.spacing_of(axis) * _NANOMETRES.get(grid.unit, 1.0) for axis in "xy"]
        return _rounded(steps[0]), _rounded(steps[1]), _rounded(self.thickness or _thickness(batch, name) or steps[0])

    def _info(self, section: Section | None, sections: int) -> dict[str, Any]:
        """The description of the layer; a dataset without samples has a layer without scales."""
        described: dict[str, Any] = {"@type": "neuroglancer_multiscale_volume", "type": self.type}
        if section is None:
            return {**described, "data_type": "uint8", "num_channels": 1, "scales": []}
        channels, height, width = section.shape
        scale = {
            "key": section.key, "size": [width, height, sections], "voxel_offset": [0, 0, 0], "chunk_sizes": [[width, height, 1]],
            "resolution": [_short(step) for step in section.resolution], "encoding": "raw",
        }  # fmt: skip
        return {**described, "data_type": section.dtype, "num_channels": channels, "scales": [scale]}


class _Sections(WriteSession):
    """Sections of one part."""

    def __init__(self, writer: PrecomputedWriter, part: Path) -> None:
        self.writer, self.part = writer, part
        self._known: tuple[Section, str] | None = None

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        names = [batch.array_name(name) for name in self.writer.arrays or batch.arrays]
        return [self._sample(batch, names, row) for row in range(len(batch))]

    def _sample(self, batch: Batch, names: Sequence[str], row: int) -> dict[str, Placement]:
        placed = {}
        number = self.writer.number_of(batch, row)
        for i, name in enumerate(names):
            section, planes, axes = self.writer.section_of(batch, name, row)
            self._known = self._known or (section, name)
            if section != self._known[0]:
                message = f"array {name!r} is {section.describe()}, {self._known[1]!r} is {self._known[0].describe()}"
                raise StepError(message, hint='the sections of a layer are of one kind: name them with "arrays", others in a second writer')
            _, height, width = section.shape
            z = len(names) * number + i
            file = f"{self.writer.path}/{section.key}/0-{width}_0-{height}_{z}-{z + 1}"
            (self.part / file).parent.mkdir(parents=True, exist_ok=True)
            little = planes.astype(planes.dtype.newbyteorder("<"), copy=False)
            (self.part / file).write_bytes(little.tobytes())
            place = {"axes": axes, "shape": list(section.shape), "dtype": section.dtype, "resolution": list(section.resolution)}
            shape = tuple(batch.array(name).shape[1:])
            placed[name] = Placement(file, place, shape, little.dtype.str)
        return placed


def _described(place: Plain) -> dict[str, Any]:
    assert isinstance(place, dict)
    return place


def _section_at(place: Plain) -> Section:
    """What a placement tells of its section."""
    told = _described(place)
    channels, height, width = told["shape"]
    x, y, z = told["resolution"]
    return Section((channels, height, width), told["dtype"], (x, y, z))


def _stored_axes(axes: str) -> str:
    """Axes in the order of the file, slowest first."""
    return "".join(axis for axis in axes if axis not in "yx") + "yx"


def _thickness(batch: Batch, name: str) -> float:
    """Distance of sections in nm of the layer that an array was cut from, or else of the case's first image with z; 0: none tells."""
    cut = [view.cuts(batch.case)[name] for view in batch.rois.views if name in view.cuts(batch.case)]
    for layer in [*(batch.case.layers[own] for own in cut), *batch.case.images().values()]:
        if isinstance(layer, Image) and "z" in layer.grid.axes:
            return layer.grid.spacing_of("z") * _NANOMETRES.get(layer.grid.unit, 1.0)
    return 0.0


def _rounded(length: float) -> float:
    """Millionths of a nanometre are what is left of computing with others."""
    return round(length, 6)


def _short(length: float) -> float | int:
    """Whole numbers without their fraction, as they stand in names."""
    return int(length) if float(length).is_integer() else length
