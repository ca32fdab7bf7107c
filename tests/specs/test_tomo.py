"""specs/tomo/{simple,complex}.json: the trees of the source document, complete and named as it says, and what their files promise."""

import hashlib
import json
import random
import re
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
from curate_tomo.phantom import load_objects

import curate_core
from curate_core.host import default_host
from curate_core.runner import run

ROOT = Path(__file__).parents[2]
SPECS = {"simple": ROOT / "specs/tomo/simple.json", "complex": ROOT / "specs/tomo/complex.json"}
ARRAYS = {"simple": ["clean", "mask", "stripe"], "complex": ["clean", *(f"shift{i:02}" for i in range(5))]}
SHAPES = {16: (25, 22), 64: (100, 90), 128: (201, 181), 256: (402, 362)}
GOLDEN_SIMPLE = "56a60f9b6680d33b172f17c6ad6bf43acc2fd638b9558c36d7a5424eb7d4a72c"

DEFAULTS = {  # every option of the source document that such a spec has, its place, and its default
    "complex": {
        "root": ("output", "data"), "mode": ("name", "tomo-complex"), "samples": ("source.samples", 1), "start": ("source.start", 0),
        "size": ("read.clean.size", 256), "objects": ("read.clean.objects", 300), "shifts": ("preprocess.1.shifts", 5),
        "shiftstep": ("preprocess.1.shiftstep", 2), "flatsnum": ("preprocess.1.flatsnum", 20), "I0": ("preprocess.1.I0", 40000),
        "radius": ("read.clean.radius", [0.01, 0.25]), "intensity": ("read.clean.intensity", [0.01, 1.0]),
    },
    "simple": {
        "root": ("output", "data"), "mode": ("name", "tomo-simple"), "samples": ("source.samples", 1), "start": ("source.start", 0),
        "size": ("read.clean.size", 256), "objects": ("read.clean.objects", 300), "percentage": ("transform.0.percentage", 1.2),
        "max thickness": ("transform.0.max_thickness", 3), "intensity": ("transform.0.intensity", 0.25), "kind": ("transform.0.kind", "mix"),
        "variability": ("transform.0.variability", 0),
    },
}  # fmt: skip
HARD_CODED = {  # what the original hard-codes, and no spec need repeat: defaults of components
    "sphere-foam": {"x": (-0.9, 0.9), "y": (-0.9, 0.9), "z": (-0.8, 0.8), "radius": (0.01, 0.25), "intensity": (0.01, 1.0), "tries": 1000},
    "project": {"rows": None, "columns": None, "angles": None, "angle_range": (0.0, 179.9)},
    "flat-fields": {
        "shifts": 5, "shiftstep": 2, "flatsnum": 20, "I0": 40000, "miscalibration": 0.07, "bessel": (1.0, 25.0), "speckle_size": 3,
        "speckle_photons": 2, "speckle_weight": 0.5, "defect_size": 10, "defect_photons": 0.03, "defect_blur": 2, "defect_threshold": 0.6,
        "absorption": 1.0, "compat": False, "zingers": 0, "blur": 0,
    },
    "add-stripes": {"percentage": 1.2, "max_thickness": 3, "intensity": 0.25, "kind": "mix", "variability": 0},
}  # fmt: skip


KIND_OF = {
    "simulate": "source",
    "sphere-foam": "reader",
    "project": "preprocessor",
    "flat-fields": "preprocessor",
    "add-stripes": "transform",
}


def options_of(use: str) -> tuple[Any, ...]:
    host = default_host()
    return attrs.fields(host.load(host.find(KIND_OF[use], use)))


def load(mode: str) -> dict[str, Any]:
    return json.loads(SPECS[mode].read_text())


def look_up(spec: Any, path: str) -> Any:
    for part in path.split("."):
        spec = spec[int(part)] if isinstance(spec, list) else spec[part]
    return spec


def make(mode: str, out: Path, size: int = 16, *settings: str, **options: Any) -> curate_core.Dataset:
    options = {"workers": 0, **options}
    summary = run(SPECS[mode], settings=[f"read.clean.size={size}", *settings], output=out, **options)
    assert summary.exit_code == 0
    return curate_core.open(out)


def files(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.glob("[0-9]*/**/*.tif"))}


@pytest.mark.parametrize(("mode", "option"), [(mode, option) for mode, table in DEFAULTS.items() for option in table])
def test_every_option_and_default_of_the_document(mode: str, option: str) -> None:
    place, default = DEFAULTS[mode][option]
    assert look_up(load(mode), place) == default


@pytest.mark.parametrize("use", HARD_CODED)
def test_what_the_original_hard_codes_is_an_option(use: str) -> None:
    fields = {field.name: field.default for field in options_of(use)}
    assert {name: fields[name] for name in HARD_CODED[use]} == HARD_CODED[use]


@pytest.mark.parametrize("mode", SPECS)
def test_the_importer_gives_these_specs(mode: str) -> None:
    spec = load(mode)
    imported = NoStripesNet(mode=mode, root="data").convert("", Path())
    assert imported == {key: value for key, value in spec.items() if key not in ("$schema", "description")}


@pytest.mark.parametrize("size", [64, pytest.param(128, marks=pytest.mark.slow), pytest.param(256, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", SPECS)
def test_the_tree_is_complete(mode: str, size: int, tmp_path: Path) -> None:
    dataset = make(mode, tmp_path / "out", size)
    names = {f"0000/{array}/0000_{array}_{row:04}.tif" for array in ARRAYS[mode] for row in range(size)}
    assert set(files(tmp_path / "out")) == names
    assert len(dataset) == size
    scales = {(row["attributes"]["scale_low"], row["attributes"]["scale_high"]) for row in dataset.rows()}
    assert len(scales) == 1
    low, high = np.inf, -np.inf
    for name in sorted(names):
        image = tifffile.imread(tmp_path / "out" / name)
        assert image.shape == SHAPES[size]
        assert image.dtype == (np.uint8 if "/mask/" in name else np.uint16)
        if image.dtype == np.uint16:
            low, high = min(low, image.min()), max(high, image.max())
    assert (low, high) == (0, 65535)
    attributes = dataset.row(0)["attributes"]
    assert attributes["objects"] + attributes["unplaced"] == 300
    assert (attributes["sample"], attributes["row"]) == (0, 0)


def test_clean_and_stripe_differ_in_the_mask_alone(tmp_path: Path) -> None:
    dataset = make("simple", tmp_path / "out", 64)
    stripes = 0
    for sample in dataset:
        changed = sample["clean"] != sample["stripe"]
        assert (sample["mask"][changed] == 1).all()
        stripes += int(changed.any())
    assert stripes > 40


def test_shifts_have_the_noise_of_clean(tmp_path: Path) -> None:
    """Noise moves every pixel; a shift moves columns, and few single pixels where detectors are miscalibrated."""
    dataset = make("complex", tmp_path / "out", 64, "transform.0.to=float32", "preprocess.1.miscalibration=0")
    for sample in (dataset[10], dataset[40]):
        for index in range(5):
            difference = sample[f"shift{index:02}"] - sample["clean"]
            assert np.ptp(difference, axis=0).max() < 1e-4
            assert difference.std() > 5e-3


def test_a_numbering_continues(tmp_path: Path) -> None:
    make("simple", tmp_path / "grown", 16, "source.samples=2")
    first = files(tmp_path / "grown")
    dataset = make("simple", tmp_path / "grown", 16, "source.samples=1", "source.start=2", append=True)
    make("simple", tmp_path / "whole", 16, "source.samples=3")
    assert [*dict.fromkeys(row["case"] for row in dataset.rows())] == ["0", "1", "2"]
    grown = files(tmp_path / "grown")
    assert grown == files(tmp_path / "whole")
    assert {name: grown[name] for name in first} == first
    assert "0002/stripe/0002_stripe_0015.tif" in grown


@pytest.mark.parametrize("mode", SPECS)
def test_a_sample_is_the_same_alone_and_with_two_workers(mode: str, tmp_path: Path) -> None:
    make(mode, tmp_path / "both", 16, "source.samples=2", workers=2)
    make(mode, tmp_path / "alone", 16, "source.start=1")
    both = files(tmp_path / "both")
    assert {name: data for name, data in both.items() if name.startswith("0001/")} == files(tmp_path / "alone")
    assert both["0000/clean/0000_clean_0007.tif"] != both["0001/clean/0001_clean_0007.tif"]


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("complex", tmp_path / "whole")
    monkeypatch.setattr("curate_core.cut.BLOCK_ROWS", 5)
    monkeypatch.setattr("curate_core.cut.BATCH_ROWS", 2)
    make("complex", tmp_path / "blocks")
    assert files(tmp_path / "whole") == files(tmp_path / "blocks")


def test_global_generators_are_left_alone(tmp_path: Path) -> None:
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    make("complex", tmp_path / "out")
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_float_trees(tmp_path: Path) -> None:
    dataset = make("complex", tmp_path / "out", 16, "transform.0.to=float32")
    image = tifffile.imread(tmp_path / "out/0000/shift04/0000_shift04_0003.tif")
    assert image.dtype == np.float32
    assert "scale_low" not in dataset.row(0)["attributes"]


@pytest.mark.parametrize("write", ["npy", "hdf5"])
def test_stacks_for_faster_loading(tmp_path: Path, write: str) -> None:
    path = {"npy": {"path": "{case:04}/{array}.npy"}, "hdf5": {"file": "{case:04}.h5", "path": "{array}"}}[write]
    spec = {**load("complex"), "write": [{"use": write, "stack": True, **path}], "output": str(tmp_path / "out")}
    run(spec, settings=["read.clean.size=16"], workers=0, folder=tmp_path)
    make("complex", tmp_path / "tree")
    for array in ARRAYS["complex"]:
        if write == "npy":
            stack = np.load(tmp_path / f"out/0000/{array}.npy")
        else:
            with h5py.File(tmp_path / "out/0000.h5") as file:
                stack = file[array][()]
        for row in range(16):
            np.testing.assert_array_equal(stack[row], tifffile.imread(tmp_path / f"tree/0000/{array}/0000_{array}_{row:04}.tif"))


def test_the_how_to_says_what_works(tmp_path: Path) -> None:
    """Its phantom can be read, the settings that it names are taken, its pictures are there and small."""
    page = (ROOT / "docs/how-to/simulated-sinograms.md").read_text()
    (tmp_path / "model.json").write_text(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])
    assert len(load_objects(tmp_path / "model.json")) == 2
    pictures = re.findall(r"\]\((.*?\.png)\)", page)
    assert len(pictures) == 3
    assert all(0 < (ROOT / "docs/how-to" / picture).stat().st_size < 100_000 for picture in pictures)
    rows = re.findall(r"^\| .*? \| (`.*?`) \| .* \|$", page, re.MULTILINE)
    named = []
    for row in rows:
        first, *others = re.findall(r"`(.*?)`", row)
        stem = first.rpartition(".")[0]
        named += [first, *(name if not name.startswith(".") else stem + name for name in others)]
    assert len(named) == 20
    for name in named:
        place, _, option = name.rpartition(".")
        step = look_up(load("simple" if place.startswith("transform") else "complex"), place)
        assert option in {field.name for field in options_of(step["use"])}


def test_import_on_the_command_line(tmp_path: Path) -> None:
    script = tmp_path / "generate.sh"
    script.write_text("python -m simulator.data_generator -m simple -N 16 -o 20 --samples 2 -r out\n")
    command = [
        sys.executable,
        "-m",
        "curate_core",
        "import",
        "nostripesnet",
        str(script),
        "-o",
        str(tmp_path / "spec.json"),
        "--start",
        "3",
    ]
    subprocess.run(command, check=True)
    run(tmp_path / "spec.json", workers=0)
    assert sorted(p.name for p in (tmp_path / "out").glob("0*")) == ["0003", "0004"]
    refused = subprocess.run([*command[:-2], "--overwrite", "--mode", "raw"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "mode 'raw' needs the scan of shift 0" in refused.stderr


def test_golden_simple_dataset(tmp_path: Path) -> None:
    """No exponential and no logarithm: the same bytes wherever floats follow IEEE 754."""
    make("simple", tmp_path / "out")
    digest = hashlib.sha256(b"".join(name.encode() + data for name, data in files(tmp_path / "out").items())).hexdigest()
    assert digest == GOLDEN_SIMPLE
