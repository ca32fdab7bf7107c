"""The later stages, a block at a time: cut samples, transform them, and measure, score or write them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from curate_core.arrays import NDArray
from curate_core.batch import Batch
from curate_core.cut import batches, without_pixels
from curate_core.digest import digest_of, source_names
from curate_core.durable import writing
from curate_core.errors import RequestError, StepError
from curate_core.keys import statistic_name
from curate_core.kinds import Placement, Transform, Writer, WriteSession
from curate_core.model import Case, CaseSource, Plain
from curate_core.npz import save_array
from curate_core.parts import save_json
from curate_core.prepare import ContextOf, Prepared
from curate_core.spec import Spec, Step
from curate_core.stages import Stage
from curate_core.steps import blame, merged, split
from curate_core.survey import Survey

DATA = "data"
ROWS = "rows.tsv"


class Samples:
    """The samples at some rows of a prepared case, as the transforms make them.

    Args:
        case: open; None where nothing is to be cut.
        prepared: its ROIs.
        rows: which.
        statistics: merged values of the transforms that measured.
        survey: takes note of samples that steps refuse.
    """

    def __init__(
        self,
        spec: Spec,
        case: Case | None,
        prepared: Prepared,
        rows: NDArray,
        context_of: ContextOf,
        statistics: Mapping[str, Plain],
        survey: Survey,
    ) -> None:
        self.spec, self.case, self.prepared, self.rows = spec, case, prepared, rows
        self.context_of, self.statistics, self.survey = context_of, statistics, survey

    def whole(self) -> Iterator[Batch]:
        """One batch without pixels."""
        if len(self.rows):
            yield without_pixels(self.prepared.case, self.prepared.table.take(self.rows), self.prepared.ids(self.rows), self.rows)

    def transformed(self, until: Step | None = None) -> Iterator[Batch]:
        """Batches of equal shapes after the transforms before ``until``; one at a time in memory."""
        if self.case is None or not len(self.rows):
            return
        for batch in batches(self.case, self.prepared.table, self.rows, self.prepared.ids(self.rows)):
            current = [batch]
            for step in self.spec.transform:
                if step is until:
                    break
                current = [changed for part in current for changed in self._apply(step, part)]
            yield from current

    def _apply(self, step: Step, batch: Batch) -> Iterator[Batch]:
        for part, applies in split(step, batch):
            if not applies:
                yield part
                continue
            component: Transform = step.component_for(part.case)
            context = self.context_of(step, part.case.id, self.statistics.get(statistic_name(step)))
            with blame(step, part.case.id):
                changed = component.apply(part, context)
                if not isinstance(changed, Batch) or len(changed) != len(part):
                    message = f"apply must give a Batch of {len(part)} samples, one for each"
                    raise TypeError(message)
            changed = self.survey.reject(changed, step.name, context)
            if len(changed):
                yield changed

    def filtered(self, stage: Stage) -> Iterator[Batch]:
        """What the transforms make, after the filters over single samples that act in a stage."""
        for batch in self.whole() if stage.whole else self.transformed():
            current = batch
            for step in stage.filters:
                if len(current):
                    current = self.survey.judge(step, current, self.context_of(step, current.case.id))
            if len(current):
                yield current


def measure(samples: Samples, stage: Stage) -> Plain:
    """The partial value of a transform over the samples; None when it applies to none."""
    assert stage.step is not None
    component: Transform = stage.step.component_for(samples.prepared.case)
    partials: list[Plain] = []
    for batch in samples.transformed(stage.step):
        for part, applies in split(stage.step, batch):
            if applies:
                with blame(stage.step, batch.case.id):
                    partials.append(component.measure(part, samples.context_of(stage.step, batch.case.id)))
    with blame(stage.step, samples.prepared.case.id):
        return merged(component, partials)


def score(samples: Samples, stage: Stage, folder: Path, origin: Mapping[str, str]) -> dict[str, Plain]:
    """Compute a filter's features over the samples into a part."""
    assert stage.step is not None
    for batch in samples.filtered(stage):
        samples.survey.score(stage.step, batch, samples.context_of(stage.step, batch.case.id))
    count = samples.survey.save_scores(folder, origin)
    samples.survey.save(folder)
    return {"scored": count, "dropped": samples.survey.dropped_counts(), "rejected": len(samples.survey.rejected)}


def write(samples: Samples, stage: Stage, folder: Path, source: CaseSource) -> dict[str, Plain]:
    """Write the survivors of a stage's filters into a part: data files, and for each a line that becomes one of the manifest."""
    lines: dict[int, str] = {}
    described = source_names(source)
    with _Writers(samples.spec, folder / DATA, samples.context_of, source.id) as writers:
        for batch in samples.filtered(stage):
            lines.update(writers.write(batch, described))
    (folder / DATA).mkdir(exist_ok=True)
    order = sorted(lines)
    (folder / ROWS).write_text("".join(lines[row] for row in order), encoding="utf-8", errors="surrogatepass")
    save_array(folder / "rows.npy", np.array(order, np.int64))
    samples.survey.save(folder)
    files = {str(p.relative_to(folder / DATA).as_posix()): p.stat().st_size for p in sorted((folder / DATA).rglob("*")) if p.is_file()}
    save_json(folder / "files.json", files)
    info: dict[str, Plain] = {"written": len(lines), "nbytes": sum(files.values()), "files": len(files)}
    return {**info, "dropped": samples.survey.dropped_counts(), "rejected": len(samples.survey.rejected)}


class _Writers:
    """The writers of a spec, at work on one part."""

    def __init__(self, spec: Spec, folder: Path, context_of: ContextOf, case: str) -> None:
        self.steps, self.folder, self.context_of, self.case = spec.write, folder, context_of, case
        self._stack = ExitStack()
        self._sessions: dict[str, WriteSession] = {}
        self._taken: dict[str, str] = {}

    def __enter__(self) -> _Writers:
        self._stack.__enter__()
        self.folder.mkdir(parents=True)
        for step in self.steps:
            with blame(step, self.case), writing(self.folder):
                session = writer_of(step).open(self.folder, self.context_of(step, self.case))
                self._sessions[step.name] = self._stack.enter_context(session)
        return self

    def __exit__(self, *exception: Any) -> None:
        with writing(self.folder):  # a writer may keep much until it is closed
            self._stack.__exit__(*exception)

    def write(self, batch: Batch, sources: Mapping[str, Plain]) -> Iterator[tuple[int, str]]:
        """Write a batch; gives (row, line) of each sample.

        Raises:
            StepError: a sample is taken by no writer.
        """
        arrays: list[dict[str, Plain]] = [{} for _ in range(len(batch))]
        digests: list[dict[str, Plain]] = [{} for _ in range(len(batch))]
        position = {int(row): i for i, row in enumerate(batch.rows)}
        for number, step in enumerate(self.steps):
            for part, applies in split(step, batch):
                if not applies:
                    continue
                with blame(step, self.case), writing(self.folder):
                    placed = self._sessions[step.name].write(part)
                    if len(placed) != len(part):
                        message = f"write must give the places of {len(part)} samples, gave {len(placed)}"
                        raise TypeError(message)
                    for i, placements in enumerate(placed):
                        at = position[int(part.rows[i])]
                        for name, placement in placements.items():
                            if placement.place is None:
                                self._take(placement.file, part.ids[i])
                            label = name if name not in arrays[at] else f"{name}@{step.name}"
                            arrays[at][label] = describe_placement(placement, number)
                            digests[at][label] = self._digest(step, part, i, name, placement)
        columns = [(view, view.start.tolist(), view.stop.tolist(), list(view.cuts(batch.case).values())) for view in batch.rois.views]
        for i, row in enumerate(batch.rows.tolist()):
            if not arrays[i]:
                message = f'no writer takes the sample {batch.ids[i]}: the "when" of each excludes it'
                raise StepError(message, where=f"case {self.case}")
            views = {view.name: {"layers": layers, "axes": view.axes, "start": a[i], "stop": b[i]} for view, a, b, layers in columns}
            line = {"id": batch.ids[i], "case": self.case, "attributes": batch.sample_attributes(i), "sources": sources, "views": views}
            # three columns: what stays, what an assembling writer's commit changes, what goes behind it; JSON holds no bare tab
            yield row, "\t".join(json.dumps(value, ensure_ascii=False) for value in (line, arrays[i], digests[i])) + "\n"

    def _take(self, file: str, sample: str) -> None:
        """A file without places in it holds one array of one sample.

        Raises:
            RequestError: another has taken it.
        """
        if file in self._taken:
            message = f"two samples would be written to {file}: {self._taken[file]} and {sample}"
            raise RequestError(message, where=f"case {self.case}", hint="add a field to the writer's path")
        self._taken[file] = sample

    def _digest(self, step: Step, batch: Batch, row: int, name: str, placement: Placement) -> str:
        """SHA-256 of an array as its writer gives it back, in C order."""
        if placement.sha256 is not None:
            return placement.sha256
        if name in batch.arrays:
            values = batch.arrays[name][row]
            if values.dtype == np.dtype(placement.dtype) and values.shape == tuple(placement.shape):
                return digest_of(values)
        return digest_of(writer_of(step).read(self.folder / placement.file, placement.place))


def writer_of(step: Step) -> Writer:
    """The writer of a step; writers take no options from cases, so that it is always there."""
    assert isinstance(step.component, Writer)
    return step.component


def describe_placement(placement: Placement, writer: int) -> dict[str, Plain]:
    """A placement as the manifest holds it."""
    described: dict[str, Plain] = {
        "file": placement.file,
        "shape": [int(n) for n in placement.shape],
        "dtype": np.dtype(placement.dtype).str,
    }
    if placement.place is not None:
        described["place"] = placement.place
    return described if writer == 0 else {**described, "writer": writer}
