"""What a step may know besides its options and its input."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from attrs import frozen

from curate_core.arrays import ArrayLike, NDArray, nbytes, read, slabs
from curate_core.durable import writing
from curate_core.errors import SourceError
from curate_core.model import CaseSource, Plain
from curate_core.npz import save_slabs


@frozen
class Scope:
    """Which samples are judged or measured together.

    Attributes:
        over: ``sample`` (each alone), ``case``, ``dataset``, or ``attribute``.
        attribute: for ``attribute``: the cases that share its value; in a spec ``{"attribute": "scan"}``.
    """

    over: Literal["sample", "case", "dataset", "attribute"]
    attribute: str = ""

    def group(self, case: CaseSource) -> str:
        """The name of the group that a case belongs to."""
        if self.over == "dataset":
            return ""
        if self.over == "attribute":
            return f"{self.attribute}={case.attributes.get(self.attribute)!r}"
        return case.id


SAMPLE, CASE, DATASET = Scope("sample"), Scope("case"), Scope("dataset")


def generator(*key: object) -> np.random.Generator:
    """A random generator that depends on ``key`` alone: the same key gives the same draws anywhere."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


@frozen(eq=False)
class Context:
    """What a step may know besides its options and its input.

    Attributes:
        step: the step's name in the spec (``near-duplicates``, ``limit#1`` for a second one).
        seed: the spec's seed.
        case: id of the case, or of the group of cases that is judged together.
        state: what the component's ``setup`` returned in this worker.
        statistics: the merged value of what the component measured; None when it measures nothing.
        folder: where the case's materialised layers are kept; None where nothing may be.
        rejected: filled by ``reject``; read by the runner.
    """

    step: str
    seed: int
    case: str = ""
    state: Any = None
    statistics: Plain = None
    folder: Path | None = None
    rejected: dict[int, str] = attrs.field(factory=dict)

    def rng(self, *key: object) -> np.random.Generator:
        """A generator keyed by seed, step, case and ``key`` (a sample's id): never by order or time."""
        return generator(self.seed, self.step, self.case, *key)

    def reject(self, row: int, reason: str) -> None:
        """Quarantine one sample of the batch at hand, or one ROI of the table that is found; what the step gives for it is not used."""
        self.rejected[int(row)] = reason

    def materialise(self, name: str, array: ArrayLike) -> ArrayLike:
        """Compute a lazy array once for the case, so that its blocks do not repeat the work.

        Args:
            name: what to call it among the step's arrays.
            array: computed slab by slab, written beside the case's ROIs and memory-mapped from there.
        """
        if self.folder is None:
            return read(array)
        path = self.folder / f"{self.step.replace('#', '+')}.{name}.npy"
        if not path.exists():
            aside = path.with_name(f"{path.name}.{os.getpid()}.partial")  # blocks of a case may come here at once
            with writing(self.folder, nbytes(array)):  # a file, no memory map: to that, a full disk is a deadly signal
                self.folder.mkdir(parents=True, exist_ok=True)
                save_slabs(aside, tuple(array.shape), np.dtype(array.dtype), _read_slabs(array))
                aside.replace(path)
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _read_slabs(array: ArrayLike) -> Iterator[NDArray]:
    """The array slab by slab; what fails while it is read is no fault of what is written.

    Raises:
        SourceError: it cannot be read.
    """
    for where in slabs(array):
        try:
            slab = read(array, where)
        except OSError as error:
            message = f"reading failed: {error.strerror or error}"
            raise SourceError(message, where=str(error.filename or "")) from error
        yield slab


@frozen
class Worker:
    """The process that a component starts in.

    Attributes:
        index: number of the worker, 0 for the calling process.
        device: the accelerator that the engine gave it (``cuda:1``), or ``cpu``.
    """

    index: int = 0
    device: str = "cpu"
