"""The stages of a run: which passes over the data a spec needs, and where each must wait for others.

A *barrier* is a step that judges or measures cases together. Every barrier ends a stage; what lies between two barriers is one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Literal

from attrs import frozen

from curate_core.kinds import Filter, Measuring, Scope, Transform, most_of
from curate_core.spec import Spec, Step


@frozen(eq=False)
class Stage:
    """One pass.

    Attributes:
        index: position among the stages.
        kind: ``measure-case``: a preprocessor measures; ``prepare``: preprocess and find ROIs; ``measure``: a transform measures
            samples; ``score``: a filter computes features; ``write``: survivors are written.
        step: the barrier's step; None for ``prepare`` and ``write``.
        scope: which cases must be through before the stage closes; None: none.
        filters: filters over single samples that act in this stage, before its step.
        whole: units are cases, not blocks: nothing is cut.
        steps: what a unit passes through, in order; of preprocessing, that whose result is cut.
    """

    index: int
    kind: Literal["measure-case", "prepare", "measure", "score", "write"]
    step: Step | None = None
    scope: Scope | None = None
    filters: tuple[Step, ...] = ()
    whole: bool = False
    steps: tuple[Step, ...] = ()

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        words = {"measure-case": "measuring", "prepare": "finding ROIs", "measure": "measuring", "score": "scoring", "write": "writing"}
        return f"{words[self.kind]} {self.step.name}" if self.step is not None else words[self.kind]


@frozen(eq=False)
class Stages:
    """All stages of a spec, and the filters that act while ROIs are found.

    Attributes:
        stages: in order.
        early: leading filters that need no pixels and judge no more than a case: nothing need be cut for what they drop.
    """

    stages: tuple[Stage, ...]
    early: tuple[Step, ...]

    def __getitem__(self, index: int) -> Stage:
        return self.stages[index]

    def __len__(self) -> int:
        return len(self.stages)

    def onward(self, stage: Stage) -> Iterator[Stage]:
        """Those that a unit may go through which begins with one: up to the next that waits for other cases."""
        for later in self.stages[stage.index :]:
            yield later
            if later.kind == "write" or (later.scope is not None and later.scope.over != "case"):
                return

    @cached_property
    def needs(self) -> tuple[Mapping[str, float], ...]:
        """For units that begin with each stage, name -> amount of what workers must have beside memory: the most that a step asks for."""
        return tuple(
            most_of(step.component.needs() for s in self.onward(stage) for step in s.steps if step.component) for stage in self.stages
        )

    @property
    def prepare(self) -> Stage:
        """The stage that finds ROIs."""
        return next(stage for stage in self.stages if stage.kind == "prepare")


def filter_of(step: Step) -> Filter:
    """The filter of a step; filters take no options from cases, so that it is always there."""
    assert isinstance(step.component, Filter)
    return step.component


def measured_scope(step: Step) -> Scope | None:
    """Over what a preprocessor or transform measures; None where it measures nothing or a sample alone."""
    if not isinstance(step.component, Measuring):
        return None
    scope = step.component.statistics_scope()
    return None if scope is None or scope.over == "sample" else scope


def derive(spec: Spec) -> Stages:
    """The stages that a spec needs; they follow from it alone."""
    stages: list[Stage] = []
    remaining = list(spec.filter)
    early = []
    while remaining and not filter_of(remaining[0]).needs_pixels() and filter_of(remaining[0]).scope().over in ("sample", "case"):
        early.append(remaining.pop(0))
    for index, step in enumerate(spec.preprocess, start=1):
        scope = measured_scope(step)
        if scope is not None and scope.over != "case":
            stages.append(Stage(len(stages), "measure-case", step, scope, whole=True, steps=spec.preprocess[:index]))
    stages.append(Stage(len(stages), "prepare", whole=True, steps=(*spec.preprocess, *spec.rois, *early)))
    for index, step in enumerate(spec.transform, start=1):
        scope = measured_scope(step)
        if scope is not None:
            stages.append(Stage(len(stages), "measure", step, scope, steps=(*spec.preprocess, *spec.transform[:index])))
    cut = (*spec.preprocess, *spec.transform)
    pending: list[Step] = []
    for step in remaining:
        scope = filter_of(step).scope()
        if scope.over == "sample":
            pending.append(step)
            continue
        whole = not pending and not filter_of(step).needs_pixels()
        stages.append(Stage(len(stages), "score", step, scope, tuple(pending), whole, (*(() if whole else cut), *pending, step)))
        pending = []
    stages.append(Stage(len(stages), "write", filters=tuple(pending), steps=(*cut, *pending, *spec.write)))
    return Stages(tuple(stages), tuple(early))


def most_samples(spec: Spec) -> int | None:
    """Most samples of a unit that a transform asks for; None: none does."""
    asked = [step.component.unit_samples() for step in spec.transform if isinstance(step.component, Transform)]
    return min((count for count in asked if count is not None), default=None)
