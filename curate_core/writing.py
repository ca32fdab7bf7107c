"""What writers share: names of samples' files, and a base class for formats that hold one array a file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from curate_core.arrays import NDArray
from curate_core.batch import Batch
from curate_core.errors import StepError
from curate_core.grid import Grid
from curate_core.kinds import Context, Placement, Writer, WriteSession
from curate_core.model import Plain
from curate_core.naming import RowValues, column_texts, plain
from curate_core.templates import PathTemplate, check_relative, fill_in_columns


class SampleValues(Mapping[str, Plain]):
    """What fills a path template for one sample: ``case``, ``roi``, ``id``, ``array``, its attributes, its corners (``z0``, ``z1``, ...)
    and the case's attributes; each is looked up when asked for, as there may be millions of samples.
    """

    def __init__(self, batch: Batch, row: int, array: str = "") -> None:
        self.batch, self.row, self.array = batch, row, array

    def __getitem__(self, name: str) -> Plain:
        if name == "roi":
            return self.batch.rois.roi_name(self.row, self.batch.case)
        if name == "case":
            return self.batch.case.id
        if name == "id":
            return self.batch.ids[self.row]
        if name == "array" and self.array:
            return self.array
        if name in self.batch.attributes:
            value = self.batch.attributes[name][self.row]
            if value is not np.ma.masked:
                return plain(value)
        return RowValues(self.batch.rois, self.row, self.batch.case)[name]

    def __iter__(self) -> Iterator[str]:
        own = ["case", "roi", "id", *(["array"] if self.array else ())]
        return iter(dict.fromkeys([*own, *self.batch.sample_attributes(self.row), *self.batch.rois.corners(self.row)]))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def render_paths(template: PathTemplate, batch: Batch, array: str = "*") -> list[str]:
    """The path of each sample of a batch.

    Args:
        array: what ``{array}`` becomes; a star for all arrays of a sample at once, whose names are not known before they are cut.
    """
    filled = fill_in_columns(template.text, lambda name: _texts(batch, name, array))
    if filled is None:
        return [template.render(SampleValues(batch, row, array)) for row in range(len(batch))]
    return [check_relative(path) for path in filled]


def _texts(batch: Batch, name: str, array: str) -> Iterable[str] | None:
    """What a field of a path becomes for every sample, where it is text or whole numbers; None: see ``SampleValues``."""
    if name == "roi":
        return batch.rois.roi_names(batch.case)
    if name == "case":
        return repeat(batch.case.id)
    if name == "id":
        return batch.ids
    if name == "array" and array:
        return repeat(array)
    if name in batch.attributes:
        return column_texts(batch.attributes[name])
    return batch.rois.texts(name, batch.case)


def unique_in_case(template: PathTemplate) -> bool:
    """Whether samples of different cases cannot take one path: a folder or file name has ``{case}``, unformatted, as its only field."""
    return any("{case}" in part and PathTemplate(part).fields == ("case",) for part in template.text.split("/"))


class FileWriter(Writer):
    """A writer of one file for each array of each sample.

    Subclasses have an option ``path`` and say how one array is written and read.
    """

    path: str

    @abstractmethod
    def write_array(self, path: Path, values: NDArray, grid: Grid, attributes: Mapping[str, Plain]) -> None:
        """Write one array into a new file; its folder is there.

        Raises:
            StepError: the format cannot hold it.
        """

    def selected(self, batch: Batch) -> list[str]:
        """Names of the arrays that are written; all by default."""
        return list(batch.arrays)

    def paths(self, batch: Batch) -> list[str]:
        return render_paths(PathTemplate(self.path), batch)

    def unique_in_case(self) -> bool:
        return unique_in_case(PathTemplate(self.path))

    def open(self, part: Path, context: Context) -> WriteSession:
        return _FileSession(self, part, context)


class _FileSession(WriteSession):
    """Files of one part."""

    def __init__(self, writer: FileWriter, part: Path, context: Context) -> None:
        self.writer, self.part, self.context = writer, part, context
        self.template = PathTemplate(writer.path)
        self._folders: set[str] = set()

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        names = self.writer.selected(batch)
        if len(names) > 1 and "array" not in self.template.fields:
            message = f"the samples have the arrays {', '.join(names)}, which would share the path {self.writer.path!r}"
            raise StepError(message, hint="add {array} to the path, or write only one")
        placed: list[Mapping[str, Placement]] = []
        paths = {name: render_paths(self.template, batch, name) for name in names}
        for row in range(len(batch)):
            placements = {}
            for name in names:
                relative = paths[name][row]
                folder = relative.rpartition("/")[0]
                if folder not in self._folders:
                    (self.part / folder).mkdir(parents=True, exist_ok=True)
                    self._folders.add(folder)
                target = self.part / relative
                array: Any = batch.arrays[name][row]
                self.writer.write_array(target, array, batch.grids[name](row), SampleValues(batch, row, name))
                placements[name] = Placement(relative, None, tuple(array.shape), array.dtype.str)
            placed.append(placements)
        return placed
