"""Applying steps: which samples a step's ``when`` takes, and whom an error is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from curate_core.batch import Batch
from curate_core.durable import FULL
from curate_core.errors import CurateError, SourceError, StepError, place_in
from curate_core.kinds import Measuring
from curate_core.model import Plain, matches
from curate_core.spec import Step


def split(step: Step, batch: Batch) -> list[tuple[Batch, bool]]:
    """The samples that a step's ``when`` takes, and those it passes by, each with equal shapes still."""
    own = [key for key in step.when if key in batch.attributes]
    case_wide = {key: values for key, values in step.when.items() if key not in own}
    held = batch.case.attributes
    if any(key not in held or not matches(held[key], values) for key, values in case_wide.items()):
        return [(batch, False)]
    if not own:
        return [(batch, True)]
    takes = np.array([step.applies(batch.sample_attributes(row)) for row in range(len(batch))], dtype=bool)
    return [(batch.take(mask), flag) for mask, flag in ((takes, True), (~takes, False)) if mask.any()]


def merged(component: Measuring, partials: Iterable[Plain]) -> Plain:
    """One value from those that were measured; what measured nothing (None) is left out, and of nothing comes None."""
    known = [partial for partial in partials if partial is not None]
    return component.merge(known) if known else None


@contextmanager
def blame(step: Step, case: str = "") -> Iterator[None]:
    """Errors of a component name its step and case; those of its author's making say so."""
    where = f"case {case}" if case else step.path
    try:
        yield
    except CurateError as error:
        if isinstance(error, SourceError | StepError) and not error.where:
            error.where = where
        if isinstance(error, StepError) and not error.message.startswith(f"{step.name}:"):
            error.message = f"{step.name}: {error.message}"
        raise
    except OSError as error:
        if step.kind == "writer" and error.errno is None:  # a library's word for what it cannot store; no disk has failed
            raise _failure(step, where, error) from error
        if step.kind == "writer" or error.filename is not None or error.errno in FULL:
            raise
        message = f"{step.name}: reading failed: {error.strerror or error}"
        raise SourceError(message, where=where) from error
    except MemoryError:
        raise
    except Exception as error:
        raise _failure(step, where, error) from error


def _failure(step: Step, where: str, error: Exception) -> StepError:
    """Whose fault an error of another making is, as far as that can be told."""
    distribution = step.offer.distribution if step.offer is not None else "curate-core"
    place = "" if distribution == "curate-core" or step.cls is None else place_in(step.cls.__module__, error)
    message = f"{step.name}: failed with {type(error).__name__}: {error}{place}"
    return StepError(message, where=where, hint=f"a bug in {distribution}, or input it does not expect; --debug shows where")
