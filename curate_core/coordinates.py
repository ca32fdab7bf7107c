"""Places of ROIs as plain numpy arrays, N x D, which any program reads: what ``curate rois`` writes and ``coordinates`` reads.

A folder holds ``<case>.npy``, one for each case. A single ``.npy`` file holds the rows of all cases, and beside it ``<stem>.cases.json``
says which are whose: ``{"anchor": "center", "size": [64, 64, 64], "cases": {"a": [0, 12], "b": [12, 40]}}`` (first row, last row + 1).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from curate_core.arrays import NDArray
from curate_core.errors import RequestError
from curate_core.npz import save_array
from curate_core.rois import RoiTable

Anchor = Literal["center", "corner"]


def to_start(places: NDArray, size: NDArray, anchor: Anchor) -> NDArray:
    """First voxel of boxes of ``size`` (D,) at ``places`` (N, D): the centre of n voxels is the one of index n // 2."""
    return places if anchor == "corner" else places - size // 2


def from_start(start: NDArray, size: NDArray, anchor: Anchor) -> NDArray:
    """What ``to_start`` takes back."""
    return start if anchor == "corner" else start + size // 2


def save_coordinates(path: Path, cases: Mapping[str, RoiTable], anchor: Anchor) -> None:
    """Write where the ROIs of cases are: a ``.npy`` file with its index beside it, or otherwise a folder.

    Raises:
        RequestError: ROIs of several views, of several sizes, or that lose an axis: there is more to them than a place.
    """
    places: dict[str, NDArray] = {}
    sizes: set[tuple[int, ...]] = set()
    for case, table in cases.items():
        if len(table.views) != 1 or table.views[0].drop is not None:
            message = f"the ROIs of case {case} have several views or lose an axis, which places cannot say"
            raise RequestError(message, where=str(path), hint="write them as .npz or .jsonl")
        view = table.views[0]
        sizes |= set(map(tuple, np.unique(view.shape, axis=0).tolist())) if len(view) else set()
        places[case] = from_start(view.start, view.shape, anchor)
    if len(sizes) > 1:
        message = f"the ROIs have several sizes, {min(sizes)} and {max(sizes)} among them, which places cannot say"
        raise RequestError(message, where=str(path), hint="write them as .npz or .jsonl")
    if path.suffix.lower() == ".npy":
        _save_one(path, places, anchor, list(next(iter(sizes), ())))
        return
    for case, array in places.items():
        file = path / f"{case}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        _save(file, array)


def _save_one(path: Path, places: Mapping[str, NDArray], anchor: Anchor, size: list[int]) -> None:
    edges = np.cumsum([0, *map(len, places.values())]).tolist()
    cases = {case: edges[i : i + 2] for i, case in enumerate(places)}
    index = {"anchor": anchor, "size": size, "cases": cases}
    filled = [array for array in places.values() if len(array)]
    _save(path, np.concatenate(filled) if filled else np.zeros((0, 0), np.int64))
    _index_of(path).write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", errors="surrogatepass")


def _save(path: Path, array: NDArray) -> None:
    aside = path.with_name(f".{path.name}.partial")
    save_array(aside, array)
    aside.replace(path)


def _index_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.cases.json")


def load_coordinates(path: Path, case: str) -> NDArray | None:
    """The places of a case, (N, D) int64, from a folder or a file; None when the case is not in it.

    Raises:
        RequestError: there is no such folder or file, or it holds something else.
    """
    if path.is_dir():
        file = path / f"{case}.npy"
        return _load(file) if file.exists() else None
    if not path.exists():
        message = "there is no such folder or file of coordinates"
        raise RequestError(message, where=str(path))
    array, beside = _load(path), _index_of(path)
    try:
        cases: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8", errors="surrogatepass"))["cases"]
        if case not in cases:
            return None
        first, last = cases[case]
        if not 0 <= first <= last <= len(array):
            message = f"rows {first} to {last} of {len(array)}"
            raise ValueError(message)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"which rows of {path.name} are whose cannot be read from beside it: {error}"
        hint = 'it looks like {"cases": {"a": [0, 12], "b": [12, 40]}}; or use a folder with a file for each case'
        raise RequestError(message, where=str(beside), hint=hint) from error
    rows: NDArray = array[first:last]
    return rows


def _load(file: Path) -> NDArray:
    try:
        array: NDArray = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf" or array.ndim != 2:
            message = "expected numbers of shape (N, D)"
            raise ValueError(message)
        with np.errstate(invalid="ignore"):  # NaN is refused below
            whole = array.astype(np.int64)
        if not (whole == array).all():
            message = "expected whole numbers of voxels"
            raise ValueError(message)
    except (OSError, ValueError, EOFError) as error:
        message = f"this is no file of coordinates: {error}"
        raise RequestError(message, where=str(file)) from error
    return whole
