"""What a worker does: one case, or one block of a case, through as many stages as need no other unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core.arrays import NDArray
from curate_core.digest import Known, known_content
from curate_core.errors import DiskError, SourceError
from curate_core.host import Host, default_host
from curate_core.journal import Record
from curate_core.keys import Key, Keys, statistic_name
from curate_core.kinds import Context, Measuring, Preprocessor, Unit, Worker
from curate_core.model import Case, CaseSource, Plain
from curate_core.opening import Opener
from curate_core.parts import Parts, load_json, save_json
from curate_core.prepare import Prepared, load_prepared, open_case, prepare
from curate_core.samples import Samples, measure, score, write, writer_of
from curate_core.spec import Spec, Step, validate
from curate_core.stages import Stage, derive
from curate_core.steps import blame, merged
from curate_core.survey import Survey, close_filter, survivors


@frozen
class Task:
    """What a unit is to do.

    Attributes:
        case: as the source found it.
        source: key of its contents; empty: not known yet.
        stage: index of the first stage to do; None: only look at the case.
        block: index of the block; None: the whole case.
        statistics: merged values of the steps that measured over several cases.
        alive: packed mask over the rows of the block (of the case) that earlier filters left; None: all.
    """

    case: CaseSource
    source: str = ""
    stage: int | None = 0
    block: int | None = None
    statistics: Mapping[str, Plain] = attrs.field(factory=dict)
    alive: bytes | None = None


@frozen
class Look:
    """What is told of a case before its first stage.

    Attributes:
        files: (file, what is known of its content), where the contents' key was not known.
        resident: estimate of the memory that its open layers hold, bytes.
    """

    files: Sequence[tuple[str, Known]]
    resident: int


@frozen(eq=False)
class Job:
    """A run as its workers need it: picklable, and callable with a unit.

    Attributes:
        spec: what the user wrote, overrides included.
        folder: where its relative paths start.
        output: the dataset's folder.
        token: tells jobs of one process apart.
    """

    spec: Mapping[str, Plain]
    folder: Path
    output: Path
    token: str

    def __call__(self, unit: Unit, worker: Worker) -> Any:
        """Do a unit in this process."""
        bench = _benches.get(self.token)
        if bench is None:
            spec = validate(self.spec, default_host(), self.folder, "spec", local_code=True)  # as it was where the job was made
            bench = Bench(spec, spec.host, self.output, worker)
            self.adopt(bench)
        return bench.do(unit.task)

    def adopt(self, bench: Bench) -> None:
        """Use a bench for this job in this process; those of other jobs are forgotten."""
        _benches.clear()
        _benches[self.token] = bench


_benches: dict[str, "Bench"] = {}  # noqa: UP037  (the class follows)


class Bench:
    """Everything that units of one run share in a process: the spec, started components, the case opened last.

    Args:
        spec, host: of the run.
        output: the dataset's folder.
        worker: this process.
    """

    def __init__(self, spec: Spec, host: Host, output: Path, worker: Worker) -> None:
        self.spec, self.host, self.worker = spec, host, worker
        self.parts = Parts(output)
        self.stages = derive(spec)
        self.keys = Keys(spec, host, self.stages)
        self._states: dict[str, Any] = {}
        self._held: tuple[str, Case, Prepared] | None = None

    def do(self, task: Task) -> Any:
        """Look at a case, or take it through the stages; returns a ``Look``, or records.

        Raises:
            SourceError, StepError: the case is to blame.
            RequestError: the spec is.
            DiskError: the disk is.
        """
        try:
            if task.stage is None:
                return self._look(task)
            stage = self.stages[task.stage]
            return [self._measure_case(task, stage)] if stage.kind == "measure-case" else self._advance(task, stage)
        except OSError as error:
            if _is_below(error.filename, self.parts.work):
                message = f"what curate keeps there cannot be read: {error.strerror or error}"
                raise DiskError(message, where=str(error.filename), hint="mend it and run again: it continues") from error
            message = f"the file cannot be read: {error.strerror or error}"
            raise SourceError(message, where=str(error.filename or f"case {task.case.id}")) from error

    def context(self, step: Step | None, case: str, statistics: Plain = None, folder: Path | None = None) -> Context:
        """The context of a step in this process; the step is started at its first use."""
        if step is None:
            return Context("read", self.spec.seed, case, None, statistics, folder)
        if step.path not in self._states:
            with blame(step, case):
                self._states[step.path] = None if step.component is None else step.component.setup(self.worker)
        return Context(step.name, self.spec.seed, case, self._states[step.path], statistics, folder)

    def _look(self, task: Task) -> Look:
        """Files are opened by workers only: a header that kills its process must not kill the run."""
        opener = Opener(self.spec, self.host, lambda step, source: self.context(step, source.id))
        files = [] if task.source else [(str(file), known_content(file, others)) for file, others in opener.companions(task.case).items()]
        try:
            resident = opener.resident(task.case)
        except SourceError:
            resident = 0  # preparing the case will say what is wrong
        return Look(files, resident)

    def _measure_case(self, task: Task, stage: Stage) -> Record:
        assert stage.step is not None
        key = self.keys.measure_case(task.case, task.source, stage, task.statistics)
        case = open_case(self.spec, self.host, task.case, self.context, task.statistics, until=stage.step).case
        partial: Plain = None
        if stage.step.applies(case.attributes):
            component: Preprocessor = stage.step.component_for(case)
            with blame(stage.step, case.id):
                partial = component.measure(case, self.context(stage.step, case.id))
        with self.parts.making(key.name) as folder:
            save_json(folder / "partial.json", partial)
        return record_of(key, case.id, stage, None, {})

    def _prepare(self, task: Task, stage: Stage, key: Key) -> Record:
        self._held = None
        with self.parts.making(key.name) as folder:
            info, case = prepare(self.spec, self.host, self.stages.early, task.case, self.context, task.statistics, folder)
        self._held = (key.name, case, load_prepared(self.parts.path(key.name)))
        return record_of(key, task.case.id, stage, None, {**info, "paths": self.keys.paths})

    def prepared(self, task: Task) -> tuple[Case, Prepared]:
        """The case of a task, open, with what its preparation found.

        Raises:
            SourceError, StepError: it cannot be opened.
        """
        return self._opened(task, self.keys.prepare(task.case, task.source, task.statistics).name)

    def _opened(self, task: Task, key: str) -> tuple[Case, Prepared]:
        """The prepared case, open; the one used last is held."""
        if self._held is None or self._held[0] != key:
            self._held = None
            folder = self.parts.path(key)
            prepared = load_prepared(folder)
            case = open_case(self.spec, self.host, task.case, self.context, {**task.statistics, **prepared.statistics}, folder).case
            self._held = (key, case, prepared)
        return self._held[1], self._held[2]

    def _advance(self, task: Task, stage: Stage) -> list[Record]:
        """From a stage on, as far as no other unit is needed."""
        records: list[Record] = []
        prepared_key = self.keys.prepare(task.case, task.source, task.statistics)
        block = task.block
        if stage.kind == "prepare":
            records.append(self._prepare(task, stage, prepared_key))
            edges: Any = records[0].info["edges"]
            if len(edges) != 2 or not all(writer_of(step).unique_in_case() for step in self.spec.write):
                return records
            stage, block = self.stages[stage.index + 1], 0
        prepared = load_prepared(self.parts.path(prepared_key.name))
        single = len(prepared.edges) == 2
        statistics = dict(task.statistics)
        of_block = prepared.block_rows(None if stage.whole else block)
        alive = unpack(task.alive, len(of_block))
        while True:
            key = self.keys.block(task.case, prepared_key.name, stage, None if stage.whole else block, alive, statistics)
            case = None if stage.whole else self._opened(task, prepared_key.name)[0]
            samples = Samples(self.spec, case, prepared, of_block[alive], self.context, statistics, Survey())
            info = self._do_stage(samples, stage, key.name, prepared_key.name, task.case)
            records.append(record_of(key, task.case.id, stage, None if stage.whole else block, info))
            if stage.kind == "write" or not (single and stage.scope is not None and stage.scope.over == "case"):
                return records
            assert stage.step is not None
            closing = self.keys.closure(stage, [key.name])
            if stage.kind == "measure":
                statistics[statistic_name(stage.step)] = close_measure(self.parts, closing.name, stage.step, [key.name])
            else:
                close_filter(self.parts, closing.name, stage.step, [key.name], self.context(stage.step, task.case.id))
                alive = np.isin(of_block, survivors(self.parts, closing.name, 0, key.name), assume_unique=True)
            records.append(record_of(closing, task.case.id, stage, None, {"closes": stage.index}))
            stage = self.stages[stage.index + 1]

    def _do_stage(self, samples: Samples, stage: Stage, key: str, prepared: str, source: CaseSource) -> dict[str, Plain]:
        with self.parts.making(key) as folder:
            if stage.kind == "measure":
                save_json(folder / "partial.json", measure(samples, stage))
                return {}
            if stage.kind == "score":
                return score(samples, stage, folder, {"case": source.id, "prepared": prepared})
            return write(samples, stage, folder, source)


def record_of(key: Key, case: str, stage: Stage, block: int | None, info: Mapping[str, Plain]) -> Record:
    """What the journal will hold of a part."""
    return Record(key.name, case, stage.title, block, key.facets, info)


def close_measure(parts: Parts, closing: str, step: Step, members: Sequence[str]) -> Plain:
    """Merge the partials of a group's units, in manifest order, and keep the value as a part."""
    component = step.component
    assert isinstance(component, Measuring)
    partials = [load_json(parts.path(key) / "partial.json") for key in members]
    with blame(step):
        value = merged(component, partials)
    with parts.making(closing) as folder:
        save_json(folder / "statistics.json", value)
    return value


def pack(alive: NDArray) -> bytes | None:
    """A mask as bytes for a task; None when all are true."""
    return None if alive.all() else np.packbits(alive).tobytes()


def unpack(alive: bytes | None, count: int) -> NDArray:
    """The mask that ``pack`` made."""
    if alive is None:
        return np.ones(count, bool)
    return np.unpackbits(np.frombuffer(alive, np.uint8), count=count).astype(bool)


def _is_below(path: object, folder: Path) -> bool:
    return isinstance(path, str | Path) and Path(path).is_relative_to(folder)
