"""The whole path on layers that cloud-volume wrote: three points, offsets -1 -2 -3 permuted, against plain numpy."""

import hashlib
import json
import shutil
import warnings

import h5py
import numpy as np
import pytest
from curate_align.pairfiles import PairFiles, PairHdf5Reader
from scipy import ndimage

import curate_core
from curate_core import LayerSource, RequestError, SourceError
from curate_core.cli.main import main
from curate_core.runner import commit, run, run_shard

pytestmark = pytest.mark.slow

OFFSET = (512, 1024, 100)  # of mip 0, x, y, z
SIZE = (256 * 32, 256 * 32, 12)
MIPS = {"image": 5, "field": 8, "fold": 6, "tissue": 4}
POINTS = [(512 + 1000.5, 1024 + 2000.25, 106), (512 + 3500, 1024 + 600, 105), (512 + 2300, 1024 + 3100, 108)]
STEM = "x1280_y2816_z106_MIP5"  # the first point, down to multiples of 256


def write_layer(folder, name, values, mip):
    """A precomputed layer with scales down to its mip; values (x, y, z, c)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cloudvolume import CloudVolume

        path = f"precomputed://file://{folder}/layers/{name}"
        info = CloudVolume.create_new_info(
            num_channels=values.shape[3], layer_type="image", data_type=values.dtype.name, encoding="raw", resolution=(8, 8, 40),
            voxel_offset=OFFSET, chunk_size=(64, 64, 1), volume_size=SIZE,
        )  # fmt: skip
        volume = CloudVolume(path, info=info, compress=False, progress=False)
        for level in range(1, mip + 1):
            volume.add_scale((2**level, 2**level, 1), chunk_size=(64, 64, 1))
        volume.commit_info()
        volume = CloudVolume(path, mip=mip, compress=False, progress=False, non_aligned_writes=True, fill_missing=True)
        volume[:, :, :] = values
    return values


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    rng = np.random.default_rng(7)
    smooth = ndimage.gaussian_filter(rng.normal(size=(256, 256, 12)), (3, 3, 0.5))
    image = np.clip(128 + 900 * smooth, 1, 255).astype(np.uint8)
    image[40:60, 100:110] = 0
    waves = np.stack(np.meshgrid(np.arange(32), np.arange(32), indexing="ij"))
    field = np.zeros((32, 32, 12, 2), np.float32)
    for z in range(12):
        field[:, :, z, 0] = 100 + 90 * np.sin(waves[0] / 5 + z) + 20 * z
        field[:, :, z, 1] = -70 + 80 * np.cos(waves[1] / 4 - z)
    fold = np.zeros((128, 128, 12), np.uint8)
    fold[20:40, 30:34] = 255
    tissue = np.zeros((512, 512, 12), np.uint8)
    tissue[::7, 100:180] = 250
    layers = {"image": image[..., None], "field": field, "fold": fold[..., None], "tissue": tissue[..., None]}
    for name, values in layers.items():
        write_layer(folder, name, values, MIPS[name])
    rows = ["Coordinate 1,Coordinate 2,Ellipsoid Dimensions,Tags,Description,Segment IDs,Parent ID,Type,ID"]
    rows += [f'"({x}, {y}, {z})",,,,"point {i}",,,Point,{i:040x}' for i, (x, y, z) in enumerate(POINTS)]
    (folder / "points.csv").write_text("\n".join(rows) + "\n")
    return folder, {name: values.transpose(2, 1, 0, 3) for name, values in layers.items()}  # z, y, x, c


def spec(folder, with_field, size=64, reference=96):
    layers = {name: {"uri": f"precomputed://file://{folder}/layers/{name}", "mip": mip} for name, mip in MIPS.items()}
    names = ["image", "field"] if with_field else ["image"]
    if not with_field:
        del layers["field"]
    follow = {"use": "follow-field", "others": ["mask"], "reference_size": [reference, reference], "step_mip": 5}
    normalize = {"use": "normalize-by-reference", "mask": "mask", "reference_size": [reference, reference]}
    transforms = [follow, normalize, {"use": "warp", "view": "tgt"}] if with_field else [normalize]
    files = {"images": "x{first_x}_y{first_y}_z{first_z}_MIP5.h5"}
    if with_field:
        files["field"] = "field_0_x{first_x}_y{first_y}_z{first_z}_MIP5_test.h5"
    return {
        "version": 1, "name": "pairs", "seed": 0,
        "source": {"use": "list", "cases": [{"case": "site", "layers": layers}]},
        "read": {"*": {"use": "tensorstore", "missing": "fill"}},
        "preprocess": [
            {"use": "to-mip", "mip": 5, "layers": names},
            {"use": "mask-union", "layers": ["fold", "tissue"], "thresholds": [178], "like": "image"},
        ],
        "rois": [{"use": "point-pairs", "points": str(folder / "points.csv"), "mip": 5, "size": [size, size], "offsets": [-1, -2, -3],
                  "permute": True, "snap_mip": 8}],
        "transform": transforms, "write": [{"use": "pair-hdf5", **files}],
    }  # fmt: skip


# What the two layers are at mip 5, and one section of a pair, by plain numpy: nothing of curate is used here.


def twice(values):
    """Bilinear to twice the pixels along y and x, half-pixel centres, the border repeated."""
    for axis in (1, 2):
        values = np.moveaxis(values, axis, 0)
        padded = np.concatenate([values[:1], values, values[-1:]])
        out = np.empty((2 * len(values), *values.shape[1:]))
        out[0::2] = 0.25 * padded[:-2] + 0.75 * padded[1:-1]
        out[1::2] = 0.75 * padded[1:-1] + 0.25 * padded[2:]
        values = np.moveaxis(out, 0, axis)
    return values


def eight_times(values):
    for axis in (1, 2):
        centre = np.clip((np.arange(values.shape[axis] * 8) + 0.5) / 8 - 0.5, 0, values.shape[axis] - 1)
        low = np.floor(centre).astype(int)
        share = (centre - low).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        high = np.minimum(low + 1, values.shape[axis] - 1)
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def halved(values):
    return values.reshape(len(values), values.shape[1] // 2, 2, values.shape[2] // 2, 2).mean(axis=(2, 4))


def masks(layers):
    fold, tissue = twice(layers["fold"][..., 0].astype(float)), halved(layers["tissue"][..., 0].astype(float))
    return (fold >= 178) | (tissue >= 178)


def cut(values, z, y, x, height, width):
    return values[z, max(y, 0) : y + height, max(x, 0) : x + width]


def normalized(image, mask, z, y, x, size, reference):
    low = (size - reference) // 2
    region, hidden = (cut(v, z, y + low, x + low, reference, reference) for v in (image, mask))
    seen = region[(region != 0) & ~hidden].astype(float)
    values, hidden = cut(image, z, y, x, size, size).astype(float), cut(mask, z, y, x, size, size)
    return np.where((values == 0) | hidden, 0.0, (values - seen.mean()) / seen.std(ddof=1))


def section(layers, z, y, x, with_field, size=64, reference=96):
    """Image and residual field of one section, before any warp."""
    image, mask = layers["image"][..., 0], masks(layers)
    if not with_field:
        return normalized(image, mask, z, y, x, size, reference), None
    field = eight_times(layers["field"].astype(float))
    low = (size - reference) // 2
    around = cut(field, z, y + low, x + low, reference, reference).reshape(-1, 2)
    shift = np.floor(around.mean(axis=0) / 32) * 32
    residual = (cut(field, z, y, x, size, size) - shift) / 32
    dy, dx = (shift / 32).astype(int)
    return normalized(image, mask, z, y + dy, x + dx, size, reference), residual.transpose(2, 0, 1)


def warped(image, field):
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return ndimage.map_coordinates(np.pad(image, 1), [rows + field[0] + 1, columns + field[1] + 1], order=1, cval=0)


def places():
    for x, y, z in POINTS:
        at = (int(y) // 256 * 256 - OFFSET[1]) // 32, (int(x) // 256 * 256 - OFFSET[0]) // 32
        for offset in (-1, -2, -3):
            for src, tgt in ((z, z + offset), (z + offset, z)):
                yield src - OFFSET[2], tgt - OFFSET[2], *at


def by_commands(folder, to, with_field, size=64, reference=96, mip=5):
    """The same from a template, by the command lines of the document: create-spec, then the importer; ``mip`` of the reference."""
    volumes = {name: {"path": f"file://{folder}/layers/{name}", "src_mip": mip} for name, mip in MIPS.items()}
    around = {"src_mip": 5, "dst_mip": mip, "x_size": reference, "y_size": reference}
    template = {name: {**volumes[name], "reference": {"path": volumes[name]["path"], **around}} for name in ("image", "field")}
    template["masks"] = [{**volumes[name], "threshold": 178} for name in ("fold", "tissue")]
    template |= {"max_mip": 8, "dst_mip": 5, "x_size": size, "y_size": size, "pairs": []}
    if not with_field:
        del template["field"]
    (to / "spec_template.json").write_text(json.dumps(template))
    files = ["--src_spec_path", str(to / "spec_template.json"), "--points_path", str(folder / "points.csv")]
    target = ["--dst_spec_path", str(to / "filled.json")]
    assert main(["create-spec", *files, *target, "--offsets", "-1", "-2", "-3", "--permute_pairs"]) == 0
    assert main(["import", "metroem", str(to / "filled.json"), "-o", str(to / "spec.json"), "--points", "filled.json"]) == 0
    return json.loads((to / "spec.json").read_text())


@pytest.mark.parametrize("form", ["spec", "commands"])
@pytest.mark.parametrize("with_field", [False, True], ids=["images", "fields"])
def test_eighteen_pairs_as_plain_numpy_has_them(site, tmp_path, with_field, form):
    folder, layers = site
    made = spec(folder, with_field) if form == "spec" else by_commands(folder, tmp_path, with_field)
    summary = run({**made, "output": "out"}, folder=tmp_path)
    assert (summary.written, summary.quarantined_samples, summary.exit_code) == (18, 0, 0)
    with h5py.File(tmp_path / "out" / f"{STEM}.h5") as file:
        stored = file["main"]
        assert (stored.shape, stored.dtype, stored.chunks, stored.compression) == ((18, 2, 64, 64), np.float32, (1, 1, 64, 64), "lzf")
        images = stored[:].transpose(0, 1, 3, 2)
    for number, (src, tgt, y, x) in enumerate(places()):
        one, _ = section(layers, src, y, x, with_field)
        two, other = section(layers, tgt, y, x, with_field)
        if with_field:
            two = warped(two, other)
        np.testing.assert_allclose(images[number, 0], one, atol=1e-4)
        np.testing.assert_allclose(images[number, 1], two, atol=1e-4)
        assert np.abs(one).max() > 1
    if with_field:
        with h5py.File(tmp_path / "out" / f"field_0_{STEM}_test.h5") as file:
            stored = file["main"]
            assert (stored.shape, stored.dtype, stored.chunks, stored.compression) == ((18, 2, 64, 64), np.float32, (1, 2, 64, 64), "lzf")
            for number, (src, _, y, x) in enumerate(places()):
                np.testing.assert_allclose(stored[number].transpose(0, 2, 1), section(layers, src, y, x, True)[1], atol=1e-4)
                assert np.ptp(stored[number]) > 0.5
    dataset = curate_core.open(tmp_path / "out")
    assert dataset.verify() == []
    rows = list(dataset.rows())
    if form == "spec":
        assert [row["attributes"]["description"] for row in rows[::6]] == ["point 0", "point 1", "point 2"]
    assert (rows[0]["attributes"]["x"], rows[0]["attributes"]["y"], rows[0]["attributes"]["z"]) == (1280, 2816, 106)
    assert not any((tmp_path / "out").rglob("*.partial"))
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.h5"))}


def test_the_commands_of_the_document_as_ours(site, tmp_path, monkeypatch, capsys):
    """create_spec, make_dataset, and generate_fields over four shards, joined; then the same pairs by a list of ROIs."""
    folder, _ = site
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layers").symlink_to(folder / "layers")
    volumes = {
        "image": {"path": "file://layers/image", "src_mip": 5},
        "field": {"path": "file://layers/field", "src_mip": 8},
    }
    for name, volume in volumes.items():
        volumes[name] = {**volume, "reference": {**volume, "dst_mip": 5, "x_size": 96, "y_size": 96}}
    masks = [{"path": f"file://layers/{name}", "src_mip": MIPS[name], "threshold": 178} for name in ("fold", "tissue")]
    template = {**volumes, "masks": masks, "max_mip": 8, "dst_mip": 5, "x_size": 64, "y_size": 64, "pairs": []}
    (tmp_path / "spec_template.json").write_text(json.dumps(template))
    points = ["--points_path", str(folder / "points.csv"), "--offsets", "-1", "-2", "-3", "--permute_pairs"]
    assert main(["create-spec", "--src_spec_path", "./spec_template.json", "--dst_spec_path", "filled.json", *points]) == 0
    assert len(json.loads((tmp_path / "filled.json").read_text())["pairs"]) == 18
    assert main(["import", "metroem", "filled.json", "-o", "spec.json", "--points", "filled.json"]) == 0
    assert main(["run", "spec.json", "--workers", "2", "-q", "--output", "made"]) == 0
    made = digests(tmp_path / "made")
    assert list(made) == [f"field_0_{STEM}_test.h5", f"{STEM}.h5"]

    own = {**spec(folder, True), "output": "own"}
    own["transform"][0]["step_mip"] = 8
    (tmp_path / "own.json").write_text(json.dumps(own))
    assert main(["rois", "own.json", "-o", "pairs.jsonl", "-q"]) == 0
    (tmp_path / "listed.json").write_text(json.dumps({**own, "rois": [{"use": "list", "file": "pairs.jsonl"}], "output": "listed"}))
    for name in ("own", "listed"):
        assert main(["run", f"{name}.json", "-q"]) == 0
        for path, key in ((f"{STEM}.h5", "main"), (f"field_0_{STEM}_test.h5", "main")):
            with h5py.File(tmp_path / "made" / path) as one, h5py.File(tmp_path / name / path) as other:
                np.testing.assert_array_equal(one[key][:], other[key][:])

    fields = {
        "version": 1, "name": "fields", "seed": 0,
        "source": {"use": "pair-files", "images": f"made/{STEM}.h5", "fields": f"made/field_0_{STEM}_test.h5"},
        "read": {"*": {"use": "pair-hdf5"}}, "rois": [{"use": "each", "axis": "n"}],
        "transform": [{"use": "block-matching", "previous": "field", "block": 16, "pairs": 5, "src_mip": 6, "dst_mip": 4}],
        "write": [{"use": "pair-hdf5", "images": None, "field": "field_1.h5", "field_array": "field"}],
    }  # fmt: skip
    run({**fields, "output": "whole"}, folder=tmp_path, workers=0)
    parts = {**fields, "output": "parts"}
    done = [run_shard(parts, f"{i}/4", folder=tmp_path).units_done for i in (3, 1, 4, 2) * 2]
    assert sum(done) == 5, "one finds the pairs of the file, and all share them: 18 pairs are four units of 5"
    assert sum(count > 0 for count in done) > 2
    assert commit(parts, folder=tmp_path).written == 18
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")
    with h5py.File(tmp_path / "whole" / "field_1.h5") as file:
        assert (file["main"].shape, file["main"].dtype) == ((18, 2, 256, 256), np.float32)
        first = file["main"][:]
    other = {**fields["transform"][0], "pairs": 18}
    run({**fields, "transform": [other], "output": "one"}, folder=tmp_path, workers=0)
    with h5py.File(tmp_path / "one" / "field_1.h5") as file:
        np.testing.assert_array_equal(file["main"][:], first, "units of another size")


def test_a_second_stage_reads_the_fields_of_the_first(site, tmp_path):
    rng = np.random.default_rng(5)
    base = ndimage.gaussian_filter(rng.normal(size=(2, 96, 96)), (0, 1.5, 1.5)).astype(np.float32)
    rows, columns = np.mgrid[:96, :96]
    truth = np.stack([3 + 2 * np.sin(rows / 20), -4 + 1.5 * np.cos(columns / 15)])
    images = np.stack([base, [ndimage.map_coordinates(image, [rows + truth[0], columns + truth[1]], order=3) for image in base]], axis=1)
    with h5py.File(tmp_path / "pairs.h5", "w") as file:
        file["img"] = images.swapaxes(2, 3)
    spec = {
        "version": 1, "name": "stage", "source": {"use": "pair-files", "images": "pairs.h5"}, "read": {"*": {"use": "pair-hdf5"}},
        "rois": [{"use": "each", "axis": "n"}], "transform": [{"use": "block-matching"}],
        "write": [{"use": "pair-hdf5", "images": None, "field": "field.h5", "field_array": "field"}],
    }  # fmt: skip
    run({**spec, "output": "one"}, folder=tmp_path, workers=0)
    spec["source"]["fields"] = "one/field.h5"
    spec["transform"] = [{"use": "block-matching", "previous": "field", "block": 16, "spacing": 8, "levels": 1, "max_displacement": 4}]
    run({**spec, "output": "two"}, folder=tmp_path, workers=0)
    errors = []
    for stage in ("one", "two"):
        with h5py.File(tmp_path / stage / "field.h5") as file:
            found = file["main"][:].swapaxes(2, 3)[:, :, 12:-12, 12:-12]
        errors.append(float(np.abs(found - truth[:, 12:-12, 12:-12]).mean()))
    assert errors[0] < 0.3
    assert errors[1] < 0.3
    with h5py.File(tmp_path / "one" / "field.h5") as one, h5py.File(tmp_path / "two" / "field.h5") as two:
        assert np.abs(one["main"][:] - two["main"][:]).max() > 1e-3


def test_a_pair_over_the_edge_costs_only_itself(site, tmp_path):
    folder, _ = site
    given = spec(folder, True)
    (tmp_path / "points.csv").write_text("x0,y0,z0,site\n1512,3024,106,a\n8600,3024,106,b\n1512,3024,100,c\n")
    given["rois"][0]["points"] = "points.csv"
    summary = run({**given, "output": "out"}, folder=tmp_path)
    rows = list(curate_core.open(tmp_path / "out").quarantined())
    assert (summary.written, summary.quarantined_samples, summary.exit_code) == (6, 12, 1)
    reasons = {row["reason"] for row in rows}
    assert any("x 8448, y 2816, z 106" in reason and "leaves the layer 'image'" in reason for reason in reasons), reasons
    assert any("z 97" in reason for reason in reasons)


def test_files_of_pairs_that_are_none(tmp_path):
    for name, values in (("flat", np.zeros((3, 2, 4))), ("text", np.array([b"a"]))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["main"] = values
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros((2, 2, 4, 4))
    reader = PairHdf5Reader()
    for name, text in (
        ("flat", r"main holds float64 of the shape \(3, 2, 4\), expected numbers of \(n, 2, x, y\)"),
        ("text", r"main holds .* of the shape \(1,\)"),
        ("other", "there is no dataset main or img; the file has data .*name it with"),
    ):
        with pytest.raises(SourceError, match=text):
            reader.open(LayerSource((tmp_path / f"{name}.h5",)), None)
    with pytest.raises(SourceError, match="reads one file a layer, got 2"):
        reader.open(LayerSource((tmp_path / "flat.h5", tmp_path / "other.h5")), None)
    assert reader.sniff(tmp_path / "flat.h5") is None
    (tmp_path / "rubbish.h5").write_text("rubbish")
    assert reader.sniff(tmp_path / "rubbish.h5") == "has no HDF5 signature"
    with pytest.raises(RequestError, match=r"source.images: there is no file .*none\*.h5"):
        PairFiles(images=tmp_path / "none*.h5").find()
    with pytest.raises(RequestError, match="source.fields: 3 files of images and 1 of fields do not belong together"):
        PairFiles(images=tmp_path / "[fto]*.h5", fields=tmp_path / "flat.h5").find()
    assert [case.id for case in PairFiles(images=tmp_path / "[fto]*.h5").find()] == ["flat", "other", "text"]


def test_a_reference_of_another_mip_as_plain_numpy_has_it(site, tmp_path):
    """Mean and deviation of the image at mip 6, where its masks are joined once more."""
    folder, layers = site
    summary = run({**by_commands(folder, tmp_path, False, reference=40, mip=6), "output": "out"}, folder=tmp_path)
    assert (summary.written, summary.exit_code) == (18, 0)
    image, joined = layers["image"][..., 0].astype(float), masks(layers)
    coarse = halved(image)
    hidden = (layers["fold"][..., 0] >= 178) | (halved(halved(layers["tissue"][..., 0].astype(float))) >= 178)
    with h5py.File(tmp_path / "out" / f"{STEM}.h5") as file:
        images = file["main"][:].transpose(0, 1, 3, 2)
    for number, (*pair, y, x) in enumerate(places()):
        for side, z in enumerate(pair):
            around = z, (y + 32) // 2 - 20, (x + 32) // 2 - 20, 40, 40
            region = cut(coarse, *around)
            seen = region[(region != 0) & ~cut(hidden, *around)]
            values, mask = (cut(v, z, y, x, 64, 64) for v in (image, joined))
            wanted = np.where((values == 0) | mask, 0.0, (values - seen.mean()) / seen.std(ddof=1))
            np.testing.assert_allclose(images[number, side], wanted, atol=1e-4)


def test_missing_chunks_are_told_by_fraction(site, tmp_path):
    folder, _ = site
    shutil.copytree(folder / "layers", tmp_path / "layers")
    (gone,) = (tmp_path / "layers/image").glob("*/16-80_96-160_105-106")  # of mip 5: x, y, z; chunks of 64
    gone.unlink()
    given = spec(folder, False)
    given["source"]["cases"][0]["layers"]["image"]["uri"] = f"precomputed://file://{tmp_path}/layers/image"
    given["transform"].insert(0, {"use": "missing-chunks", "layers": ["image"]})
    run({**given, "output": "out"}, folder=tmp_path)
    rows = [row["attributes"] for row in curate_core.open(tmp_path / "out").rows()]
    low = {axis: rows[0][axis] // 32 for axis in "xy"}
    overlap = max(0, min(80, low["x"] + 64) - max(16, low["x"])) * max(0, min(160, low["y"] + 64) - max(96, low["y"])) / 64**2
    for row in rows:
        expected = overlap if row["point"] == 0 and 105 in (row["z"], row["tgt_z"]) else 0.0
        assert row["missing"] == pytest.approx(expected)
    assert overlap > 0.1
    given["transform"][0]["limit"] = 0.05
    summary = run({**given, "output": "strict"}, folder=tmp_path)
    reasons = {row["reason"] for row in curate_core.open(tmp_path / "strict").quarantined()}
    assert summary.quarantined_samples == 2
    assert len(reasons) == 1
    assert f"{100 * overlap:.4g} % of layer 'image' is missing" in reasons.pop()
