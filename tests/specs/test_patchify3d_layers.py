"""specs/em/patchify3d.json on folders of chunks and on addresses: the same patches as of the volume itself in a file."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.ndimage import gaussian_filter

import curate_core
from curate_core.runner import run

SPEC = Path(__file__).parents[2] / "specs/em/patchify3d.json"
SHAPE = (70, 84, 96)
SPACING = (4.4, 4.0, 4.0)
"""z, y, x, nm."""


def write_nrrd(folder, voxels):
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing([size * 1e-6 for size in SPACING[::-1]])
    SimpleITK.WriteImage(image, str(folder / "em.nrrd"))


def write_ome_zarr(folder, voxels):
    zarr = pytest.importorskip("zarr")
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    root = zarr.open_group(str(folder / "em.zarr"), mode="w", zarr_format=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # ome-zarr deprecates what it calls itself
        pytest.importorskip("ome_zarr")
        from ome_zarr.format import FormatV04
        from ome_zarr.writer import write_multiscale

        write_multiscale(
            [voxels], root, fmt=FormatV04(), axes=axes, coordinate_transformations=[[{"type": "scale", "scale": list(SPACING)}]]
        )


def write_n5(folder, voxels):
    ts = pytest.importorskip("tensorstore")
    metadata = {
        "dimensions": SHAPE[::-1],
        "dataType": "uint8",
        "blockSize": [32, 32, 32],
        "pixelResolution": {"dimensions": SPACING[::-1], "unit": "nm"},
    }
    ts.open({"driver": "n5", "kvstore": f"file://{folder}/em.n5/", "metadata": metadata}, create=True).result().write(voxels.T).result()


def write_precomputed(folder, voxels):
    cloudvolume = pytest.importorskip("cloudvolume")
    info = cloudvolume.CloudVolume.create_new_info(
        1, "image", "uint8", "raw", list(SPACING[::-1]), [5, 6, 7], SHAPE[::-1], chunk_size=[32, 32, 32]
    )
    volume = cloudvolume.CloudVolume(f"file://{folder}/em.precomputed", info=info, compress=False, progress=False)
    volume.commit_info()
    volume[:, :, :] = voxels.T


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers")
    smooth = gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 2)
    voxels = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    for write in (write_nrrd, write_ome_zarr, write_n5, write_precomputed):
        write(folder, voxels)
    settings = [f"source.root={folder}", 'source.pattern="{case}.nrrd"', "rois.0.size=32", "rois.0.spacing=5"]
    run(SPEC, settings=settings, output=folder / "reference", workers=0)
    return folder, voxels


def samples(out):
    return {row["arrays"]["image"]["file"]: (row["sha256"], array["image"]) for row, array in zip(out.rows(), out, strict=True)}


@pytest.mark.parametrize("kind", ["zarr", "n5", "precomputed"])
@pytest.mark.parametrize("address", [False, True])
def test_the_same_patches_as_of_a_file(lab, tmp_path, kind, address):
    folder, voxels = lab
    settings = ["rois.0.size=32", "rois.0.spacing=5"]
    if address:
        cases = [{"case": "em", "layers": {"image": {"uri": f"{kind}://file://em.{kind}"}}}]
        settings += [f"source={json.dumps({'use': 'list', 'cases': cases, 'root': str(folder)})}", 'read={"*": {"use": "tensorstore"}}']
    else:
        settings += [f"source.root={folder}", f'source.pattern="{{case}}.{kind}/"']
    assert run(SPEC, settings=settings, output=tmp_path / "out", workers=0).exit_code == 0
    found, expected = curate_core.open(tmp_path / "out"), curate_core.open(folder / "reference")
    assert found.summary["found"] == expected.summary["found"]
    wanted, made = samples(expected), samples(found)
    assert made.keys() == wanted.keys()
    assert {plane for name in made for plane in name.partition("-LOC-")[2][:1]} == {"0", "1", "2"}, "4.4 by 4.0 counts as isotropic"
    for name, (digest, array) in made.items():
        assert digest == wanted[name][0]
        np.testing.assert_array_equal(array, wanted[name][1])
    for row in found.rows():
        (z, y, x), (z1, y1, x1) = row["views"][""]["start"], row["views"][""]["stop"]
        np.testing.assert_array_equal(made[row["arrays"]["image"]["file"]][1], voxels[z:z1, y:y1, x:x1].squeeze())
