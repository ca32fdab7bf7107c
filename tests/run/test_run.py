"""The path of the data, from a spec to a dataset, with toy components."""

import json
import os
import pickle
import re

import numpy as np
import pytest

import curate_core
from curate_core.errors import RequestError, RunError, SpecError, StepError
from curate_core.hookspec import hookimpl
from curate_core.host import default_host
from curate_core.journal import Journal, Lock
from curate_core.plan import case_rois, check, make_plan
from curate_core.spec import load

PATHS = {
    "plain": {},
    "sample filter": {"filter": [{"use": "toy-bright", "min": 1500}]},
    "case filter": {"filter": [{"use": "toy-unique"}]},
    "dataset filter": {
        "filter": [{"use": "toy-bright", "min": 1450}, {"use": "toy-unique", "within": "dataset"}, {"use": "toy-bright", "min": 1500}]
    },
    "group filter": {"filter": [{"use": "toy-unique", "within": {"attribute": "group"}}]},
    "two barriers": {"filter": [{"use": "toy-unique"}, {"use": "toy-unique", "within": "dataset"}]},
    "no pixels": {
        "filter": [{"use": "toy-first", "count": 50}, {"use": "toy-first", "count": 100, "within": "dataset"}, {"use": "toy-unique"}]
    },
    "case statistics": {"transform": [{"use": "toy-scale"}]},
    "dataset statistics": {"transform": [{"use": "toy-scale", "over": "dataset"}], "filter": [{"use": "toy-unique"}]},
    "stack": {"filter": [{"use": "toy-unique", "within": "dataset"}], "write": [{"use": "toy-stack"}]},
    "two writers": {"write": [{"use": "toy-stack"}, {"use": "toy-file"}]},
}


@pytest.mark.parametrize("path", sorted(PATHS))
def test_a_run_is_complete_verified_and_not_repeated(lab, path):
    summary = lab.run(spec=PATHS[path])
    assert summary.exit_code == 0
    assert summary.cases == 3
    assert summary.found == 3 * 6 * 4 * 5
    assert summary.written == summary.found - sum(summary.dropped.values()) > 0
    dataset = lab.open()
    assert len(dataset) == summary.written
    assert dataset.verify() == []
    assert sum(1 for _ in dataset.dropped()) == sum(summary.dropped.values())
    before = lab.tree()
    again = lab.run(spec=PATHS[path])
    assert again.units_done == 0
    assert lab.tree() == before


@pytest.mark.parametrize("path", ["dataset filter", "stack", "dataset statistics"])
def test_bytes_do_not_depend_on_workers(lab, path, tmp_path):
    trees = []
    for workers in (0, 1, 2, 5):
        out = tmp_path / f"out{workers}"
        lab.run(spec=PATHS[path], workers=workers, output=out)
        trees.append(lab.tree(out))
    assert all(tree == trees[0] for tree in trees)


def test_samples_are_the_voxels_at_their_views(lab):
    lab.run()
    dataset = lab.open()
    for index in (0, 7, len(dataset) - 1):
        row = dataset.row(index)
        (start, stop) = row["views"][""]["start"], row["views"][""]["stop"]
        volume = np.load(lab.data / f"{row['case']}.toy", allow_pickle=False)
        np.testing.assert_array_equal(dataset[index]["em"], volume[tuple(map(slice, start, stop))][0])
        assert row["sources"] == {"em": [f"{row['case']}.toy"]}
        assert row["id"] == f"{row['case']}:" + ",".join(f"{a}-{b}" for a, b in zip(start, stop, strict=True))


def test_rows_are_in_case_and_roi_order(lab):
    lab.run(workers=2)
    rows = list(lab.open().rows())
    keys = [(row["case"], row["views"][""]["start"]) for row in rows]
    assert keys == sorted(keys)


def test_filters_act_in_the_order_written(lab):
    lab.run(spec={"filter": [{"use": "toy-bright", "min": 1500}, {"use": "toy-first", "count": 3}]})
    for case in ("a1", "a2", "b1"):
        kept = [row for row in lab.open().rows() if row["case"] == case]
        bright = [row["id"] for row in lab.open().dropped() if row["case"] == case and row["step"] == "toy-bright"]
        assert len(kept) == 3
        assert all(row["scores"]["toy-bright"] > 1500 for row in kept)
        assert bright


def test_dropped_samples_say_on_whose_account(lab):
    lab.run(spec={"filter": [{"use": "toy-unique", "within": "dataset"}]})
    kept = {row["id"]: row for row in lab.open().rows()}
    for row in lab.open().dropped():
        assert row["step"] == "toy-unique"
        assert row["because"] in kept


def test_adding_removing_and_restoring_a_case_redoes_only_that_case(lab, tmp_path):
    lab.run()
    before = lab.tree()
    (lab.data / "a2.toy").rename(tmp_path / "aside.toy")
    assert lab.run().units_done == 0
    assert not any(name.startswith("a2/") for name in lab.tree())
    assert lab.open().verify() == []
    (tmp_path / "aside.toy").rename(lab.data / "a2.toy")
    assert lab.run().units_done == 2  # prepare and write
    assert lab.tree() == before


def test_a_changed_filter_does_not_find_rois_again(lab):
    lab.run(spec={"filter": [{"use": "toy-bright", "min": 1000}]})
    plan = make_plan(load({**lab.spec, "filter": [{"use": "toy-bright", "min": 1500}]}, default_host(), folder=lab.folder), default_host())
    assert {unit.why for unit in plan.units} == {"writing: the step list 'filter' changed"}
    summary = lab.run(spec={"filter": [{"use": "toy-bright", "min": 1500}]})
    assert summary.units_done == 3


def test_a_changed_seed_or_source_runs_again_and_says_why(lab):
    lab.run()
    plan = make_plan(load({**lab.spec, "seed": 1}, default_host(), folder=lab.folder), default_host())
    assert [unit.why for unit in plan.units] == ["finding ROIs: the source's content, attributes or seed changed"] * 3
    lab.add("a1", 9)
    plan = make_plan(load(lab.spec, default_host(), folder=lab.folder), default_host())
    assert [unit.label for unit in plan.units] == ["a1"]
    assert lab.run().units_done == 2


def test_an_option_that_is_not_keyed_runs_nothing_again(lab):
    lab.run(spec={"read": {"*": {"use": "toy"}}})
    before = lab.tree()
    assert lab.run(spec={"read": {"*": {"use": "toy", "patience": 2}}}).units_done == 0
    assert {name for name, data in lab.tree().items() if data != before.get(name)} <= {"spec.lock.json", "dataset.json"}


def test_touching_a_file_or_moving_the_folder_runs_nothing_again(lab, tmp_path_factory):
    lab.run()
    before = lab.tree()
    os.utime(lab.data / "a1.toy", (1, 1))
    assert lab.run().units_done == 0
    moved = tmp_path_factory.mktemp("elsewhere") / "lab"
    lab.folder.rename(moved)
    lab.folder, lab.data, lab.out = moved, moved / "data", moved / "out"
    assert lab.run().units_done == 0
    assert lab.tree() == before


def test_a_case_that_cannot_be_read_costs_only_itself(lab):
    (lab.data / "bad.toy").write_bytes(b"\x93NUMPY rubbish")
    summary = lab.run()
    assert (summary.exit_code, summary.cases, summary.quarantined_cases) == (1, 3, 1)
    (row,) = lab.open().quarantined()
    assert row["case"] == "bad"
    assert row["step"] == "read"
    assert "bad.toy" in row["reason"]
    lab.add("bad", 4)
    assert lab.run().exit_code == 0


def test_on_error_stop_stops(lab):
    (lab.data / "bad.toy").write_bytes(b"rubbish")
    with pytest.raises(RunError, match=r"case bad: stopped at the first failure.*run again") as caught:
        lab.run(spec={"on_error": "stop"})
    assert caught.value.exit_code == 3
    assert not (lab.out / "dataset.json").exists()
    (lab.data / "bad.toy").unlink()
    assert lab.run(spec={"on_error": "stop"}).exit_code == 0


def test_a_rejected_sample_costs_only_itself(lab):
    volume = np.load(lab.data / "a1.toy", allow_pickle=False)
    volume[2, 8, 16] = 0
    with (lab.data / "a1.toy").open("wb") as file:
        np.save(file, volume)
    summary = lab.run(spec={"transform": [{"use": "toy-double"}]})
    assert (summary.quarantined_cases, summary.quarantined_samples, summary.exit_code) == (0, 1, 1)
    assert summary.written == summary.found - 1
    (row,) = lab.open().quarantined()
    assert (row["sample"], row["step"], row["reason"]) == ("a1:2-3,8-16,16-24", "toy-double", "the first value is zero")


def test_a_finder_refuses_a_roi_and_the_others_go_on(lab, caplog):
    rois = [{"use": "toy-grid", "size": 16}, {"use": "toy-shifted", "size": 16, "shift": 8, "when": {"group": "a"}}]
    early = [{"use": "toy-first", "count": 20}]
    summary = lab.run(spec={"rois": rois, "filter": early})
    grid, refused = 6 * 2 * 2, 6 * 2  # of each layer 32 x 40 holds two by two; shifted, the second ends at 40, so nothing is refused yet
    assert (summary.found, summary.quarantined_samples) == (5 * grid, 0)
    rois[1]["shift"] = 9
    summary = lab.run(spec={"rois": rois, "filter": early})
    assert (summary.found, summary.quarantined_cases, summary.quarantined_samples) == (5 * grid, 0, 2 * refused)
    rows = list(lab.open().quarantined())
    reason = "it ends at x = 41 of 40"
    assert {(row["case"], row["step"], row["reason"]) for row in rows} == {(case, "toy-shifted", reason) for case in ("a1", "a2")}
    assert rows[0]["sample"] == "a1:0-1,0-16,25-41"
    spec = {**lab.spec, "rois": rois}
    found = curate_core.find_rois(spec, folder=lab.folder)
    assert f"case a1: toy-shifted refuses a ROI, and {refused - 1} more: it ends at x = 41 of 40" in caplog.text
    assert [len(table) for table in found.values()] == [2 * grid - refused, 2 * grid - refused, grid]
    assert {int(x) for table in found.values() for x in table.views[0].stop[:, 2]} == {16, 25, 32}


def test_a_finder_that_refuses_a_row_it_has_not(lab):
    lab.run(spec={"rois": [{"use": "toy-shifted", "refuse": 120}]})
    reasons = {row["reason"] for row in lab.open().quarantined()}
    assert len(reasons) == 3  # the case each
    assert "find refused row 120 of 120" in reasons.pop()


def test_when_splits_batches_by_case_and_by_sample(lab):
    lab.run(spec={"transform": [{"use": "toy-double", "when": {"group": "a", "half": ["low"]}}]})
    for row, arrays in zip(lab.open().rows(), lab.open(), strict=True):
        volume = np.load(lab.data / f"{row['case']}.toy", allow_pickle=False)
        start, stop = row["views"][""]["start"], row["views"][""]["stop"]
        factor = 2 if row["attributes"]["group"] == "a" and row["attributes"]["half"] == "low" else 1
        np.testing.assert_array_equal(arrays["em"], factor * volume[tuple(map(slice, start, stop))][0])


@pytest.mark.parametrize("over", ["case", "dataset", {"attribute": "group"}])
@pytest.mark.parametrize("group", ["a", "none of them"])
def test_where_a_step_applies_to_nothing_it_merges_nothing(lab, over, group):
    """``merge`` of the toy, as that of most, cannot make a value of none."""
    lab.run(spec={"transform": [{"use": "toy-scale", "over": over, "when": {"group": group}}]})
    assert len(lab.open()) == 360
    for row, arrays in zip(lab.open().rows(), lab.open(), strict=True):
        assert (arrays["em"].max() <= 1) == (row["attributes"]["group"] == group)


def test_a_sample_that_no_writer_takes_is_an_error(lab):
    summary = lab.run(spec={"write": [{"use": "toy-file", "when": {"group": "a"}}]})
    assert summary.quarantined_cases == 1
    (row,) = lab.open().quarantined()
    assert "no writer takes the sample b1:0-1,0-8,0-8" in row["reason"]


def test_two_samples_on_one_path_fail_before_anything_is_cut(lab):
    with pytest.raises(RequestError, match=r"two samples would be written to a1\.npy: a1:0-1,0-8,0-8 and a1:0-1,0-8,8-16"):
        lab.run(spec={"write": [{"use": "toy-file", "path": "{case}.npy"}]})
    with pytest.raises(RequestError, match=r"two samples would be written to \S+\.npy: a1:\S+ and a2:"):
        lab.run(spec={"write": [{"use": "toy-file", "path": "{roi}.npy"}]})
    with pytest.raises(RequestError, match="where both are the same box, let the ROI finder give it once"):
        lab.run(spec={"write": [{"use": "toy-file", "path": "{case}.npy"}]})
    assert not any(p.suffix == ".npy" for p in lab.out.glob("**/data/**/*"))


def test_a_foreign_folder_is_refused_and_left_alone(lab):
    lab.out.mkdir()
    (lab.out / "thesis.txt").write_text("years of work")
    with pytest.raises(RequestError, match=r"out: the output folder holds other things: thesis.txt .*nothing was changed"):
        lab.run(overwrite=True)
    assert [p.name for p in lab.out.iterdir()] == ["thesis.txt"]


def test_another_dataset_is_replaced_only_on_request(lab):
    lab.run()
    with pytest.raises(RequestError, match=r"holds the dataset 'toys', the spec makes 'other'.*--overwrite"):
        lab.run(spec={"name": "other"})
    summary = lab.run(spec={"name": "other", "write": [{"use": "toy-file", "path": "new/{case}/{roi}.npy"}]}, overwrite=True)
    assert summary.units_reused == 0
    assert all(name.startswith("new/") or "/" not in name for name in lab.tree())


def test_append_keeps_what_is_there_and_adds_the_rest(lab, tmp_path):
    (lab.data / "b1.toy").rename(tmp_path / "b1.toy")
    spec = {"transform": [{"use": "toy-scale", "over": "dataset"}], "filter": [{"use": "toy-unique", "within": "dataset"}]}
    lab.run(spec=spec)
    before, ids = lab.tree(), [row["id"] for row in lab.open().rows()]
    for name in ("a1", "a2"):
        (lab.data / f"{name}.toy").unlink()
    (tmp_path / "b1.toy").rename(lab.data / "b1.toy")
    summary = lab.run(spec=spec, append=True)
    assert summary.cases == 3
    assert [row["id"] for row in lab.open().rows()][: len(ids)] == ids
    after = lab.tree()
    assert all(after[name] == before[name] for name in before if name.startswith("a"))
    assert lab.open().verify() == []
    values = [float(arrays["em"].max()) for arrays in lab.open()]
    assert len(set(values)) == len(values)
    assert lab.run(spec=spec, append=True).units_done == 0
    with pytest.raises(RequestError, match=r"made with another seed, so that cases cannot be added"):
        lab.run(spec={**spec, "seed": 5}, append=True)


def test_a_lost_or_damaged_output_file_is_made_again(lab):
    lab.run()
    before = lab.tree()
    victim = next(lab.out.glob("a2/*.npy"))
    victim.unlink()
    assert lab.run().units_done == 1
    assert lab.tree() == before
    victim.write_bytes(victim.read_bytes()[:-1])
    assert lab.run().units_done == 1
    assert lab.tree() == before


def test_verify_names_what_was_changed(lab):
    lab.run()
    victim = next(lab.out.glob("a2/*.npy"))
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    (lab.out / "stranger.txt").write_text("")
    problems = lab.open().verify()
    assert len(problems) == 2
    assert victim.name in problems[0]
    assert "checksum differs" in problems[0]
    assert problems[1] == "stranger.txt: not part of the dataset"
    (lab.out / "manifest.jsonl").write_text("{}")
    assert lab.open().verify() == ["manifest.jsonl: it is not the file that the run wrote"]


def test_the_lock_names_versions_readers_and_hashes(lab):
    lab.run()
    lock = json.loads((lab.out / "spec.lock.json").read_text())
    assert lock["spec"]["rois"] == [{"use": "toy-grid", "size": 8}]
    assert lock["spec"]["seed"] == 0
    assert lock["cases"]["a1"]["readers"] == {"em": "toys:toy"}
    assert len(lock["cases"]["a1"]["sha256"]["em"][0]) == 64
    assert lock["distributions"]["toys"] == "1.0"


def test_only_one_run_at_a_time(lab):
    with Lock(lab.out), pytest.raises(RequestError, match=rf"another run is at work on this folder: process {os.getpid()} on"):
        lab.run()
    assert lab.run().exit_code == 0


def test_a_torn_journal_line_is_ignored(lab):
    lab.run()
    before = lab.tree()
    path = lab.out / ".curate" / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    lab.run()
    assert lab.tree() == before
    assert all(line.endswith(b"\n") for line in path.read_bytes().splitlines(keepends=True))
    with path.open("ab") as file:
        file.write(b'00000000 {"type":"part"}\n')
    assert len(Journal(lab.out).parts) > 0


def test_rois_can_be_found_alone(lab):
    found = {case: len(table) for case, table, _ in case_rois(load(lab.spec, default_host(), folder=lab.folder), default_host())}
    assert found == {"a1": 120, "a2": 120, "b1": 120}


def test_check_opens_every_layer(lab):
    (lab.data / "bad.toy").write_bytes(b"rubbish")
    report = check(load(lab.spec, default_host(), folder=lab.folder), default_host())
    assert report.cases == 4
    assert [layer.grid.shape for layer in report.layers if layer.grid is not None] == [(6, 32, 40)] * 3
    assert len(report.problems) == 1
    assert report.problems[0].startswith("bad, layer em: ")


def test_plan_counts_without_writing(lab):
    plan = make_plan(load(lab.spec, default_host(), folder=lab.folder), default_host(), find=True)
    assert (plan.cases, plan.samples, plan.exact, plan.nbytes) == (3, 360, True, 360 * 64 * 2)
    assert not lab.out.exists()


def test_a_dataset_is_a_map_style_dataset(lab):
    lab.run()
    dataset = lab.open()
    low = dataset.select(half="low", group=["a"])
    assert len(low) == 2 * 3 * 20
    again = pickle.loads(pickle.dumps(low))
    np.testing.assert_array_equal(again[3]["em"], low[3]["em"])
    assert dataset.select(lambda row: row["case"] == "b1")[0]["em"].shape == (8, 8)
    with pytest.raises(IndexError, match=f"sample {len(dataset)} of {len(dataset)}"):
        dataset[len(dataset)]
    with pytest.raises(IndexError, match="sample 0 of 0"):
        dataset.select(half="none")[0]
    with pytest.raises(RequestError, match="there is no curated dataset here"):
        curate_core.open(lab.data)


def test_too_small_a_memory_names_the_need(lab):
    with pytest.raises(RequestError, match=r"engine.memory: .* needs about 0\.\d+ GB, the engine's memory is 0\.001 GB"):
        lab.run(spec={"engine": {"use": "local", "workers": 2, "memory": "1 MB"}})


def test_no_cases_and_bad_ids_are_named(lab):
    for path in lab.data.iterdir():
        path.unlink()
    with pytest.raises(RequestError, match="source: the source found no cases"):
        lab.run()
    with pytest.raises(SpecError):
        lab.run(spec={"rois": []})


def test_workers_can_be_set_where_the_spec_names_no_engine(lab):
    del lab.spec["engine"]
    assert lab.run(workers=0).exit_code == 0


def test_the_summary_counts_what_was_reused(lab):
    assert lab.run(spec={"filter": [{"use": "toy-bright", "min": 1000}]}).units_reused == 0
    summary = lab.run(spec={"filter": [{"use": "toy-bright", "min": 1500}]})
    assert (summary.units_done, summary.units_reused) == (3, 3)  # the ROIs of three cases


WRONG = {
    "score": "toy-wrong: score gave the column 'value' of shape (121,) for 120 samples",
    "keep": "toy-wrong: keep gave keep of shape (121,) for 120 samples",
    "raise": "toy-wrong: failed with ZeroDivisionError: by zero (toys.py, line N) (a bug in toys, or input it does not expect; --debug shows where)",
}


@pytest.mark.parametrize("how", sorted(WRONG))
@pytest.mark.parametrize("within", ["sample", "case"])
def test_a_filter_that_breaks_the_contract_is_named(lab, how, within):
    summary = lab.run(spec={"filter": [{"use": "toy-wrong", "how": how, "within": within}]})
    assert summary.quarantined_cases == 3
    for row in lab.open().quarantined():
        assert row["step"] == "toy-wrong"
        assert re.sub(r"line \d+", "line N", row["reason"]).endswith(WRONG[how])
    with pytest.raises(IndexError, match="the dataset has no samples, its cases failed; the first because: .*toy-wrong"):
        lab.open()[0]


def test_a_filter_that_breaks_the_contract_over_the_dataset_stops_the_run(lab):
    with pytest.raises(StepError, match="toy-wrong: keep gave keep of shape"):
        lab.run(spec={"filter": [{"use": "toy-wrong", "how": "keep", "within": "dataset"}]})


class Listener:
    """Counts units; fails at the second."""

    def __init__(self) -> None:
        self.heard = []

    @hookimpl
    def curate_unit_finished(self, outcome):
        self.heard.append(outcome.unit.label)
        if len(self.heard) == 2:
            raise RuntimeError("tired")


class Patient:
    """Hears the end."""

    def __init__(self) -> None:
        self.summary = None

    @hookimpl
    def curate_run_finished(self, summary):
        self.summary = summary


def test_a_listener_that_raises_is_named_and_left_out(lab, caplog):
    listener, patient = Listener(), Patient()
    assert lab.run(listeners=[listener, patient]).exit_code == 0
    assert len(listener.heard) == 2
    assert patient.summary["samples"] == 360
    (record,) = caplog.records
    assert re.fullmatch(
        r"the listener Listener failed at curate_unit_finished and is left out: RuntimeError: tired \(test_run.py, line \d+\)",
        record.getMessage(),
    )
