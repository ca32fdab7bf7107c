"""What every reader of tractograms must do."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from curate_core.arrays import NDArray, read
from curate_core.grid import Grid
from curate_core.kinds import generator
from curate_core.model import Tractogram
from curate_core.testing.layers import LayerTests

GRID = Grid((14, 12, 10), "xyz", np.array([[-2.0, 0.2, 0, 20], [0.1, 2.5, 0, -15], [0, 0, 3, -30], [0, 0, 0, 1]]), "mm", oriented=True)


class TractogramReaderTests(LayerTests[Tractogram, Tractogram]):
    """A reader of streamlines gives each as it was written, in the world, and keeps every other rule of readers.

    Example::

        class TestTrkReader(TractogramReaderTests):
            component = TractogramReader
            suffix = ".trk"

            def make_file(self, folder, lines):
                path = folder / "lines.trk"
                another_library.write(path, [lines.streamline(i) for i in range(len(lines))], lines.grid.affine)
                return path

    Attributes:
        component: the class under test.
        options: its options, as a spec writes them; those that depend on the folder come with ``source``.
        suffix: ending of its files, used for the damaged ones.
        lengths: points of each streamline that ``make_file`` gets.
        grid: the voxels that the streamlines are about.
        per_streamline: name -> columns of values that each streamline has; empty: the format holds none.
        per_point: the same for each point.
        tolerance: what a coordinate may differ by, in the unit of the grid: formats store other coordinates than those of the world.
        memory_mapped: the points stay in the file: the open layer occupies no memory.
        sniffs: the format has a mark by which ``sniff`` refuses foreign bytes.
        detects_truncation: a file cut in half is refused.
        rejects_junk: foreign bytes are refused by ``open``.
    """

    lengths: ClassVar[Sequence[int]] = (5, 1, 30, 2)
    grid: ClassVar[Grid] = GRID
    per_streamline: ClassVar[dict[str, int]] = {}
    per_point: ClassVar[dict[str, int]] = {}
    tolerance: ClassVar[float] = 1e-4
    memory_mapped: ClassVar[bool] = False

    def make_file(self, folder: Path, lines: Tractogram) -> Path:
        """Write the streamlines below ``folder``, best with another library; returns the file."""
        raise NotImplementedError

    def lines(self, lengths: Sequence[int]) -> Tractogram:
        """Walks through the middle of the grid: points (P, 3) float32 in the world, without gaps."""
        rng = generator("lines", tuple(lengths))
        total = sum(lengths)
        voxels = rng.uniform(1, np.array(self.grid.shape) - 2, (total, 3))
        points = (voxels @ self.grid.affine[:3, :3].T + self.grid.affine[:3, 3]).astype(np.float32)
        counts = np.array(lengths, np.int64)
        by_line, by_point = (
            {name: rng.normal(size=(rows, columns)).astype(np.float32) for name, columns in wanted.items()}
            for rows, wanted in ((len(lengths), self.per_streamline), (total, self.per_point))
        )
        return Tractogram(points, np.cumsum(counts) - counts, counts, self.grid, by_line, by_point)

    def open(self, path: Path) -> Tractogram:
        layer = self.layer(path)
        assert isinstance(layer, Tractogram), f"{self._name}.open gave {type(layer).__name__}, expected a Tractogram"
        return layer

    def _make(self, folder: Path) -> tuple[Path, Tractogram]:
        lines = self.lines(self.lengths)
        return self.make_file(folder, lines), lines

    def _arrays(self, layer: Tractogram) -> list[NDArray]:
        data = [*layer.per_streamline.values(), *layer.per_point.values()]
        return [np.asarray(read(layer.points)), layer.offsets, layer.lengths, *(np.asarray(read(array)) for array in data)]

    def _check(self, layer: Tractogram, expected: Tractogram, what: str) -> None:
        lengths, wanted = layer.lengths.tolist(), expected.lengths.tolist()
        assert lengths == wanted, f"{self._name}, {what}: streamlines of {lengths} points, expected {wanted}"
        for i in range(len(expected)):
            self._near(layer.streamline(i), expected.streamline(i), f"{what}, streamline {i}")
        for name, columns in expected.per_streamline.items():
            assert name in layer.per_streamline, f"{self._name}, {what}: no data {name!r} of each streamline"
            self._near(read(layer.per_streamline[name]), read(columns), f"{what}, data {name!r} of each streamline")
        for name, columns in expected.per_point.items():
            assert name in layer.per_point, f"{self._name}, {what}: no data {name!r} of each point"
            rows = [np.arange(start, start + n) for start, n in zip(layer.offsets.tolist(), lengths, strict=True)]
            found = read(layer.per_point[name])[np.concatenate(rows)] if rows else read(columns)
            self._near(found, read(columns), f"{what}, data {name!r} of each point")

    def _near(self, found: NDArray, expected: NDArray, what: str) -> None:
        assert found.shape == expected.shape, f"{self._name}, {what}: shape {found.shape}, expected {expected.shape}"
        apart = np.abs(np.asarray(found, np.float64) - expected)
        assert (apart <= self.tolerance).all(), f"{self._name}, {what}: off by {apart.max():g}, more than {self.tolerance:g}"

    def test_reads_every_streamline(self, tmp_path: Path) -> None:
        """Number, points and data of each, of the types that steps expect."""
        path, expected = self._make(self._folder(tmp_path))
        layer = self.open(path)
        kinds = [np.dtype(array.dtype) for array in (layer.points, layer.offsets, layer.lengths)]
        wanted = [np.dtype(name) for name in ("float32", "int64", "int64")]
        assert kinds == wanted, f"{self._name}: points, offsets, lengths are {', '.join(map(str, kinds))}, expected float32, int64, int64"
        self._check(layer, expected, "every streamline")

    def test_grid(self, tmp_path: Path) -> None:
        """The voxels that the streamlines are about."""
        path, expected = self._make(self._folder(tmp_path))
        grid = self.open(path).grid
        said, wanted = (grid.axes, grid.shape, grid.unit), (expected.grid.axes, expected.grid.shape, expected.grid.unit)
        assert said == wanted, f"{self._name}: axes, shape and unit of the grid are {said}, expected {wanted}"
        same = np.allclose(grid.affine, expected.grid.affine, rtol=1e-5, atol=1e-4)
        assert same, f"{self._name}: the grid has the affine {grid.affine.tolist()}, expected {expected.grid.affine.tolist()}"

    def test_no_streamlines(self, tmp_path: Path) -> None:
        """A file of none is no mistake."""
        layer = self.open(self.make_file(self._folder(tmp_path), self.lines(())))
        assert len(layer) == 0, f"{self._name} finds {len(layer)} streamlines in a file of none"

    def test_says_what_it_occupies(self, tmp_path: Path) -> None:
        """An open layer holds no more memory than ``resident`` says, which is nothing where points stay in their file."""
        folder = self._folder(tmp_path)
        self.open(self._make(folder)[0])  # what is imported and cached is no part of a layer
        big = tmp_path / "big"
        big.mkdir()
        lines = self.lines((2000,) * 50)
        path, size = self.make_file(big, lines), read(lines.points).nbytes
        resident = self.reader_of(path).resident(self.source(path))
        assert type(resident) is int, f"{self._name}.resident says {resident!r}, expected bytes as a whole number"
        if self.memory_mapped:
            assert resident == 0, f"{self._name}.resident says {resident} bytes, expected 0 for a memory-mapped layer"
        tracemalloc.start()
        try:
            layer = self.open(path)
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert held <= resident + size // 4, f"{self._name} holds {held} bytes of {len(layer)} streamlines, its resident says {resident}"
