"""Compression filters that a dataset needs and this installation may lack."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from curate_core import SourceError

NAMES = {
    1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 305: "lzo", 307: "bzip2", 32000: "lzf",
    32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32017: "sz", 32018: "fcidecomp", 32019: "jpeg",
    32024: "sz3", 32026: "blosc2", 32028: "sperr",
}  # fmt: skip
"""Registered numbers of HDF5 filters, https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md"""


def filters_of(dataset: Any) -> list[int]:
    """Numbers of the filters of an ``h5py.Dataset``, as they were applied."""
    plist = dataset.id.get_create_plist()
    return [int(plist.get_filter(i)[0]) for i in range(plist.get_nfilters())]


def require_filters(dataset: Any, path: Path) -> None:
    """Make sure that a dataset can be decoded; hdf5plugin is used where it is installed and needed.

    Raises:
        SourceError: a filter is missing; names it.
    """
    import h5py

    codes = filters_of(dataset)
    if all(h5py.h5z.filter_avail(code) for code in codes):
        return
    with suppress(ImportError):
        import_module("hdf5plugin")  # registers what it brings
    missing = [code for code in codes if not h5py.h5z.filter_avail(code)]
    if missing:
        names = ", ".join(f"{NAMES[code]} (HDF5 filter {code})" if code in NAMES else f"HDF5 filter {code}" for code in missing)
        message = f"{dataset.name} is compressed with {names}, which is not installed"
        raise SourceError(message, where=str(path), hint="pip install hdf5plugin")
