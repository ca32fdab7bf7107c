"""Reader of HDF5 files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import frozen

from curate_core import ArrayLike, Context, Grid, Image, LayerSource, Plain, Reader, SourceError, option
from curate_core.builtin.readers import AXES
from curate_hdf5 import opening
from curate_hdf5.datasets import find_dataset, refusal
from curate_hdf5.filters import filters_of, require_filters
from curate_hdf5.geometry import stated_axes, stated_spacing, texts
from curate_hdf5.lazy import cache_bytes, lazy_array, mapped_at
from curate_hdf5.links import Fence, Place, resolve, voxel_files

_DEEPEST = 8


@frozen
class Hdf5Reader(Reader):
    """A dataset of an HDF5 file: NeXus, ilastik, HDF-EOS5, files of curate and of anybody's scripts.

    The dataset is named by ``dataset``; otherwise it is what NeXus's ``default`` and ``signal`` name, or the only image of the file. Axes
    and voxel size come from the attributes that common programs write, unless options give them. Voxels are read box by box, and
    memory-mapped where they lie in one piece. External links, virtual datasets and external storage are followed within the file's folder.

    Example::

        "read": {"raw": {"use": "hdf5", "dataset": "volumes/{stain}/raw", "axes": "zyx", "spacing": [40, 4, 4], "unit": "nm"}}
    """

    version: ClassVar[int] = 1
    dataset: str = option(
        doc="Path of the dataset in the file; {attribute}s of the case fill it in; empty: the only one.", default="", template=True
    )
    index: int | None = option(doc="Position along the first axis of the dataset to take, which the layer loses; null: all.", default=None)
    axes: str | None = option(doc="Letters of the axes, array order; null: the file's, or x, yx, zyx, zyxc by number.", default=None)
    spacing: tuple[float, ...] | None = option(doc="Voxel size along the spatial axes, array order; null: the file's.", default=None, gt=0)
    unit: str = option(doc="Unit of the spacing.", default="", choices=("", "mm", "um", "nm"))
    follow_links: bool = option(doc="Follow external links and virtual datasets out of the file's folder, too.", default=False)

    def sniff(self, path: Path) -> str | None:
        return opening.foreign(path)

    def open(self, source: LayerSource, context: Context) -> Image:
        path = _one_file(source)
        asked, place = find_dataset(path, self.dataset, self._fence(path))
        with _at(place) as (dataset, groups):
            self._check(place, dataset, path)
            array: ArrayLike = lazy_array(place.file, dataset, place.name, self._fence(path))
            grid = self._grid(path, dataset, groups)
            notes: dict[str, Plain] = {"dataset": asked}
        if self.index is None:
            return Image(array, grid, notes)
        return self._one(path, array, grid, notes)

    def companions(self, path: Path) -> tuple[Path, ...]:
        fence = self._fence(path)
        _, place = find_dataset(path, self.dataset, fence)
        found = dict.fromkeys(place.passed)
        for other in self._behind(place, fence):
            found[other.file] = None
        found.pop(path, None)
        return tuple(found)

    def resident(self, source: LayerSource) -> int:
        path = _one_file(source)
        fence = self._fence(path)
        _, place = find_dataset(path, self.dataset, fence)
        held = 0
        for part in (place, *self._behind(place, fence)):
            if part.name:
                with _at(part) as (dataset, _):
                    if refusal(dataset) is None and mapped_at(dataset) is None:
                        size = cache_bytes(dataset.shape, dataset.chunks, dataset.dtype.itemsize)
                        held = max(held, min(size, int(dataset.nbytes)))
        return held

    def _fence(self, path: Path) -> Fence:
        return Fence(path.parent, self.follow_links)

    def _behind(self, place: Place, fence: Fence, depth: int = 0) -> Iterator[Place]:
        """The files and datasets that a dataset takes its voxels from, theirs included."""
        if depth > _DEEPEST:
            message = f"the virtual datasets behind {place.name} lie more than {_DEEPEST} deep"
            raise SourceError(message, where=str(place.file))
        with _at(place) as (dataset, _):
            others = voxel_files(place.file, dataset, fence)
        for file, name in others:
            if not name:
                yield Place(file, "")
                continue
            found = resolve(file, name, fence)
            yield from (Place(other, "") for other in found.passed)
            yield found
            yield from self._behind(found, fence, depth + 1)

    def _check(self, place: Place, dataset: Any, path: Path) -> None:
        """That the voxels can be had.

        Raises:
            SourceError: it is no image, a filter is missing, or a file that holds its voxels is.
        """
        reason = refusal(dataset)
        if reason is not None:
            message = f"{dataset.name} {reason}"
            raise SourceError(message, where=str(path), hint='name another with the reader\'s option "dataset"')
        require_filters(dataset, place.file)
        for part in self._behind(place, self._fence(path)):
            if part.name:
                with _at(part) as (other, _):
                    if filters_of(other):
                        require_filters(other, part.file)

    def _grid(self, path: Path, dataset: Any, groups: list[Any]) -> Grid:
        """The grid of the whole dataset, before an index is taken."""
        shape = dataset.shape
        axes = self._axes(path, shape, stated_axes(dataset, groups))
        if self.spacing is None:
            grid = _own_grid(dataset, axes)
            if grid is not None and (self.axes is None or grid.axes == axes):
                return grid
        steps = None if self.spacing is not None else stated_spacing(dataset, axes, groups)
        try:
            if steps is not None:
                return Grid.from_spacing(shape, axes, steps.along, self.unit or steps.unit)
            return Grid.from_spacing(shape, axes, self.spacing, self.unit if self.spacing is not None else "")
        except ValueError as error:
            raise SourceError(str(error), where=str(path)) from error

    def _axes(self, path: Path, shape: tuple[int, ...], stated: str | None) -> str:
        """Letters of all axes of the dataset; of one that an index takes, a letter that the others leave."""
        given = self.axes
        if given is not None and self.index is not None:
            given = next(letter for letter in "nijklmopq" if letter not in given) + given
        axes = given or stated
        if axes is None:
            rest = len(shape) - (self.index is not None)
            axes = AXES.get(rest)
            axes = axes if axes is None or self.index is None else "n" + axes
        if axes is None or len(axes) != len(shape) or len(set(axes)) != len(axes) or not (axes.isascii() and axes.isalpha()):
            named = f"{self.axes!r} does not name them" if self.axes is not None else "and the file does not name them"
            message = f"the dataset has shape {shape}: {len(shape)} axes, {named}"
            raise SourceError(message, where=str(path), hint='name each by a letter of its own with "axes", such as "tzyx"')
        return axes

    def _one(self, path: Path, array: ArrayLike, grid: Grid, notes: dict[str, Plain]) -> Image:
        from curate_core.arrays import TakeArray

        assert self.index is not None
        count = array.shape[0]
        if len(array.shape) < 2 or not -count <= self.index < count:
            message = f"the dataset has shape {tuple(array.shape)}, there is no index {self.index}"
            raise SourceError(message, where=str(path), hint="counting starts at 0")
        index = self.index % count
        start = [index] + [0] * (len(array.shape) - 1)
        place = grid.crop(start, [index + 1, *array.shape[1:]]).drop(0)
        return Image(TakeArray(array, index, 0), place, {**notes, "index": index})


def _own_grid(dataset: Any, axes: str) -> Grid | None:
    """The grid that curate's writer left in the attributes; None where it did not."""
    affine = dataset.attrs.get("affine")
    spatial = sum(axis in "xyz" for axis in axes)
    if affine is None or "".join(texts(dataset.attrs.get("axes"))) != axes or np.shape(affine) != (4, spatial + 1):
        return None
    try:
        matrix = np.asarray(affine, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if not np.isfinite(matrix).all():
        return None
    world, unit = texts(dataset.attrs.get("world")), texts(dataset.attrs.get("unit"))
    calibrated = "spacing" in dataset.attrs
    return Grid(dataset.shape, axes, matrix, unit[0] if unit else "", oriented=world == ["RAS+"], calibrated=calibrated)


@contextmanager
def _at(place: Place) -> Iterator[tuple[Any, list[Any]]]:
    """The ``h5py.Dataset`` at a place, and the groups that it was found in.

    Raises:
        SourceError: what is there is no dataset.
    """
    import h5py

    with ExitStack() as stack:
        files = {path: stack.enter_context(opening.opened(path)) for path in {place.file, *(path for path, _ in place.parents)}}
        found = files[place.file][place.name]
        if not isinstance(found, h5py.Dataset):
            there = ", ".join(sorted(found.keys())[:12]) if isinstance(found, h5py.Group) else ""
            message = f"{place.name} is a group, expected a dataset; it holds {there or 'nothing'}"
            raise SourceError(message, where=str(place.file), hint='name a dataset with the reader\'s option "dataset"')
        yield found, [files[path][name] for path, name in place.parents]


def _one_file(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"hdf5 reads one file a layer, got {len(source.files)}"
        raise SourceError(message, where=source.describe())
    return source.files[0]
