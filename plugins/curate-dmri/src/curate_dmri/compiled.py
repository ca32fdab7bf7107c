"""Compiling with numba, kept on disk where there is a place for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba  # noqa: TID253 - this module is imported where it is used

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile at first call, with the result kept beside the module or in the user's cache; without either, for this process alone.

    The compiled function lets other Python threads run.
    """
    try:
        made: F = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba: no locator available: neither the package nor a home can be written to
        made = numba.njit(nogil=True)(function)
    return made
