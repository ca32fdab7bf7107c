"""The whole of patchify3d against the loop that a lab writes: SimpleITK, Pillow, ImageHash, a numpy loop, Pillow again.

Four volumes of 256 x 512 x 512 bytes, or of another shape (the loop's removal is quadratic in the tiles of a volume), three axes,
tiles of 224, near-duplicates dropped within each volume, kept tiles written as TIFF.
Both run as whole processes on one core, in turn, with numba's cache warm; CPU seconds are what the system counts for the process.
The two draw different random orders, so that they keep different tiles of much the same number.

    python benchmarks/patchify3d.py [--runs 3] [--volumes 4] [--shape 256 512 512]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

LOOP = """
import sys
from pathlib import Path
import imagehash, numpy as np, SimpleITK
from PIL import Image
source, target = Path(sys.argv[1]), Path(sys.argv[2])
for file in sorted(source.glob("*.nrrd")):
    volume = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
    tiles, names, hashes = [], [], []
    for axis in range(3):
        for index in range(volume.shape[axis]):
            section = volume.take(index, axis)
            for y in range(max(1, round(section.shape[0] / 224))):
                for x in range(max(1, round(section.shape[1] / 224))):
                    tile = section[y * 224 : y * 224 + 224, x * 224 : x * 224 + 224]
                    tiles.append(tile)
                    names.append(f"{file.stem}-LOC-{axis}_{index:03}_{y * 224}-{y * 224 + 224}_{x * 224}-{x * 224 + 224}.tiff")
                    hashes.append(imagehash.dhash(Image.fromarray(tile)).hash.ravel())
    hashes = np.array(hashes)
    order = np.random.default_rng(0).permutation(len(tiles))
    kept = []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        order = order[(hashes[order] != hashes[first]).sum(axis=1) > 12]
    folder = target / file.stem
    folder.mkdir(parents=True)
    for i in kept:
        Image.fromarray(tiles[i]).save(folder / names[i])
"""


def make_volumes(folder: Path, count: int, shape: tuple[int, ...]) -> None:
    """Smooth noise with the grain of tissue, as uncompressed NRRD of axes z, y, x."""
    import numpy as np
    import SimpleITK

    for number in range(count):
        noise = SimpleITK.GetImageFromArray(np.random.default_rng(number).standard_normal(shape, dtype=np.float32))
        smooth = SimpleITK.RescaleIntensity(SimpleITK.SmoothingRecursiveGaussian(noise, 3.0), 0, 255)
        volume = SimpleITK.Cast(smooth, SimpleITK.sitkUInt8)
        volume.SetSpacing((4.0, 4.0, 4.0))
        SimpleITK.WriteImage(volume, str(folder / f"volume{number}.nrrd"))


def timed(command: list[str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak anonymous memory in MB of a whole process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    if process.wait() != 0:
        raise SystemExit(f"{command[:4]} failed")
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - started, peak[0]


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            return
        peak[0] = max([peak[0], *(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))])
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--volumes", type=int, default=4)
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 512, 512))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "volumes").mkdir()
        make_volumes(folder / "volumes", arguments.volumes, tuple(arguments.shape))
        spec = {
            "version": 1,
            "name": "benchmark",
            "source": {"use": "files", "pattern": "volumes/{case}.nrrd"},
            "preprocess": [{"use": "to-uint8"}],
            "rois": [{"use": "em-sections"}],
            "filter": [{"use": "near-duplicates"}],
            "write": [{"use": "tiff", "path": "{case}/{roi}.tiff"}],
            "output": "ours",
            "engine": {"use": "local", "workers": 0},
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        ours = [sys.executable, "-m", "curate_core", "run", str(folder / "spec.json"), "-q"]
        loop = [sys.executable, "-c", LOOP, str(folder / "volumes"), str(folder / "loop")]
        rows = []
        for run in range(arguments.runs + 1):
            figures = []
            for command, output in ((ours, folder / "ours"), (loop, folder / "loop")):
                shutil.rmtree(output, ignore_errors=True)
                figures.append(timed(command))
            if run:  # the first warms caches
                rows.append(figures)
        kept = [sum(1 for _ in (folder / output).rglob("*.tiff")) for output in ("ours", "loop")]
    print(f"{'':10}{'CPU s':>8}{'wall s':>8}{'MB':>8}{'kept':>8}")
    for index, label in enumerate(("curate", "loop")):
        cpu, wall, memory = (statistics.median(row[index][i] for row in rows) for i in range(3))
        print(f"{label:10}{cpu:8.2f}{wall:8.2f}{memory:8.0f}{kept[index]:8}")
    print(f"CPU ratio curate / loop: {statistics.median(row[0][0] / row[1][0] for row in rows):.2f}")


if __name__ == "__main__":
    main()
