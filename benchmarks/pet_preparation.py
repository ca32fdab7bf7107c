"""PET/CT preparation, whole processes: ``curate run`` against the script that one writes with nibabel, scikit-image and blosc2.

python benchmarks/pet_preparation.py [--patients 4] [--runs 2] [--folder DIR]

Patients of a CT of 256 x 256 x 120 int16, three PET of 168 x 168 x 120 float32 and labels, noisy as scans are, become .b2nd volumes: as
they are, and with everything laid onto the PET's grid. The script reads with nibabel, resizes with scikit-image (cubic; labels nearest) and
stores with ZSTD 8 and shuffle. CPU seconds are user and system of the whole process and its children; the least of some runs, in turn.

Needs curate-pet, curate-nifti, curate-blosc2 and scikit-image.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np

LAYERS = {"ct": (256, 1.5), "25pc": (168, 2.286), "50pc": (168, 2.286), "100pc": (168, 2.286), "organs": (256, 1.5)}

SCRIPT = """
import sys
from pathlib import Path
import blosc2, nibabel, numpy as np
from skimage.transform import resize

root, out, resample = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "resample"
for patient in sorted((root / "100pc").glob("*.nii.gz")):
    shape = nibabel.load(patient).shape
    for layer in ("ct", "25pc", "50pc", "100pc", "organs"):
        image = nibabel.load(root / layer / patient.name)
        array = np.asarray(image.dataobj)
        if resample and array.shape != shape:
            order = 0 if layer == "organs" else 3
            small = resize(array.astype(np.float32), shape, order=order, mode="edge", anti_aliasing=False, preserve_range=True)
            array = small.astype(np.uint8) if layer == "organs" else small.astype(np.float32)
        target = out / layer / patient.name.replace(".nii.gz", ".b2nd")
        target.parent.mkdir(parents=True, exist_ok=True)
        cparams = {"codec": blosc2.Codec.ZSTD, "clevel": 8, "filters": [blosc2.Filter.SHUFFLE], "nthreads": 1}
        blosc2.asarray(np.ascontiguousarray(array), urlpath=str(target), mode="w", cparams=cparams)
"""


def make_patients(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for patient in range(count):
        for layer, (size, spacing) in LAYERS.items():
            shape = (size, size, 120)
            axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
            distance = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + (axes[2][None, None] / 2) ** 2)
            if layer == "organs":
                array = np.digitize(distance, [0.2, 0.4, 0.6]).astype(np.uint8)
            elif layer == "ct":
                array = (np.where(distance < 0.7, 40, -1000) + generator.normal(0, 20, shape)).astype(np.int16)
            else:
                array = (np.exp(-4 * distance**2) * 8 * (1 + 0.1 * generator.normal(size=shape))).astype(np.float32)
            affine = np.diag([spacing, spacing, 3.0, 1.0])
            affine[:2, 3] = -spacing * (size - 1) / 2
            image = nibabel.Nifti1Image(array, affine)
            image.header.set_xyzt_units("mm")
            target = folder / layer / f"p{patient}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(image, target)


def spec(source: Path, out: Path, *, resample: bool) -> dict[str, object]:
    return {
        "version": 1,
        "name": "pet",
        "source": {"use": "files", "pattern": "{layer}/{case}.nii.gz", "root": str(source)},
        "preprocess": [{"use": "resample", "to": "100pc", "labels": ["organs"]}] if resample else [],
        "rois": [{"use": "whole"}],
        "write": [{"use": "blosc2", "path": "{array}/{case}.b2nd", "patch": [128, 128, 128], "level": 1}],
        "output": str(out),
        "engine": {"use": "local", "workers": 0},
    }


def cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size_of(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*.b2nd")) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="for all files; a folder in memory spares the disk's noise")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        folder = Path(place)
        make_patients(folder / "studies", arguments.patients)
        (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
        print(f"{'':12}{'curate, CPU s':>15}{'script, CPU s':>15}{'ratio':>8}{'curate, MB':>12}{'script, MB':>12}")
        for how in ("as it is", "resample"):
            times: dict[str, list[float]] = {"curate": [], "script": []}
            for run in range(arguments.runs):
                ours, theirs = folder / f"ours {how} {run}", folder / f"theirs {how} {run}"
                (folder / "spec.json").write_text(json.dumps(spec(folder / "studies", ours, resample=how == "resample")), encoding="utf-8")
                times["curate"].append(cpu([sys.executable, "-m", "curate_core", "run", str(folder / "spec.json"), "-q"]))
                times["script"].append(cpu([sys.executable, str(folder / "script.py"), str(folder / "studies"), str(theirs), how]))
            least = {name: min(found) for name, found in times.items()}
            sizes = f"{size_of(ours):12.1f}{size_of(theirs):12.1f}"
            print(f"{how:12}{least['curate']:15.2f}{least['script']:15.2f}{least['script'] / least['curate']:8.1f}{sizes}")


if __name__ == "__main__":
    main()
