"""Reading .nii.gz: our reader against nibabel, on noisy int16 as a CT has it, in one run.

python benchmarks/nifti_reading.py [--size 256 256 160] [--times 5]

Needs curate-nifti. Prints CPU seconds (the best of some runs, all threads counted) and their ratios. Exit code 1 if voxels differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from curate_nifti.reader import NiftiReader

from curate_core import Context, LayerSource, read


def ct_like(size: tuple[int, int, int]) -> Any:
    """Air, a body and a bone, with noise: compresses to about two thirds."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in size), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    values = np.where(radius < 0.8, 40.0, -1000.0) + np.where(radius < 0.2, 800.0, 0.0)
    return (values + np.random.default_rng(0).normal(0, 30, size)).astype(np.int16)


def ours(path: Path) -> Any:
    return read(NiftiReader().open(LayerSource((path,)), Context("read", 0)).array)


def dataobj(path: Path) -> Any:
    return np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]


def fdata(path: Path) -> Any:
    return nibabel.load(path).get_fdata()  # type: ignore[attr-defined]


def cpu(act: Callable[[Path], Any], path: Path, times: int) -> float:
    """CPU seconds of the cheapest of some runs."""
    found = []
    for _ in range(times):
        started = time.process_time()
        act(path)
        found.append(time.process_time() - started)
    return min(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(256, 256, 160), metavar=("X", "Y", "Z"))
    parser.add_argument("--times", type=int, default=5)
    chosen = parser.parse_args()
    values = ct_like(tuple(chosen.size))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ct.nii.gz"
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)  # type: ignore[attr-defined]
        same = np.array_equal(ours(path), dataobj(path).T)  # imports, too
        packed = path.stat().st_size
        seconds = {act.__name__: cpu(act, path, chosen.times) for act in (ours, dataobj, fdata)}
    size = " x ".join(map(str, chosen.size))
    print(f"{size} int16, {values.nbytes / 1e6:.1f} MB, {packed / 1e6:.1f} MB gzipped; nibabel {nibabel.__version__}")
    print(f"{'':<34}{'CPU s':>8}{'MB/s':>8}{'ours is':>10}")
    for name, label in (("ours", "curate-nifti"), ("dataobj", "nibabel, np.asarray(dataobj)"), ("fdata", "nibabel, get_fdata()")):
        spent = seconds[name]
        print(f"{label:<34}{spent:>8.3f}{values.nbytes / 1e6 / spent:>8.0f}{spent / seconds['ours']:>8.2f} x")
    print("voxels are equal" if same else "VOXELS DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
