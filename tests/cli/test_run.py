"""What ``curate run`` says when there is little to say, and when the output cannot be what the user wants."""

import json

import curate_core


def test_nothing_found_says_so_and_offers_no_sample(desk):
    code, said, _ = desk("run", desk.path, "--set", "rois.0.size=64")
    assert code == 0
    assert "It has no samples: no ROIs were found, perhaps they are larger than the images." in said
    assert "dataset[0]" not in said
    assert "a second" not in said
    assert len(curate_core.open(desk.folder / "out")) == 0


def test_filters_that_drop_all_are_named_as_the_reason(desk):
    _, said, _ = desk("run", desk.path, "--set", "filter.0.min_mean=300")
    assert "It has no samples: the filters dropped all that was found." in said
    assert "out/dropped.jsonl says which filter dropped what, and why" in said
    dropped = [json.loads(line) for line in (desk.folder / "out" / "dropped.jsonl").read_text().splitlines()]
    assert len(dropped) == 48


def test_when_every_case_fails_nothing_is_called_up_to_date(desk):
    for number in range(2):
        (desk.folder / f"v{number}.npy").write_bytes(b"no array")
    code, said, progress = desk("run", desk.path)
    assert code == 1
    assert "It has no samples: every case failed." in said
    assert "up to date" not in said
    assert "quarantine.jsonl; running again tries only those" in said
    assert progress.count("no reader takes it: it does not start as a .npy file (curate-core:npy)") == 2


def test_the_commands_that_it_offers_can_be_pasted(desk, monkeypatch):
    monkeypatch.chdir(desk.folder)
    said = desk("run", desk.path, "--output", "my data")[1]
    assert "curate verify 'my data'" in said
    assert "dataset = curate_core.open('my data'); dataset[0]" in said


def test_an_output_that_cannot_be_written_is_a_mistake_not_a_bug(desk):
    code, _, error = desk("run", desk.path, "--output", desk.folder / "v0.npy" / "out")
    assert code == 2
    assert f"{desk.folder}/v0.npy/out: the output folder cannot be written: Not a directory" in error
    assert "choose another with --output" in error
    assert "the output is a file, not a folder" in desk("run", desk.path, "--output", desk.folder / "v0.npy")[2]


def test_sources_are_no_output_folder(desk):
    code, _, error = desk("run", desk.path, "--output", desk.folder)
    assert code == 2
    assert "the output folder holds other things: spec.json, v0.npy, v1.npy" in error
    assert not (desk.folder / ".curate").exists()


def test_folders_and_bytes_are_no_specs(desk):
    assert desk("run", desk.folder)[2] == f"error: {desk.folder}: this is a folder, a spec is a JSON file\n"
    (desk.folder / "spec.json").write_bytes(b"\xff\xfe")
    assert "the spec cannot be read: 'utf-8' codec can't decode byte 0xff" in desk("run", desk.path)[2]
