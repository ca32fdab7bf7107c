"""Raw mode of real scans: a run of specs/tomo/raw.json against resizing with scikit-image, writing, reloading and rewriting, in one run.

python benchmarks/tomo_real.py [--angles 1801] [--rows 48] [--columns 2560] [--more 3]

Needs curate-tomo, curate-hdf5, curate-tiff, scikit-image; Linux. The other way is the one that the source document describes: read a chunk,
normalise, resize each sinogram, write it as floats; then load all files, scale by least and greatest value, write 16 bits. Both
are processes of their own; our chunks of rows are held to 100 MB. Memory is the peak of anonymous memory, for ``--rows`` and for
``--more`` times as many. Exit code 1 if the images differ by more than float32 makes them.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile

print = functools.partial(print, flush=True)
SPEC = Path(__file__).parents[1] / "specs" / "tomo" / "raw.json"
OURS = """
import sys
from curate_core.runner import run
settings = [f"source.first={sys.argv[2]}", "source.shifts=1", "read.scan.memory=100 MB"]
raise SystemExit(run(sys.argv[1], settings=settings, output=sys.argv[3], workers=0).exit_code)
"""
THEIRS = """
import sys
from pathlib import Path
import h5py, numpy as np, tifffile
from skimage.transform import resize
path, out = sys.argv[2], Path(sys.argv[3])
out.mkdir()
with h5py.File(path) as file:
    data, key = file["entry1/tomo_entry/data/data"], file["entry1/tomo_entry/instrument/detector/image_key"][()]
    flat, dark = data[key == 1].mean(axis=0), data[key == 2].mean(axis=0)
    frames = np.flatnonzero(key == 0)
    for first in range(0, data.shape[1], 243):
        rows = slice(first, first + 243)
        chunk = data[frames[0] : frames[-1] + 1, rows]
        for row in range(chunk.shape[1]):
            x = (chunk[:, row] - dark[first + row]) / np.maximum(flat[first + row] - dark[first + row], 1e-6)
            x[x <= 0] = 1e-9
            small = resize(-np.log(x), (402, 362), order=1, anti_aliasing=True)
            tifffile.imwrite(out / f"{first + row:04}.tif", small.astype(np.float32))
files = sorted(out.glob("*.tif"))
whole = np.stack([tifffile.imread(file).astype(np.float64) for file in files])
low, high = whole.min(), whole.max()
for file, image in zip(files, whole):
    tifffile.imwrite(file, np.clip((image - low) / (high - low) * 65535 + 0.5, 0, 65535).astype(np.uint16))
"""


def scan(path: Path, angles: int, rows: int, columns: int) -> None:
    """Noisy projections of a ball; two darks, ten flats, projections, ten flats."""
    rng = np.random.default_rng(0)
    gain = rng.normal(20_000, 500, (rows, columns))
    s = np.linspace(-1, 1, columns)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("entry1/tomo_entry/data/data", (angles + 22, rows, columns), "u2")
        key = np.array([2] * 2 + [1] * 10 + [0] * angles + [1] * 10)
        for index, kind in enumerate(key):
            depth = 2 * np.sqrt(np.maximum(0, 0.09 - (s - 0.4 * np.cos(np.pi * index / angles)) ** 2)) if kind == 0 else 0
            beam = 0 if kind == 2 else gain * np.exp(-2 * depth)
            data[index] = rng.poisson(100, (rows, columns)) + beam
        file["entry1/tomo_entry/instrument/detector/image_key"] = key


def anonymous(pid: int) -> float:
    """Anonymous memory of a process, MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))


def timed(script: str, path: Path, out: Path) -> tuple[float, float]:
    """Seconds and peak anonymous MB of a process."""
    started, peak = time.perf_counter(), 0.0
    child = subprocess.Popen([sys.executable, "-c", script, str(SPEC), str(path), str(out)])
    while child.poll() is None:
        peak = max(peak, anonymous(child.pid))
        time.sleep(0.005)
    if child.returncode:
        raise SystemExit(child.returncode)
    return time.perf_counter() - started, peak


def difference(ours: Path, theirs: Path) -> tuple[float, int]:
    """Greatest difference of values, as a share of their range, and how many images there are."""
    first = json.loads((ours / "manifest.jsonl").read_text().splitlines()[0])["attributes"]
    found = [tifffile.imread(file).astype(float) for file in sorted(ours.glob("0000/shift00/*.tif"))]
    expected = [tifffile.imread(file).astype(float) for file in sorted(theirs.glob("*.tif"))]
    assert first["scale_high"] > first["scale_low"]
    return max(float(np.abs(a - b).max()) / 65535 for a, b in zip(found, expected, strict=True)), len(found)


def main() -> int:
    parser: Any = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--angles", type=int, default=1801)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--columns", type=int, default=2560)
    parser.add_argument("--more", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan(folder / "1000.nxs", chosen.angles, chosen.rows, chosen.columns)
        ours = timed(OURS, folder / "1000.nxs", folder / "ours")
        theirs = timed(THEIRS, folder / "1000.nxs", folder / "theirs")
        error, count = difference(folder / "ours", folder / "theirs")
        print(f"{count} sinograms of {chosen.angles} x {chosen.columns} to 402 x 362; sinograms a second, one process")
        print(f"{'scikit-image, write, reload, rewrite':<40} {count / theirs[0]:8.2f} {theirs[1]:8.0f} MB")
        print(f"{'curate run':<40} {count / ours[0]:8.2f} {ours[1]:8.0f} MB {theirs[0] / ours[0]:8.1f} x")
        scan(folder / "2000.nxs", chosen.angles, chosen.rows * chosen.more, chosen.columns)
        more = timed(OURS, folder / "2000.nxs", folder / "more")
        print(f"{f'curate run, {chosen.more} times the rows':<40} {count * chosen.more / more[0]:8.2f} {more[1]:8.0f} MB")
        print(f"greatest difference, of the range: {error:.1e}")
    return 0 if error < 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main())
