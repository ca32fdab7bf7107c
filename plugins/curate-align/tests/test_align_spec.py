"""metroem's specification: filled in from points, turned into a spec, and read for its pairs, on layers that cloud-volume wrote."""

import json
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from curate_align.createspec import CreateSpec
from curate_align.metroem import Metroem

import curate_core
from curate_core import RequestError
from curate_core.cli.main import main
from curate_core.roifile import load_rois
from curate_core.testing import CommandTests, ImporterTests, run_spec

TEMPLATE = Path(__file__).parents[3] / "specs/align/spec_template.json"
STRETCH = Path(__file__).parents[3] / "specs/align/stretch.json"
POINTS = (
    'Coordinate 1,Coordinate 2,Type,ID\n"(1030, 600, 104)",,Point,a1\n"(2310.5, 1540.25, 105)",,Point,b2\n"(1024, 512, 106)",,Point,c3\n'
)
SNAPPED = [(1024, 512, 104), (2304, 1536, 105), (1024, 512, 106)]  # to pixels of mip 8
COMMAND = ["--offsets", "-1", "-2", "-3", "--permute_pairs"]


def template() -> dict[str, Any]:
    return json.loads(TEMPLATE.read_text())


def create(folder: Path, *words: str, points: str = POINTS, name: str = "points.csv", **changed: Any) -> int:
    """The document's command line; returns its exit code."""
    (folder / name).write_text(points)
    (folder / "template.json").write_text(json.dumps({**template(), **changed}))
    files = {"--src_spec_path": "template.json", "--dst_spec_path": "filled.json", "--points_path": name}
    return main(["create-spec", *(word for flag, file in files.items() for word in (flag, str(folder / file))), *(words or COMMAND)])


def filled(folder: Path, *words: str, **options: Any) -> dict[str, Any]:
    """What it makes."""
    assert create(folder, *words, **options) == 0
    return json.loads((folder / "filled.json").read_text())


def wanted_pairs() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    pairs = []
    for x, y, z in SNAPPED:
        for offset in (-1, -2, -3):
            pairs += [((x, y, z), (x, y, z + offset)), ((x, y, z + offset), (x, y, z))]
    return pairs


class TestCreateSpec(CommandTests):
    component = CreateSpec

    def words(self, folder):
        (folder / "points.csv").write_text("x0,y0,z0\n1,2,3\n")
        files = {"--src_spec_path": TEMPLATE, "--dst_spec_path": folder / "out.json", "--points_path": folder / "points.csv"}
        return [*(str(word) for pair in files.items() for word in pair), "--offsets", "-1"]

    def wrong_words(self, folder):
        return [word.replace("points.csv", "none.csv") for word in self.words(folder)]


def test_the_command_line_of_the_document(tmp_path, capsys):
    made = filled(tmp_path)
    assert {key: value for key, value in made.items() if key != "pairs"} == {
        key: value for key, value in template().items() if key != "pairs"
    }
    keys = ("x_start", "y_start", "z_start")
    assert [tuple(tuple(pair[side][key] for key in keys) for side in ("src", "tgt")) for pair in made["pairs"]] == wanted_pairs()
    assert len(made["pairs"]) == 18
    assert "18 pairs; curate import metroem" in capsys.readouterr().out


def test_places_are_rounded_down_to_max_mip(tmp_path):
    made = filled(tmp_path, "--offsets", "2", max_mip=3, points="x0,y0,z0\n1030.5,-1,7.9\n")
    assert made["pairs"] == [{"src": {"x_start": 1024, "y_start": -8, "z_start": 7}, "tgt": {"x_start": 1024, "y_start": -8, "z_start": 9}}]


def test_centres(tmp_path):
    made = filled(tmp_path, "--offsets", "1", "--anchor", "centre")
    assert made["pairs"][0] == {"src": {"x": 1024, "y": 512, "z": 104}, "tgt": {"x": 1024, "y": 512, "z": 105}}


STATE = json.dumps({
    "dimensions": {"x": [1e-9, "m"], "y": [1e-9, "m"], "z": [1e-9, "m"]},
    "layers": [{"name": "p", "annotations": [{"point": [4 * 1030, 4 * 600, 40 * 104 + 1]}]}],
})  # fmt: skip


def test_states_need_the_voxel(tmp_path, capsys):
    words = ["--offsets", "1", "--voxel", "4", "4", "40"]
    assert filled(tmp_path, *words, points=STATE, name="state.json")["pairs"][0]["src"] == {"x_start": 1024, "y_start": 512, "z_start": 104}
    (tmp_path / "filled.json").unlink()
    assert create(tmp_path, "--offsets", "1", points=STATE, name="state.json") == 2
    said = capsys.readouterr().err
    assert "the places of the state count steps of 1 1 1 nm, which may not be voxels of mip 0" in said
    assert "hint: say what those are, such as --voxel 1 1 1" in said
    assert create(tmp_path, "--offsets", "1", "--voxel", "4", "0", "40", points=STATE, name="state.json") == 2
    assert "a voxel of 4 0 40 nm has no size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "words", "said"),
    [
        ({"image": None}, [], 'the template has no "image" hint: begin with specs/align/spec_template.json'),
        ({"max_mip": None}, [], 'the template has no "max_mip"'),
        ({"max_mip": -1}, [], 'the template has no "max_mip"'),
        ({"pairs": [1]}, [], 'the template has pairs already hint: take them out: "pairs": []'),
        ({}, ["--offsets", "0"], "an offset of 0 pairs a section with itself"),
    ],
)
def test_templates_that_cannot_be_filled(tmp_path, capsys, changed, words, said):
    assert create(tmp_path, *words, **changed) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "filled.json").exists()


def test_files_that_are_in_the_way(tmp_path, capsys):
    filled(tmp_path)
    assert create(tmp_path) == 2
    assert "the specification is there already" in capsys.readouterr().err
    filled(tmp_path, *COMMAND, "--overwrite")
    common = ["create-spec", "--points_path", str(tmp_path / "points.csv"), "--offsets", "1"]
    assert main([*common, "--src_spec_path", str(tmp_path / "none.json"), "--dst_spec_path", str(tmp_path / "a.json")]) == 2
    assert "the template cannot be read: No such file or directory" in capsys.readouterr().err
    assert main([*common, "--src_spec_path", str(TEMPLATE), "--dst_spec_path", str(tmp_path / "none/a.json")]) == 2
    assert "it cannot be written: No such file or directory" in capsys.readouterr().err
    pairs = ["--points_path", str(tmp_path / "filled.json"), "--src_spec_path", str(TEMPLATE), "--dst_spec_path", str(tmp_path / "a.json")]
    assert main(["create-spec", *pairs, "--offsets", "1"]) == 2
    assert "the file lists pairs already" in capsys.readouterr().err


# The importer.


def with_pairs(**changed: Any) -> dict[str, Any]:
    corner = {"x_start": 1024, "y_start": 512, "z_start": 104}
    return {**template(), "pairs": [{"src": corner, "tgt": {**corner, "z_start": 103}}], **changed}


def convert(found: Any, **options: Any) -> dict[str, Any]:
    return Metroem(**options).convert(found if isinstance(found, str) else json.dumps(found), Path())


class TestMetroem(ImporterTests):
    component = Metroem
    text = json.dumps(with_pairs())


class TestMetroemAsLists(TestMetroem):
    options: ClassVar[dict[str, Any]] = {"points": "filled.json", "output": "out"}
    place: ClassVar[dict[str, int]] = {"x": 1, "y": 2, "z": 3}
    text = json.dumps(with_pairs(pairs=[[place, place]], field=None, masks=[]))


WHOLE = {
    "version": 1, "name": "pairs", "seed": 0,
    "source": {"use": "list", "cases": [{"case": "site", "layers": {
        "image": {"uri": "precomputed://file://layers/image", "mip": 5}, "field": {"uri": "precomputed://file://layers/field", "mip": 8},
        "fold": {"uri": "precomputed://file://layers/fold", "mip": 6}, "tissue": {"uri": "precomputed://file://layers/tissue", "mip": 4},
    }}]},
    "read": {"*": {"use": "tensorstore", "missing": "fill"}},
    "preprocess": [
        {"use": "to-mip", "mip": 5, "layers": ["image", "field"], "like": "image"},
        {"use": "mask-union", "layers": ["fold", "tissue"], "thresholds": [178, 178], "like": "image", "to": "mask"},
    ],
    "rois": [{"use": "point-pairs", "points": "spec.json", "layer": "image", "mip": 5, "size": [2048, 2048]}],
    "transform": [
        {"use": "missing-chunks", "layers": ["image"]},
        {"use": "follow-field", "field": "field", "others": ["mask"], "reference_size": [2048, 2048], "step_mip": 8},
        {"use": "normalize-by-reference", "reference_size": [2048, 2048], "mask": "mask"},
        {"use": "warp", "view": "tgt"},
    ],
    "write": [{
        "use": "pair-hdf5", "images": "x{first_x}_y{first_y}_z{first_z}_MIP5.h5", "field": "field_0_x{first_x}_y{first_y}_z{first_z}_MIP5_test.h5",
    }],
    "output": "out/pairs",
}  # fmt: skip


def test_the_template_as_a_spec():
    assert convert(with_pairs(), points="spec.json") == WHOLE
    copied = {key: value for key, value in WHOLE["rois"][0].items() if key != "points"}
    copied["pairs"] = [[[1024, 512, 104], [1024, 512, 103]]]
    assert convert(with_pairs()) == {**WHOLE, "rois": [copied]}


def test_without_a_field_and_masks():
    spec = convert(with_pairs(field=None, masks=[]), points="spec.json")
    assert spec["preprocess"] == [{"use": "to-mip", "mip": 5, "layers": ["image"], "like": "image"}]
    assert spec["transform"] == [
        {"use": "missing-chunks", "layers": ["image"]},
        {"use": "normalize-by-reference", "reference_size": [2048, 2048]},
    ]
    assert spec["write"] == [{"use": "pair-hdf5", "images": "x{first_x}_y{first_y}_z{first_z}_MIP5.h5"}]
    assert list(spec["source"]["cases"][0]["layers"]) == ["image"]
    bare = with_pairs(image={"path": "gs://a/b", "src_mip": 5})
    del bare["field"], bare["masks"]
    assert convert(bare)["transform"] == spec["transform"]


@pytest.mark.parametrize("changed", [{"path": "gs://smooth/em"}, {"src_mip": 6}, {"dst_mip": 7}])
def test_a_reference_of_its_own(changed):
    image = template()["image"]
    image["reference"] |= {"x_size": 300, "y_size": 200} | changed
    spec = convert(with_pairs(image=image))
    mips = {"src_mip": 5, "dst_mip": 5} | changed
    uri = "precomputed://" + changed.get("path", "file://layers/image")
    assert spec["source"]["cases"][0]["layers"]["reference"] == {"uri": uri, "mip": mips["src_mip"]}
    assert spec["preprocess"][1] == {"use": "to-mip", "mip": mips["dst_mip"], "layers": ["reference"], "like": "reference"}
    union = {"use": "mask-union", "layers": ["fold", "tissue"], "thresholds": [178, 178]}
    assert spec["preprocess"][2:] == [{**union, "like": "image", "to": "mask"}, {**union, "like": "reference", "to": "reference_mask"}]
    assert spec["transform"][2] == {
        "use": "normalize-by-reference", "reference_size": [200, 300], "reference": "reference", "mask": "mask",
        "reference_mask": "reference_mask",
    }  # fmt: skip
    assert spec["rois"][0]["layers"] == ["image", "field", "mask"]


def test_sizes_and_centres():
    place = {"x": 1.5, "y": 2, "z": 3}
    spec = convert(
        with_pairs(x_size=30, y_size=20, dst_mip=4, image={"path": "gs://a/b", "src_mip": 3}, field=None, masks=[], pairs=[[place, place]])
    )
    assert spec["rois"] == [{
        "use": "point-pairs", "pairs": [[[1.5, 2, 3], [1.5, 2, 3]]], "anchor": "centre", "layer": "image", "mip": 4, "size": [20, 30],
    }]  # fmt: skip
    assert spec["transform"][1]["reference_size"] == [20, 30]
    assert spec["write"][0]["images"].endswith("_MIP4.h5")


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("gs://bucket/em", "precomputed://gs://bucket/em"), ("s3://b/em", "precomputed://s3://b/em"),
        ("https://host/em", "precomputed://https://host/em"), ("n5://gs://b/em", "n5://gs://b/em"),
        ("precomputed://gs://b/em", "precomputed://gs://b/em"), ("layers/em", "precomputed://file://layers/em"),
        ("/data/em", "precomputed://file:///data/em"),
    ],
)  # fmt: skip
def test_paths_of_volumes(path, uri):
    spec = convert(with_pairs(image={"path": path, "src_mip": 5}))
    assert spec["source"]["cases"][0]["layers"]["image"] == {"uri": uri, "mip": 5}


def test_names_of_masks():
    paths = ["gs://a/fold", "gs://b/fold", "gs://a/image", "gs://a/2020 masks/", "gs://a/crack-v2"]
    spec = convert(with_pairs(masks=[{"path": path, "src_mip": 5, "threshold": i} for i, path in enumerate(paths)]))
    union = spec["preprocess"][1]
    assert union["layers"] == ["fold", "mask_1", "mask_2", "mask_3", "crack_v2"]
    assert union["thresholds"] == [0, 1, 2, 3, 4]
    assert spec["rois"][0]["layers"] == ["image", "field", "mask"], "the masks of mip 5 lie on the image's grid"


IMAGE = template()["image"]
FIELD = template()["field"]
REFERENCE = {"path": "gs://a/b", "src_mip": 5, "dst_mip": 5, "x_size": 8, "y_size": 8}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image": None}, 'metroem, image: there is no such volume .give "image"'),
        ({"image": {**IMAGE, "path": ""}}, "image.path: expected the address of a volume"),
        ({"image": {**IMAGE, "src_mip": "5"}}, "image.src_mip: expected a mip, a whole number from 0 to 40"),
        ({"image": {**IMAGE, "scr_mip": 5}}, "image.scr_mip: a specification has no such key .did you mean 'src_mip'"),
        ({"image": {**IMAGE, "reference": 5}}, "image.reference: expected an object with path"),
        ({"image": {**IMAGE, "reference": {**REFERENCE, "x_size": 0}}}, "image.reference.x_size: expected a number of pixels"),
        ({"image": {**IMAGE, "reference": {**REFERENCE, "dst_mip": True}}}, "image.reference.dst_mip: expected a mip"),
        ({"field": {**FIELD, "reference": REFERENCE}}, "field.reference.path: the reference of the field is another volume, gs://a/b"),
        (
            {"field": {**FIELD, "reference": {**FIELD["reference"], "dst_mip": 6}}},
            "field.reference.dst_mip: the reference of the field is brought to mip 6, the field to 5 .bring both to one mip",
        ),
        ({"masks": {}, "field": None}, ""),
        ({"masks": 5}, "masks: expected a list of objects"),
        ({"masks": [5]}, "masks.0: expected an object with path, src_mip and threshold"),
        ({"masks": [{"path": "gs://a/b", "src_mip": 5}]}, "masks.0.threshold: expected a number"),
        ({"dst_mip": None}, "metroem, dst_mip: expected a mip"),
        ({"y_size": 1.5}, "metroem, y_size: expected a number of pixels"),
        ({"mask": []}, "mask: a specification has no such key .did you mean 'masks'"),
        ({"pairs": []}, "pairs: there are none .curate create-spec fills them in from points"),
        ({"pairs": 5}, "pairs: there are none"),
        ({"pairs": [5]}, "pairs.0 is no pair"),
    ],
)
def test_what_the_importer_refuses(changed, said):
    if not said:
        assert convert(with_pairs(**changed))
        return
    with pytest.raises(RequestError, match=said):
        convert(with_pairs(**changed))


def test_what_is_no_specification():
    with pytest.raises(RequestError, match="a specification is an object with image, dst_mip"):
        convert("[]")


# On layers that cloud-volume wrote.

OFFSET, SIZE, MIP = (1024, 512, 100), (64 * 32, 48 * 32, 10), 5


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    """A volume whose levels 0 to 5 are described, and of which 5 is there: x 1024 to 3072, y 512 to 2048, z 100 to 110."""
    cloudvolume = pytest.importorskip("cloudvolume")
    folder = tmp_path_factory.mktemp("align") / "layers" / "image"
    info = cloudvolume.CloudVolume.create_new_info(
        num_channels=1, layer_type="image", data_type="uint8", encoding="raw", resolution=[4, 4, 40], voxel_offset=OFFSET,
        chunk_size=[32, 32, 1], volume_size=SIZE,
    )  # fmt: skip
    volume = cloudvolume.CloudVolume(f"file://{folder}", info=info, compress=False, progress=False)
    for mip in range(1, MIP + 1):
        volume.add_scale((1 << mip, 1 << mip, 1))
    volume.commit_info()
    volume = cloudvolume.CloudVolume(f"file://{folder}", mip=MIP, compress=False, progress=False, bounded=True)
    volume[:, :, :] = np.random.default_rng(0).integers(0, 256, (64, 48, 10), np.uint8)
    return folder, volume


def spec_of(rois: dict[str, Any], layer: Path) -> dict[str, Any]:
    return {
        "source": {"use": "list", "cases": [{"case": "site", "layers": {"image": {"uri": f"precomputed://file://{layer}", "mip": MIP}}}]},
        "read": {"*": {"use": "tensorstore"}},
        "rois": [rois],
        "write": [{"use": "npy", "path": "{roi}/{array}.npy"}],
    }


def from_cloud_volume(volume: Any, place: tuple[int, ...]) -> np.ndarray:
    """16 x 20 pixels (y, x) of mip 5 at a place of mip 0."""
    x, y, z = place[0] >> MIP, place[1] >> MIP, place[2]
    return np.asarray(volume[x : x + 20, y : y + 16, z : z + 1])[:, :, 0, 0].T


@pytest.mark.parametrize("form", ["points", "filled", "list .npz", "list .jsonl"])
def test_eighteen_pairs_by_each_way(layer, tmp_path, form):
    """From the points, the filled specification, and the list of ROIs: what cloud-volume reads at the same places."""
    folder, volume = layer
    filled(tmp_path)
    by_points = {
        "use": "point-pairs", "points": "points.csv", "size": [16, 20], "offsets": [-1, -2, -3], "permute": True, "snap_mip": 8,
    }  # fmt: skip
    rois: dict[str, Any] = {"use": "point-pairs", "points": "filled.json", "size": [16, 20]} if form == "filled" else by_points
    if form.startswith("list"):
        (tmp_path / "found.json").write_text(json.dumps({"version": 1, "name": "found", **spec_of(by_points, folder), "output": "found"}))
        name = f"rois{form.removeprefix('list ')}"
        assert main(["rois", str(tmp_path / "found.json"), "-o", str(tmp_path / name)]) == 0
        rois = {"use": "list", "file": name}
        assert len(load_rois(tmp_path / name)["site"][0]) == 18
    dataset = run_spec(spec_of(rois, folder), tmp_path)
    assert len(dataset) == 18
    assert list(dataset.quarantined()) == []
    for index, (src, tgt) in enumerate(wanted_pairs()):
        sample, row = dataset[index], dataset.row(index)
        assert np.array_equal(sample["src"], from_cloud_volume(volume, src))
        assert np.array_equal(sample["tgt"], from_cloud_volume(volume, tgt))
        named = tuple(row["attributes"][name] for name in ("x", "y", "z", "tgt_z", "pair", "first_x", "first_y", "first_z"))
        assert named == (*src, tgt[2], index, *SNAPPED[0])
        assert row["arrays"]["tgt"]["file"] == f"x{src[0]}_y{src[1]}_z{src[2]}_{tgt[2]}/tgt.npy"
        if form != "filled":
            assert row["attributes"]["point_id"] == ("a1", "b2", "c3")[index // 6]


def test_pairs_outside_are_quarantined_one_by_one(layer, tmp_path):
    folder, _ = layer
    (tmp_path / "points.csv").write_text("x0,y0,z0\n1024,512,100\n2432,1536,105\n2433,1536,105\n2464,1536,105\n")
    rois = {"use": "point-pairs", "points": "points.csv", "size": [16, 20], "offsets": [-1, 1]}
    dataset = run_spec(spec_of(rois, folder), tmp_path)
    assert [dataset.row(i)["attributes"]["pair"] for i in range(len(dataset))] == [1, 2, 3, 4, 5]
    reasons = [row["reason"] for row in dataset.quarantined()]
    bounds = "leaves the layer 'image', which holds x 1024 to 3072, y 512 to 2048, z 100 to 110 in voxels of mip 0"
    assert reasons == [
        f"{place} with 16 x 20 pixels (y, x) of mip 5 {bounds}"
        for place in ("tgt at x 1024, y 512, z 99", "src at x 2464, y 1536, z 105", "src at x 2464, y 1536, z 105")
    ]


def test_a_stretch_of_the_volume(layer, tmp_path):
    """By the spec that is shipped."""
    folder, volume = layer
    settings = [
        f"source.root={folder.parents[1]}", "rois.0.start=[640,1088]", "rois.0.z=[100,110]", "rois.0.size=[16,20]",
    ]  # fmt: skip
    curate_core.run(STRETCH, settings=settings, output=tmp_path / "out", workers=0)
    with h5py.File(tmp_path / "out/stretch.h5") as file:
        stack = file["main"][...]
    assert (stack.shape, stack.dtype) == ((9, 2, 16, 20), np.uint8)
    for index in range(9):
        for side in (0, 1):
            assert np.array_equal(stack[index, side], from_cloud_volume(volume, (1088, 640, 100 + index + side)))


def test_a_filled_specification_becomes_a_spec(tmp_path):
    """The command of the document, and the importer's, as they are typed."""
    filled(tmp_path)
    words = ["import", "metroem", str(tmp_path / "filled.json"), "-o", str(tmp_path / "spec.json"), "--points", "filled.json"]
    assert main(words) == 0
    made = json.loads((tmp_path / "spec.json").read_text())
    assert made["rois"][0]["points"] == "filled.json"
