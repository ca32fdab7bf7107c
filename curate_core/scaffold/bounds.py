"""Which versions of curate a distribution asks for that was made with one of them."""

from __future__ import annotations


def bounds(version: str) -> str:
    """The rule of ``docs/explanation/versioning.md``: this minor version and, from 1.0 on, every later one of the same major.

    Args:
        version: of the core, ``"0.1.0"``.

    Returns:
        what stands behind a distribution's name, ``">=0.1,<0.2"``; of 1.2.0 ``">=1.2,<2"``.
    """
    major, minor = map(int, version.split(".")[:2])
    return f">={major}.{minor},<{major + 1}" if major else f">=0.{minor},<0.{minor + 1}"
