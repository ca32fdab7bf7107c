"""Waiting for a server, but not for ever."""

from __future__ import annotations

import time
from typing import Any

from curate_core import SourceError


class Patience:
    """So many seconds for all answers of one request.

    Args:
        seconds: from now on; None: for as long as it takes.
        where: what is asked for.
    """

    def __init__(self, seconds: float | None, where: str) -> None:
        self.seconds, self.where = seconds, where
        self._end = None if seconds is None else time.monotonic() + seconds

    def result(self, future: Any) -> Any:
        """What one of TensorStore's futures gives.

        Raises:
            SourceError: the time is over.
            ValueError: TensorStore's own errors.
        """
        left = None if self._end is None else max(0.0, self._end - time.monotonic())
        try:
            return future.result(timeout=left)
        except TimeoutError as error:
            future.cancel()
            message = f"no answer within {self.seconds:g} s"
            hint = 'set a longer "timeout", or null to wait for as long as "retries" last'
            raise SourceError(message, where=self.where, hint=hint) from error
