"""Pairs of sections: a run of specs/align/pairs.json against a loop over cloud-volume, both as processes of their own, in one run.

python benchmarks/align_pairs.py [--pairs 12] [--size 256] [--repeats 3]

Needs curate-align and cloud-volume; Linux. A layer of 1024 x 1024 x 12 pixels of mip 5, its masks of mips 6 and 4, written by cloud-volume;
no field, as the loop would need one more library. The loop does what metroem does: a cutout of each layer, bilinear to the mip of the
image, masks thresholded and joined, a reference region of twice the size, HDF5 with LZF. CPU is that of the whole process, without
workers, with the bytecode that installed packages have; memory its peak of resident memory. Exit code 1 if the images differ by more than
1e-4 where no mask is near.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import h5py
import numpy as np

print = functools.partial(print, flush=True)
SPEC = Path(__file__).parents[1] / "specs" / "align" / "pairs.json"
WRITE = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from cloudvolume import CloudVolume
from scipy import ndimage
folder = sys.argv[1]
rng = np.random.default_rng(0)
layers = {"image": (5, 128 + 40 * ndimage.gaussian_filter(rng.normal(size=(1024, 1024, 12)), (2, 2, 0)) * 5),
          "fold": (6, 255.0 * (rng.random((512, 512, 12)) > 0.9995)), "tissue": (4, 255.0 * (rng.random((2048, 2048, 12)) > 0.9999))}
for name, (mip, values) in layers.items():
    info = CloudVolume.create_new_info(1, "image", "uint8", "raw", (8, 8, 40), (0, 0, 0), chunk_size=(1024, 1024, 1),
                                       volume_size=(1024 * 32, 1024 * 32, 12))
    volume = CloudVolume(f"precomputed://file://{folder}/layers/{name}", info=info, compress=False, progress=False)
    for level in range(1, mip + 1):
        volume.add_scale((2**level, 2**level, 1), chunk_size=(1024, 1024, 1))
    volume.commit_info()
    volume = CloudVolume(f"precomputed://file://{folder}/layers/{name}", mip=mip, compress=False, progress=False)
    volume[:, :, :] = np.clip(values, 1, 255).astype(np.uint8)[..., None]
"""
THEIRS = """
import sys, warnings
warnings.simplefilter("ignore")
import json, h5py, numpy as np
from cloudvolume import CloudVolume
from scipy import ndimage
folder, out, pairs, size = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
volumes = {name: CloudVolume(f"precomputed://file://{folder}/layers/{name}", mip=mip, progress=False, fill_missing=True, bounded=False)
           for name, mip in (("image", 5), ("fold", 6), ("tissue", 4))}
def get(name, mip, x, y, z, n):
    f = 2.0 ** (5 - mip)
    box = np.asarray(volumes[name][int(x * f) : int((x + n) * f), int(y * f) : int((y + n) * f), z])[:, :, 0, 0].T.astype(np.float32)
    if f == 1: return box
    return ndimage.zoom(box, 1 / f, order=1, grid_mode=True, mode="nearest") if f < 1 else box.reshape(n, 2, n, 2).mean(axis=(1, 3))
with h5py.File(out, "w") as file:
    main = file.create_dataset("main", (len(pairs), 2, size, size), "f4", chunks=(1, 1, size, size), compression="lzf")
    for k, pair in enumerate(pairs):
        for i, (x, y, z) in enumerate(pair):
            found = []
            for n in (size, 2 * size):
                low = (size - n) // 2
                a, b = x + low, y + low
                image = get("image", 5, a, b, z, n)
                mask = (get("fold", 6, a, b, z, n) >= 178) | (get("tissue", 4, a, b, z, n) >= 178)
                found.append((image, mask))
            (image, mask), (reference, hidden) = found
            seen = reference[(reference != 0) & ~hidden]
            main[k, i] = np.where(mask | (image == 0), 0, (image - seen.mean()) / seen.std(ddof=1)).T
"""
OURS = """
import json, sys
from curate_core.runner import run
raise SystemExit(run(json.load(open(sys.argv[1])), folder=sys.argv[2], output=sys.argv[3], workers=0).exit_code)
"""


def measured(script: str, *arguments: object) -> tuple[float, float]:
    """CPU seconds and peak resident memory in MB of a Python process and its children; a small process starts it, as Linux keeps the
    peak of whoever forks.
    """
    meter = (
        "import json, resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000]))"
    )
    command = [sys.executable, "-c", meter, sys.executable, "-c", script, *map(str, arguments)]
    code, cpu, memory = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if code:
        raise SystemExit(f"a process ended with {code}")
    return cpu, memory


def main() -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    warnings.simplefilter("ignore")
    size = options.size
    rng = np.random.default_rng(1)
    places = rng.integers(size, 1024 - 2 * size, (options.pairs, 2))
    sections = rng.integers(0, 11, options.pairs)
    pairs = [[[int(x), int(y), int(z)], [int(x), int(y), int(z) + 1]] for (x, y), z in zip(places, sections, strict=True)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-c", WRITE, str(folder)], check=True, stdout=subprocess.DEVNULL)
        spec = json.loads(SPEC.read_text(encoding="utf-8"))
        spec["source"]["root"] = str(folder)
        del spec["source"]["cases"][0]["layers"]["field"]
        spec["preprocess"][0]["layers"] = ["image"]
        listed = [[[x * 32, y * 32, z] for x, y, z in pair] for pair in pairs]
        spec["rois"] = [{"use": "point-pairs", "pairs": listed, "size": [size, size]}]
        spec["transform"] = [{**spec["transform"][2], "reference_size": [2 * size, 2 * size]}]
        spec["write"] = [{"use": "pair-hdf5", "images": "images.h5"}]
        (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        ours, theirs = [], []
        for turn in range(options.repeats):
            theirs.append(measured(THEIRS, folder, folder / f"theirs{turn}.h5", json.dumps(pairs), size))
            ours.append(measured(OURS, folder / "spec.json", folder, folder / f"out{turn}"))
        with h5py.File(folder / "theirs0.h5") as one, h5py.File(folder / "out0" / "images.h5") as two:
            difference = np.abs(one["main"][:] - two["main"][:])
        far = float((difference > 1e-4).mean())
        print(f"{options.pairs} pairs of {size} x {size}, medians of {options.repeats}")
        for title, found in (("curate run", ours), ("cloud-volume loop", theirs)):
            print(f"  {title:18} {np.median([cpu for cpu, _ in found]):6.2f} s CPU {max(memory for _, memory in found):6.0f} MB")
        ratio = np.median([b / a for (a, _), (b, _) in zip(ours, theirs, strict=True)])
        print(f"  the loop takes {ratio:.1f} times the CPU; {100 * far:.2f} % of pixels differ by more than 1e-4")
    return int(far > 0.01)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    raise SystemExit(main())
