"""What every writer must do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import frozen

from curate_core.arrays import NDArray, read
from curate_core.batch import Batch
from curate_core.errors import StepError
from curate_core.kinds import Piece, Placement, Writer
from curate_core.model import Plain, Tractogram
from curate_core.providers import SUFFIX
from curate_core.templates import check_relative
from curate_core.testing.checks import assert_equal, fingerprint, no_open_handles, snapshot, some_boxes, unchanged
from curate_core.testing.making import context, make_batch, make_component, values, without_pixels

CLOCK_STEP = 2.0
"""Seconds between the ticks of the coarsest clock that formats know (zip's)."""
CLOCK_LAG = 0.02
"""Seconds by which the clock of C libraries may be behind Python's."""


def await_tick(since: float) -> None:
    """Wait until every clock that a file may hold shows another time than at ``since``, which is often the case already."""
    while (now := time.time() - CLOCK_LAG) // CLOCK_STEP <= since // CLOCK_STEP:
        time.sleep(CLOCK_STEP - now % CLOCK_STEP)


@frozen(eq=False)
class Written:
    """One batch as a writer left it in a part."""

    part: Path
    batch: Batch
    places: list[Mapping[str, Placement]]


@frozen(eq=False)
class _First:
    """Samples as they were written first: what with, which (a digest), where each went, the files' hashes, and when."""

    writer: Writer
    samples: str
    places: Sequence[Mapping[str, Placement]]
    hashes: Mapping[str, str]
    when: float


_FIRST: dict[type, _First] = {}
_WRITTEN = pytest.StashKey[bool]()


class WriterTests:
    """A writer keeps inside its part, gives back what it was given, and writes the same bytes at any time.

    Example::

        class TestNrrdWriter(WriterTests):
            component = NrrdWriter
            options = {"path": "{case}/{roi}.nrrd"}
            axes = "zyx"
            dtypes = ("uint8", "int16", "float32")

    Attributes:
        component: the class under test.
        options: its options, as a spec writes them.
        axes: axes of the samples.
        shape: shape of one sample, awkward on purpose.
        dtypes: what it stores without change.
        arrays: names of the arrays of one sample.
        spacing: of the samples, along the spatial axes, array order.
        exact: reading back gives every value; False for lossy formats, which check shape and dtype only.
        sidecars: files of a sample that no placement names are allowed (``.raw`` beside ``.mhd``).
    """

    component: ClassVar[type[Writer]]
    options: ClassVar[Mapping[str, Any]] = {}
    axes: ClassVar[str] = "yx"
    shape: ClassVar[Sequence[int]] = (7, 11)
    dtypes: ClassVar[Sequence[str]] = ("uint8", "uint16", "float32")
    arrays: ClassVar[Sequence[str]] = ("image",)
    spacing: ClassVar[Sequence[float] | None] = None
    exact: ClassVar[bool] = True
    sidecars: ClassVar[bool] = False

    def writer(self) -> Writer:
        """The component under test."""
        return make_component(self.component, self.options)

    def batch(self, dtype: str | None = None, *, count: int = 3, first: int = 0, case: str = "case") -> Batch:
        """Samples to write; replace it for writers that need certain attributes."""
        shape = (count, *self.shape)
        made = {name: values(shape, dtype or self.dtypes[0], (name, first, case)) for name in self.arrays}
        return make_batch(made, self.axes, self.spacing, id=case, first=first)

    def expected(self, batch: Batch) -> Mapping[str, NDArray]:
        """Array name -> (n, ...) values that reading back must give; replace it for writers that join arrays."""
        return {name: batch.array(name) for name in batch.arrays}

    def write(self, part: Path, *batches: Batch) -> list[Written]:
        """Write batches into one part."""
        part.mkdir(parents=True)
        with self.writer().open(part, context("write")) as session:
            return [Written(part, batch, list(session.write(batch))) for batch in batches]

    @property
    def _name(self) -> str:
        return self.component.__name__

    @pytest.fixture(autouse=True)
    def _write_all_first(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
        """All classes of a session write before the first of them waits for the clock, so that the others need not."""
        if _WRITTEN in request.session.stash:
            return
        request.session.stash[_WRITTEN] = True
        name = WriterTests.test_same_samples_same_bytes.__name__
        items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.originalname == name]
        marked = ("skip", "skipif")
        for cls in dict.fromkeys(item.cls for item in items if not any(map(item.get_closest_marker, marked))):
            # Its own tests say what is wrong, or set it up first.
            with suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):
                _FIRST[cls] = cls().write_first(tmp_path_factory.mktemp("first"))

    def write_first(self, folder: Path) -> _First:
        """Write the samples that are written again later."""
        (written,) = self.write(folder / "first", self.batch())
        return _First(self.writer(), fingerprint(written.batch), written.places, _hashes(written.part), time.time())

    def _check_read_back(self, written: Written) -> None:
        writer, expected = self.writer(), self.expected(written.batch)
        for row, sample in enumerate(written.places):
            for name, placement in sample.items():
                self._check_array(writer, written.part / placement.file, placement, expected[name][row])

    def _check_array(self, writer: Writer, path: Path, placement: Placement, expected: NDArray) -> None:
        found = writer.read(path, placement.place)
        assert isinstance(found, np.ndarray), f"{self._name}.read gave {type(found).__name__}, expected an array"
        what = f"{self._name}, {placement.file} at {placement.place!r}"
        assert found.shape == tuple(placement.shape), f"{what}: shape {found.shape}, its placement says {tuple(placement.shape)}"
        assert found.dtype == np.dtype(placement.dtype), f"{what}: dtype {found.dtype}, its placement says {placement.dtype}"
        if self.exact:
            assert_equal(found, expected, what)
        else:
            assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"

    def test_reads_back_what_it_wrote(self, tmp_path: Path) -> None:
        """Every array of every sample of every dtype, from where its placement says."""
        for dtype in self.dtypes:
            batch = self.batch(dtype)
            (written,) = self.write(tmp_path / dtype.replace(">", "big-"), batch)
            assert len(written.places) == len(batch), f"{self._name}.write gave {len(written.places)} rows for {len(batch)} samples"
            for sample in written.places:
                names = sorted(self.expected(batch))
                assert sorted(sample) == names, f"placements of {sorted(sample)}, expected those of {names}"
            self._check_read_back(written)

    def test_reads_lazily(self, tmp_path: Path) -> None:
        """What is read box by box is what is read whole; when it is gone, its file is closed."""
        (written,) = self.write(tmp_path / "part", self.batch())
        with no_open_handles(tmp_path, f"{self._name}.lazy"):
            self._check_lazy(written)

    def _check_lazy(self, written: Written) -> None:
        writer = self.writer()
        for sample in written.places:
            for placement in sample.values():
                path, what = written.part / placement.file, f"{self._name}.lazy, {placement.file} at {placement.place!r}"
                whole, found = writer.read(path, placement.place), writer.lazy(path, placement.place)
                if isinstance(whole, Tractogram) or isinstance(found, Tractogram):
                    assert fingerprint(found) == fingerprint(whole), f"{what}: another tractogram than read gives"
                    continue
                said = (tuple(found.shape), np.dtype(found.dtype).newbyteorder("="))
                wanted = (whole.shape, whole.dtype.newbyteorder("="))
                assert said == wanted, f"{what} announces {said[1]} of shape {said[0]}, read gives {wanted[1]} of shape {wanted[0]}"
                for where in some_boxes(whole.shape):
                    assert_equal(read(found, where), whole[where], f"{what}, box {where}")

    def test_index_leads_to_the_files(self, tmp_path: Path) -> None:
        """One more file, of a path of its own, the same for the same samples; also of a dataset without samples."""
        name, writer, batch = self.writer().index(), self.writer(), self.batch()
        if not name:
            pytest.skip("no index")
        try:
            check_relative(name)
        except StepError as error:
            message = f"{self._name}.index: {error}"
            raise AssertionError(message) from error
        (written,) = self.write(tmp_path / "part", batch)
        placed = [(batch.ids[row], array, p) for row, sample in enumerate(written.places) for array, p in sample.items()]
        assert name not in {p.file for _, _, p in placed}, f"{self._name}.index takes the path of a sample, {name}"
        pieces = [Piece(Path(p.file), p.place, id, array, batch.case.id, {}) for id, array, p in placed]
        made = []
        for number, given in enumerate((pieces, pieces, [])):
            out = tmp_path / f"index.{number}"
            writer.make_index(out, given)
            assert out.is_file(), f"{self._name}.make_index made no file of {len(given)} pieces"
            made.append(out.read_bytes())
        assert made[0] == made[1], f"{self._name}.make_index writes other bytes the second time"

    def test_stays_in_its_part(self, tmp_path: Path) -> None:
        """Files lie in the part, where the placements say, and nowhere else."""
        part = tmp_path / "dataset" / "part"
        (written,) = self.write(part, self.batch())
        outside = sorted(name for name in snapshot(tmp_path) if not name.startswith("dataset/part/"))
        assert not outside, f"{self._name} writes outside its part: {', '.join(outside)}"
        named = {placement.file for sample in written.places for placement in sample.values()}
        for file in sorted(named):
            try:
                check_relative(file)
            except StepError as error:
                raise AssertionError(str(error)) from error
        there = set(snapshot(part))
        assert named <= there, f"placements name files that are not there: {', '.join(sorted(named - there))}"
        if not self.sidecars:
            assert there <= named, f"{self._name} leaves files that no placement names: {', '.join(sorted(there - named))}"

    def test_files_have_a_suffix(self, tmp_path: Path) -> None:
        """Names end in a dot and a lower-case suffix."""
        (written,) = self.write(tmp_path / "part", self.batch())
        for sample in written.places:
            for placement in sample.values():
                ending = "".join(Path(placement.file).suffixes[-1:])
                assert SUFFIX.fullmatch(ending), f"{placement.file!r} does not end in a suffix such as .tiff"

    def test_paths_agree_with_the_files(self, tmp_path: Path) -> None:
        """``paths`` names the file of each sample beforehand, without cutting it."""
        writer, batch = self.writer(), self.batch()
        paths = writer.paths(without_pixels(batch, f"{self._name}.paths uses pixels"))
        (written,) = self.write(tmp_path / "part", batch)
        if paths is None:
            return
        assert len(paths) == len(batch), f"{self._name}.paths gave {len(paths)} paths for {len(batch)} samples"
        assert len(set(paths)) == len(paths), f"{self._name}.paths gives one path to several samples: {paths}"
        if len(self.arrays) == 1:
            files = [next(iter(sample.values())).file for sample in written.places]
            assert files == list(paths), f"{self._name}.paths says {list(paths)}, the files are {files}"

    def test_same_samples_same_bytes(self, tmp_path: Path) -> None:
        """Written again later, elsewhere: the same bytes."""
        first = _FIRST.get(type(self))
        if first is None or (first.writer, first.samples) != (self.writer(), fingerprint(self.batch())):
            first = self.write_first(tmp_path)
        await_tick(first.when)
        (second,) = self.write(tmp_path / "a longer name" / "second", self.batch())
        assert first.places == second.places, f"{self._name} places the same samples elsewhere the second time"
        hashes = _hashes(second.part)
        different = sorted(name for name in first.hashes if first.hashes[name] != hashes.get(name))
        assert not different, f"{self._name} writes other bytes the second time (a time stamp, a path?): {', '.join(different)}"

    def test_batches_of_one_part(self, tmp_path: Path) -> None:
        """Several batches in one session, of different sizes, keep apart."""
        batches = [self.batch(count=2), self.batch(count=1, first=2), self.batch(count=3, first=3)]
        for written in self.write(tmp_path / "part", *batches):
            self._check_read_back(written)

    def test_units_keep_apart(self, tmp_path: Path) -> None:
        """Parts of two units of one case, and of two cases, can lie in one dataset."""
        writer = self.writer()
        batches = [self.batch(), self.batch(first=3)] + ([self.batch(case="other")] if writer.unique_in_case() else [])
        written = [self.write(tmp_path / f"part-{i}", batch)[0] for i, batch in enumerate(batches)]
        if writer.assembles():
            self._check_assembled(tmp_path, written)
            return
        files = [set(snapshot(w.part)) for w in written]
        shared = sorted(set().union(*(a & b for i, a in enumerate(files) for b in files[i + 1 :])))
        assert not shared, f"{self._name} gives one file to several units, but does not assemble: {', '.join(shared)}"

    def _pieces(self, written: Sequence[Written]) -> list[tuple[str, Piece, NDArray, Placement]]:
        """(file in the dataset, piece, its values, its placement) of every array, in manifest order."""
        found = []
        for w in written:
            expected = self.expected(w.batch)
            for row, sample in enumerate(w.places):
                for name, placement in sample.items():
                    path, attributes = w.part / placement.file, w.batch.sample_attributes(row)
                    piece = Piece(path, placement.place, w.batch.ids[row], name, w.batch.case.id, attributes)
                    found.append((placement.file, piece, expected[name][row], placement))
        return found

    def _check_assembled(self, tmp_path: Path, written: Sequence[Written]) -> None:
        pieces = self._pieces(written)
        for number, file in enumerate(sorted({file for file, *_ in pieces})):
            mine = [entry for entry in pieces if entry[0] == file]
            parts = {w.part: snapshot(w.part) for w in written}
            out = tmp_path / f"assembled-{number}" / Path(file).name
            places = self._assemble(out, [piece for _, piece, _, _ in mine])
            for (_, _, expected, placement), place in zip(mine, places, strict=True):
                self._check_array(self.writer(), out, Placement(file, place, placement.shape, placement.dtype), expected)
            assert parts == {w.part: snapshot(w.part) for w in written}, f"{self._name}.assemble changes its parts"
            self._check_assembled_again(tmp_path / f"again-{number}" / out.name, out, mine, places)

    def _check_assembled_again(
        self, again: Path, out: Path, mine: Sequence[tuple[str, Piece, NDArray, Placement]], places: Sequence[Plain]
    ) -> None:
        """A later run takes pieces from the assembled file, leaves some out, and gets the same bytes from the same pieces."""
        earlier = [
            Piece(out, place, piece.sample, piece.array, piece.case, piece.attributes)
            for (_, piece, _, _), place in zip(mine, places, strict=True)
        ]
        self._assemble(again, earlier)
        assert again.read_bytes() == out.read_bytes(), f"{self._name}.assemble from its own file gives other bytes"
        survivors = list(range(0, len(mine), 2))
        fewer = again.with_name(f"fewer-{again.name}")
        kept = self._assemble(fewer, [earlier[i] for i in survivors])
        for i, place in zip(survivors, kept, strict=True):
            _, _, expected, placement = mine[i]
            self._check_array(self.writer(), fewer, Placement(fewer.name, place, placement.shape, placement.dtype), expected)

    def _assemble(self, out: Path, pieces: Sequence[Piece]) -> list[Plain]:
        out.parent.mkdir(parents=True, exist_ok=True)
        places = self.writer().assemble(out, pieces, context("write"))
        assert len(places) == len(pieces), f"{self._name}.assemble gave {len(places)} places for {len(pieces)} pieces"
        assert out.is_file(), f"{self._name}.assemble made no file"
        return list(places)

    def test_leaves_its_input_alone(self, tmp_path: Path) -> None:
        """No bit of the batch changes."""
        batch = self.batch()
        with unchanged(batch, self._name):
            self.write(tmp_path / "part", batch)

    def test_gives_its_handles_back(self, tmp_path: Path) -> None:
        """A closed session holds no file open, and reading back holds none either."""
        with no_open_handles(tmp_path, self._name):
            (written,) = self.write(tmp_path / "part", self.batch())
            self._check_read_back(written)
            del written

    def test_unit_without_survivors(self, tmp_path: Path) -> None:
        """A session in which nothing is written is closed without an error."""
        (tmp_path / "part").mkdir()
        try:
            with self.writer().open(tmp_path / "part", context("write")):
                pass
        except Exception as error:
            message = f"{self._name}: a part without samples: {type(error).__name__}: {error}"
            raise AssertionError(message) from error

    def test_unstored_dtypes_are_refused(self, tmp_path: Path) -> None:
        """What it does not store exactly is a StepError, never other values in the file."""
        for dtype in ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64", ">u2"):
            if not self.exact or dtype in self.dtypes:
                continue
            batch = self.batch(dtype)
            try:
                (written,) = self.write(tmp_path / dtype.replace(">", "big-"), batch)
            except StepError:
                continue
            except Exception as error:
                message = f"{self._name} given {dtype}: expected a StepError, got {type(error).__name__}: {error}"
                raise AssertionError(message) from error
            self._check_read_back(written)


def _hashes(part: Path) -> dict[str, str]:
    return {name: digest for name, (digest, _) in snapshot(part).items()}
