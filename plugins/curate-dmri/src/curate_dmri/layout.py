"""The layout that dwi_ml 1.0 reads: what a file must hold, and how to show it as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from curate_core import NDArray, Plain
from curate_dmri.stored import text_of

LISTS = ("training_subjs", "validation_subjs", "testing_subjs")
SPACES = ("space.vox", "space.voxmm", "space.rasmm", "vox", "voxmm", "rasmm")
ORIGINS = ("origin.trackvis", "origin.nifti")
_ROWS = 1 << 20
_SHOWN = 3


def claims(file: Any) -> bool:
    """Whether an open HDF5 file says that it has this layout: one of the lists of subjects is there."""
    return any(name in file.attrs for name in LISTS)


def subjects_of(file: Any) -> dict[str, list[str]]:
    """List -> its subjects; lists that are missing are empty."""
    return {name: [str(text_of(value)) for value in np.atleast_1d(file.attrs.get(name, np.zeros(0, object)))] for name in LISTS}


def describe(file: Any) -> Mapping[str, Plain]:
    """A file as lines: its lists, and the tree of its first subjects."""
    lists = subjects_of(file)
    lines: dict[str, Plain] = {"layout": f"dwi_ml, version {_short(file.attrs.get('version'))}"}
    for name, subjects in lists.items():
        some = ", ".join(subjects[:_SHOWN]) + (", ..." if len(subjects) > _SHOWN else "")
        lines[name] = f"{len(subjects):,}: {some}" if subjects else "none"
    for name in ("step_size", "nb_points", "compress"):
        if name in file.attrs:
            lines[name] = _short(file.attrs[name])
    shown = [subject for subjects in lists.values() for subject in subjects if subject in file][:_SHOWN]
    total = len({subject for subjects in lists.values() for subject in subjects})
    tree = ["/"]
    for position, subject in enumerate(shown):
        tree += _tree(file[subject], subject, "", last=position == len(shown) - 1 and total <= len(shown))
    if total > len(shown):
        tree.append(f"└── ... {total - len(shown):,} more")
    lines["tree"] = [*tree]
    return lines


def _tree(node: Any, name: str, indent: str, *, last: bool) -> list[str]:
    """A group or dataset and what is below it, as lines."""
    branch, below = ("└── ", "    ") if last else ("├── ", "│   ")
    if not hasattr(node, "keys"):
        storage = f", {node.compression}" if node.compression else ""
        chunks = f", chunks {' x '.join(map(str, node.chunks))}" if node.chunks else ""
        return [f"{indent}{branch}{name}: {' x '.join(map(str, node.shape)) or 'scalar'} {node.dtype}{chunks}{storage}"]
    kind = text_of(node.attrs.get("type", ""))
    facts = [str(kind)] if kind else []
    if kind == "volume":
        facts += [f"{_short(node.attrs.get('nb_features'))} features", f"voxels {_short(node.attrs.get('voxres'))} mm"]
    elif kind == "streamlines":
        count = len(node["offsets"]) if "offsets" in node else "?"
        facts += [f"{count:,} of them" if isinstance(count, int) else "?", str(text_of(node.attrs.get("space", "?")))]
    lines = [f"{indent}{branch}{name} ({', '.join(facts)})" if facts else f"{indent}{branch}{name}"]
    keys = list(node)
    for position, key in enumerate(keys):
        lines += _tree(node[key], key, indent + below, last=position == len(keys) - 1)
    return lines


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim:
        return " x ".join(f"{entry:.6g}" for entry in value.tolist())
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    return "not stated" if value is None else str(text_of(value))


def problems(file: Any) -> Iterator[str]:
    """What of an open HDF5 file is not as dwi_ml reads it, in words; nothing where all is."""
    if "version" not in file.attrs:
        yield "/: has no attribute version"
    lists: dict[str, list[str]] = {}
    for name in LISTS[:2]:
        if name not in file.attrs:
            yield f"/: has no attribute {name}"
    lists = subjects_of(file)
    seen: dict[str, str] = {}
    for name, subjects in lists.items():
        for subject in subjects:
            if subject in seen:
                yield f"/: subject {subject} is in {seen[subject]} and in {name}"
            seen[subject] = name
            if subject not in file or not hasattr(file[subject], "keys"):
                yield f"/: subject {subject} of {name} has no group"
    stray = [name for name in file if name not in seen and name != "bundle_dict"]
    for name in stray:
        yield f"/{name}: is in none of the lists of subjects"
    first: list[str] | None = None
    for subject in seen:
        if subject not in file or not hasattr(file[subject], "keys"):
            continue
        groups = list(file[subject])
        if first is None:
            first = groups
        elif groups != first:
            yield f"/{subject}: has the groups {', '.join(groups)}, the first subject has {', '.join(first)}"
        yield from _subject(file[subject], f"/{subject}")


def _subject(node: Any, path: str) -> Iterator[str]:
    places: dict[str, tuple[NDArray, tuple[int, ...]]] = {}
    for name in node:
        where = f"{path}/{name}"
        group = node[name]
        if not hasattr(group, "keys"):
            yield f"{where}: is a dataset, expected a group"
            continue
        kind = text_of(group.attrs.get("type"))
        if kind not in ("volume", "streamlines"):
            yield f"{where}: its attribute type is {kind!r}, expected 'volume' or 'streamlines'"
            continue
        try:
            found = list(_volume(group, where) if kind == "volume" else _streamlines(group, where))
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            yield f"{where}: cannot be read: {error}"
            continue
        yield from found
        if not found:
            affine = np.asarray(group.attrs["affine"], np.float64)
            shape = group["data"].shape[:3] if kind == "volume" else tuple(int(n) for n in group.attrs["dimensions"])
            places[where] = (affine, tuple(shape))
    if places:
        other, (affine, shape) = next(iter(places.items()))
        for where, (mine, size) in places.items():
            if size != shape or not np.allclose(mine, affine, 1e-3, 1e-3):
                yield f"{where}: lies on another grid than {other}"


def _missing(group: Any, where: str, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name not in group.attrs:
            yield f"{where}: has no attribute {name}"


def _dataset(group: Any, where: str, name: str, kinds: str, axes: int) -> Iterator[str]:
    if name not in group or hasattr(group[name], "keys"):
        yield f"{where}: has no dataset {name}"
    elif group[name].dtype.kind not in kinds or group[name].ndim != axes:
        yield f"{where}/{name}: is {group[name].dtype} of {group[name].ndim} axes, expected {axes} axes of {_KINDS[kinds]}"


_KINDS = {"f": "float", "iu": "whole numbers", "biuf": "numbers"}


def _volume(group: Any, where: str) -> Iterator[str]:
    bad = [*_missing(group, where, ("affine", "voxres", "nb_features")), *_dataset(group, where, "data", "f", 4)]
    yield from bad
    if bad:
        return
    data = group["data"]
    affine = np.asarray(group.attrs["affine"], np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        yield f"{where}: its affine is no 4 x 4 table of numbers"
    elif not np.allclose(np.linalg.norm(affine[:3, :3], axis=0), np.asarray(group.attrs["voxres"], np.float64).reshape(-1), 1e-3):
        yield f"{where}: its voxres {_short(group.attrs['voxres'])} is not the voxel size of its affine"
    if int(group.attrs["nb_features"]) != data.shape[3]:
        yield f"{where}: nb_features is {int(group.attrs['nb_features'])}, data has {data.shape[3]}"
    step = max(1, (_ROWS * 16) // max(1, int(np.prod(data.shape[1:])) * data.dtype.itemsize))
    wrong = sum(int((~np.isfinite(data[start : start + step])).sum()) for start in range(0, data.shape[0], step))
    if wrong:
        yield f"{where}/data: {wrong} values are NaN or infinite"


def _streamlines(group: Any, where: str) -> Iterator[str]:
    bad = [*_missing(group, where, ("space", "affine", "dimensions", "voxel_sizes", "voxel_order"))]
    for name, kinds, axes in (("data", "f", 2), ("offsets", "iu", 1), ("lengths", "iu", 1), ("euclidean_lengths", "f", 1)):
        bad += _dataset(group, where, name, kinds, axes)
    yield from bad
    if bad:
        return
    space = str(text_of(group.attrs["space"])).lower()
    if space not in SPACES:
        yield f"{where}: its space is {space!r}, expected one of {', '.join(SPACES[:3])}"
    origin = str(text_of(group.attrs.get("origin", ORIGINS[0]))).lower()
    if origin not in ORIGINS:
        yield f"{where}: its origin is {origin!r}, expected one of {', '.join(ORIGINS)}"
    offsets, lengths, euclidean = (np.asarray(group[name]) for name in ("offsets", "lengths", "euclidean_lengths"))
    rows = group["data"].shape[0]
    if group["data"].shape[1] != 3:
        yield f"{where}/data: has {group['data'].shape[1]} columns, expected 3"
    if not len(offsets) == len(lengths) == len(euclidean):
        yield f"{where}: {len(offsets)} offsets, {len(lengths)} lengths and {len(euclidean)} euclidean_lengths"
        return
    outside = (offsets < 0) | (lengths < 0) | (offsets.astype(np.int64) + lengths > rows)
    if outside.any():
        yield f"{where}: streamline {int(np.argmax(outside))} reaches beyond the {rows} points"
        return
    for name in group.get("data_per_streamline", {}):
        if len(group["data_per_streamline"][name]) != len(offsets):
            yield f"{where}/data_per_streamline/{name}: has not one row a streamline"
    yield from _connectivity(group, where)
    if space.endswith("vox") and origin == ORIGINS[0] and group["data"].shape[1] == 3:
        yield from _inside(group, where, rows)


def _inside(group: Any, where: str, rows: int) -> Iterator[str]:
    sizes = np.asarray(group.attrs["dimensions"], np.float64)
    count = 0
    for start in range(0, rows, _ROWS):
        points = np.asarray(group["data"][start : start + _ROWS])
        count += int((~((points >= 0) & (points < sizes)).all(axis=1)).sum())
    if count:
        yield f"{where}/data: {count} points lie outside of the volume, or are NaN"


def _connectivity(group: Any, where: str) -> Iterator[str]:
    if "connectivity_matrix" not in group:
        return
    matrix = group["connectivity_matrix"]
    kind = text_of(group.attrs.get("connectivity_matrix_type"))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        yield f"{where}/connectivity_matrix: has the shape {matrix.shape}, expected as many rows as columns"
    elif kind == "from_blocs":
        blocs = np.asarray(group.attrs.get("connectivity_nb_blocs", []))
        if int(np.prod(blocs)) != matrix.shape[0]:
            yield f"{where}: connectivity_nb_blocs {_short(blocs)} does not fit a matrix of {matrix.shape[0]} regions"
    elif kind == "from_labels":
        if "connectivity_label_volume" not in group:
            yield f"{where}: has no dataset connectivity_label_volume"
    else:
        yield f"{where}: its connectivity_matrix_type is {kind!r}, expected 'from_blocs' or 'from_labels'"
