"""The samples of a spec without a dataset: found once, and cut again from the sources whenever they are asked for."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray
from curate_core.batch import Batch
from curate_core.continuing import Earlier, load_earlier
from curate_core.dataset import Dataset
from curate_core.digest import digest_of
from curate_core.errors import StepError
from curate_core.host import Host, default_host
from curate_core.kinds import Context, Placement, Worker, Writer, WriteSession
from curate_core.model import Plain, Tractogram
from curate_core.runner import complete
from curate_core.samples import Samples
from curate_core.spec import Spec, Step, load, validate
from curate_core.survey import Survey
from curate_core.unit import Bench, Task

Values = NDArray | Tractogram


def open(
    path: str | os.PathLike[str] | Mapping[str, Plain],
    host: Host | None = None,
    *,
    settings: Sequence[str] = (),
    folder: Path | None = None,
    allow_local_code: bool = False,
) -> Dataset:
    """Open a finished dataset, or the samples of a spec straight from its sources.

    A spec is run without writing: its ROIs are found and its filters judge, which reads what they need to see; then each sample is cut and
    transformed when it is asked for. That is slower than a dataset, and meant for small trials.

    Args:
        path: folder of a dataset, a spec file, or a spec as plain values.
        host: plugins; the installed ones by default.
        settings: overrides of a spec, ``"rois.0.size=256"``.
        folder: where relative paths of a spec given as values start.
        allow_local_code: Python files that a spec names under ``plugins`` may run.

    Raises:
        RequestError: there is no finished dataset, or the spec is wrong.
        RunError: with ``on_error`` "stop", a case cannot be used.
    """
    if isinstance(path, Mapping) or Path(path).is_file():
        spec = load(path, host or default_host(), settings, folder, local_code=allow_local_code)
        return Stream(Cutter(spec, spec.host))
    return Dataset(Path(path), host)


class Cutter:
    """A spec that was run without writing, and its sources: what samples are cut from again.

    Pickles, so that workers of a loader on the same machine can have it.

    Args:
        spec: validated.
        host: plugins.
    """

    def __init__(self, spec: Spec, host: Host) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="curate-"))
        weakref.finalize(self, _remove, self.folder, os.getpid())
        self._start(spec, host)
        complete(self._spec, host)

    def _start(self, spec: Spec, host: Host) -> None:
        self.host, self._spec = host, _without_writing(spec, host, self.folder)
        self._bench = Bench(self._spec, host, self.folder, Worker())
        self._cases: dict[str, Earlier] = {}
        self._held: tuple[tuple[str, int], Mapping[str, Values]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"given": dict(self._spec.given), "spec": self._spec.folder, "notes": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.folder = state["notes"]
        spec = validate(state["given"], default_host(), state["spec"], "spec", local_code=True)  # allowed where this was made
        self._start(spec, spec.host)

    def sample(self, case: str, row: int) -> Mapping[str, Values]:
        """The arrays of a sample; those of the last one are held.

        Raises:
            SourceError, StepError: the source is gone, or another.
        """
        if self._held is None or self._held[0] != (case, row):
            self._held = ((case, row), self._cut(case, row))
        return self._held[1]

    def _cut(self, case: str, row: int) -> Mapping[str, Values]:
        if not self._cases:
            self._cases = {earlier.source.id: earlier for earlier in load_earlier(self.folder, self._spec)}
        found = self._cases[case]
        opened, prepared = self._bench.prepared(Task(found.source, found.key, statistics=found.statistics))
        statistics = {**found.statistics, **prepared.statistics}
        samples = Samples(self._spec, opened, prepared, np.array([row]), self._bench.context, statistics, Survey())
        for batch in samples.transformed():
            return _arrays(batch, 0)
        message = f"sample {row} of the case is not what it was: did a source change?"
        raise StepError(message, where=f"case {case}", hint="open the spec again")


class Stream(Dataset):
    """The samples that a spec's run would write, as its transforms leave them; writers change nothing of them.

    All of ``Dataset`` works: rows, selections, what was dropped and what is in quarantine. Notes lie in a temporary folder that goes with
    it.

    Args:
        cutter: where samples come from.
        rows: positions in the manifest that this selection holds; all by default.
    """

    def __init__(self, cutter: Cutter, rows: NDArray | None = None) -> None:
        super().__init__(cutter.folder, cutter.host, rows)
        self._cutter = cutter

    def __repr__(self) -> str:
        return f"Stream({self.summary['name']!r}, {len(self)} samples)"

    def __getstate__(self) -> dict[str, Any]:
        return {"cutter": self._cutter, "rows": self._rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["cutter"], state["rows"])  # type: ignore[misc]

    def _selected(self, rows: NDArray) -> Dataset:
        return Stream(self._cutter, rows)

    def _writer(self, index: int) -> Writer:
        return _Nowhere()

    def read(self, placement: Mapping[str, Any]) -> Values:
        """The array that an entry of a row's ``arrays`` points to, cut from its sources."""
        case, row, name = placement["place"]
        return self._cutter.sample(case, row)[name]

    def _lazy(self, placement: Mapping[str, Any]) -> Values:
        return self.read(placement)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker of a loader has the same object, and not the folder
        shutil.rmtree(folder, ignore_errors=True)


def _without_writing(spec: Spec, host: Host, notes: Path) -> Spec:
    """The same spec with the notes as its output, done in this process, and with nothing written of the samples."""
    given = {**spec.given, "output": str(notes), "engine": {"use": "local", "workers": 0}}
    loaded = validate(given, host, spec.folder, "spec", local_code=True)
    return attrs.evolve(loaded, write=(Step("writer", "stream", "stream", "write", None, {}, _Nowhere(), None, {}, (), spec.folder),))


def _arrays(batch: Batch, position: int) -> dict[str, Values]:
    found: dict[str, Values] = {name: batch.arrays[name][position] for name in batch.arrays}
    return {**found, **{name: batch.tractograms[name][position] for name in batch.tractograms}}


@frozen
class _Nowhere(Writer):
    """Takes note of where samples come from, and keeps none."""

    def paths(self, batch: Batch) -> list[str] | None:
        return None

    def unique_in_case(self) -> bool:
        return True

    def open(self, part: Path, context: Context) -> WriteSession:
        return _Session()

    def read(self, path: Path, place: Plain) -> Values:
        raise NotImplementedError  # a stream has its own


class _Session(WriteSession):
    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        rows = enumerate(batch.rows.tolist())
        return [{name: _placement(batch, row, name, values) for name, values in _arrays(batch, i).items()} for i, row in rows]


def _placement(batch: Batch, row: int, name: str, values: Values) -> Placement:
    array = values.points if isinstance(values, Tractogram) else values
    return Placement("", [batch.case.id, row, name], array.shape, array.dtype.str, digest_of(values))
