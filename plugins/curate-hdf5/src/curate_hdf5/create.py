"""Making HDF5 files whose bytes follow from their content alone.

No times are stored, not even in groups, and the format is that of HDF5 1.10, which every HDF5 since 2016 reads, whatever the library would
choose: its datasets cost a fraction of the older format's bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from curate_core import StepError

WHOLE_BYTES = 1 << 20
"""Chunks of samples that are read whole are cut until they have no more bytes."""
PATCH_BYTES = 128 << 10
"""Chunks of arrays that are read in patches are cut until they have no more bytes."""
_ATTRIBUTES = 32
"""Attributes of a dataset that stay in its header."""


@frozen
class Storage:
    """How a dataset is stored.

    Attributes:
        chunks: shape of its chunks; None: in one piece.
        compression: ``lzf``, ``gzip`` or ``none``.
        level: of gzip.
        shuffle: put the first bytes of all values together, then the second, before they are compressed.
        decimals: digits after the point that floats keep, by HDF5's scale-offset filter; None: all they have.
    """

    chunks: tuple[int, ...] | None
    compression: str = "none"
    level: int = 1
    shuffle: bool = True
    decimals: int | None = None


def chunk_shape(shape: Sequence[int], itemsize: int, patch: Sequence[int] | None) -> tuple[int, ...]:
    """Chunks for an array that is read whole, or in patches.

    A chunk begins as the patch and is halved along the axis where it is longest in proportion, the later of two, until it is small
    enough: then a patch that lies anywhere touches few voxels outside of it.

    Args:
        shape: of the array.
        itemsize: bytes of a voxel.
        patch: voxels that are read at a time along the last axes; axes in front have 1; None: all.
    """
    wanted = list(shape) if patch is None else [1] * (len(shape) - len(patch)) + list(patch)
    chunk = [max(1, min(n, w)) for n, w in zip(shape, wanted, strict=True)]
    limit = WHOLE_BYTES if patch is None else PATCH_BYTES
    while math.prod(chunk) * itemsize > limit and max(chunk) > 1:
        axis = max(range(len(chunk)), key=lambda i: (chunk[i] > 1, chunk[i] / max(1, wanted[i]), chunk[i], i))
        chunk[axis] = (chunk[axis] + 1) // 2
    return tuple(chunk)


def encoded(name: str) -> bytes:
    """A path in a file as HDF5 stores it; what UTF-8 has not, as in some names of files, is escaped, for h5py reads nothing else."""
    return name.encode("utf-8", "backslashreplace")


def _access() -> Any:
    from h5py import h5f, h5p

    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    return access


def create_file(path: Path) -> Any:
    """A new ``h5py.File``, for writing.

    Raises:
        FileExistsError: there is one already.
    """
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise FileExistsError(str(path))
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    return h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_EXCL, creation, _access()))


def append_to(path: Path) -> Any:
    """An ``h5py.File`` that ``create_file`` made, to be added to."""
    import h5py

    return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDWR, _access()))


def flush(dataset: Any) -> None:
    """Write what HDF5 still holds of an ``h5py.Dataset``: of a full disk nobody would hear when Python closes it, and HDF5 may crash.

    Raises:
        OSError: the disk is full, or fails; its number is in the text.
    """
    try:
        dataset.flush()
    except RuntimeError as error:
        raise OSError(str(error)) from error


def close_file(file: Any) -> None:
    """Write what HDF5 still holds of an ``h5py.File``, and close it.

    On a full disk HDF5 would keep what it could not write, try again at every chance, and crash when the process ends: it goes nowhere
    then, as the file is of no use.

    Raises:
        OSError: the disk is full, or fails; its number is in the text.
    """
    try:
        file.flush()
    except (OSError, RuntimeError) as error:
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(nowhere, file.id.get_vfd_handle(), inheritable=False)
        os.close(nowhere)
        file.close()
        raise OSError(str(error)) from error
    file.close()


class Groups:
    """The groups of a file, made as they are needed; the last one is kept open, as neighbours share it."""

    def __init__(self, file: Any) -> None:
        from h5py import h5p

        self.file = file
        self._creation = h5p.create(h5p.GROUP_CREATE)
        self._creation.set_obj_track_times(False)
        self._last: tuple[str, Any] = ("", file["/"].id)

    def parent_of(self, path: str) -> tuple[Any, bytes]:
        """The group (a low-level ``GroupID``) that will hold ``path``, and the last name of it.

        Raises:
            StepError: something has that path, or an array is where a group should be.
        """
        folder, _, name = path.rpartition("/")
        group = self._last[1] if folder == self._last[0] else self._group(folder)
        self._last = (folder, group)
        if encoded(name) in group:
            raise taken(path)
        return group, encoded(name)

    def _group(self, folder: str) -> Any:
        from h5py import h5g, h5i, h5o

        group = self.file["/"].id
        for part in folder.split("/") if folder else ():
            name = encoded(part)
            if name not in group:
                group = h5g.create(group, name, gcpl=self._creation)
                continue
            group = h5o.open(group, name)
            if h5i.get_type(group) != h5i.GROUP:
                raise taken(folder)
        return group


def taken(path: str) -> StepError:
    """Two samples, or an array and a group, of one path."""
    message = f"two arrays would take the path {path} in one file, or one lies below the other"
    return StepError(message, hint='add a field such as {case}, {roi} or {array} to the writer\'s "path"')


def create_dataset(groups: Groups, path: str, dtype: np.dtype[Any], shape: Sequence[int], storage: Storage, *, grows: bool = False) -> Any:
    """A new ``h5py.Dataset``.

    Args:
        groups: of the file.
        path: in the file.
        grows: more rows may follow along the first axis.

    Raises:
        StepError: the path is taken.
    """
    import h5py

    group, name = groups.parent_of(path)
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_obj_track_times(False)
    # Otherwise more than 8 attributes get a heap and a tree of their own, and HDF5 1.14.2 crashes when it copies those.
    creation.set_attr_phase_change(_ATTRIBUTES, 0)
    if storage.chunks is not None and len(shape):
        creation.set_chunk(storage.chunks)
        if storage.decimals is not None and dtype.kind == "f":
            creation.set_scaleoffset(h5py.h5z.SO_FLOAT_DSCALE, storage.decimals)
        if storage.compression != "none" and storage.shuffle and dtype.itemsize > 1:
            creation.set_shuffle()
        if storage.compression == "lzf":
            creation.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
        elif storage.compression == "gzip":
            creation.set_deflate(storage.level)
    limits = (h5py.h5s.UNLIMITED, *shape[1:]) if grows else tuple(shape)
    space = h5py.h5s.create_simple(tuple(shape), limits) if len(shape) else h5py.h5s.create(h5py.h5s.SCALAR)
    kind = h5py.h5t.py_create(dtype, logical=True)
    return h5py.Dataset(h5py.h5d.create(group, name, kind, space, creation))


def write_attributes(dataset: Any, values: Mapping[str, str | np.ndarray[Any, Any]]) -> None:
    """New attributes of a dataset: texts and arrays; what UTF-8 has not is escaped.

    Each is made by one call of HDF5, where h5py's own way costs several times as much.
    """
    from h5py import h5a, h5s, h5t, string_dtype

    text_type = string_dtype()
    for name, value in values.items():
        if isinstance(value, str):
            array = np.array(value.encode("utf-8", "backslashreplace"), dtype=text_type)
        else:
            array = np.asarray(value, order="C")  # np.ascontiguousarray gives scalars an axis
        kind = h5t.py_create(array.dtype, logical=True)
        space = h5s.create_simple(array.shape) if array.ndim else h5s.create(h5s.SCALAR)
        h5a.create(dataset.id, encoded(name), kind, space).write(array)
