"""``check``, ``info``, ``why`` and ``rois`` on folders, on files without an ending, and with much to show."""

import json

import numpy as np


def test_check_names_each_problem_once(desk):
    for number in range(30):
        (desk.folder / f"w{number}.npy").write_bytes(b"no array")
    code, said, _ = desk("check", desk.path)
    assert code == 1
    assert said.count("it does not start as a .npy file") == 20
    assert "The spec is right; 32 cases, 32 layers; 30 layers cannot be opened:" in said
    assert "... and 10 more layers" in said
    assert "... and 12 more layers; -v shows all" in said
    assert said.count("cannot be opened") == 1 + 18  # of the 20 layers shown, two are good


def test_check_is_quiet_about_what_is_right(desk):
    assert desk("check", desk.path, "-q") == (0, "", "")


def test_patterns_that_lead_nowhere_say_what_is_there(desk):
    assert "there is no folder" in desk("check", desk.path, "--set", "source.root=nowhere")[2]
    (desk.folder / "empty").mkdir()
    assert f"{desk.folder}/empty is empty" in desk("check", desk.path, "--set", "source.root=empty")[2]


def test_folders_that_are_no_data(desk):
    code, _, error = desk("info", desk.folder)
    assert code == 3
    assert "no installed reader takes folders such as this" in error
    code, said, _ = desk("why", desk.folder)
    assert code == 1
    assert said == f"No installed reader claims folders such as {desk.folder.name}.\n"


def test_files_without_an_ending(desk):
    (desk.folder / "scan").write_bytes(b"")
    assert "no installed reader takes files without an ending" in desk("info", desk.folder / "scan")[2]


def test_a_file_whose_reader_knows_no_layout_cannot_be_verified(desk):
    np.save(desk.folder / "alone.npy", np.zeros(3))
    code, _, error = desk("verify", desk.folder / "alone.npy")
    assert code == 2
    assert "files of this kind have no layout to be verified (curate-core:npy)" in error
    assert "give the folder of a dataset" in error


def test_info_of_a_dataset_names_quarantine_and_types(desk):
    (desk.folder / "v9.npy").write_bytes(b"no array")
    desk("run", desk.path)
    lines = dict(line.split(None, 1) for line in desk("info", desk.folder / "out")[1].splitlines())
    assert lines["quarantine"].strip() == "1 case"
    assert lines["arrays"].strip() == "image: 8 x 8 uint8 (of the first sample)"
    (desk.folder / "v9.npy").unlink()
    desk("run", desk.path)
    lines = dict(line.split(None, 1) for line in desk("info", desk.folder / "out")[1].splitlines())
    assert lines["quarantine"].strip() == "empty"


def test_info_of_values_that_are_not_numbers_in_the_first_slab(desk):
    np.save(desk.folder / "flags.npy", np.zeros((2, 3), bool))
    said = desk("info", desk.folder / "flags.npy")[1]
    assert "bool" in said


def test_rois_offers_a_step_that_the_spec_can_take_from_anywhere(desk, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    said = desk("rois", desk.path, "-o", desk.folder / "found.npz")[1]
    rois = json.loads("{" + said.splitlines()[1].removeprefix("  use them    ") + "}")["rois"]
    assert rois == [{"use": "list", "file": "found.npz"}]
    desk.save(rois=rois)
    assert desk("run", desk.path, "-q")[0] == 0
    said = desk("rois", desk.path, "-o", "here.npz")[1]
    (step,) = json.loads("{" + said.splitlines()[1].removeprefix("  use them    ") + "}")["rois"]
    desk.save(rois=[step], output="second")
    assert desk("run", desk.path, "-q")[0] == 0


def test_rois_that_cannot_be_written(desk):
    (desk.folder / "x.npz").mkdir()
    code, _, error = desk("rois", desk.path, "-o", desk.folder / "x.npz", "--overwrite")
    assert code == 2
    assert "x.npz: it cannot be written: Is a directory" in error


def test_an_importer_where_none_is_installed(desk):
    error = desk("import", "nnunet", "x.json", "-o", "y.json")[2]
    assert error.startswith("error: there is no importer 'nnunet'\n  hint: ")
