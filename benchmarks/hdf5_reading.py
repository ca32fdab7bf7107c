"""Random patches of a volume: our HDF5 layouts against a memory-mapped .npy file and the HDF5 file that one would write, in one run.

python benchmarks/hdf5_reading.py [--shape 256 384 384] [--patch 128] [--reads 40]

Needs curate-hdf5 and scipy. The volume is float32 with the few significant bits that a PET or CT scan has. Prints milliseconds of CPU a
patch, sizes, and ratios; files are in the system's cache. Exit code 1 if values differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.ndimage import gaussian_filter

from curate_core.arrays import box, read
from curate_core.testing import run_spec

Cut = Callable[[Any], Any]
OURS: dict[str, dict[str, Any]] = {
    "ours, patch, gzip": {"compression": "gzip"},
    "ours, patch, lzf": {"compression": "lzf"},
    "ours, uncompressed": {"compression": "none"},
}


def volume_of(shape: tuple[int, ...]) -> Any:
    """Smooth structures and noise, as whole numbers."""
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(size=shape).astype(np.float32), 2)
    return np.rint(500 * smooth + rng.normal(size=shape)).astype(np.float32)


def milliseconds(cut: Cut, boxes: list[Any]) -> float:
    """CPU time of a patch, after one to warm up."""
    cut(boxes[0])
    started = time.process_time()
    for where in boxes:
        cut(where)
    return (time.process_time() - started) / len(boxes) * 1e3


def dataset_of(folder: Path, name: str, patch: int, options: dict[str, Any]) -> tuple[Any, Path]:
    chosen = {} if options["compression"] == "none" else {"patch": [patch] * 3}
    spec = {
        "source": {"use": "files", "pattern": "{case}.npy"},
        "rois": [{"use": "whole"}],
        "write": [{"use": "hdf5", "path": "{case}", **options, **chosen}],
        "output": name,
    }
    return run_spec(spec, folder).lazy(0)["image"], folder / name / "data.h5"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 384, 384))
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--reads", type=int, default=40)
    chosen = parser.parse_args()
    rng = np.random.default_rng(1)
    starts = [[int(rng.integers(0, n - chosen.patch + 1)) for n in chosen.shape] for _ in range(chosen.reads)]
    boxes = [box(start, [a + chosen.patch for a in start]) for start in starts]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        volume = volume_of(tuple(chosen.shape))
        np.save(folder / "scan.npy", volume)
        with h5py.File(folder / "naive.h5", "w") as file:
            file.create_dataset("scan", data=volume, chunks=(64, 64, 64), compression="gzip")
        mapped = np.load(folder / "scan.npy", mmap_mode="r", allow_pickle=False)
        naive = h5py.File(folder / "naive.h5")
        cuts: dict[str, tuple[Cut, Path]] = {
            "h5py, chunks of 64^3, gzip": (lambda where: naive["scan"][where], folder / "naive.h5"),
            "numpy, memory-mapped": (lambda where: np.array(mapped[where]), folder / "scan.npy"),
        }
        for number, (label, options) in enumerate(OURS.items()):
            array, path = dataset_of(folder, f"out{number}", chosen.patch, options)
            cuts[label] = (lambda where, array=array: np.array(read(array, where)), path)
        same = all(np.array_equal(cut(where), volume[where]) for cut, _ in cuts.values() for where in boxes[:3])
        slow = milliseconds(cuts["h5py, chunks of 64^3, gzip"][0], boxes)
        print(f"{'':<28} {'ms a patch':>10} {'times faster':>12} {'bytes':>6}")
        for label, (cut, path) in cuts.items():
            took = slow if label.startswith("h5py") else milliseconds(cut, boxes)
            print(f"{label:<28} {took:>10.1f} {slow / took:>12.1f} {path.stat().st_size / volume.nbytes:>6.2f}")
        naive.close()
    print("values are equal" if same else "VALUES DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
