"""What flows along the path: layers, cases and where they come from. All values are frozen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import attrs
import numpy as np
from attrs import frozen

from curate_core.arrays import ArrayLike, NDArray, read
from curate_core.errors import StepError
from curate_core.grid import Affine, Grid

Plain = str | int | float | bool | None | list[Any] | dict[str, Any]
"""A value that JSON holds without loss."""


def matches(value: Plain, wanted: Collection[Plain]) -> bool:
    """Whether an attribute's value is among those wanted; of a list (the pairs that a case belongs to), whether one entry is."""
    return any(entry in wanted for entry in value) if isinstance(value, list) else value in wanted


def frozen_mapping(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """A read-only copy, in the given order."""
    return MappingProxyType(dict(value))


def _paths(value: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(value)


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _mapping() -> Any:
    return attrs.field(factory=dict, converter=frozen_mapping)


class _Picklable:
    """Read-only mappings do not pickle; their plain copies do."""

    def __getstate__(self) -> dict[str, Any]:
        fields = attrs.fields(cast(Any, type(self)))
        values = {f.name: getattr(self, f.name) for f in fields}
        return {name: dict(v) if isinstance(v, MappingProxyType) else v for name, v in values.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, frozen_mapping(value) if isinstance(value, dict) else value)


@frozen(slots=False)
class LayerSource(_Picklable):
    """Where a layer comes from, before any reader opens it.

    Attributes:
        files: absolute paths: none (simulated), one, or many (a DICOM series, volumes to be joined).
        uri: the address of a layer that is not a file; empty for files.
        join: how several files that a reader opens one by one become one layer: ``"channels"`` (a new last axis, or the
            channel axis they have), or the letter of the axis along which they follow each other.
        spacing: voxel size to use instead of what the file says, per spatial axis, array order; with ``unit``.
        unit: unit of ``spacing``.
        options: options of the reader for this layer alone, over those of the spec's ``read`` step.
    """

    files: tuple[Path, ...] = attrs.field(default=(), converter=_paths)
    uri: str = ""
    join: str = ""
    spacing: tuple[float, ...] | None = None
    unit: str = ""
    options: Mapping[str, Plain] = _mapping()

    def describe(self) -> str:
        """What to call it in a message."""
        if self.uri:
            return self.uri
        if not self.files:
            return "a simulated layer"
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"


@frozen
class Role:
    """Which layers play which part in one named pair of a case."""

    inputs: tuple[str, ...] = attrs.field(default=(), converter=_names)
    targets: tuple[str, ...] = attrs.field(default=(), converter=_names)


@frozen(slots=False)
class CaseSource(_Picklable):
    """A case as a source finds it: nothing opened yet.

    Attributes:
        id: unique in the dataset, a relative name without ``..``.
        layers: layer name -> where it comes from.
        attributes: plain values (``split``, ``center``, ...) for ``when``, path templates and the manifest.
        roles: pair name -> which layers are inputs and targets.
        root: files are shown relative to it in the manifest.
    """

    id: str
    layers: Mapping[str, LayerSource] = _mapping()
    attributes: Mapping[str, Plain] = _mapping()
    roles: Mapping[str, Role] = _mapping()
    root: Path = Path("/")

    def files(self) -> tuple[Path, ...]:
        """All files of all layers, in layer order."""
        return tuple(file for layer in self.layers.values() for file in layer.files)


@frozen(eq=False)
class Image:
    """An image layer: an array, lazy or not, and where its voxels lie.

    Attributes:
        array: shape of ``grid``.
        grid: shape, axes and geometry.
        notes: plain values that the reader or a step wants remembered in the manifest (``scaled: type range``).
    """

    array: ArrayLike
    grid: Grid
    notes: Mapping[str, Plain] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if tuple(self.array.shape) != self.grid.shape:
            message = f"array of shape {tuple(self.array.shape)} on a grid of shape {self.grid.shape}"
            raise ValueError(message)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return np.dtype(self.array.dtype)

    def with_array(self, array: ArrayLike, grid: Grid | None = None, **notes: Plain) -> Image:
        """The same layer with other voxels, on ``grid`` if it changed; notes are added."""
        return Image(array, self.grid if grid is None else grid, {**self.notes, **notes})


@frozen(eq=False)
class Tractogram:
    """A tractogram layer: streamlines as one array of points.

    Attributes:
        points: (P, 3) float32, world (x, y, z) in the unit of ``grid``; lazy or not. There may be rows between streamlines that belong to
            none, such as the separators of a memory-mapped file.
        offsets: (N,) int64: where each streamline starts in ``points``.
        lengths: (N,) int64: points of each streamline.
        grid: the voxel grid that the file is about.
        per_streamline: name -> (N, k) values.
        per_point: name -> (P, k) values.
        notes: as of an image.
    """

    points: ArrayLike
    offsets: NDArray
    lengths: NDArray
    grid: Grid
    per_streamline: Mapping[str, ArrayLike] = attrs.field(factory=dict)
    per_point: Mapping[str, ArrayLike] = attrs.field(factory=dict)
    notes: Mapping[str, Plain] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.offsets)

    def streamline(self, index: int) -> NDArray:
        """(n, 3) float32 points of one streamline; of lazy points, these alone are read."""
        start = int(self.offsets[index])
        return read(self.points, (slice(start, start + int(self.lengths[index])), slice(0, 3)))


Layer = Image | Tractogram


@frozen(eq=False)
class Case:
    """A case with its layers open.

    Attributes:
        id, attributes, roles: as the source gave them.
        layers: name -> layer; steps replace, add or remove layers by making another case.
    """

    id: str
    layers: Mapping[str, Layer] = attrs.field(converter=frozen_mapping)
    attributes: Mapping[str, Plain] = attrs.field(factory=dict, converter=frozen_mapping)
    roles: Mapping[str, Role] = attrs.field(factory=dict, converter=frozen_mapping)

    def image(self, name: str | None = None) -> Image:
        """The image layer called ``name``; without a name the only image layer.

        Raises:
            StepError: there is no such image layer, or several to choose from.
        """
        images = {key: layer for key, layer in self.layers.items() if isinstance(layer, Image)}
        if name is None:
            if len(images) == 1:
                return next(iter(images.values()))
            message = f"the case has {len(images)} image layers ({', '.join(images) or 'none'}), the step needs to know which"
            raise StepError(message, where=f"case {self.id}", hint='name it with "layer"')
        if name not in images:
            message = f"there is no image layer {name!r}, only {', '.join(images) or 'none'}"
            raise StepError(message, where=f"case {self.id}")
        return images[name]

    def images(self, names: Sequence[str] | None = None) -> dict[str, Image]:
        """The named image layers, or all of them, in case order."""
        if names is None:
            return {key: layer for key, layer in self.layers.items() if isinstance(layer, Image)}
        return {name: self.image(name) for name in names}

    def with_layers(self, layers: Mapping[str, Layer]) -> Case:
        """The case with some layers replaced or added."""
        return attrs.evolve(self, layers={**self.layers, **layers})

    def without_layers(self, names: Sequence[str]) -> Case:
        """The case with some layers left out."""
        return attrs.evolve(self, layers={k: v for k, v in self.layers.items() if k not in names})

    def with_attributes(self, **attributes: Plain) -> Case:
        """The case with attributes added."""
        return attrs.evolve(self, attributes={**self.attributes, **attributes})


__all__ = ["Affine", "Case", "CaseSource", "Image", "Layer", "LayerSource", "Plain", "Role", "Tractogram", "frozen_mapping", "matches"]
