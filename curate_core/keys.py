"""The keys of units: what each depends on, and nothing else, so that only what changed runs again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from attrs import frozen

from curate_core.arrays import NDArray
from curate_core.digest import code_digest, identities, key_of, source_names, step_identity
from curate_core.host import Host
from curate_core.model import CaseSource, Plain
from curate_core.spec import Spec, Step
from curate_core.stages import Stage, Stages, most_samples

LAYOUT = 1
"""Raised when the files inside parts change their form."""


@frozen
class Key:
    """The name of a part, and what it is made of.

    Attributes:
        name: of the part.
        facets: what it depends on, name -> short hash.
    """

    name: str
    facets: Mapping[str, str]

    @classmethod
    def of(cls, kind: str, **facets: object) -> Key:
        """A key from plain values."""
        hashes = {name: key_of(value)[:12] for name, value in facets.items()}
        return cls(key_of(kind, LAYOUT, facets), hashes)


def statistic_name(step: Step) -> str:
    """What a merged statistic is called: independent of the step's position."""
    return f"{step.kind}:{step.name}"


class Keys:
    """The keys of one spec's units. Made once a process: it reads the files that options name.

    Args:
        spec, host, stages: of the run.

    Attributes:
        paths: names the writers, which decide the paths of samples.
    """

    def __init__(self, spec: Spec, host: Host, stages: Stages) -> None:
        self.spec, self.host, self.stages = spec, host, stages
        self._read = {step.path: step_identity(step) for steps in spec.read.values() for step in steps}
        self._preprocess = [(step, step_identity(step)) for step in spec.preprocess]
        self._rois = [(step, step_identity(step)) for step in spec.rois]
        self._early = identities(stages.early)
        self._transform = [(step, step_identity(step)) for step in spec.transform]
        self._filter = {step.name: step_identity(step) for step in spec.filter}
        self._write = identities(spec.write)
        self.paths = key_of(self._write)[:12]
        most = most_samples(spec)
        self._blocks: dict[str, Plain] = {} if most is None else {"block": most}

    def _readers(self, case: CaseSource) -> Plain:
        """Who may open the case's layers: named steps, or for ``auto`` those that claim each file, in the order asked."""
        chosen: list[Plain] = []
        for name, layer in case.layers.items():
            step = self.spec.reader_for(name, case.attributes)
            if step is not None:
                chosen.append([name, self._read[step.path]])
                continue
            claims = [
                [o.qualified, self.host.load(o).version, code_digest(o.provider.target.partition(":")[0]) if _local(o) else o.version]
                for file in layer.files[:1]
                for o in self.host.readers_for(file)
            ]
            chosen.append([name, claims])
        return chosen

    def measure_case(self, case: CaseSource, source: str, stage: Stage, statistics: Mapping[str, Plain]) -> Key:
        """Key of a preprocessor's measuring of one case."""
        position = next(i for i, (step, _) in enumerate(self._preprocess) if step is stage.step)
        steps = _taking(case, self._preprocess[: position + 1])
        facets = {"preprocess": [identity for _, identity in steps], "statistics": _known(statistics, steps)}
        return Key.of("measure-case", source=source, read=self._readers(case), **facets)

    def prepare(self, case: CaseSource, source: str, statistics: Mapping[str, Plain]) -> Key:
        """Key of a case's ROIs and materialised layers."""
        steps, finders = _taking(case, self._preprocess), _taking(case, self._rois)
        facets = {"preprocess": [identity for _, identity in steps], "statistics": _known(statistics, steps)}
        rois = [identity for _, identity in finders]
        return Key.of("prepare", source=source, read=self._readers(case), **facets, rois=rois, filter=self._early, **self._blocks)

    def block(
        self, case: CaseSource, prepare: str, stage: Stage, block: int | None, alive: NDArray | None, statistics: Mapping[str, Plain]
    ) -> Key:
        """Key of one block's (or a whole case's) measuring, scoring or writing.

        Args:
            case: as the source found it; what is written names its files.
            prepare: key of the case's prepared part.
            alive: (n,) bool over the block's rows: those that earlier filters left; None: all.
        """
        survivors = "all" if alive is None or bool(alive.all()) else hashlib.sha256(alive.tobytes()).hexdigest()
        transforms = [identity for _, identity in self._transform]
        if stage.kind == "measure":
            position = next(i for i, (step, _) in enumerate(self._transform) if step is stage.step)
            transforms = transforms[: position + 1]
        filters = [self._filter[step.name] for step in stage.filters]
        if stage.kind == "score" and stage.step is not None:
            filters.append(self._filter[stage.step.name])
        last: dict[str, Plain] = {"write": list(self._write), "names": source_names(case)} if stage.kind == "write" else {}
        known = _known(statistics, self._transform)
        facets = {"prepare": prepare, "survivors": survivors, "transform": transforms, "statistics": known, "filter": filters}
        return Key.of("block", stage=stage.kind, block=block, **facets, **last)

    def closure(self, stage: Stage, members: Sequence[str], existing: str = "") -> Key:
        """Key of a stage's verdict or merged value over the units of one group, in manifest order."""
        assert stage.step is not None
        identity = step_identity(stage.step)
        return Key.of("closure", stage=stage.kind, step=identity, members=list(members), existing=existing)


def _local(offer: object) -> bool:
    return getattr(offer, "editable", False) and getattr(offer, "distribution", "") != "curate-core"


def _taking(case: CaseSource, steps: Sequence[tuple[Step, Plain]]) -> list[tuple[Step, Plain]]:
    """The steps over cases that may take this one, with what is left to ask of their ``when``.

    Attributes may be added on the way, but those that the source gave stay: what ``when`` asks of them is decided.
    """
    given = case.attributes
    found: list[tuple[Step, Plain]] = []
    for step, plain in steps:
        if all(given[key] in values for key, values in step.when.items() if key in given):
            assert isinstance(plain, list)
            found.append((step, [*plain[:-1], [entry for entry in plain[-1] if entry[0] not in given]]))
    return found


def _known(statistics: Mapping[str, Plain], steps: Sequence[tuple[Step, Plain]]) -> Plain:
    names = [statistic_name(step) for step, _ in steps]
    return {name: statistics[name] for name in names if name in statistics}
