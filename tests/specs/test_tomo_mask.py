"""Masks of real scans: the command, the spec, and pairs that are told apart by a mask that is found."""

import json
import runpy
from pathlib import Path

import h5py
import numpy as np
import pytest
from curate_tomo.maskcommand import MakeStripeMask, open_scan
from curate_tomo.maskfit import mask_of
from curate_tomo.masking import Filtering, Gradients

import curate_core
from curate_core.cli.main import main
from curate_core.testing import CommandTests

SPECS = Path(__file__).parents[2] / "specs"
scans = runpy.run_path(str(Path(__file__).parent / "scans.py"))
NUMBERS = {"size": 5, "length": 12, "depth": 4, "width": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scan with two bad columns of the detector, its fields in a file of their own."""
    found = tmp_path_factory.mktemp("scans")
    projections, flat = scans["counts"](angles=48, rows=70, columns=40)
    projections[:, 3, 20] //= 2
    projections[:, 66, 7] //= 2
    scans["write_scan"](found / "1000.nxs", projections, flat, fields=False)
    scans["write_scan"](found / "998.nxs", projections[:1], flat)
    return found


def masked(folder, **options):
    return mask_of(np.asarray(open_scan(folder / "1000.nxs", folder / "998.nxs").array), Filtering(**options))


class TestMakeStripeMask(CommandTests):
    component = MakeStripeMask

    @pytest.fixture(autouse=True)
    def _scan(self, folder):
        self.scan = folder

    def words(self, folder):
        scan = ["--h5", str(self.scan / "1000.nxs"), "--flats", str(self.scan / "998.nxs")]
        return [*scan, "--archive", str(folder / "masks.npz"), "--method", "filtering", "--processes", "0"]

    def wrong_words(self, folder):
        return ["--h5", str(folder / "none.nxs"), "--archive", str(folder / "masks.npz")]


def test_a_mask_is_made_by_any_number_of_processes(folder, tmp_path, capsys):
    common = ["stripe-mask", "--h5", str(folder / "1000.nxs"), "--flats", str(folder / "998.nxs"), "--method", "filtering"]
    for processes in (0, 2):
        archive = tmp_path / f"{processes}.npz"
        assert main([*common, "-a", str(archive), "--processes", str(processes)]) == 0
        assert "m1000, 48 x 70 x 40, 0.07% masked" in capsys.readouterr().out
        with np.load(archive, allow_pickle=False) as found:
            np.testing.assert_array_equal(found["m1000"], masked(folder))
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with np.load(tmp_path / "0.npz", allow_pickle=False) as found:
        assert [tuple(place) for place in np.argwhere(found["m1000"].all(axis=0))] == [(3, 20), (66, 7)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.npz", "2.npz"]


def test_the_detector_that_looks_at_rows_around_may_be_shared_out(tmp_path):
    noise = np.random.default_rng(0).integers(1000, 9000, (20, 150, 13)).astype(np.uint16)
    scans["write_scan"](tmp_path / "7.nxs", noise, np.full((150, 13), 9000, np.uint16))
    numbers = {"size": 5, "radius": 2, "threshold": 0.5, "length": 12, "depth": 4, "width": 3, "sensitivity": 60}
    words = [word for key, value in numbers.items() for word in ("--set", f"{key}={value}")]
    for processes in (0, 2):
        archive = str(tmp_path / f"{processes}.npz")
        assert main(["stripe-mask", "--h5", str(tmp_path / "7.nxs"), "-q", *words, "-a", archive, "--processes", str(processes)]) == 0
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with np.load(tmp_path / "2.npz", allow_pickle=False) as found:
        assert 0 < found["m7"][:, 60:70].sum() < found["m7"][:, 60:70].size, "rows beside the border of two pieces"


def test_names_numbers_and_mistakes(folder, tmp_path, capsys):
    archive = tmp_path / "masks.npz"
    common = [
        "stripe-mask",
        "--h5",
        str(folder / "1000.nxs"),
        "--flats",
        str(folder / "998.nxs"),
        "-a",
        str(archive),
        "--processes",
        "0",
        "-q",
    ]
    numbers = [word for key, value in NUMBERS.items() for word in ("--set", f"{key}={value}")]
    assert main([*common, "-f", "mine", *numbers]) == 0
    assert capsys.readouterr().out == ""
    with np.load(archive, allow_pickle=False) as found:
        scan = np.asarray(open_scan(folder / "1000.nxs", folder / "998.nxs").array)
        np.testing.assert_array_equal(found["mine"], mask_of(scan, Gradients(**NUMBERS)))
    for words, said in [
        (["-f", "mine"], "the archive has a mask 'mine' already"),
        (["--set", "treshold=1"], "the detector 'gradients' has no number 'treshold'"),
        (["--set", "threshold=much"], "threshold: 'much' is no number"),
        (["--set", "threshold=7"], "threshold"),
        (["--processes", "-1"], "-1 processes do nothing"),
        (["--h5", str(folder / "none.nxs")], "there is no such file"),
        (["--flats", str(folder / "none.nxs")], "there is no such file"),
        (["-a", str(tmp_path / "no/masks.npz")], "there is no such folder"),
    ]:
        assert main([*common, *words]) == 2
        assert said in capsys.readouterr().err
    assert main([*common, "-f", "mine", "--overwrite", "--method", "filtering"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["masks.npz"]


def test_the_spec_finds_the_masks_of_several_scans(tmp_path, folder):
    (tmp_path / "data").symlink_to(folder)
    settings = [
        f"source.first={folder}/1000.nxs", "source.shifts=1", f"read.scan.flats={folder}/998.nxs", "preprocess.1.method=filtering",
    ]  # fmt: skip
    summary = curate_core.run(SPECS / "tomo/mask.json", settings=settings, output=tmp_path / "out", workers=0)
    assert summary.written == 70
    with h5py.File(tmp_path / "out/masks.h5") as file:
        np.testing.assert_array_equal(file["m1000"][...].transpose(1, 0, 2), masked(folder))


@pytest.mark.parametrize("archived", [False, True], ids=["found", "archived"])
def test_pairs_are_told_apart_by_it(tmp_path, folder, archived):
    settings = [f"source.first={folder}/1000.nxs", "source.shifts=1", f"read.scan.flats={folder}/998.nxs", "transform.1.size=[48, 40]"]
    if archived:
        words = ["--h5", str(folder / "1000.nxs"), "--flats", str(folder / "998.nxs"), "--method", "filtering", "-q"]
        assert main(["stripe-mask", *words, "-a", str(tmp_path / "masks.npz")]) == 0
        settings.append(f"preprocess.1.archive={tmp_path}/masks.npz")
    else:
        settings.append("preprocess.1.method=filtering")
    curate_core.run(SPECS / "tomo/paired.json", settings=settings, output=tmp_path / "out", workers=0)
    rows = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert [row["attributes"]["row"] for row in rows if row["attributes"]["artifact"] == "real"] == [3, 66]
    assert len(list((tmp_path / "out/0000/real_artifacts/stripe").iterdir())) == 2
    assert len(list((tmp_path / "out/0000/fake_artifacts/clean").iterdir())) == 68


def test_an_archive_without_the_scan_costs_that_case(tmp_path, folder):
    np.savez(tmp_path / "masks.npz", m999=np.zeros((48, 70, 40), bool))
    settings = [
        f"source.first={folder}/1000.nxs", "source.shifts=1", f"read.scan.flats={folder}/998.nxs", f"preprocess.1.archive={tmp_path}/masks.npz",
    ]  # fmt: skip
    summary = curate_core.run(SPECS / "tomo/paired.json", settings=settings, output=tmp_path / "out", workers=0)
    assert summary.quarantined_cases == 1
    assert "the archive has no mask 'm1000'" in (tmp_path / "out/quarantine.jsonl").read_text()


def test_patches_are_told_apart_by_a_mask_that_is_found(tmp_path, folder):
    """Stripes in columns 20 of row 3 and 7 of row 66; patches of 48 x 20, two beside each other."""
    settings = [
        f"source.first={folder}/1000.nxs", "source.shifts=1", f"read.scan.flats={folder}/998.nxs", "preprocess.1.method=filtering",
        "rois.0.size=[48, 20]",
    ]  # fmt: skip
    summary = curate_core.run(SPECS / "tomo/patch.json", settings=settings, output=tmp_path / "out", workers=0)
    rows = [json.loads(line)["attributes"] for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert summary.written == len(rows) == 140
    assert [(row["row"], row["patch"]) for row in rows if row["artifact"] == "real"] == [(3, 1), (66, 0)]
