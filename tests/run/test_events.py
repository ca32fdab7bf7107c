"""What listeners are told of a run, when, and where."""

import json
import os
import threading

import pytest

from curate_core import hookimpl, runner
from curate_core.errors import CurateError, DiskError, PluginError, RunError, WaitError
from curate_core.host import default_host


class Diary:
    """Writes down what it hears, and where it was told."""

    def __init__(self):
        self.heard, self.places = [], set()

    def note(self, event, what):
        self.heard.append((event, what))
        self.places.add((os.getpid(), threading.get_ident()))

    @hookimpl
    def curate_run_started(self, name, output, total_units):
        self.note("run started", (name, output, total_units))

    @hookimpl
    def curate_round_started(self, title, total_units):
        self.note("round", (title, total_units))

    @hookimpl
    def curate_unit_finished(self, outcome, counts):
        self.note("unit", (outcome.unit.case, outcome.status, counts))

    @hookimpl
    def curate_run_finished(self, summary):
        self.note("run finished", summary)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_is_told_from_its_beginning_to_its_end(lab, workers):
    diary = Diary()
    lab.run(listeners=[diary], workers=workers)
    events = [event for event, _ in diary.heard]
    assert events == ["run started", "round", *["unit"] * 3, "round", *["unit"] * 3, "run finished"]
    assert diary.heard[0][1] == ("toys", str(lab.out), 3)
    assert diary.heard[1][1] == ("hashing sources", 3)
    assert diary.heard[-2][1][2] == {"found": 360, "dropped": 0, "rejected": 0, "written": 360}
    assert diary.heard[-1][1] == json.loads((lab.out / "dataset.json").read_text())
    assert diary.places == {(os.getpid(), threading.get_ident())}


def test_a_run_with_nothing_to_do_is_told(lab):
    lab.run()
    diary = Diary()
    lab.run(listeners=[diary])
    assert [event for event, _ in diary.heard] == ["run started", "run finished"]


def test_an_end_that_was_not_wanted_is_told(lab):
    (lab.data / "bad.toy").write_bytes(b"rubbish")
    diary = Diary()
    with pytest.raises(RunError) as caught:
        lab.run(spec={"on_error": "stop"}, listeners=[diary])
    event, summary = diary.heard[-1]
    assert event == "run finished"
    assert summary["stopped"] == f"RunError: {caught.value}"
    assert set(summary) == {"name", "counts", "stopped"}


def test_an_interrupt_is_told_by_its_name(lab):
    class Hasty(Diary):
        @hookimpl
        def curate_unit_finished(self, outcome):
            raise KeyboardInterrupt

    hasty = Hasty()
    with pytest.raises(KeyboardInterrupt):
        lab.run(listeners=[hasty])
    assert hasty.heard[-1] == (
        "run finished",
        {"name": "toys", "counts": {"found": 0, "dropped": 0, "rejected": 0, "written": 0}, "stopped": "KeyboardInterrupt"},
    )


def test_an_end_is_told_once_also_when_telling_it_is_interrupted(lab):
    class Slow(Diary):
        @hookimpl
        def curate_run_finished(self, summary):
            super().curate_run_finished(summary)
            raise KeyboardInterrupt

    slow = Slow()
    with pytest.raises(KeyboardInterrupt):
        lab.run(listeners=[slow])
    assert [event for event, _ in slow.heard].count("run finished") == 1
    assert "stopped" not in slow.heard[-1][1]
    assert (lab.out / "dataset.json").is_file()


def test_the_end_of_a_shard_that_cannot_keep_what_it_did_is_told(lab, monkeypatch):
    def full(journal):
        raise OSError(28, "No space left on device")

    diary = Diary()
    monkeypatch.setattr("curate_core.journal.Journal.flush", full)
    with pytest.raises(DiskError):
        runner.run_shard(lab.spec, "1/2", folder=lab.folder, listeners=[diary])
    assert [event for event, _ in diary.heard].count("run finished") == 1
    assert "No space left on device" in diary.heard[-1][1]["stopped"]


def test_listeners_that_would_hear_nothing_are_refused(lab):
    class Misspelt:
        @hookimpl
        def curate_run_finnished(self, summary): ...

    class Curious:
        @hookimpl
        def curate_run_finished(self, sumary): ...

    wrong = [
        (Misspelt(), r"there is no hook 'curate_run_finnished' \(did you mean 'curate_run_finished'\?\)"),
        (Curious(), r"curate_run_finished takes 'sumary', which the event does not tell \(did you mean 'summary'\?\)"),
    ]
    for listener, message in wrong:
        diary = Diary()
        with pytest.raises(PluginError, match=message):
            lab.run(listeners=[diary, listener])
        assert not default_host().manager.is_registered(diary)
    assert not lab.out.exists()


class Deaf:
    """Has a method of no event's name."""

    def finished(self, summary): ...


class Unmarked:
    """Forgets the mark."""

    def curate_run_finished(self, summary): ...


@pytest.mark.parametrize(
    ("listeners", "message"),
    [
        ([Deaf()], r"the listener \S+Deaf object at \S+ hears of no event \(write @hookimpl above its methods"),
        ([Unmarked()], r"curate_run_finished is not marked as a hook \(write @hookimpl above it\)"),
        ([Diary], r"the listener Diary is a class \(give an object of it: Diary\(\)\)"),
        (Diary(), r"listeners must be a list of objects, not Diary \(write listeners=\[...\]\)"),
    ],
    ids=["deaf", "unmarked", "class", "no list"],
)
def test_listeners_that_cannot_listen_are_refused(lab, listeners, message):
    with pytest.raises(CurateError, match=message):
        lab.run(listeners=listeners)


def test_shards_and_their_commit_are_told(lab):
    first, second, commit = Diary(), Diary(), Diary()
    runner.run_shard(lab.spec, "1/2", folder=lab.folder, listeners=[first])
    with pytest.raises(WaitError):
        runner.commit(lab.spec, folder=lab.folder, listeners=[commit])
    assert "WaitError: " in commit.heard[-1][1]["stopped"]
    runner.run_shard(lab.spec, "2/2", folder=lab.folder, listeners=[second])
    assert [diary.heard[0][1][2] for diary in (first, second)] == [2, 1]
    assert [diary.heard[-1][1]["shard"] for diary in (first, second)] == ["1/2", "2/2"]
    assert sum(diary.heard[-1][1]["counts"]["written"] for diary in (first, second)) == 360
    runner.commit(lab.spec, folder=lab.folder, listeners=[commit])
    assert commit.heard[-1][1]["samples"] == 360
