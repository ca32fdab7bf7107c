"""Only what depends on a change runs again, ``curate plan`` says why, and the result is that of a fresh run.

Each change is made to a finished dataset. Then: what the plan says, which units run, whether the bytes are those of a run into a new
folder, and whether what is no longer wanted stays until the commit and goes with it.
"""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curate_core import commit, digest
from curate_core.errors import RequestError, SourceError
from curate_core.host import default_host

laboratory = runpy.run_path(str(Path(__file__).with_name("laboratory.py")))
Lab, install_plugin, forget_plugin = laboratory["Lab"], laboratory["install_plugin"], laboratory["forget_plugin"]

SHIFT = {"use": "shift", "by": 1}
PATHS = {
    "plain": {},
    "in one go": {"transform": [SHIFT], "filter": [{"use": "intensity", "min_mean": 195, "array": "em"}, {"use": "unique"}]},
    "over the dataset": {
        "transform": [SHIFT],
        "filter": [{"use": "intensity", "min_mean": 195, "array": "em"}, {"use": "unique", "within": "dataset"}],
    },
    "by group": {"filter": [{"use": "unique", "within": {"attribute": "group"}}, {"use": "limit", "count": 5}]},
    "chosen first": {"filter": [{"use": "limit", "count": 12}, {"use": "unique", "within": "dataset"}]},
    "measured": {
        "preprocess": [{"use": "crop", "start": {"x": 8}}],
        "transform": [SHIFT, {"use": "normalize", "over": "dataset", "arrays": ["em"]}],
    },
    "measured before": {"preprocess": [{"use": "to-uint8", "range": "min-max", "over": "dataset", "layers": ["em"]}]},
    "stacks": {"filter": [{"use": "unique", "within": "dataset"}], "write": [{"use": "npy", "path": "{array}.npy", "stack": True}]},
}


@pytest.fixture
def site(tmp_path_factory, monkeypatch):
    """Where the plugin is installed."""
    folder = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(str(folder))
    install_plugin(folder)
    yield folder
    forget_plugin()


@pytest.fixture
def lab(tmp_path, site):
    return Lab(tmp_path)


def option(path: str, value: object):
    """A change of one option of the spec."""

    def change(lab):
        target = lab.spec
        *parents, last = path.split(".")
        for key in parents:
            target = target[int(key)] if isinstance(target, list) else target[key]
        target[last] = value

    return change


def added_step(key: str, step: dict):
    return lambda lab: lab.spec.update({key: [*lab.spec.get(key, []), step]})


def key(name: str, value: object):
    return lambda lab: lab.spec.update({name: value})


def add_case(lab):
    lab.add("two/d", 5)


def remove_case(lab):
    lab.file("two/c").unlink()


def rename_case(lab):
    lab.file("two/c").rename(lab.file("two/z"))


def other_group(lab):
    lab.file("two/c").rename(lab.file("one/c"))


def other_content(lab):
    """Same size, same modification time, same inode: only the voxels differ."""
    path = lab.file("two/c")
    before, data = path.stat(), path.read_bytes()
    with path.open("r+b") as file:
        file.seek(len(data) - 2)
        file.write(np.uint16(399 - int.from_bytes(data[-2:], "little")).tobytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def replaced_content(lab):
    """Another file in the place of the first, of the same size and modification time."""
    path = lab.file("two/c")
    before = path.stat()
    other = lab.add("two/other", 99)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


ROIS, SCORE, WRITE, MEASURE, MEASURE_CASE = "finding ROIs", "scoring unique", "writing", "measuring normalize", "measuring to-uint8"
CONTENT = "the source's content, attributes or seed changed"
CHANGES = [
    # what is changed, in which path, how; which units run; what the plan says of which cases
    ("read", "plain", key("read", {"*": {"use": "npy", "spacing": [1, 2, 2]}}), {ROIS: "abc", WRITE: "abc"}, {"the step list 'read'": "abc"}),
    ("read of one layer", "plain", key("read", {"mask": {"use": "npy", "unit": "mm"}}), {ROIS: "ab", WRITE: "ab"}, {"the step list 'read'": "ab"}),
    ("preprocess", "measured", option("preprocess.0.start", {"x": 16}), {ROIS: "abc", MEASURE: "abc", WRITE: "abc"}, {"the step list 'preprocess'": "abc"}),
    ("preprocess of one group", "plain", key("preprocess", [{"use": "invert", "when": {"group": "two"}}]), {ROIS: "c", WRITE: "c"}, {"the step list 'preprocess'": "c"}),
    ("preprocess that measures", "measured before", option("preprocess.0.nan", "zero"), {MEASURE_CASE: "abc", ROIS: "abc", WRITE: "abc"}, {"the step list 'preprocess'": "abc"}),
    ("rois", "in one go", option("rois.0.size", 4), {ROIS: "abc", SCORE: "abc", WRITE: "abc"}, {"the step list 'rois'": "abc"}),
    ("rois of one group", "plain", key("rois", [{"use": "grid", "size": 8, "planes": ["xy"], "when": {"group": "one"}}, {"use": "whole", "when": {"group": "two"}}]), {ROIS: "c", WRITE: "c"}, {"the step list 'rois'": "c"}),
    ("transform", "in one go", option("transform.0.by", 2), {SCORE: "abc", WRITE: "abc"}, {"the step list 'transform'": "abc"}),
    ("transform behind the one that measures", "measured", added_step("transform", SHIFT), {WRITE: "abc"}, {"the step list 'transform'": "abc"}),
    ("transform before the one that measures", "measured", option("transform.0.by", 3), {MEASURE: "abc", WRITE: "abc"}, {"the step list 'transform'": "abc"}),
    ("filter of samples", "in one go", option("filter.0.min_mean", 200), {SCORE: "abc", WRITE: "abc"}, {"the step list 'filter'": "abc"}),
    ("filter before anything is cut", "chosen first", option("filter.0.count", 11), {ROIS: "abc", SCORE: "abc", WRITE: "abc"}, {"the step list 'filter'": "abc"}),
    ("filter over cases", "by group", option("filter.1.count", 4), {"scoring limit": "abc", WRITE: "abc"}, {"the step list 'filter'": "abc"}),
    ("a filter more", "plain", key("filter", [{"use": "unique"}]), {SCORE: "abc", WRITE: "abc"}, {"not done yet": "abc"}),
    ("scope of a filter", "in one go", option("filter.1.within", "dataset"), {SCORE: "abc", WRITE: "bc"}, {"the step list 'filter'": "abc"}),
    ("write", "in one go", option("write.0.path", "other/{case}/{array}/{roi}.npy"), {WRITE: "abc"}, {"the step list 'write'": "abc"}),
    ("a writer more", "stacks", added_step("write", {"use": "npy", "path": "{case}/{array}/{roi}.npy"}), {WRITE: "abc"}, {"the step list 'write'": "abc"}),
    ("seed", "by group", key("seed", 1), {ROIS: "abc", SCORE: "abc", "scoring limit": "abc", WRITE: "abc"}, {CONTENT: "abc"}),
    ("content", "in one go", other_content, {ROIS: "c", SCORE: "c", WRITE: "c"}, {CONTENT: "c"}),
    ("content by another file", "plain", replaced_content, {ROIS: "c", WRITE: "c"}, {CONTENT: "c"}),
    ("an attribute", "plain", other_group, {ROIS: "c", WRITE: "c"}, {CONTENT: "c"}),
    ("a case more", "in one go", add_case, {ROIS: "d", SCORE: "d", WRITE: "d"}, {"not done yet": "d"}),
    ("a case more, measured", "measured", add_case, {ROIS: "d", MEASURE: "d", WRITE: "abcd"}, {"not done yet": "d"}),
    ("a case more, measured before", "measured before", add_case, {MEASURE_CASE: "d", ROIS: "d", WRITE: "d"}, {"not done yet": "d"}),
    ("a case less", "in one go", remove_case, {}, {}),
    ("a case of another name", "plain", rename_case, {ROIS: "z", WRITE: "z"}, {"not done yet": "z"}),
    ("description", "in one go", key("description", "other words"), {}, {}),
    ("schema", "in one go", key("$schema", "elsewhere.json"), {}, {}),
    ("engine", "in one go", key("engine", {"use": "local", "workers": 1, "memory": "2 GB"}), {}, {}),
    ("engine left out", "plain", key("on_error", "stop"), {}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "change", "units", "reasons"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_change_runs_what_depends_on_it(lab, path, change, units, reasons):
    lab.spec.update(json.loads(json.dumps(PATHS[path])))
    lab.run()
    before = lab.tree()
    change(lab)
    assert {why.partition(": ")[2].removesuffix(" changed"): cases for why, cases in lab.reasons().items()} == {
        why.removesuffix(" changed"): cases for why, cases in reasons.items()
    }
    assert lab.tree() == before, "a plan writes nothing"
    assert lab.run().by_stage() == units
    assert lab.tree() == lab.fresh()
    assert lab.open().verify() == []
    assert lab.run().by_stage() == {}


@pytest.mark.parametrize("path", sorted(PATHS))
def test_an_unchanged_run_does_nothing_and_hashes_nothing(lab, path, monkeypatch):
    lab.spec.update(PATHS[path])
    lab.run()
    before = {p: p.stat() for p in sorted(lab.out.rglob("*")) if p.is_file() and ".curate" not in p.parts}

    def refuse(*given):
        raise AssertionError(f"{given[0]} is hashed again")

    monkeypatch.setattr("curate_core.unit.known_content", refuse)
    monkeypatch.setattr("curate_core.plan.known_content", refuse)
    plan = lab.plan()
    assert (plan.units, plan.complete, plan.removed) == ((), True, ())
    heard = lab.run()
    assert (heard.units, heard.hashed, heard.rounds) == (set(), set(), [])
    after = {p: p.stat() for p in sorted(lab.out.rglob("*")) if p.is_file() and ".curate" not in p.parts}
    assert {p: (s.st_ino, s.st_mtime_ns) for p, s in after.items()} == {p: (s.st_ino, s.st_mtime_ns) for p, s in before.items()}


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


def test_a_touched_file_is_hashed_again_and_nothing_runs(lab):
    lab.run()
    before = lab.tree()
    touch(lab.file("two/c"))
    assert lab.plan().units == ()
    heard = lab.run()
    assert (heard.units, heard.hashed) == (set(), {"c.em.npy"})
    assert lab.tree() == before
    assert lab.run().hashed == set()


def test_the_order_in_which_files_came_to_the_disk_changes_nothing(lab, tmp_path):
    lab.run()
    before = lab.tree()
    contents = {path: path.read_bytes() for path in sorted(lab.data.rglob("*.npy"))}
    shutil.rmtree(lab.data)
    for path, data in reversed(contents.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert lab.run().by_stage() == {}
    assert lab.tree() == before


def test_a_moved_folder_is_the_same_dataset(lab, tmp_path_factory):
    lab.spec.update(PATHS["stacks"])
    lab.run()
    before = lab.tree()
    moved = tmp_path_factory.mktemp("elsewhere") / "lab"
    lab.folder.rename(moved)
    lab.folder = moved
    assert lab.plan().complete
    assert lab.run().by_stage() == {}
    assert lab.tree() == before == lab.fresh()


def test_moved_sources_are_the_same_cases(lab, tmp_path_factory):
    """The spec says where they are now; what it says is in the lock, and nothing else differs."""
    lab.spec["source"] = {"use": "files", "pattern": "{group}/{case}.{layer}.npy", "root": "data"}
    lab.run()
    before = lab.tree()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "archive"
    lab.data.rename(elsewhere)
    lab.spec["source"]["root"] = str(elsewhere)
    assert lab.run().by_stage() == {}
    after = lab.tree()
    assert {name for name in after if after[name] != before.get(name)} == {"spec.lock.json"}
    assert after == lab.fresh()


def test_a_source_of_another_name_is_written_again_with_it(lab):
    """The manifest names the files, so that the case is written again; nothing is found or scored again."""
    lab.spec["source"] = {"use": "list", "cases": [{"case": "c", "layers": {"em": {"files": "data/two/c.em.npy"}}}]}
    lab.spec.update(PATHS["in one go"])
    lab.run()
    lab.file("two/c").rename(lab.file("two/renamed"))
    lab.spec["source"]["cases"][0]["layers"]["em"]["files"] = "data/two/renamed.em.npy"
    assert lab.reasons() == {"writing: the names of the source's files changed": "c"}
    assert lab.run().by_stage() == {WRITE: "c"}
    assert lab.open().row(0)["sources"] == {"em": ["data/two/renamed.em.npy"]}
    assert lab.tree() == lab.fresh()


def test_voxels_beside_a_header_belong_to_its_case(lab):
    for name in "ab":
        (lab.data / f"{name}.head").write_text(f"one/{name}.em.npy")
    lab.spec["source"] = {"use": "files", "pattern": "data/{case}.head"}
    lab.spec["write"] = [{"use": "npy"}]
    lab.run()
    assert lab.run().hashed == set()
    lab.add("one/b", 77)
    assert lab.reasons() == {f"finding ROIs: {CONTENT}": "b"}
    assert lab.run().by_stage() == {ROIS: "b", WRITE: "b"}
    assert lab.tree() == lab.fresh()
    touch(lab.file("one/a"))
    heard = lab.run()
    assert (heard.units, heard.hashed) == (set(), {"a.head"})
    lab.file("one/a").unlink()
    assert lab.run().summary.quarantined_cases == 1


@pytest.mark.parametrize("form", [".mhd", ".nhdr", "series"])
def test_files_beside_each_other_belong_to_their_case(lab, form):
    """The same of real formats: detached voxels, and the slices of a DICOM series."""
    sitk = pytest.importorskip("SimpleITK")
    if not any(offer.distribution == "curate-itk" for offer in default_host().offers("reader")):
        pytest.skip("needs curate-itk")
    image = sitk.GetImageFromArray(np.load(lab.file("one/a"), allow_pickle=False))
    folder = lab.folder / "scans"
    folder.mkdir()
    if form == "series":
        (folder / "s").mkdir()
        for number in range(image.GetDepth()):
            piece = image[:, :, number : number + 1]
            tags = {"0008|0060": "CT", "0020|000e": "1.2.3.4", "0020|000d": "1.2.3", "0008|0018": f"1.2.3.4.{number + 1}"}
            for tag, value in {**tags, "0020|0032": f"0\\0\\{number}", "0020|0037": "1\\0\\0\\0\\1\\0"}.items():
                piece.SetMetaData(tag, value)
            writer = sitk.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(folder / "s" / f"{number}.dcm"))
            writer.Execute(piece)
        pattern, victim = "scans/{case}/", folder / "s" / "1.dcm"
        lab.spec["read"] = {"*": {"use": "dicom-series"}}
    else:
        sitk.WriteImage(image, str(folder / f"s{form}"))
        pattern, victim = f"scans/{{case}}{form}", folder / "s.raw"
    lab.spec["source"] = {"use": "files", "pattern": pattern}
    lab.spec["write"] = [{"use": "npy"}]
    lab.run()
    assert list(lab.open().quarantined()) == []
    assert lab.run().hashed == set()
    before = victim.stat()
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    with victim.open("r+b") as file:
        file.write(data)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert lab.reasons() == {f"finding ROIs: {CONTENT}": "s"}
    assert lab.run().by_stage() == {ROIS: "s", WRITE: "s"}
    assert lab.tree() == lab.fresh()


def test_a_file_that_an_option_names_counts_by_its_content(lab):
    from curate_core.cli.main import main

    (lab.folder / "spec.json").write_text(json.dumps(lab.spec))
    lists = lab.folder / "lists"
    lists.mkdir()
    assert main(["rois", str(lab.folder / "spec.json"), "-o", str(lists / "rois.jsonl")]) == 0
    lab.spec["rois"] = [{"use": "list", "file": "lists/rois.jsonl"}]
    lab.run()
    touch(lists / "rois.jsonl")
    assert lab.run().by_stage() == {}
    lines = (lists / "rois.jsonl").read_text().splitlines()
    (lists / "rois.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert lab.reasons() == {"finding ROIs: the step list 'rois' changed": "abc"}
    lab.run()
    assert lab.tree() == lab.fresh()


PLUGIN_CHANGES = [
    # how it is installed, what changes, whether its steps run again
    ("a raised version of the component", {}, {"version": 2}, True),
    ("another release", {}, {"release": "1.1"}, True),
    ("edited code of a release", {}, {"added": 1}, False),
    ("edited code of a checkout", {"editable": True}, {"editable": True, "added": 1}, True),
    ("another release of a checkout with the same code", {"editable": True}, {"editable": True, "release": "1.1"}, False),
]


@pytest.mark.parametrize(("before", "after", "again"), [c[1:] for c in PLUGIN_CHANGES], ids=[c[0] for c in PLUGIN_CHANGES])
def test_a_plugin_counts_by_its_version_or_its_code(lab, site, before, after, again):
    install_plugin(site, **before)
    lab.spec["transform"] = [SHIFT]
    lab.run()
    install_plugin(site, **after)
    assert lab.reasons() == ({"writing: the step list 'transform' changed": "abc"} if again else {})
    assert lab.run().by_stage() == ({WRITE: "abc"} if again else {})
    if again:
        assert lab.tree() == lab.fresh()


def test_code_of_a_package_without_init_counts_too(tmp_path, monkeypatch):
    package = tmp_path / "loose_lab"
    package.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    (package / "steps.py").write_text("A = 1\n")
    digest.code_digest.cache_clear()
    first = digest.code_digest("loose_lab.steps")
    assert first
    (package / "steps.py").write_text("A = 2\n")
    digest.code_digest.cache_clear()
    assert digest.code_digest("loose_lab.steps") != first


def survivors(tree: dict[str, str]) -> set[str]:
    return {name for name in tree if name.endswith(".npy") and "/" in name}


def test_adding_a_case_to_a_filter_over_the_dataset_scores_one_and_rewrites_whose_survivors_changed(lab):
    lab.spec.update(PATHS["over the dataset"])
    lab.run()
    before = lab.tree()
    lab.add("one/0", 3)  # first in order, so that it wins over equals
    assert lab.reasons() == {"finding ROIs: not done yet": "0"}
    heard = lab.run()
    after = lab.tree()
    changed = {name[0] for name in survivors(before) ^ survivors(after)} - {"0"}
    assert changed not in (set(), set("abc")), "the volumes are such that some cases lose samples to the new one and some do not"
    assert heard.by_stage() == {ROIS: "0", SCORE: "0", WRITE: "".join(sorted({"0", *changed}))}
    assert after == lab.fresh()
    assert lab.open().verify() == []


def test_removing_a_case_from_a_filter_over_the_dataset_judges_anew(lab):
    lab.spec.update(PATHS["over the dataset"])
    lab.run()
    before = survivors(lab.tree())
    remove = lab.file("one/a")
    remove.unlink()
    lab.file("one/a", "mask").unlink()
    plan = lab.plan()
    assert not plan.complete
    assert [(unit.label, unit.why) for unit in plan.units] == [("all cases", "scoring unique together: not done yet")]
    assert plan.removed[0].startswith("case a: ")
    heard = lab.run()
    assert set(heard.by_stage()) == {WRITE}
    assert {name[0] for name in survivors(lab.tree()) - before} == set(heard.by_stage()[WRITE])
    assert lab.tree() == lab.fresh()


UNWANTED = {
    "a case": (remove_case, ["case c: 18 samples, 18 of 18 files"]),
    "a path": (option("write.0.path", "new/{case}/{array}/{roi}.npy"), ["what 3 cases no longer want of their 90 files, once they are made again"]),
    "samples": (key("filter", [{"use": "limit", "count": 5}]), ["what 3 cases no longer want of their 90 files, once they are made again"]),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(UNWANTED))
def test_what_is_no_longer_wanted_goes_at_commit_and_not_before(lab, what, monkeypatch):
    lab.run()
    before = lab.tree()
    change, said = UNWANTED[what]
    change(lab)
    assert list(lab.plan().removed) == said

    class NoCommit(commit.Commit):
        def run(self, *given):
            raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr("curate_core.running.Commit", NoCommit)
        with pytest.raises(RuntimeError, match="the power went"):
            lab.run()
    assert lab.tree() == before
    assert lab.open().verify() == []
    lab.run()
    assert lab.tree() == lab.fresh()
    assert lab.plan().removed == ()
    assert set(before) - set(lab.tree())


def test_a_killed_run_leaves_the_dataset_as_it_was(lab):
    lab.spec["transform"] = [SHIFT]
    lab.run()
    before = lab.tree()
    lab.spec["transform"] = [{"use": "shift", "by": 7}]
    (lab.folder / "spec.json").write_text(json.dumps(lab.spec))
    command = [sys.executable, "-m", "curate_core", "run", str(lab.folder / "spec.json"), "-q"]
    done = subprocess.run(command, env={**lab.environment(), "KEYTOYS_KILL": "c"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert lab.tree() == before
    assert lab.open().verify() == []
    assert lab.run().by_stage()[WRITE][-1] == "c"
    assert lab.tree() == lab.fresh()


def test_a_file_that_grows_while_it_is_hashed_is_set_aside(lab, monkeypatch):
    real = digest.file_digest

    def growing(path):
        found = real(path)
        if path.name == "c.em.npy":
            with path.open("ab") as file:
                file.write(b"more")
        return found

    monkeypatch.setattr("curate_core.digest.file_digest", growing)
    assert lab.run().summary.quarantined_cases == 1
    (row,) = lab.open().quarantined()
    assert row["case"] == "c"
    assert "c.em.npy: the file changed while it was read (run again when it is complete)" in row["reason"]


def test_nothing_is_committed_of_sources_that_change_during_the_run(lab, monkeypatch):
    """The first run hashes one content and cuts another; the second one begins with the case anew, though the first content is back."""
    lab.spec.update(PATHS["over the dataset"])
    path = lab.file("two/c")
    first = path.read_bytes()
    real = commit.refuse_changed

    def change(*given):
        lab.add("two/c", 50)
        real(*given)

    monkeypatch.setattr("curate_core.running.refuse_changed", change)
    with pytest.raises(Exception, match=r"case c: a source changed while the run was at work: .*c\.em\.npy \(nothing was committed"):
        lab.run()
    assert not (lab.out / "dataset.json").exists()
    monkeypatch.setattr("curate_core.running.refuse_changed", real)
    path.write_bytes(first)
    assert lab.run().by_stage()[ROIS] == "c"
    assert lab.tree() == lab.fresh()
    monkeypatch.setattr("curate_core.running.refuse_changed", lambda *given: (touch(path), real(*given)))
    assert lab.run({"seed": 2}).summary.exit_code == 0, "touched is not changed"


@pytest.mark.parametrize("changed", ["{case}/{array}.npy", "{case}/{array}/{index}.npy"])
def test_two_samples_on_one_path_are_found_when_only_the_path_changes(lab, changed):
    """The ROIs are not found again, and still nobody is overwritten."""
    lab.run()
    before = lab.tree()
    with pytest.raises(RequestError, match="two samples would be written to a/"):
        lab.run({"write": [{"use": "npy", "path": changed}]})
    with pytest.raises(RequestError, match=r"two samples would be written to \S+: a:\S+ and (a|b):"):
        lab.run({"write": [{"use": "npy", "path": "{array}/{roi}.npy"}]})
    assert lab.tree() == before


def test_the_samples_of_a_moved_dataset_are_the_same_source(lab, tmp_path_factory):
    lab.run({"source": {"use": "files", "pattern": "data/{group}/{case}.em.npy"}})
    second = {
        "source": {"use": "dataset", "path": "out"},
        "read": {"*": {"use": "samples"}},
        "rois": [{"use": "samples"}],
        "output": "second",
    }
    lab.run(second)
    moved = tmp_path_factory.mktemp("elsewhere") / "lab"
    lab.folder.rename(moved)
    lab.folder = moved
    assert lab.run(second).by_stage() == {}


def test_a_file_of_many_cases_is_hashed_once(lab):
    """And where the case that would have hashed it fails, the next one does."""
    asked = []
    layers = {"em": {"files": "data/one/a.em.npy"}}
    cases = [{"case": name, "layers": layers} for name in "abcdef"]
    lab.spec["source"] = {"use": "list", "cases": [{"case": "0", "layers": {**layers, "gone": {"files": "data/two/c.em.npy"}}}, *cases]}
    real = digest.known_content

    def count(path, others):
        if path.name == "c.em.npy":
            raise SourceError("it is not there", where=str(path))
        asked.append(path.name)
        return real(path, others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate_core.unit.known_content", count)
        heard = lab.run()
    assert asked == ["a.em.npy", "a.em.npy"], "by the case that failed behind it, and once for the six others"
    assert (heard.summary.cases, heard.summary.quarantined_cases) == (6, 1)
    assert lab.open().row(0)["sources"] == {"em": ["data/one/a.em.npy"]}
