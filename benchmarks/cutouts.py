"""Random cutouts of local precomputed layers: our reader against cloud-volume, in one run.

python benchmarks/cutouts.py [--cutouts 500] [--rounds 3]

Needs curate-tensorstore and cloud-volume, which writes the layers, uncompressed: sections in chunks of 1024 x 1024 x 1, and a cube in
chunks of 64 x 64 x 64. CPU time is that of all threads of the process; the best of some rounds, in which all take turns. TensorStore's
own time is shown as well, and cloud-volume's with a cache of 100 MB. Exit code 1 if values differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cloudvolume
import numpy as np
import tensorstore
from curate_tensorstore.reader import TensorStoreReader

from curate_core import LayerSource
from curate_core.arrays import box, read
from curate_core.testing import context

LAYERS = (
    ("256 x 256 x 1", (16, 4096, 4096), (1, 1024, 1024), (1, 256, 256)),
    ("64 x 64 x 64", (512, 512, 512), (64, 64, 64), (64, 64, 64)),
)
"""What is cut, and in the order z, y, x: shape of the layer, of its chunks, of a cutout."""
CACHE = 100_000_000


def write(folder: Path, shape: Any, chunk: Any) -> None:
    """A layer of noise, by cloud-volume."""
    info = cloudvolume.CloudVolume.create_new_info(
        num_channels=1, layer_type="image", data_type="uint8", encoding="raw", resolution=[8, 8, 40], voxel_offset=[0, 0, 0],
        chunk_size=list(chunk[::-1]), volume_size=list(shape[::-1]),
    )  # fmt: skip
    volume = cloudvolume.CloudVolume(f"file://{folder}", info=info, compress=False, progress=False)
    volume.commit_info()
    rng = np.random.default_rng(0)
    for z in range(0, shape[0], chunk[0]):
        voxels = rng.integers(0, 256, (chunk[0], *shape[1:]), dtype=np.uint8)
        volume[:, :, z : z + chunk[0]] = voxels.transpose(2, 1, 0)


def ours(folder: Path, starts: Any, size: Any) -> Iterator[Any]:
    array = TensorStoreReader().open(LayerSource(files=(folder,)), context()).array
    for start in starts:
        yield read(array, box(start, start + size))


def plain_tensorstore(folder: Path, starts: Any, size: Any) -> Iterator[Any]:
    pool = tensorstore.Context({"cache_pool": {"total_bytes_limit": CACHE}})
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    store = tensorstore.open(spec, context=pool, read=True).result()
    for start in starts:
        z, y, x = (slice(int(a), int(a + n)) for a, n in zip(start, size, strict=True))
        yield store[x, y, z].read().result()


def theirs(folder: Path, starts: Any, size: Any, cache: int = 0) -> Iterator[Any]:
    volume = cloudvolume.CloudVolume(f"file://{folder}", progress=False, compress=False, lru_bytes=cache)
    for start in starts:
        z, y, x = (slice(int(a), int(a + n)) for a, n in zip(start, size, strict=True))
        yield np.asarray(volume[x, y, z])


def seconds(cutouts: Iterator[Any]) -> tuple[float, float]:
    """CPU and wall time until they are all there, none of which is kept."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in cutouts:
        pass
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutouts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    same = True
    columns = {"ours": ours, "cloud-volume": theirs, "with a cache": partial(theirs, cache=CACHE), "tensorstore": plain_tensorstore}
    print(f"{'CPU (wall) seconds':<20}" + "".join(f"{name:>18}" for name in columns) + "     ratios of CPU")
    with tempfile.TemporaryDirectory() as temporary:
        for number, (label, shape, chunk, extent) in enumerate(LAYERS):
            folder = Path(temporary) / f"{number}.precomputed"
            write(folder, shape, chunk)
            size = np.array(extent)
            starts = np.random.default_rng(1).integers(0, np.array(shape) - size + 1, (chosen.cutouts, 3))
            for mine, other in zip(ours(folder, starts, size), theirs(folder, starts, size), strict=True):
                same &= np.array_equal(mine, other[..., 0].T)
            rounds = [[seconds(act(folder, starts, size)) for act in columns.values()] for _ in range(chosen.rounds)]
            best = [min(times) for times in zip(*rounds, strict=True)]
            texts = "".join(f"{f'{cpu:.3f} ({wall:.3f})':>18}" for cpu, wall in best)
            print(f"{label:<20}{texts}     " + " ".join(f"{cpu / best[0][0]:.1f}" for cpu, _ in best[1:]))
    print(f"{chosen.cutouts} cutouts; cloud-volume {cloudvolume.__version__}, tensorstore {version('tensorstore')}")
    print("values are equal" if same else "VALUES DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
