"""Addresses of chunked volumes: where they lie and, where the address says so, in which format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import frozen

from curate_core import SourceError

FORMATS = {"precomputed": "precomputed", "zarr": "zarr", "zarr2": "zarr", "zarr3": "zarr", "n5": "n5"}
_WRITTEN = "precomputed://gs://bucket/path, zarr://https://host/path, n5://s3://bucket/path, or a folder"


@frozen
class Address:
    """Where a volume lies.

    Attributes:
        text: as the user wrote it.
        url: ``file://``, ``http(s)://``, ``gs://`` or ``s3://``, without a slash at its end.
        format: ``precomputed``, ``zarr`` or ``n5``; empty: what lies there tells.
    """

    text: str
    url: str
    format: str = ""

    def store(self, inside: str = "") -> dict[str, Any]:
        """The key-value store of the volume's folder, or of one inside it, as TensorStore describes it.

        Raises:
            SourceError: no store has such an address.
        """
        scheme, _, rest = self.url.partition("://")
        tail = f"{inside.strip('/')}/" if inside.strip("/") else ""
        if scheme == "file":
            return {"driver": "file", "path": f"{rest}/{tail}"}
        if scheme in ("http", "https"):
            host, _, path = rest.partition("/")
            return {"driver": "http", "base_url": f"{scheme}://{host}", "path": f"/{path}/{tail}" if path else f"/{tail}"}
        if scheme in ("gs", "s3"):
            bucket, _, path = rest.partition("/")
            return {"driver": "gcs" if scheme == "gs" else "s3", "bucket": bucket, "path": f"{path}/{tail}" if path else tail}
        message = f"an address cannot begin with {scheme}://"
        raise SourceError(message, where=self.text, hint=f"write {_WRITTEN}")

    @property
    def remote(self) -> bool:
        """Read over a network."""
        return not self.url.startswith("file://")


def parse(text: str) -> Address:
    """The address that a user wrote: ``[FORMAT://]URL``, as neuroglancer and cloud-volume have it.

    Raises:
        SourceError: it is none.
    """
    match = re.fullmatch(r"(?:(\w+)://)?((?:file|https?|gs|s3)://.+?)/*(?:\|(\w+):?.*)?", text)
    if match is None:
        message = "this is no address of a volume"
        raise SourceError(message, where=text, hint=f"write {_WRITTEN}")
    said, url, piped = match.groups()
    name = said or (piped or "").lower()
    if name and name not in FORMATS:
        message = f"{name!r} is no format that is known here"
        raise SourceError(message, where=text, hint=f"formats are {', '.join(sorted(set(FORMATS.values())))}")
    if url.startswith("file://") and not url.startswith("file:///"):
        message = "a file address needs an absolute path"
        raise SourceError(message, where=text, hint='write file:///..., or name the folder under "files", which may be relative')
    return Address(text, url, FORMATS.get(name, ""))


def of_folder(folder: Path) -> Address:
    """The address of a local folder."""
    return Address(str(folder), f"file://{folder}")
