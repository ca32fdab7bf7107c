"""Sparse cubes: the rate from a local precomputed layer against cloud-volume's, and the memory that a file of 10 GB takes.

The layer holds raw chunks of 64 voxels, written by cloud-volume without compression. Cubes of 256 are read in the grid of the chunks, as
sparse-cubes draws them, and cubes of 64 at any place, both without a cache. What a user gets is the third figure: cloud-volume in the loop
of a download script, each cube written with SimpleITK as .nrrd, against a whole run of specs/em/ngff.json without workers, checksums and
records included. Seconds are without the imports of either. The volume of 10 GB is a sparse .nrrd with data in some cubes; memory is the
peak of what all processes of the run hold beside mapped files.

    python benchmarks/sparse_cubes.py [--runs 3] [--cubes 40] [--gigabytes 10]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE = 256
SHAPE = (512, 1024, 1024)
ROOT = Path(__file__).parents[1]

CLOUDVOLUME = """
import cloudvolume, numpy as np
layer = cloudvolume.CloudVolume(f"file://{folder}", mip=0, progress=False)

def read(z, y, x, size):
    return np.asarray(layer[x : x + size, y : y + size, z : z + size])
"""

CURATE = """
import curate_core
from curate_tensorstore.reader import TensorStoreReader
layer = TensorStoreReader(cache=0).open(curate_core.LayerSource(uri=f"precomputed://file://{folder}"), curate_core.Context("read", 0)).array

def read(z, y, x, size):
    return curate_core.read(layer, (slice(z, z + size), slice(y, y + size), slice(x, x + size)))
"""

WRITE = """
import SimpleITK

def read(z, y, x, size, inner=read):
    image = SimpleITK.GetImageFromArray(inner(z, y, x, size)[..., 0].transpose(2, 1, 0))
    image.SetSpacing((4, 4, 4))
    SimpleITK.WriteImage(image, f"{target}/{x}_{y}_{z}.nrrd")
"""

LOOP = """
import json, sys, time
folder, target, places, size = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
{setup}
wall, cpu = time.perf_counter(), time.process_time()
for place in places:
    read(*place, size)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""

RUN = """
import json, sys, time
import SimpleITK, tensorstore
from curate_core.runner import run
spec, output, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
wall, cpu = time.perf_counter(), time.process_time()
run(spec, settings=settings, output=output, workers=0)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def make_layer(folder: Path) -> None:
    """Noise by cloud-volume, with a coarser level."""
    import cloudvolume
    import numpy as np

    info = cloudvolume.CloudVolume.create_new_info(1, "image", "uint8", "raw", [4, 4, 4], [0, 0, 0], SHAPE[::-1], chunk_size=[64, 64, 64])
    volume = cloudvolume.CloudVolume(f"file://{folder}", info=info, compress=False, progress=False)
    volume.add_scale((16, 16, 16))
    volume.commit_info()
    rng = np.random.default_rng(0)
    for z in range(0, SHAPE[0], 64):
        volume[:, :, z : z + 64] = rng.integers(1, 256, (*SHAPE[:0:-1], 64), np.uint8)
    coarse = cloudvolume.CloudVolume(f"file://{folder}", mip=1, compress=False, progress=False)
    coarse[:, :, :] = np.full(coarse.shape, 100, np.uint8)


def timed(script: str, *words: str) -> tuple[float, float]:
    """Wall and CPU seconds that a script of its own process measures, its imports excluded."""
    done = subprocess.run([sys.executable, "-c", script, *words], check=True, capture_output=True, text=True)
    wall, cpu = done.stdout.split()[-2:]
    return float(wall), float(cpu)


def rates(folder: Path, runs: int) -> None:
    """Seconds of both for the same cubes."""
    import numpy as np

    make_layer(folder / "layer")
    (folder / "layers.csv").write_text("volume_name,download_url,mip,voxel_x,voxel_y,voxel_z\nlayer,precomputed://file://layer,0,4,4,4\n")
    settings = json.dumps([f"source.table={folder / 'layers.csv'}", f"source.root={folder}", "rois.0.gb=null"])
    grid = [(z, y, x) for z in range(0, SHAPE[0], SIZE) for y in range(0, SHAPE[1], SIZE) for x in range(0, SHAPE[2], SIZE)]
    anywhere = np.random.default_rng(0).integers(0, np.array(SHAPE) - 64, (300, 3)).tolist()
    tasks = {
        f"{len(grid)} cubes of 256 read": (grid, SIZE, CLOUDVOLUME, CURATE),
        "300 cubes of 64 anywhere read": (anywhere, 64, CLOUDVOLUME, CURATE),
        f"{len(grid)} cubes of 256 to .nrrd": (grid, SIZE, CLOUDVOLUME + WRITE, None),
    }
    for task, (places, size, theirs, ours) in tasks.items():
        rows = []
        for turn in range(runs + 1):
            for output in (folder / "ours", folder / "theirs"):
                shutil.rmtree(output, ignore_errors=True)
            (folder / "theirs").mkdir()
            words = (str(folder / "layer"), str(folder / "theirs"), json.dumps(places), str(size))
            loop = timed(LOOP.replace("{setup}", theirs), *words)
            if ours is None:
                mine = timed(RUN, str(ROOT / "specs/em/ngff.json"), str(folder / "ours"), settings)
            else:
                mine = timed(LOOP.replace("{setup}", ours), *words)
            if turn:  # the first warms caches
                rows.append((*loop, *mine))
        wall, cpu, my_wall, my_cpu = (statistics.median(row[i] for row in rows) for i in range(4))
        megabytes = len(places) * size**3 / 1e6
        ratio = (statistics.median(row[i] / row[i + 2] for row in rows) for i in (0, 1))
        print(f"{task}: cloud-volume {wall:.2f} s ({megabytes / wall:,.0f} MB/s), {cpu:.2f} s CPU;", end=" ")
        print(f"curate {my_wall:.2f} s ({megabytes / my_wall:,.0f} MB/s), {my_cpu:.2f} s CPU;", end=" ")
        print("ratio {:.1f}, of CPU {:.1f}".format(*ratio))


def anonymous(pid: int) -> float:
    """Memory of a process and its descendants beside mapped files, MB."""
    total = 0.0
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total = sum(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(anonymous(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass
    return total


def large_file(folder: Path, gigabytes: float, cubes: int) -> None:
    """Crop a sparse file and watch the memory of the whole run."""
    import numpy as np

    (folder / "volumes").mkdir()
    depth = max(SIZE, round(gigabytes * 1e9 / 4096**2))
    path = folder / "volumes/large.nrrd"
    header = (
        f"NRRD0004\ntype: uint8\ndimension: 3\nspace dimension: 3\nsizes: 4096 4096 {depth}\nspace directions: (4,0,0) (0,4,0) (0,0,4)\n"
    )
    header += "space origin: (0,0,0)\nencoding: raw\n\n"
    path.write_bytes(header.encode())
    os.truncate(path, len(header) + depth * 4096**2)
    voxels = np.memmap(path, np.uint8, "r+", len(header), (depth, 4096, 4096))
    for number in range(cubes):
        y, x = (SIZE * int(i) for i in np.unravel_index(number, (16, 16)))
        voxels[:SIZE, y : y + SIZE, x : x + SIZE] = np.random.default_rng(number).integers(1, 256, (SIZE, SIZE, SIZE), np.uint8)
    voxels.flush()
    del voxels
    command = [sys.executable, "-m", "curate_core", "run", str(ROOT / "specs/em/crop_rois.json"), "-q", "--output", str(folder / "cropped")]
    command += ["--set", f"source.root={folder / 'volumes'}", "--set", "engine.workers=2"]
    started, peak = time.perf_counter(), 0.0
    pid = os.posix_spawn(sys.executable, command, os.environ)
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        peak = max(peak, anonymous(pid))
        time.sleep(0.02)
    found = len(list((folder / "cropped").glob("*.nrrd")))
    print(f"{path.stat().st_size / 1e9:.1f} GB file: {found} of {cubes} cubes with data found and written in", end=" ")
    print(f"{time.perf_counter() - started:.1f} s, hashing its content included; peak of all processes {peak:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cubes", type=int, default=40)
    parser.add_argument("--gigabytes", type=float, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        large_file(Path(name), arguments.gigabytes, arguments.cubes)
        rates(Path(name), arguments.runs)


if __name__ == "__main__":
    main()
