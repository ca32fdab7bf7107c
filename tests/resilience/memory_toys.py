"""A plugin whose components take memory, hang and stop; importable in worker processes."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from attrs import frozen

from curate_core import option
from curate_core.grid import Grid
from curate_core.hookspec import hookimpl
from curate_core.kinds import Reader, Transform
from curate_core.model import Image
from curate_core.providers import Provider

CURATE_HOOK_API = 1


@hookimpl
def curate_register_transforms():
    yield Provider("transform", "trouble", "Does what it should not.", "memory_toys:Trouble")


@hookimpl
def curate_register_readers():
    yield Provider("reader", "held", "Holds its layer in memory.", "memory_toys:Held", (".held",))


@frozen
class Trouble(Transform):
    """Does what it should not."""

    do: str = option(doc="What.")
    case: str = option(doc="To whose samples.")
    megabytes: int = option(doc="That hog takes.", default=0)
    log: Path | None = option(doc="File that gets a line for each try.", default=None)

    def apply(self, batch, context):
        if context.case == self.case:
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(f"{self.do}\n")
            getattr(self, self.do)()
        return batch

    def hog(self):
        np.ones(self.megabytes << 20, np.uint8).sum()

    def sleep(self):
        time.sleep(600)

    def stop(self):
        os.kill(os.getpid(), signal.SIGSTOP)

    def kill_the_server_of_workers(self):
        parent = os.getppid()
        assert b"forkserver" in Path(f"/proc/{parent}/cmdline").read_bytes()
        if not self.log.read_text().count("\n") > 1:
            os.kill(parent, signal.SIGKILL)
            time.sleep(600)


@frozen
class Held(Reader):
    """Holds its layer in memory; the file says how many MB it should be, 0: as many as never come."""

    def open(self, source, context):
        size = int(source.files[0].read_text())
        if not size:
            os.read(os.pipe()[0], 1)  # as a server that is gone: it never answers
        array = np.ones((size, 1024, 1024), np.uint8)
        time.sleep(0.3)  # long enough to be seen
        return Image(array, Grid.from_spacing(array.shape, "zyx", None))

    def resident(self, source):
        return int(source.files[0].read_text()) << 20
