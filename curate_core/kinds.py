"""The kinds of component and their contracts: what a plugin author subclasses.

A component is a frozen attrs class: its fields are its options in the spec (see :func:`curate_core.options.option`), its methods
are its work. Components hold no state; what they need at work comes from ``setup`` and reaches them through the context.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen

from curate_core.arrays import ArrayLike, NDArray
from curate_core.batch import Batch
from curate_core.context import CASE, DATASET, SAMPLE, Context, Scope, Worker, generator
from curate_core.model import Case, CaseSource, Image, Layer, LayerSource, Plain, Tractogram
from curate_core.rois import RoiTable
from curate_core.storing import Piece, Placement

if TYPE_CHECKING:
    import argparse

HOOK_API = 1
"""Version of the contract; a plugin module states the one it was written for as ``CURATE_HOOK_API``."""


class Component(ABC):
    """Base of all kinds."""

    version: ClassVar[int] = 1
    """Raised whenever the output of the component changes for the same input and options."""

    def setup(self, worker: Worker) -> Any:
        """Get what the work needs in this process (a model, a handle); reaches the methods as ``context.state``."""
        return None

    def estimate(self, nbytes: int) -> int:
        """Peak bytes that one call needs for an input of ``nbytes``; for the admission control."""
        return 2 * nbytes

    def needs(self) -> Mapping[str, float]:
        """What a worker must have beside memory, such as ``{"gpu": 1}``; engines give a unit such a worker where there is any."""
        return {}


class Source(Component):
    """Which cases are there?"""

    @abstractmethod
    def find(self) -> Iterable[CaseSource]:
        """Find the cases, in an order that depends on names alone; reads no pixels.

        Raises:
            RequestError: nothing found, or two cases of one id.
        """

    def find_seeded(self, seed: int) -> Iterable[CaseSource]:
        """The cases of a spec with this seed: what the runner asks. Sources that draw among cases replace it."""
        return self.find()


class Reader(Component):
    """How is a layer opened?"""

    many: ClassVar[bool] = False
    """Takes all files of a layer at once (a DICOM series); others are opened one by one and joined."""

    def sniff(self, path: Path) -> str | None:
        """Why this reader cannot take the file or folder, from a look at its first bytes; None when it can."""
        return None

    @abstractmethod
    def open(self, source: LayerSource, context: Context) -> Layer:
        """Open a layer lazily, with its true grid.

        Raises:
            SourceError: the file cannot be read; says what was expected of it.
        """

    def companions(self, path: Path) -> tuple[Path, ...]:
        """Other files that a file leads to (the voxels beside a header), so that their content joins the keys."""
        return ()

    def describe(self, path: Path) -> Mapping[str, Plain] | None:
        """What ``curate info`` tells of a file of many layers, a list being lines below; None: it opens the layer and tells of that."""
        return None

    def faults(self, path: Path) -> Sequence[str] | None:
        """What ``curate verify`` finds wrong with a file against the layout that it claims; None: there is none to verify."""
        return None

    def resident(self, source: LayerSource) -> int:
        """Bytes of anonymous memory that the opened layer holds: 0 where it is memory-mapped or read box by box."""
        return sum(file.stat().st_size for file in source.files if file.exists())


class Measuring(Component):
    """A step that may need a value measured over more than it is given: a scale over a case, a mean over the dataset."""

    def statistics_scope(self) -> Scope | None:
        """Over what the step measures; None: it measures nothing with these options."""
        return None

    def merge(self, partials: Sequence[Plain]) -> Plain:
        """One value from the partials, at least one, which come in case order; for samples, partials may be values merged before."""
        raise NotImplementedError


class Preprocessor(Measuring):
    """What should the case look like?"""

    @abstractmethod
    def apply(self, case: Case, context: Context) -> Case:
        """Another case; lazy where it can be; the given one and its arrays stay as they are."""

    def measure(self, case: Case, context: Context) -> Plain:
        """This case's share of the statistics, as plain values; None: it has none."""
        raise NotImplementedError


class RoiFinder(Component):
    """Where are the samples?"""

    @abstractmethod
    def find(self, case: Case, context: Context) -> RoiTable:
        """The ROIs of a case in a stable order, the same for the same seed (``context.rng()``).

        ``context.reject(row, reason)`` sets one aside, such as a listed place that lies outside: the others go on.
        """


class Transform(Measuring):
    """What becomes of a cut sample?"""

    @abstractmethod
    def apply(self, batch: Batch, context: Context) -> Batch:
        """One sample out for each in; may replace, add or remove arrays and attributes."""

    def unit_samples(self) -> int | None:
        """Most samples of one unit, where each takes so long that several workers should share a case; None: as memory allows."""
        return None

    def measure(self, batch: Batch, context: Context) -> Plain:
        """This batch's share of the statistics, as plain values; None: it has none."""
        raise NotImplementedError


@frozen(eq=False)
class Features:
    """What a filter's ``score`` said of all samples that it judges together, in manifest order.

    Attributes:
        columns: name -> (n, ...) values, as ``score`` returned them.
        existing: (n,) bool: the sample was kept by the dataset that this run continues.
        id_of: index -> sample id.
    """

    columns: Mapping[str, NDArray]
    existing: NDArray
    id_of: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.existing)


@frozen(eq=False)
class Verdict:
    """Which samples stay.

    Attributes:
        keep: (n,) bool.
        score: (n,) values for the manifest and ``dropped.jsonl``; None: nothing to say.
        because: (n,) int64: index of the kept sample on whose account this one goes, -1 for none; None: never one.
    """

    keep: NDArray
    score: NDArray | None = None
    because: NDArray | None = None


class Filter(Component):
    """Which samples stay?"""

    def scope(self) -> Scope:
        """Which samples are judged together."""
        return SAMPLE

    def needs_pixels(self) -> bool:
        """False: ``score`` looks at ROIs and attributes only, so nothing need be cut for it."""
        return True

    @abstractmethod
    def score(self, batch: Batch, context: Context) -> Mapping[str, NDArray]:
        """Feature columns of a batch: name -> (n, ...) of a fixed dtype."""

    @abstractmethod
    def keep(self, features: Features, context: Context) -> Verdict:
        """Judge the samples of one group by their features alone."""


class WriteSession(ABC):
    """Writing one unit's samples into its part."""

    @abstractmethod
    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        """Write the samples of a batch; for each, array name -> where it lies relative to the part, from where it can be read at once."""

    def close(self) -> None:
        """Finish the part's files."""

    def __enter__(self) -> WriteSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Writer(Component):
    """How is a sample stored?"""

    @abstractmethod
    def paths(self, batch: Batch) -> list[str] | None:
        """For each sample the path that it alone will take, without cutting it; None: samples share files."""

    def unique_in_case(self) -> bool:
        """True: samples of different cases cannot take one path, so that cases need not wait for each other."""
        return False

    @abstractmethod
    def open(self, part: Path, context: Context) -> WriteSession:
        """Begin a unit's part: files under the folder ``part``, at their paths relative to the dataset."""

    def assembles(self) -> bool:
        """True: files are shared by units; at commit ``assemble`` makes each anew from the pieces."""
        return False

    def assemble(self, out: Path, pieces: Sequence[Piece], context: Context) -> list[Plain]:
        """Make one shared file at ``out`` from pieces in manifest order; returns the new place of each."""
        raise NotImplementedError

    def index(self) -> str:
        """Path of one more file that a commit makes, which leads to the others; empty: none."""
        return ""

    def make_index(self, out: Path, pieces: Sequence[Piece]) -> None:
        """Make that file at ``out``, from pieces in manifest order; their paths are relative to the dataset's folder."""
        raise NotImplementedError

    @abstractmethod
    def read(self, path: Path, place: Plain) -> NDArray | Tractogram:
        """Read back what ``write`` or ``assemble`` put at a place."""

    def lazy(self, path: Path, place: Plain) -> ArrayLike | Tractogram:
        """The same without reading it yet, where the file can be read box by box; its handle stays open as long as the result."""
        return self.read(path, place)


@frozen
class Unit:
    """What one worker does and commits at once.

    Attributes:
        key: names the unit and what it depends on.
        label: what to call it in messages: the case, and the block of it.
        task: what to do, for the runner's function; plain, picklable.
        nbytes: estimate of the memory it needs.
        case: id of its case: the worker that did the last unit of a case may still have it open.
        resources: name -> amount of what its steps need beside memory.
    """

    key: str
    label: str
    task: Any
    nbytes: int = 0
    case: str = ""
    resources: Mapping[str, float] = field(factory=dict)


def most_of(asked: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """What one worker must have for several needs, which it meets one after the other."""
    found: dict[str, float] = {}
    for needs in asked:
        found |= {name: max(amount, found.get(name, 0)) for name, amount in needs.items()}
    return found


@frozen
class Outcome:
    """What became of a unit.

    Attributes:
        status: ``done``; ``failed``: it raised ``error``; ``lost``: its worker died, ``error`` says how.
        value: what the work returned.
    """

    unit: Unit
    status: Literal["done", "failed", "lost"]
    value: Any = None
    error: Exception | None = None


class EngineSession(ABC):
    """Workers that wait for units; a context manager."""

    def check(self, units: Iterable[Unit]) -> None:
        """Called with all units of a round before any is begun.

        Raises:
            RequestError: one can never be done here.
        """

    @abstractmethod
    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """Do the units in any order, report each as it ends; closing the iterator early abandons what is in progress."""

    def run_alone(self, unit: Unit) -> Outcome:
        """Do a unit that was lost once, with nothing else at work."""
        return next(iter(self.run([unit])))

    def close(self) -> None:
        """Let the workers go."""

    def __enter__(self) -> EngineSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Engine(Component):
    """Who does the units?"""

    @abstractmethod
    def open(self, work: Callable[[Unit, Worker], Any]) -> EngineSession:
        """Begin a session.

        Args:
            work: picklable; called in whichever process does the unit.
        """


class Importer(Component):
    """How does another system's configuration become a spec? Its options become flags of ``curate import``."""

    @abstractmethod
    def convert(self, text: str, folder: Path) -> dict[str, Plain]:
        """A spec as plain values, from the text of a configuration that lies in ``folder``."""


class Command(Component):
    """What else can ``curate`` do?"""

    @abstractmethod
    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the subcommand's arguments."""

    @abstractmethod
    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


KINDS: Mapping[str, type[Component]] = {
    "source": Source,
    "reader": Reader,
    "preprocessor": Preprocessor,
    "roi_finder": RoiFinder,
    "transform": Transform,
    "filter": Filter,
    "writer": Writer,
    "engine": Engine,
    "importer": Importer,
    "command": Command,
}

__all__ = [
    "CASE", "DATASET", "HOOK_API", "KINDS", "SAMPLE", "Batch", "Case", "CaseSource", "Command", "Component", "Context", "Engine",
    "EngineSession", "Features", "Filter", "Image", "Importer", "Layer", "LayerSource", "Measuring", "Outcome", "Piece", "Placement",
    "Preprocessor", "Reader", "RoiFinder", "RoiTable", "Scope", "Source", "Transform", "Unit", "Verdict", "Worker", "WriteSession",
    "Writer", "generator",
]  # fmt: skip
