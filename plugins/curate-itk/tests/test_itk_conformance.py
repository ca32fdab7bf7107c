"""What every reader, writer and plugin must do, asked of these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import nibabel
import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name that its users know
from curate_itk.dicom import DicomReader
from curate_itk.reader import ItkReader
from curate_itk.writer import ItkWriter

from curate_core.testing import PluginTests, ReaderTests, WriterTests

NRRD_TYPES = {
    "uint8": "uchar", "int8": "signed char", "uint16": "ushort", "int16": "short", "int32": "int", "float32": "float", "float64": "double",
}  # fmt: skip
MET_TYPES = {
    "uint8": "UCHAR", "int8": "CHAR", "uint16": "USHORT", "int16": "SHORT", "int32": "INT", "float32": "FLOAT", "float64": "DOUBLE",
}  # fmt: skip


class TestPlugin(PluginTests):
    plugin_module = "curate_itk.plugin"
    distribution = "curate-itk"
    readme = Path(__file__).parents[1] / "README.md"


class TestNrrd(ReaderTests):
    """Headers written by hand after the format's definition, in nanometres."""

    component = ItkReader
    suffix = ".nrrd"
    dtypes = ("uint8", "int8", "uint16", ">u2", "int16", "int32", "float32", ">f8")

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "volume.nrrd"
        big = array.dtype.byteorder == ">"
        z, y, x = spacing
        head = f"NRRD0005\n# by hand\ntype: {NRRD_TYPES[array.dtype.name]}\ndimension: 3\nspace: left-posterior-superior\n"
        head += f"sizes: {' '.join(map(str, array.shape[::-1]))}\nspace directions: ({x!r},0,0) (0,{y!r},0) (0,0,{z!r})\n"
        head += f'space units: "nm" "nm" "nm"\nendian: {"big" if big else "little"}\nencoding: raw\nspace origin: (0,0,0)\n\n'
        path.write_bytes(head.encode() + array.tobytes())
        return path


class TestCompressedNrrd(ReaderTests):
    component = ItkReader
    suffix = ".nrrd"
    unit = "mm"
    memory_mapped = False

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        return write_with_simpleitk(folder / "volume.nrrd", array, spacing, compress=True)


class TestMetaImage(ReaderTests):
    component = ItkReader
    suffix = ".mha"
    unit = "mm"
    dtypes = ("uint8", "int8", "uint16", ">u2", "int16", "int32", "float32", ">f8")

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / "volume.mha"
        head = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = {array.dtype.byteorder == '>'}\n"
        head += "CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
        head += f"DimSize = {' '.join(map(str, array.shape[::-1]))}\n"
        head += f"ElementSpacing = {' '.join(map(repr, spacing[::-1]))}\n"
        head += f"ElementType = MET_{MET_TYPES[array.dtype.name]}\nElementDataFile = LOCAL\n"
        path.write_bytes(head.encode() + array.tobytes())
        return path


class TestNifti(ReaderTests):
    component = ItkReader
    suffix = ".nii"
    unit = "mm"
    dtypes = ("uint8", "int8", "uint16", ">u2", "int16", "int32", "float32", ">f8")

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / f"volume{self.suffix}"
        header = nibabel.Nifti1Header(endianness=">" if array.dtype.byteorder == ">" else "<")
        image = nibabel.Nifti1Image(array.T, np.diag([*spacing[::-1], 1.0]), header, dtype=array.dtype)
        nibabel.save(image, path)
        return path


class TestCompressedNifti(TestNifti):
    suffix = ".nii.gz"
    memory_mapped = False


class TestDicomSeries(ReaderTests):
    component = DicomReader
    suffix = ".dcm"
    unit = "mm"
    shape = (4, 6, 8)
    dtypes = ("int16", "uint16", "uint8")
    memory_mapped = False
    big_shape = (3, 256, 512)

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
        image.SetSpacing([float(step) for step in spacing[::-1]])
        target = folder / "series"
        target.mkdir()
        for index in range(array.shape[0]):
            piece = image[:, :, index : index + 1]
            place = image.TransformIndexToPhysicalPoint((0, 0, index))
            tags = {"0008|0060": "CT", "0020|000e": "1.2.3.4", "0020|000d": "1.2.3", "0008|0018": f"1.2.3.4.{index + 1}"}
            tags |= {"0020|0032": "\\".join(f"{v:.12g}" for v in place), "0020|0037": "1\\0\\0\\0\\1\\0"}
            for tag, value in tags.items():
                piece.SetMetaData(tag, value)
            writer = sitk.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(target / f"{99 - index}.dcm"))
            writer.Execute(piece)
        return target


class TestNrrdWriter(WriterTests):
    component = ItkWriter
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.nrrd"}
    axes = "zyx"
    shape = (3, 5, 7)
    spacing = (40.0, 4.0, 4.0)
    dtypes = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64")


class TestCompressedNrrdWriter(TestNrrdWriter):
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.nrrd", "compress": True}


class TestNiftiWriter(TestNrrdWriter):
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.nii.gz"}


class TestMetaImageWriter(TestNrrdWriter):
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.mha", "compress": True}


class TestSectionWriter(WriterTests):
    component = ItkWriter
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.nrrd"}
    spacing = (2.0, 3.0)


class TestColourWriter(WriterTests):
    component = ItkWriter
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.nii"}
    axes = "zyxc"
    shape = (3, 5, 7, 3)
    spacing = (2.0, 3.0, 4.0)


class TestSeriesWriter(WriterTests):
    component = ItkWriter
    options: ClassVar[dict[str, Any]] = {"path": "{case}/{roi}.nii.gz"}
    axes = "tzyx"
    shape = (2, 3, 5, 7)


def write_with_simpleitk(path: Path, array: Any, spacing: Sequence[float], *, compress: bool) -> Path:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing([float(step) for step in spacing[::-1]])
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path
