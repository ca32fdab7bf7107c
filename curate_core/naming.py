"""Names and ids of ROIs: text out of columns, all rows at once where that can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from curate_core.arrays import NDArray
from curate_core.model import Case, Plain

if TYPE_CHECKING:
    from curate_core.rois import RoiTable, View


def plain(value: Any) -> Plain:
    """A numpy scalar as a plain value."""
    if isinstance(value, np.bytes_ | bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def column_texts(column: NDArray) -> list[str] | None:
    """A column of text or whole numbers as text; None for others, and where rows have none."""
    if isinstance(column, np.ma.MaskedArray) or column.dtype.kind not in "iuSU":
        return None
    if column.dtype.kind == "S":
        return [value.decode() for value in column.tolist()]
    return list(map(str, column.tolist()))


class RowValues(Mapping[str, Plain]):
    """What fills the name of one ROI: ``case``, its attributes, its corners, and the case's attributes; each looked up when asked for."""

    def __init__(self, table: RoiTable, row: int, case: Case) -> None:
        self.table, self.row, self.case = table, row, case

    def __getitem__(self, name: str) -> Plain:
        if name in self.table.attributes:
            value = self.table.attributes[name][self.row]
            if value is not np.ma.masked:
                return plain(value)
        if name == "case":
            return self.case.id
        view = self.table.views[0]
        if len(name) == 2 and name[1] in "01" and name[0] in view.axes:
            corners = view.start if name[1] == "0" else view.stop
            return int(corners[self.row, view.axes.index(name[0])])
        return self.case.attributes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.table.row_attributes(self.row), "case", *self.table.corners(self.row), *self.case.attributes]))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def box_texts(view: View) -> list[str]:
    """``"0-1,0-64,64-128"`` for each row; an axis has few different intervals, so that each is put into words once."""
    prefix = f"{view.name}=" if view.name else ""
    columns = [_interval_texts(view.start[:, i], view.stop[:, i]) for i in range(len(view.axes))]
    if not columns:
        return [prefix] * len(view)
    return (
        [prefix + text for text in map(",".join, zip(*columns, strict=True))] if prefix else list(map(",".join, zip(*columns, strict=True)))
    )


def _interval_texts(start: NDArray, stop: NDArray) -> list[str]:
    pairs = list(zip(start.tolist(), stop.tolist(), strict=True))
    words = {pair: f"{pair[0]}-{pair[1]}" for pair in set(pairs)}
    return [words[pair] for pair in pairs]
