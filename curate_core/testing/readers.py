"""What every reader must do."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from curate_core.arrays import NDArray, read
from curate_core.errors import SourceError
from curate_core.kinds import Reader
from curate_core.model import Image, LayerSource
from curate_core.testing.checks import (
    JUNK,
    across_processes,
    assert_equal,
    assert_source_error,
    check_names_file,
    no_open_handles,
    some_boxes,
    unchanged_files,
)
from curate_core.testing.making import context, make_component, values


class ReaderTests:
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

    component: ClassVar[type[Reader]]
    options: ClassVar[Mapping[str, Any]] = {}
    suffix: ClassVar[str]
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
    sniffs: ClassVar[bool] = True
    detects_truncation: ClassVar[bool] = True
    rejects_junk: ClassVar[bool] = True

    def make_file(self, folder: Path, array: NDArray, spacing: Sequence[float]) -> Path:
        """Write ``array`` (axes as the class says) below ``folder``, best with another library; returns the file or folder."""
        raise NotImplementedError

    def source(self, path: Path) -> LayerSource:
        """Where the layer comes from; replace it for layers of many files."""
        return LayerSource((path,))

    def reader(self) -> Reader:
        """The component under test."""
        return make_component(self.component, self.options)

    def open(self, path: Path) -> Image:
        """The layer in a file."""
        layer = self.reader().open(self.source(path), context("read"))
        assert isinstance(layer, Image), f"{self.component.__name__}.open gave {type(layer).__name__}, expected an Image"
        return layer

    def _folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "source"
        folder.mkdir()
        return folder

    def _small(self, folder: Path, dtype: str | None = None) -> tuple[Path, NDArray]:
        array = values(self.shape, dtype or self.dtypes[0], self.component.__name__)
        return self.make_file(folder, array, self.spacing), array

    @property
    def _name(self) -> str:
        return self.component.__name__

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
        resident = self.reader().resident(self.source(path))
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

    def test_opening_twice_gives_the_same(self, tmp_path: Path) -> None:
        """Two opened layers do not disturb each other."""
        path, array = self._small(self._folder(tmp_path))
        first, second = self.open(path), self.open(path)
        assert first.grid == second.grid, f"{self._name} gives another grid the second time"
        assert_equal(read(second.array), array, "second")
        del second
        assert_equal(read(first.array), array, "first, after the second is gone")

    def test_source_stays_untouched(self, tmp_path: Path) -> None:
        """No byte, no modification time, no file beside it; not even through the array that was read."""
        folder = self._folder(tmp_path)
        path, _ = self._small(folder)
        with unchanged_files(folder, self._name):
            self.reader().sniff(path)
            image = self.open(path)
            voxels = read(image.array)
            if voxels.flags.writeable:
                voxels[...] = 0
            del voxels, image

    def test_gives_its_handles_back(self, tmp_path: Path) -> None:
        """When the layer is gone, its file is closed."""
        folder = self._folder(tmp_path)
        path, _ = self._small(folder)
        with no_open_handles(folder, self._name):
            self.reader().sniff(path)
            image = self.open(path)
            read(image.array)
            del image

    def test_layer_crosses_processes(self, tmp_path: Path) -> None:
        """The layer can be sent to a worker, before and after it was read."""
        path, array = self._small(self._folder(tmp_path))
        image = self.open(path)
        for when in ("before it is read", "after it was read"):
            try:
                copy = across_processes(image)
            except Exception as error:
                message = f"the layer of {self._name} does not pickle {when}: {type(error).__name__}: {error}"
                raise AssertionError(message) from error
            assert_equal(read(copy.array), array, f"copy sent {when}")
            read(image.array)

    def test_sniff_takes_its_own(self, tmp_path: Path) -> None:
        """What it reads, it recognises."""
        path, _ = self._small(self._folder(tmp_path))
        reason = self.reader().sniff(path)
        assert reason is None, f"{self._name}.sniff refuses its own file: {reason}"

    def test_sniff_refuses_foreign_bytes(self, tmp_path: Path) -> None:
        """Foreign bytes under its suffix are refused with a reason, never with an exception."""
        for what, content in JUNK.items():
            path = tmp_path / f"foreign{self.suffix}"
            path.write_bytes(content)
            try:
                reason = self.reader().sniff(path)
            except Exception as error:
                message = f"{self._name}.sniff of {what} raised {type(error).__name__}: {error}"
                raise AssertionError(message) from error
            if self.sniffs:
                assert isinstance(reason, str), f"{self._name}.sniff takes {what}"
                assert reason.strip(), f"{self._name}.sniff of {what} refuses without a reason"

    def test_damaged_files_are_source_errors(self, tmp_path: Path) -> None:
        """Empty, cut and foreign files give a SourceError that names the file, never another exception."""
        original, _ = self._small(self._folder(tmp_path))
        content = original.read_bytes() if original.is_file() else b""
        cuts = sorted({n for n in (1, 4, 16, len(content) // 2, len(content) - 1) if 0 < n < len(content)})
        damaged = {what: (junk, self.rejects_junk) for what, junk in JUNK.items()}
        for cut in cuts:  # a last byte may be padding
            damaged[f"the first {cut} of {len(content)} bytes"] = (content[:cut], self.detects_truncation and cut < len(content) - 1)
        for number, (what, (data, must)) in enumerate(damaged.items()):
            path = tmp_path / f"damaged-{number}{self.suffix}"
            path.write_bytes(data)
            if must:
                assert_source_error(partial(self._read, path), path, f"{self._name}, {what}")
            else:
                self._error_or_nothing(path, what)

    def _read(self, path: Path) -> NDArray:
        return read(self.open(path).array)

    def _error_or_nothing(self, path: Path, what: str) -> None:
        try:
            self._read(path)
        except SourceError as error:
            check_names_file(error, path, f"{self._name}, {what}")
        except Exception as error:
            message = f"{self._name}, {what}: expected a SourceError or an image, got {type(error).__name__}: {error}"
            raise AssertionError(message) from error

    def test_missing_file_is_a_source_error(self, tmp_path: Path) -> None:
        """A file that is gone, or a folder in its place."""
        gone = tmp_path / f"gone{self.suffix}"
        assert_source_error(partial(self._read, gone), gone, f"{self._name}, missing file")
        folder = tmp_path / f"folder{self.suffix}"
        folder.mkdir()
        assert_source_error(partial(self._read, folder), folder, f"{self._name}, empty folder")


def _peak(act: Callable[[], Any]) -> int:
    """Bytes that Python and numpy had allocated at most while ``act`` ran."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
