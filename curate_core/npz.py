"""Named arrays in one file: uncompressed .npz without pickle, and the same bytes for the same arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from curate_core.arrays import NDArray


def save_arrays(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Write arrays of numbers, booleans or fixed-width text.

    Raises:
        ValueError: an array holds objects.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():  # a ZipInfo of its own has a fixed date; np.savez pickles objects before numpy 2.2
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def load_arrays(path: Path) -> dict[str, NDArray]:
    """What ``save_arrays`` wrote.

    Raises:
        OSError, ValueError, KeyError, EOFError: it is another file, or a damaged one.
    """
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:  # given a path, np.load leaves damaged files open
        return dict(archive)
