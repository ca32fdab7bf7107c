"""What the golden datasets hold, and how those of this version are made: ``python tests/golden/golden_specs.py``.

A dataset that lies here is never made again: what a released version wrote is read by the tests of every later one. A new writer, or a new form of
an old one, gets a folder under the version that first wrote it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import curate_core

HERE = Path(__file__).parent

FORMS: dict[str, dict[str, Any]] = {
    "npy": {"use": "npy", "path": "{case}/{roi}.npy"},
    "npy-stack": {"use": "npy", "path": "all.npy", "stack": True},
    "tiff": {"use": "tiff", "path": "{case}/{roi}.tiff"},
    "png": {"use": "png", "path": "{case}/{roi}.png"},
    "itk-nrrd": {"use": "itk", "path": "{case}/{roi}.nrrd"},
    "itk-nifti": {"use": "itk", "path": "{case}/{roi}.nii.gz"},
    "blosc2": {"use": "blosc2", "path": "{case}/{roi}.b2nd", "patch": [4, 4]},
    "hdf5": {"use": "hdf5", "file": "all.h5"},
    "dwi-ml-hdf5": {"use": "dwi-ml-hdf5", "file": "all.hdf5"},
    "precomputed": {"use": "precomputed", "path": "all.precomputed"},
    "pair-hdf5": {"use": "pair-hdf5", "images": "all.h5", "views": ["image"]},
}
"""Folder -> the writer's step."""
VOLUMES = ("dwi-ml-hdf5",)
"""Forms that hold whole volumes, one a case; the others hold four tiles of each."""


def voxels(number: int) -> np.ndarray:
    """A section of (8, 12) uint8: the same with every numpy."""
    state = (np.arange(96, dtype=np.uint64) + np.uint64(1 + number)) * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    return (state >> np.uint64(56)).astype(np.uint8).reshape(8, 12)


def volume(number: int) -> np.ndarray:
    """The same values as (z, y, x) of (4, 4, 6)."""
    return voxels(number).reshape(4, 4, 6)


def expected(form: str) -> list[tuple[str, np.ndarray]]:
    """(case, values) of each sample, in manifest order: four tiles of (4, 6) in each of two sections, or whole volumes."""
    if form in VOLUMES:  # float32 with the axes x, y, z, feature
        return [(case, volume(n).transpose(2, 1, 0)[..., None].astype(np.float32)) for n, case in enumerate(("a", "b"))]
    tiles = [(case, voxels(n)[y : y + 4, x : x + 6]) for n, case in enumerate(("a", "b")) for y in (0, 4) for x in (0, 6)]
    if form == "pair-hdf5":  # float32 with the axes view, x, y
        return [(case, tile.T[None].astype(np.float32)) for case, tile in tiles]
    return tiles


def rois(form: str, folder: Path) -> dict[str, Any]:
    """The finder of a form; sections are numbered, over all cases, by a file in ``folder``."""
    if form == "precomputed":
        places = [(case, y, x) for case in ("a", "b") for y in (0, 4) for x in (0, 6)]
        boxes = [{"case": case, "axes": "yx", "start": [y, x], "stop": [y + 4, x + 6]} for case, y, x in places]
        lines = [json.dumps({**box, "attributes": {"pair": number}}) for number, box in enumerate(boxes)]
        (folder / "rois.jsonl").write_text("\n".join(lines) + "\n")
        return {"use": "list", "file": "rois.jsonl"}
    return {"use": "whole"} if form in VOLUMES else {"use": "grid", "size": [4, 6]}


def make(form: str, out: Path) -> None:
    """Write the dataset of one form."""
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(("a", "b")):
            array = volume(number) if form in VOLUMES else voxels(number)
            np.save(Path(folder) / f"training-{case}.npy", array, allow_pickle=False)
        spec = {
            "version": 1,
            "name": f"golden-{form}",
            "description": "Read by the tests of every later version.",
            "source": {"use": "files", "pattern": "{split}-{case}.npy"},
            "read": {"*": {"use": "npy", "spacing": [2.0] * (3 if form in VOLUMES else 2), "unit": "mm"}},
            "rois": [rois(form, Path(folder))],
            "write": [FORMS[form]],
            "output": str(out),
            "engine": {"use": "local", "workers": 0},
        }
        curate_core.run(spec, folder=Path(folder))
    shutil.rmtree(out / ".curate")  # what a later run would continue from, no part of the dataset


if __name__ == "__main__":
    for name in FORMS:
        place = HERE / curate_core.__version__ / name
        if not place.exists():
            make(name, place)
