"""Arrays in NumPy's own formats: .npy, and named arrays in an uncompressed .npz; without pickle, and the same bytes for the same arrays.

``np.save`` writes through C streams whose errors it does not look at: on a full disk it leaves short files and says nothing. What is
written here goes through Python's files, which raise.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from curate_core.arrays import NDArray


def save_array(path: Path, array: NDArray) -> None:
    """Write an array of numbers in C order as .npy, the bytes that ``np.save`` writes.

    Raises:
        OSError: the file is not whole.
    """
    save_slabs(path, array.shape, array.dtype, [array])


def save_slabs(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], slabs: Iterable[NDArray]) -> None:
    """Write an array as .npy, slab by slab along its first axis.

    Raises:
        OSError: the file is not whole.
    """
    with path.open("wb") as file:
        file.write(npy_header(shape, dtype))
        for slab in slabs:
            file.write(np.ascontiguousarray(slab, dtype).data)


@lru_cache(maxsize=256)
def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """What ``np.save`` writes before an array; it leaves room for the first axis to grow, so that its length stays."""
    header = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def save_arrays(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Write arrays of numbers, booleans or fixed-width text.

    Raises:
        ValueError: an array holds objects, or a name is cut short by a NUL.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            if "\0" in name:
                message = f"no archive keeps the name {name!r} whole"
                raise ValueError(message)
            # a ZipInfo of its own has a fixed date; np.savez pickles objects before numpy 2.2
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def load_arrays(path: Path) -> dict[str, NDArray]:
    """What ``save_arrays`` wrote.

    Raises:
        OSError, ValueError, KeyError, EOFError: it is another file, or a damaged one.
    """
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:  # given a path, np.load leaves damaged files open
        arrays = dict(archive)
    strangers = [name for name, values in arrays.items() if not isinstance(values, np.ndarray)]
    if strangers:  # numpy hands out as bytes what does not begin as an array
        message = f"the archive holds {', '.join(map(repr, strangers))}, which is no array"
        raise ValueError(message)
    return arrays
