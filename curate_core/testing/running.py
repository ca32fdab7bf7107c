"""Whole runs in tests."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


def run_spec(spec: Mapping[str, Any], folder: Path) -> Any:
    """Run a spec in this process and open the dataset that it made.

    Args:
        spec: as a spec file holds it; ``output`` is ``out`` below ``folder``, the engine works in this process, unless it says otherwise.
        folder: where relative paths start.

    Returns:
        The dataset, a :class:`curate_core.dataset.Dataset`.

    Raises:
        CurateError: as ``curate run`` would report it.
    """
    whole = {"version": 1, "name": "test", "output": "out", "engine": {"use": "local", "workers": 0}, **spec}
    import_module("curate_core.runner").run(whole, folder=folder)
    return import_module("curate_core.dataset").Dataset(folder / str(whole["output"]))
