"""Curated datasets as sources: the samples of each of their cases become one layer, to be filtered or rewritten.

The layer is a stack of the samples along an axis ``n``, padded to the largest of them; the ROI finder ``samples`` cuts each at its own
size again, with its attributes. So filters see batches, however the samples are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from attrs import frozen

from curate_core.arrays import Box, LazyArray, NDArray
from curate_core.dataset import Dataset
from curate_core.digest import key_of
from curate_core.errors import RequestError, SourceError, StepError
from curate_core.grid import Grid
from curate_core.kinds import Context, Reader, RoiFinder, Source
from curate_core.layout import DATASET
from curate_core.model import Case, CaseSource, Image, Layer, LayerSource, Plain
from curate_core.options import option
from curate_core.rois import RoiTable

AXES = {1: "x", 2: "yx", 3: "zyx", 4: "zyxc"}


@frozen
class DatasetSource(Source):
    """The samples of one or several curated datasets, to filter or rewrite them.

    Example::

        "source": {"use": "dataset", "path": ["out/em", "out/video"]},
        "read": {"*": {"use": "samples"}},
        "rois": [{"use": "samples"}]
    """

    version: ClassVar[int] = 1
    path: Path | tuple[Path, ...] = option(doc="Folder of a finished dataset, or of several.")
    arrays: tuple[str, ...] | None = option(doc="Arrays to take; null: all that every sample has.", default=None)

    def find(self) -> Iterable[CaseSource]:
        paths = [self.path] if isinstance(self.path, Path) else list(self.path)
        for path in paths:
            dataset = _dataset(path)
            prefix = f"{path.name}/" if len(paths) > 1 else ""
            for case, rows in _rows_by_case(path).items():
                names = self.arrays or tuple(name for name in rows[0]["arrays"] if all(name in row["arrays"] for row in rows))
                layers = {}
                for name in names:
                    if any(name not in row["arrays"] for row in rows):
                        message = f"not every sample of case {case} has the array {name!r}"
                        raise RequestError(message, where=str(path), hint=f"it has {', '.join(rows[0]['arrays'])}")
                    content = key_of([[row["id"], row["sha256"][name], row["attributes"], row["scores"]] for row in rows])
                    layers[name] = LayerSource(
                        uri=f"{path.name}/{case}", options={"dataset": str(path), "case": case, "array": name, "content": content}
                    )
                attributes: dict[str, Plain] = {"dataset": dataset.summary["name"], "group": path.name}
                yield CaseSource(prefix + case, layers, attributes, root=path)


@frozen
class SamplesReader(Reader):
    """The samples of one case of a curated dataset, as a stack.

    The source ``dataset`` fills in its options.

    Example::

        "source": {"use": "dataset", "path": "out/em"},
        "read": {"*": {"use": "samples"}}
    """

    version: ClassVar[int] = 1
    dataset: Path | None = option(doc="Folder of the dataset.", default=None)
    case: str = option(doc="Id of the case in it.", default="")
    array: str = option(doc="Name of the array.", default="")
    content: str = option(doc="Hash of what the samples are.", default="")

    def open(self, source: LayerSource, context: Context) -> Layer:
        if self.dataset is None:
            message = "the layer comes from no curated dataset"
            raise SourceError(message, where=source.describe(), hint='use the source "dataset"')
        rows = _rows_by_case(self.dataset).get(self.case)
        if rows is None:
            message = f"the dataset {self.dataset} has no case {self.case!r}"
            raise SourceError(message, where=source.describe())
        if any(self.array not in row["arrays"] for row in rows):
            message = f"not every sample of case {self.case!r} has the array {self.array!r}"
            raise SourceError(message, where=source.describe())
        dtypes = sorted({row["arrays"][self.array]["dtype"] for row in rows})
        ranks = {len(row["arrays"][self.array]["shape"]) for row in rows}
        if len(dtypes) != 1 or len(ranks) != 1 or not ranks <= set(AXES):
            message = f"samples with dtypes {dtypes} and {sorted(ranks)} axes make no stack: one of each is needed, and at most 4 axes"
            raise SourceError(message, where=source.describe())
        stack = _Stack(self.dataset, self.case, self.array)
        grid = Grid.from_spacing(stack.shape, "n" + AXES[ranks.pop()])
        return Image(stack, grid, {"dataset": self.dataset.name, "case": self.case, "array": self.array})

    def resident(self, source: LayerSource) -> int:
        return 0


@frozen
class SampleRois(RoiFinder):
    """The samples of a curated dataset as they are, with their attributes and scores.

    ``sample`` is the place that each was cut from; ``stem`` its file there, folders included, without the ending, where each has one of
    its own.

    Example::

        "rois": [{"use": "samples"}]
    """

    version: ClassVar[int] = 1
    layer: str | None = option(doc="The layer whose samples' sizes count; null: the first.", default=None)

    def find(self, case: Case, context: Context) -> RoiTable:
        images = {name: image for name, image in case.images().items() if isinstance(_stack_of(image), _Stack)}
        chosen = self.layer or next(iter(images), None)
        if chosen not in images:
            message = "the case comes from no curated dataset"
            raise StepError(message, where=f"case {case.id}", hint='use the source "dataset" and the reader "samples"')
        stack = _stack_of(images[chosen])
        assert isinstance(stack, _Stack)
        rows, shapes = stack.rows, stack.shapes
        start = np.zeros((len(rows), stack.ndim), np.int64)
        start[:, 0] = np.arange(len(rows))
        stop = np.concatenate([start[:, :1] + 1, shapes], axis=1)
        columns = _columns([{**row["attributes"], **{f"score_{k}": v for k, v in row["scores"].items()}} for row in rows])
        columns = {name: column for name, column in columns.items() if name not in case.attributes}
        files = [row["arrays"][images[chosen].notes["array"]] for row in rows]
        if all(placement.get("place") is None for placement in files):
            stems = [PurePosixPath(placement["file"]).with_suffix("").as_posix() for placement in files]
            columns["stem"] = np.char.encode(np.array(stems), "utf-8")
        columns["sample"] = np.char.encode(np.array([row["id"].partition(":")[2] for row in rows]), "utf-8")
        drop = np.zeros(len(rows), np.int8)
        table = RoiTable.boxes(start, stop, images[chosen].grid.axes, drop=drop, attributes=columns, name="{sample}")
        return RoiTable(table.views, table.attributes, table.name, identity="sample")


class _Stack(LazyArray):
    """Samples of one array of one case along axis 0, padded with zeros to the largest."""

    def __init__(self, dataset: Path, case: str, array: str) -> None:
        self.source = (dataset, case, array)
        self.shapes: NDArray = np.array([row["arrays"][array]["shape"] for row in self.rows], np.int64)
        self.shape = (len(self.shapes), *(int(n) for n in self.shapes.max(axis=0)))
        self.dtype = np.dtype(self.rows[0]["arrays"][array]["dtype"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Manifest rows of the samples."""
        return _rows_by_case(self.source[0])[self.source[1]]

    def read_box(self, where: Box) -> NDArray:
        dataset = _dataset(self.source[0])
        out = np.zeros([s.stop - s.start for s in where], self.dtype)
        for i, number in enumerate(range(where[0].start, where[0].stop)):
            values = np.asarray(dataset.read(self.rows[number]["arrays"][self.source[2]]))[where[1:]]
            target: Any = (i, *(slice(0, n) for n in values.shape))
            out[target] = values
        return out


def _stack_of(image: Image) -> object:
    """The stack behind lazy steps."""
    array: Any = image.array
    while not isinstance(array, _Stack) and hasattr(array, "base"):
        array = array.base
    return array


def _dataset(path: Path) -> Dataset:
    return _opened(path, _stamp(path))[0]


def _rows_by_case(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Manifest rows of a dataset by case, in manifest order."""
    return _opened(path, _stamp(path))[1]


def _stamp(path: Path) -> tuple[int, int]:
    """Changes whenever a run has changed the dataset."""
    try:
        found = (path / DATASET).stat()
    except OSError:
        return (0, 0)  # opening it says what is missing
    return (found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=8)
def _opened(path: Path, stamp: tuple[int, int]) -> tuple[Dataset, dict[str, list[dict[str, Any]]]]:
    """A dataset and its manifest rows by case; read again when it has changed."""
    dataset = Dataset(path)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in dataset.rows():
        found.setdefault(row["case"], []).append(row)
    return dataset, found


def _columns(rows: list[Mapping[str, Any]]) -> dict[str, NDArray]:
    """Attributes as columns, masked where a row has none; those that no column holds (lists, mixed types) are left out."""
    columns: dict[str, NDArray] = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(name) for row in rows]
        present = [value for value in values if value is not None]
        kinds = {type(value) for value in present}
        if not present or not kinds <= {bool, int, float, str} or (len(kinds) > 1 and kinds != {int, float}):
            continue
        fill = type(present[0])()
        column = np.array([fill if value is None else value for value in values])
        columns[name] = column if len(present) == len(values) else np.ma.MaskedArray(column, [value is None for value in values])
    return columns
