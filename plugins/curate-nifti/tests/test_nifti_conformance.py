"""What every reader and plugin must do, asked of this one; files are written by nibabel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import nibabel
import numpy as np
from curate_nifti.reader import NiftiReader

from curate_core.testing import PluginTests, ReaderTests

DTYPES = ("uint8", "int8", "uint16", ">u2", "int16", ">i2", "uint32", "int32", "uint64", "int64", "float32", ">f4", "float64", ">f8")


class TestPlugin(PluginTests):
    plugin_module = "curate_nifti.plugin"
    distribution = "curate-nifti"
    readme = Path(__file__).parents[1] / "README.md"


class TestNifti(ReaderTests):
    component = NiftiReader
    suffix = ".nii"
    unit = "mm"
    dtypes = DTYPES
    image: ClassVar[Any] = nibabel.Nifti1Image

    def make_file(self, folder: Path, array: Any, spacing: Sequence[float]) -> Path:
        path = folder / f"volume{self.suffix}"
        header = self.image.header_class(endianness=">" if array.dtype.byteorder == ">" else "<")
        header.set_xyzt_units("mm")
        stored = np.moveaxis(array, -1, 0) if self.axes.endswith("c") else array  # vectors: a fifth axis, the slowest
        stored = stored.reshape(*stored.shape[:1], 1, *stored.shape[1:]) if self.axes.endswith("c") else stored
        steps = [step for _, step in zip([a for a in self.axes if a in "xyz"], spacing[::-1], strict=True)]
        affine = np.diag([*steps, *[1.0] * (4 - len(steps))])
        nibabel.save(self.image(stored.T, affine, header, dtype=array.dtype), path)
        return path


class TestNifti2(TestNifti):
    image = nibabel.Nifti2Image


class TestCompressedNifti(TestNifti):
    suffix = ".nii.gz"
    memory_mapped = False


class TestCompressedNifti2(TestCompressedNifti):
    image = nibabel.Nifti2Image


class TestPair(TestNifti):
    suffix = ".img"
    image = nibabel.Nifti1Pair


class TestImage(TestNifti):
    axes = "yx"
    shape = (7, 11)
    spacing = (1.5, 0.75)
    big_shape = (4096, 1024)


class TestSeries(TestNifti):
    axes = "tzyx"
    shape = (3, 5, 7, 4)
    big_shape = (4, 32, 128, 256)


class TestVectors(TestNifti):
    axes = "zyxc"
    shape = (5, 7, 4, 3)
    big_shape = (32, 128, 256, 3)
