"""Random patches of a volume, and writing it: our .b2nd against nnU-Net's own, .npy and HDF5, in one run.

python benchmarks/blosc2_reading.py [--size 512 512 300] [--patch 128] [--reads 40] [--rounds 5]

Needs curate-blosc2, h5py and scipy; nnunetv2 where it is installed (``pip install --no-deps nnunetv2 batchgenerators`` is enough):
otherwise the volume is written through blosc2 with the parameters of nnunetv2 2.8.1, and the table says so. Two volumes of float32, as
nnU-Net stores them: one that was resampled, one that was not. Files are warm, one thread; milliseconds a patch are the least of some
rounds, in which the formats take turns. Exit code 1 if voxels differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import h5py
import numpy as np
from curate_blosc2.partition import partition
from curate_blosc2.storing import open_array, smallest
from curate_blosc2.writer import Blosc2Writer
from scipy import ndimage

from curate_core import Grid

try:
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

    THEIRS = "nnunetv2's own writer"
except ImportError:
    nnUNetDatasetBlosc2 = None  # noqa: N816
    THEIRS = "nnunetv2 2.8.1's parameters"


def volumes(size: tuple[int, int, int]) -> dict[str, Any]:
    """A noisy CT, z-scored: as its scanner sampled it, and resampled by cubic splines."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=[n // 4 + 1 for n in size]).astype(np.float32), 2)
    smooth = ndimage.zoom(smooth, 4, order=1)[tuple(slice(0, n) for n in size)]
    stored = (smooth / smooth.std() * 300 + rng.normal(0, 25, size)).astype(np.int16)
    plain = ((stored - 40) / np.float32(320)).astype(np.float32)
    half = stored[:, ::2, :].astype(np.float32)
    resampled = ndimage.zoom(half, (1, size[1] / half.shape[1], 1), order=3)[:, : size[1]]
    return {"resampled": ((resampled - 40) / 320).astype(np.float32), "as sampled": plain}


def write_theirs(folder: Path, values: Any, patch: int) -> Path:
    data = values[None]
    if nnUNetDatasetBlosc2 is not None:
        blocks, chunks = comp_blosc2_params(data.shape, (patch,) * 3, 4)
        labels = np.zeros((1, 8, 8, 8), np.int8)
        options = {"chunks_seg": (1, 8, 8, 8), "blocks_seg": (1, 8, 8, 8)}
        nnUNetDatasetBlosc2.save_case(data, labels, {}, str(folder / "theirs"), chunks=chunks, blocks=blocks, **options)
    else:
        blocks, chunks = partition(data.shape, "czyx", (patch,) * 3, 4)
        parameters = {"codec": blosc2.Codec.LZ4HC, "clevel": 5, "nthreads": 1}
        pieces = {}
        centre = tuple(slice((n - c) // 2, (n - c) // 2 + c) for n, c in zip(data.shape, chunks, strict=True))
        for kind in (blosc2.Filter.NOFILTER, blosc2.Filter.SHUFFLE):
            piece = np.ascontiguousarray(data[centre])
            pieces[kind] = blosc2.asarray(piece, chunks=chunks, blocks=blocks, cparams={**parameters, "filters": [kind]}).schunk.cbytes
        best = min(pieces, key=lambda kind: pieces[kind])
        path = str(folder / "theirs.b2nd")
        blosc2.asarray(data, urlpath=path, chunks=chunks, blocks=blocks, cparams={**parameters, "filters": [best]})
    return folder / "theirs.b2nd"


def write_ours(folder: Path, values: Any, patch: int, **options: Any) -> Path:
    path = folder / f"ours-{'-'.join(map(str, options.values()))}.b2nd"
    grid = Grid.from_spacing(values[None].shape, "czyx", (1, 1, 1), "mm")
    Blosc2Writer(patch=(patch,) * 3, **options).write_array(path, values[None], grid, "ct", "case")
    return path


def write_npy(folder: Path, values: Any, patch: int) -> Path:
    np.save(folder / "v.npy", values[None], allow_pickle=False)
    return folder / "v.npy"


def write_hdf5(folder: Path, values: Any, patch: int) -> Path:
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_dataset("v", data=values[None], chunks=(1, *(min(64, n) for n in values.shape)), compression="gzip", compression_opts=1)
    return folder / "v.h5"


def opened(path: Path) -> Any:
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False)
    if path.suffix == ".h5":
        return h5py.File(path, "r")["v"]
    if path.name.startswith("theirs"):  # as nnU-Net's dataset class opens it
        return blosc2.open(urlpath=str(path), mode="r", dparams={"nthreads": 1}, mmap_mode="r")
    return open_array(path)


def cpu(act: Callable[[], Any]) -> float:
    started = time.process_time()
    act()
    return time.process_time() - started


def read_all(array: Any, starts: Any, patch: int) -> None:
    for z, y, x in starts:
        np.array(array[:, z : z + patch, y : y + patch, x : x + patch])


def compare(label: str, values: Any, chosen: argparse.Namespace) -> bool:
    """Print one table; returns whether all formats gave the same voxels."""
    patch, rng = chosen.patch, np.random.default_rng(1)
    starts = [[int(rng.integers(0, n - patch + 1)) for n in values.shape] for _ in range(chosen.reads)]
    makers: dict[str, Callable[..., Path]] = {
        f"b2nd by {THEIRS}": write_theirs,
        "b2nd by curate (lz4hc 5, the default)": write_ours,
        "b2nd by curate, lz4hc 1": lambda *a: write_ours(*a, codec="lz4hc", level=1),
        "b2nd by curate, zstd 1": lambda *a: write_ours(*a, codec="zstd", level=1),
        "b2nd by curate, zstd 8 + shuffle": lambda *a: write_ours(*a, codec="zstd", level=8, filter="shuffle"),
        "npy, memory-mapped": write_npy,
        "HDF5, 64^3 chunks, gzip 1": write_hdf5,
    }
    with tempfile.TemporaryDirectory() as name:
        folder, same = Path(name), True
        paths, writing = {}, {}
        for what, make in makers.items():
            before = time.process_time()
            paths[what] = make(folder, values, patch)
            writing[what] = time.process_time() - before
        arrays = {what: opened(path) for what, path in paths.items()}
        z, y, x = starts[0]
        for array in arrays.values():
            found = np.array(array[0, z : z + patch, y : y + patch, x : x + patch])
            same &= np.array_equal(found, values[z : z + patch, y : y + patch, x : x + patch])
            read_all(array, starts[:4], patch)
        reading = dict.fromkeys(arrays, float("inf"))
        for _ in range(chosen.rounds):
            for what, array in arrays.items():
                if reading[what] == float("inf") or array is not arrays["HDF5, 64^3 chunks, gzip 1"]:
                    reading[what] = min(reading[what], cpu(lambda a=array: read_all(a, starts, patch)) / len(starts))
        first = next(iter(makers))
        blocks, chunks = partition(values.shape, "zyx", (patch,) * 3, 4)
        megabytes = values.nbytes / 1e6
        print(f"\n{label}: {' x '.join(map(str, values.shape))} float32, {megabytes:.0f} MB; blocks {blocks}, chunks {chunks}")
        print(f"filter: {smallest(values, blocks, chunks, 'lz4hc', 5)} by our trial")
        print(f"{'':<42}{'ms a patch':>11}{'to theirs':>10}{'written MB/s':>14}{'ratio':>7}")
        for what in makers:
            size, spent = paths[what].stat().st_size, reading[what]
            to_theirs = spent / reading[first]
            print(f"{what:<42}{1e3 * spent:>11.2f}{to_theirs:>10.2f}{megabytes / writing[what]:>14.0f}{values.nbytes / size:>7.2f}")
        slow = "b2nd by curate, zstd 8 + shuffle"
        ours = "b2nd by curate (lz4hc 5, the default)"
        print(f"writing by default takes {writing[slow] / writing[ours]:.1f} times less CPU than ZSTD 8 + shuffle")
        arrays.clear()
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 300), metavar="N")
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--reads", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    blosc2.set_nthreads(1)
    print(f"CPU time, one thread; blosc2 {blosc2.__version__}; {chosen.reads} patches of {chosen.patch}^3")
    same = True
    for label, values in volumes(tuple(chosen.size)).items():
        same &= compare(label, values, chosen)
    print("\nvoxels are equal" if same else "\nVOXELS DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
