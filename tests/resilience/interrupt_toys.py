"""A plugin with a step that takes long; importable in worker processes."""

import time
from pathlib import Path

import numpy as np
from attrs import frozen

from curate_core import option
from curate_core.hookspec import hookimpl
from curate_core.kinds import Transform
from curate_core.providers import Provider

CURATE_HOOK_API = 1


@hookimpl
def curate_register_transforms():
    yield Provider("transform", "dawdle", "Takes long at one case.", "interrupt_toys:Dawdle")


@frozen
class Dawdle(Transform):
    """Takes long at one case, while a file is there."""

    case: str = option(doc="At which.")
    how: str = option(doc="Asleep, or in one call of a library's code.", choices=("sleep", "library"))
    marks: Path = option(doc="Folder: `slow` makes it slow, `begun` says that it is at it.")

    def apply(self, batch, context):
        if context.case == self.case and (self.marks / "slow").exists():
            (self.marks / "begun").touch()
            if self.how == "sleep":
                time.sleep(600)
            else:
                np.sort(np.random.default_rng(0).random(3 * 10**8))
        return batch
