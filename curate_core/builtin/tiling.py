"""Regular tilings of arrays, as columns: nothing here loops over tiles.

``tile_edges(length, size, stride, edge) -> (starts, stops)`` tiles one axis; ``boxes_of_sections(shape, axes, plane, size, stride, edge,
spacing) -> (start, stop, drop)`` gives all tiles of all sections of one plane; ``boxes_of_grid`` those of a grid of boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from curate_core.arrays import NDArray

Edge = Literal["half", "short", "drop", "shift"]
"""What becomes of a last tile that does not fit: shorter if more than half of it is there, shorter in any case, left out, or moved back
so that it fits.
"""


def tile_edges(length: int, size: int, stride: int | None = None, edge: Edge = "drop") -> tuple[NDArray, NDArray]:
    """Tiles along one axis, from the origin.

    Args:
        length: voxels of the axis.
        size: voxels of a tile.
        stride: voxels from one tile to the next; None: ``size``.
        edge: what becomes of a remainder. An axis shorter than ``size`` gives one tile of its own length with ``half`` and ``short``,
            else none. With ``half`` there are ``max(1, round(length / size))`` tiles (for another stride: a remainder counts from half
            a stride on). Exactly half goes to the even number, as Python rounds: 1.5 tiles are two, and so are 2.5.

    Returns:
        (n,) int64 starts and stops.
    """
    step = size if stride is None else stride
    if edge == "half":
        starts = np.arange(max(1, round((length - size + step) / step)), dtype=np.int64) * step
        return starts, np.minimum(starts + size, length)
    full = max(0, (length - size) // step + 1) if length >= size else 0
    starts = np.arange(full, dtype=np.int64) * step
    covered = int(starts[-1]) + size if full else 0
    if covered < length and edge == "short":
        starts = np.append(starts, full * step)
        starts = starts[starts < length]
    elif covered < length and edge == "shift" and length >= size:
        starts = np.append(starts, length - size)
    return starts, np.minimum(starts + size, length)


def boxes_of_grid(edges: Sequence[tuple[NDArray, NDArray]]) -> tuple[NDArray, NDArray]:
    """All boxes of tiles along each axis, the last axis running fastest.

    Args:
        edges: (starts, stops) along each of d axes.

    Returns:
        (n, d) int64 start and stop.
    """
    starts = np.meshgrid(*(start for start, _ in edges), indexing="ij")
    stops = np.meshgrid(*(stop for _, stop in edges), indexing="ij")
    return np.stack([s.reshape(-1) for s in starts], axis=1), np.stack([s.reshape(-1) for s in stops], axis=1)


def sections(
    shape: Sequence[int], axes: str, plane: str, rows: tuple[NDArray, NDArray], columns: tuple[NDArray, NDArray], spacing: int = 1
) -> tuple[NDArray, NDArray, NDArray]:
    """Tiles of every ``spacing``-th section parallel to a plane, section by section, the last slice included where it is met.

    Args:
        shape: voxels along ``axes``, array order.
        axes: letters of the volume's axes.
        plane: two of them, in any order (``"xy"``).
        rows, columns: (starts, stops) of the tiles along the plane's axes, in array order.
        spacing: slices from one section to the next.

    Returns:
        start, stop: (n, d) int64; drop: (n,) int8, position of the axis across the sections.

    Raises:
        ValueError: ``plane`` does not name all axes but one.
    """
    across = [axis for axis in axes if axis not in plane]
    if len(across) != 1 or len(plane) != len(axes) - 1 or not set(plane) <= set(axes):
        message = f"plane {plane!r} does not name all but one of the axes {axes!r}"
        raise ValueError(message)
    drop = axes.index(across[0])
    index = np.arange(0, shape[drop], spacing, dtype=np.int64)
    edges: list[tuple[NDArray, NDArray]] = [rows, columns]
    start, stop = boxes_of_grid([(index, index + 1), *edges])  # sections run slowest, whatever their axis
    order = [0 if i == drop else 1 + [j for j in range(len(axes)) if j != drop].index(i) for i in range(len(axes))]
    return start[:, order], stop[:, order], np.full(len(start), drop, np.int8)


def boxes_of_sections(
    shape: Sequence[int],
    axes: str,
    plane: str,
    size: Sequence[int],
    stride: Sequence[int] | None = None,
    edge: Edge = "drop",
    spacing: int = 1,
) -> tuple[NDArray, NDArray, NDArray]:
    """Tiles of ``size`` on every ``spacing``-th section parallel to a plane.

    Args:
        size, stride: voxels along the plane's two axes, array order; stride None: ``size``.

    Returns:
        start, stop: (n, d) int64; drop: (n,) int8, as :func:`sections`.
    """
    lengths = [n for n, axis in zip(shape, axes, strict=True) if axis in plane]
    steps = list(size) if stride is None else list(stride)
    rows, columns = (tile_edges(n, s, step, edge) for n, s, step in zip(lengths, size, steps, strict=True))
    return sections(shape, axes, plane, rows, columns, spacing)
