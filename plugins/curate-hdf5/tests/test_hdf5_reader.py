"""The reader against files that h5py, nxtomo and hdf5plugin write."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from curate_hdf5.lazy import cache_bytes
from curate_hdf5.reader import Hdf5Reader
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core import Image, LayerSource, SourceError, read
from curate_core.structure import Mistakes, structure
from curate_core.testing import context, run_spec

RNG = np.random.default_rng(0)
VOLUME = RNG.integers(0, 60000, (6, 8, 10)).astype(np.uint16)


def reader(**options: Any) -> Hdf5Reader:
    made: Hdf5Reader = structure(options, Hdf5Reader, Path())
    return made


def open_hdf5(path: Path, **options: Any) -> Image:
    return reader(**options).open(LayerSource((path,)), context("read"))


def write(path: Path, data: Any = VOLUME, name: str = "data", attributes: Any = None, **options: Any) -> Path:
    with h5py.File(path, "a") as file:
        file.create_dataset(name, data=data, **options).attrs.update(attributes or {})
    return path


# Which dataset.


def test_several_images_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", name="raw")
    write(path, VOLUME.astype("f4"), "sub/labels")
    write(path, np.eye(4), "affine")
    write(path, np.zeros((100, 3)), "points")
    with pytest.raises(SourceError) as caught:
        open_hdf5(path)
    assert caught.value.message == "2 datasets may be the image: /raw (6 x 8 x 10 uint16); /sub/labels (6 x 8 x 10 float32)"
    assert caught.value.hint == 'name one with the reader\'s option "dataset"'
    assert np.array_equal(read(open_hdf5(path, dataset="sub/labels").array), VOLUME)
    assert open_hdf5(path, dataset="/affine").grid.shape == (4, 4)


def test_matrices_and_points_beside_it_do_not_hide_the_image(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", name="raw")
    write(path, np.eye(4), "affine")
    write(path, np.zeros((100, 3)), "points")
    write(path, np.arange(9), "line")
    assert open_hdf5(path).notes["dataset"] == "/raw"
    only = write(tmp_path / "w.h5", np.eye(4), "small")
    assert open_hdf5(only).grid.shape == (4, 4)


def test_one_array_under_several_names_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", name="a/raw")
    with h5py.File(path, "a") as file:
        file["b"] = file["a/raw"]
        file["c"] = h5py.SoftLink("/a/raw")
        file["loop"] = h5py.SoftLink("/loop")
    assert open_hdf5(path).notes["dataset"] == "/a/raw"
    assert np.array_equal(read(open_hdf5(path, dataset="c").array), VOLUME)
    with pytest.raises(SourceError, match="lead in circles"):
        open_hdf5(path, dataset="loop")


def test_a_file_without_an_image(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", np.arange(5), "line")
    with pytest.raises(SourceError, match="there is no image in the file"):
        open_hdf5(path)
    assert open_hdf5(path, dataset="line").grid.axes == "x"


def test_misspelt_paths(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", name="volumes/raw")
    with pytest.raises(SourceError) as caught:
        open_hdf5(path, dataset="volumes/row")
    assert caught.value.message == "there is no 'row' in /volumes, which holds raw"
    assert caught.value.hint == "did you mean 'raw'?"
    with pytest.raises(SourceError, match="/volumes is a group, expected a dataset; it holds raw"):
        open_hdf5(path, dataset="volumes")
    with pytest.raises(SourceError, match="/volumes/raw is no group, so that there is no"):
        open_hdf5(path, dataset="volumes/raw/deeper")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.float64(3), "is a single number"),
        (h5py.Empty("f4"), "is empty: it has a type and no values"),
        ("text", "holds texts, references or lists"),
        (np.zeros((0, 5)), r"has shape \(0, 5\), which holds no voxels"),
        (np.zeros((3, 5), [("r", "u1"), ("g", "u1")]), "compound values with the fields r, g"),
        (np.array([[b"a", b"b"]]), "holds texts"),
        (np.zeros((3, 5), np.dtype("V4")), "holds opaque bytes"),
    ],
)
def test_what_is_no_image(tmp_path: Path, value: Any, reason: str) -> None:
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["data"] = value
    with pytest.raises(SourceError, match=f"/data {reason}|/data .*{reason}"):
        open_hdf5(tmp_path / "v.h5", dataset="data")


def test_the_dataset_may_depend_on_the_case(tmp_path: Path) -> None:
    for case, stain in (("a", "nissl"), ("b", "gfp")):
        (tmp_path / stain).mkdir()
        write(tmp_path / stain / f"{case}.h5", VOLUME, f"volumes/{stain}/{case}")
        write(tmp_path / stain / f"{case}.h5", VOLUME + 1, "other")
    spec = {
        "source": {"use": "files", "pattern": "{stain}/{case}.h5"},
        "read": {"*": {"use": "hdf5", "dataset": "volumes/{stain}/{case}"}},
        "rois": [{"use": "whole"}],
        "write": [{"use": "npy", "path": "{case}.npy"}],
    }
    dataset = run_spec(spec, tmp_path)
    assert len(dataset) == 2
    for sample in dataset:
        assert np.array_equal(sample["image"], VOLUME)


def test_several_layers_of_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", VOLUME, "raw")
    write(path, VOLUME % 5, "labels")
    layers = {name: {"files": "v.h5", "dataset": name} for name in ("raw", "labels")}
    spec = {
        "source": {"use": "list", "cases": [{"case": "v", "layers": layers}]},
        "read": {"*": {"use": "hdf5"}},
        "rois": [{"use": "grid", "size": [3, 4, 5]}],
        "write": [{"use": "npy", "path": "{roi}/{array}.npy"}],
    }
    for sample in run_spec(spec, tmp_path):
        assert np.array_equal(sample["raw"] % 5, sample["labels"])


def test_an_index_takes_one_of_a_stack(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", np.stack([VOLUME, VOLUME + 1]), chunks=(1, 3, 4, 5))
    image = open_hdf5(path, index=1, spacing=[3.0, 2.0, 1.0], unit="nm")
    assert (image.grid.axes, image.grid.spacing, image.notes["index"]) == ("zyx", (3.0, 2.0, 1.0), 1)
    assert np.array_equal(read(image.array), VOLUME + 1)
    assert np.array_equal(read(open_hdf5(path, index=-2, axes="zyx").array), VOLUME)
    with pytest.raises(SourceError, match="there is no index 2"):
        open_hdf5(path, index=2)


# Axes and voxel size.

UNITS = [("nm", 4.0, "nm"), ("micrometer", 4.0, "um"), ("cm", 40.0, "mm"), ("angstrom", 0.4, "nm"), ("pixel", 4.0, "")]


@pytest.mark.parametrize("name", ["spacing", "voxel_size", "voxelsize", "resolution", "pixel_size"])
@pytest.mark.parametrize(("unit", "size", "ours"), UNITS)
def test_voxel_sizes(tmp_path: Path, name: str, unit: str, size: float, ours: str) -> None:
    path = write(tmp_path / "v.h5", attributes={name: [40.0, 4.0, 4.0], "units": [unit] * 3})
    grid = open_hdf5(path).grid
    assert grid.calibrated
    assert grid.unit == ours
    assert grid.spacing == pytest.approx((10 * size, size, size))


def test_element_size_um(tmp_path: Path) -> None:
    attributes = {"element_size_um": [0.5, 0.2, 0.1]}
    volume = open_hdf5(write(tmp_path / "v.h5", attributes=attributes)).grid
    plane = open_hdf5(write(tmp_path / "w.h5", VOLUME[0], attributes=attributes)).grid
    assert (volume.spacing, volume.unit) == ((0.5, 0.2, 0.1), "um")
    assert (plane.spacing, plane.unit) == ((0.2, 0.1), "um")


@pytest.mark.parametrize("wrong", [[1.0, 0.0, 1.0], [1.0, np.nan, 1.0], [1.0, 2.0], "a", [-1.0] * 3])
def test_nonsense_is_no_voxel_size(tmp_path: Path, wrong: Any) -> None:
    assert not open_hdf5(write(tmp_path / "v.h5", attributes={"spacing": wrong})).grid.calibrated


def test_options_overrule_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", attributes={"spacing": [1.0, 1.0, 1.0], "axes": "zyx"})
    grid = open_hdf5(path, axes="ayx", spacing=[2.0, 3.0], unit="mm").grid
    assert (grid.axes, grid.spacing, grid.unit) == ("ayx", (2.0, 3.0), "mm")
    assert open_hdf5(path, axes="xyz").grid.axes == "xyz"
    with pytest.raises(SourceError, match=r"2 spacings for the 3 spatial axes"):
        open_hdf5(path, spacing=[2.0, 3.0])
    for wrong in ("zy", "zyy", "z1x"):
        with pytest.raises(SourceError, match="does not name them"):
            open_hdf5(path, axes=wrong)
    with pytest.raises(Mistakes):
        reader(spacing=[0.0])


TAGS = '{"axes": [{"key": "t", "typeFlags": 8}, {"key": "y", "typeFlags": 2}, {"key": "x", "typeFlags": 2}]}'


@pytest.mark.parametrize(
    ("attributes", "axes"),
    [
        ({"axes": "tyx"}, "tyx"), ({"axes": "TYX"}, "tyx"), ({"axes": "t,y,x"}, "tyx"), ({"axes": ["time", "row", "column"]}, "tyx"),
        ({"axes": np.array([b"rotation_angle", b"y", b"x"])}, "ayx"), ({"axistags": TAGS}, "tyx"), ({"axes": "yx"}, "zyx"),
        ({"axes": "qqx"}, "zyx"), ({"axes": ["", "y", "x"]}, "zyx"), ({"axistags": "{"}, "zyx"), ({"axes": 3}, "zyx"),
    ],
)  # fmt: skip
def test_axes(tmp_path: Path, attributes: Any, axes: str) -> None:
    assert open_hdf5(write(tmp_path / "v.h5", attributes=attributes)).grid.axes == axes


def test_labels_of_dimensions(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5")
    with h5py.File(path, "a") as file:
        for number, label in enumerate(("c", "y", "x")):
            file["data"].dims[number].label = label
    assert open_hdf5(path).grid.axes == "cyx"


def test_five_axes_must_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", VOLUME[None, None])
    with pytest.raises(SourceError, match="5 axes, and the file does not name them"):
        open_hdf5(path)
    assert open_hdf5(path, axes="tczyx").grid.axes == "tczyx"


def nexus(path: Path, positions: Any, units: str) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("entry")
        group.attrs["NX_class"] = "NXentry"
        group = group.create_group("data")
        group.attrs.update({"NX_class": "NXdata", "signal": "counts", "axes": ["z", "y", "x"]})
        group["counts"], group["mask"] = VOLUME, VOLUME > 5
        group["z"], group["y"], group["x"] = positions, np.arange(8.0), 0.5 * np.arange(10)
        for axis in "zyx":
            group[axis].attrs["units"] = units
        file["entry"].attrs["default"] = "data"
    return path


def test_nexus_axes(tmp_path: Path) -> None:
    image = open_hdf5(nexus(tmp_path / "v.nxs", 100 - 2.0 * np.arange(6), "m"))
    assert (image.grid.axes, image.grid.spacing, image.grid.unit) == ("zyx", (2000.0, 1000.0, 500.0), "mm")
    assert image.notes["dataset"] == "/entry/data/counts"
    assert np.array_equal(read(image.array), VOLUME)


@pytest.mark.parametrize("positions", [np.array([0, 1, 2, 4, 5, 6.0]), np.zeros(6), np.arange(5.0), np.full(6, np.nan)])
def test_nexus_axes_that_are_no_grid(tmp_path: Path, positions: Any) -> None:
    image = open_hdf5(nexus(tmp_path / "v.nxs", positions, "mm"))
    assert not image.grid.calibrated


def test_files_of_nxtomo(tmp_path: Path) -> None:
    pytest.importorskip("nxtomo", reason="nxtomo, the ESRF's writer of NXtomo files, is not installed")
    code = """
import sys, numpy, pint
from nxtomo.application.nxtomo import NXtomo
from nxtomo.nxobject.nxdetector import ImageKey
scan = NXtomo()
scan.instrument.detector.data = numpy.arange(7 * 6 * 8, dtype=numpy.uint16).reshape(7, 6, 8)
scan.instrument.detector.image_key_control = [ImageKey.DARK_FIELD, ImageKey.FLAT_FIELD] + [ImageKey.PROJECTION] * 5
scan.sample.rotation_angle = numpy.linspace(0, 180, 7) * pint.get_application_registry().degree
scan.save(sys.argv[1], data_path="entry0000", overwrite=True)
"""
    path = tmp_path / "scan.nxs"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(path)], check=True, capture_output=True, timeout=120)
    truth = np.arange(7 * 6 * 8, dtype=np.uint16).reshape(7, 6, 8)
    image = open_hdf5(path, axes="ayx")
    assert image.notes["dataset"] == "/entry0000/data/data"
    assert np.array_equal(read(image.array), truth)
    named = open_hdf5(path, dataset="{entry}/instrument/detector/data".replace("{entry}", "entry0000"))
    assert np.array_equal(read(named.array), truth)
    assert np.array_equal(read(open_hdf5(path, dataset="entry0000/sample/rotation_angle", axes="a").array), np.linspace(0, 180, 7))


# Voxels.


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_box_of_any_layout(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    dtype = data.draw(st.sampled_from(["?", "u1", "<i2", ">i2", ">u4", "<u8", "<f2", ">f4", "<f8", "<c8"]))
    array = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    layout: dict[str, Any] = {}
    if data.draw(st.booleans()):
        layout["chunks"] = tuple(data.draw(st.integers(1, n)) for n in shape)
        layout |= data.draw(st.sampled_from([{}, {"compression": "gzip"}, {"compression": "lzf", "shuffle": True}, {"fletcher32": True}]))
    version = data.draw(st.sampled_from(["earliest", "latest"]))
    path = tmp_path_factory.mktemp("box") / "v.h5"
    with h5py.File(path, "w", libver=version, userblock_size=data.draw(st.sampled_from([0, 512, 2048]))) as file:
        file.create_dataset("a", data=array, **layout)
    assert reader().sniff(path) is None
    image = open_hdf5(path, dataset="a", axes="abcd"[: len(shape)])
    where = tuple(slice(a, data.draw(st.integers(a, n))) for n in shape for a in [data.draw(st.integers(0, n - 1))])
    found = read(image.array, where)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert image.dtype.newbyteorder("=") == found.dtype
    assert np.array_equal(found, array[where])


def test_enumerations_are_numbers(tmp_path: Path) -> None:
    kind = h5py.enum_dtype({"soil": 0, "root": 3}, basetype="u1")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("data", data=VOLUME % 4, dtype=kind)
    image = open_hdf5(tmp_path / "v.h5")
    assert image.dtype == np.dtype("uint8")
    assert np.array_equal(read(image.array), VOLUME % 4)


def test_voxels_that_were_never_written_are_the_fill_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("data", (6, 8, 10), "u2", fillvalue=7)
    assert (read(open_hdf5(tmp_path / "v.h5").array) == 7).all()


def test_memory_of_open_layers() -> None:
    assert cache_bytes((100, 100, 100), None, 4) == 0
    assert cache_bytes((100, 100, 100), (10, 50, 50), 4) == 4 * 10 * 50 * 50 * 4
    assert cache_bytes((4000, 4000, 4000), (64, 64, 64), 4) == 64 << 20
    assert cache_bytes((4000, 4000, 4000), (1, 40000, 40000), 1) == 40000 * 40000


def test_resident_counts_the_cache_of_chunks(tmp_path: Path) -> None:
    mapped, chunked = write(tmp_path / "v.h5"), write(tmp_path / "w.h5", chunks=(2, 8, 10))
    assert reader().resident(LayerSource((mapped,))) == 0
    assert reader().resident(LayerSource((chunked,))) == 2 * 8 * 10 * 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_handles_do_not_cross_processes(tmp_path: Path, method: str) -> None:
    path = write(tmp_path / "v.h5", chunks=(2, 3, 4), compression="gzip")
    image = open_hdf5(path)
    assert np.array_equal(read(image.array), VOLUME)
    if method == "fork":
        end, child_end = os.pipe()
        child = os.fork()
        if child == 0:
            same = np.array_equal(read(image.array), VOLUME) and image.array._open[0] == os.getpid()  # type: ignore[attr-defined]
            os.write(child_end, b"same" if same else b"other")
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(end, 5) == b"same"
        os.close(end)
        os.close(child_end)
    else:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert np.array_equal(pool.apply(read, (image.array,)), VOLUME)
    assert np.array_equal(read(image.array), VOLUME)


def test_a_file_that_is_replaced_by_another_shape(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", chunks=(2, 3, 4))
    image = open_hdf5(path)
    path.unlink()
    write(path, VOLUME[1:], chunks=(2, 3, 4))
    with pytest.raises(SourceError, match="the file changed"):
        read(image.array)


# Other files.


def outside(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path / "in" / "v.h5", tmp_path / "out" / "voxels.h5"


def test_external_links_within_the_folder(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    voxels = write(tmp_path / "parts" / "voxels.h5", name="deep/data")
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        file["entry"] = h5py.ExternalLink("parts/voxels.h5", "/deep")
        file["broken"] = h5py.ExternalLink("gone.h5", "/data")
    image = open_hdf5(path)
    assert image.notes["dataset"] == "/entry/data"
    assert np.array_equal(read(image.array), VOLUME)
    assert reader().companions(path) == (voxels,)
    with pytest.raises(SourceError, match="the external link to /data leads to gone.h5, which is not there"):
        open_hdf5(path, dataset="broken")


def test_links_out_of_the_folder_are_asked_for(tmp_path: Path) -> None:
    path, voxels = outside(tmp_path)
    write(voxels)
    with h5py.File(path, "w") as file:
        file["data"] = h5py.ExternalLink("../out/voxels.h5", "/data")
    with pytest.raises(SourceError, match="leads out of the file's folder") as caught:
        open_hdf5(path, dataset="data")
    assert '"follow_links": true' in caught.value.hint
    image = open_hdf5(path, dataset="data", follow_links=True)
    assert np.array_equal(read(image.array), VOLUME)
    assert [other.resolve() for other in reader(follow_links=True).companions(path)] == [voxels]


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["data"] = h5py.ExternalLink("pipe.h5", "/data")
    with pytest.raises(SourceError, match="leads to pipe.h5, which is not there"):
        open_hdf5(tmp_path / "v.h5", dataset="data")


def virtual(path: Path, sources: list[str], shape: Any = (6, 8, 10)) -> Path:
    layout = h5py.VirtualLayout((len(sources), *shape), "u2")
    for number, name in enumerate(sources):
        layout[number] = h5py.VirtualSource(name, "data", shape, "u2")
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("all", layout)
    return path


def test_virtual_datasets(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.h5", VOLUME + number, compression="gzip")
    path = virtual(tmp_path / "v.h5", ["0.h5", "1.h5", "2.h5"])
    image = open_hdf5(path, axes="tzyx")
    assert np.array_equal(image.array[1:3, 2:4], np.stack([VOLUME + 1, VOLUME + 2])[:, 2:4])
    assert reader().companions(path) == tuple(tmp_path / f"{number}.h5" for number in range(3))


def test_missing_files_of_a_virtual_dataset_are_no_zeros(tmp_path: Path) -> None:
    write(tmp_path / "0.h5")
    path = virtual(tmp_path / "v.h5", ["0.h5", "1.h5"])
    with h5py.File(path) as file:
        assert not file["all"][1].any(), "HDF5 itself reads zeros"
    with pytest.raises(SourceError, match="the virtual dataset /all leads to 1.h5, which is not there"):
        open_hdf5(path, axes="tzyx")


def test_virtual_datasets_out_of_the_folder(tmp_path: Path) -> None:
    path, voxels = outside(tmp_path)
    write(voxels)
    virtual(path, [str(voxels)])
    with pytest.raises(SourceError, match="the virtual dataset /all leads out of the file's folder"):
        open_hdf5(path, axes="tzyx")
    assert np.array_equal(read(open_hdf5(path, axes="tzyx", follow_links=True).array)[0], VOLUME)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_external_storage(tmp_path: Path, dtype: str) -> None:
    (tmp_path / "v.raw").write_bytes(b"header" + VOLUME.astype(dtype).tobytes())
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("data", VOLUME.shape, dtype, external=[("v.raw", 6, h5py.h5f.UNLIMITED)])
    image = open_hdf5(tmp_path / "v.h5")
    assert np.array_equal(read(image.array), VOLUME)
    assert reader().companions(tmp_path / "v.h5") == (tmp_path / "v.raw",)
    (tmp_path / "v.raw").write_bytes(b"header")
    with pytest.raises(SourceError, match="needs 966: the file is cut short"):
        open_hdf5(tmp_path / "v.h5")
    (tmp_path / "v.raw").unlink()
    with pytest.raises(SourceError, match="the external storage of /data leads to v.raw, which is not there"):
        open_hdf5(tmp_path / "v.h5")


def test_external_storage_in_several_files(tmp_path: Path) -> None:
    for name in ("a.raw", "b.raw"):
        (tmp_path / name).write_bytes(bytes(480))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("data", VOLUME.shape, "u2", external=[("a.raw", 0, 480), ("b.raw", 0, 480)])
    with pytest.raises(SourceError, match="external storage in 2 files"):
        open_hdf5(tmp_path / "v.h5")


# Files that do not open.


def test_a_file_that_was_cut_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", np.zeros((50, 50, 50)))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SourceError, match="has the signature of HDF5, but is cut short") as caught:
        open_hdf5(path)
    assert "copy it again" in caught.value.hint
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(SourceError, match="has the signature of HDF5, but is cut short"):
        open_hdf5(path)


def test_a_file_that_another_program_writes(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'w', libver='latest'); f['data'] = [[1]]; f.flush(); print(1, flush=True); input()"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(SourceError, match="is locked by a program that writes it|is still being written"):
            open_hdf5(path)
        other.kill()
    with pytest.raises(SourceError, match="was not closed by the program that wrote it") as caught:
        open_hdf5(path)
    assert "h5clear" in caught.value.hint


def test_hdf4_is_another_format(tmp_path: Path) -> None:
    (tmp_path / "v.hdf").write_bytes(b"\x0e\x03\x13\x01" + bytes(1000))
    assert "HDF4" in str(reader().sniff(tmp_path / "v.hdf"))


def test_filters_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "v.h5", chunks=(2, 3, 4), compression="lzf")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code != 32000)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(SourceError, match=r"/data is compressed with lzf \(HDF5 filter 32000\), which is not installed") as caught:
        open_hdf5(path)
    assert caught.value.hint == "pip install hdf5plugin"


@pytest.mark.skipif(importlib.util.find_spec("hdf5plugin") is None, reason="hdf5plugin is not installed")
def test_filters_of_hdf5plugin(tmp_path: Path) -> None:
    code = """
import sys, h5py, hdf5plugin, numpy
with h5py.File(sys.argv[1], "w") as file:
    data = numpy.arange(480, dtype="u2").reshape(6, 8, 10)
    file.create_dataset("data", data=data, chunks=(2, 8, 10), **hdf5plugin.Bitshuffle())
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "v.h5")], check=True, timeout=60)
    assert np.array_equal(read(open_hdf5(tmp_path / "v.h5").array), np.arange(480).reshape(6, 8, 10))


def test_a_damaged_chunk_harms_only_boxes_that_touch_it(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", chunks=(3, 8, 10), compression="gzip")
    with h5py.File(path) as file:
        offset = file["data"].id.get_chunk_info(1).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * 20)
    image = open_hdf5(path)
    assert np.array_equal(image.array[:3], VOLUME[:3])
    with pytest.raises(SourceError, match="the file may be damaged") as caught:
        image.array[2:4]
    assert "v.h5" in str(caught.value)


def test_one_file_a_layer(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="hdf5 reads one file a layer, got 2"):
        reader().open(LayerSource((tmp_path / "a.h5", tmp_path / "b.h5")), context("read"))
