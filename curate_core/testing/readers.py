"""What every reader of images must do."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from curate_core.arrays import NDArray, read
from curate_core.model import Image
from curate_core.testing.checks import assert_equal, some_boxes
from curate_core.testing.layers import LayerTests
from curate_core.testing.making import values


class ReaderTests(LayerTests[Image, NDArray]):
    """A reader opens lazily and exactly, leaves its files alone, and refuses what it cannot read with a SourceError.

    Example::

        class TestMrcReader(ReaderTests):
            component = MrcReader
            suffix = ".mrc"
            dtypes = ("int8", "int16", "uint16", "float32")
            unit = "nm"

            def make_file(self, folder, array, spacing):
                path = folder / "volume.mrc"
                with mrcfile.new(path) as file:  # another library than the reader's own, where there is one
                    file.set_data(array)
                    ...
                return path

    Attributes:
        component: the class under test.
        options: its options, as a spec writes them.
        suffix: ending of its files, used for the damaged ones.
        axes: axes of the layers that ``make_file`` writes; subclass once more for other axes.
        shape: shape of the small ones, awkward on purpose.
        big_shape: shape of the one whose memory is watched, several MB; its dtype is the first of ``dtypes``.
        dtypes: what the format holds without change.
        spacing: along the spatial axes, array order, in ``unit``.
        unit: what the grid must say.
        keeps_spacing: the format holds the voxel size; False: the grid must say that it is not calibrated.
        spacing_tolerance: relative.
        lazy: opening reads no voxels.
        memory_mapped: reading a box reads little more than it, and the open layer occupies no memory.
        sniffs: the format has a mark by which ``sniff`` refuses foreign bytes; False for bare voxels.
        detects_truncation: a file cut in half is refused.
        rejects_junk: foreign bytes are refused by ``open``; False for bare voxels.
    """

    axes: ClassVar[str] = "zyx"
    shape: ClassVar[Sequence[int]] = (5, 7, 11)
    big_shape: ClassVar[Sequence[int]] = (32, 256, 512)
    dtypes: ClassVar[Sequence[str]] = ("uint8", "uint16", "int16", "float32")
    spacing: ClassVar[Sequence[float]] = (3.0, 1.5, 0.75)
    unit: ClassVar[str] = "nm"
    keeps_spacing: ClassVar[bool] = True
    spacing_tolerance: ClassVar[float] = 1e-5
    lazy: ClassVar[bool] = True
    memory_mapped: ClassVar[bool] = True

    def make_file(self, folder: Path, array: NDArray, spacing: Sequence[float]) -> Path:
        """Write ``array`` (axes as the class says) below ``folder``, best with another library; returns the file or folder."""
        raise NotImplementedError

    def open(self, path: Path) -> Image:
        layer = self.layer(path)
        assert isinstance(layer, Image), f"{self._name}.open gave {type(layer).__name__}, expected an Image"
        return layer

    def _make(self, folder: Path) -> tuple[Path, NDArray]:
        return self._small(folder)

    def _arrays(self, layer: Image) -> list[NDArray]:
        return [read(layer.array)]

    def _check(self, layer: Image, expected: NDArray, what: str) -> None:
        assert_equal(read(layer.array), expected, what)

    def _small(self, folder: Path, dtype: str | None = None) -> tuple[Path, NDArray]:
        array = values(self.shape, dtype or self.dtypes[0], self.component.__name__)
        return self.make_file(folder, array, self.spacing), array

    def test_reads_every_dtype_exactly(self, tmp_path: Path) -> None:
        """Shape, dtype and every voxel."""
        for dtype in self.dtypes:
            folder = tmp_path / dtype.replace(">", "big-").replace("<", "little-")
            folder.mkdir()
            path, array = self._small(folder, dtype)
            image = self.open(path)
            assert tuple(image.array.shape) == array.shape, f"shape {tuple(image.array.shape)}, expected {array.shape}"
            kind = image.dtype.newbyteorder("=")
            assert kind == np.dtype(dtype).newbyteorder("="), f"dtype {kind}, expected {dtype}"
            assert_equal(read(image.array), array, f"{self._name} of {dtype}")

    def test_boxes_equal_the_arrays_boxes(self, tmp_path: Path) -> None:
        """Any box, read on its own."""
        path, array = self._small(self._folder(tmp_path))
        image = self.open(path)
        for where in some_boxes(array.shape):
            assert_equal(read(image.array, where), array[where], f"{self._name}, box {where}")

    def test_grid(self, tmp_path: Path) -> None:
        """Axes, spacing and unit are the file's."""
        path, array = self._small(self._folder(tmp_path))
        grid = self.open(path).grid
        assert grid.axes == self.axes, f"axes {grid.axes!r}, expected {self.axes!r}"
        assert grid.shape == array.shape, f"grid of shape {grid.shape}, expected {array.shape}"
        if not self.keeps_spacing:
            assert not grid.calibrated, "the format holds no voxel size, but the grid says that it is calibrated"
            return
        assert grid.calibrated, "the file states its voxel size, but the grid says that it is not calibrated"
        assert grid.unit == self.unit, f"unit {grid.unit!r}, expected {self.unit!r}"
        assert grid.spacing == pytest.approx(tuple(self.spacing), rel=self.spacing_tolerance), (
            f"spacing {grid.spacing} along {grid.spatial_axes}, expected {tuple(self.spacing)}"
        )

    def test_opening_reads_no_voxels(self, tmp_path: Path) -> None:
        """The memory that Python and numpy allocate at opening stays far below the volume."""
        if not self.lazy:
            pytest.skip("lazy = False")
        folder = self._folder(tmp_path)
        self.open(self._small(folder)[0])  # imports what it needs
        path, size = self._big(tmp_path)
        peak = _peak(lambda: self.open(path))
        assert peak < size // 4, f"{self._name}.open allocated {peak} bytes for a volume of {size}: it reads eagerly"

    def test_reading_a_box_reads_little_else(self, tmp_path: Path) -> None:
        """A memory-mapped layer occupies nothing, and neither does a box of it."""
        if not self.memory_mapped:
            pytest.skip("memory_mapped = False")
        folder = self._folder(tmp_path)
        self.open(self._small(folder)[0])
        path, size = self._big(tmp_path)
        resident = self.reader_of(path).resident(self.source(path))
        assert resident == 0, f"{self._name}.resident says {resident} bytes, expected 0 for a memory-mapped layer"
        image = self.open(path)
        where = tuple(slice(n // 2, n // 2 + 1) for n in image.array.shape)
        peak = _peak(lambda: read(image.array, where).copy())
        assert peak < size // 4, f"reading one voxel allocated {peak} bytes of a volume of {size}"

    def _big(self, tmp_path: Path) -> tuple[Path, int]:
        folder = tmp_path / "big"
        folder.mkdir()
        array = values(self.big_shape, self.dtypes[0])
        return self.make_file(folder, array, self.spacing), array.nbytes


def _peak(act: Callable[[], Any]) -> int:
    """Bytes that Python and numpy had allocated at most while ``act`` ran."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
