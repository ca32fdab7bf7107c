"""What curate-align offers. Every curate command imports this module, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1
_HERE = "curate_align"


@hookimpl
def curate_register_preprocessors() -> Iterator[Provider]:
    """Layers of different mips on one grid."""
    yield Provider("preprocessor", "to-mip", "Layers of different mips on one grid, lazily.", f"{_HERE}.tomip:ToMip")
