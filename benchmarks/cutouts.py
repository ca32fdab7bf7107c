"""Random cutouts of local precomputed layers: our reader against cloud-volume, in one run.

python benchmarks/cutouts.py [--cutouts 500] [--rounds 3]

Needs curate-tensorstore and cloud-volume, which writes the layers: sections in chunks of 1024 x 1024 x 1, and a cube in chunks of 64 x 64 x 64, both larger
than what the reader keeps in memory by default. CPU time is that of all threads of the process; the best of some rounds, which alternate. Exit
code 1 if values differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudvolume
import numpy as np
import tensorstore
from curate_tensorstore.reader import TensorStoreReader

from curate_core import LayerSource
from curate_core.arrays import box, read
from curate_core.testing import context

LAYERS = (("256 x 256 x 1", (16, 4096, 4096), (1, 1024, 1024), (1, 256, 256)), ("64 x 64 x 64", (512, 512, 512), (64, 64, 64), (64, 64, 64)))
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


def ours(folder: Path, starts: Any, size: Any, cache: int) -> list[Any]:
    reader = TensorStoreReader(cache=cache)
    array = reader.open(LayerSource(files=(folder,)), context()).array
    return [read(array, box(start, start + size)) for start in starts]


def theirs(folder: Path, starts: Any, size: Any, cache: int) -> list[Any]:
    volume = cloudvolume.CloudVolume(f"file://{folder}", progress=False, compress=False, lru_bytes=cache)
    found = []
    for start in starts:
        z, y, x = (slice(int(a), int(a + n)) for a, n in zip(start, size, strict=True))
        found.append(np.asarray(volume[x, y, z]))
    return found


def seconds(act: Callable[[], Any]) -> tuple[float, float]:
    """CPU and wall time."""
    cpu, wall = time.process_time(), time.perf_counter()
    act()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutouts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    same = True
    print(f"{chosen.cutouts} cutouts, seconds of CPU (and wall)    ours, cache    ours, none   cloud-volume   and its cache   CPU ratios")
    with tempfile.TemporaryDirectory() as temporary:
        for number, (label, shape, chunk, extent) in enumerate(LAYERS):
            folder = Path(temporary) / f"{number}.precomputed"
            write(folder, shape, chunk)
            size = np.array(extent)
            starts = np.random.default_rng(1).integers(0, np.array(shape) - size + 1, (chosen.cutouts, 3))
            mine, others = ours(folder, starts, size, 0), theirs(folder, starts, size, 0)
            same &= all(np.array_equal(a, b[..., 0].T) for a, b in zip(mine, others, strict=True))
            del mine, others
            found: dict[tuple[Any, int], list[tuple[float, float]]] = {}
            for _ in range(chosen.rounds):
                for act, cache in ((ours, CACHE), (ours, 0), (theirs, 0), (theirs, CACHE)):
                    took = seconds(lambda act=act, cache=cache: act(folder, starts, size, cache))  # type: ignore[misc]
                    found.setdefault((act, cache), []).append(took)
            best = {key: min(times) for key, times in found.items()}
            texts = [f"{cpu:.3f} ({wall:.3f})" for cpu, wall in best.values()]
            cached, bare, plain, kept = (cpu for cpu, _ in best.values())
            print(f"{label:<40}" + "".join(f"{text:>15}" for text in texts) + f"   {plain / cached:.1f} {plain / bare:.1f} {kept / cached:.1f}")
    print("ratios: by default, neither with a cache, both with one")
    print(f"theirs: cloud-volume {cloudvolume.__version__}; tensorstore {tensorstore.__version__ if hasattr(tensorstore, '__version__') else ''}")
    print("values are equal" if same else "VALUES DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
