"""What the golden datasets hold, and how they are made: ``python tests/golden/golden_specs.py`` makes those that are nowhere yet.

A dataset that lies here is never made again: what a released version wrote is read by the tests of every later one. A new writer, or a new form of
an old one, gets a folder under the version that first writes it; so does a form that its writer writes in another way from some version on (its
``version``, which ``FORMS`` states as well), beside the older one. Forms are never taken out.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

import curate_core
from curate_core.arrays import NDArray

HERE = Path(__file__).parent
CASES = ("a", "b")
Values = Mapping[str, Any]
"""Name of an array -> its values; of a tractogram -> what ``lines`` gives."""


def voxels(number: int) -> NDArray:
    """A section of (8, 12) uint8: the same with every numpy."""
    state = (np.arange(96, dtype=np.uint64) + np.uint64(1 + number)) * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    return (state >> np.uint64(56)).astype(np.uint8).reshape(8, 12)


def volume(number: int) -> NDArray:
    """The same values as (z, y, x) of (4, 4, 6)."""
    return voxels(number).reshape(4, 4, 6)


def colours(number: int) -> NDArray:
    """Three sections as (y, x, c)."""
    return np.stack([voxels(number + i) for i in range(3)], axis=-1)


def field(number: int) -> NDArray:
    """Two sections as (c, y, x), quarters."""
    return np.stack([voxels(number + i) for i in range(2)]).astype(np.float32) / 4


def lines(number: int) -> dict[str, Any]:
    """Two streamlines, of 3 and 4 points (x, y, z), in mm; the first voxel's centre is at 0, the next one at 2."""
    points = np.linspace([1, 1, 1], [9, 5, 5 - 2 * number], 7)
    return {"points": points, "offsets": [0, 3], "lengths": [3, 4], "weight": [1, 2]}


Layers = Mapping[str, tuple[str, Callable[[int], NDArray]]]
CONTENTS: dict[str, Layers] = {
    "tiles": {"image": ("yx", voxels)},
    "bits": {"image": ("yx", lambda number: voxels(number) > 127)},
    "words": {"image": ("yx", lambda number: voxels(number).astype(np.uint16) * 257)},
    "floats": {"image": ("yx", lambda number: voxels(number).astype(np.float32) / 4)},
    "colours": {"image": ("yxc", colours)},
    "two": {"image": ("yx", voxels), "other": ("yx", lambda number: 255 - voxels(number))},
    "fields": {"image": ("yx", voxels), "field": ("cyx", field)},
    "volumes": {"image": ("zyx", volume)},
    "streamlines": {"image": ("zyx", volume)},  # and a tractogram
}
"""What the samples of a form hold: layer -> its axes, and its values in the case of a number. All are cut into four tiles of (4, 6), but
volumes, which stay whole.
"""
WHOLE = ("volumes", "streamlines")


def as_they_are(sample: Values) -> Values:
    return sample


def as_xyz(sample: Values) -> Values:
    """What dwi_ml reads: float32 with the axes x, y, z, feature."""
    return {**sample, "image": sample["image"].transpose(2, 1, 0)[..., None].astype(np.float32)}


def as_pairs(sample: Values) -> Values:
    """What metroem reads: float32 with x before y, images along a first axis."""
    images = np.stack([sample[name].T for name in sample if name != "field"]).astype(np.float32)
    return {"images": images, **({"field": sample["field"].swapaxes(1, 2)} if "field" in sample else {})}


def as_one(name: str) -> Callable[[Values], Values]:
    """Both images as one array."""
    return lambda sample: {name: np.stack([sample["image"], sample["other"]])}


def as_channels(sample: Values) -> Values:
    """What nnU-Net reads: a first axis even for one."""
    return {"data": sample["image"][None], "seg": sample["other"][None]}


@frozen
class Form:
    """One form of a writer's files.

    Attributes:
        step: the writer's, as a spec holds it.
        content: what its samples hold, of ``CONTENTS``.
        stored: a sample as it is read back.
        version: of the writer, when the newest dataset of the form was made.
    """

    step: Mapping[str, Any]
    content: str = "tiles"
    stored: Callable[[Values], Values] = as_they_are
    version: int = 1


FORMS: dict[str, Form] = {
    "npy": Form({"use": "npy", "path": "{case}/{roi}.npy"}),
    "npy-arrays": Form({"use": "npy", "path": "{case}/{roi}-{array}.npy"}, "two"),
    "npy-stack": Form({"use": "npy", "path": "all.npy", "stack": True}),
    "npy-stack-layers": Form({"use": "npy", "path": "all.npy", "stack": True, "layers": ["image", "other"]}, "two", as_one("stack")),
    "tiff": Form({"use": "tiff", "path": "{case}/{roi}.tiff"}),
    "tiff-colour-deflate": Form({"use": "tiff", "path": "{case}/{roi}.tiff", "compression": "deflate"}, "colours"),
    "tiff-stack-zstd": Form({"use": "tiff", "path": "{case}.tif", "stack": True, "compression": "zstd"}, "volumes"),
    "tiff-imagej": Form({"use": "tiff", "path": "{case}.tif", "stack": True, "metadata": "imagej"}, "volumes"),
    "png": Form({"use": "png", "path": "{case}/{roi}.png"}),
    "png-bits": Form({"use": "png", "path": "{case}/{roi}.png"}, "bits"),
    "png-words": Form({"use": "png", "path": "{case}/{roi}.png"}, "words"),
    "png-colour": Form({"use": "png", "path": "{case}/{roi}.png"}, "colours"),
    "itk-nrrd": Form({"use": "itk", "path": "{case}/{roi}.nrrd"}),
    "itk-nrrd-compressed": Form({"use": "itk", "path": "{case}/{roi}.nrrd", "compress": True}, "colours"),
    "itk-mha": Form({"use": "itk", "path": "{case}.mha"}, "volumes"),
    "itk-mha-compressed": Form({"use": "itk", "path": "{case}.mha", "compress": True}, "volumes"),
    "itk-nifti": Form({"use": "itk", "path": "{case}/{roi}.nii.gz"}),
    "itk-nii": Form({"use": "itk", "path": "{case}.nii"}, "volumes"),
    "blosc2": Form({"use": "blosc2", "path": "{case}/{roi}.b2nd", "patch": [4, 4]}),
    "blosc2-labels": Form(
        {"use": "blosc2", "path": "{case}/{roi}.b2nd", "channels": ["image"], "labels": ["other"], "codec": "zstd", "filter": "bitshuffle"},
        "two", as_channels,
    ),
    "blosc2-lz4": Form({"use": "blosc2", "path": "{case}.b2nd", "codec": "lz4", "filter": "none"}, "volumes"),
    "blosc2-zlib": Form({"use": "blosc2", "path": "{case}.b2nd", "codec": "zlib", "filter": "shuffle"}, "volumes"),
    "blosc2-blosclz": Form({"use": "blosc2", "path": "{case}.b2nd", "codec": "blosclz"}, "volumes"),
    "hdf5": Form({"use": "hdf5", "file": "all.h5"}),
    "hdf5-stack": Form({"use": "hdf5", "file": "all.h5", "stack": True}),
    "hdf5-stack-layers": Form(
        {"use": "hdf5", "file": "all.h5", "path": "main", "stack": True, "layers": ["image", "other"], "compression": "none"},
        "two", as_one("stack"),
    ),
    "hdf5-cases": Form(
        {"use": "hdf5", "file": "cases/{case}.h5", "path": "{array}", "chunks": [2, 2, 3], "compression": "lzf", "master": "all.h5"}, "volumes"
    ),
    "hdf5-decimals": Form({"use": "hdf5", "file": "all.h5", "stack": True, "decimals": 2}, "floats"),
    "dwi-ml-hdf5": Form({"use": "dwi-ml-hdf5", "file": "all.hdf5"}, "volumes", as_xyz),
    "dwi-ml-hdf5-vox": Form({"use": "dwi-ml-hdf5", "file": "all.hdf5"}, "streamlines", as_xyz),
    "dwi-ml-hdf5-voxmm": Form({"use": "dwi-ml-hdf5", "file": "all.hdf5", "space": "voxmm", "compression": "gzip"}, "streamlines", as_xyz),
    "dwi-ml-hdf5-rasmm": Form({"use": "dwi-ml-hdf5", "file": "all.hdf5", "space": "rasmm", "compression": "none"}, "streamlines", as_xyz),
    "precomputed": Form({"use": "precomputed", "path": "all.precomputed"}),
    "precomputed-pairs": Form({"use": "precomputed", "path": "all.precomputed", "arrays": ["image", "other"], "type": "segmentation"}, "two"),
    "pair-hdf5": Form({"use": "pair-hdf5", "images": "all.h5", "views": ["image"]}, "tiles", as_pairs),
    "pair-hdf5-field": Form(
        {"use": "pair-hdf5", "images": "x.h5", "views": ["image"], "field": "y.h5", "field_array": "field", "decimals": 2}, "fields", as_pairs
    ),
}  # fmt: skip
"""Folder -> the form that it holds. How hard a library compresses, and which arrays become one, makes no form of its own."""


def places() -> list[tuple[int, int]]:
    """Corners (y, x) of the tiles of a section."""
    return [(y, x) for y in (0, 4) for x in (0, 6)]


def samples(content: str, number: int) -> Iterator[Values]:
    """The samples of one case as they are cut, in manifest order."""
    layers = {name: make(number) for name, (_, make) in CONTENTS[content].items()}
    if content in WHOLE:
        yield {**layers, "lines": lines(number)} if content == "streamlines" else layers
        return
    for y, x in places():
        where = {"yx": np.s_[y : y + 4, x : x + 6], "yxc": np.s_[y : y + 4, x : x + 6], "cyx": np.s_[:, y : y + 4, x : x + 6]}
        yield {name: array[where[CONTENTS[content][name][0]]] for name, array in layers.items()}


def expected(name: str) -> list[tuple[str, Values]]:
    """(case, arrays) of each sample of a form, in manifest order."""
    form = FORMS[name]
    return [(case, form.stored(sample)) for number, case in enumerate(CASES) for sample in samples(form.content, number)]


def rois(form: Form, folder: Path) -> dict[str, Any]:
    """The finder of a form; sections are numbered, over all cases, by a file in ``folder``."""
    if form.step["use"] == "precomputed":
        boxes = [{"case": case, "axes": "yx", "start": [y, x], "stop": [y + 4, x + 6]} for case in CASES for y, x in places()]
        rows = [json.dumps({**box, "attributes": {"pair": number}}) for number, box in enumerate(boxes)]
        (folder / "rois.jsonl").write_text("\n".join(rows) + "\n")
        return {"use": "list", "file": "rois.jsonl"}
    return {"use": "whole"} if form.content in WHOLE else {"use": "grid", "size": [4, 6]}


def save_sources(content: str, folder: Path) -> dict[str, Any]:
    """Files of all cases, other layers than images in folders of their own; returns how a spec reads them."""
    if content == "streamlines":
        for number, case in enumerate(CASES):
            save_streamlines(folder, case, number)
        return {}
    for name, (_, make) in CONTENTS[content].items():
        place = folder if name == "image" else folder / name
        place.mkdir(exist_ok=True)
        for number, case in enumerate(CASES):
            np.save(place / f"training-{case}.npy", make(number), allow_pickle=False)
    spacing = [2.0] * (3 if content in WHOLE else 2)
    return {name: {"use": "npy", "axes": axes, "spacing": spacing, "unit": "mm"} for name, (axes, _) in CONTENTS[content].items()}


def save_streamlines(folder: Path, case: str, number: int) -> None:
    """A volume that says where it lies, and lines in it."""
    import nibabel

    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(volume(number).transpose(2, 1, 0), affine), folder / f"training-{case}.nii")
    given = lines(number)
    parts = np.split(given["points"], given["offsets"][1:])
    made = nibabel.streamlines.Tractogram(parts, {"weight": [[weight] for weight in given["weight"]]}, affine_to_rasmm=np.eye(4))
    header = {"dimensions": (6, 4, 4), "voxel_sizes": (2.0, 2.0, 2.0), "voxel_to_rasmm": affine, "voxel_order": "RAS"}
    (folder / "lines").mkdir(exist_ok=True)
    nibabel.streamlines.TrkFile(made, header).save(str(folder / "lines" / f"training-{case}.trk"))


def dataset_name(name: str) -> str:
    """The folder of a form: ``FORM``, and ``FORM-v2`` as the second version of its writer writes it."""
    version = FORMS[name].version
    return name if version == 1 else f"{name}-v{version}"


def form_of(folder: str) -> str:
    """The form that lies in a folder."""
    return re.sub(r"-v\d+$", "", folder)


def make(name: str, out: Path) -> None:
    """Write the dataset of one form."""
    form = FORMS[name]
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        read = save_sources(form.content, folder)
        spec = {
            "version": 1,
            "name": f"golden-{name}",
            "description": "Read by the tests of every later version.",
            "source": {"use": "files", "pattern": ["{split}-{case}.npy", "{split}-{case}.nii", "{layer}/{split}-{case}.{ext}"]},
            "read": read,
            "rois": [rois(form, folder)],
            "write": [dict(form.step)],
            "output": str(out),
            "engine": {"use": "local", "workers": 0},
        }
        curate_core.run(spec, folder=folder)
    shutil.rmtree(out / ".curate")  # what a later run would continue from, no part of the dataset


if __name__ == "__main__":
    there = {path.parent.name for path in HERE.glob("*/*/dataset.json")}
    for form in FORMS:
        if dataset_name(form) not in there:
            make(form, HERE / curate_core.__version__ / dataset_name(form))
