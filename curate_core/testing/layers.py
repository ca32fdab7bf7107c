"""What every reader must do, of whatever layers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from curate_core.arrays import NDArray
from curate_core.errors import SourceError
from curate_core.kinds import Reader
from curate_core.model import Layer, LayerSource
from curate_core.testing.checks import (
    JUNK,
    assert_source_error,
    check_names_file,
    no_open_handles,
    sent,
    unchanged_files,
)
from curate_core.testing.making import context, make_component
from curate_core.testing.measuring import kept

L = TypeVar("L", bound=Layer)
Expected = TypeVar("Expected")


class LayerTests(Generic[L, Expected]):
    """Base of the tests of readers: files are left alone, and those that are not its own are refused.

    Attributes:
        component: the class under test.
        options: its options, as a spec writes them.
        suffix: ending of its files, used for the damaged ones.
        sniffs: the format has a mark by which ``sniff`` refuses foreign bytes; False for bare voxels.
        detects_truncation: a file cut in half is refused.
        rejects_junk: foreign bytes are refused by ``open``; False for bare voxels.
    """

    component: ClassVar[type[Reader]]
    options: ClassVar[Mapping[str, Any]] = {}
    suffix: ClassVar[str]
    sniffs: ClassVar[bool] = True
    detects_truncation: ClassVar[bool] = True
    rejects_junk: ClassVar[bool] = True

    def source(self, path: Path) -> LayerSource:
        """Where the layer comes from; replace it for layers of many files, or for options that depend on the file."""
        return LayerSource((path,))

    def reader(self) -> Reader:
        """The component under test."""
        return make_component(self.component, self.options)

    def reader_of(self, path: Path) -> Reader:
        """The component with the options that a file's source adds."""
        added = self.source(path).options
        return make_component(self.component, {**self.options, **added}) if added else self.reader()

    def open(self, path: Path) -> L:
        """The layer in a file."""
        raise NotImplementedError

    def layer(self, path: Path) -> Layer:
        """What the reader gives for a file."""
        return self.reader_of(path).open(self.source(path), context("read"))

    def _make(self, folder: Path) -> tuple[Path, Expected]:
        """Write a small file; it, and what reading it must give."""
        raise NotImplementedError

    def _arrays(self, layer: L) -> list[NDArray]:
        """All that a layer holds, read."""
        raise NotImplementedError

    def _check(self, layer: L, expected: Expected, what: str) -> None:
        """The layer is what ``_make`` told."""
        raise NotImplementedError

    def _folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "source"
        folder.mkdir()
        return folder

    @property
    def _name(self) -> str:
        return self.component.__name__

    def test_opening_twice_gives_the_same(self, tmp_path: Path) -> None:
        """Two opened layers do not disturb each other."""
        path, expected = self._make(self._folder(tmp_path))
        first, second = self.open(path), self.open(path)
        assert first.grid == second.grid, f"{self._name} gives another grid the second time"
        self._check(second, expected, "second")
        del second
        self._check(first, expected, "first, after the second is gone")

    def test_source_stays_untouched(self, tmp_path: Path) -> None:
        """No byte, no modification time, no file beside it; not even through the array that was read."""
        folder = self._folder(tmp_path)
        path, _ = self._make(folder)
        with unchanged_files(folder, self._name):
            self.reader_of(path).sniff(path)
            layer = self.open(path)
            for values in self._arrays(layer):
                if values.flags.writeable:
                    values[...] = 0
            del values, layer

    def test_gives_its_handles_back(self, tmp_path: Path) -> None:
        """When the layer is gone, its file is closed."""
        folder = self._folder(tmp_path)
        path, _ = self._make(folder)
        with no_open_handles(folder, self._name):
            self.reader_of(path).sniff(path)
            layer = self.open(path)
            self._arrays(layer)
            del layer

    def test_layer_crosses_processes(self, tmp_path: Path) -> None:
        """The layer can be sent to a worker, before and after it was read."""
        path, expected = self._make(self._folder(tmp_path))
        layer = self.open(path)
        for when in ("before it is read", "after it was read"):
            copy = sent(layer, f"the layer of {self._name}, {when},")
            self._check(copy, expected, f"copy sent {when}")
            self._arrays(layer)

    def test_sniff_takes_its_own(self, tmp_path: Path) -> None:
        """What it reads, it recognises."""
        path, _ = self._make(self._folder(tmp_path))
        reason = self.reader_of(path).sniff(path)
        assert reason is None, f"{self._name}.sniff refuses its own file: {reason}"

    def test_sniff_refuses_foreign_bytes(self, tmp_path: Path) -> None:
        """Foreign bytes under its suffix are refused with a reason, never with an exception."""
        for what, content in JUNK.items():
            path = tmp_path / f"foreign{self.suffix}"
            path.write_bytes(content)
            try:
                reason = self.reader_of(path).sniff(path)
            except Exception as error:
                message = f"{self._name}.sniff of {what} raised {type(error).__name__}: {error}"
                raise AssertionError(message) from error
            if self.sniffs:
                assert isinstance(reason, str), f"{self._name}.sniff takes {what}"
                assert reason.strip(), f"{self._name}.sniff of {what} refuses without a reason"

    def test_damaged_files_are_source_errors(self, tmp_path: Path) -> None:
        """Empty, cut and foreign files give a SourceError that names the file, never another exception."""
        original, _ = self._make(self._folder(tmp_path))
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

    def _read(self, path: Path) -> list[NDArray]:
        return self._arrays(self.open(path))

    def _error_or_nothing(self, path: Path, what: str) -> None:
        try:
            self._read(path)
        except SourceError as error:
            check_names_file(error, path, f"{self._name}, {what}")
        except Exception as error:
            message = f"{self._name}, {what}: expected a SourceError or a layer, got {type(error).__name__}: {error}"
            raise AssertionError(message) from error

    def test_missing_file_is_a_source_error(self, tmp_path: Path) -> None:
        """A file that is gone, or a folder in its place."""
        gone = tmp_path / f"gone{self.suffix}"
        assert_source_error(partial(self._read, gone), gone, f"{self._name}, missing file")
        folder = tmp_path / f"folder{self.suffix}"
        folder.mkdir()
        assert_source_error(partial(self._read, folder), folder, f"{self._name}, empty folder")

    def test_many_files_only_if_it_says_so(self, tmp_path: Path) -> None:
        """A reader that takes one file at a time is given one: curate joins what several hold."""
        path, _ = self._make(self._folder(tmp_path))
        files, many = self.source(path).files, self.component.many
        assert many or len(files) < 2, f"{self._name}.many = False, so that it is never given {len(files)} files; say many = True"

    def test_names_the_files_that_it_needs(self, tmp_path: Path) -> None:
        """Companions are there, and without any other file beside them the layer is the same: a change of one must not go unseen."""
        folder = self._folder(tmp_path)
        path, expected = self._make(folder)
        named = {file.resolve() for file in self.source(path).files}
        for file in self.source(path).files:
            if file.is_file():
                named |= {companion.resolve() for companion in self._companions(file)}
        for other in sorted(p for p in folder.rglob("*") if p.is_file()):
            if other.resolve() in named or not named.isdisjoint(other.resolve().parents):
                continue
            aside = other.rename(tmp_path / "aside")
            try:
                self._check(self.open(path), expected, "the layer")
            except Exception as error:
                message = f"{self._name} needs {other.name}, which companions does not name: without it {type(error).__name__}: {error}"
                raise AssertionError(message) from error
            finally:
                aside.rename(other)

    def _companions(self, file: Path) -> tuple[Path, ...]:
        found = self.reader_of(file).companions(file)
        assert isinstance(found, tuple), f"{self._name}.companions gave {type(found).__name__}, expected a tuple of paths"
        for companion in found:
            assert isinstance(companion, Path), f"{self._name}.companions names {companion!r}, expected a pathlib.Path"
            assert companion.is_absolute(), f"{self._name}.companions names {companion}, expected an absolute path"
            assert companion.exists(), f"{self._name}.companions names {companion}, which is not there"
            assert companion != file, f"{self._name}.companions names the file itself"
        return found

    def test_tells_of_its_own_file(self, tmp_path: Path) -> None:
        """What ``curate info`` shows is plain, and ``curate verify`` finds nothing wrong."""
        path, _ = self._make(self._folder(tmp_path))
        described = self.reader_of(path).describe(path)
        if described is not None:
            assert isinstance(described, dict), f"{self._name}.describe gave {type(described).__name__}, expected a dict, or None"
            kept(described, f"what {self._name}.describe gives")
        wrong = self.reader_of(path).faults(path)
        assert not wrong, f"{self._name}.faults finds in its own file: {'; '.join(map(str, wrong or ()))}"

    def test_tells_of_damaged_files(self, tmp_path: Path) -> None:
        """Faults in words or a SourceError, never another exception."""
        path = tmp_path / f"foreign{self.suffix}"
        for what, content in JUNK.items():
            path.write_bytes(content)
            for method in ("faults", "describe"):
                try:
                    told = getattr(self.reader_of(path), method)(path)
                except SourceError as error:
                    check_names_file(error, path, f"{self._name}.{method} of {what}")
                    continue
                except Exception as error:
                    message = f"{self._name}.{method} of {what}: expected a SourceError, got {type(error).__name__}: {error}"
                    raise AssertionError(message) from error
                words = told is None or isinstance(told, Mapping) or all(isinstance(fault, str) for fault in told)
                assert words, f"{self._name}.{method} of {what} gave {told!r}, expected words"
