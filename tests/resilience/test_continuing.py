"""``--append`` adds cases and leaves every sample that is there; without it, what the spec no longer wants is named by the plan and goes at
commit.
"""

import json
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import curate_core
from curate_core import commit
from curate_core.cli.main import main
from curate_core.errors import RequestError
from curate_core.runner import run

laboratory = runpy.run_path(str(Path(__file__).with_name("laboratory.py")))
Lab, install_plugin, forget_plugin = laboratory["Lab"], laboratory["install_plugin"], laboratory["forget_plugin"]

PATHS = {
    "plain": {},
    "drawn": {"rois": [{"use": "random", "size": [1, 5, 6], "count": 12}], "filter": [{"use": "limit", "count": 8}], "write": [{"use": "npy", "path": "{case}/{id}.npy"}]},
    "judged in each case": {"transform": [{"use": "shift"}], "filter": [{"use": "intensity", "min_mean": 190}, {"use": "unique"}]},
    "judged together": {"filter": [{"use": "intensity", "min_mean": 190}, {"use": "unique", "within": "dataset"}]},
    "chosen together": {"filter": [{"use": "limit", "count": 50, "within": "dataset"}]},
    "judged by group": {"filter": [{"use": "unique", "within": {"attribute": "group"}}, {"use": "limit", "count": 30, "within": "dataset"}]},
    "measured together": {"transform": [{"use": "normalize", "over": "dataset"}]},
    "measured before": {"preprocess": [{"use": "to-uint8", "range": "min-max", "over": "dataset"}]},
    "one file": {"filter": [{"use": "unique", "within": "dataset"}], "write": [{"use": "npy", "path": "all.npy", "stack": True}]},
    "one file and many": {"write": [{"use": "npy", "path": "{group}.npy", "stack": True}, {"use": "npy", "path": "{case}/{roi}.npy"}]},
}  # fmt: skip


@pytest.fixture
def lab(tmp_path, tmp_path_factory, monkeypatch):
    """Six cases, of which a table names those that are wanted."""
    site = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(str(site))
    install_plugin(site)
    source = {"use": "list", "table": "first.csv", "layers": {"em": {"files": "data/{group}/{case}.em.npy"}}}
    lab = Lab(tmp_path, source=source)
    for number, name in enumerate(("two/d", "one/e", "two/f")):
        lab.add(name, 30 + number)
    table(lab, "first", "abc")
    table(lab, "second", "de")
    table(lab, "third", "fa")
    yield lab
    forget_plugin()


def table(lab, name: str, cases: str) -> None:
    groups = {path.name[0]: path.parent.name for path in lab.data.glob("*/*.em.npy")}
    (lab.folder / f"{name}.csv").write_text("case,group\n" + "".join(f"{case},{groups[case]}\n" for case in cases))


def of(lab, name: str) -> dict:
    return {**lab.spec, "source": {**lab.spec["source"], "table": f"{name}.csv"}}


def samples(lab) -> dict[str, tuple]:
    """Id -> what the dataset says of a sample, and its values."""
    dataset = curate_core.open(lab.out)
    rows = list(dataset.rows())
    assert len(rows) == len(dataset)
    return {
        row["id"]: (row["sources"], row["scores"], row["sha256"], {n: np.asarray(a).tobytes() for n, a in arrays.items()})
        for row, arrays in zip(rows, dataset, strict=True)
    }


@pytest.mark.parametrize("path", sorted(PATHS))
def test_appending_twice_leaves_all_samples(lab, path):
    lab.spec.update(PATHS[path])
    lab.run()
    for name, cases in (("second", "abcde"), ("third", "abcdef")):
        before, tree = samples(lab), lab.tree()
        heard = lab.run(of(lab, name), append=True)
        assert heard.summary.cases == len(cases)
        assert {case for _, case in heard.units} <= set(cases[-2:]), "only the new cases are looked at"
        after = samples(lab)
        assert {key: after[key] for key in before} == before
        assert list(after)[: len(before)] == list(before), "their places stay"
        assert len(after) >= len(before)
        loose = [file for file in tree if file.endswith(".npy") and "/" in file]
        assert {file: tree[file] for file in loose} == {file: lab.tree()[file] for file in loose}
        assert curate_core.open(lab.out).verify() == []
        assert lab.run(of(lab, name), append=True).units == set()
    assert main(["verify", str(lab.out)]) == 0
    assert "".join(dict.fromkeys(key[0] for key in after)) == "".join(sorted({key[0] for key in after})), (
        "cases in the order of their coming"
    )


@pytest.mark.parametrize("path", ["plain", "drawn", "judged in each case", "one file and many"])
def test_where_cases_are_judged_alone_appending_gives_what_one_run_gives(lab, path):
    lab.spec.update(PATHS[path])
    lab.run()
    lab.run(of(lab, "second"), append=True)
    table(lab, "all", "abcde")
    once = lab.fresh(of(lab, "all"))
    different = {name for name in once if once[name] != lab.tree().get(name)}
    assert different == {"spec.lock.json"}, "the lock names the table"


@pytest.mark.parametrize("path", ["judged in each case", "judged together", "one file"])
def test_an_append_that_was_killed_goes_on(lab, path, tmp_path_factory):
    lab.spec.update({"transform": [{"use": "shift"}], **PATHS[path]})
    lab.run()
    before = samples(lab)
    (lab.folder / "spec.json").write_text(json.dumps(of(lab, "second")))
    command = [sys.executable, "-m", "curate_core", "run", str(lab.folder / "spec.json"), "-q", "--append"]
    done = subprocess.run(command, env={**lab.environment(), "KEYTOYS_KILL": "e"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert samples(lab) == before, "the dataset is there, as it was"
    heard = lab.run(of(lab, "second"), append=True)
    assert {case for _, case in heard.units} <= {"", "d", "e"}
    killed = lab.tree()
    other = Lab(tmp_path_factory.mktemp("other"), **lab.spec)
    for number, name in enumerate(("two/d", "one/e", "two/f")):
        other.add(name, 30 + number)
    for name in ("first", "second"):
        (other.folder / f"{name}.csv").write_text((lab.folder / f"{name}.csv").read_text())
    other.run()
    other.run(of(other, "second"), append=True)
    assert killed == other.tree()


CHANGES = {
    "read": {"read": {"*": {"use": "npy", "unit": "mm"}}},
    "preprocess": {"preprocess": [{"use": "invert"}]},
    "rois": {"rois": [{"use": "grid", "size": 4, "planes": ["xy"]}]},
    "transform": {"transform": [{"use": "shift", "by": 2}]},
    "filter": {"filter": [{"use": "limit", "count": 3}]},
    "write": {"write": [{"use": "npy", "path": "x/{case}/{roi}.npy"}]},
    "seed": {"seed": 1},
    "filter, write": {"filter": [], "write": [{"use": "npy"}]},
}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_appending_with_other_steps_is_refused(lab, what):
    lab.spec.update(PATHS["judged in each case"])
    lab.run()
    before = lab.tree()
    changed = {**of(lab, "second"), **CHANGES[what]}
    message = rf"the dataset was made with another {what}, so that cases cannot be added to it \(use the same spec"
    with pytest.raises(RequestError, match=message):
        lab.run(changed, append=True)
    with pytest.raises(RequestError, match=message):
        lab.plan(changed, append=True)
    assert lab.tree() == before


def test_appending_with_other_code_is_refused_too(lab, tmp_path_factory):
    lab.spec.update(PATHS["judged in each case"])
    lab.run()
    install_plugin(Path(sys.modules["keytoys"].__file__).parent, version=2)
    with pytest.raises(RequestError, match="made with another transform, so"):
        lab.run(of(lab, "second"), append=True)


def test_cases_that_are_there_are_not_looked_at_again(lab):
    """Their sources may be gone, or be others: the samples stay, and the lock keeps the hashes that they were made of."""
    lab.run()
    before, lock = samples(lab), json.loads((lab.out / "spec.lock.json").read_text())
    for case in ("one/a", "one/b"):
        lab.file(case).unlink()
    lab.add("two/c", 99)
    table(lab, "third", "fc")
    heard = lab.run(of(lab, "third"), append=True)
    assert heard.hashed == {"f.em.npy"}
    after = samples(lab)
    assert {key: after[key] for key in before} == before
    now = json.loads((lab.out / "spec.lock.json").read_text())
    assert {case: now["cases"][case] for case in "abc"} == lock["cases"]


def test_a_moved_dataset_takes_cases_as_well(lab, tmp_path_factory):
    lab.spec.update(PATHS["one file"])
    lab.run()
    before = samples(lab)
    moved = tmp_path_factory.mktemp("elsewhere") / "lab"
    lab.folder.rename(moved)
    lab.folder = moved
    lab.run(of(lab, "second"), append=True)
    after = samples(lab)
    assert {key: after[key] for key in before} == before
    lock = json.loads((lab.out / "spec.lock.json").read_text())
    assert all(case["sha256"]["em"][0] for case in lock["cases"].values())


def test_the_plan_tells_what_appending_would_do(lab, capsys):
    lab.run()
    (lab.folder / "spec.json").write_text(json.dumps(of(lab, "second")))
    plan = lab.plan(of(lab, "second"), append=True)
    assert (plan.cases, [unit.label for unit in plan.units], plan.removed) == (5, ["d", "e"], ())
    assert main(["plan", str(lab.folder / "spec.json"), "--append"]) == 0
    assert "removed" not in capsys.readouterr().out
    assert main(["run", str(lab.folder / "spec.json"), "--append", "-q"]) == 0
    assert lab.plan(of(lab, "second"), append=True).complete
    assert main(["plan", str(lab.folder / "spec.json")]) == 0
    said = capsys.readouterr().out
    for case, files in (("a", 36), ("b", 36), ("c", 18)):
        assert f"removed at commit: case {case}: 18 samples, 18 of 18 files" in said, files


def test_without_append_earlier_cases_go_at_commit_and_not_before(lab, monkeypatch):
    lab.run()
    before = lab.tree()

    class NoCommit(commit.Commit):
        def run(self, *given):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("curate_core.running.Commit", NoCommit)
        with pytest.raises(KeyboardInterrupt):
            lab.run(of(lab, "second"))
    assert lab.tree() == before
    assert lab.plan(of(lab, "second")).removed == tuple(f"case {case}: 18 samples, 18 of 18 files" for case in "abc")
    lab.run(of(lab, "second"))
    assert lab.tree() == lab.fresh(of(lab, "second"))
    assert {name[0] for name in lab.tree() if "/" in name} == set("de")


@pytest.mark.parametrize("path", sorted(PATHS))
def test_after_appending_a_run_over_all_gives_what_one_run_gives(lab, path):
    """Nothing that was decided while appending stays behind."""
    lab.spec.update(PATHS[path])
    lab.run()
    lab.run(of(lab, "second"), append=True)
    table(lab, "all", "eabcd")
    lab.run(of(lab, "all"))
    assert lab.tree() == lab.fresh(of(lab, "all"))


def test_appending_to_nothing_is_a_run(lab):
    lab.run(append=True)
    assert lab.tree() == lab.fresh()


def test_from_a_file_with_an_override(lab):
    """As on the command line: the same spec, its table by --set."""
    (lab.folder / "spec.json").write_text(json.dumps(lab.spec))
    run(lab.folder / "spec.json")
    summary = run(lab.folder / "spec.json", settings=["source.table=second.csv"], append=True)
    assert (summary.cases, summary.written) == (5, 5 * 18)
