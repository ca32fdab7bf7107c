"""The kit's ReaderTests pass a right reader, and fail each kind of wrong for the right reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from attrs import frozen
from kit_toys import MAGIC, ToyReader, run_kit, write_toy

from curate_core.arrays import MapArray
from curate_core.errors import SourceError
from curate_core.kinds import Context
from curate_core.model import Image, LayerSource
from curate_core.testing import ReaderTests


class ToyReaderTests(ReaderTests):
    component = ToyReader
    suffix = ".toy"
    dtypes = ("uint8", "int8", ">u2", "float32")

    def make_file(self, folder, array, spacing):
        return write_toy(folder / "volume.toy", array, spacing)


def failures(tmp_path: Path, reader: type[ToyReader], only: str = "", **claims: Any) -> dict[str, str]:
    return run_kit(type("Claims", (ToyReaderTests,), {"component": reader, **claims}), tmp_path, only)


def test_a_right_reader_passes(tmp_path):
    assert failures(tmp_path, ToyReader) == {}


def evolve(image: Image, **changes: Any) -> Image:
    return Image(image.array, attrs.evolve(image.grid, **changes))


@frozen
class Eager(ToyReader):
    """Reads all at once."""

    def open(self, source: LayerSource, context: Context) -> Image:
        image = ToyReader.open(self, source, context)
        return image.with_array(np.array(image.array))


def test_eager(tmp_path):
    failed = failures(tmp_path, Eager)
    assert set(failed) == {"test_opening_reads_no_voxels"}
    assert "Eager.open allocated" in failed["test_opening_reads_no_voxels"]
    assert failed["test_opening_reads_no_voxels"].endswith("for a volume of 4194304: it reads eagerly")


@frozen
class EagerBoxes(ToyReader):
    """Reads all for a box of it."""

    def open(self, source: LayerSource, context: Context) -> Image:
        image = ToyReader.open(self, source, context)
        return image.with_array(Boxes(np.asarray(image.array)))

    def resident(self, source: LayerSource) -> int:
        return 0


class Boxes(MapArray):
    def __init__(self, base):
        super().__init__(base, np.asarray, base.dtype)

    def read_box(self, where):
        return np.array(self.base)[where]


def test_eager_at_first_box(tmp_path):
    failed = failures(tmp_path, EagerBoxes)
    assert set(failed) == {"test_reading_a_box_reads_little_else"}
    assert "reading one voxel allocated" in failed["test_reading_a_box_reads_little_else"]
    assert failures(tmp_path / "modest", EagerBoxes, memory_mapped=False) == {}


@frozen
class Resident(ToyReader):
    """Says that it holds the volume."""

    def resident(self, source: LayerSource) -> int:
        return 12


def test_resident(tmp_path):
    failed = failures(tmp_path, Resident)
    expected = "AssertionError: Resident.resident says 12 bytes, expected 0 for a memory-mapped layer"
    assert failed == {"test_reading_a_box_reads_little_else": expected}


LEAKED: list[Any] = []


@frozen
class Leaky(ToyReader):
    """Never closes its file."""

    def open(self, source: LayerSource, context: Context) -> Image:
        image = ToyReader.open(self, source, context)
        LEAKED.append(source.files[0].open("rb"))
        return image


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell which files are open")
def test_leaks_a_handle(tmp_path):
    failed = failures(tmp_path, Leaky)
    for file in LEAKED:
        file.close()
    assert failed == {"test_gives_its_handles_back": "AssertionError: Leaky leaks open handles of volume.toy"}


@frozen
class Forgetful(ToyReader):
    """Leaves closing to the garbage collector."""

    def sniff(self, path: Path) -> str | None:
        return None if path.open("rb").read(4) == MAGIC else "no"


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_never_closes(tmp_path):
    failed = failures(tmp_path, Forgetful, "test_gives_its_handles_back")
    assert "Forgetful never closes a file: unclosed file" in failed["test_gives_its_handles_back"]


@frozen
class WrongError(ToyReader):
    """Lets the JSON parser complain."""

    def open(self, source: LayerSource, context: Context) -> Image:
        (path,) = source.files
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8)[4:], "little")
            json.loads(file.read(length))
        return ToyReader.open(self, source, context)


def test_wrong_exception_on_junk(tmp_path):
    failed = failures(tmp_path, WrongError)
    assert set(failed) == {"test_damaged_files_are_source_errors", "test_missing_file_is_a_source_error"}
    damaged = failed["test_damaged_files_are_source_errors"]
    assert damaged.startswith("AssertionError: WrongError, empty: expected a SourceError, got JSONDecodeError: Expecting value")
    assert "missing file: expected a SourceError, got FileNotFoundError" in failed["test_missing_file_is_a_source_error"]


@frozen
class Anonymous(ToyReader):
    """Does not say which file."""

    def open(self, source: LayerSource, context: Context) -> Image:
        try:
            return ToyReader.open(self, source, context)
        except SourceError as error:
            raise SourceError(error.message.replace(str(source.files[0]), "it")) from error


def test_error_without_the_file(tmp_path):
    failed = failures(tmp_path, Anonymous)
    assert set(failed) == {"test_damaged_files_are_source_errors", "test_missing_file_is_a_source_error"}
    expected = "AssertionError: Anonymous, empty: the SourceError does not name the file 'damaged-0.toy': it does not begin with TOY1"
    assert failed["test_damaged_files_are_source_errors"] == expected


@frozen
class Credulous(ToyReader):
    """Takes anything."""

    def sniff(self, path: Path) -> str | None:
        return None

    def open(self, source: LayerSource, context: Context) -> Image:
        from curate_core.testing import make_image

        try:
            return ToyReader.open(self, source, context)
        except SourceError:
            return make_image(np.zeros((1, 1, 1), np.uint8))


def test_takes_anything(tmp_path):
    failed = failures(tmp_path, Credulous)
    assert set(failed) == {
        "test_sniff_refuses_foreign_bytes",
        "test_damaged_files_are_source_errors",
        "test_missing_file_is_a_source_error",
    }
    assert failed["test_sniff_refuses_foreign_bytes"] == "AssertionError: Credulous.sniff takes empty"
    expected = "AssertionError: Credulous, empty: expected a SourceError, nothing was raised"
    assert failed["test_damaged_files_are_source_errors"] == expected


@frozen
class Shy(ToyReader):
    """Refuses itself."""

    def sniff(self, path: Path) -> str | None:
        return "I would rather not"


@frozen
class Clumsy(ToyReader):
    """Raises where it should refuse."""

    def sniff(self, path: Path) -> str | None:
        with path.open("rb") as file:
            return None if file.read(4).decode("ascii") == "TOY1" else "not a toy"


def test_sniff(tmp_path):
    expected = "AssertionError: Shy.sniff refuses its own file: I would rather not"
    assert failures(tmp_path / "shy", Shy, "test_sniff_takes_its_own") == {"test_sniff_takes_its_own": expected}
    failed = failures(tmp_path / "clumsy", Clumsy, "test_sniff_refuses_foreign_bytes")
    assert "Clumsy.sniff of noise raised UnicodeDecodeError" in failed["test_sniff_refuses_foreign_bytes"]


@frozen
class Litterer(ToyReader):
    """Leaves an index beside the file."""

    def open(self, source: LayerSource, context: Context) -> Image:
        image = ToyReader.open(self, source, context)
        source.files[0].with_suffix(".index").write_text("cache")
        return image


@frozen
class Scribbler(ToyReader):
    """Maps its file for writing."""

    def open(self, source: LayerSource, context: Context) -> Image:
        image = ToyReader.open(self, source, context)
        array = image.array
        return image.with_array(np.memmap(array.filename, array.dtype, "r+", array.offset, array.shape))


def test_changes_its_source(tmp_path):
    litter = failures(tmp_path / "litter", Litterer)
    assert litter == {"test_source_stays_untouched": "AssertionError: Litterer left files beside its source: volume.index"}
    failed = failures(tmp_path / "scribble", Scribbler, "test_source_stays_untouched")
    message = "AssertionError: Scribbler changed source files (bytes or modification time): volume.toy"
    assert failed == {"test_source_stays_untouched": message}


@frozen
class Mirrored(ToyReader):
    """Flips the last axis."""

    def open(self, source: LayerSource, context: Context) -> Image:
        image = ToyReader.open(self, source, context)
        return image.with_array(image.array[..., ::-1])


def test_wrong_voxels(tmp_path):
    failed = failures(tmp_path, Mirrored)
    assert set(failed) == {
        "test_reads_every_dtype_exactly", "test_boxes_equal_the_arrays_boxes", "test_opening_twice_gives_the_same",
        "test_layer_crosses_processes",
    }  # fmt: skip
    assert "Mirrored of uint8: " in failed["test_reads_every_dtype_exactly"]
    assert "values differ, the first at (0, 0, 0): " in failed["test_reads_every_dtype_exactly"]


@frozen
class Widened(ToyReader):
    """Gives another dtype than the file's."""

    def open(self, source: LayerSource, context: Context) -> Image:
        image = ToyReader.open(self, source, context)
        return image.with_array(MapArray(image.array, lambda a: a.astype(np.float64), np.float64))


def test_wrong_dtype(tmp_path):
    failed = failures(tmp_path / "a", Widened, "test_reads_every_dtype_exactly")
    assert failed == {"test_reads_every_dtype_exactly": "AssertionError: dtype float64, expected uint8"}
    failed = failures(tmp_path / "b", Widened, "test_layer_crosses_processes")
    assert "the layer of Widened, before it is read, does not pickle" in failed["test_layer_crosses_processes"]


@frozen
class Grids(ToyReader):
    """Reports what ``change`` says instead of the truth."""

    def open(self, source: LayerSource, context: Context) -> Image:
        image = ToyReader.open(self, source, context)
        return evolve(image, **CHANGE)


CHANGE: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("change", "claims", "message"),
    [
        ({"axes": "xyz"}, {}, "axes 'xyz', expected 'zyx'"),
        ({"unit": "mm"}, {}, "unit 'mm', expected 'nm'"),
        ({"calibrated": False}, {}, "the file states its voxel size, but the grid says that it is not calibrated"),
        ({"affine": np.eye(4)}, {}, "spacing (1.0, 1.0, 1.0) along zyx, expected (3.0, 1.5, 0.75)"),
        ({}, {"keeps_spacing": False}, "the format holds no voxel size, but the grid says that it is calibrated"),
    ],
)
def test_wrong_grid(tmp_path, monkeypatch, change, claims, message):
    monkeypatch.setitem(globals(), "CHANGE", change)
    assert failures(tmp_path, Grids, "test_grid", **claims) == {"test_grid": f"AssertionError: {message}"}


@frozen
class Both(ToyReader):
    """One layer from all of its files."""

    many: ClassVar[bool] = True

    def open(self, source: LayerSource, context: Context) -> Image:
        return ToyReader.open(self, LayerSource(source.files[:1]), context)


class OfTwoFiles(ToyReaderTests):
    def source(self, path):
        return LayerSource((path, path.with_name("more.toy")))

    def make_file(self, folder, array, spacing):
        write_toy(folder / "more.toy", array, spacing)
        return super().make_file(folder, array, spacing)


def test_many_files(tmp_path):
    assert run_kit(type("Claims", (OfTwoFiles,), {"component": Both}), tmp_path / "right") == {}
    modest = frozen(type("Both", (Both,), {"__doc__": "Modest.", "many": False}))
    expected = "AssertionError: Both.many = False, so that it is never given 2 files; say many = True"
    failed = run_kit(type("Claims", (OfTwoFiles,), {"component": modest}), tmp_path / "wrong")
    assert failed == {"test_many_files_only_if_it_says_so": expected}


@frozen
class ToyPair(ToyReader):
    """A header that leads to the voxels beside it."""

    def companions(self, path: Path) -> Any:
        return (path.with_suffix(".raw"),) if self.sniff(path) is None else ()

    def open(self, source: LayerSource, context: Context) -> Image:
        image = ToyReader.open(self, source, context)
        try:
            content = source.files[0].with_suffix(".raw").read_bytes()
            return image.with_array(np.frombuffer(content, image.dtype).reshape(image.array.shape))
        except (OSError, ValueError) as error:
            raise SourceError(str(error), where=str(source.files[0])) from error


class ToyPairTests(ToyReaderTests):
    lazy = memory_mapped = False

    def make_file(self, folder, array, spacing):
        (folder / "volume.raw").write_bytes(array.tobytes())
        return super().make_file(folder, np.zeros_like(array), spacing)


@pytest.mark.parametrize(
    ("companions", "message"),
    [
        (lambda self, path: (), "Bad needs volume.raw, which companions does not name: without it SourceError: "),
        (lambda self, path: [path.with_suffix(".raw")], "Bad.companions gave list, expected a tuple of paths"),
        (lambda self, path: ("volume.raw",), "Bad.companions names 'volume.raw', expected a pathlib.Path"),
        (lambda self, path: (Path("volume.raw"),), "Bad.companions names volume.raw, expected an absolute path"),
        (lambda self, path: (path,), "Bad.companions names the file itself"),
        (lambda self, path: (path.with_suffix(".idx"),), "Bad.companions names "),
    ],
)
def test_companions(tmp_path, companions, message):
    assert run_kit(type("Claims", (ToyPairTests,), {"component": ToyPair}), tmp_path / "right") == {}
    bad = frozen(type("Bad", (ToyPair,), {"__doc__": "Bad.", "companions": companions}))
    failed = run_kit(type("Claims", (ToyPairTests,), {"component": bad}), tmp_path / "bad")
    assert set(failed) == {"test_names_the_files_that_it_needs"}
    assert failed["test_names_the_files_that_it_needs"].startswith(f"AssertionError: {message}")


def strict(self, path):
    return [] if self.sniff(path) is None else ["it does not begin with TOY1"]


OWN = "test_tells_of_its_own_file"
FOREIGN = "test_tells_of_damaged_files"


@pytest.mark.parametrize(
    ("methods", "test", "message"),
    [
        ({"faults": lambda self, path: ["it is too small"]}, OWN, "Bad.faults finds in its own file: it is too small"),
        ({"describe": lambda self, path: "a toy"}, OWN, "Bad.describe gave str, expected a dict, or None"),
        ({"describe": lambda self, path: {"axes": ("z", "y")}}, OWN, "what Bad.describe gives is another after it was saved"),
        ({"describe": lambda self, path: {"size": np.int64(3)}}, OWN, "what Bad.describe gives holds what JSON cannot"),
        (
            {"faults": lambda self, path: json.loads(path.read_bytes()[8:])},
            FOREIGN,
            "Bad.faults of empty: expected a SourceError, got JSON",
        ),
        ({"faults": lambda self, path: [1] if self.sniff(path) else []}, FOREIGN, "Bad.faults of empty gave [1], expected words"),
        (
            {"describe": lambda self, path: {"n": path.read_bytes()[9]}},
            FOREIGN,
            "Bad.describe of empty: expected a SourceError, got IndexError",
        ),
    ],
)
def test_what_is_told_of_files(tmp_path, methods, test, message):
    right = frozen(
        type("Right", (ToyReader,), {"__doc__": "Right.", "faults": strict, "describe": lambda self, path: {"layers": ["a", "b"]}})
    )
    assert failures(tmp_path / "right", right) == {}
    bad = frozen(type("Bad", (ToyReader,), {"__doc__": "Bad.", **methods}))
    assert failures(tmp_path / "bad", bad, test)[test].startswith(f"AssertionError: {message}")
