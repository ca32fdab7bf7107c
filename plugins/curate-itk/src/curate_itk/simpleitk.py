"""SimpleITK with its messages made readable; the only module that imports it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK  # noqa: TID253 - this module is imported where a component works
from attrs import frozen

from curate_core import NDArray, SourceError

sitk: Any = SimpleITK  # half typed: its calls are not checked
sitk.ProcessObject.SetGlobalWarningDisplay(False)  # what matters of ITK's warnings, we check and report ourselves

_SCALARS = {
    "UInt8": "u1", "Int8": "i1", "UInt16": "u2", "Int16": "i2", "UInt32": "u4", "Int32": "i4", "UInt64": "u8", "Int64": "i8",
    "Float32": "f4", "Float64": "f8",
}  # fmt: skip
_DTYPE = {getattr(sitk, f"sitk{name}"): np.dtype(code) for name, code in _SCALARS.items()}
_DTYPE |= {getattr(sitk, f"sitkVector{name}"): np.dtype(code) for name, code in _SCALARS.items()}
_DTYPE |= {sitk.sitkComplexFloat32: np.dtype("c8"), sitk.sitkComplexFloat64: np.dtype("c16")}
_HINT = "the file is damaged, or of a kind that SimpleITK does not know: copy it again, or convert it"
_COMPLEX = (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)


@frozen(eq=False)
class Information:
    """What SimpleITK says of a file without reading its voxels.

    Attributes:
        size: voxels along each axis, fastest first.
        dtype: of the voxels.
        channels: values a voxel; 1 for scalars and complex numbers.
        matrix: (d, d) direction times spacing: column i is the step along axis i, LPS.
        origin: (d,) of the first voxel, LPS.
        tags: its metadata, where asked for.
    """

    size: tuple[int, ...]
    dtype: np.dtype[Any]
    channels: int
    matrix: NDArray
    origin: NDArray
    tags: dict[str, str]

    @property
    def shape(self) -> tuple[int, ...]:
        """Array shape: slowest axis first, channels last."""
        return self.size[::-1] + ((self.channels,) if self.channels > 1 else ())


def information(path: Path, tags: tuple[str, ...] = ()) -> Information:
    """Size, type and geometry of a file.

    Raises:
        SourceError: SimpleITK cannot read it.
    """
    reader = _reader(path)
    with itk_errors(path):
        reader.ReadImageInformation()
    size = tuple(int(n) for n in reader.GetSize())
    if reader.GetPixelID() not in _DTYPE:
        message = f"has voxels of type {sitk.GetPixelIDValueAsString(reader.GetPixelID())!r}, expected numbers or vectors of numbers"
        raise SourceError(message, where=str(path))
    channels = 1 if reader.GetPixelID() in _COMPLEX else int(reader.GetNumberOfComponents())
    direction = np.reshape(np.array(reader.GetDirection(), dtype=np.float64), (len(size), len(size)))
    return Information(
        size,
        _DTYPE[reader.GetPixelID()],
        channels,
        direction * np.array(reader.GetSpacing(), dtype=np.float64),
        np.array(reader.GetOrigin(), dtype=np.float64),
        {tag: str(reader.GetMetaData(tag)).strip() for tag in tags if reader.HasMetaDataKey(tag)},
    )


def voxels(path: Path) -> NDArray:
    """All voxels of a file as an array of their own, slowest axis first, channels last.

    Raises:
        SourceError: SimpleITK cannot read it.
    """
    reader = _reader(path)
    with itk_errors(path):
        image = reader.Execute()
    return np.asarray(sitk.GetArrayFromImage(image))  # a view would outlive the image


def _reader(path: Path) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetNumberOfThreads(1)
    reader.SetFileName(str(path))
    return reader


@contextmanager
def itk_errors(path: Path) -> Iterator[None]:
    """Turns SimpleITK's RuntimeError into a SourceError that says its core.

    Raises:
        SourceError: naming the file.
    """
    if not path.exists():
        message = "there is no such file"
        raise SourceError(message, where=str(path))
    try:
        yield
    except RuntimeError as error:
        reason = shorten(str(error), path)
        message = f"SimpleITK cannot read it: {reason}"
        hint = "resample it onto an orthogonal grid, or use a reader that keeps sheared affines" if "orthonormal" in reason else _HINT
        raise SourceError(message, where=str(path), hint=hint) from error


def shorten(text: str, path: Path) -> str:
    """The core of an ITK message: without source files, addresses and the chain of callers."""
    core = re.split(r"(?:ITK |itk::|sitk::)ERROR:", text)[-1]
    core = re.sub(r"\b\w+\(0x[0-9a-f]+\):\s*", "", core)
    lines = [line.strip() for line in core.splitlines() if line.strip()]
    deepest = [line for line in lines if line.startswith("[nrrd]")]
    if deepest:
        lines = [re.sub(r"^\[nrrd\] (_?nrrd\w+:)?\s*", "", deepest[-1])]
    return re.sub(r"\s+", " ", " ".join(lines)).replace(str(path), path.name).strip(" .") or "no reason given"
