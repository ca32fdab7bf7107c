"""What is looked at before anything is done: the cases of the source, the folder of the output."""

from __future__ import annotations

from pathlib import Path

from curate_core.errors import RequestError, StepError
from curate_core.journal import Journal
from curate_core.kinds import Source
from curate_core.layout import DATASET, WORK
from curate_core.model import CaseSource
from curate_core.parts import Parts
from curate_core.spec import Spec
from curate_core.templates import check_relative


def find_cases(spec: Spec) -> list[CaseSource]:
    """The cases of a spec's source, checked.

    Raises:
        RequestError: none, two of one id, or an id that is no relative name.
    """
    component = spec.source.component
    assert isinstance(component, Source)
    found: dict[str, CaseSource] = {}
    for case in component.find_seeded(spec.seed):
        try:
            check_relative(case.id)
        except StepError as error:
            message = f"the case id {case.id!r} is not a plain relative name"
            raise RequestError(message, where="source") from error
        if case.id in found:
            message = f"two cases are called {case.id!r}: {_first_file(found[case.id])} and {_first_file(case)}"
            raise RequestError(message, where="source", hint="add a field to the pattern that tells them apart")
        found[case.id] = case
    if not found:
        message = "the source found no cases"
        raise RequestError(message, where="source")
    return list(found.values())


def _first_file(case: CaseSource) -> str:
    return next((layer.describe() for layer in case.layers.values()), "no file")


def check_output(output: Path, name: str, journal: Journal, *, overwrite: bool) -> None:
    """Refuse a folder that holds what curate did not make, or another dataset.

    Raises:
        RequestError: it does.
    """
    if output.exists() and not output.is_dir():
        message = "the output is a file, not a folder"
        raise RequestError(message, where=str(output))
    links = Parts(output).links()
    if links:
        message = "it is a symbolic link, behind which curate keeps nothing of its own"
        raise RequestError(message, where=str(links[0]), hint="remove it, or choose another output; nothing was changed")
    ours = (output / WORK / "journal.jsonl").exists() or (output / DATASET).exists()
    if not ours and output.exists():
        foreign = sorted(entry.name for entry in output.iterdir() if entry.name != WORK)
        if foreign:
            message = f"the output folder holds other things: {', '.join(foreign[:5])}{' ...' if len(foreign) > 5 else ''}"
            raise RequestError(message, where=str(output), hint="choose an empty or a new folder; nothing was changed")
    if journal.name and journal.name != name and not overwrite:
        message = f"the folder holds the dataset {journal.name!r}, the spec makes {name!r}"
        raise RequestError(message, where=str(output), hint="choose another output, or replace it with --overwrite")
