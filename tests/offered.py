"""What the repository's plugins offer, whether they are installed or not."""

from __future__ import annotations

import runpy
from pathlib import Path

from curate_core import Provider

ROOT = Path(__file__).parents[1]
BUILTIN = ROOT / "curate_core" / "builtin"
PLUGINS = sorted(ROOT.glob("plugins/curate-*"))


def offered(folder: Path) -> list[Provider]:
    """The components of a plugin, by its folder; of the core, by ``BUILTIN``."""
    (plugin,) = [folder / "plugin.py"] if folder == BUILTIN else folder.glob("src/*/plugin.py")
    hooks = [hook for name, hook in runpy.run_path(str(plugin)).items() if name.startswith("curate_register_")]
    return [provider for hook in hooks for provider in hook()]
