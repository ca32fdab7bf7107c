"""The plugin as a whole, preprocessors held to their contract, and the importer."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from curate_tomo.flatfields import FlatFields
from curate_tomo.foam import SphereFoam
from curate_tomo.nostripesnet import MODES, NoStripesNet
from curate_tomo.project import Project

from curate_core import Case, LayerSource, RequestError
from curate_core.host import default_host
from curate_core.testing import ImporterTests, PluginTests, PreprocessorTests, context

README = Path(__file__).parents[1] / "README.md"


class TestTomoPlugin(PluginTests):
    plugin_module = "curate_tomo.plugin"
    distribution = "curate-tomo"
    readme = README
    examples: ClassVar[dict[str, Any]] = {"source:numbered-scans": {"first": "1000.nxs"}}


def foam() -> Case:
    return Case("0", {"clean": SphereFoam(size=12, objects=5).open(LayerSource(), context("sphere-foam", case="0"))})


class TestProject(PreprocessorTests):
    component = Project
    options: ClassVar[dict[str, Any]] = {"angles": 7}
    lazy = False  # it looks for objects, which a lazy array of voxels has not

    def case(self) -> Case:
        return foam()


class TestFlatFields(PreprocessorTests):
    component = FlatFields
    options: ClassVar[dict[str, Any]] = {"shifts": 2, "shiftstep": 1.5, "blur": 0.7, "zingers": 0.01}
    axes = "zax"
    dtype = "float32"

    def case(self) -> Case:
        return Project(angles=7).apply(foam(), context())


class TestFlatFieldsOfTheOriginal(TestFlatFields):
    options: ClassVar[dict[str, Any]] = {"shifts": 2, "compat": True}
    lazy = False  # each projection's noise depends on all of its rows


class TestNoStripesNet(ImporterTests):
    component = NoStripesNet
    text = "samples=3\npython -m simulator.data_generator -m complex --samples $samples \\\n  --size 64 -s 2\n"
    needs = ("curate-tiff",)
    takes_nothing = True  # the generator has a default for everything


class TestNoStripesNetOfScans(TestNoStripesNet):
    text = "python -m simulator.data_generator -m raw --hdf-root 1000.nxs --flats 998.nxs\n"
    needs = ("curate-hdf5", "curate-tiff")


def convert(text: str = "", **flags: Any) -> dict[str, Any]:
    return NoStripesNet(**flags).convert(text, Path())


DOCUMENT = {
    "output": "./data", "name": "tomo-complex", "source.samples": 1, "source.start": 0, "read.clean.size": 256, "read.clean.objects": 300,
    "preprocess.1.shifts": 5, "preprocess.1.shiftstep": 2, "preprocess.1.flatsnum": 20, "preprocess.1.I0": 40000,
}  # fmt: skip


def look_up(spec: Any, path: str) -> Any:
    for part in path.split("."):
        spec = spec[int(part)] if isinstance(spec, list) else spec[part]
    return spec


def test_defaults_are_those_of_the_document() -> None:
    spec = convert()
    assert {path: look_up(spec, path) for path in DOCUMENT} == DOCUMENT


@pytest.mark.parametrize(
    ("flags", "path", "value"),
    [
        ("--root out", "output", "out"), ("-r out", "output", "out"), ("--samples 7", "source.samples", 7), ("--start=5", "source.start", 5),
        ("-N 64", "read.clean.size", 64), ("--size 64", "read.clean.size", 64), ("-o 9", "read.clean.objects", 9),
        ("--objects 9", "read.clean.objects", 9), ("-s 3", "preprocess.1.shifts", 3), ("--shifts 3", "preprocess.1.shifts", 3),
        ("-p 4", "preprocess.1.shiftstep", 4), ("--shiftstep 4", "preprocess.1.shiftstep", 4), ("-f 8", "preprocess.1.flatsnum", 8),
        ("--flatsnum 8", "preprocess.1.flatsnum", 8), ("-I 1e4", "preprocess.1.I0", 10000), ("--I0 9.5", "preprocess.1.I0", 9.5),
        ("-m simple", "transform.0.use", "add-stripes"), ("--mode complex -v", "preprocess.1.use", "flat-fields"),
        ("--hdf-root a.nxs -C 99 --chunk-size 99 --flats b.nxs --mask m.npz --frame-angles 10 --patch-size 5 6 -s 2", "preprocess.1.shifts", 2),
    ],
)  # fmt: skip
def test_every_flag_of_the_document(flags: str, path: str, value: Any) -> None:
    assert look_up(convert(flags if flags.startswith("-") else ""), path) == value
    assert look_up(convert(f"python3 -m simulator.data_generator {flags}"), path) == value


SCRIPT = """#!/bin/bash
#SBATCH --time=01:00:00
# module load python
export mode=simple
size=64
root="my data"
cd somewhere
python -m simulator.data_generator --mode "$mode" -N ${size} \\
    --root "$root" --verbose \\
    -s 3
echo done
"""


def test_scripts_with_variables() -> None:
    spec = convert(SCRIPT)
    assert (spec["output"], spec["read"]["clean"]["size"], spec["transform"][0]["use"]) == ("my data", 64, "add-stripes")
    assert convert(SCRIPT, size=32, mode="complex")["read"]["clean"]["size"] == 32
    assert convert(SCRIPT, mode="complex")["preprocess"][1]["shifts"] == 3


@pytest.mark.parametrize("mode", ["simple", "complex"])
def test_specs_of_both_modes_are_valid(mode: str) -> None:
    from curate_core.spec import validate

    spec = convert("", mode=mode)
    spec["write"] = [{"use": "npy", "path": "{case}/{array}/{row:04}.npy"}]  # curate-tiff may not be installed here
    validate(spec, default_host(), Path(), "imported")


def test_an_unknown_mode_is_refused_by_listing_all() -> None:
    with pytest.raises(RequestError, match="'paried' is not a mode: one of simple, complex, raw, paired, dynamic, patch"):
        convert("-m paried")
    assert MODES == ("simple", "complex", "raw", "paired", "dynamic", "patch")


REAL = {
    "source.first": "a/7.nxs", "source.start": 3, "source.shifts": 2, "source.shiftstep": 4, "read.scan.flats": "b.nxs",
    "read.scan.chunk": 99, "preprocess.1.archive": "m.npz", "rois.0.frame_angles": 10, "rois.0.size": [5, 6], "output": "out",
}  # fmt: skip
FLAGS = (
    "--hdf-root a/7.nxs -C 99 --flats b.nxs --mask m.npz --frame-angles 10 --patch-size 5 6 -s 2 -p 4 --start 3 -r out -N 64 --samples 1"
)
UNUSED = {
    "raw": {"preprocess.1.archive", "rois.0.frame_angles", "rois.0.size"},
    "paired": {"rois.0.frame_angles", "rois.0.size"},
    "dynamic": {"preprocess.1.archive", "source.shifts", "source.shiftstep", "rois.0.size"},
    "patch": {"rois.0.frame_angles"},
}


@pytest.mark.parametrize("mode", MODES[2:])
def test_every_flag_of_real_scans(mode: str) -> None:
    spec = convert(f"{FLAGS} --mode {mode}")
    wanted = {path: value for path, value in REAL.items() if path not in UNUSED[mode]}
    assert {path: look_up(spec, path) for path in wanted} == wanted
    assert convert(f"--hdf-root 1000.nxs -m {mode}") == convert("", mode=mode, hdf_root="1000.nxs")


@pytest.mark.parametrize("mode", MODES[2:])
def test_what_real_scans_need(mode: str) -> None:
    with pytest.raises(RequestError, match=f"mode '{mode}' needs the scan of shift 0 .*--hdf-root"):
        convert(f"--mode {mode}")
    with pytest.raises(RequestError, match=r"--samples 3 writes the same scan 3 times, under other numbers"):
        convert(f"--mode {mode} --hdf-root 1000.nxs --samples 3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-N big", "-N needs a number, not big"),
        ("-N", "-N needs a value, not nothing"),
        ("--patch-size 5", "--patch-size needs two whole numbers, not 5"),
        ("--shitfs 5", "has no flag '--shitfs'"),
        ("-S 5", "has no flag '-S'"),
        ("-m", "--mode|-m needs a value"),
        ("python -m simulator.data_generator -N $n", "does not set the variable 'n'"),
        ("echo hello", "neither a command with data_generator"),
        ("python -m simulator.data_generator -r 'a", "cannot be split into words"),
    ],
)
def test_mistakes_on_command_lines(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        convert(text)


GOLDEN_PHOTONS = [[39480, 39979, 39925, 39990, 39697], [39860, 39909, 39819, 39839, 40097], [39858, 39871, 39536, 40109, 40023]]


def test_golden_sample() -> None:
    """Integers that the same key must always give; another result raises the component's version."""
    case = FlatFields(shifts=1).apply(TestFlatFields().case(), context("flat-fields", case="0", statistics={"maximum": 4.0}))
    photons = np.rint(np.exp(-case.image("clean").array[6, :3, 4:9].astype(float) / 4) * 40000).astype(int)
    assert photons.tolist() == GOLDEN_PHOTONS
    assert FlatFields.version == 1
