"""Whole runs in tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from curate_core.dataset import Dataset
from curate_core.host import default_host
from curate_core.kinds import Engine
from curate_core.runner import complete
from curate_core.spec import load


def run_spec(spec: Mapping[str, Any], folder: Path, *, engine: Engine | None = None, listeners: Iterable[object] = ()) -> Any:
    """Run a spec in this process and open the dataset that it made.

    Args:
        spec: as a spec file holds it; ``output`` is ``out`` below ``folder``, the engine works in this process, unless it says otherwise.
        folder: where relative paths start.
        engine: who does the work instead of the spec's engine, whether a plugin offers it or not.
        listeners: objects that implement event hooks.

    Returns:
        The dataset, a :class:`curate_core.dataset.Dataset`.

    Raises:
        CurateError: as ``curate run`` would report it.
    """
    whole = {"version": 1, "name": "test", "output": "out", "engine": {"use": "local", "workers": 0}, **spec}
    loaded = load(whole, default_host(), folder=folder)
    if engine is not None:
        loaded = attrs.evolve(loaded, engine=attrs.evolve(loaded.engine, component=engine))
    complete(loaded, loaded.host, listeners)
    return Dataset(loaded.output)
