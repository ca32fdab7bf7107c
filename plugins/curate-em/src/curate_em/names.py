"""Names of patches: ``<dataset>-LOC-<axis>_<index>_<row0>-<row1>_<column0>-<column1>``.

``<axis>`` is 0 for xy, 1 for xz, 2 for yz sections and ``2d`` for patches of single images, which have no index; rows and columns are those
of the section: y and x, z and x, z and y.
"""

from __future__ import annotations

import re

from attrs import frozen

MARK = "-LOC-"
PLANES = {"xy": 0, "xz": 1, "yz": 2}
"""Plane -> number of the axis (array order zyx) that its sections lie across."""
IMAGE = "2d"
_LOCATION = re.compile(r"(?:([012])_(\d+)_|2d-)(\d+)-(\d+)_(\d+)-(\d+)")


@frozen
class Location:
    """Where a patch comes from.

    Attributes:
        dataset: name of the volume or image.
        plane: ``xy``, ``xz``, ``yz``; ``2d`` for a patch of a single image.
        index: of the section along the axis across the plane; -1 for a single image.
        rows, columns: (start, stop) in the section.
    """

    dataset: str
    plane: str
    index: int
    rows: tuple[int, int]
    columns: tuple[int, int]

    def box(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Start and stop in the volume, order zyx; in the image, order yx."""
        edges = [self.rows, self.columns]
        if self.plane in PLANES:
            edges.insert(PLANES[self.plane], (self.index, self.index + 1))
        return tuple(a for a, _ in edges), tuple(b for _, b in edges)


def parse_loc(name: str) -> Location:
    """The location that a patch's name states; a folder before it and a suffix after it are ignored.

    Raises:
        ValueError: the name does not follow the grammar.
    """
    dataset, mark, rest = name.replace("\\", "/").rpartition("/")[2].partition(MARK)
    match = _LOCATION.fullmatch(re.sub(r"\.(tiff?|png|npy|jpe?g)$", "", rest, flags=re.IGNORECASE))
    if not mark or not dataset or match is None:
        message = f"{name!r} is not a patch's name such as 'volume-LOC-0_012_0-224_224-448'"
        raise ValueError(message)
    axis, index, *edges = match.groups()
    row0, row1, column0, column1 = map(int, edges)
    plane = IMAGE if axis is None else next(p for p, number in PLANES.items() if number == int(axis))
    return Location(dataset, plane, -1 if index is None else int(index), (row0, row1), (column0, column1))
