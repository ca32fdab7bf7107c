"""The specification of a dataset of pairs as metroem writes it: its ``pairs``, and what ``create-spec`` fills in.

A pair is ``{"src": place, "tgt": place}`` or a list of the two. A place is ``x_start, y_start, z_start``, the least corner of its box, or
``x, y, z``, its centre; both in voxels of mip 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from curate_align.places import numbers
from curate_core import NDArray, RequestError

Anchor = Literal["corner", "centre"]
CORNER, CENTRE = ("x_start", "y_start", "z_start"), ("x", "y", "z")


def is_pair_spec(content: object) -> bool:
    """Whether JSON has the look of such a specification."""
    return isinstance(content, dict) and isinstance(content.get("pairs"), list)


def read_pairs(pairs: Sequence[Any], where: str) -> tuple[NDArray, NDArray, Anchor]:
    """Places (n, 3) float64 x, y, z of all pairs, src and tgt, and what they are of their boxes.

    Raises:
        RequestError: an entry is no pair, or corners and centres are mixed.
    """
    found: dict[str, list[list[float]]] = {"src": [], "tgt": []}
    anchors: set[Anchor] = set()
    for number, pair in enumerate(pairs):
        both = [pair.get("src"), pair.get("tgt")] if isinstance(pair, dict) else pair
        if not isinstance(both, list) or len(both) != 2:
            message = f"pairs.{number} is no pair"
            raise RequestError(message, where=where, hint='a pair is {"src": ..., "tgt": ...}, or a list of the two')
        for name, place in zip(found, both, strict=True):
            values, anchor = _place(place, f"pairs.{number}.{name}", where)
            found[name].append(values)
            anchors.add(anchor)
    if len(anchors) > 1:
        message = "some places are corners (x_start, y_start, z_start), others centres (x, y, z)"
        raise RequestError(message, where=where, hint="write them alike")
    src, tgt = (np.array(places, np.float64).reshape(-1, 3) for places in found.values())
    return src, tgt, anchors.pop() if anchors else "corner"


def _place(place: Any, at: str, where: str) -> tuple[list[float], Anchor]:
    if isinstance(place, dict):
        if all(key in place for key in CORNER):
            return numbers([place[key] for key in CORNER], where, at), "corner"
        if all(key in place for key in CENTRE):
            return numbers([place[key] for key in CENTRE], where, at), "centre"
    message = f"{at} is no place"
    raise RequestError(message, where=where, hint='a place is {"x_start": 0, "y_start": 0, "z_start": 0}, or {"x": 0, "y": 0, "z": 0}')


def write_pairs(src: NDArray, tgt: NDArray, anchor: Anchor) -> list[dict[str, dict[str, int]]]:
    """Places (n, 3) int64 x, y, z as the ``pairs`` of a specification."""
    keys = CORNER if anchor == "corner" else CENTRE
    both = zip(src.tolist(), tgt.tolist(), strict=True)
    return [{"src": dict(zip(keys, a, strict=True)), "tgt": dict(zip(keys, b, strict=True))} for a, b in both]
