"""Cutting samples out of layers: the rows of a ROI table become batches, read in bricks.

A section along the fastest axis of a volume touches a cache line (or a page, or a compressed chunk) for each of its voxels. So
neighbouring ROIs are read together as one box, the brick, and cut from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np

from curate_core.arrays import ArrayLike, CropArray, NDArray, TakeArray, box, nbytes, read
from curate_core.batch import Batch, GridOf, LazyArrays
from curate_core.errors import CurateError, SourceError, StepError
from curate_core.grid import Grid
from curate_core.model import Case, Image, Tractogram
from curate_core.rois import RoiTable, View

BATCH_BYTES = 16 << 20
BATCH_ROWS = 1024
BRICK_BYTES = 24 << 20
BLOCK_BYTES = 512 << 20
BLOCK_ROWS = 4096
WASTE = 3
CACHE_LINE = 64


def check_inside(case: Case, table: RoiTable, refused: NDArray | None = None) -> None:
    """Refuse ROIs that leave their layer, and views over layers on different grids.

    Args:
        refused: rows that will not be cut, and may lie anywhere.

    Raises:
        StepError: naming the first such ROI.
    """
    for view in table.views:
        grid = view.grid(case)
        if grid is None or not len(view):
            continue
        shape = np.array([grid.shape[grid.axes.index(axis)] for axis in view.axes], dtype=np.int64)
        outside: NDArray = np.any((view.start < 0) | (view.stop > shape), axis=1)
        if refused is not None:
            outside[refused] = False
        if outside.any():
            row = int(np.argmax(outside))
            place = f"{view.start[row].tolist()} to {view.stop[row].tolist()}"
            message = f"ROI {row} ({place} along {view.axes}) leaves the layer of shape {shape.tolist()}"
            raise StepError(message, where=f"case {case.id}")


def row_bytes(case: Case, table: RoiTable) -> NDArray:
    """(n,) int64: bytes that each sample has once cut."""
    total = np.zeros(len(table), dtype=np.int64)
    for view in table.views:
        volume = np.prod(view.shape, axis=1, dtype=np.int64)
        for name in view.cuts(case).values():
            layer = case.layers[name]
            if isinstance(layer, Image):
                rest = [n for n, axis in zip(layer.grid.shape, layer.grid.axes, strict=True) if axis not in view.axes]
                total += volume * int(np.prod(rest, dtype=np.int64)) * layer.dtype.itemsize
            else:
                total += nbytes(layer.points)
    return total


def block_edges(sizes: NDArray, most: int | None = None) -> list[int]:
    """Rows where the blocks of a case begin, and the end: each at most ``BLOCK_ROWS`` rows or ``BLOCK_BYTES``, at least one row.

    Args:
        sizes: (n,) bytes of each row.
        most: rows of a block, where fewer are wanted.
    """
    limit = BLOCK_ROWS if most is None else min(BLOCK_ROWS, most)
    edges, row, total = [0], 0, np.concatenate([[0], np.cumsum(sizes)])
    while row < len(sizes):
        by_bytes = int(np.searchsorted(total, total[row] + BLOCK_BYTES, side="right")) - 1
        row = max(row + 1, min(by_bytes, row + limit))
        edges.append(row)
    return edges


def batches(case: Case, table: RoiTable, rows: NDArray, ids: Sequence[str]) -> Iterator[Batch]:
    """The samples at ``rows`` of a case's table as batches of equal shapes, in order of first appearance.

    Args:
        ids: the ids of those rows.
    """
    chosen = table.take(rows)
    sizes = row_bytes(case, chosen)
    for group in _equal_shapes(chosen):
        step = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, int(sizes[group[0]]))))
        for first in range(0, len(group), step):
            part = group[first : first + step]
            yield cut(case, chosen.take(part), [ids[i] for i in part], rows[part])


def _equal_shapes(table: RoiTable) -> list[NDArray]:
    """Row indices grouped by the shapes of their samples, groups in order of first appearance."""
    columns = [view.shape for view in table.views]
    columns += [view.drop[:, None] for view in table.views if view.drop is not None]
    signature = np.concatenate(columns, axis=1)
    if signature.shape[1] == 0 or (signature == signature[:1]).all():
        return [np.arange(len(table))] if len(table) else []
    _, first, inverse = np.unique(signature, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    inverse = inverse.reshape(-1)
    return [np.flatnonzero(inverse == group) for group in order]


def cut(case: Case, table: RoiTable, ids: Sequence[str], rows: NDArray) -> Batch:
    """One batch; nothing is read before an array is used."""
    makers: dict[str, Callable[[], NDArray]] = {}
    unread: dict[str, list[ArrayLike]] = {}
    grids: dict[str, GridOf] = {}
    tractograms: dict[str, tuple[Tractogram, ...]] = {}
    for view in table.views:
        for array, name in view.cuts(case).items():
            layer = case.layers[name]
            if isinstance(layer, Tractogram):
                tractograms[array] = (layer,) * len(table)
                continue
            makers[array] = _maker(case, name, layer, view)
            grids[array] = _grid_of(layer.grid, view)
            if len(table) == 1:
                unread[array] = [_unread(layer, view)]
    return Batch(case, table, ids, LazyArrays(makers, unread), grids, rows, tractograms, table.attributes)


def without_pixels(case: Case, table: RoiTable, ids: Sequence[str], rows: NDArray) -> Batch:
    """A batch of any samples of a case, for what looks at ROIs and attributes alone."""
    return Batch(case, table, ids, LazyArrays({}), {}, rows, {}, table.attributes)


def _corners(grid: Grid, view: View) -> tuple[NDArray, NDArray]:
    """(n, ndim) start and stop over all axes of a layer."""
    start = np.zeros((len(view), len(grid.shape)), dtype=np.int64)
    stop = np.broadcast_to(np.array(grid.shape, dtype=np.int64), start.shape).copy()
    for column, axis in enumerate(view.axes):
        position = grid.axes.index(axis)
        start[:, position], stop[:, position] = view.start[:, column], view.stop[:, column]
    return start, stop


def _dropped(grid: Grid, view: View, row: int) -> int | None:
    """Position among the layer's axes of the one that a sample loses."""
    if view.drop is None or view.drop[row] < 0:
        return None
    return grid.axes.index(view.axes[int(view.drop[row])])


def _grid_of(grid: Grid, view: View) -> GridOf:
    """The grids of equally shaped boxes: they differ by their origin alone."""
    start, stop = _corners(grid, view)
    first = grid.crop(start[0].tolist(), stop[0].tolist())
    dropped = _dropped(grid, view, 0)
    first = first if dropped is None else first.drop(dropped)
    origins = grid.world(start[:, list(grid.spatial)])

    def grid_of(row: int) -> Grid:
        affine = first.affine.copy()
        affine[:3, -1] = origins[row]
        return attrs.evolve(first, affine=affine)

    return grid_of


def _unread(layer: Image, view: View) -> ArrayLike:
    """The one box of a view, to be read as it is sliced."""
    start, stop = _corners(layer.grid, view)
    cropped = CropArray(layer.array, start[0].tolist(), stop[0].tolist())
    dropped = _dropped(layer.grid, view, 0)
    return cropped if dropped is None else TakeArray(cropped, 0, dropped)


def _maker(case: Case, name: str, layer: Image, view: View) -> Callable[[], NDArray]:
    def make() -> NDArray:
        start, stop = _corners(layer.grid, view)
        try:
            return cut_boxes(layer.array, start, stop, _dropped(layer.grid, view, 0))
        except CurateError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            message = f"layer {name!r} cannot be read: {type(error).__name__}: {error}"
            raise SourceError(message, where=f"case {case.id}") from error

    return make


def cut_boxes(array: ArrayLike, start: NDArray, stop: NDArray, drop: int | None = None) -> NDArray:
    """Boxes of equal shape from an array, read in bricks.

    Args:
        array: any array of d axes.
        start, stop: (n, d) int64 corners.
        drop: an axis of length one that the result loses.

    Returns:
        (n, *shape) of the array's dtype.
    """
    shape = [int(n) for n in stop[0] - start[0]]
    kept = [n for axis, n in enumerate(shape) if axis != drop]
    if len(start) == 1:
        single = read(array, box(start[0], stop[0]))
        return (single if drop is None else single.squeeze(drop))[None]
    out = np.empty([len(start), *kept], np.dtype(array.dtype))
    _fill(array, start, shape, drop, out)
    return out


def _fill(array: ArrayLike, start: NDArray, shape: list[int], drop: int | None, out: NDArray) -> None:
    """Read one brick if the boxes lie close enough together, or else each half of them on its own."""
    low, high = start.min(axis=0), start.max(axis=0) + shape
    itemsize = np.dtype(array.dtype).itemsize
    run = shape[-1] * itemsize if shape else itemsize
    allowed = max(WASTE, CACHE_LINE // max(run, 1))
    volume = float(np.prod((high - low).astype(float))) * itemsize
    if len(start) > 1 and (volume > BRICK_BYTES or volume > allowed * out.nbytes):
        half = len(start) // 2
        _fill(array, start[:half], shape, drop, out[:half])
        _fill(array, start[half:], shape, drop, out[half:])
        return
    brick = read(array, box(low.tolist(), high.tolist()))
    places = start - low
    if drop is not None:
        brick, places, shape = _drop_first(brick, drop), _to_front(places, drop), _to_front(np.array([shape]), drop)[0].tolist()
        for i, place in enumerate(places.tolist()):
            out[i] = brick[(place[0], *(slice(a, a + n) for a, n in zip(place[1:], shape[1:], strict=True)))]
        return
    for i, place in enumerate(places.tolist()):
        out[i] = brick[tuple(slice(a, a + n) for a, n in zip(place, shape, strict=True))]


def _to_front(columns: NDArray, axis: int) -> NDArray:
    order: list[Any] = [axis, *(i for i in range(columns.shape[1]) if i != axis)]
    return columns[:, order]


def _drop_first(brick: NDArray, axis: int) -> NDArray:
    """The brick with ``axis`` moved to the front; along the fastest axis as a copy made slab by slab, which stays in cache."""
    if axis == 0 or axis != brick.ndim - 1 or brick.shape[axis] == 1:
        return np.moveaxis(brick, axis, 0)
    out = np.empty((brick.shape[axis], *brick.shape[:axis]), brick.dtype)
    for i in range(brick.shape[0]):
        out[:, i] = np.moveaxis(np.ascontiguousarray(brick[i]), -1, 0)  # gathered first: six times faster than from a strided slab
    return out
