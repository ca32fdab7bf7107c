"""Which tests are collected: all of them, or those that belong to the tox environment.

``core`` leaves out what needs plugins, ``mrc`` runs the tests of curate-mrc alone; paths given on the command line always run.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings

HERE = Path(__file__).parent
NEED_PLUGINS = ["tests/specs", "tests/packaging", "benchmarks"]


def ignored(environment: str) -> list[str]:
    """Paths that an environment leaves out, by the factors in its name."""
    plugins = {folder.name.removeprefix("curate-"): f"plugins/{folder.name}" for folder in sorted(HERE.glob("plugins/curate-*"))}
    factors = environment.split("-")
    if "core" in factors:
        return [*NEED_PLUGINS, "plugins"]
    if set(factors) & set(plugins):
        return ["tests", "benchmarks", *(path for name, path in plugins.items() if name not in factors)]
    return []


settings.register_profile("curate", deadline=None)  # a busy machine is no mistake
settings.load_profile("curate")

collect_ignore = ["curate_core", *ignored(os.environ.get("TOX_ENV_NAME", ""))]  # the scaffold holds tests of packages to be
