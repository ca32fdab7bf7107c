"""specs/em/ngff.json on layers that cloud-volume, ome-zarr, zarr and tensorstore wrote, on disk and behind a server of this machine."""

import functools
import http.server
import json
import re
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

import curate_core
from curate_core.runner import run

cloudvolume = pytest.importorskip("cloudvolume")
ts = pytest.importorskip("tensorstore")
zarr = pytest.importorskip("zarr")
pytest.importorskip("ome_zarr")

SPEC = Path(__file__).parents[2] / "specs/em/ngff.json"
SHAPE = (48, 80, 96)
COLUMNS = (
    ["url", "source", "api", "download_url", "volume_name", "mip", "voxel_x", "voxel_y", "voxel_z", "crop", "crop_size", "invert", "padding_value"]
)  # fmt: skip
NAME = re.compile(r"(\w+)_s(\d)-ROI-x(\d+)-(\d+)_y(\d+)-(\d+)_z(\d+)-(\d+)\.nrrd")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, whole or a range of bytes; slow, and now and then unwell."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str]]
    fails: dict[str, int]
    slow = 0.0

    def do_GET(self):
        time.sleep(self.slow)
        self.asked.append((self.path, self.headers.get("Range", "")))
        name = next((n for n, left in self.fails.items() if n in self.path and left), None)
        if name is not None:
            self.fails[name] -= 1
            self.send_error(503)
            return
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        file = Path(self.translate_path(self.path))
        if found is None or not file.is_file():
            super().do_GET()
            return
        size = file.stat().st_size
        first, last = (int(found[1]), min(int(found[2] or size - 1), size - 1)) if found[1] else (max(0, size - int(found[2])), size - 1)
        content = file.read_bytes()[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(layers):
    handler = type("Own", (Handler,), {"asked": [], "fails": {}})
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(layers[0])))
    found.daemon_threads = True
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{found.server_port}"
    yield handler
    found.shutdown()
    found.server_close()
    thread.join()


def tissue(seed, padding):
    """Values 20 to 219; a third of the volume, cut off obliquely, is padding."""
    voxels = np.random.default_rng(seed).integers(20, 220, SHAPE, np.uint8)
    z, y, x = np.indices(SHAPE)
    voxels[x + y / 2 + z / 3 > 90] = padding
    return voxels


def pyramid(voxels):
    return [voxels, voxels[:, ::2, ::2].copy(), voxels[::2, ::4, ::4].copy()]


def write_precomputed(folder, voxels, offset):
    info = cloudvolume.CloudVolume.create_new_info(
        1, "image", "uint8", "raw", [4, 5, 40], offset, voxels.shape[::-1], chunk_size=[32, 32, 16]
    )
    volume = cloudvolume.CloudVolume(f"file://{folder}", info=info, compress=False, progress=False)
    volume.add_scale((2, 2, 1))
    volume.add_scale((4, 4, 2))
    volume.commit_info()
    for mip, level in enumerate(pyramid(voxels)):
        cloudvolume.CloudVolume(f"file://{folder}", mip=mip, compress=False, progress=False)[:, :, :] = level.transpose(2, 1, 0)


def write_ome_zarr(folder, voxels):
    from ome_zarr.format import FormatV04
    from ome_zarr.writer import write_multiscale

    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "nanometer"} for n in "zyx")]
    steps = [[40.0, 5.0, 4.0], [40.0, 10.0, 8.0], [80.0, 20.0, 16.0]]
    transforms = [[{"type": "scale", "scale": [1.0, *step]}] for step in steps]
    root = zarr.open_group(str(folder), mode="w", zarr_format=2)
    write_multiscale([level[None] for level in pyramid(voxels)], root, fmt=FormatV04(), axes=axes, coordinate_transformations=transforms)


def write_sharded(folder, voxels):
    """OME-Zarr 0.5 by zarr, chunks within shards: read by ranges of bytes."""
    steps = ([40.0, 5.0, 4.0], [40.0, 10.0, 8.0], [80.0, 20.0, 16.0])
    datasets = [{"path": f"s{i}", "coordinateTransformations": [{"type": "scale", "scale": step}]} for i, step in enumerate(steps)]
    axes = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
    group = zarr.open_group(
        str(folder), mode="w", zarr_format=3, attributes={"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}
    )
    for i, level in enumerate(pyramid(voxels)):
        group.create_array(f"s{i}", shape=level.shape, dtype="uint8", chunks=(8, 8, 8), shards=(32, 32, 32))[...] = level


def write_n5(folder, voxels):
    """N5 by tensorstore: x is the first axis there."""
    for i, (level, factor) in enumerate(zip(pyramid(voxels), ([1, 1, 1], [2, 2, 1], [4, 4, 2]), strict=True)):
        metadata = {"dimensions": level.shape[::-1], "dataType": "uint8", "blockSize": [32, 32, 16], "compression": {"type": "gzip"},
                    "pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}, "downsamplingFactors": factor}  # fmt: skip
        store = ts.open({"driver": "n5", "kvstore": f"file://{folder}/s{i}/", "metadata": metadata}, create=True).result()
        store.write(level.transpose(2, 1, 0)).result()
    (folder / "attributes.json").write_text('{"n5": "2.0.0"}')


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ngff")
    truth = {name: tissue(seed, padding) for seed, (name, padding) in enumerate({"fly": 0, "mouse": 0, "worm": 0, "yeast": 255}.items())}
    write_precomputed(folder / "fly", truth["fly"], [24, 10, 6])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # ome-zarr deprecates what it calls itself
        write_ome_zarr(folder / "mouse.zarr", truth["mouse"])
    write_sharded(folder / "worm.zarr", truth["worm"])
    write_n5(folder / "yeast.n5", truth["yeast"])
    return folder, truth


def table(folder, rows, separator=","):
    lines = [COLUMNS, *([row.get(column, "") for column in COLUMNS] for row in rows)]
    (folder / "layers.csv").write_text("".join(separator.join(map(str, line)) + "\n" for line in lines))
    return folder / "layers.csv"


def sparse(table, root, out, *more, workers=0):
    settings = [f"source.table={table}", f"source.root={root}", "source.layers.overview.coarser=4", *more]
    return run(SPEC, settings=settings, output=out, workers=workers)


def row_of(name, url, **more):
    common = {"url": "https://example.org", "source": "a lab", "api": "x", "volume_name": name, "download_url": url}
    return {
        **common,
        "mip": 0,
        "voxel_x": 4,
        "voxel_y": 5,
        "voxel_z": 40,
        "crop": True,
        "crop_size": 16,
        "invert": False,
        "padding_value": 0,
        **more,
    }


def cubes(out):
    """File name -> (volume, mip, box in z, y, x, image)."""
    found = {}
    for file in sorted(out.glob("*-ROI-*.nrrd")):
        name, mip, *edges = NAME.fullmatch(file.name).groups()
        x, y, z = (slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))
        found[file.name] = (name, int(mip), (z, y, x), SimpleITK.ReadImage(str(file)))
    return found


def check(out, truth, mips, spacing_nm=(4, 5, 40), inverted=()):
    """Each cube's voxels, size and padding against the volume that was written."""
    found = cubes(out)
    for name, mip, box, image in found.values():
        assert mip == mips[name]
        level = pyramid(truth[name])[mip]
        padding = 255 if name == "yeast" else 0
        values = SimpleITK.GetArrayFromImage(image)
        expected = level[box]
        np.testing.assert_array_equal(values, 255 - expected if name in inverted else expected)
        assert (expected == padding).mean() < 0.45, "0.3 by the overview, whose voxels are coarse"
        assert min(expected.shape) >= 5
        factor = ((1, 1, 1), (2, 2, 1), (4, 4, 2))[mip]
        np.testing.assert_allclose(image.GetSpacing(), [s * f * 1e-6 for s, f in zip(spacing_nm, factor, strict=True)])
    return found


def overview_boxes(voxels, size, padding):
    """Cubes of the volume where the coarsest of its levels (2 x 4 x 4) has less than 30 % of padding."""
    coarse = pyramid(voxels)[2]
    kept = set()
    for z, y, x in np.ndindex(*(n // size for n in voxels.shape)):
        part = coarse[z * size // 2 : (z + 1) * size // 2, y * size // 4 : (y + 1) * size // 4, x * size // 4 : (x + 1) * size // 4]
        if (part == padding).mean() < 0.3:
            kept.add((z * size, y * size, x * size))
    return kept


@pytest.mark.parametrize("separator", [",", "\t"])
def test_all_cubes_of_all_formats_from_relative_addresses(layers, tmp_path, separator):
    folder, truth = layers
    rows = [
        row_of("fly", "precomputed://file://fly"),
        row_of("mouse", "zarr://file://mouse.zarr"),
        row_of("worm", "file://./worm.zarr"),
        row_of("yeast", "n5://file://yeast.n5", invert=True, padding_value=255),
    ]
    assert sparse(table(tmp_path, rows, separator), folder, tmp_path / "out").exit_code == 0
    found = check(tmp_path / "out", truth, dict.fromkeys(truth, 0), inverted=("yeast",))
    for name, voxels in truth.items():
        starts = {tuple(part.start for part in box) for who, _, box, _ in found.values() if who == name}
        assert starts == overview_boxes(voxels, 16, 255 if name == "yeast" else 0)
        assert 20 < len(starts) < 3 * 5 * 6
    dataset = curate_core.open(tmp_path / "out")
    assert dataset.verify() == []
    sources = {row["case"]: row["sources"]["em"] for row in dataset.rows()}
    assert sources == {row["volume_name"]: [row["download_url"].replace("./", "")] for row in rows}, "relative, as they were written"
    assert str(folder) not in (tmp_path / "out/manifest.jsonl").read_text()
    assert {array for row in dataset.rows() for array in row["arrays"]} == {"em"}


def test_budgets_of_a_layer_and_of_all(layers, tmp_path):
    folder, truth = layers
    rows = [row_of("fly", "precomputed://file://fly"), row_of("worm", "zarr://file://worm.zarr")]
    listed = table(tmp_path, rows)
    sparse(listed, folder, tmp_path / "gb", "rois.0.gb=5e-5")
    sparse(listed, folder, tmp_path / "total", "rois.0.gb=5e-5", "filter.0.gb=7e-5")
    sparse(listed, folder, tmp_path / "other", "rois.0.gb=5e-5", "seed=1")
    by_layer = {name: [f for f in cubes(tmp_path / "gb") if f.startswith(name)] for name in ("fly", "worm")}
    assert {name: len(files) for name, files in by_layer.items()} == {"fly": 12, "worm": 12}, "12 x 4,096 bytes are the most below 50,000"
    total = cubes(tmp_path / "total")
    assert len(total) == 17
    assert set(total) < set(cubes(tmp_path / "gb"))
    assert set(cubes(tmp_path / "other")) != set(cubes(tmp_path / "gb"))
    check(tmp_path / "gb", truth, {"fly": 0, "worm": 0})


def test_mips_voxel_sizes_and_whole_layers(layers, tmp_path):
    folder, truth = layers
    empty = {"voxel_x": "", "voxel_y": "", "voxel_z": "", "padding_value": "", "crop": "", "invert": ""}
    rows = [
        row_of("fly", "precomputed://file://fly", mip=1, **empty),
        row_of("mouse", "zarr://file://mouse.zarr", mip=1, voxel_x=9, voxel_y=11, voxel_z=44),
        row_of("worm", "zarr://file://worm.zarr", mip=2, crop=False, **dict.fromkeys(("voxel_x", "voxel_y", "voxel_z"), "")),
    ]
    sparse(table(tmp_path, rows), folder, tmp_path / "out")
    found = cubes(tmp_path / "out")
    fly = {name: image for name, (who, mip, _, image) in found.items() if (who, mip) == ("fly", 1)}
    assert all(np.allclose(image.GetSpacing(), (8e-6, 1e-5, 4e-5)) for image in fly.values()), "the layer's own"
    mouse = {name: image for name, (who, mip, _, image) in found.items() if (who, mip) == ("mouse", 1)}
    assert all(np.allclose(image.GetSpacing(), (9e-6, 1.1e-5, 4.4e-5)) for image in mouse.values()), "the table's"
    assert len(fly) > 3
    assert len(mouse) > 3
    for name, _, box, image in found.values():
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), pyramid(truth[name])[1][box])
    whole = SimpleITK.ReadImage(str(tmp_path / "out/worm_s2.nrrd"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(whole), pyramid(truth["worm"])[2])
    np.testing.assert_allclose(whole.GetSpacing(), (1.6e-5, 2e-5, 8e-5))


def test_behind_a_slow_server_that_fails_now_and_then(layers, server, tmp_path):
    """Retries get everything; chunks in shards are read by ranges, and only under what is cut."""
    folder, truth = layers
    server.slow, server.fails = 0.002, {"fly/info": 1, "s2/c/0/0/0": 1, "yeast.n5/s0/": 2}
    rows = [
        row_of("fly", f"precomputed://{server.url}/fly"),
        row_of("mouse", f"zarr://{server.url}/mouse.zarr"),
        row_of("worm", f"zarr://{server.url}/worm.zarr"),
        row_of("yeast", f"n5://{server.url}/yeast.n5", padding_value=255),
    ]
    assert sparse(table(tmp_path, rows), folder, tmp_path / "out", "rois.0.count=2").exit_code == 0
    assert not any(server.fails.values()), "each was met"
    found = check(tmp_path / "out", truth, dict.fromkeys(truth, 0))
    assert len(found) == 8
    ranges = [asked for path, asked in server.asked if "/worm.zarr/s0/c/" in path]
    assert ranges
    assert all(ranges)
    fine = {path for path, _ in server.asked if re.search(r"/fly/4_5_40/\d", path)}
    assert 0 < len(fine) <= 2 * 2 * 2 * 2
    assert any("/fly/16_20_80/" in path for path, _ in server.asked)


def test_what_fails_for_good_costs_only_itself_and_is_done_by_the_next_run(layers, server, tmp_path):
    folder, truth = layers
    server.fails = {"worm.zarr/s0": 10**9}
    rows = [
        row_of("fly", "precomputed://file://fly"),
        row_of("worm", f"zarr://{server.url}/worm.zarr"),
        row_of("gone", f"precomputed://{server.url}/gone"),
        row_of("deep", "precomputed://file://fly", mip=7),
    ]
    listed, settings = table(tmp_path, rows), ("rois.0.count=2", "read.em.retries=1", "read.overview.retries=1")
    assert sparse(listed, folder, tmp_path / "out", *settings).exit_code == 1
    reasons = {row["case"]: row["reason"] for row in curate_core.open(tmp_path / "out").quarantined()}
    assert set(reasons) == {"worm", "gone", "deep"}
    assert "503" in reasons["worm"]
    assert f"{server.url}/gone" in reasons["gone"]
    assert "there is no level 7: the volume has 3" in reasons["deep"]
    assert len(check(tmp_path / "out", truth, {"fly": 0})) == 2
    server.fails = {}
    assert sparse(listed, folder, tmp_path / "out", *settings).exit_code == 1
    assert {row["case"] for row in curate_core.open(tmp_path / "out").quarantined()} == {"gone", "deep"}
    assert len(check(tmp_path / "out", truth, {"fly": 0, "worm": 0})) == 4


def test_a_layer_of_terabytes_takes_seconds_and_little_memory(tmp_path):
    """4 TB by their shape; the overview says that data are in one corner. A budget of memory that could not hold one slice is kept."""
    steps = (1, 128)
    for level, step in enumerate(steps):
        shape = [-(-n // step) for n in (10_000, 20_000, 20_000)]
        metadata = {"fill_value": 3, "data_type": "uint8"}
        spec = {"driver": "zarr3", "kvstore": f"file://{tmp_path}/big.zarr/s{level}/", "metadata": metadata}
        layout = ts.ChunkLayout(chunk_shape=[64, 64, 64])
        store = ts.open(spec, dtype="uint8", shape=shape, create=True, chunk_layout=layout).result()
        if level:
            values = np.zeros(shape, np.uint8)
            values[20:40, 40:80, 100:150] = 9
            store.write(values).result()
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    datasets = [{"path": f"s{i}", "coordinateTransformations": [{"type": "scale", "scale": [4.0 * s] * 3}]} for i, s in enumerate(steps)]
    attributes = {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}
    (tmp_path / "big.zarr/zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}))
    (tmp_path / "layers.csv").write_text("volume_name,download_url\nbig,zarr://file://big.zarr\n")
    settings = [f"source.table={tmp_path / 'layers.csv'}", f"source.root={tmp_path}", "rois.0.count=3", 'engine.memory="800 MB"']
    assert run(SPEC, settings=settings, output=tmp_path / "out", workers=2).exit_code == 0
    found = cubes(tmp_path / "out")
    assert len(found) == 3
    for _, _, box, image in found.values():
        assert [s.stop - s.start for s in box] == [256] * 3
        assert all(low * 128 <= s.start < high * 128 for s, (low, high) in zip(box, ((20, 40), (40, 80), (100, 150)), strict=True))
        assert np.unique(SimpleITK.GetArrayFromImage(image)).tolist() == [3]


def test_patchify3d_takes_the_cubes_as_volumes(layers, tmp_path):
    """The next step of the workflow: patches of cubes, whose names lead back to the place in the layer."""
    from curate_em.names import parse_loc

    folder, truth = layers
    sparse(table(tmp_path, [row_of("fly", "precomputed://file://fly")]), folder, tmp_path / "cubes", "rois.0.count=3")
    settings = [f"source.root={tmp_path / 'cubes'}", "source.pattern={case}.nrrd", "rois.0.size=16", "rois.0.isotropy_tolerance=100"]
    spec = SPEC.with_name("patchify3d.json")
    assert run(spec, settings=settings, output=tmp_path / "patches", workers=0).exit_code == 0
    dataset = curate_core.open(tmp_path / "patches")
    assert dataset.summary["found"] == 3 * (16 + 16 + 16)
    assert len({row["case"] for row in dataset.rows()}) == 3
    for row, arrays in zip(dataset.rows(), dataset, strict=True):
        place = parse_loc(Path(row["arrays"]["image"]["file"]).name)
        x, y, z = (int(a) for a in NAME.fullmatch(f"{place.dataset}.nrrd").groups()[2::2])
        start, stop = place.box()
        inside = tuple(slice(a + at, b + at) for a, b, at in zip(start, stop, (z, y, x), strict=True))
        np.testing.assert_array_equal(arrays["image"], truth["fly"][inside].squeeze())
