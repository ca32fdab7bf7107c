"""The engine of this machine: worker processes, admitted by memory, and the calling process for debuggers."""

from __future__ import annotations

import math
import multiprocessing
import multiprocessing.process
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, ClassVar, Literal

from attrs import define, frozen

from curate_core.errors import CurateError, PluginError, RequestError, RunError, SourceError, StepError
from curate_core.kinds import Engine, EngineSession, Outcome, Unit, Worker
from curate_core.options import option
from curate_core.structure import ByteSize

Work = Callable[[Unit, Worker], Any]
_PATIENCE = 0.8
"""Seconds that a worker has to end by itself."""


@frozen
class LocalEngine(Engine):
    """Worker processes on this machine.

    Example::

        "engine": {"use": "local", "workers": 4, "memory": "16 GB"}
    """

    version: ClassVar[int] = 1
    workers: int | None = option(
        doc="Worker processes; 0: the calling process, for debuggers; null: one a core.", default=None, ge=0, le=1024
    )
    memory: ByteSize | None = option(doc="Memory that all units at work may need together; null: 80 % of this machine's.", default=None)
    devices: tuple[str, ...] = option(doc="Accelerators; workers take them in turn.", default=())
    timeout: float | None = option(
        doc="Seconds that a unit may take, against file systems that do not answer; null: any. Needs workers that can be ended.",
        default=None,
        gt=0,
    )

    def __attrs_post_init__(self) -> None:
        if self.workers == 0 and self.timeout is not None:
            message = "timeout ends the worker of a stuck unit, and with 0 workers there is none: ask for at least one"
            raise ValueError(message)

    def open(self, work: Work) -> EngineSession:
        budget = self.memory if self.memory is not None else int(0.8 * _total_memory())
        if self.workers == 0:
            return _Here(work, budget, self.devices)
        return _Pool(work, self.workers or _cores(), budget, self.devices, self.timeout)


class _Here(EngineSession):
    """Units one after the other in the calling process."""

    def __init__(self, work: Work, budget: int, devices: tuple[str, ...]) -> None:
        self.work, self.budget = work, budget
        self.worker = Worker(0, devices[0] if devices else "cpu")

    def check(self, units: Iterable[Unit]) -> None:
        for unit in units:
            require(unit, self.budget)

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        for unit in units:
            require(unit, self.budget)
            yield Outcome(unit, *attempt(self.work, unit, self.worker))


@define(eq=False)
class _Process:
    """A worker process, the unit that it has, when that must be done, and what it was given last; ``life`` ends it when it is closed."""

    index: int
    process: Any
    pipe: Connection
    life: Connection
    unit: Unit | None = None
    due: float = math.inf
    case: str = ""
    nbytes: int = 0


class _Pool(EngineSession):
    """A fixed number of worker processes, started when first needed; one that dies is replaced."""

    def __init__(self, work: Work, count: int, budget: int, devices: tuple[str, ...], timeout: float | None) -> None:
        self.work, self.count, self.budget, self.devices = work, count, budget, devices
        self.timeout = math.inf if timeout is None else timeout
        self.processes: list[_Process] = []
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self.context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self.context.set_forkserver_preload(["curate_core.unit"])

    def check(self, units: Iterable[Unit]) -> None:
        for unit in units:
            require(unit, self.budget)

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        waiting: deque[Unit] = deque()
        source = iter(units)
        exhausted = False
        try:
            while True:
                while not exhausted and len(waiting) < 2 * self.count:
                    unit = next(source, None)
                    if unit is None:
                        exhausted = True
                    else:
                        require(unit, self.budget)
                        waiting.append(unit)
                self._assign(waiting)
                busy = [process for process in self.processes if process.unit is not None]
                if not busy:
                    return
                yield from self._collect(busy)
        finally:
            self._end(*(process for process in self.processes if process.unit is not None))

    def run_alone(self, unit: Unit) -> Outcome:
        self._end(*self.processes)
        return next(iter(self.run([unit])))

    def _assign(self, waiting: deque[Unit]) -> None:
        """Give units to free workers while the budget lasts; always at least one."""
        while waiting:
            unit = waiting[0]
            idle = [process for process in self.processes if process.unit is None]
            free = min(idle, key=lambda process: process.case != unit.case, default=None)  # at best the one that has the case open
            if (free is None and len(self.processes) >= self.count) or not self._has_room(unit, free):
                return
            free = free or self._start()
            try:
                free.pipe.send(unit)
            except OSError:
                self._end(free)
                continue
            waiting.popleft()
            free.unit, free.due = unit, time.monotonic() + self.timeout
            free.case, free.nbytes = unit.case, unit.nbytes

    def _has_room(self, unit: Unit, free: _Process | None) -> bool:
        """Whether the budget has room; workers without work may still hold their last case: they end where that is in the way."""
        others = [process for process in self.processes if process is not free]
        for process in sorted(others, key=lambda process: process.unit is not None):
            if sum(other.nbytes for other in others) + unit.nbytes <= self.budget:
                return True
            if process.unit is None:
                self._end(process)
                others.remove(process)
        return not others

    def _collect(self, busy: list[_Process]) -> Iterator[Outcome]:
        """Wait until a worker reports, dies, or has had its time."""
        due = min(process.due for process in busy)
        left = None if due == math.inf else max(0.0, due - time.monotonic())
        ready = wait([entry for process in busy for entry in (process.pipe, process.process.sentinel)], left)
        for process in busy:
            unit = process.unit
            assert unit is not None
            if process.pipe in ready or process.process.sentinel in ready:
                yield self._received(process, unit)
            elif process.due <= time.monotonic():
                self._end(process, patience=0)
                message = f"it took longer than engine.timeout, {self.timeout:g} s, and its worker was ended"
                hint = "a file system that does not answer, or a unit that needs more time: raise engine.timeout"
                yield Outcome(unit, "failed", None, SourceError(message, where=unit.label, hint=hint))

    def _received(self, process: _Process, unit: Unit) -> Outcome:
        """What a worker sent, or how it died."""
        try:
            outcome = Outcome(unit, *process.pipe.recv())
        except (EOFError, OSError):
            process.process.join(timeout=_PATIENCE)
            code = process.process.exitcode
            self._end(process)
            how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
            hint = "signal 9 is what the system sends when memory ends" if code == -9 else ""
            return Outcome(unit, "lost", None, StepError(f"the worker {how}", where=unit.label, hint=hint))
        process.unit, process.due = None, math.inf
        if outcome.status == "lost":  # its memory ended: what it still holds goes with it
            self._end(process, patience=0)
        return outcome

    def _start(self) -> _Process:
        index = next(i for i in range(1, self.count + 1) if all(p.index != i for p in self.processes))
        device = self.devices[(index - 1) % len(self.devices)] if self.devices else "cpu"
        here, there = self.context.Pipe()
        ours, theirs = self.context.Pipe()
        process = self.context.Process(
            target=_serve, args=(there, theirs, self.work, Worker(index, device)), daemon=True, name=f"curate-worker-{index}"
        )
        with _undisturbed():
            process.start()
            there.close()
            theirs.close()
            started = _Process(index, process, here, ours)
            self.processes.append(started)
        return started

    def _end(self, *processes: _Process, patience: float = _PATIENCE) -> None:
        """Ask workers to end, for so many seconds; then make them."""
        for process in processes:
            self.processes.remove(process)
            process.pipe.close()
            if patience:
                process.process.terminate()
        _wait_for(processes, patience)
        for process in processes:
            process.process.kill()
            process.life.close()
        _wait_for(processes, _PATIENCE)
        for process in processes:
            if process.process.is_alive():
                # It hangs within the system, where no signal reaches it. Python would wait for it at its own end: it must not know it.
                multiprocessing.process._children.discard(process.process)  # type: ignore[attr-defined]  # noqa: SLF001

    def close(self) -> None:
        for process in self.processes:
            if process.unit is not None:  # an error, or the user, ended the run
                process.process.terminate()
                continue
            with suppress(OSError):
                process.pipe.send(None)
        _wait_for(self.processes, _PATIENCE)
        self._end(*self.processes, patience=0)


def _wait_for(processes: Sequence[_Process], seconds: float) -> None:
    """Wait until all of them have ended, together no longer than so many seconds."""
    until = time.monotonic() + seconds
    for process in processes:
        process.process.join(timeout=max(0.0, until - time.monotonic()))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C, which goes to all processes of a terminal, waits; those started within never hear of it, not even while they are born."""
    import signal
    from multiprocessing import resource_tracker

    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, life: Connection, work: Work, worker: Worker) -> None:
    """Do units until told to stop, or until the parent is gone."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    _end_with(life)
    while True:
        try:
            unit = pipe.recv()
        except (EOFError, OSError):
            return
        if unit is None:
            return
        result = attempt(work, unit, worker)
        try:
            try:
                pipe.send(result)
            except (BrokenPipeError, OSError):
                raise
            except Exception as error:  # the value does not pickle, and nothing of it was sent
                pipe.send(("failed", None, portable(error)))
        except (BrokenPipeError, OSError):
            return


def _end_with(life: Connection) -> None:
    """End this process at once when the other end of a connection, which only the run has, closes: a killed run leaves no worker behind.

    The system sends SIGIO then, which ends a process whatever it is doing. The parent is another, the server that workers are forked from;
    where the system can (Linux), they end with that too, or the run would wait for them for ever.
    """
    import ctypes
    import fcntl
    import signal

    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if life.poll():  # it closed before
        os._exit(1)


def attempt(work: Work, unit: Unit, worker: Worker) -> tuple[Literal["done", "failed", "lost"], Any, Exception | None]:
    """Status, value and error of a unit; one whose memory ended is as good as lost: alone, it may succeed."""
    try:
        return "done", work(unit, worker), None
    except MemoryError as error:
        message = f"memory ended: {str(error) or 'an allocation failed'}"
        return "lost", None, StepError(message, where=unit.label, hint="lower engine.workers or engine.memory, or make the samples smaller")
    except Exception as error:
        return "failed", None, portable(error)


def portable(error: Exception) -> Exception:
    """An error that crosses process borders with its traceback as text."""
    import traceback

    text = "".join(traceback.format_exception(error))
    if not isinstance(error, CurateError):
        error = StepError(f"{type(error).__name__}: {error}", hint="a bug in curate; --debug shows where")
    elif type(error).__module__ != CurateError.__module__:  # a plugin's own may not survive pickling: its nearest kind does
        kind = next(k for k in type(error).__mro__ if k in (RequestError, SourceError, StepError, RunError, PluginError, CurateError))
        error = kind(error.message, where=error.where, hint=error.hint)
    error.add_note(text)
    error.__cause__ = error.__context__ = None
    return error


def require(unit: Unit, budget: float) -> None:
    """Refuse a unit that needs more than a budget, bytes.

    Raises:
        RequestError: it does.
    """
    if unit.nbytes > budget:
        message = f"{unit.label} needs about {unit.nbytes / 1e9:.2g} GB, the engine's memory is {budget / 1e9:.2g} GB"
        raise RequestError(message, where="engine.memory", hint="raise it, or make the samples smaller")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
