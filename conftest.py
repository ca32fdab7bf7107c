"""Which tests are collected: all of them, or those that belong to the tox environment.

``core`` leaves out what needs plugins, ``mrc`` runs the tests of curate-mrc alone, ``all`` what needs many of them, or tests how they are
packaged; paths given on the command line always run.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

HERE = Path(__file__).parent
NEED_PLUGINS = [*(f"tests/{name}" for name in ("docs", "golden", "packaging", "resilience", "specs")), "benchmarks"]
DONE_ALONE = [*(f"tests/{name}" for name in ("core", "builtin", "cli", "run", "scaffold", "testing")), "plugins"]
"""What the environments core and of each plugin run; all of it is run together with the lowest and the newest dependencies."""
THE_SAME = [f"tests/{name}" for name in ("resilience", "packaging", "docs", "scaffold", "specs", "testing")] + ["benchmarks"]
"""What quick environments leave out: it depends on the system and on curate's own code, hardly on interpreters or versions of others."""
ALONE = ["classify"]
"""Plugins that are tested in an environment of their own, or where they are installed."""


def ignored(environment: str) -> list[str]:
    """Paths that an environment leaves out, by the factors in its name."""
    plugins = {folder.name.removeprefix("curate-"): f"plugins/{folder.name}" for folder in sorted(HERE.glob("plugins/curate-*"))}
    factors = environment.split("-")
    if not environment:
        return [plugins[name] for name in ALONE if importlib.util.find_spec(f"curate_{name}") is None]
    if "core" in factors:
        return [*NEED_PLUGINS, "plugins"]
    if set(factors) & set(plugins):
        return ["tests", "benchmarks", *(path for name, path in plugins.items() if name not in factors)]
    if {"lowest", "newest", "quick"} & set(factors):
        return [*(plugins[name] for name in ALONE), *(THE_SAME if "quick" in factors else ())]
    return DONE_ALONE


if importlib.util.find_spec("hypothesis") is not None:  # not every plugin's tests need it
    from hypothesis import settings

    settings.register_profile("curate", deadline=None)  # a busy machine is no mistake
    settings.load_profile("curate")

collect_ignore = ["curate_core", *ignored(os.environ.get("TOX_ENV_NAME", ""))]  # the scaffold holds tests of packages to be
