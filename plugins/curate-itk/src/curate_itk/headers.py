"""What a file's header says that SimpleITK does not pass on: where the voxels lie, and what is stated at all.

SimpleITK fills in what a file leaves out (spacing 1, identity direction) without saying so, reads a NIfTI file that was cut short as if
nothing were missing, and always holds whole volumes in memory. The header answers for all three.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import frozen

from curate_core import NDArray, SourceError
from curate_core.digest import refuse_special

Encoding = Literal["raw", "deflate"]
MAX_HEADER = 1 << 20
RATIOS = {"deflate": 1032, "bzip2": 1_300_000, "text": 1}
"""Encoding -> how many bytes one byte of a file can become at the most; text has a digit and a space for every voxel."""
_FIRST_LOOK = 1 << 14


@frozen
class Layout:
    """Where a file keeps its voxels.

    Attributes:
        path: the file that holds them: the header's own, or another beside it.
        offset: bytes before the first voxel; counted in the decompressed stream where ``whole`` is set.
        encoding: ``raw``, or ``deflate`` for zlib and gzip streams.
        whole: the whole file is one gzip stream, its header included.
        dtype: as stored, with its byte order.
        shape: as stored, slowest axis first.
        order: transposition of the stored axes into the layer's, after axes of length one that the layer lacks are dropped.
    """

    path: Path
    offset: int
    encoding: Encoding
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: tuple[int, ...] = ()
    whole: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels, decompressed."""
        return math.prod(self.shape) * self.dtype.itemsize


@frozen
class Header:
    """What a header states.

    Attributes:
        layout: where the voxels are; None where only SimpleITK knows (text encodings, lists of files, bzip2).
        calibrated: it states the voxel size.
        oriented: it states how the axes lie in the patient or specimen.
        unit: unit of its lengths as SimpleITK passes them on; empty where it says nothing.
        slope, inter: stored values become ``value * slope + inter``.
        frame: (3, 4) RAS transform of (i, j, k, 1) that the file states besides the one SimpleITK prefers; None: none.
        elsewhere: file and encoding (one of ``RATIOS``) of voxels that SimpleITK alone reads, where they are in one file.
    """

    layout: Layout | None
    calibrated: bool
    oriented: bool
    unit: str
    slope: float = 1.0
    inter: float = 0.0
    frame: NDArray | None = None
    elsewhere: tuple[Path, str] | None = None


def unit_of(text: str) -> str | None:
    """Our word for a unit of length; None for one that is not a length or that we do not know."""
    word = text.strip().strip('"').lower()
    known = {"mm": ("mm", "millimeter", "millimetre", "millimeters", "millimetres"), "nm": ("nm", "nanometer", "nanometre", "nanometers")}
    known["um"] = ("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometer", "micrometre", "micrometers")
    return next((unit for unit, words in known.items() if word in words), None)


def bad(path: Path, message: str, hint: str = "") -> SourceError:
    """The error for a file whose header is wrong."""
    return SourceError(message, where=str(path), hint=hint)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns the system's complaints about a file into a SourceError.

    Raises:
        SourceError: naming the file.
    """
    try:
        yield
    except FileNotFoundError as error:
        message = "there is no such file"
        raise bad(Path(str(error.filename or path)), message) from error
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        message = f"cannot be read: {reason}"
        raise bad(path, message) from error


def text_lines(path: Path, end: bytes) -> tuple[list[str], int]:
    """The lines of a text header and the offset just after it.

    Args:
        path: the file.
        end: regular expression that matches the end of the header; without a match the whole file is header.

    Raises:
        SourceError: no end within the first MiB of a larger file.
    """
    with path.open("rb") as file:
        head = file.read(_FIRST_LOOK)
        match = re.search(end, head)
        if match is None:
            head += file.read(MAX_HEADER - len(head))
            match = re.search(end, head)
    if match is None and len(head) == MAX_HEADER:
        message = f"has no end of its header within the first {MAX_HEADER} bytes"
        raise bad(path, message)
    stop = match.end() if match else len(head)
    return head[:stop].decode("utf-8", "replace").splitlines(), stop


def integers(path: Path, name: str, text: str) -> tuple[int, ...]:
    """Whole numbers of a header field.

    Raises:
        SourceError: something else stands there.
    """
    try:
        return tuple(int(word) for word in text.split())
    except ValueError:
        message = f"its header says {name!r}: {text!r}, expected whole numbers"
        raise bad(path, message) from None


def check_sizes(path: Path, sizes: Sequence[int]) -> None:
    """Refuse empty volumes.

    Raises:
        SourceError: an axis has no voxels.
    """
    if not sizes or min(sizes) < 1:
        message = f"has a size of {' x '.join(map(str, sizes)) or 'nothing'}, expected at least one voxel along each axis"
        raise bad(path, message, "its header is damaged, or the volume is empty: make it again")


def beside(path: Path, name: str) -> Path:
    """The file that a header names as the place of its voxels.

    Raises:
        SourceError: no file can have that name.
    """
    if "\0" in name:
        message = f"names {name!r} as the file of its voxels, which no file is called"
        raise bad(path, message, "the file may be damaged")
    return path.parent / name


def check_claim(path: Path, announced: int, there: int, encoding: str) -> None:
    """Refuse a header that announces more than its file can hold, before memory is asked for on its word.

    Args:
        announced: bytes of the voxels by the header; for text, the voxels themselves.
        there: bytes of the file that holds them.
        encoding: one of ``RATIOS``.

    Raises:
        SourceError: it does.
    """
    if announced > there * RATIOS[encoding] + 1:
        message = (
            f"its header announces {announced:,} {'voxels' if encoding == 'text' else 'bytes of voxels'}, its {there:,} bytes hold fewer"
        )
        raise bad(path, message, "its header is damaged, or it was cut short: copy it again")


def read_header(path: Path) -> Header:
    """What the header of a NRRD, MetaImage or NIfTI file states.

    Raises:
        SourceError: the file cannot be read, or is none of these.
    """
    from curate_itk import metaimage, nifti, nrrd

    with reading(path):
        if path.is_dir():
            message = "is a folder, expected a file"
            raise bad(path, message)
        kind = kind_of(path)
        readers = {"nrrd": nrrd.read_header, "nifti": nifti.read_header, "metaimage": metaimage.read_header}
        if kind not in readers:
            raise bad(path, kind, "check that the file is what its ending says")
        try:
            header = readers[kind](path)
            layout = header.layout
            for file in (layout.path if layout is not None else path, header.elsewhere[0] if header.elsewhere is not None else path):
                refuse_special(file)
            if layout is not None and layout.encoding == "deflate":
                check_claim(path, layout.offset * layout.whole + layout.nbytes, layout.path.stat().st_size, "deflate")
            return header
        except (ValueError, ArithmeticError) as error:
            message = f"its header cannot be understood: {error}"
            raise bad(path, message, "the file may be damaged") from error


def kind_of(path: Path) -> str:
    """``nrrd``, ``metaimage`` or ``nifti`` by the first bytes; otherwise a sentence that says what was expected.

    Raises:
        OSError: the file cannot be read.
    """
    from curate_itk import nifti

    name = path.name.lower()
    if path.stat().st_size == 0:
        return "is empty"
    with path.open("rb") as file:
        head = file.read(4096)
    if name.endswith((".nii", ".nii.gz", ".hdr")):
        return nifti.kind_of(path)
    if head.startswith(b"NRRD000"):
        return "nrrd"
    if name.endswith((".nrrd", ".nhdr")):
        return "does not begin with NRRD000, so it is not NRRD"
    if re.search(rb"^(ObjectType|NDims|DimSize)\s*=", head, re.MULTILINE):
        return "metaimage"
    return "has no ObjectType, NDims or DimSize among its first lines, so it is not MetaImage"
