"""Archives of masks: .npz files of which one member is read or added, and the others are left as they are."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
from attrs import define

from curate_core import LazyArray, NDArray, RequestError, SourceError
from curate_core.arrays import Box
from curate_core.errors import nearest

_DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, struct.error)
_COPY = 1 << 20


class Member(LazyArray):
    """A mask in an archive: (angle, row, column) bool, unpacked in the order of angles.

    Args:
        archive: the .npz file.
        name: of the member, with or without its ending.

    Raises:
        SourceError: there is no such file or member, or it is damaged, or no array of booleans or bytes with three axes.
    """

    def __init__(self, archive: Path, name: str) -> None:
        self.archive, self.name = archive, name.removesuffix(".npy")
        with self._damage(), self._open() as file:
            shape, order, dtype = _header(file)
        if order or len(shape) != 3 or dtype.kind not in "bu" or dtype.itemsize != 1:
            message = f"the member {self.name!r} is no mask: {dtype.str} of shape {shape}{', Fortran order' if order else ''}"
            raise SourceError(message, where=str(archive), hint="a mask is (angle, row, column), booleans or bytes")
        self.shape, self.dtype = tuple(int(n) for n in shape), np.dtype(bool)
        self._file: IO[bytes] | None = None
        self._next = 0

    def require(self, shape: tuple[int, ...]) -> None:
        """Of this very scan.

        Raises:
            SourceError: it is of another shape.
        """
        if self.shape != shape:
            sizes = [" x ".join(map(str, one)) for one in (self.shape, shape)]
            message = f"the mask {self.name!r} has {sizes[0]} angles, rows and columns, the scan {sizes[1]}"
            raise SourceError(message, where=str(self.archive), hint="make the mask of this very scan: curate stripe-mask")

    def read_box(self, where: Box) -> NDArray:
        plane = self.shape[1] * self.shape[2]
        out = np.empty([s.stop - s.start for s in where], bool)
        with self._damage():
            if self._file is None or where[0].start < self._next:
                self.close()
                self._file, self._next = self._open().__enter__(), 0
                _header(self._file)
            while self._next < where[0].start:
                _exactly(self._file, plane)
                self._next += 1
            for piece in out:
                values = np.frombuffer(_exactly(self._file, plane), np.uint8).reshape(self.shape[1:])
                piece[...] = values[where[1:]] != 0
                self._next += 1
        return out

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None}

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            message = f"the archive of masks cannot be read: {error or type(error).__name__}"
            raise SourceError(message, where=str(self.archive), hint="it must be an .npz file as numpy writes them") from error

    def _open(self) -> IO[bytes]:
        archive = zipfile.ZipFile(self.archive)
        with archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if self.name not in names:
                message = f"the archive has no mask {self.name!r}"
                close = nearest(self.name, names)
                hint = close if "did you" in close else f"it has {', '.join(names[:8]) or 'none'}; curate stripe-mask adds one"
                raise SourceError(message, where=str(self.archive), hint=hint)
            return archive.open(next(n for n in archive.namelist() if n.removesuffix(".npy") == self.name))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    found: tuple[tuple[int, ...], bool, np.dtype] = read_header(file)
    return found


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        message = "the member ends early"
        raise EOFError(message)
    return data


@define
class Addition:
    """A member to be added to an archive that may be there already.

    The archive is written anew beside itself and renamed: the other members are copied as they are packed.

    Args:
        archive: the .npz file.
        name: of the new member, without ending.
        overwrite: take the place of a member of that name.

    Raises:
        RequestError: there is such a member, or the file is no archive.
    """

    archive: Path
    name: str
    overwrite: bool = False

    def __attrs_post_init__(self) -> None:
        self._others()

    def _others(self) -> list[zipfile.ZipInfo]:
        """The members that stay, as the archive has them now."""
        if not self.archive.exists():
            return []
        try:
            with zipfile.ZipFile(self.archive) as old:
                infos = old.infolist()
        except (OSError, zipfile.BadZipFile) as error:
            message = f"this is no archive of masks: {error}"
            raise RequestError(message, where=str(self.archive), hint="name another with --archive; nothing was changed") from error
        others = [info for info in infos if info.filename != f"{self.name}.npy"]
        if len(others) < len(infos) and not self.overwrite:
            message = f"the archive has a mask {self.name!r} already"
            raise RequestError(message, where=str(self.archive), hint="--overwrite replaces it, --file-name gives another name")
        return others

    def write(self, mask: NDArray) -> None:
        """Add a mask, packed angle by angle, to what the archive holds by now: others may have added to it meanwhile.

        Raises:
            RequestError: a member of that name came meanwhile, or the file is no archive any more.
            OSError: the disk is full, or fails; the old archive stays as it is.
        """
        with _alone(self.archive.absolute().parent):
            self._write(mask, self._others())

    def _write(self, mask: NDArray, others: list[zipfile.ZipInfo]) -> None:
        aside = self.archive.with_name(f"{self.archive.name}.{os.getpid()}.partial")
        try:
            with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as new:
                if others:
                    with zipfile.ZipFile(self.archive) as old, self.archive.open("rb") as raw:
                        for info in others:
                            _copy_packed(old, raw, info, new)
                header = io.BytesIO()
                np.lib.format.write_array_header_1_0(header, {"descr": "|b1", "fortran_order": False, "shape": mask.shape})
                info = zipfile.ZipInfo(f"{self.name}.npy")  # with a fixed date
                info.compress_type = zipfile.ZIP_DEFLATED
                with new.open(info, "w", force_zip64=True) as file:
                    file.write(header.getvalue())
                    for plane in mask:
                        file.write(np.ascontiguousarray(plane, bool).data)
            with aside.open("rb") as written:
                os.fsync(written.fileno())
            aside.replace(self.archive)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One at a time adds to the archives of a folder; the lock goes with its process and leaves no file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _copy_packed(old: zipfile.ZipFile, raw: IO[bytes], info: zipfile.ZipInfo, new: zipfile.ZipFile) -> None:
    """Copy a member without unpacking it: its header is written anew, its packed bytes as they are."""
    raw.seek(info.header_offset)
    fixed = raw.read(30)
    name_length, extra_length = struct.unpack("<HH", fixed[26:30])
    raw.seek(info.header_offset + 30 + name_length + extra_length)
    copy = zipfile.ZipInfo(info.filename, info.date_time)
    copy.compress_type, copy.external_attr, copy.create_system = info.compress_type, info.external_attr, info.create_system
    copy.flag_bits = info.flag_bits & ~0x08  # sizes stand in the header, not behind the data
    copy.CRC, copy.compress_size, copy.file_size = info.CRC, info.compress_size, info.file_size
    target = new.fp
    assert target is not None
    target.seek(new.start_dir)
    copy.header_offset = target.tell()
    target.write(copy.FileHeader(zip64=True))
    left = info.compress_size
    while left:
        piece = raw.read(min(left, _COPY))
        if not piece:
            message = f"the member {info.filename} of {old.filename} ends early"
            raise EOFError(message)
        target.write(piece)
        left -= len(piece)
    new.filelist.append(copy)
    new.NameToInfo[copy.filename] = copy
    new.start_dir = target.tell()
    new._didModify = True  # type: ignore[attr-defined]  # noqa: SLF001 - else the directory is not written
