"""Diffusion MRI to one HDF5 file, whole processes, against the script that one writes with nibabel, dipy and h5py; and reading.

python benchmarks/dmri_hdf5.py [--subjects 3] [--streamlines 19000] [--step 0.5] [--runs 2] [--folder DIR]

A subject has a DWI of 96 x 96 x 60 x 45 int16, T1, FA and masks, and streamlines of some 150 points. The script does what dwi_ml's creator
does: float32, files concatenated, standardised file by file in a mask, streamlines without those that leave the volume, resampled one by
one, to voxels with the origin at the corner, datasets as h5py stores them. CPU seconds are user and system of the whole process and its
children, the least of some runs, in turn; memory is the peak of the largest process, with the code of its libraries. Then a .trk of all
points is read by ours and by ``nibabel.streamlines.load``, and 500 random streamlines by ours and with offsets and lengths looked up anew
for each, as dwi_ml's lazy reader does.

Needs curate-dmri and dipy.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
from nibabel.streamlines import ArraySequence, Field, Tractogram, TrkFile

import curate_core
from curate_core import Context, LayerSource

SHAPE = (96, 96, 60)
AFFINE = np.array([[-2.0, 0, 0, 96], [0, 2.0, 0, -96], [0, 0, 2.0, -60], [0, 0, 0, 1]])

SCRIPT = """
import json, sys
from pathlib import Path
import h5py, nibabel, numpy as np
from dipy.io.stateful_tractogram import StatefulTractogram
from dipy.io.streamline import load_tractogram
from dipy.tracking.streamline import length
from dipy.tracking.streamlinespeed import set_number_of_points

def volume(path):
    image = nibabel.load(path)
    data = image.get_fdata(dtype=np.float32)
    return (data if data.ndim == 4 else data[..., None]), image

def standardized(data, mask):
    inside = data[mask]
    return (data - inside.mean()) / max(inside.std(), 1e-6)

root, out, step = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
with h5py.File(out, "w") as file:
    subjects = [path.name for path in sorted(root.iterdir())]
    file.attrs["training_subjs"] = subjects
    for subject in subjects:
        here = root / subject
        mask = np.asarray(nibabel.load(here / "mask.nii.gz").dataobj) > 0
        made, image = volume(here / "dwi.nii.gz")
        made = standardized(made, mask)
        for name in ("t1.nii.gz", "fa.nii.gz"):
            made = np.append(made, standardized(volume(here / name)[0], mask), axis=-1)
        group = file.create_group(f"{subject}/input")
        group.create_dataset("data", data=made)
        group.attrs["affine"] = image.affine
        sft = load_tractogram(str(here / "all.trk"), "same", bbox_valid_check=False)
        sft.remove_invalid_streamlines()
        if step:
            number = np.maximum(np.ceil(length(sft.streamlines) / step).astype(int), 2)
            lines = [set_number_of_points(line, nb_points=n) for line, n in zip(sft.streamlines, number)]
            sft = StatefulTractogram.from_sft(lines, sft)
        lengths = np.array(list(length(sft.streamlines)), np.float32)
        sft.to_vox()
        sft.to_corner()
        group = file.create_group(f"{subject}/streamlines")
        group.create_dataset("data", data=sft.streamlines._data)
        group.create_dataset("offsets", data=sft.streamlines._offsets)
        group.create_dataset("lengths", data=sft.streamlines._lengths)
        group.create_dataset("euclidean_lengths", data=lengths)
"""


def spec(root: Path, list_: Path, out: Path, step: float) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "benchmark",
        "source": {
            "use": "subjects", "root": str(root), "splits": {"training": str(list_)},
            "layers": {
                "input": {"files": ["dwi.nii.gz", "t1.nii.gz", "fa.nii.gz"]},
                "mask": {"files": ["mask.nii.gz"]},
                "streamlines": {"files": ["all.trk"]},
            },
        },
        "preprocess": [
            {"use": "standardize", "layer": "input", "over": "file", "mask": "mask"},
            {"use": "resample-streamlines", "layer": "streamlines", "step_size": step, "remove_invalid": True}
            if step
            else {"use": "remove-invalid-streamlines", "layer": "streamlines"},
        ],
        "rois": [{"use": "whole", "layers": ["input", "streamlines"]}],
        "write": [{"use": "dwi-ml-hdf5"}],
        "output": str(out),
        "engine": {"use": "local", "workers": 0},
    }  # fmt: skip


def make_subject(folder: Path, seed: int, streamlines: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in SHAPE], indexing="ij"))
    radius = np.sqrt((place**2).sum(0))
    brain = radius < 0.85
    signal = (brain * (800 - 500 * radius))[..., None] * generator.uniform(0.2, 1, 45).astype(np.float32)
    dwi = np.where(brain[..., None], signal + generator.normal(0, 15, (*SHAPE, 45)), 0).clip(0)
    volumes = {
        "dwi": dwi.astype(np.int16), "t1": (brain * generator.normal(600, 90, SHAPE)).astype(np.float32),
        "fa": (brain * generator.uniform(0, 1, SHAPE)).astype(np.float32), "mask": (radius < 0.6).astype(np.uint8),
    }  # fmt: skip
    for name, values in volumes.items():
        image = nibabel.Nifti1Image(values, AFFINE)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / f"{name}.nii.gz")
    lengths = generator.integers(50, 256, streamlines)
    starts = generator.uniform(25, 60, (streamlines, 3)).clip(max=[60, 60, 35])
    directions = generator.normal(size=(streamlines, 3))
    directions *= 0.1 / np.linalg.norm(directions, axis=1, keepdims=True)
    steps = np.repeat(directions, lengths, axis=0) + generator.normal(0, 0.02, (int(lengths.sum()), 3))
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    steps[offsets] = starts
    walked = np.cumsum(steps, axis=0)
    before = np.zeros((streamlines, 3))
    before[1:] = walked[offsets[1:] - 1]
    points = walked - np.repeat(before, lengths, axis=0)
    sequence = ArraySequence()
    sequence._data = nibabel.affines.apply_affine(AFFINE, points).astype(np.float32)  # noqa: SLF001
    sequence._offsets, sequence._lengths = offsets, lengths  # noqa: SLF001
    header = {Field.VOXEL_TO_RASMM: AFFINE, Field.DIMENSIONS: SHAPE, Field.VOXEL_SIZES: (2, 2, 2), Field.VOXEL_ORDER: "LAS"}
    TrkFile(Tractogram(sequence, affine_to_rasmm=np.eye(4)), header).save(str(folder / "all.trk"))


def process(command: list[str]) -> tuple[float, float]:
    """CPU seconds of a process and its children, and the peak memory of the largest in MB."""
    script = (
        "import os, resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script, *command], check=True, capture_output=True, text=True, env=environment)
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), float(memory)


def cpu(act: Callable[[], Any], times: int) -> float:
    """CPU seconds of the cheapest of some calls."""
    found = []
    for _ in range(times):
        started = time.process_time()
        act()
        found.append(time.process_time() - started)
    return min(found)


def compare(one: Path, other: Path, step: float) -> None:
    """Both files hold the same: the ratio is of equal work."""
    with h5py.File(one) as a, h5py.File(other) as b:
        for subject in a:
            np.testing.assert_allclose(a[subject]["input/data"][::7], b[subject]["input/data"][::7], rtol=1e-3, atol=2e-3)
            assert len(a[subject]["streamlines/lengths"]) == len(b[subject]["streamlines/lengths"])
            if step:  # the script's steps come out larger than asked for, as dwi_ml's do
                continue
            np.testing.assert_array_equal(a[subject]["streamlines/lengths"], b[subject]["streamlines/lengths"])
            np.testing.assert_allclose(a[subject]["streamlines/data"][:], b[subject]["streamlines/data"][:], atol=1e-4)


def lazily(path: Path, times: int) -> tuple[float, float]:
    """CPU seconds for 500 random streamlines: by ours, and looking up offsets and lengths for each."""
    dataset = curate_core.open(path)
    with h5py.File(path / "data.hdf5") as file:
        subject = next(iter(file))
        chosen = np.random.default_rng(0).integers(0, len(file[subject]["streamlines/offsets"]), 500).tolist()

    def ours() -> None:
        lines = dataset.lazy(0, ["streamlines"])["streamlines"]
        for i in chosen:
            lines.streamline(i)

    def again() -> None:
        with h5py.File(path / "data.hdf5") as file:
            group = file[subject]["streamlines"]
            for i in chosen:
                start, length = group["offsets"][i], group["lengths"][i]
                group["data"][start : start + length]

    return cpu(ours, times), cpu(again, times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--streamlines", type=int, default=19_000)
    parser.add_argument("--step", type=float, default=0.5, help="step to which streamlines are resampled, mm; 0: as they are")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where subjects are made, or lie from an earlier run")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        root = folder / "subjects"
        for number in range(chosen.subjects):
            if not (root / f"s{number}/all.trk").exists():
                make_subject(root / f"s{number}", number, chosen.streamlines)
        (folder / "subjects.txt").write_text("".join(f"s{number}\n" for number in range(chosen.subjects)))
        raw = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        print(f"{chosen.subjects} subjects, {raw / 1e6:.0f} MB")
        (folder / "script.py").write_text(SCRIPT)
        (folder / "spec.json").write_text(json.dumps(spec(root, folder / "subjects.txt", folder / "out", chosen.step)))
        run = [sys.executable, "-m", "curate_core", "run", "-q", str(folder / "spec.json")]
        process([*run, "--overwrite"])  # compiled code is kept from then on
        by_ours, by_script = [], []
        for _ in range(chosen.runs):
            subprocess.run(["rm", "-rf", str(folder / "out")], check=True)
            by_ours.append(process(run))
            by_script.append(process([sys.executable, str(folder / "script.py"), str(root), str(folder / "script.hdf5"), str(chosen.step)]))
        compare(folder / "out/data.hdf5", folder / "script.hdf5", chosen.step)
        ours, script = min(by_ours), min(by_script)
        sizes = [(folder / name).stat().st_size / 1e6 for name in ("out/data.hdf5", "script.hdf5")]
        both = f"curate {ours[0]:6.2f} s, {ours[1]:4.0f} MB   script {script[0]:6.2f} s, {script[1]:4.0f} MB"
        print(f"making   {both}   ratio {ours[0] / script[0]:.2f}")
        print(f"file     curate {sizes[0]:6.0f} MB           script {sizes[1]:6.0f} MB           ratio {sizes[0] / sizes[1]:.2f}")
        from curate_dmri.reader import TractogramReader

        trk = root / "s0/all.trk"
        mine = cpu(lambda: TractogramReader().open(LayerSource((trk,)), Context("read", 0)), 3)
        theirs = cpu(lambda: nibabel.streamlines.load(trk), 2)
        print(f"reading  curate {mine:6.3f} s           nibabel {theirs:6.3f} s          {theirs / mine:.1f} times faster")
        lazy, again = lazily(folder / "out", 3)
        print(f"lazily   curate {lazy * 1e3:6.1f} ms          anew {again * 1e3:6.1f} ms             ratio {lazy / again:.2f}")
        print(f"this process peaked at {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
