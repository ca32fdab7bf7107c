"""Where kept patches come from: read off a curated dataset's manifest, or off the names in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curate_core import NDArray, RequestError
from curate_core.layout import DATASET, MANIFEST
from curate_em.names import MARK, PLANES, Location, parse_loc

COLUMNS = ("axis", "index", "row0", "row1", "column0", "column1")
Patches = Mapping[str, NDArray]
"""Volume's name -> (n, 6) int64, sorted, each place once; see ``COLUMNS``."""


def read_patches(paths: Iterable[Path]) -> Patches:
    """The places of all patches of volumes; patches of single images, which have no depth, are left out.

    Args:
        paths: curated datasets, manifests of such, and folders whose files have ``-LOC-`` names, at any depth.

    Raises:
        RequestError: one is not there, or names no patch.
    """
    found: dict[str, list[tuple[int, ...]]] = {}
    for path in paths:
        count = 0
        for place in _places(path):
            count += 1
            if place.plane in PLANES:
                row = (PLANES[place.plane], place.index, *place.rows, *place.columns)
                found.setdefault(place.dataset, []).append(row)
        if not count:
            message = f"nothing here says where a patch was cut: neither a manifest nor a name with {MARK}"
            raise RequestError(message, where=str(path))
    return {name: np.unique(np.array(rows, np.int64), axis=0) for name, rows in sorted(found.items())}


def _places(path: Path) -> Iterator[Location]:
    if path.is_dir() and not (path / DATASET).exists():
        return _named(path)
    manifest = path / MANIFEST if path.is_dir() else path
    if not manifest.is_file():
        message = "there is no curated dataset and no folder of patches"
        raise RequestError(message, where=str(path))
    return _listed(manifest)


def _named(folder: Path) -> Iterator[Location]:
    """Files by their names; others lie beside them without harm."""
    for _, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            place = _place(name)
            if place is not None:
                yield place


def _place(name: str) -> Location | None:
    try:
        return parse_loc(name)
    except ValueError:
        return None


def _listed(manifest: Path) -> Iterator[Location]:
    with manifest.open(encoding="utf-8", errors="surrogatepass") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                place = _place_of(row)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                message = f"line {number} is not one of a manifest: {error}"
                raise RequestError(message, where=str(manifest)) from error
            if place is not None:
                yield place


def _place_of(row: Mapping[str, Any]) -> Location | None:
    """By the name of the sample's file, of the file that it was filtered from, or by its box in the volume."""
    names = [placement["file"] for placement in row["arrays"].values() if placement.get("place") is None]
    for name in (*names, str(row["attributes"].get("stem", ""))):
        place = _place(name)
        if place is not None:
            return place
    plane = row["attributes"].get("plane")
    view = next(iter(row["views"].values()))
    if plane not in PLANES or view["axes"] != "zyx":
        return None
    edges = list(zip(view["start"], view["stop"], strict=True))
    index = edges.pop(PLANES[plane])[0]
    return Location(row["case"].rpartition("/")[2], plane, index, edges[0], edges[1])
