"""The reader of chunked volumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import frozen

from curate_core import ByteSize, Context, Image, LayerSource, Plain, Reader, SourceError, option
from curate_tensorstore.address import Address, of_folder, parse

if TYPE_CHECKING:
    from curate_tensorstore.volume import Access

_MARKS = ("info", ".zattrs", ".zarray", "zarr.json", "attributes.json")


@frozen
class TensorStoreReader(Reader):
    """OME-Zarr 0.4 and 0.5, plain Zarr, N5 and neuroglancer precomputed volumes, read chunk by chunk.

    A layer is a local folder under ``files``, or an address under ``uri``, such as ``precomputed://gs://bucket/path`` or
    ``zarr://https://host/image.zarr``. ``mip`` chooses the level: 0 is the finest. With ``coarser`` the layer is an overview of that level:
    its note ``of`` has the length and the first centre of its voxels in voxels of ``mip``, along z, y and x.

    Example::

        "read": {"em": {"use": "tensorstore", "mip": 2}}
    """

    version: ClassVar[int] = 1
    mip: int = option(doc="Level: 0 is the finest, negative ones count from the coarsest.", default=0)
    coarser: int = option(
        doc="Take the coarsest level whose voxels are at most so many times as long as those of mip along every axis; 1: mip itself.",
        default=1,
        ge=1,
    )
    missing: Literal["auto", "error", "fill"] = option(
        doc="Chunks that are not there: an error, or filled; auto: filled for Zarr and N5, which leave out empty ones.",
        default="auto",
    )
    cache: ByteSize = option(doc="Decoded chunks that a worker keeps.", default=ByteSize(100_000_000), keyed=False)
    concurrency: int = option(doc="Requests to a server at once, of each worker.", default=16, ge=1, keyed=False)
    retries: int = option(doc="Tries after a request that failed, each after a longer pause.", default=5, ge=0, keyed=False)
    timeout: float | None = option(doc="Seconds that reading one box may take in all; null: any number.", default=None, gt=0, keyed=False)
    local_cache: Path | None = option(
        doc="Folder where chunks that were read over a network are kept for later runs; nothing in it is ever removed. null: none.",
        default=None,
        keyed=False,
    )

    def sniff(self, path: Path) -> str | None:
        if not path.is_dir():
            return "chunked volumes are folders"
        return None if any((path / mark).exists() for mark in _MARKS) else f"none of {', '.join(_MARKS)} is in the folder"

    def open(self, source: LayerSource, context: Context) -> Image:
        from curate_tensorstore.levels import find_levels, overview_of, steps_between
        from curate_tensorstore.volume import Volume, read_metadata

        address = self._address(source)
        access = self._access(fill=False)
        format, levels = find_levels(lambda path: read_metadata(address, path, access), address.format, address.text)
        if not -len(levels) <= self.mip < len(levels):
            message = f"there is no level {self.mip}: the volume has {len(levels)}"
            raise SourceError(message, where=address.text, hint=f"mip may be 0 to {len(levels) - 1}")
        mip = self.mip % len(levels)
        chosen = overview_of(levels, mip, self.coarser)
        notes: dict[str, Plain] = {"format": format, "mip": chosen, "levels": len(levels)}
        if chosen != mip:
            notes["of"] = steps_between(levels[mip], levels[chosen])
        fill = format != "precomputed" if self.missing == "auto" else self.missing == "fill"
        volume = Volume(address, levels[chosen], self._access(fill=fill))
        return Image(volume, volume.grid(), notes)

    def resident(self, source: LayerSource) -> int:
        return int(self.cache)

    def _address(self, source: LayerSource) -> Address:
        if source.uri:
            return parse(source.uri)
        if len(source.files) != 1:
            message = "a chunked volume is one folder or one address"
            raise SourceError(message, where=source.describe())
        folder = source.files[0]
        if not folder.is_dir():
            message = "there is no such folder" if not folder.exists() else "chunked volumes are folders, this is a file"
            raise SourceError(message, where=str(folder))
        return of_folder(folder)

    def _access(self, *, fill: bool) -> Access:
        from curate_tensorstore.volume import Access

        return Access(int(self.cache), self.concurrency, self.retries, fill, self.timeout, self.local_cache)
