"""Patches of a volume that is larger than memory, and a million ROIs: peak anonymous memory and seconds.

The volume is a sparse .npy file of 20 GB of bytes; 3,000 patches of its three planes are cut all over it and written. The ROIs are a grid
of 980,000 sections of 224 x 224, found, filtered by geometry (one in two kept), and listed in a file.

    python benchmarks/large_volume.py [--gigabytes 20]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from curate_core.arrays import MapArray
from curate_core.builtin.rois import GridRois
from curate_core.grid import Grid
from curate_core.kinds import Context
from curate_core.model import Case, Image
from curate_core.roifile import save_rois


def anonymous(pid: int) -> float:
    """Anonymous memory of a process and its descendants, MB."""
    total = 0.0
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total = sum(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(anonymous(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass
    return total


def large_volume(folder: Path, gigabytes: float) -> None:
    """Run a spec over a sparse volume and watch its memory."""
    depth = max(300, round(gigabytes * 1e9 / 4000**2))
    np.lib.format.open_memmap(folder / "volume.npy", "w+", np.uint8, (depth, 4000, 4000)).flush()
    grid = {"use": "grid", "size": 224, "planes": ["xy", "xz", "yz"], "spacing": 97}
    spec = {
        "version": 1,
        "name": "large",
        "source": {"use": "files", "pattern": "{case}.npy"},
        "preprocess": [{"use": "to-uint8"}],
        "rois": [grid],
        "filter": [{"use": "limit", "count": 3000}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
        "output": "out",
        "engine": {"use": "local", "workers": 2},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    started, peak = time.perf_counter(), 0.0
    pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "curate_core", "run", str(folder / "spec.json"), "-q"], os.environ)
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        peak = max(peak, anonymous(pid))
        time.sleep(0.02)
    written = sum(1 for _ in (folder / "out").rglob("*.npy")) - 1
    size = (folder / "volume.npy").stat().st_size / 1e9
    print(f"{size:.1f} GB volume: {written:,} patches in {time.perf_counter() - started:.1f} s, hashing its content included")
    print(f"peak anonymous memory of all processes: {peak:.0f} MB")


def million_rois(folder: Path) -> None:
    """Find, filter and list ROIs, in seconds."""
    shape = (200, 15680, 15680)
    base = np.broadcast_to(np.zeros((), np.uint8), shape)
    case = Case("huge", {"em": Image(MapArray(base, np.array, np.uint8), Grid.from_spacing(shape, "zyx"))})
    started = time.perf_counter()
    table = GridRois(size=224, planes=("xy",)).find(case, Context("grid", 0, "huge"))
    found = time.perf_counter()
    kept = table.take((table.views[0].start[:, 1] // 224 + table.views[0].start[:, 2] // 224) % 2 == 0)
    ids = kept.ids("huge")
    save_rois(folder / "rois.npz", {"huge": (kept, {"em": case.image().grid})})
    ended = time.perf_counter()
    print(f"{len(table):,} ROIs found in {found - started:.2f} s; {len(ids):,} kept, named and listed in {ended - found:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        million_rois(Path(name))
        large_volume(Path(name), arguments.gigabytes)


if __name__ == "__main__":
    main()
