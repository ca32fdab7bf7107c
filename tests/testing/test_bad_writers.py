"""The kit's WriterTests pass right writers, and fail each kind of wrong for the right reason."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from kit_toys import StackSession, ToySession, ToyStack, ToyWriter, run_kit

from curate_core.arrays import NDArray
from curate_core.batch import Batch
from curate_core.kinds import Context, Piece, Placement, WriteSession
from curate_core.model import Plain
from curate_core.testing import WriterTests, writers

CLOCK_STEP = writers.CLOCK_STEP


@pytest.fixture(autouse=True)
def short_sleep(monkeypatch):
    """The toys' clock ticks in nanoseconds."""
    monkeypatch.setattr(writers, "CLOCK_STEP", 0.001)


def failures(tmp_path: Path, writer: type[Any], only: str = "", **claims: Any) -> dict[str, str]:
    return run_kit(type("Claims", (WriterTests,), {"component": writer, **claims}), tmp_path, only)


@pytest.mark.parametrize("writer", [ToyWriter, ToyStack])
def test_right_writers_pass(tmp_path, writer):
    assert failures(tmp_path, writer) == {}


@frozen
class Stamped(ToyWriter):
    """Writes when it was written."""

    def save(self, path: Path, array: NDArray) -> None:
        super().save(path, array)
        with path.open("ab") as file:
            file.write(str(time.time_ns()).encode())


def test_time_stamp(tmp_path):
    failed = failures(tmp_path, Stamped)
    assert set(failed) == {"test_same_samples_same_bytes"}
    message = failed["test_same_samples_same_bytes"]
    assert message.startswith("AssertionError: Stamped writes other bytes the second time (a time stamp, a path?): case/y0-7_x0-11.npy")


@frozen
class Zipped(ToyWriter):
    """Writes when it was written, in steps of two seconds."""

    def save(self, path: Path, array: NDArray) -> None:
        super().save(path, array)
        with zipfile.ZipFile(path, "a") as file:
            file.writestr("note", "", zipfile.ZIP_STORED)


@frozen
class Dating(ToyWriter):
    """Writes when it was written, in steps of one second, by the clock of the C library."""

    def save(self, path: Path, array: NDArray) -> None:
        super().save(path, array)
        with path.open("ab") as file:
            file.write(str(ctypes.CDLL(None).time(None)).encode())


@pytest.mark.parametrize(
    "writer", [Zipped, pytest.param(Dating, marks=pytest.mark.skipif(os.name == "nt", reason="no C library by that name"))]
)
def test_clocks_that_tick_slowly(tmp_path, monkeypatch, writer):
    """They tick between the two writes."""
    monkeypatch.setattr(writers, "CLOCK_STEP", CLOCK_STEP)
    name = "test_same_samples_same_bytes"
    assert set(failures(tmp_path, writer, name)) == {name}


SESSION = """
import pytest
from attrs import frozen
from kit_toys import ToyWriter
from curate_core.testing import WriterTests, writers

class Clock:
    now, waits = 1000.5, []

    def time(self):
        self.now += 0.001
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.waits.append(seconds)

clock = writers.time = Clock()

@frozen
class Dating(ToyWriter):
    def save(self, path, array):
        super().save(path, array)
        with path.open("ab") as file:
            file.write(str(int(clock.now)).encode())

class TestFirst(WriterTests):
    component = ToyWriter

class TestSecond(WriterTests):
    component = ToyWriter
    dtypes = ("int16",)

class TestThird(WriterTests):
    component = Dating

class TestChanging(WriterTests):
    component = ToyWriter

    @pytest.fixture(autouse=True)
    def _seeded(self):
        self.seed = 7

    def batch(self, *arguments, **options):
        return super().batch(*arguments, **{"first": self.seed, **options})

class TestFails(WriterTests):
    component = ToyWriter
    dtypes = ("no such type",)

class TestSkips(WriterTests):
    component = ToyWriter

    def batch(self, *arguments, **options):
        pytest.skip("not today")

@pytest.mark.skipif(True, reason="never")
class TestNever(WriterTests):
    component = ToyWriter

    def batch(self, *arguments, **options):
        raise KeyboardInterrupt

class TestLast(WriterTests):
    component = ToyWriter

def test_waits():
    assert len(clock.waits) == 2, clock.waits
"""


def test_a_session_waits_once_for_all_classes_that_say_beforehand_what_they_write(tmp_path):
    """And once for each that a fixture sets up."""
    (tmp_path / "test_all.py").write_text(SESSION)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-k",
        "same_samples or waits",
        "test_all.py",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    failed = {line.split("::", 1)[1].split(" - ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")}
    assert failed == {"TestThird::test_same_samples_same_bytes", "TestFails::test_same_samples_same_bytes"}, done.stdout + done.stderr


@frozen
class Escaping(ToyWriter):
    """Leaves a log in its part's parent."""

    def open(self, part: Path, context: Context) -> WriteSession:
        (part.parent / "log.txt").write_text("opened")
        return ToySession(self, part)


def test_writes_outside_its_part(tmp_path):
    failed = failures(tmp_path, Escaping)
    assert failed == {"test_stays_in_its_part": "AssertionError: Escaping writes outside its part: dataset/log.txt"}


@frozen
class Littering(ToyWriter):
    """Leaves files that nothing names."""

    def open(self, part: Path, context: Context) -> WriteSession:
        (part / "scratch.tmp").write_text("opened")
        return ToySession(self, part)


def test_unnamed_files(tmp_path):
    expected = "AssertionError: Littering leaves files that no placement names: scratch.tmp"
    assert failures(tmp_path / "a", Littering, "test_stays_in_its_part") == {"test_stays_in_its_part": expected}
    assert failures(tmp_path / "b", Littering, "test_stays_in_its_part", sidecars=True) == {}


@frozen
class Climbing(ToyWriter):
    """Uses a path that is not plain."""

    def open(self, part: Path, context: Context) -> WriteSession:
        return ClimbingSession(self, part)


class ClimbingSession(ToySession):
    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        made = super().write(batch)
        return [{name: Placement(f"./{p.file}", p.place, p.shape, p.dtype) for name, p in sample.items()} for sample in made]


def test_placements_are_plain_paths(tmp_path):
    failed = failures(tmp_path, Climbing, "test_stays_in_its_part")
    assert "would leave the output folder or is not a plain relative path" in failed["test_stays_in_its_part"]


def test_suffix_without_a_dot(tmp_path):
    failed = failures(tmp_path, ToyWriter, options={"path": "{case}-{roi}-tiff"})
    assert failed["test_files_have_a_suffix"] == "AssertionError: 'case-y0-7_x0-11-tiff' does not end in a suffix such as .tiff"


@frozen
class Liar(ToyWriter):
    """Announces other paths than it takes."""

    def paths(self, batch: Batch) -> list[str] | None:
        return [f"{i}.npy" for i in range(len(batch))]

    def open(self, part: Path, context: Context) -> WriteSession:
        return ToySession(ToyWriter(), part)


@frozen
class Peeking(ToyWriter):
    """Names files after their content."""

    def paths(self, batch: Batch) -> list[str] | None:
        return [f"{int(array.sum())}.npy" for array in batch.array("image")]


@frozen
class Blunt(ToyWriter):
    """One name for all."""

    path: str = "all.npy"


def test_paths(tmp_path):
    name = "test_paths_agree_with_the_files"
    failed = failures(tmp_path / "liar", Liar, name)
    assert failed[name].startswith("AssertionError: Liar.paths says ['0.npy', '1.npy', '2.npy'], the files are ['case/y0-7_x0-11.npy', ")
    assert failures(tmp_path / "peeking", Peeking, name)[name] == "AssertionError: Peeking.paths uses pixels"
    assert failures(tmp_path / "blunt", Blunt, name)[name].startswith("AssertionError: Blunt.paths gives one path to several samples")


@frozen
class Overwriting(ToyWriter):
    """Forgets that cases have ROIs of one name."""

    path: str = "{roi}.npy"


def test_units_that_overwrite_each_other(tmp_path):
    failed = failures(tmp_path, Overwriting)
    assert set(failed) == {"test_units_keep_apart"}
    assert "Overwriting gives one file to several units, but does not assemble: y0-7_x0-11.npy" in failed["test_units_keep_apart"]


@frozen
class Lossy(ToyWriter):
    """Keeps 7 bits."""

    def save(self, path: Path, array: NDArray) -> None:
        super().save(path, (array.astype(np.int64) // 2 * 2).astype(array.dtype))


def test_loses_values(tmp_path):
    failed = failures(tmp_path, Lossy)
    assert "test_reads_back_what_it_wrote" in failed
    assert "Lossy, case/y0-7_x0-11.npy at None: " in failed["test_reads_back_what_it_wrote"]
    assert "values differ, the first at " in failed["test_reads_back_what_it_wrote"]
    assert failures(tmp_path / "said", Lossy, exact=False) == {}


@frozen
class Casting(ToyWriter):
    """Makes everything uint8 without a word."""

    def save(self, path: Path, array: NDArray) -> None:
        super().save(path, array.astype(np.uint8))


def test_casts_silently(tmp_path):
    failed = failures(tmp_path, Casting, dtypes=("uint8",))
    assert set(failed) == {"test_unstored_dtypes_are_refused"}
    assert "its placement says" in failed["test_unstored_dtypes_are_refused"]


@frozen
class Brutal(ToyWriter):
    """Raises the library's error for a dtype that it does not know."""

    def save(self, path: Path, array: NDArray) -> None:
        if array.dtype != np.uint8:
            raise KeyError(array.dtype)
        super().save(path, array)


def test_raises_the_wrong_error(tmp_path):
    failed = failures(tmp_path, Brutal, dtypes=("uint8",))
    assert set(failed) == {"test_unstored_dtypes_are_refused"}
    assert "Brutal given bool: expected a StepError, got KeyError" in failed["test_unstored_dtypes_are_refused"]


@frozen
class Mutating(ToyWriter):
    """Scales in place."""

    def save(self, path: Path, array: NDArray) -> None:
        array //= 2


@frozen
class Forcing(ToyWriter):
    """Scales in place, and takes the lock off first."""

    def save(self, path: Path, array: NDArray) -> None:
        base = array.base
        while base.base is not None:
            base = base.base
        base.setflags(write=True)
        base[...] = 0
        super().save(path, array)


def test_mutates_its_input(tmp_path):
    name = "test_leaves_its_input_alone"
    failed = failures(tmp_path / "a", Mutating, name)
    assert failed[name].startswith("AssertionError: Mutating changes its input in place: ")
    assert failures(tmp_path / "b", Forcing, name) == {name: "AssertionError: Forcing changes its input in place"}


LEAKED: list[Any] = []


@frozen
class Leaky(ToyWriter):
    """Never closes what it reads."""

    def read(self, path: Path, place: Plain) -> NDArray:
        LEAKED.append(path.open("rb"))
        return np.load(path)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell which files are open")
def test_leaks_a_handle(tmp_path):
    failed = failures(tmp_path, Leaky)
    for file in LEAKED:
        file.close()
    assert set(failed) == {"test_gives_its_handles_back", "test_reads_lazily"}
    assert failed["test_gives_its_handles_back"].startswith("AssertionError: Leaky leaks open handles of y0-7_x0-11.npy")


@frozen
class Shuffled(ToyStack):
    """Gives places back in another order than the pieces."""

    def assemble(self, out: Path, pieces: Sequence[Piece], context: Context) -> list[Plain]:
        return ToyStack.assemble(self, out, list(pieces)[::-1], context)


@frozen
class Consuming(ToyStack):
    """Removes the parts that it assembled."""

    def assemble(self, out: Path, pieces: Sequence[Piece], context: Context) -> list[Plain]:
        places = ToyStack.assemble(self, out, pieces, context)
        pieces[0].path.write_bytes(pieces[0].path.read_bytes() + b"done")
        return places


@frozen
class Dated(ToyStack):
    """Ends its file with a date."""

    def assemble(self, out: Path, pieces: Sequence[Piece], context: Context) -> list[Plain]:
        places = ToyStack.assemble(self, out, pieces, context)
        with out.open("ab") as file:
            file.write(str(time.time_ns()).encode())
        return places


@frozen
class Unassembled(ToyStack):
    """Shares files, but does not say so."""

    def assembles(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("writer", "message"),
    [
        (Shuffled, "values differ"),
        (Consuming, "Consuming.assemble changes its parts"),
        (Dated, "Dated.assemble from its own file gives other bytes"),
        (Unassembled, "Unassembled gives one file to several units, but does not assemble: stack.raw"),
    ],
)
def test_assembling(tmp_path, writer, message):
    failed = failures(tmp_path, writer)
    assert set(failed) == {"test_units_keep_apart"}
    assert message in failed["test_units_keep_apart"]


class LazyClose(StackSession):
    def close(self) -> None:
        pass


@frozen
class Unclosed(ToyStack):
    """Leaves the last bytes in a buffer."""

    def open(self, part: Path, context: Context) -> WriteSession:
        LEAKED.append(LazyClose(part))
        return LEAKED[-1]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell which files are open")
def test_session_left_open(tmp_path):
    failed = failures(tmp_path, Unclosed)
    for session in LEAKED:
        getattr(session, "file", session).close()
    assert {"test_gives_its_handles_back", "test_reads_back_what_it_wrote"} <= set(failed)


@frozen
class Recounting(ToyWriter):
    """Numbers the samples of each batch from 0 on."""

    def paths(self, batch: Batch) -> list[str] | None:
        return [f"{batch.case.id}/{row}.npy" for row in range(len(batch))]


def test_batches_that_overwrite_each_other(tmp_path):
    name = "test_batches_of_one_part"
    assert failures(tmp_path, Recounting, name)[name].startswith("AssertionError: Recounting, case/0.npy at None: ")


class Joining(StackSession):
    def __init__(self, part: Path) -> None:
        super().__init__(part)
        self.shapes: set[Any] = set()

    def write(self, batch: Batch) -> list[Mapping[str, Placement]]:
        self.shapes.add(batch.array("image").shape[1:])
        return super().write(batch)

    def close(self) -> None:
        super().close()
        (_,) = self.shapes


@frozen
class Expectant(ToyStack):
    """Reckons with samples."""

    def open(self, part: Path, context: Context) -> WriteSession:
        return Joining(part)


def test_part_without_samples(tmp_path):
    expected = "AssertionError: Expectant: a part without samples: ValueError: not enough values to unpack (expected 1, got 0)"
    assert failures(tmp_path, Expectant) == {"test_unit_without_survivors": expected}


@frozen
class Mapped(ToyWriter):
    """Reads box by box."""

    def lazy(self, path: Path, place: Plain) -> NDArray:
        return np.load(path, mmap_mode="r", allow_pickle=False)


@frozen
class Turned(ToyWriter):
    """Looks at the wrong end of the file."""

    def lazy(self, path: Path, place: Plain) -> NDArray:
        return self.read(path, place)[::-1]


@frozen
class Wider(ToyWriter):
    """Announces what numpy would make of it."""

    def lazy(self, path: Path, place: Plain) -> NDArray:
        return self.read(path, place).astype(np.int64)


@frozen
class Clinging(ToyWriter):
    """Keeps the file open for the next time."""

    def lazy(self, path: Path, place: Plain) -> NDArray:
        LEAKED.append(path.open("rb"))
        return self.read(path, place)


def test_reading_lazily(tmp_path):
    name = "test_reads_lazily"
    assert failures(tmp_path / "right", Mapped) == {}
    failed = failures(tmp_path / "turned", Turned)
    assert set(failed) == {name}
    assert failed[name].startswith("AssertionError: Turned.lazy, case/y0-7_x0-11.npy at None, box (slice(0, 7, None), ")
    said = "announces int64 of shape (7, 11), read gives uint8 of shape (7, 11)"
    assert failures(tmp_path / "wider", Wider) == {name: f"AssertionError: Wider.lazy, case/y0-7_x0-11.npy at None {said}"}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell which files are open")
def test_what_is_read_lazily_is_closed(tmp_path):
    failed = failures(tmp_path, Clinging)
    for file in LEAKED:
        getattr(file, "close", dict)()
    assert set(failed) == {"test_reads_lazily"}
    assert failed["test_reads_lazily"].startswith("AssertionError: Clinging.lazy leaks open handles of y0-7_x0-11.npy")


@frozen
class Listing(ToyWriter):
    """A list of all files."""

    def index(self) -> str:
        return "files.txt"

    def make_index(self, out: Path, pieces: Sequence[Piece]) -> None:
        out.write_text("".join(f"{piece.path}\n" for piece in pieces))


def dated(self, out, pieces):
    out.write_text(f"made at {time.time_ns()}")


def made_later(self, out, pieces):
    pass


def of_the_first(self, out, pieces):
    if pieces:
        out.write_text(str(pieces[0].path))


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (
            {"index": lambda self: "/tmp/files.txt"},
            "Bad.index: the path '/tmp/files.txt' would leave the output folder",
        ),
        ({"index": lambda self: "case/y0-7_x0-11.npy"}, "Bad.index takes the path of a sample, case/y0-7_x0-11.npy"),
        ({"make_index": made_later}, "Bad.make_index made no file of 3 pieces"),
        ({"make_index": of_the_first}, "Bad.make_index made no file of 0 pieces"),
        ({"make_index": dated}, "Bad.make_index writes other bytes the second time"),
    ],
)
def test_indexes(tmp_path, methods, message):
    assert failures(tmp_path / "right", Listing) == {}
    bad = frozen(type("Bad", (Listing,), {"__doc__": "Bad.", "__module__": __name__, **methods}))
    failed = failures(tmp_path / "bad", bad)
    assert set(failed) == {"test_index_leads_to_the_files"}
    assert failed["test_index_leads_to_the_files"].startswith(f"AssertionError: {message}")
