"""Which letter each axis of a TIFF series gets."""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = "IQ"
"""tifffile's letters for "a sequence of images" and "other": the file does not say what they count."""


def letters(axes: str, wanted: str = "") -> str | None:
    """Our letters for tifffile's.

    Samples of a pixel become ``c`` (``s`` where the file has a channel axis besides), an axis that the file does not name ``z``.

    Args:
        axes: tifffile's letters, such as ``"ZCYX"`` or ``"QYXS"``.
        wanted: the letters that the user gives instead; empty: none.

    Returns:
        One letter an axis, or None where two unnamed axes leave the choice open.
    """
    if wanted:
        return wanted
    unnamed = [letter for letter in axes if letter in UNKNOWN]
    if len(unnamed) > 1 or (unnamed and "Z" in axes):
        return None
    table = {"C": "c", "S": "s" if "C" in axes else "c", **dict.fromkeys(UNKNOWN, "z")}
    return "".join(table.get(letter, letter.lower()) for letter in axes)


def problem(axes: str, shape: Sequence[int]) -> str:
    """What is wrong with letters that a user gave for a shape; empty when nothing is."""
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or not axes.isalpha() or not axes.islower():
        return f"axes {axes!r} do not name the {len(shape)} axes of shape {tuple(shape)}, each with one lower-case letter of its own"
    return ""
