"""Chunked volumes that other writers made: cloud-volume, ome-zarr, zarr, and N5 blocks written by hand from its specification."""

import gzip
import json
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from curate_tensorstore.address import parse
from curate_tensorstore.reader import TensorStoreReader

import curate_core
from curate_core import LayerSource, SourceError
from curate_core.testing import PluginTests, ReaderTests, context, values

SHAPE = (20, 33, 45)  # z, y, x


class TestPlugin(PluginTests):
    plugin_module = "curate_tensorstore.plugin"
    distribution = "curate-tensorstore"
    readme = Path(__file__).parents[1] / "README.md"


class TestZarr(ReaderTests):
    """OME-Zarr 0.4 by hand: one level, written by zarr."""

    component = TensorStoreReader
    suffix = ".zarr"
    options: ClassVar = {"cache": "1 MB"}
    dtypes = ("uint8", "int8", "uint16", "int16", ">u2", "uint32", "float32", "float64")
    memory_mapped = False  # a worker keeps decoded chunks

    def make_file(self, folder, array, spacing):
        zarr = pytest.importorskip("zarr")
        root = zarr.open_group(str(folder / "volume.zarr"), mode="w", zarr_format=2)
        root.create_array("0", shape=array.shape, chunks=(16, 32, 64), dtype=array.dtype)[...] = array
        axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
        datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": list(spacing)}]}]
        root.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
        return folder / "volume.zarr"


def open_layer(place, **options):
    source = LayerSource(uri=place) if isinstance(place, str) else LayerSource(files=(place,))
    return TensorStoreReader(**options).open(source, context())


@pytest.fixture(scope="module")
def voxels():
    return values(SHAPE, "uint8", "chunks")


def write_precomputed(folder, voxels, *, offset=(0, 0, 0), compress=False, resolution=(4, 5, 40), chunks=(16, 16, 8)):
    """By cloud-volume: x, y, z."""
    cloudvolume = pytest.importorskip("cloudvolume")
    channels = 1 if voxels.ndim == 3 else voxels.shape[3]
    info = cloudvolume.CloudVolume.create_new_info(
        num_channels=channels, layer_type="image", data_type=str(voxels.dtype), encoding="raw", resolution=list(resolution),
        voxel_offset=list(offset), chunk_size=list(chunks), volume_size=list(voxels.shape[2::-1]),
    )  # fmt: skip
    volume = cloudvolume.CloudVolume(f"file://{folder}", info=info, compress=compress, progress=False)
    volume.commit_info()
    volume[:, :, :] = voxels.transpose(2, 1, 0) if voxels.ndim == 3 else voxels.transpose(2, 1, 0, 3)
    return folder


@pytest.fixture(scope="module")
def precomputed(voxels, tmp_path_factory):
    return write_precomputed(tmp_path_factory.mktemp("made") / "layer.precomputed", voxels, offset=(10, 20, 3))


def test_precomputed(precomputed, voxels):
    image = open_layer(precomputed)
    assert (image.grid.axes, image.grid.shape, image.dtype) == ("zyx", SHAPE, np.uint8)
    assert np.array_equal(image.array[...], voxels)
    assert np.array_equal(image.array[3:7, 30:, 5:6], voxels[3:7, 30:, 5:6])
    assert (image.grid.spacing, image.grid.unit) == ((40, 5, 4), "nm")
    np.testing.assert_allclose(image.grid.world([0, 0, 0]), [10.5 * 4, 20.5 * 5, 3.5 * 40])
    assert image.notes == {"format": "precomputed", "mip": 0, "levels": 1}
    assert np.array_equal(open_layer(f"precomputed://file://{precomputed}").array[...], voxels)


def test_precomputed_with_channels(tmp_path):
    voxels = values((*SHAPE, 3), "uint16", "c")
    image = open_layer(write_precomputed(tmp_path / "rgb", voxels))
    assert (image.grid.axes, image.grid.shape) == ("zyxc", (*SHAPE, 3))
    assert np.array_equal(image.array[...], voxels)


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 1), ("uint16", 1), ("float32", 3)])
def test_any_box_of_precomputed(tmp_path, dtype, channels):
    """Across chunks, within one, single planes and single voxels, at borders."""
    voxels = values((*SHAPE, channels)[: 3 + (channels > 1)], dtype, "boxes")
    array = open_layer(write_precomputed(tmp_path / "layer", voxels, offset=(7, 21, 3))).array
    rng = np.random.default_rng(0)
    for number in range(150):
        corners = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in voxels.shape]
        where = tuple(slice(int(a), int(a) + 1) if (number >> k) & 3 == 3 else slice(int(a), int(b)) for k, (a, b) in enumerate(corners))
        found = array[where]
        assert found.dtype == voxels.dtype
        assert np.array_equal(found, voxels[where]), where
    assert array[5:5, :, 3:4].shape == voxels[5:5, :, 3:4].shape


def test_a_torn_chunk_is_an_error_of_its_box(voxels, tmp_path):
    folder = write_precomputed(tmp_path / "layer", voxels)
    chunk = folder / "4_5_40/0-16_16-32_0-8"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    array = open_layer(folder, missing="fill").array
    with pytest.raises(SourceError, match=r"layer, z 2:3, y 10:20, x 3:4: it cannot be read: .*Expected chunk length to be 2048"):
        array[2:3, 10:20, 3:4]
    assert np.array_equal(array[2:3, 10:16, 3:4], voxels[2:3, 10:16, 3:4])


def test_levels_of_precomputed_share_the_world(precomputed, voxels, tmp_path):
    """A coarse voxel's centre is the mean of the centres of those that it stands for."""
    cloudvolume = pytest.importorskip("cloudvolume")
    folder = write_precomputed(tmp_path / "pyramid", voxels, offset=(10, 20, 4))
    volume = cloudvolume.CloudVolume(f"file://{folder}", compress=False, progress=False)
    volume.add_scale((2, 2, 1))
    volume.commit_info()
    coarse = cloudvolume.CloudVolume(f"file://{folder}", mip=1, compress=False, progress=False, fill_missing=True)
    small = values(coarse.shape[2::-1], "uint8", "small")
    coarse[:, :, :] = small.transpose(2, 1, 0)
    fine, image = open_layer(folder), open_layer(folder, mip=1)
    assert np.array_equal(image.array[...], small)
    assert image.grid.spacing == (40, 10, 8)
    np.testing.assert_allclose(image.grid.world([0, 0, 0]), (fine.grid.world([0, 0, 0]) + fine.grid.world([0, 1, 1])) / 2)
    assert open_layer(folder, mip=-1).notes["mip"] == 1
    with pytest.raises(SourceError, match=r"there is no level 2: the volume has 2 \(mip may be 0 to 1\)"):
        open_layer(folder, mip=2)


def test_missing_chunks_are_an_error_or_filled(voxels, tmp_path):
    folder = write_precomputed(tmp_path / "holes", voxels)
    chunk = sorted(f for f in folder.rglob("*_*_*") if f.is_file())[0]
    chunk.unlink()
    image = open_layer(folder)
    with pytest.raises(
        SourceError, match=r'holes, z 0:20, y 0:33, x 0:45: it cannot be read: .*missing chunks can be filled, "missing": "fill"'
    ):
        image.array[...]
    filled = open_layer(folder, missing="fill").array[...]
    x, y, z = (slice(*map(int, span.split("-"))) for span in chunk.name.split("_"))
    expected = voxels.copy()
    expected[z, y, x] = 0
    assert np.array_equal(filled, expected)
    assert not np.array_equal(filled, voxels)


def test_chunks_that_cloud_volume_compressed_are_not_read_as_zeros(voxels, tmp_path):
    folder = write_precomputed(tmp_path / "gz", voxels, compress="gzip")
    with pytest.raises(SourceError, match="cloud-volume writes local chunks that others find with compress=False only"):
        open_layer(folder).array[...]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ome-zarr deprecates what it calls itself
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(voxels, tmp_path, version):
    """By ome-zarr, with its own pyramid."""
    pytest.importorskip("ome_zarr")
    import zarr
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.writer import write_multiscale

    made, kind = (FormatV04(), 2) if version == "0.4" else (FormatV05(), 3)
    folder = tmp_path / "image.zarr"
    root = zarr.open_group(str(folder), mode="w", zarr_format=kind)
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    pyramid = [voxels, voxels[:, ::2, ::2].copy()]
    transforms = [
        [{"type": "scale", "scale": [0.04, 0.005, 0.004]}],
        [{"type": "scale", "scale": [0.04, 0.01, 0.008]}, {"type": "translation", "translation": [0, 0.0025, 0.002]}],
    ]
    write_multiscale(pyramid, root, fmt=made, axes=axes, coordinate_transformations=transforms)
    attributes = dict(root.attrs)
    for axis in attributes.get("ome", attributes)["multiscales"][0]["axes"]:
        axis["unit"] = "micrometer"  # ome-zarr 0.21 leaves it out
    root.attrs.update(attributes)
    for mip, wanted in enumerate(pyramid):
        image = open_layer(folder, mip=mip)
        assert image.grid.axes == "zyx"
        assert np.array_equal(image.array[...], wanted)
        np.testing.assert_allclose(image.grid.spacing, transforms[mip][0]["scale"])
        assert image.grid.unit == "um"
    np.testing.assert_allclose(image.grid.world([0, 0, 0]), [0.002, 0.0025, 0])
    assert image.notes["format"] == "zarr"


def test_zarr_axes_of_length_one_are_left_out_and_channels_come_last(tmp_path):
    zarr = pytest.importorskip("zarr")
    voxels = values((1, 3, *SHAPE), "int16", "tczyx")
    folder = tmp_path / "plain.zarr"
    array = zarr.create_array(str(folder), shape=voxels.shape, chunks=(1, 1, 8, 16, 16), dtype="int16", zarr_format=3)
    array[...] = voxels
    image = open_layer(folder)
    assert (image.grid.axes, image.grid.shape, image.grid.calibrated) == ("zyxc", (*SHAPE, 3), False)
    assert np.array_equal(image.array[...], voxels[0].transpose(1, 2, 3, 0))
    longer = zarr.create_array(str(tmp_path / "t.zarr"), shape=(2, 1, 4, 5, 6), chunks=(1, 1, 4, 5, 6), dtype="int16", zarr_format=2)
    longer[...] = 1
    with pytest.raises(SourceError, match="the axis 't' has 2 entries; volumes have the axes z, y, x and c"):
        open_layer(tmp_path / "t.zarr")


def test_zarr_leaves_out_empty_chunks(tmp_path):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(str(tmp_path / "e.zarr"), shape=(8, 8, 8), chunks=(4, 4, 4), dtype="uint8", zarr_format=2, fill_value=7)
    array[:4] = 9
    image = open_layer(tmp_path / "e.zarr")
    assert image.array[3, 0, 0] == 9
    assert image.array[4, 0, 0] == 7
    with pytest.raises(SourceError, match="missing chunks can be filled"):
        open_layer(tmp_path / "e.zarr", missing="error").array[4:, :, :]


def write_n5(folder, voxels, block, **attributes):
    """N5 by its specification: attributes.json, and big-endian blocks with a header of mode, rank and size; x is fastest."""
    folder.mkdir(parents=True)
    shape = voxels.shape[::-1]
    described = {"dimensions": shape, "blockSize": block, "dataType": str(voxels.dtype), "compression": {"type": "gzip"}, **attributes}
    (folder / "attributes.json").write_text(json.dumps(described))
    for index in np.ndindex(*(-(-n // b) for n, b in zip(shape, block, strict=True))):
        where = tuple(slice(i * b, (i + 1) * b) for i, b in zip(index, block, strict=True))
        part = voxels[where[::-1]]
        header = struct.pack(f">HH{len(shape)}I", 0, len(shape), *part.shape[::-1])
        file = folder.joinpath(*map(str, index))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(header + gzip.compress(part.astype(voxels.dtype.newbyteorder(">")).tobytes(), mtime=0))


def test_n5_with_downsampling_factors(tmp_path):
    voxels = values(SHAPE, "uint16", "n5")
    folder = tmp_path / "v.n5"
    resolution = {"dimensions": [4, 5, 40], "unit": "nm"}
    write_n5(folder / "s0", voxels, (16, 16, 8), pixelResolution=resolution)
    write_n5(folder / "s1", voxels[:, ::2, ::2].copy(), (16, 16, 8), pixelResolution=resolution, downsamplingFactors=[2, 2, 1])
    (folder / "attributes.json").write_text(json.dumps({"n5": "2.0.0"}))
    fine, coarse = open_layer(folder), open_layer(folder, mip=1)
    assert np.array_equal(fine.array[...], voxels)
    assert np.array_equal(coarse.array[...], voxels[:, ::2, ::2])
    assert (fine.grid.spacing, coarse.grid.spacing, fine.grid.unit) == ((40, 5, 4), (40, 10, 8), "nm")
    np.testing.assert_allclose(coarse.grid.world([0, 0, 0]), [2, 2.5, 0])
    array = open_layer(folder / "s1")
    assert np.array_equal(array.array[...], voxels[:, ::2, ::2])


def test_n5_of_open_organelle(tmp_path):
    voxels = values(SHAPE, "uint8", "cosem")
    folder = tmp_path / "em.n5"
    transform = {"axes": ["z", "y", "x"], "scale": [5.24, 4.0, 4.0], "translate": [1.0, 2.0, 3.0], "units": ["nm"] * 3}
    write_n5(folder / "s0", voxels, (16, 16, 8), transform=transform)
    (folder / "attributes.json").write_text(json.dumps({"multiscales": [{"datasets": [{"path": "s0", "transform": transform}]}]}))
    image = open_layer(folder)
    assert np.array_equal(image.array[...], voxels)
    assert (image.grid.spacing, image.grid.unit) == ((5.24, 4, 4), "nm")
    np.testing.assert_allclose(image.grid.world([0, 0, 0]), [3, 2, 1])


def test_it_crosses_processes(precomputed, voxels):
    array = open_layer(precomputed).array
    assert np.array_equal(pickle.loads(pickle.dumps(array))[2:4], voxels[2:4])


@pytest.mark.parametrize(
    ("text", "url", "format"),
    [
        ("precomputed://gs://bucket/a/b/", "gs://bucket/a/b", "precomputed"),
        ("zarr://https://host:80/i.zarr", "https://host:80/i.zarr", "zarr"),
        ("s3://bucket/x.n5", "s3://bucket/x.n5", ""),
        ("zarr3://file:///data/x", "file:///data/x", "zarr"),
        ("gs://bucket/x.zarr|zarr3:", "gs://bucket/x.zarr", "zarr"),
    ],
)
def test_addresses(text, url, format):
    address = parse(text)
    assert (address.url, address.format) == (url, format)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bucket/path", r"this is no address of a volume \(write precomputed://gs://bucket/path"),
        ("ftp://host/x", "this is no address of a volume"),
        ("jpeg://gs://bucket/x", "'jpeg' is no format that is known here"),
        ("zarr://file://x.zarr", "a file address needs an absolute path"),
    ],
)
def test_what_is_no_address(text, message):
    with pytest.raises(SourceError, match=message):
        parse(text)


def test_what_is_no_volume(tmp_path):
    (tmp_path / "x.zarr").mkdir()
    with pytest.raises(SourceError, match=r"there is no precomputed, zarr or n5 volume here: no info, .zattrs"):
        open_layer(tmp_path / "x.zarr")
    with pytest.raises(SourceError, match="there is no such folder"):
        open_layer(tmp_path / "y.zarr")
    (tmp_path / "x.zarr" / "info").write_text('{"scales": [{}], "num_channels": 1}')
    with pytest.raises(SourceError, match="the metadata of this precomputed volume cannot be understood: KeyError 'resolution'"):
        open_layer(tmp_path / "x.zarr")
    (tmp_path / "x.zarr" / "info").write_text("{")
    with pytest.raises(SourceError, match="the metadata of this precomputed volume cannot be understood"):
        open_layer(tmp_path / "x.zarr")
    file = tmp_path / "f.zarr"
    file.write_text("")
    with pytest.raises(SourceError, match="chunked volumes are folders, this is a file"):
        open_layer(file)
    assert TensorStoreReader().sniff(file) == "chunked volumes are folders"
    (tmp_path / "empty.n5").mkdir()
    assert "none of info" in TensorStoreReader().sniff(tmp_path / "empty.n5")


def test_in_a_run(precomputed, voxels, tmp_path):
    spec = {
        "version": 1,
        "name": "cubes",
        "source": {"use": "list", "cases": [{"case": "em", "layers": {"image": {"uri": f"precomputed://file://{precomputed}", "mip": 0}}}]},
        "read": {"*": {"use": "tensorstore"}},
        "rois": [{"use": "grid", "size": 10}],
        "write": [{"use": "npy", "path": "{case}/{z0}_{y0}_{x0}.npy"}],
        "output": "out",
    }
    summary = curate_core.run(spec, folder=tmp_path, workers=2)
    assert (summary.written, summary.exit_code) == (2 * 3 * 4, 0)
    for row, sample in zip((dataset := curate_core.open(tmp_path / "out")).rows(), dataset, strict=True):
        (z, y, x), (z1, y1, x1) = row["views"][""]["start"], row["views"][""]["stop"]
        assert np.array_equal(sample["image"], voxels[z:z1, y:y1, x:x1])
        assert row["sources"]["image"] == [f"precomputed://file://{precomputed}"]


def write_pyramid(folder, voxels, factors, offset):
    """Precomputed levels by cloud-volume, each of plain strides; factors are x, y, z."""
    cloudvolume = pytest.importorskip("cloudvolume")
    volume = cloudvolume.CloudVolume(f"file://{write_precomputed(folder, voxels, offset=offset)}", compress=False, progress=False)
    for factor in factors:
        volume.add_scale(factor)
    volume.commit_info()
    for mip in range(1, len(factors) + 1):
        level = cloudvolume.CloudVolume(f"file://{folder}", mip=mip, compress=False, progress=False)
        level[:, :, :] = np.full(level.shape, mip, voxels.dtype)
    return folder


def test_an_overview_is_the_coarsest_level_within_a_factor(voxels, tmp_path):
    """Its note leads from its voxels to those of mip: checked against the worlds of both, whatever the volume's offset."""
    folder = write_pyramid(tmp_path / "pyramid", voxels, [(2, 2, 1), (4, 4, 2), (8, 8, 4)], (9, 22, 5))
    for mip, most, wanted in ((0, 1, 0), (0, 2, 1), (0, 3, 1), (0, 7, 2), (0, 1000, 3), (1, 2, 2), (1, 4, 3), (3, 128, 3), (-4, 4, 2)):
        image, fine = open_layer(folder, mip=mip, coarser=most), open_layer(folder, mip=mip)
        assert image.notes["mip"] == wanted
        assert set(np.unique(image.array[...])) == {wanted} or wanted == 0
        if wanted == mip % 4:
            assert "of" not in image.notes
            continue
        of = image.notes["of"]
        for index in np.ndindex(2, 2, 2):
            place = np.array(of["first"]) + np.array(of["factor"]) * index
            np.testing.assert_allclose(fine.grid.world(place), image.grid.world(index))
        assert max(of["factor"]) <= most


def test_levels_that_do_not_say_how_coarse_they_are_count_as_halves(tmp_path):
    voxels = values(SHAPE, "uint8", "silent")
    for level in range(3):
        part = voxels[:: 2**level, :: 2**level, :: 2**level].copy()
        write_n5(tmp_path / f"v.n5/s{level}", part, (16, 16, 8))
    (tmp_path / "v.n5/attributes.json").write_text("{}")
    image = open_layer(tmp_path / "v.n5", coarser=3)
    assert (image.notes["mip"], image.notes["of"]) == (1, {})
    assert open_layer(tmp_path / "v.n5", coarser=4).notes["mip"] == 2
