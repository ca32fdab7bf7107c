"""Samples on their way: batches of one case's samples with equal shapes, their arrays cut when first used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core.arrays import ArrayLike, NDArray
from curate_core.errors import StepError
from curate_core.grid import Grid
from curate_core.model import Case, Plain, Tractogram
from curate_core.naming import plain
from curate_core.rois import COLUMN_KINDS, RoiTable

GridOf = Callable[[int], Grid]
"""Sample's row in the batch -> grid of one of its arrays."""


class LazyArrays(Mapping[str, NDArray]):
    """Array name -> values of all samples, (n, ...); each is made at its first use, once.

    Args:
        makers: name -> what makes them.
        unread: name -> the samples' arrays, to be read box by box; none where they cannot be.
    """

    def __init__(self, makers: Mapping[str, Callable[[], NDArray]], unread: Mapping[str, Sequence[ArrayLike]] | None = None) -> None:
        self._makers = dict(makers)
        self._unread = dict(unread or {})
        self._made: dict[str, NDArray] = {}

    def __getitem__(self, name: str) -> NDArray:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers  # a Mapping's own would make the array to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def row(self, name: str, row: int) -> ArrayLike:
        """One sample's array, which is read as it is sliced where nobody has asked for its values yet."""
        return self[name][row] if name in self._made or name not in self._unread else self._unread[name][row]

    def with_maker(self, name: str, maker: Callable[[], NDArray]) -> LazyArrays:
        """The same arrays, those made already included, and one more or other."""
        result = LazyArrays({**self._makers, name: maker}, {key: value for key, value in self._unread.items() if key != name})
        result._made = {key: value for key, value in self._made.items() if key != name}
        return result

    def without(self, names: Sequence[str]) -> LazyArrays:
        """The arrays except some."""
        unread = {key: value for key, value in self._unread.items() if key not in names}
        result = LazyArrays({key: maker for key, maker in self._makers.items() if key not in names}, unread)
        result._made = {key: value for key, value in self._made.items() if key not in names}
        return result

    def taking(self, rows: NDArray) -> LazyArrays:
        """Some samples of each array; cut whole at first use, then taken from."""

        def maker(name: str) -> Callable[[], NDArray]:
            return lambda: self[name][rows]

        return LazyArrays({name: maker(name) for name in self}, {k: [v[row] for row in rows] for k, v in self._unread.items()})


def _column(name: str, value: object, length: int) -> NDArray:
    """A (length,) column of plain values, its mask kept."""
    column = np.asanyarray(value)
    if column.dtype.kind not in COLUMN_KINDS or column.shape not in ((), (length,)):
        message = f"attribute {name!r} needs one plain value or {length} of them, not {column.dtype} of shape {column.shape}"
        raise ValueError(message)
    return column if column.shape else np.broadcast_to(column, (length,))


def _ids(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen(eq=False)
class Batch:
    """Samples of one case whose arrays have equal shapes.

    Attributes:
        case: the case with its layers, read-only.
        rois: the rows of these samples.
        ids: their ids.
        arrays: name -> (n, ...) values, cut at first use; must not be changed in place.
        grids: name -> function from row to the grid of that sample's array.
        tractograms: name -> one tractogram a sample.
        attributes: name -> (n,) columns: those of the ROIs and what steps added.
        rows: (n,) int64: positions in the case's ROI table, for the runner.
    """

    case: Case
    rois: RoiTable
    ids: tuple[str, ...] = attrs.field(converter=_ids)
    arrays: LazyArrays
    grids: Mapping[str, GridOf]
    rows: NDArray
    tractograms: Mapping[str, tuple[Tractogram, ...]] = attrs.field(factory=dict)
    attributes: Mapping[str, NDArray] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def array(self, name: str | None = None) -> NDArray:
        """Values of the array called ``name``, (n, ...); without a name, of the only one.

        Raises:
            StepError: there is no such array, or several to choose from.
        """
        return self.arrays[self.array_name(name)]

    def array_name(self, name: str | None = None) -> str:
        """``name`` if the samples have such an array; without a name, the name of their only one."""
        if name is None and len(self.arrays) == 1:
            return next(iter(self.arrays))
        if name is None or name not in self.arrays:
            wanted = f"no array {name!r}" if name else f"{len(self.arrays)} arrays to choose from"
            message = f"the samples have {wanted} ({', '.join(self.arrays) or 'none'})"
            raise StepError(message, where=f"case {self.case.id}", hint="" if name else 'name it with "array"')
        return name

    def with_array(self, name: str, values: NDArray, grid: GridOf | None = None, like: str | None = None) -> Batch:
        """The batch with an array replaced or added.

        Args:
            name: what to call it.
            values: (n, ...), a row a sample.
            grid: row -> its grid; or
            like: the array whose grid it shares; by default that of ``name`` itself.
        """
        if len(values) != len(self):
            message = f"array {name!r} has {len(values)} rows for {len(self)} samples"
            raise ValueError(message)
        grids = dict(self.grids)
        if grid is None and (like or name) not in grids:
            message = f"array {name!r} is new: say where its voxels lie with grid, or with like one of {', '.join(grids) or 'none'}"
            raise ValueError(message)
        grids[name] = grid or grids[like or name]
        return attrs.evolve(self, arrays=self.arrays.with_maker(name, lambda: values), grids=grids)

    def without_arrays(self, names: Sequence[str]) -> Batch:
        """The batch without some arrays."""
        grids = {key: grid for key, grid in self.grids.items() if key not in names}
        return attrs.evolve(self, arrays=self.arrays.without(names), grids=grids)

    def with_attributes(self, **columns: object) -> Batch:
        """The batch with attribute columns added: (n,) each, or one value for all."""
        added = {name: _column(name, value, len(self)) for name, value in columns.items()}
        return attrs.evolve(self, attributes={**self.attributes, **added})

    def take(self, rows: Any) -> Batch:
        """Some samples: indices or a mask."""
        index = np.arange(len(self))[rows]
        if len(index) == len(self) and (index == np.arange(len(self))).all():
            return self

        def grid_of(grid: GridOf) -> GridOf:
            return lambda row: grid(int(index[row]))

        return attrs.evolve(
            self,
            rois=self.rois.take(index),
            ids=tuple(self.ids[i] for i in index),
            arrays=self.arrays.taking(index),
            grids={name: grid_of(grid) for name, grid in self.grids.items()},
            rows=self.rows[index],
            tractograms={name: tuple(values[i] for i in index) for name, values in self.tractograms.items()},
            attributes={name: column[index] for name, column in self.attributes.items()},
        )

    def sample_attributes(self, row: int) -> dict[str, Plain]:
        """All attributes that hold for one sample: the case's, overridden by its own."""
        own = {name: column[row] for name, column in self.attributes.items()}
        return {**self.case.attributes, **{k: plain(v) for k, v in own.items() if v is not np.ma.masked}}
