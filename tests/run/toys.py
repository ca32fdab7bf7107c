"""Small components for tests of the runner: written as a stranger's plugin would be, numpy only."""

from pathlib import Path

import numpy as np
from attrs import frozen

from curate_core import CaseSource, Grid, Image, LayerSource, RoiTable, Scope, option
from curate_core.hookspec import hookimpl
from curate_core.kinds import Filter, Placement, Reader, RoiFinder, Source, Transform, Verdict, Writer, WriteSession
from curate_core.providers import Provider
from curate_core.writing import FileWriter

CURATE_HOOK_API = 1


@hookimpl
def curate_register_sources():
    yield Provider("source", "toy-files", "Every .toy file of a folder.", "toys:ToyFiles")


@hookimpl
def curate_register_readers():
    yield Provider("reader", "toy", "An array saved as .toy.", "toys:ToyReader", suffixes=(".toy",))


@hookimpl
def curate_register_roi_finders():
    yield Provider("roi_finder", "toy-grid", "Square sections.", "toys:ToyGrid")
    yield Provider("roi_finder", "toy-shifted", "Square sections, some of them outside.", "toys:ToyShifted")


@hookimpl
def curate_register_transforms():
    yield Provider("transform", "toy-scale", "Divides by the largest value.", "toys:ToyScale")
    yield Provider("transform", "toy-slow", "Twice the value, slowly.", "toys:ToySlow")
    yield Provider("transform", "toy-double", "Twice the value; refuses a first value of zero.", "toys:ToyDouble")


@hookimpl
def curate_register_filters():
    yield Provider("filter", "toy-bright", "Keeps bright samples.", "toys:ToyBright")
    yield Provider("filter", "toy-unique", "One sample for each largest value.", "toys:ToyUnique")
    yield Provider("filter", "toy-wrong", "Breaks the contract.", "toys:ToyWrong")
    yield Provider("filter", "toy-first", "The first so many, without pixels.", "toys:ToyFirst")


@hookimpl
def curate_register_writers():
    yield Provider("writer", "toy-file", "A .npy file a sample.", "toys:ToyFile")
    yield Provider("writer", "toy-stack", "All samples in one file.", "toys:ToyStack")


@frozen
class ToyFiles(Source):
    """Every .toy file of a folder."""

    folder: Path = option(doc="Where they are.")

    def find(self):
        for path in sorted(self.folder.glob("*.toy")):
            yield CaseSource(path.stem, {"em": LayerSource((path,))}, {"group": path.stem[:1]}, root=self.folder)


@frozen
class ToyReader(Reader):
    """An array saved as .toy."""

    patience: int = option(doc="Nothing that matters.", default=1, keyed=False)

    def open(self, source, context):
        array = np.load(source.files[0], mmap_mode="r", allow_pickle=False)
        return Image(array, Grid.from_spacing(array.shape, "zyx"))


@frozen
class ToyGrid(RoiFinder):
    """Square sections."""

    size: int = option(doc="Voxels along y and x.", default=8, ge=1)

    def find(self, case, context):
        depth, height, width = case.image().grid.shape
        axes = [np.arange(depth), np.arange(0, height - self.size + 1, self.size), np.arange(0, width - self.size + 1, self.size)]
        start = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        stop = start + [1, self.size, self.size]
        columns = {"half": np.where(start[:, 0] < depth // 2, "low", "high")}
        return RoiTable.boxes(start, stop, "zyx", drop=np.zeros(len(start), np.int8), attributes=columns)


@frozen
class ToyShifted(ToyGrid):
    """Square sections; those that leave the volume are refused."""

    shift: int = option(doc="How far along x.", default=0)
    refuse: int | None = option(doc="One more row to refuse.", default=None)

    def find(self, case, context):
        table = super().find(case, context)
        moved = table.views[0].start + [0, 0, self.shift], table.views[0].stop + [0, 0, self.shift]
        width = case.image().grid.shape[2]
        for row in np.flatnonzero(moved[1][:, 2] > width):
            context.reject(row, f"it ends at x = {moved[1][row, 2]} of {width}")
        if self.refuse is not None:
            context.reject(self.refuse, "because")
        return RoiTable.boxes(*moved, "zyx", drop=table.views[0].drop, attributes=table.attributes)


@frozen
class ToyScale(Transform):
    """Divides by the largest value."""

    over: Scope = option(doc="Over what.", default=Scope("case"))

    def statistics_scope(self):
        return self.over

    def measure(self, batch, context):
        return float(batch.array().max())

    def merge(self, partials):
        return max(partials)

    def apply(self, batch, context):
        return batch.with_array("em", (batch.array() / context.statistics).astype(np.float32))


@frozen
class ToyDouble(Transform):
    """Twice the value; refuses a first value of zero."""

    def apply(self, batch, context):
        for row in np.flatnonzero(batch.array()[:, 0, 0] == 0):
            context.reject(row, "the first value is zero")
        return batch.with_array("em", batch.array() * 2)


@frozen
class ToySlow(ToyDouble):
    """Twice the value, a few samples a unit."""

    most: int = option(doc="Samples of a unit.", default=10)

    def unit_samples(self):
        return self.most


@frozen
class ToyBright(Filter):
    """Keeps bright samples."""

    min: float = option(doc="Least mean.", default=0.0)

    def score(self, batch, context):
        return {"mean": batch.array().reshape(len(batch), -1).mean(axis=1)}

    def keep(self, features, context):
        return Verdict(features.columns["mean"] > self.min, features.columns["mean"])


@frozen
class ToyUnique(Filter):
    """One sample for each largest value."""

    within: Scope = option(doc="Over what.", default=Scope("case"))

    def scope(self):
        return self.within

    def score(self, batch, context):
        return {"value": batch.array().reshape(len(batch), -1).max(axis=1)}

    def keep(self, features, context):
        values = features.columns["value"]
        order = np.argsort(~features.existing, kind="stable")
        _, first, inverse = np.unique(values[order], return_index=True, return_inverse=True)
        winner = order[first][inverse][np.argsort(order)]
        keep = winner == np.arange(len(values))
        return Verdict(keep, because=np.where(keep, -1, winner))


@frozen
class ToyWrong(Filter):
    """Breaks the contract."""

    how: str = option(doc="Which part of it.", choices=("score", "keep", "raise"))
    within: Scope = option(doc="Over what.", default=Scope("case"))

    def scope(self):
        return self.within

    def score(self, batch, context):
        if self.how == "raise":
            raise ZeroDivisionError("by zero")
        return {"value": np.zeros(len(batch) + (self.how == "score"))}

    def keep(self, features, context):
        return Verdict(np.ones(len(features) + 1, bool))


@frozen
class ToyFirst(Filter):
    """The first so many, without pixels."""

    count: int = option(doc="How many.")
    within: Scope = option(doc="Over what.", default=Scope("case"))

    def scope(self):
        return self.within

    def needs_pixels(self):
        return False

    def score(self, batch, context):
        return {"none": np.zeros(len(batch))}

    def keep(self, features, context):
        return Verdict(np.arange(len(features)) < self.count)


@frozen
class ToyFile(FileWriter):
    """A .npy file a sample."""

    path: str = option(doc="Where to.", default="{case}/{roi}.npy")

    def write_array(self, path, values, grid, attributes):
        np.save(path, values, allow_pickle=False)

    def read(self, path, place):
        return np.load(path, allow_pickle=False)


@frozen
class ToyStack(Writer):
    """All samples in one file."""

    def paths(self, batch):
        return None

    def unique_in_case(self):
        return True

    def assembles(self):
        return True

    def open(self, part, context):
        return _Stacking(part)

    def assemble(self, out, pieces, context):
        with out.open("wb") as file:
            np.save(file, np.stack([self.read(piece.path, piece.place) for piece in pieces]), allow_pickle=False)
        return list(range(len(pieces)))

    def read(self, path, place):
        return np.load(path, mmap_mode="r", allow_pickle=False)[place]


class _Stacking(WriteSession):
    def __init__(self, part):
        self.part, self.arrays = part, []

    def write(self, batch):
        first = sum(len(array) for array in self.arrays)
        values = batch.array()
        self.arrays.append(values)
        return [{"em": Placement("all.npy", first + i, values.shape[1:], values.dtype.str)} for i in range(len(batch))]

    def close(self):
        if self.arrays:
            np.save(self.part / "all.npy", np.concatenate(self.arrays), allow_pickle=False)
