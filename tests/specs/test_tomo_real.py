"""specs/tomo/{raw,paired,dynamic,patch}.json: curated from scans that tests make, their trees as the source document has them."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np
import pytest
import tifffile
from curate_tomo.nostripesnet import NoStripesNet
from skimage.transform import resize

import curate_core
from curate_core.host import default_host
from curate_core.runner import run

ROOT = Path(__file__).parents[2]
SPECS = {mode: ROOT / f"specs/tomo/{mode}.json" for mode in ("raw", "paired", "dynamic", "patch")}
TESTED = "specs/tomo/raw.json specs/tomo/paired.json specs/tomo/dynamic.json specs/tomo/patch.json"
scans = runpy.run_path(str(Path(__file__).with_name("scans.py")))
counts, write_scan, write_shifts, formula = scans["counts"], scans["write_scan"], scans["write_shifts"], scans["expected"]
write_mask, MASK_OF_A_FILE = scans["write_mask"], scans["MASK_OF_A_FILE"]

SHARED: dict[str, tuple[str, Any]] = {
    "root": ("output", "data"), "samples": ("source.samples", 1), "start": ("source.start", 0), "hdf-root": ("source.first", "1000.nxs"),
    "chunk-size": ("read.scan.chunk", 243), "flats": ("read.scan.flats", None),
}  # fmt: skip
SHIFTS: dict[str, tuple[str, Any]] = {"shifts": ("source.shifts", 5), "shiftstep": ("source.shiftstep", 2)}
DEFAULTS = {  # every option of the source document that such a spec has, its place, and its default
    "raw": {**SHARED, **SHIFTS, "mode": ("name", "tomo-raw"), "size": ("transform.0.size", [402, 362])},
    "dynamic": {
        **SHARED, "mode": ("name", "tomo-dynamic"), "shifts are not used": ("source.shifts", 1),
        "frame-angles": ("rois.0.frame_angles", 900), "size": ("transform.0.size", [402, 362]),
        "every": ("rois.0.every", 1), "trailing angles": ("rois.0.partial", "drop"),
    },
    "paired": {
        **SHARED, **SHIFTS, "mode": ("name", "tomo-paired"), "mask": ("preprocess.1.archive", None), "size": ("transform.1.size", [402, 362]),
        "percentage": ("transform.2.percentage", 1), "max thickness": ("transform.2.max_thickness", 2),
        "intensity": ("transform.2.intensity", 0.2), "kind": ("transform.2.kind", "random"), "variability": ("transform.2.variability", 0.005),
    },
    "patch": {
        **SHARED, **SHIFTS, "mode": ("name", "tomo-patch"), "mask": ("preprocess.1.archive", None), "patch-size": ("rois.0.size", [1801, 256]),
        "percentage": ("transform.1.percentage", 0.4), "max thickness": ("transform.1.max_thickness", 6),
        "intensity": ("transform.1.intensity", 0.2), "kind": ("transform.1.kind", "full"), "variability": ("transform.1.variability", 0),
        "clipped": ("transform.1.clip", True),
    },
}  # fmt: skip


def load(mode: str) -> dict[str, Any]:
    return json.loads(SPECS[mode].read_text())


def look_up(spec: Any, path: str) -> Any:
    for part in path.split("."):
        spec = spec[int(part)] if isinstance(spec, list) else spec[part]
    return spec


@pytest.mark.parametrize(("mode", "option"), [(mode, option) for mode, table in DEFAULTS.items() for option in table])
def test_every_option_and_default_of_the_document(mode: str, option: str) -> None:
    place, default = DEFAULTS[mode][option]
    assert look_up(load(mode), place) == default


@pytest.mark.parametrize("mode", SPECS)
def test_the_importer_gives_these_specs(mode: str) -> None:
    imported = NoStripesNet(mode=mode, hdf_root="1000.nxs", root="data").convert("", Path())
    assert imported == {key: value for key, value in load(mode).items() if key not in ("$schema", "description")}


def test_an_imported_spec_runs(tmp_path: Path) -> None:
    write_shifts(tmp_path, 2)
    (tmp_path / "generate.sh").write_text("python -m simulator.data_generator -m raw --hdf-root 1000.nxs -s 2 -r out\n")
    command = [sys.executable, "-m", "curate_core", "import", "nostripesnet", "generate.sh", "-o", "spec.json"]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert run(tmp_path / "spec.json", workers=0).exit_code == 0
    assert tifffile.imread(tmp_path / "out/0000/shift01/0000_shift01_0005.tif").shape == (402, 362)


def make(mode: str, folder: Path, *settings: str, out: str = "out", **options: Any) -> curate_core.Dataset:
    first = [] if any(setting.startswith("source.f") for setting in settings) else [f"source.first={folder}/1000.nxs"]
    summary = run(SPECS[mode], settings=[*first, *settings], output=folder / out, **{"workers": 0, **options})
    assert summary.exit_code == 0
    return curate_core.open(folder / out)


def tree(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*.tif") if ".curate" not in path.parts}


def back(row: Any, image: Any) -> Any:
    """Values of 16-bit pixels, by the scale that the manifest tells."""
    low, high = row["attributes"]["scale_low"], row["attributes"]["scale_high"]
    return low + image.astype(float) / 65535 * (high - low)


def test_raw_is_the_tree_of_the_document(tmp_path: Path) -> None:
    write_shifts(tmp_path)
    dataset = make("raw", tmp_path, "transform.0.size=[12, 16]")
    names = {f"0000/shift{shift:02}/0000_shift{shift:02}_{row:04}.tif" for shift in range(5) for row in range(6)}
    assert tree(tmp_path / "out") == names
    rows = list(dataset.rows())
    assert len({(row["attributes"]["scale_low"], row["attributes"]["scale_high"]) for row in rows}) == 1
    low, high = 65535, 0
    for row in rows:
        shift, number = row["attributes"]["shift"], row["attributes"]["row"]
        assert (row["attributes"]["scan"], row["attributes"]["shiftstep"], row["attributes"]["offset"]) == (str(1000 + shift), 2, 2 * shift)
        image = tifffile.imread(tmp_path / f"out/0000/shift{shift:02}/0000_shift{shift:02}_{number:04}.tif")
        assert (image.dtype, image.shape) == (np.uint16, (12, 16))
        low, high = min(low, image.min()), max(high, image.max())
        exact = resize(formula(*counts(shift=2 * shift))[:, number], (12, 16), order=1, anti_aliasing=True)
        assert np.abs(back(row, image) - exact).max() < 1e-4
    assert (low, high) == (0, 65535)


def test_raw_as_it_is(tmp_path: Path) -> None:
    write_shifts(tmp_path, 1)
    projections, flat = counts()
    settings = ["source.shifts=1", "transform.0.size=null"]
    make("raw", tmp_path, *settings, "preprocess.0.normalize=false")
    image = tifffile.imread(tmp_path / "out/0000/shift00/0000_shift00_0003.tif")
    np.testing.assert_array_equal(image, projections[:, 3])
    assert image.dtype == np.uint16
    make("raw", tmp_path, *settings, "transform.1.to=float32", out="floats")
    image = tifffile.imread(tmp_path / "floats/0000/shift00/0000_shift00_0003.tif")
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, formula(projections, flat)[:, 3], rtol=1e-5, atol=1e-6)


def test_several_scans_are_numbered(tmp_path: Path) -> None:
    write_shifts(tmp_path, 2)
    write_shifts(tmp_path, 2, first=1010)
    firsts = f'["{tmp_path}/1000.nxs", "{tmp_path}/1010.nxs"]'
    settings = ["source.shifts=2", "transform.0.size=[12, 16]"]
    make("raw", tmp_path, f"source.first={firsts}", "source.samples=2", "source.start=3", *settings)
    assert {name[:4] for name in tree(tmp_path / "out")} == {"0003", "0004"}
    assert (tmp_path / "out/0004/shift01/0004_shift01_0005.tif").is_file()


@pytest.mark.parametrize("chunk", [1, 4, 5, 6, 1000])
def test_chunks_and_workers_change_nothing(tmp_path: Path, chunk: int) -> None:
    """A last chunk of few rows included; and memory that lowers it."""
    write_shifts(tmp_path, 2, angles=10)
    settings = ["source.shifts=2", "transform.0.size=[8, 9]"]
    make("raw", tmp_path, *settings)
    lowered = ["read.scan.memory=1700"] if chunk == 1000 else []
    make("raw", tmp_path, *settings, f"read.scan.chunk={chunk}", *lowered, out="chunks", workers=2 if chunk == 4 else 0)
    for name in sorted(tree(tmp_path / "out")):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "chunks" / name).read_bytes()


@pytest.mark.parametrize("layout", ["diamond", "exchange"])
def test_fields_of_another_file(tmp_path: Path, layout: str) -> None:
    projections, flat = counts()
    write_scan(tmp_path / "1000.nxs", projections, flat, fields=False, layout=layout)
    write_scan(tmp_path / "998.nxs", projections[:1], flat, layout=layout)
    make("raw", tmp_path, "source.shifts=1", "transform.0.size=null", "transform.1.to=float32", f"read.scan.flats={tmp_path}/998.nxs")
    image = tifffile.imread(tmp_path / "out/0000/shift00/0000_shift00_0002.tif")
    np.testing.assert_allclose(image, formula(projections, flat)[:, 2], rtol=1e-5, atol=1e-6)
    summary = run(SPECS["raw"], settings=[f"source.first={tmp_path}/1000.nxs", "source.shifts=1"], output=tmp_path / "none", workers=0)
    assert summary.exit_code == 1
    quarantine = (tmp_path / "none/quarantine.jsonl").read_text()
    assert "has no flat fields, neither its own nor those of another file" in quarantine


def test_a_scan_that_was_broken_off_costs_only_itself(tmp_path: Path) -> None:
    write_shifts(tmp_path, 3)
    with h5py.File(tmp_path / "1001.nxs", "a") as file:
        data = file["entry1/tomo_entry/data/data"][:20]
        del file["entry1/tomo_entry/data/data"]
        file["entry1/tomo_entry/data/data"] = data
    settings = [f"source.first={tmp_path}/1000.nxs", "source.shifts=3", "transform.0.size=[12, 16]"]
    summary = run(SPECS["raw"], settings=settings, output=tmp_path / "out", workers=0)
    assert summary.exit_code == 1
    assert "broken off" in (tmp_path / "out/quarantine.jsonl").read_text()
    assert {name.split("/")[1] for name in tree(tmp_path / "out")} == {"shift00", "shift02"}
    make("raw", tmp_path, *settings[1:], "read.scan.partial=keep", out="kept")
    assert {name.split("/")[1] for name in tree(tmp_path / "kept")} == {"shift00", "shift01", "shift02"}


def test_dynamic_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    projections, flat = counts(angles=10, turns=3)
    write_scan(tmp_path / "1000.nxs", projections[:28], flat)
    settings = ["rois.0.frame_angles=9", "transform.0.size=null", "transform.1.to=float32"]
    dataset = make("dynamic", tmp_path, *settings)
    assert tree(tmp_path / "out") == {f"0000_frame{frame:02}_{row:04}.tif" for frame in range(3) for row in range(6)}
    exact = formula(projections, flat)
    for frame in range(3):
        image = tifffile.imread(tmp_path / f"out/0000_frame{frame:02}_0004.tif")
        np.testing.assert_allclose(image, exact[9 * frame : 9 * frame + 9, 4], rtol=1e-5, atol=1e-6)
    assert "the last 1 of 28 angles fill no frame of 9 and are left out" in caplog.text
    assert {row["attributes"]["left_out"] for row in dataset.rows()} == {1}
    make("dynamic", tmp_path, *settings, "rois.0.partial=keep", out="kept")
    assert tifffile.imread(tmp_path / "kept/0000_frame03_0004.tif").shape == (1, 40)
    make("dynamic", tmp_path, *settings, "rois.0.every=2", out="second")
    assert {name[:12] for name in tree(tmp_path / "second")} == {"0000_frame00", "0000_frame02"}


def masked_shifts(folder: Path, rows: dict[int, Any], count: int = 2, **size: int) -> None:
    write_shifts(folder, count, **size)
    for shift in range(count):
        projections, _ = counts(**size)
        write_mask(folder / f"m{1000 + shift}.npy", projections.shape, rows)


def test_pairs(tmp_path: Path) -> None:
    masked_shifts(tmp_path, {1: [(60, 63)], 4: [(20, 21), (90, 110)]}, columns=150)
    settings = ["source.shifts=2", "transform.1.size=[12, 140]", "transform.3.to=float32", *MASK_OF_A_FILE]
    dataset = make("paired", tmp_path, *settings)
    expected = set()
    for kind, rows in (("fake", [0, 2, 3, 5]), ("real", [1, 4])):
        names = [f"0000_shift{shift:02}_{row:04}.tif" for shift in range(2) for row in rows]
        expected |= {f"0000/{kind}_artifacts/{array}/{name}" for array in ("clean", "stripe", "mask") for name in names}
    assert tree(tmp_path / "out") == expected
    changed = 0
    for row, sample in zip(dataset.rows(), dataset, strict=True):
        known = row["attributes"]
        exact = formula(*counts(columns=150, shift=2 * known["shift"]))[:, known["row"]]
        own = "clean" if known["artifact"] == "fake" else "stripe"
        np.testing.assert_allclose(sample[own], resize(exact, (12, 140), order=1, anti_aliasing=True), atol=1e-5)
        mask = sample["mask"] == 1
        if known["artifact"] == "fake":
            assert "estimate" not in known
            found = np.zeros_like(mask)
            for column, width, _, first, last in json.loads(known["stripe_parameters"]):
                found[first:last, column - width : column + width + 1] = True
            np.testing.assert_array_equal(mask, found)
            np.testing.assert_array_equal(sample["clean"][~mask], sample["stripe"][~mask])
            changed += int((sample["clean"] != sample["stripe"]).any())
        else:
            assert known["estimate"] is True
            filled = exact.copy()
            for first, last in [(60, 63)] if known["row"] == 1 else [(20, 21), (90, 110)]:
                line = np.linspace(filled[1:, first - 1], filled[1:, last], last - first + 2, axis=1)
                filled[1:, first:last] = line[:, 1:-1]
            np.testing.assert_allclose(sample["clean"], resize(filled, (12, 140), order=1, anti_aliasing=True), atol=1e-5)
            assert mask.any()
    assert changed >= 6
    make("paired", tmp_path, *settings, "transform.0.clean=null", out="none")
    assert tree(tmp_path / "none") == {name for name in expected if "real_artifacts/clean" not in name}


def test_pairs_share_one_scale(tmp_path: Path) -> None:
    masked_shifts(tmp_path, {1: [(30, 34)]}, columns=120)
    settings = ["source.shifts=2", "transform.1.size=[12, 100]", *MASK_OF_A_FILE]
    dataset = make("paired", tmp_path, *settings)
    floats = make("paired", tmp_path, *settings, "transform.3.to=float32", out="floats")
    assert len({(row["attributes"]["scale_low"], row["attributes"]["scale_high"]) for row in dataset.rows()}) == 1
    for row, sample, exact in zip(dataset.rows(), dataset, floats, strict=True):
        for array in ("clean", "stripe"):
            assert sample[array].dtype == np.uint16
            np.testing.assert_allclose(back(row, sample[array]), exact[array], atol=1e-4)


def test_all_or_no_sinograms_masked(tmp_path: Path) -> None:
    masked_shifts(tmp_path, {}, 1)
    make("paired", tmp_path, "source.shifts=1", "transform.1.size=null", *MASK_OF_A_FILE)
    assert {name.split("/")[1] for name in tree(tmp_path / "out")} == {"fake_artifacts"}
    masked_shifts(tmp_path, {row: [(0, 40)] for row in range(6)}, 1)
    make("paired", tmp_path, "source.shifts=1", "transform.1.size=null", *MASK_OF_A_FILE)
    assert {name.split("/")[1] for name in tree(tmp_path / "out")} == {"real_artifacts"}


def test_patches(tmp_path: Path) -> None:
    """25 angles x 90 columns hold 2 x 2 patches of 12 x 40; half of what is left over is cropped on each side."""
    masked_shifts(tmp_path, {1: [(30, 34)], 4: [(0, 5), (86, 90)], 5: [(44, 46)]}, 1, angles=25, columns=90)
    settings = [
        "source.shifts=1",
        "rois.0.size=[12, 40]",
        "transform.1.percentage=10",
        "transform.1.max_thickness=2",
        "transform.2.to=float32",
    ]
    dataset = make("patch", tmp_path, *settings, *MASK_OF_A_FILE)
    exact = formula(*counts(angles=25, columns=90))
    kinds = {(row["attributes"]["row"], row["attributes"]["patch"]): row["attributes"]["artifact"] for row in dataset.rows()}
    real = {(1, 0), (1, 1), (5, 0), (5, 1), (5, 2), (5, 3)}  # what is masked in the cropped border does not count
    assert kinds == {(row, patch): "real" if (row, patch) in real else "fake" for row in range(6) for patch in range(4)}
    for (row, patch), kind in kinds.items():
        own = "clean" if kind == "fake" else "stripe"
        image = tifffile.imread(tmp_path / f"out/0000/{kind}_artifacts/{own}/0000_shift00_{row:04}_w{patch:02}.tif")
        angle, column = 12 * (patch % 2), 5 + 40 * (patch // 2)
        np.testing.assert_allclose(image, exact[angle : angle + 12, row, column : column + 40], rtol=1e-5, atol=1e-6)
        if kind == "fake":
            stripe = tifffile.imread(tmp_path / f"out/0000/fake_artifacts/stripe/0000_shift00_{row:04}_w{patch:02}.tif")
            assert image.min() <= stripe.min()
            assert stripe.max() <= image.max()


def test_the_manifest_tells_where_samples_come_from(tmp_path: Path) -> None:
    masked_shifts(tmp_path, {1: [(30, 34)]}, 2, angles=25, columns=90)
    dataset = make("patch", tmp_path, "source.shifts=2", "rois.0.size=[12, 40]", "transform.1.percentage=10", *MASK_OF_A_FILE)
    for row in dataset.rows():
        known, stem = row["attributes"], Path(row["arrays"]["stripe"]["file"]).stem
        assert stem == f"0000_shift{known['shift']:02}_{known['row']:04}_w{known['patch']:02}"
        assert known["scan"] == str(1000 + known["shift"])
        assert row["sources"]["scan"] == [f"{known['scan']}.nxs"]
        assert {"sample", "shiftstep", "offset", "angle", "column", "artifact", "scale_low", "scale_high"} <= set(known)
        assert ("stripe_parameters" in known) == (known["artifact"] == "fake")
        assert ("estimate" in known) == (known["artifact"] == "real")


def test_a_mask_of_another_shape(tmp_path: Path) -> None:
    masked_shifts(tmp_path, {}, 1)
    write_mask(tmp_path / "m1000.npy", (24, 5, 40), {})
    settings = [f"source.first={tmp_path}/1000.nxs", "source.shifts=1", *MASK_OF_A_FILE]
    summary = run(SPECS["paired"], settings=settings, output=tmp_path / "out", workers=0)
    assert summary.exit_code == 1
    assert "layer 'mask' 24 x 5 x 40" in (tmp_path / "out/quarantine.jsonl").read_text()


def test_the_how_to_says_what_works() -> None:
    """The settings that it names are options there, its pictures are there and small."""
    page = (ROOT / "docs/how-to/real-scans.md").read_text()
    pictures = re.findall(r"\]\((.*?\.png)\)", page)
    assert len(pictures) == 3
    assert all(0 < (ROOT / "docs/how-to" / picture).stat().st_size < 100_000 for picture in pictures)
    named = set(re.findall(r"`((?:source|read\.scan|preprocess\.\d|rois\.\d|transform\.\d)\.\w+)`", page))
    named |= set(re.findall(r"--set '?((?:source|rois\.\d|preprocess\.0)\.\w+)=", page))
    assert len(named) >= 18
    kinds = {"source": "source", "read": "reader", "preprocess": "preprocessor", "rois": "roi_finder", "transform": "transform"}
    host = default_host()
    for name in sorted(named):
        place, _, option = name.rpartition(".")
        uses = []
        for mode in SPECS:
            try:
                uses.append(look_up(load(mode), place)["use"])
            except IndexError:
                continue
        fields = [attrs.fields(host.load(host.find(kinds[place.split(".")[0]], use))) for use in uses if use != "stripe-mask"]
        assert any(option in {field.name for field in found} for found in fields), name


PROOF = """
import resource, sys
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
from curate_core.runner import run
settings = [f"source.first={sys.argv[1]}", "source.shifts=1", "rois.0.every=900", *sys.argv[4:]]
summary = run("SPEC", settings=settings, output=sys.argv[2], workers=0)
print(summary.exit_code)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on anonymous memory is Linux's")
@pytest.mark.parametrize(
    ("shape", "limit", "settings"),
    [
        ((1801, 120, 2560), 600_000_000, ["rois.0.every=50", "read.scan.memory=100 MB"]),
        pytest.param((1801, 2160, 2560), 2_000_000_000, [], marks=pytest.mark.slow),
    ],
)
def test_large_scans_in_little_memory(tmp_path: Path, shape: tuple[int, ...], limit: int, settings: list[str]) -> None:
    """1 GB in 600 MB, and 20 GB in 2 GB of a process's own memory; sparse files."""
    path = tmp_path / "1000.nxs"
    with h5py.File(path, "w") as file:
        create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        group = file.create_group("exchange")
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(group.id, b"data", h5py.h5t.STD_U16LE, space, create)
        group["data_white"] = np.full((2, *shape[1:]), 30_000, np.uint16)
        group["data_dark"] = np.full((1, *shape[1:]), 100, np.uint16)
    assert path.stat().st_size > 1.8 * limit
    assert path.stat().st_blocks * 512 < 100e6
    script = PROOF.replace("SPEC", str(SPECS["raw"]))
    command = [sys.executable, "-c", script, str(path), str(tmp_path / "out"), str(limit), *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0", done.stderr + done.stdout
    assert len(tree(tmp_path / "out")) == 3
