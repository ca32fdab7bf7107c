"""Makes the scan of real-scans.md, and draws its pictures from what the specs make of it.

python docs/how-to/draw_real_scans.py [FOLDER]

Needs curate-tomo, curate-hdf5 and Pillow; writes docs/how-to/pictures/sinograms-scan-*.png, and leaves the scan in FOLDER if one is given.
The scan is simulated: a foam of spheres behind a detector with a beam profile and photon noise, some columns of which have become
weaker since the flat fields, in a part of the rows. The mask is where these are.
"""

from __future__ import annotations

import json
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from curate_tomo.foam import SphereFoam
from curate_tomo.project import Project

import curate_core
from curate_core import Case, LayerSource
from curate_core.kinds import Context, generator

HERE = Path(__file__).parent
SPECS = HERE.parents[1] / "specs" / "tomo"
SIZE, DARK, BEAM = 128, 100, 30_000
CLEAN, STRIPY = 40, 75
"""Rows that the pictures show."""


def make_scan(folder: Path) -> None:
    """1000.nxs, and m1000.npy beside it."""
    import h5py

    context, rng = Context("scan", 0, "0"), generator("a scan for the documentation")
    foam = SphereFoam(size=SIZE, objects=150).open(LayerSource(), context)
    depth = np.asarray(Project().apply(Case("0", {"clean": foam}), context).image("clean").array).transpose(1, 0, 2)
    depth = depth * (1.5 / depth.max())
    rows, columns = depth.shape[1:]
    gain = np.hanning(columns * 2)[columns // 2 : columns // 2 + columns] * rng.normal(1, 0.03, (rows, columns))
    weak, mask = np.ones((rows, columns)), np.zeros(depth.shape, bool)
    for column in rng.choice(columns - 20, 9, replace=False) + 10:
        first = int(rng.integers(60, 90))
        where = (slice(first, first + 25), slice(column, column + int(rng.integers(1, 4))))
        weak[where] = rng.uniform(0.75, 0.95)
        mask[(slice(None), *where)] = True
    beam = BEAM * gain
    counts = rng.poisson(beam * weak * np.exp(-depth)) + DARK
    flats, darks = rng.poisson(beam, (10, rows, columns)) + DARK, rng.poisson(DARK, (5, rows, columns))
    with h5py.File(folder / "1000.nxs", "w") as file:
        entry = file.create_group("entry1/tomo_entry")
        entry["data/data"] = np.concatenate([darks, flats, counts]).astype(np.uint16)
        entry["instrument/detector/image_key"] = np.array([2] * len(darks) + [1] * len(flats) + [0] * len(counts))
    np.save(folder / "m1000.npy", mask)


def samples(folder: Path) -> dict[int, Any]:
    """Row -> arrays that paired mode makes of the scan, at full resolution."""
    spec = json.loads((SPECS / "paired.json").read_text())
    spec["source"] |= {"shifts": 1, "beside": {"mask": "m{scan}.npy"}}
    spec["read"]["mask"] = {"use": "npy", "axes": "azx"}
    del spec["preprocess"][1]
    spec["transform"][1]["size"] = None
    spec["transform"][2] |= {"percentage": 4, "kind": "full", "variability": 0}
    spec["transform"][3]["to"] = "float32"
    dataset = curate_core.open(spec, folder=folder)
    return {row["attributes"]["row"]: dataset[index] for index, row in enumerate(dataset.rows())}


def main() -> None:
    """Make the scan, draw all."""
    import h5py

    draw = runpy.run_path(str(HERE / "draw_sinograms.py"))["draw"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        make_scan(folder)
        with h5py.File(folder / "1000.nxs") as file:
            raw = file["entry1/tomo_entry/data/data"][15:, STRIPY]
        found = samples(folder)
    fake, real = found[CLEAN], found[STRIPY]
    top = float(real["stripe"].max())
    draw("scan-raw", {"counts": (raw, 0, float(raw.max())), "-log": (real["stripe"], 0, top), "mask": (real["mask"], 0, 1)})
    draw("scan-fake", {"clean": (fake["clean"], 0, top), "stripe": (fake["stripe"], 0, top), "mask": (fake["mask"], 0, 1)})
    shown = {"stripe": (real["stripe"], 0, top), "clean (estimate)": (real["clean"], 0, top)}
    draw("scan-real", {**shown, "difference": (real["stripe"] - real["clean"], -top / 8, top / 8)})


if __name__ == "__main__":
    main()
