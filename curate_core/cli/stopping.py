"""Being told to stop: Ctrl-C, SIGTERM (batch systems, before their time is up), SIGHUP (the terminal is gone)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
SAME = 1.0
"""Seconds within which several of them are one: shells and launchers may pass on what the terminal sent already."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, each of them raises ``KeyboardInterrupt``. Later ones, while the command ends, end the process at once.

    What the parent process ignores stays ignored, as under nohup.
    """
    told: list[float] = []

    def stop(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not told:
            told.append(now)
            raise KeyboardInterrupt
        if now - told[0] > SAME:
            os._exit(INTERRUPTED)  # to be killed breaks nothing

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        if not told:
            for number, handler in before.items():
                signal.signal(number, handler)
        elif signal.SIGINT in before:  # the process is about to end, and another one must not disturb that
            signal.signal(signal.SIGINT, signal.SIG_IGN)
