"""What every source must do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from curate_core.errors import RequestError, StepError
from curate_core.kinds import Source
from curate_core.model import CaseSource
from curate_core.templates import check_relative
from curate_core.testing.checks import sent, unchanged_files
from curate_core.testing.making import make_component


class SourceTests:
    """A source finds cases in an order that depends on names alone, reads no pixels, and says so when there is nothing.

    Example::

        class TestBidsSource(SourceTests):
            component = BidsSource
            cases = ("sub-01", "sub-02")

            def make_files(self, folder):
                for name in ("sub-02", "sub-01"):
                    (folder / name).mkdir()
                    (folder / name / "T1w.nii.gz").touch()
                return {"root": str(folder)}

    Attributes:
        component: the class under test.
        options: its options, as a spec writes them; ``make_files`` may add some.
        cases: the ids that it must find, in order; empty: any.
        from_files: finds files; False: simulates, and then an empty folder is no mistake.
        seeded: draws among cases; False: the seed must change nothing.
    """

    component: ClassVar[type[Source]]
    options: ClassVar[Mapping[str, Any]] = {}
    cases: ClassVar[tuple[str, ...]] = ()
    from_files: ClassVar[bool] = True
    seeded: ClassVar[bool] = False

    def make_files(self, folder: Path) -> Mapping[str, Any]:
        """Make what the source is to find, empty files will do; returns options that name the folder."""
        return {}

    def make_nothing(self, folder: Path) -> Mapping[str, Any]:
        """The same for a folder in which there is nothing to find; by default ``make_files`` and everything removed again."""
        options = self.make_files(folder)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        return options

    def source(self, options: Mapping[str, Any], folder: Path) -> Source:
        """The component under test."""
        return make_component(self.component, {**self.options, **options}, folder)

    def find(self, folder: Path, seed: int = 0) -> list[CaseSource]:
        """The cases in a new folder."""
        folder.mkdir(parents=True)
        return self._found(self.source(self.make_files(folder), folder), seed)

    def _found(self, source: Source, seed: int = 0) -> list[CaseSource]:
        found = source.find_seeded(seed)
        try:
            cases = list(found)
        except TypeError as error:
            message = f"{self._name}.find gave {type(found).__name__}, expected cases one by one (yield)"
            raise AssertionError(message) from error
        for case in cases:
            assert isinstance(case, CaseSource), f"{self._name}.find gave {type(case).__name__}, expected a CaseSource"
        return cases

    @property
    def _name(self) -> str:
        return self.component.__name__

    def test_finds_cases(self, tmp_path: Path) -> None:
        """At least one; those that the class names."""
        ids = [case.id for case in self.find(tmp_path / "data")]
        assert ids, f"{self._name} finds nothing in what make_files made"
        if self.cases:
            assert ids == list(self.cases), f"{self._name} finds {ids}, expected {list(self.cases)}"

    def test_ids_are_names(self, tmp_path: Path) -> None:
        """Each case has an id of its own, a relative name."""
        ids = [case.id for case in self.find(tmp_path / "data")]
        assert len(set(ids)) == len(ids), f"{self._name}: several cases have one id: {ids}"
        for id in ids:
            try:
                check_relative(id)
            except StepError as error:
                message = f"{self._name}: the id {id!r} is not a plain relative name"
                raise AssertionError(message) from error

    def test_layers_are_there(self, tmp_path: Path) -> None:
        """Files are absolute paths that exist."""
        for case in self.find(tmp_path / "data"):
            assert case.layers, f"{self._name}: case {case.id!r} has no layer"
            for file in case.files():
                assert isinstance(file, Path), f"{self._name}: case {case.id!r} names {file!r}, expected a pathlib.Path"
                assert file.is_absolute(), f"{self._name}: case {case.id!r} names {file}, expected an absolute path"
                assert file.exists(), f"{self._name}: case {case.id!r} names {file}, which is not there"

    def test_same_files_same_cases(self, tmp_path: Path) -> None:
        """Twice the same, whatever folder the files lie in."""
        first, second = self.find(tmp_path / "first"), self.find(tmp_path / "a longer name" / "second")
        described = [[(case.id, dict(case.attributes), list(case.layers)) for case in cases] for cases in (first, second)]
        assert described[0] == described[1], f"{self._name} finds {described[0]}, and elsewhere {described[1]}"

    def test_another_seed(self, tmp_path: Path) -> None:
        """Only sources that say so depend on the seed; they must not fail for any."""
        found = [[case.id for case in self.find(tmp_path / str(seed), seed)] for seed in range(4)]
        if not self.seeded:
            assert found.count(found[0]) == 4, f"{self._name}, seeded = False, finds other cases for another seed"

    def test_files_stay_untouched(self, tmp_path: Path) -> None:
        """Nothing is written among the files."""
        folder = tmp_path / "data"
        folder.mkdir()
        source = self.source(self.make_files(folder), folder)
        with unchanged_files(folder, self._name):
            self._found(source)

    def test_cases_cross_processes(self, tmp_path: Path) -> None:
        """Cases can be sent to workers."""
        for case in self.find(tmp_path / "data"):
            what = f"{self._name}: case {case.id!r}"
            assert sent(case, what) == case, f"{what} is another after it was sent"

    def test_nothing_to_find(self, tmp_path: Path) -> None:
        """An empty folder gives no cases or a RequestError, never another exception."""
        folder = tmp_path / "data"
        folder.mkdir()
        source = self.source(self.make_nothing(folder), folder)
        try:
            found = self._found(source)
        except RequestError:
            return
        except Exception as error:
            message = f"{self._name} where there is nothing: expected a RequestError, got {type(error).__name__}: {error}"
            raise AssertionError(message) from error
        assert not (self.from_files and found), f"{self._name} finds {[case.id for case in found]} where there is nothing"
