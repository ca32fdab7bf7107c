"""Applying steps: which samples a step's ``when`` takes, and whom an error is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from curate_core.batch import Batch
from curate_core.errors import CurateError, SourceError, StepError
from curate_core.spec import Step

_NOTHING = object()


def split(step: Step, batch: Batch) -> list[tuple[Batch, bool]]:
    """The samples that a step's ``when`` takes, and those it passes by, each with equal shapes still."""
    own = [key for key in step.when if key in batch.attributes]
    case_wide = {key: values for key, values in step.when.items() if key not in own}
    if any(batch.case.attributes.get(key, _NOTHING) not in values for key, values in case_wide.items()):
        return [(batch, False)]
    if not own:
        return [(batch, True)]
    takes = np.array([step.applies(batch.sample_attributes(row)) for row in range(len(batch))], dtype=bool)
    return [(batch.take(mask), flag) for mask, flag in ((takes, True), (~takes, False)) if mask.any()]


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
    except (OSError, MemoryError):
        raise
    except Exception as error:
        distribution = step.offer.distribution if step.offer is not None else "curate-core"
        message = f"{step.name}: failed with {type(error).__name__}: {error}"
        raise StepError(message, where=where, hint=f"a bug in {distribution}, or input it does not expect; --debug shows where") from error
