"""Work for the local engine, and a plugin whose transform meets with accidents; importable in worker processes."""

import os
import signal
import time
from pathlib import Path

from attrs import frozen

from curate_core import option
from curate_core.errors import SourceError
from curate_core.hookspec import hookimpl
from curate_core.kinds import Transform
from curate_core.providers import Provider

CURATE_HOOK_API = 1


@hookimpl
def curate_register_transforms():
    yield Provider("transform", "accident", "Ends the process where told to.", "engine_toys:Accident")


@frozen
class Accident(Transform):
    """Ends the process where told to."""

    case: str = option(doc="Whose samples kill the worker.")
    once: Path | None = option(doc="Only while there is no such file; it is made then.", default=None)

    def apply(self, batch, context):
        if context.case == self.case and not (self.once and self.once.exists()):
            if self.once:
                self.once.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return batch


class Unpicklable(Exception):
    """An error that cannot be sent: it holds a function."""

    def __init__(self, text):
        super().__init__(text, lambda: None)


class OwnError(SourceError):
    """A plugin's error with a signature of its own, which pickling would not know."""

    def __init__(self, path, line):
        super().__init__(f"line {line} is torn", where=path, hint="copy it again")


def work(unit, worker):
    """Does what the unit's task says; the value tells who did it."""
    verb, *rest = unit.task
    if verb == "square":
        return rest[0] ** 2
    if verb == "who":
        time.sleep(0.05)
        return worker.index, worker.device, os.getpid()
    if verb == "kill":
        os.kill(os.getpid(), rest[0])
        time.sleep(60)
    if verb == "exit":
        os._exit(rest[0])
    if verb == "source-error":
        raise SourceError("the header is torn", where="a.npy", hint="copy it again")
    if verb == "own error":
        raise OwnError("a.npy", 3)
    if verb == "bug":
        return {}["nothing here"]
    if verb == "unpicklable error":
        raise Unpicklable("boom")
    if verb == "unpicklable value":
        return lambda: None
    if verb == "span":
        began = time.monotonic()
        time.sleep(rest[0])
        return began, time.monotonic()
    raise AssertionError(verb)
