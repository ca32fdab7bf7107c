"""Chunks of remote volumes kept in a local folder from one run to the next."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import threading
import zlib
from pathlib import Path

import numpy as np
from attrs import frozen

from curate_core import NDArray
from curate_core.durable import writing
from curate_tensorstore.chunks import Index

_MAGIC = b"curate-chunk-1\n"
_CRC_BYTES = 4
_WORTH_PACKING = 0.75


@frozen
class KeptChunks:
    """The chunks of one level of a volume in a folder that volumes, runs and processes may share.

    A file is ``curate-chunk-1``, the CRC-32 of the rest, a line of JSON that says whose chunk it is and of which shape and type, and
    the values in C order, deflated where that saves a quarter. It gets its name when it is complete. What is torn, damaged or of somebody
    else counts as not there. Nothing is ever removed.

    Attributes:
        folder: made when the first chunk is kept.
        volume: names the level of the volume: no other has that name.
    """

    folder: Path
    volume: str

    def path(self, index: Index) -> Path:
        """The file of a chunk."""
        name = hashlib.sha256(f"{self.volume}\n{index}".encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:40]}.chunk"

    def load(self, index: Index, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> NDArray | None:
        """The values of a chunk; None: they are not kept, or cannot be trusted."""
        try:
            data = self.path(index).read_bytes()
        except OSError:
            return None
        start = len(_MAGIC) + _CRC_BYTES
        body = memoryview(data)[start:]
        if not data.startswith(_MAGIC) or int.from_bytes(data[len(_MAGIC) : start], "little") != zlib.crc32(body):
            return None
        end = data.find(b"\n", start)
        described = json.loads(data[start:end])
        if {**described, "deflated": None} != self._described(index, shape, dtype):
            return None
        values = data[end + 1 :]
        return np.frombuffer(zlib.decompress(values) if described["deflated"] else values, dtype).reshape(shape)

    def save(self, index: Index, values: NDArray) -> None:
        """Keep the values of a chunk.

        Raises:
            DiskError: there is no room, or no right to write.
        """
        plain = np.ascontiguousarray(values).tobytes()
        deflated = zlib.compress(plain, 1)
        worth = len(deflated) <= _WORTH_PACKING * len(plain)
        header = {**self._described(index, values.shape, values.dtype), "deflated": worth}
        body = json.dumps(header).encode() + b"\n" + (deflated if worth else plain)
        path = self.path(index)
        aside = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.{threading.get_ident()}.partial")  # the folder may be shared
        with writing(self.folder, len(body)):
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(_MAGIC + zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body)
            aside.replace(path)

    def _described(self, index: Index, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> dict[str, object]:
        return {"volume": self.volume, "chunk": list(index), "shape": list(shape), "dtype": dtype.str, "deflated": None}
