"""Files of pairs that exist already, as sources: images and fields to make better fields of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from attrs import frozen
from curate_hdf5.lazy import cache_bytes, lazy_array, mapped_at
from curate_hdf5.links import Fence
from curate_hdf5.opening import foreign, opened

from curate_core import CaseSource, Context, Grid, Image, LayerSource, Plain, Reader, RequestError, Source, SourceError, option
from curate_core.arrays import TakeArray, TransposeArray

NAMES = ("main", "img")
"""What metroem's loader calls the dataset."""


@frozen
class PairFiles(Source):
    """HDF5 files of pairs, and optionally of their fields: a case a file of images, with the layers ``src``, ``tgt`` and ``field``.

    With several files of images, ``fields`` names the folder that has a file of the same name for each, or one pattern for both: the n-th
    file of fields belongs to the n-th of images, in order of their names.

    Example::

        "source": {"use": "pair-files", "images": "coarse/x*.h5", "fields": "coarse/field_*.h5"}, "read": {"*": {"use": "pair-hdf5"}}
    """

    version: ClassVar[int] = 1
    images: Path = option(doc="File of images, (n, 2, x, y), or a pattern of such files.")
    fields: Path | None = option(doc="File of fields, (n, 2, x, y), or a pattern of such files; null: none.", default=None)
    dataset: str = option(doc="Path of the dataset in them; empty: main or img.", default="")

    def find(self) -> Iterable[CaseSource]:
        images = _files(self.images, "images")
        fields = [None] * len(images) if self.fields is None else _files(self.fields, "fields")
        if len(fields) != len(images):
            message = f"{len(images)} files of images and {len(fields)} of fields do not belong together"
            raise RequestError(message, where="source.fields")
        own: dict[str, Plain] = {"dataset": self.dataset} if self.dataset else {}
        found = []
        for image, field in zip(images, fields, strict=True):
            layers = {name: LayerSource((image,), options={**own, "image": i}) for i, name in enumerate(("src", "tgt"))}
            if field is not None:
                layers["field"] = LayerSource((field,), options=own)
            found.append(CaseSource(image.stem, layers, root=image.parent))
        return found


def _files(pattern: Path, what: str) -> list[Path]:
    if not any(letter in str(pattern) for letter in "*?["):
        found = [pattern] if pattern.exists() else []
    else:
        found = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    if not found:
        message = f"there is no file {pattern}"
        raise RequestError(message, where=f"source.{what}")
    return found


@frozen
class PairHdf5Reader(Reader):
    """One image of every pair, or the field of every pair, of an HDF5 file (n, 2, x, y); axes n, y, x, and c for a field.

    Example::

        "read": {"*": {"use": "pair-hdf5"}}
    """

    version: ClassVar[int] = 1
    image: int | None = option(doc="0: the first image of each pair, 1: the second; null: a field.", default=None, ge=0, le=1)
    dataset: str = option(doc="Path of the dataset; empty: main or img.", default="")

    def sniff(self, path: Path) -> str | None:
        return foreign(path)

    def open(self, source: LayerSource, context: Context) -> Image:
        path = _one_file(source)
        with opened(path) as file:
            found = self._dataset(file, path)
            name = found.name.removeprefix("/")
            stored = lazy_array(path, found, name, Fence(path.parent, False))
        array = TransposeArray(stored, (0, 1, 3, 2))
        if self.image is None:
            return Image(array, Grid.from_spacing(array.shape, "ncyx"), {"dataset": name})
        taken = TakeArray(array, self.image, 1)
        return Image(taken, Grid.from_spacing(taken.shape, "nyx"), {"dataset": name, "image": self.image})

    def resident(self, source: LayerSource) -> int:
        path = _one_file(source)
        with opened(path) as file:
            found = self._dataset(file, path)
            if mapped_at(found) is not None:
                return 0
            return min(cache_bytes(found.shape, found.chunks, found.dtype.itemsize), int(found.nbytes))

    def _dataset(self, file: Any, path: Path) -> Any:
        """The ``h5py.Dataset`` of pairs.

        Raises:
            SourceError: there is none, or it holds something else.
        """
        import h5py

        name = next((name for name in ([self.dataset] if self.dataset else NAMES) if name in file), None)
        found = None if name is None else file[name]
        if not isinstance(found, h5py.Dataset):
            message = f"there is no dataset {self.dataset or ' or '.join(NAMES)}; the file has {', '.join(sorted(file)) or 'nothing'}"
            raise SourceError(message, where=str(path), hint='name it with "dataset"')
        if found.ndim != 4 or found.shape[1] != 2 or found.dtype.kind not in "iuf":
            message = f"{name} holds {found.dtype} of the shape {found.shape}, expected numbers of (n, 2, x, y)"
            raise SourceError(message, where=str(path))
        return found


def _one_file(source: LayerSource) -> Path:
    if len(source.files) != 1:
        message = f"pair-hdf5 reads one file a layer, got {len(source.files)}"
        raise SourceError(message, where=source.describe())
    return source.files[0]
