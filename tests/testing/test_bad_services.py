"""The kit's tests of sources, engines, importers and commands pass right components, and fail each kind of wrong for the right reason."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

import pytest
from attrs import field, frozen
from kit_toys import run_kit

from curate_core.builtin.local import LocalEngine
from curate_core.errors import RequestError, SourceError
from curate_core.kinds import Command, Engine, EngineSession, Importer, Outcome, Source, Worker
from curate_core.model import CaseSource, LayerSource
from curate_core.options import option
from curate_core.testing import CommandTests, EngineTests, ImporterTests, SourceTests


@frozen
class ToySource(Source):
    """Every .toy file of a folder."""

    folder: str = option(doc="Where.")

    def find(self):
        files = sorted(Path(self.folder).glob("*.toy"))
        if not files:
            raise RequestError("nothing")
        for file in files:
            yield self.case(file)

    def case(self, file):
        return CaseSource(file.stem, {"image": LayerSource((file,))}, root=file.parent)


class SourceClaims(SourceTests):
    component = ToySource
    cases = ("a", "b")

    def make_files(self, folder):
        for name in ("b", "a"):
            (folder / f"{name}.toy").touch()
        return {"folder": str(folder)}


def changed(base, **methods):
    """A frozen class like another, some methods replaced."""
    return frozen(type(base.__name__, (base,), {"__doc__": base.__doc__, "__module__": __name__, **methods}))


def source(**methods):
    return type("Claims", (SourceClaims,), {"component": changed(ToySource, **methods)})


def test_a_right_source_passes(tmp_path):
    assert run_kit(SourceClaims, tmp_path) == {}


def reversed_find(self):
    return reversed(list(ToySource.find(self)))


def path_dependent(self, file):
    return CaseSource(file.stem, {"image": LayerSource((file,))}, {"folder": str(file.parent)})


def writes(self):
    (Path(self.folder) / "index.txt").write_text("a b")
    return ToySource.find(self)


def seeded(self, seed):
    return list(self.find())[seed % 2 :]


@pytest.mark.parametrize(
    ("methods", "test", "message"),
    [
        ({"find": reversed_find}, "test_finds_cases", "ToySource finds ['b', 'a'], expected ['a', 'b']"),
        ({"find": lambda self: iter(())}, "test_finds_cases", "ToySource finds nothing in what make_files made"),
        ({"find": lambda self: None}, "test_finds_cases", "ToySource.find gave NoneType, expected cases one by one (yield)"),
        ({"find": lambda self: ["a"]}, "test_finds_cases", "ToySource.find gave str, expected a CaseSource"),
        (
            {"case": lambda self, file: CaseSource("../x", {"image": LayerSource((file,))})},
            "test_ids_are_names",
            "ToySource: several cases have one id",
        ),
        (
            {"case": lambda self, file: CaseSource(f"../{file.stem}", {"image": LayerSource((file,))})},
            "test_ids_are_names",
            "ToySource: the id '../a' is not a plain relative name",
        ),
        (
            {"case": lambda self, file: CaseSource(file.stem, {"image": LayerSource((file.name,))})},
            "test_layers_are_there",
            "case 'a' names 'a.toy', expected a pathlib.Path",
        ),
        ({"case": lambda self, file: CaseSource(file.stem)}, "test_layers_are_there", "ToySource: case 'a' has no layer"),
        (
            {"case": lambda self, file: CaseSource(file.stem, {"image": LayerSource((Path(file.name),))})},
            "test_layers_are_there",
            "ToySource: case 'a' names a.toy, expected an absolute path",
        ),
        (
            {"case": lambda self, file: CaseSource(file.stem, {"image": LayerSource((file / "x",))})},
            "test_layers_are_there",
            "which is not there",
        ),
        ({"case": path_dependent}, "test_same_files_same_cases", "ToySource finds [('a', {'folder':"),
        ({"find_seeded": seeded}, "test_another_seed", "ToySource, seeded = False, finds other cases for another seed"),
        ({"find": writes}, "test_files_stay_untouched", "ToySource left files beside its source: index.txt"),
        (
            {"find": lambda self: [CaseSource("a", {"i": LayerSource()})]},
            "test_nothing_to_find",
            "ToySource finds ['a'] where there is nothing",
        ),
        (
            {"case": lambda self, file: CaseSource(file.stem, {"image": LayerSource((file,))}, {"found": lambda: file})},
            "test_cases_cross_processes",
            "AssertionError: ToySource: case 'a' does not pickle: ",
        ),
        (
            {"case": lambda self, file: CaseSource(file.stem, {"image": LayerSource((file,))}, {"found": object()})},
            "test_cases_cross_processes",
            "AssertionError: ToySource: case 'a' is another after it was sent",
        ),
        (
            {"find": lambda self: [next(iter(ToySource.find(self)))] and [][1]},
            "test_finds_cases",
            "IndexError",
        ),
    ],
)
def test_bad_sources(tmp_path, methods, test, message):
    failed = run_kit(source(**methods), tmp_path, test)
    assert message in failed[test]


def test_a_source_that_fails_where_there_is_nothing(tmp_path):
    def find(self):
        return [self.case(max(Path(self.folder).glob("*.toy")))]

    failed = run_kit(source(find=find), tmp_path, "test_nothing_to_find")
    assert "ToySource where there is nothing: expected a RequestError, got ValueError" in failed["test_nothing_to_find"]


class Session(EngineSession):
    def __init__(self, work, engine):
        self.work, self.engine = work, engine

    def run(self, units):
        return self.engine.do(self.work, units)


@frozen
class ToyEngine(Engine):
    """One after the other."""

    def open(self, work):
        return Session(work, self)

    def do(self, work, units):
        for unit in units:
            yield self.one(work, unit)

    def one(self, work, unit):
        try:
            return Outcome(unit, "done", work(unit, Worker()))
        except Exception as error:
            return Outcome(unit, "failed", error=error)


class EngineClaims(EngineTests):
    component = ToyEngine


def test_a_right_engine_passes(tmp_path):
    assert run_kit(EngineClaims, tmp_path) == {}


@pytest.mark.parametrize("workers", [0, 2])
def test_the_local_engine_passes(tmp_path, workers):
    assert run_kit(type("Claims", (EngineTests,), {"component": LocalEngine, "options": {"workers": workers}}), tmp_path) == {}


def forgetful(self, work, units):
    for unit in list(units)[1:]:
        yield self.one(work, unit)


def greedy(self, work, units):
    for unit in list(units):
        yield self.one(work, unit)


def wordless(self, work, unit):
    outcome = ToyEngine.one(self, work, unit)
    return outcome if outcome.error is None else Outcome(unit, "failed", error=SourceError(str(outcome.error)))


def stops(self, work, units):
    for unit in units:
        outcome = self.one(work, unit)
        yield outcome if outcome.status == "done" else Outcome(unit, "lost", error=outcome.error)


@pytest.mark.parametrize(
    ("methods", "test", "message"),
    [
        ({"do": forgetful}, "test_every_unit_is_done_once", "of 20 units"),
        (
            {"one": lambda self, work, unit: Outcome(unit, "done", 0)},
            "test_every_unit_is_done_once",
            "ToyEngine: square 1 gave 0, expected 1",
        ),
        (
            {"one": lambda self, work, unit: work(unit, Worker())},
            "test_every_unit_is_done_once",
            "ToyEngine reports int, expected an Outcome",
        ),
        ({"do": greedy}, "test_units_are_taken_as_there_is_room", "ToyEngine took 1000 units when 3 outcomes were asked for"),
        ({"one": wordless}, "test_a_failure_is_reported_whole", "the error arrives as ("),
        ({"do": stops}, "test_a_failure_is_reported_whole", "a unit that raised is lost, expected failed"),
        ({"do": stops}, "test_a_bug_is_reported", "a unit that raised IndexError is lost, expected failed"),
        (
            {"one": lambda self, work, unit: Outcome(unit, "done", work(unit, Worker("first")))},
            "test_workers_say_who_they_are",
            "the worker's index is 'first', expected a whole number",
        ),
        ({"do": lambda self, work, units: iter([Outcome(None, "done")])}, "test_nothing_to_do", "ToyEngine reports outcomes of no units"),
        (
            {"one": lambda self, work, unit: Outcome(unit, "done", unit.key)},
            "test_a_unit_alone",
            "ToyEngine.run_alone gave",
        ),
    ],
)
def test_bad_engines(tmp_path, methods, test, message):
    failed = run_kit(type("Claims", (EngineClaims,), {"component": changed(ToyEngine, **methods)}), tmp_path, test)
    assert message in failed[test]


@frozen
class Locked(ToyEngine):
    """Holds a lock, which no other process can have."""

    lock: object = field(init=False, factory=threading.Lock)


@frozen
class Marked(ToyEngine):
    """Is told from others by what it is, not by its options."""

    mark: object = field(init=False, factory=object)


@pytest.mark.parametrize(
    ("engine", "message"), [(Locked, "does not pickle: TypeError: cannot pickle"), (Marked, "is another after it was sent")]
)
def test_engines_that_cannot_be_sent(tmp_path, engine, message):
    name = "test_engine_crosses_processes"
    failed = run_kit(type("Claims", (EngineClaims,), {"component": engine}), tmp_path, name)
    assert failed[name].startswith(f"AssertionError: {engine.__name__} {message}")


class Heavy(list):
    """Records, and all that they are about."""

    def __init__(self, records):
        super().__init__(records)
        self.samples = b"x" * 100_000


class Between(EngineSession):
    """A right session, and somebody who spoils what it says."""

    def __init__(self, session, spoil):
        self.session, self.spoil = session, spoil

    def run(self, units):
        return self.spoil(self.session.run(units))

    def close(self):
        if self.spoil is not tireless:
            self.session.close()


def spoilt(spoil):
    return changed(LocalEngine, open=lambda self, work: Between(LocalEngine.open(self, work), spoil))


def resigned(outcomes):
    for outcome in outcomes:
        yield outcome if outcome.status == "done" else Outcome(outcome.unit, "failed", error=outcome.error)


def mute(outcomes):
    for outcome in outcomes:
        yield outcome if outcome.status == "done" else Outcome(outcome.unit, outcome.status)


def heartless(outcomes):
    for outcome in outcomes:
        if outcome.status == "done":
            yield outcome


def patient(outcomes):
    try:
        for outcome in outcomes:  # noqa: UP028  (yield from would close them)
            yield outcome
    finally:
        next(outcomes, None)


def tireless(outcomes):
    """Goes on behind the back of who closed it."""
    try:
        for outcome in outcomes:  # noqa: UP028
            yield outcome
    finally:
        threading.Thread(target=list, args=(outcomes,), daemon=True).start()


def heavy(outcomes):
    for outcome in outcomes:
        yield Outcome(outcome.unit, outcome.status, Heavy(outcome.value) if isinstance(outcome.value, list) else outcome.value)


@pytest.mark.parametrize(
    ("spoil", "test", "message"),
    [
        (resigned, "test_a_killed_worker_costs_nobody_else", "a unit that ends its process is failed, expected lost"),
        (mute, "test_a_killed_worker_costs_nobody_else", "does not say how kill 100 was lost"),
        (heartless, "test_a_killed_worker_costs_nobody_else", "when a worker is killed"),
        (patient, "test_closing_waits_for_no_unit", "waits for the units at work when it is closed"),
        (tireless, "test_closing_waits_for_no_unit", "units were begun in one place, expected 1"),
        (heavy, "test_a_run_has_the_bytes_of_every_other", "bytes come back from workers for 1638400 bytes of samples"),
    ],
)
def test_bad_engines_with_workers(tmp_path, spoil, test, message):
    claims = type("Claims", (EngineTests,), {"component": spoilt(spoil), "options": {"workers": 1}, "long": 3.0})
    assert message in run_kit(claims, tmp_path, test)[test]


SPEC = {
    "version": 1,
    "name": "imported",
    "source": {"use": "files", "pattern": "{case}.npy"},
    "rois": [{"use": "grid", "size": 8}],
    "write": [{"use": "npy"}],
    "output": "out",
}


@frozen
class ToyImporter(Importer):
    """One word."""

    def convert(self, text, folder):
        if text != "toy":
            raise RequestError("not a toy")
        return dict(SPEC)


class ImporterClaims(ImporterTests):
    component = ToyImporter
    text = "toy"


def test_a_right_importer_passes(tmp_path):
    assert run_kit(ImporterClaims, tmp_path) == {}


def writes_spec(self, text, folder):
    (folder / "spec.json").write_text("{}")
    return dict(SPEC)


def test_an_importer_may_take_an_empty_text_if_it_says_so(tmp_path):
    lenient = changed(ToyImporter, convert=lambda self, text, folder: dict(SPEC) if not text else ToyImporter.convert(self, text, folder))
    claims = type("Claims", (ImporterClaims,), {"component": lenient})
    assert "makes a spec of nothing" in run_kit(claims, tmp_path / "silent")["test_foreign_text_is_refused"]
    assert run_kit(type("Claims", (claims,), {"takes_nothing": True}), tmp_path / "said") == {}


COUNT = iter(range(1000))


@pytest.mark.parametrize(
    ("convert", "test", "message"),
    [
        (lambda self, text, folder: "{}", "test_gives_a_spec", "ToyImporter.convert gave str, expected a dict"),
        (lambda self, text, folder: {**SPEC, "seed": {1}}, "test_gives_a_spec", "the spec holds what JSON cannot"),
        (lambda self, text, folder: {**SPEC, "rois": ({"use": "whole"},)}, "test_gives_a_spec", "another after it was saved (a tuple"),
        (lambda self, text, folder: {**SPEC, "rios": []}, "test_gives_a_spec", "ToyImporter makes a spec that is wrong"),
        (lambda self, text, folder: {**SPEC, "seed": next(COUNT)}, "test_same_text_same_spec", "makes another spec the second time"),
        (writes_spec, "test_leaves_files_alone", "ToyImporter left files beside its source: spec.json"),
        (lambda self, text, folder: dict(SPEC), "test_foreign_text_is_refused", "ToyImporter makes a spec of nothing"),
        (
            lambda self, text, folder: [][1],
            "test_foreign_text_is_refused",
            "ToyImporter given nothing: expected a RequestError, got IndexError",
        ),
    ],
)
def test_bad_importers(tmp_path, convert, test, message):
    failed = run_kit(type("Claims", (ImporterClaims,), {"component": changed(ToyImporter, convert=convert)}), tmp_path, test)
    assert message in failed[test]


@frozen
class ToyCommand(Command):
    """Says how long a file is."""

    def add_arguments(self, parser):
        parser.add_argument("file", help="which")

    def run(self, arguments):
        try:
            return 0 if Path(arguments.file).read_text() else 1
        except FileNotFoundError as error:
            raise RequestError("there is no such file") from error


class CommandClaims(CommandTests):
    component = ToyCommand

    def words(self, folder):
        (folder / "a").write_text("x")
        return [str(folder / "a")]

    def wrong_words(self, folder):
        return [str(folder / "gone")]


def test_a_right_command_passes(tmp_path):
    assert run_kit(CommandClaims, tmp_path) == {}


@pytest.mark.parametrize(
    ("methods", "test", "message"),
    [
        (
            {"add_arguments": lambda self, parser: parser.add_argument("-q", help="x")},
            "test_arguments_do_not_clash",
            "conflicting option string: -q; -h, --help, -v, --verbose, -q, --quiet, --debug are taken",
        ),
        ({"add_arguments": lambda self, parser: parser.add_argument("file")}, "test_arguments_are_explained", "no help for file"),
        ({"run": lambda self, arguments: None}, "test_gives_an_exit_code", "ToyCommand.run gave None, expected an exit code"),
        ({"run": lambda self, arguments: 1}, "test_gives_an_exit_code", "ToyCommand.run gave 1, expected 0"),
        ({"run": lambda self, arguments: 0}, "test_what_cannot_be_done_is_explained", "gives 0 when asked for what cannot be done"),
        (
            {"run": lambda self, arguments: len(Path(arguments.file).read_text())},
            "test_what_cannot_be_done_is_explained",
            "expected a RequestError, got FileNotFoundError",
        ),
    ],
)
def test_bad_commands(tmp_path, methods, test, message):
    failed = run_kit(type("Claims", (CommandClaims,), {"component": changed(ToyCommand, **methods)}), tmp_path, test)
    assert message in failed[test]


def test_a_command_with_an_option(tmp_path):
    @frozen
    class Needy(ToyCommand):
        folder: str = field()
        version: ClassVar[int] = 1

    failed = run_kit(type("Claims", (CommandClaims,), {"component": Needy}), tmp_path, "test_needs_no_options")
    assert "Needy has options without a default: folder; declare arguments instead" in failed["test_needs_no_options"]
