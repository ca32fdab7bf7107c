"""Writer of HDF5 files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import attrs
import numpy as np
from attrs import frozen

from curate_core import ArrayLike, Batch, Context, NDArray, Piece, Plain, StepError, Writer, WriteSession, option
from curate_core.arrays import TakeArray, number_type
from curate_core.builtin.transforms import cast_checked
from curate_core.templates import PathTemplate, check_relative
from curate_core.writing import render_paths, unique_in_case
from curate_hdf5.create import Storage, chunk_shape
from curate_hdf5.handles import Handles

_LOSSLESS = 'cast them in an earlier step, or name a "dtype" that holds them'
_SMALL = 32 << 10
"""Samples below this many bytes share chunks of a stack."""
_SHARED_CHUNK = 64 << 10


@frozen
class Hdf5Writer(Writer):
    """HDF5 files that h5py alone reads: the whole dataset in one, a file a case, or stacks.

    ``file`` says which samples share a file, ``path`` where an array lies in it. Each array is a dataset with the attributes ``sample``,
    ``case``, ``axes``, ``affine`` (index to world), ``spacing`` and ``unit`` where they are known, ``start`` and ``stop`` (its box), and
    ``attributes`` (JSON). With ``stack``, all arrays of one path are one dataset of shape (samples, *shape) in manifest order, with
    ``PATH.ids``, ``PATH.attributes``, ``PATH.affine``, ``PATH.start`` and ``PATH.stop`` beside it. Chunks are copied as they are
    when parts become a file: the same bytes for any number of workers. ``master`` adds a file that holds nothing but external links:
    ``cases/a.h5`` is its group ``cases/a.h5``.

    Examples::

        "write": [{"use": "hdf5", "file": "data.h5", "path": "{split}/{case}/{array}", "patch": [128, 128, 128]}]
        "write": [{"use": "hdf5", "file": "cases/{case}.h5", "path": "{roi}/{array}"}]
        "write": [{"use": "hdf5", "file": "{split}.h5", "path": "main", "stack": true, "layers": ["src", "tgt"], "dtype": "float32"}]
    """

    version: ClassVar[int] = 1
    file: str = option(doc="Path of the files in the dataset, ending in .h5 or .hdf5.", default="data.h5", min_length=1)
    path: str = option(doc='Path in the file; empty: "{case}/{roi}/{array}", of stacks "{array}".', default="")
    stack: bool = option(doc="Put all arrays of one path into one dataset, along a first axis.", default=False)
    layers: tuple[str, ...] | None = option(doc="Arrays to write, in this order, as one.", default=None, min_length=1)
    dtype: str | None = option(doc="Type to store; refused where it loses. null: as it is.", default=None)
    patch: tuple[int, ...] | None = option(
        doc="Voxels that a loader will read at a time along the last axes; chunks are made for it. null: samples are read whole.",
        default=None, ge=1, min_length=1,
    )  # fmt: skip
    chunks: tuple[int, ...] | None = option(doc="Shape of the chunks of a sample; null: chosen.", default=None, ge=1, min_length=1)
    compression: Literal["lzf", "gzip", "none"] = option(
        doc="gzip is read by every HDF5 program, lzf by those with h5py; both with shuffle.", default="gzip"
    )
    level: int = option(doc="Level of gzip.", default=1, ge=1, le=9)
    decimals: int | None = option(
        doc="Digits after the point that floats keep, such as 2: smaller files of slightly other values. null: all.",
        default=None,
        ge=0,
        le=15,
    )
    master: str = option(doc="Path of one small file more, which links to all others by their relative paths; empty: none.", default="")
    _handles: Handles = attrs.field(init=False, factory=Handles, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for name, text in (("file", self.file), ("path", self.inner)):
            try:
                PathTemplate(text).fields  # noqa: B018 - raises for a malformed one
            except ValueError as error:
                message = f"{name}: {error}"
                raise ValueError(message) from error
        if not self.file.endswith((".h5", ".hdf5")):
            message = f"file: {self.file!r} must end in .h5 or .hdf5"
            raise ValueError(message)
        self._check_master()
        if "array" in PathTemplate(self.file).fields and not self.stack:
            message = "file: {array} has no meaning here, the arrays of a sample share a file; put it into the path"
            raise ValueError(message)
        if self.layers is not None and ("array" in PathTemplate(self.inner).fields or len(set(self.layers)) < len(self.layers)):
            message = f"layers: {list(self.layers)} are written as one: {{array}} in the path has no meaning, and no name comes twice"
            raise ValueError(message)
        if self.patch is not None and self.chunks is not None:
            message = "chunks: they are chosen by patch, give one of them"
            raise ValueError(message)
        if self.dtype is not None:
            number_type(self.dtype)

    def _check_master(self) -> None:
        if self.master and (not self.master.endswith((".h5", ".hdf5")) or "{" in self.master):
            message = f"master: {self.master!r} must be a plain path that ends in .h5 or .hdf5"
            raise ValueError(message)
        if self.master and not PathTemplate(self.file).fields:
            message = f"master: there is one file, {self.file}, which needs no other that links to it"
            raise ValueError(message)
        if self.master:
            try:
                check_relative(self.master)
            except StepError as error:
                message = f"master: {error}"
                raise ValueError(message) from error

    @property
    def inner(self) -> str:
        """The template of the path in the file."""
        if self.path:
            return self.path
        if self.layers is not None:
            return "stack" if self.stack else "{case}/{roi}"
        return "{array}" if self.stack else "{case}/{roi}/{array}"

    def alone(self) -> bool:
        """Whether each sample has a file of its own: the file's name tells ROIs apart."""
        fields = PathTemplate(self.file).fields
        return not self.stack and ("roi" in fields or "id" in fields)

    def paths(self, batch: Batch) -> list[str] | None:
        return render_paths(PathTemplate(self.file), batch) if self.alone() else None

    def unique_in_case(self) -> bool:
        template = self.file if self.alone() else f"{self.file}/{self.inner}"
        return self.stack or unique_in_case(PathTemplate(template))

    def assembles(self) -> bool:
        return not self.alone()

    def open(self, part: Path, context: Context) -> WriteSession:
        from curate_hdf5.session import SampleSession, StackSession

        return StackSession(self, part) if self.stack else SampleSession(self, part)

    def assemble(self, out: Path, pieces: Sequence[Piece], context: Context) -> list[Plain]:
        from curate_hdf5.assembly import assemble_samples, assemble_stacks

        return assemble_stacks(out, pieces, self.settled) if self.stack else assemble_samples(out, pieces)

    def index(self) -> str:
        return self.master

    def make_index(self, out: Path, pieces: Sequence[Piece]) -> None:
        from curate_hdf5.assembly import link_files

        link_files(out, self.master, [piece.path for piece in pieces])

    def read(self, path: Path, place: Plain) -> NDArray:
        if isinstance(place, list):
            return np.asarray(self._handles.dataset(path, place[0])[place[1]])
        return np.asarray(self._handles.dataset(path, str(place))[()])

    def lazy(self, path: Path, place: Plain) -> ArrayLike:
        if isinstance(place, list):
            return TakeArray(self._handles.lazy(path, place[0]), place[1], 0)
        return self._handles.lazy(path, str(place))

    def forget(self, path: Path) -> None:
        """Close a file that ``read`` has open: it will be written to."""
        self._handles.forget(path)

    def arrays(self, batch: Batch) -> dict[str, NDArray]:
        """What is written of a batch: name -> (n, ...) little-endian values of the stored type.

        Raises:
            StepError: arrays share a path, do not fit together, would lose values, or are no numbers.
        """
        if self.layers is not None:
            return {"stack": self._joined(batch, self.layers)}
        if len(batch.arrays) > 1 and "array" not in (*PathTemplate(self.inner).fields, *PathTemplate(self.file).fields):
            message = f"the samples have the arrays {', '.join(batch.arrays)}, which would share the path {self.inner!r}"
            raise StepError(message, hint='add {array} to the path, or name "layers" to write them as one')
        return {name: self._stored(name, batch.arrays[name]) for name in batch.arrays}

    def _joined(self, batch: Batch, names: Sequence[str]) -> NDArray:
        parts = [batch.array(name) for name in names]
        if len({part.shape for part in parts}) > 1:
            shapes = ", ".join(f"{name}: {part.shape[1:]}" for name, part in zip(names, parts, strict=True))
            message = f"arrays of different shapes cannot be written as one ({shapes})"
            raise StepError(message)
        if self.dtype is None and len({part.dtype for part in parts}) > 1:
            kinds = ", ".join(f"{name}: {part.dtype}" for name, part in zip(names, parts, strict=True))
            message = f"arrays of different types cannot be written as one ({kinds})"
            raise StepError(message, hint='name a "dtype" that holds them all')
        return np.stack([self._stored(name, part) for name, part in zip(names, parts, strict=True)], axis=1)

    def _stored(self, name: str, values: NDArray) -> NDArray:
        if values.dtype.kind not in "biufc" or values.dtype.itemsize > 16:
            message = f"array {name!r} holds {values.dtype}, HDF5 files of curate hold numbers"
            raise StepError(message)
        if self.dtype is not None:
            values = cast_checked(values, np.dtype(self.dtype), f"array {name!r}", hint=_LOSSLESS)
        if self.decimals is not None and values.dtype.kind == "f":
            self._check_rounding(name, values)
        return values.astype(values.dtype.newbyteorder("<"), copy=False)

    def _check_rounding(self, name: str, values: NDArray) -> None:
        """Refuse what HDF5's scale-offset filter, which stores whole numbers of 10 ** -decimals, would spoil without a word."""
        if values.dtype.itemsize not in (4, 8) or not np.isfinite(values).all():
            message = (
                f"array {name!r} holds {values.dtype} with NaN or infinite values, which cannot be rounded to {self.decimals} decimals"
            )
            raise StepError(message, hint="clean them in an earlier step, use float32, or leave decimals out")
        spread = float(np.ptp(values.astype(np.float64))) * 10.0**self.decimals if values.size else 0.0  # type: ignore[operator]
        if spread >= 2.0 ** (8 * values.dtype.itemsize - 2):
            message = f"array {name!r} spreads over {spread:.3g} steps of {self.decimals} decimals, more than {values.dtype} stores"
            raise StepError(message, hint="keep fewer decimals, or all")

    def storage(self, shape: tuple[int, ...], itemsize: int) -> Storage:
        """How an array of a sample is stored.

        Args:
            shape: of the array, without the axis of a stack.

        Raises:
            StepError: ``chunks`` or ``patch`` do not fit it.
        """
        given = self.chunks or self.patch
        if given is not None and (len(given) > len(shape) or (self.chunks is not None and len(given) != len(shape))):
            name = "chunks" if self.chunks is not None else "patch"
            message = f"{name} {given} does not fit a sample of shape {shape}"
            raise StepError(message, hint=f"{name} has one number for each axis")
        if not shape or 0 in shape or (self.compression == "none" and given is None and self.decimals is None):
            return Storage(None)
        chunks = chunk_shape(shape, itemsize, self.patch)
        if self.chunks is not None:
            chunks = tuple(min(n, c) for n, c in zip(shape, self.chunks, strict=True))
        return Storage(chunks, self.compression, self.level, decimals=self.decimals)

    def stacked(self, shape: tuple[int, ...], itemsize: int) -> Storage:
        """How a stack of such arrays is stored while it grows: samples in chunks of their own, small ones several in one."""
        one = self.storage(shape, itemsize).chunks or chunk_shape(shape, itemsize, None)
        nbytes = int(np.prod(shape, dtype=np.int64)) * itemsize
        shared = self.chunks is None and self.patch is None and self.decimals is None  # rounded floats are never encoded twice
        if nbytes < _SMALL and shared:
            return Storage((max(1, _SHARED_CHUNK // max(1, nbytes)), *one), self.compression, self.level)
        return Storage((1, *one), self.compression, self.level, decimals=self.decimals)

    def settled(self, shape: tuple[int, ...], itemsize: int) -> Storage:
        """How a stack is stored in the end: what is neither compressed nor cut lies in one piece."""
        plain = self.compression == "none" and self.decimals is None
        whole = 0 in shape or (plain and self.chunks is None and self.patch is None)
        return Storage(None) if whole else self.stacked(shape, itemsize)
