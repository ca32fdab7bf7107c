"""Small components that keep every rule, for the kit's own tests to break one rule at a time."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen

from curate_core.arrays import MapArray, NDArray, read
from curate_core.batch import Batch
from curate_core.errors import SourceError, StepError
from curate_core.grid import Grid
from curate_core.kinds import (
    CASE,
    DATASET,
    Context,
    Features,
    Filter,
    Piece,
    Placement,
    Preprocessor,
    Reader,
    RoiFinder,
    Scope,
    Transform,
    Verdict,
    Worker,
    Writer,
    WriteSession,
)
from curate_core.model import Case, Image, LayerSource, Plain
from curate_core.options import option
from curate_core.rois import RoiTable
from curate_core.templates import PathTemplate

MAGIC = b"TOY1"


def write_toy(path: Path, array: NDArray, spacing: Sequence[float]) -> Path:
    """Magic, length of the header, header as JSON, voxels."""
    header = json.dumps({"shape": array.shape, "dtype": array.dtype.str, "spacing": list(spacing)}).encode()
    path.write_bytes(MAGIC + len(header).to_bytes(4, "little") + header + array.tobytes())
    return path


@frozen
class ToyReader(Reader):
    """A memory-mapped format."""

    def sniff(self, path: Path) -> str | None:
        with path.open("rb") as file:
            return None if file.read(4) == MAGIC else "it does not begin with TOY1"

    def open(self, source: LayerSource, context: Context) -> Image:
        (path,) = source.files
        try:
            reason = self.sniff(path)
            if reason:
                raise SourceError(reason, where=str(path))
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8)[4:], "little")
                header = json.loads(file.read(length))
            array = np.memmap(path, np.dtype(header["dtype"]), "r", 8 + length, tuple(header["shape"]))
        except (OSError, ValueError) as error:
            message = f"not a whole toy file: {error}"
            raise SourceError(message, where=str(path)) from error
        return Image(array, Grid.from_spacing(array.shape, "zyx", header["spacing"], "nm"))

    def resident(self, source: LayerSource) -> int:
        return 0


@frozen
class ToyWriter(Writer):
    """One .npy file a sample."""

    path: str = option(doc="Where each sample goes.", default="{case}/{roi}.npy")

    def paths(self, batch: Batch) -> list[str] | None:
        template = PathTemplate(self.path)
        names = [batch.rois.roi_name(row, batch.case) for row in range(len(batch))]
        return [template.render({"case": batch.case.id, "roi": name}) for name in names]

    def unique_in_case(self) -> bool:
        return True

    def open(self, part: Path, context: Context) -> WriteSession:
        return ToySession(self, part)

    def save(self, path: Path, array: NDArray) -> None:
        np.save(path, array, allow_pickle=False)

    def read(self, path: Path, place: Plain) -> NDArray:
        return np.load(path, allow_pickle=False)


class ToySession(WriteSession):
    def __init__(self, writer: ToyWriter, part: Path) -> None:
        self.writer, self.part = writer, part

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        made: list[Mapping[str, Placement]] = []
        for row, file in enumerate(self.writer.paths(batch) or []):
            array = batch.array("image")[row]
            path = self.part / file
            path.parent.mkdir(parents=True, exist_ok=True)
            self.writer.save(path, array)
            made.append({"image": Placement(file, None, array.shape, array.dtype.str)})
        return made


@frozen
class ToyStack(Writer):
    """One stack of equal shapes for the whole dataset, raw bytes; the place is the offset."""

    def paths(self, batch: Batch) -> list[str] | None:
        return None

    def open(self, part: Path, context: Context) -> WriteSession:
        return StackSession(part)

    def assembles(self) -> bool:
        return True

    def assemble(self, out: Path, pieces: Sequence[Piece], context: Context) -> list[Plain]:
        places: list[Plain] = []
        with out.open("wb") as file:
            for piece in pieces:
                array = self.read(piece.path, piece.place)
                places.append({"offset": file.tell(), "shape": list(array.shape), "dtype": array.dtype.str})
                file.write(array.tobytes())
        return places

    def read(self, path: Path, place: Any) -> NDArray:
        with path.open("rb") as file:
            file.seek(place["offset"])
            count = int(np.prod(place["shape"]))
            return np.fromfile(file, np.dtype(place["dtype"]), count).reshape(place["shape"])


class StackSession(WriteSession):
    def __init__(self, part: Path) -> None:
        self.file = (part / "stack.raw").open("wb")

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        made: list[Mapping[str, Placement]] = []
        for array in batch.array("image"):
            place: Plain = {"offset": self.file.tell(), "shape": list(array.shape), "dtype": array.dtype.str}
            made.append({"image": Placement("stack.raw", place, array.shape, array.dtype.str)})
            self.file.write(array.tobytes())
        return made

    def close(self) -> None:
        self.file.close()


@frozen
class ToyFinder(RoiFinder):
    """Boxes around bright voxels, some of them drawn."""

    size: int = option(doc="Edge of the boxes in voxels.", default=3, ge=1)
    count: int = option(doc="How many to draw.", default=5, ge=1)

    def find(self, case: Case, context: Context) -> RoiTable:
        shape = case.image().array.shape
        if min(shape) < self.size:
            message = f"boxes of {self.size} do not fit"
            raise StepError(message)
        start = context.rng().integers(0, np.array(shape) - self.size + 1, (self.count, len(shape)))
        return RoiTable.boxes(start, start + self.size, case.image().grid.axes)


@frozen
class ToyFilter(Filter):
    """Drops dark samples."""

    least: float = option(doc="The least mean to keep.", default=50.0)

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        flat = batch.array().reshape(len(batch), -1)
        return {"mean": np.array([row.mean(dtype=np.float64) for row in flat])}

    def keep(self, features: Features, context: Context) -> Verdict:
        return Verdict(features.columns["mean"] >= self.least, features.columns["mean"])


@frozen
class ToyUnique(Filter):
    """Keeps the first of equal samples."""

    def scope(self) -> Scope:
        return CASE

    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        return {"sum": batch.array().reshape(len(batch), -1).sum(axis=1, dtype=np.int64)}

    def keep(self, features: Features, context: Context) -> Verdict:
        because = np.full(len(features), -1, np.int64)
        seen: dict[int, int] = {}
        order = np.concatenate([np.flatnonzero(features.existing), np.flatnonzero(~features.existing)])
        for row in order.tolist():
            first = seen.setdefault(int(features.columns["sum"][row]), row)
            because[row] = -1 if first == row or features.existing[row] else first
        return Verdict(because < 0, because=because)


@frozen
class ToyTransform(Transform):
    """Half the brightness."""

    def apply(self, batch: Batch, context: Context) -> Batch:
        return batch.with_array("image", batch.array() // 2)


@frozen
class ToyLevel(Transform):
    """Brightness as a share of the greatest and of the mean over the case, which its model finds."""

    def setup(self, worker: Worker) -> Any:
        return {"greatest": np.max, "sum": np.sum}

    def statistics_scope(self) -> Scope | None:
        return CASE

    def measure(self, batch: Batch, context: Context) -> Plain:
        array = batch.array()
        return {"greatest": int(context.state["greatest"](array)), "sum": int(context.state["sum"](array)), "count": array.size}

    def merge(self, partials: Sequence[Any]) -> Plain:
        sums = {name: sum(partial[name] for partial in partials) for name in ("sum", "count")}
        return {"greatest": max(partial["greatest"] for partial in partials), **sums}

    def apply(self, batch: Batch, context: Context) -> Batch:
        found: Any = context.statistics
        return batch.with_array("image", batch.array() / found["greatest"] * (found["sum"] / found["count"]))


@frozen
class ToyFloor(Preprocessor):
    """Subtracts the least value over the dataset, which its model finds."""

    def setup(self, worker: Worker) -> Any:
        return np.min

    def statistics_scope(self) -> Scope | None:
        return DATASET

    def measure(self, case: Case, context: Context) -> Plain:
        return [int(context.state(read(case.image().array)))]

    def merge(self, partials: Sequence[Any]) -> Plain:
        return [min(partial[0] for partial in partials)]

    def apply(self, case: Case, context: Context) -> Case:
        (least,), image = context.statistics, case.image()  # type: ignore[misc]
        return case.with_layers({"image": image.with_array(MapArray(image.array, lambda a: a - np.uint8(least), image.dtype))})


@frozen
class ToyPreprocessor(Preprocessor):
    """Swaps dark and bright."""

    def apply(self, case: Case, context: Context) -> Case:
        return case.with_layers({name: i.with_array(MapArray(i.array, np.invert, i.dtype)) for name, i in case.images().items()})


def run_kit(cls: type[Any], folder: Path, only: str = "") -> dict[str, str]:
    """Run the tests of one of the kit's classes; failing test's name -> message. Skipped ones are left out.

    Args:
        cls: a subclass of one of the base classes.
        folder: an empty one; each test gets its own below it.
        only: run just the test of this name.
    """
    failed: dict[str, str] = {}
    for name in sorted(dir(cls)):
        if not name.startswith("test_") or only not in ("", name):
            continue
        test = getattr(cls(), name)
        own = folder / name
        own.mkdir(parents=True)
        try:
            test(**{"tmp_path": own} if "tmp_path" in inspect.signature(test).parameters else {})
        except pytest.skip.Exception:
            continue
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    return failed


def failures(tmp_path: Path, base: type[Any], component: type[Any], **claims: Any) -> dict[str, str]:
    """What the kit's class finds wrong with a component, under claims of its own."""
    return run_kit(type("Claims", (base,), {"component": component, **claims}), tmp_path)
