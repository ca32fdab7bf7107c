"""Shards in any number and order, killed and repeated, give the bytes of one run."""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from curate_core import runner
from curate_core.cli.main import main
from curate_core.errors import RequestError, WaitError
from curate_core.sharding import Shard

TOGETHER = {"transform": [{"use": "toy-scale", "over": "dataset"}], "filter": [{"use": "toy-unique", "within": "dataset"}]}
ALONE = {"filter": [{"use": "toy-bright", "min": 1500}]}


@pytest.fixture
def fresh(lab):
    """The lab, and what one run makes of some changes to its spec."""

    def tree(changes):
        lab.run(spec=changes)
        found = lab.tree()
        shutil.rmtree(lab.out)
        return found

    return lab, tree


def by_shards(lab, changes, count, draw=None):
    """Rounds of all shards and a commit, until it is one; returns the number of rounds."""
    spec = {**lab.spec, **changes}
    for number in range(1, 8):
        order = list(range(1, count + 1))
        if draw is not None:
            draw.shuffle(order)
        codes = [runner.run_shard(spec, f"{i}/{count}", folder=lab.folder).exit_code for i in order]
        assert set(codes) <= {0, 4}
        try:
            summary = runner.commit(spec, folder=lab.folder)
        except WaitError:
            continue
        assert summary.exit_code == 0
        return number
    pytest.fail("the rounds do not come to an end")


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize(("changes", "rounds"), [(ALONE, 1), (TOGETHER, 3)], ids=["alone", "together"])
def test_the_same_bytes(fresh, count, changes, rounds):
    lab, tree = fresh
    wanted = tree(changes)
    taken = by_shards(lab, changes, count, random.Random(count))
    assert lab.tree() == wanted
    assert taken <= rounds + (count > 3)  # where blocks are dealt out, their case comes first
    assert lab.open().verify() == []
    assert not (lab.out / ".curate" / "shards").exists()


def test_blocks_are_dealt_out_where_cases_are_few(fresh, monkeypatch):
    """A case of several blocks is done by several shards."""
    lab, tree = fresh
    monkeypatch.setattr("curate_core.cut.BLOCK_ROWS", 16)
    for name in ("a2", "b1"):
        (lab.data / f"{name}.toy").unlink()
    wanted = tree({})
    done = [runner.run_shard(lab.spec, f"{i}/5", folder=lab.folder).units_done for i in (1, 2, 3, 4, 5)]
    assert sum(count > 0 for count in done) > 2
    by_shards(lab, {}, 5)
    assert lab.tree() == wanted


def test_a_slow_transform_asks_for_small_units(fresh):
    lab, tree = fresh
    wanted = tree({"transform": [{"use": "toy-double"}]})
    slow = {"transform": [{"use": "toy-slow", "most": 50}]}
    by_shards(lab, slow, 4)
    files = {path: digest for path, digest in lab.tree().items() if path.endswith(".npy")}
    assert files
    assert files == {path: digest for path, digest in wanted.items() if path.endswith(".npy")}
    assert lab.run(spec=slow).units_done == 0, "a run finds that all is done"
    other = {"transform": [{"use": "toy-slow", "most": 70}]}
    summary = lab.run(spec=other)
    assert summary.units_done == 3 + 3 * 2, "each case is prepared for blocks of another size, 120 samples are two units of 70"


def test_the_exit_code_says_who_waits(lab, capsys):
    (lab.folder / "spec.json").write_text(json.dumps({**lab.spec, **TOGETHER}))
    spec = str(lab.folder / "spec.json")
    assert main(["run", spec, "--commit"]) == 4
    assert "units of the open stage are not done" in capsys.readouterr().err
    assert main(["run", spec, "--shard", "1/2"]) == 4
    said = " ".join(capsys.readouterr().out.split())
    assert "part 1 of 2 of toys: 2 cases, " in said
    assert "2 cases of it wait for other parts: when all parts are through, run --commit, and then the parts again." in said
    assert main(["run", spec, "--shard", "2/2", "-q"]) == 4
    assert main(["run", spec, "--commit"]) == 4, "a stage is closed, the next one is not done"
    capsys.readouterr()
    codes = []
    while 4 in codes[-1:] or not codes:
        main(["run", spec, "--shard", "1/2", "-q"])
        codes.append(main(["run", spec, "--shard", "2/2", "-q"]))
        codes.append(main(["run", spec, "--commit", "-q"]))
    assert codes[-2:] == [0, 0]
    assert main(["run", spec, "--shard", "1/2"]) == 0
    assert "Its part is done: when all parts are, run --commit." in " ".join(capsys.readouterr().out.split())


def test_a_run_goes_on_where_shards_were(fresh):
    lab, tree = fresh
    wanted = tree(ALONE)
    runner.run_shard({**lab.spec, **ALONE}, "1/2", folder=lab.folder)
    summary = lab.run(spec=ALONE)
    assert summary.units_reused > 0
    assert lab.tree() == wanted


def test_nothing_is_done_twice(lab):
    assert runner.run_shard(lab.spec, "1/2", folder=lab.folder).units_done > 0
    assert runner.run_shard(lab.spec, "1/2", folder=lab.folder).units_done == 0
    before = runner.run_shard(lab.spec, "1/3", folder=lab.folder).units_done
    assert before == 0, "what another division did counts"


def test_a_case_more_is_judged_with_the_others(fresh):
    """Its shard comes last: those that do not know it yet must not go on with the old verdict."""
    lab, tree = fresh
    by_shards(lab, TOGETHER, 2)
    shutil.copy(lab.data / "a1.toy", lab.data / "a0.toy")
    kept = lab.out.with_name("kept")
    lab.out.rename(kept)
    wanted = tree(TOGETHER)
    kept.rename(lab.out)
    assert runner.run_shard({**lab.spec, **TOGETHER}, "2/2", folder=lab.folder).exit_code == 4
    by_shards(lab, TOGETHER, 2)
    assert lab.tree() == wanted


def test_a_bad_case_costs_only_itself(lab):
    (lab.data / "a2.toy").write_bytes(b"no volume")
    spec = {**lab.spec, **TOGETHER}
    codes = [runner.run_shard(spec, f"{i}/3", folder=lab.folder).exit_code for i in (1, 2, 3)]
    assert 1 in codes, "the shard whose case it is"
    for _ in range(3):
        try:
            summary = runner.commit(spec, folder=lab.folder)
            break
        except WaitError:
            for i in (1, 2, 3):
                runner.run_shard(spec, f"{i}/3", folder=lab.folder)
    assert summary.exit_code == 1
    sharded = lab.tree()
    shutil.rmtree(lab.out)
    lab.run(spec=TOGETHER)
    assert sharded == lab.tree()
    (row,) = (json.loads(line) for line in (lab.out / "quarantine.jsonl").read_text().splitlines())
    assert row["case"] == "a2"


def test_a_mended_case_counts_whatever_shard_tries_it(fresh):
    lab, tree = fresh
    wanted = tree(ALONE)
    good = (lab.data / "a2.toy").read_bytes()
    (lab.data / "a2.toy").write_bytes(b"no volume")
    spec = {**lab.spec, **ALONE}
    for i in (1, 2, 3):
        runner.run_shard(spec, f"{i}/3", folder=lab.folder)
    (lab.data / "a2.toy").write_bytes(good)
    runner.run_shard(spec, "1/1", folder=lab.folder)
    assert runner.commit(spec, folder=lab.folder).exit_code == 0
    assert lab.tree() == wanted


def test_killed_shards_lose_nothing(fresh):
    """Torn records, parts without records, records without parts: all is done again."""
    lab, tree = fresh
    wanted = tree(ALONE)
    spec = {**lab.spec, **ALONE}
    for i in (1, 2, 3):
        runner.run_shard(spec, f"{i}/3", folder=lab.folder)
    records = sorted((lab.out / ".curate" / "shards").glob("*.jsonl"))
    assert len(records) == 3
    records[0].write_bytes(records[0].read_bytes()[:-20])
    records[1].unlink()
    shutil.rmtree(next((lab.out / ".curate" / "parts").glob("*/*")))
    with pytest.raises(WaitError):
        runner.commit(spec, folder=lab.folder)
    by_shards(lab, ALONE, 3)
    assert lab.tree() == wanted


@pytest.mark.slow
def test_shards_at_the_same_time(fresh):
    lab, tree = fresh
    wanted = tree(TOGETHER)
    (lab.folder / "spec.json").write_text(json.dumps({**lab.spec, **TOGETHER}))
    path = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-m", "curate_core", "run", "spec.json", "-q"]

    def curate(*words):
        return subprocess.Popen([*command, *words], cwd=lab.folder, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE)

    for number in range(6):
        parts = [curate("--shard", f"{i}/4") for i in (1, 1, 2, 3, 4)]  # one of them twice
        if number == 0:
            parts[2].kill()
        for process in parts:
            process.communicate(timeout=120)
        assert {p.returncode for p in parts} <= {0, 4, -9}
        closing = curate("--commit")
        closing.communicate(timeout=120)
        if closing.returncode != 4:
            break
    assert closing.returncode == 0
    assert lab.tree() == wanted


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/4"])
def test_what_is_no_shard(lab, text):
    with pytest.raises(RequestError, match=r"--shard: the shard '.+' is not one of many .*the first is 1/20"):
        runner.run_shard(lab.spec, text, folder=lab.folder)


def test_a_commit_that_was_begun_comes_first(lab, monkeypatch):
    lab.run()
    (lab.data / "c1.toy").write_bytes((lab.data / "a1.toy").read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr("curate_core.commit.finish", stop)
        with pytest.raises(KeyboardInterrupt):
            lab.run()
    with pytest.raises(RequestError, match=r"a commit was begun and not ended .*--commit ends it"):
        runner.run_shard(lab.spec, "1/2", folder=lab.folder)


def stop(*_):
    raise KeyboardInterrupt


def test_every_unit_has_one_owner():
    for cases, count in itertools.product((1, 2, 5, 20), (1, 3, 7)):
        for number, block in itertools.product(range(cases), [None, 0, 1, 5]):
            owners = [i for i in range(1, count + 1) if Shard(i, count).owns(number, block, cases)]
            assert len(owners) == 1
    dealt = np.bincount([i for n in range(20) for i in range(3) if Shard(i + 1, 3).owns(n, 4, 20)])
    assert dealt.tolist() == [7, 7, 6]
