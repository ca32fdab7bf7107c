"""From the subjects' parts to one file: groups are copied with their chunks as they are, and the root gets its lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from curate_hdf5.assembly import assembling
from curate_hdf5.create import encoded, write_attributes

from curate_core import Piece, Plain
from curate_dmri.session import TREATMENTS, config_text
from curate_dmri.stored import text_of

VERSION = 2
"""``version`` of the file: that of dwi_ml's ``HDF5Creator.HDF_DATABASE_VERSION``."""
UNDEFINED = "Not defined by user"
SPLITS = {
    "training_subjs": ("training", "train"),
    "validation_subjs": ("validation", "valid", "val"),
    "testing_subjs": ("testing", "test"),
}
_STANDARDIZATION = {"layer": "all", "feature": "independent", "file": "per_file"}


def assemble(out: Any, pieces: Sequence[Piece], config: Mapping[str, Any] | None) -> list[Plain]:
    """One file of many subjects.

    Args:
        out: the file to make.
        pieces: in manifest order; their places are groups, or datasets in them.
        config: what the attribute ``groups_config`` shall hold; None: what the first subject's groups say.
    """
    from h5py import h5o

    subjects: dict[str, Plain] = {}
    tops: dict[str, Piece] = {}
    for piece in pieces:
        subjects.setdefault(piece.case, piece.attributes.get("split"))
        group = "/".join(str(piece.place).split("/")[:2])  # what lies in the group of streamlines comes with it
        tops.setdefault(group, piece)
    with assembling(out) as (groups, sources):
        for path, piece in tops.items():
            parent, last = groups.parent_of(path)
            h5o.copy(sources.file(piece.path).id, encoded(path), parent, last)
        root = groups.file
        first = next(iter(subjects), "")
        mine = [piece for piece in tops.values() if piece.case == first]
        attributes: dict[str, Any] = {"version": np.int64(VERSION)}
        for name, words in SPLITS.items():
            attributes[name] = _texts([subject for subject, split in subjects.items() if _among(split, words)])
        attributes["chosen_subjs"] = _texts(list(subjects))
        described = {piece.array: _describe(root[encoded(path)], piece) for path, piece in tops.items() if piece in mine}
        attributes["groups_config"] = config_text(described if config is None else config)
        for name in TREATMENTS:
            found = [root[encoded(path)].attrs[name] for path, piece in tops.items() if name in root[encoded(path)].attrs and piece in mine]
            attributes[name] = np.asarray(found[0]) if found else UNDEFINED
        write_attributes(root, attributes)
    return [piece.place for piece in pieces]


def _texts(values: Sequence[str]) -> np.ndarray[Any, Any]:
    import h5py

    return np.array([value.encode("utf-8", "backslashreplace") for value in values], dtype=h5py.string_dtype())


def _among(split: Plain, words: Sequence[str]) -> bool:
    return any(entry in words for entry in split) if isinstance(split, list) else split in words


def _describe(group: Any, piece: Piece) -> dict[str, Plain]:
    """A group as dwi_ml's configuration says it."""
    sources: Any = piece.attributes.get("sources", {})
    prefix = f"{piece.case}/"
    described: dict[str, Plain] = {"type": str(text_of(group.attrs["type"]))}
    described["files"] = [str(name).removeprefix(prefix) for name in sources.get(piece.array, [])]
    if "standardization" in group.attrs:
        described["standardization"] = _STANDARDIZATION[str(text_of(group.attrs["standardization"]))]
    return described
