"""What pages take for granted: files that lie in the folder in which their examples run."""

import json
import runpy
from pathlib import Path

import numpy as np

from curate_core.runner import run
from curate_core.testing import run_spec

ROOT = Path(__file__).parents[2]
GRID = {"source": {"use": "files", "pattern": "{case}.npy"}, "rois": [{"use": "grid", "size": 32}]}
NPY = {"write": [{"use": "npy", "path": "{case}/{roi}.npy"}]}


def shipped(name: str, folder: Path, output: str) -> None:
    """What a shipped spec makes of the data of its recipe."""
    place = folder / "data"
    place.mkdir()
    recipe = runpy.run_path(str(ROOT / "tests/specs/recipes" / f"{name.replace('/', '_')}.py"))["recipe"]
    run(ROOT / "specs" / f"{name}.json", settings=recipe(place), output=folder / output, workers=0)


def dataset(folder: Path) -> None:
    np.save(folder / "a.npy", np.random.default_rng(0).integers(0, 200, (64, 64), dtype=np.uint8))
    run_spec({**GRID, **NPY, "output": "out/quickstart"}, folder)


def listen_to_a_run(folder: Path) -> None:
    (folder / "scans").mkdir()
    for name in ("apple", "birch", "cedar"):
        scan = np.zeros((64, 64), np.uint8)
        scan[:32] = np.random.default_rng(len(name)).integers(0, 200, (32, 64), dtype=np.uint8)
        np.save(folder / "scans" / f"{name}.npy", scan)
    source = {"use": "files", "pattern": "scans/{case}.npy"}
    spec = {
        "version": 1,
        "name": "tiles",
        "output": "tiles",
        **GRID,
        **NPY,
        "source": source,
        "filter": [{"use": "intensity", "min_std": 10}],
    }
    (folder / "spec.json").write_text(json.dumps({**spec, "engine": {"use": "local", "workers": 0}}))


def stripe_mask(folder: Path) -> None:
    angle, row, column = np.mgrid[:120, :4, :80]
    ball = 2 * np.exp(-(((column - 40 - 20 * np.sin(angle / 120 * np.pi)) / 15.0) ** 2)) + 0.01 * row
    np.save(folder / "clean_rows.npy", ball + np.random.default_rng(0).normal(0, 0.005, ball.shape))


def hdf5(folder: Path) -> None:
    (folder / "nissl").mkdir()
    np.save(folder / "nissl" / "a.npy", np.zeros((8, 8, 8), np.uint8))
    source = {"use": "files", "pattern": "{stain}/{case}.npy"}
    writer = {"use": "hdf5", "file": "data.h5", "path": "{stain}/{case}"}
    run_spec({"source": source, "rois": [{"use": "whole"}], "write": [writer], "output": "out/volumes"}, folder)


def blosc2(folder: Path) -> None:
    np.save(folder / "case.npy", np.zeros((16, 32, 40), np.uint8))
    run_spec({**GRID, "rois": [{"use": "whole"}], "write": [{"use": "blosc2", "path": "{case}/ct.b2nd"}]}, folder)
    (folder / "case").symlink_to(folder / "out/case")


def pet(folder: Path) -> None:
    np.save(folder / "a.npy", np.random.default_rng(0).random((66, 64, 70), dtype=np.float32))
    source = {"use": "files", "pattern": "{case}.npy", "layer": "100pc"}
    spec = {"version": 1, "name": "pet", "source": source, "rois": [{"use": "whole"}], **NPY, "output": "out"}
    (folder / "spec.json").write_text(json.dumps(spec))


def dmri(folder: Path) -> None:
    shipped("dmri/hdf5", folder, "tracto")


SCENES = {
    "docs/reference/dataset.md": dataset,
    "docs/how-to/listen-to-a-run.md": listen_to_a_run,
    "docs/how-to/stripe-mask.md": stripe_mask,
    "plugins/curate-hdf5/README.md": hdf5,
    "plugins/curate-blosc2/README.md": blosc2,
    "plugins/curate-pet/README.md": pet,
    "plugins/curate-dmri/README.md": dmri,
}
"""Page -> what puts its files into an empty folder."""


def set_up(page: Path, folder: Path) -> None:
    """Put into an empty folder what a page takes for granted."""
    scene = SCENES.get(page.relative_to(ROOT).as_posix())
    if scene is not None:
        scene(folder)
