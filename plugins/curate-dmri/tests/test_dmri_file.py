"""The file of all subjects: its writer, its layout, its reader; lists of subjects, and dwi_ml's configurations."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
from curate_dmri.assembly import assemble
from curate_dmri.hdf5_reader import DwiMlReader
from curate_dmri.importer import DwiMl
from curate_dmri.layout import problems
from curate_dmri.session import middle_of, shuffle_pays, volume_chunks
from curate_dmri.source import SubjectsSource
from curate_dmri.space import transformed
from curate_dmri.writer import DwiMlHdf5Writer

from curate_core import LayerSource, Piece, RequestError, SourceError, StepError
from curate_core.cli.main import main
from curate_core.structure import structure
from curate_core.testing import PluginTests, WriterTests, context, make_batch, values

AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])


class TestDmri(PluginTests):
    plugin_module = "curate_dmri.plugin"
    distribution = "curate-dmri"
    readme = Path(__file__).parents[1] / "README.md"
    examples = {  # noqa: RUF012
        "source:subjects": {"splits": {"training": "t.txt"}, "layers": {"dwi": {"files": ["dwi.nii.gz"]}}},
        "preprocessor:standardize": {"layer": "dwi"},
        "preprocessor:resample-streamlines": {"layer": "lines", "points": 3},
        "preprocessor:compress-streamlines": {"layer": "lines"},
        "preprocessor:remove-invalid-streamlines": {"layer": "lines"},
        "preprocessor:connectivity": {"layer": "lines", "matrix": "m", "blocs": 3},
        "importer:dwi-ml": {"training_subjs": "t.txt", "validation_subjs": "v.txt"},
    }


# The writer.


def test_what_is_written_of_volumes_is_read_back_in_the_order_of_the_file(tmp_path):
    given = values((1, 4, 5, 6, 3), "int16", "a")
    batch = make_batch({"input": given}, "zyxc", [2.0, 1.0, 1.0], id="s1")
    writer = DwiMlHdf5Writer()
    with writer.open(tmp_path, context("write")) as session:
        (placed,) = session.write(batch)
    place = placed["input"]
    assert (place.place, place.shape, place.dtype) == ("s1/input", (6, 5, 4, 3), "<f4")
    read = writer.read(tmp_path / place.file, place.place)
    np.testing.assert_array_equal(read, given[0].transpose(2, 1, 0, 3).astype(np.float32))
    np.testing.assert_array_equal(writer.lazy(tmp_path / place.file, place.place)[2:4, 1, :, 1:], read[2:4, 1, :, 1:])


def test_one_sample_a_subject(tmp_path):
    batch = make_batch({"input": values((2, 4, 5, 6), "float32", "a")}, "zyx", id="s1")
    with pytest.raises(StepError, match="subject 's1' has several samples, the file holds one a subject"):
        DwiMlHdf5Writer().open(tmp_path, context("write")).write(batch)


@pytest.mark.parametrize(("axes", "shape"), [("yx", (5, 6)), ("tzyxc", (2, 4, 5, 6, 2))])
def test_arrays_that_are_no_volumes_are_refused(tmp_path, axes, shape):
    batch = make_batch({"input": values((1, *shape), "float32", "a")}, axes, id="s1")
    with pytest.raises(StepError, match="s1/input has the axes .* expected x, y, z and one more at most"):
        DwiMlHdf5Writer().open(tmp_path, context("write")).write(batch)


@pytest.mark.parametrize("file", ["a.npy", "{case}.hdf5", "../a.hdf5", "/a.hdf5"])
def test_the_files_path_is_plain(file):
    with pytest.raises(ValueError, match="file: "):
        DwiMlHdf5Writer(file=file)


@pytest.mark.parametrize(("shape", "expected"), [
    ((96, 96, 60, 47), (16, 16, 16, 47)), ((96, 96, 60, 1), (32, 32, 32, 1)), ((5, 4, 3, 2), (5, 4, 3, 2)), ((9, 9, 9, 300_000), (1, 1, 1, 300_000)),
])  # fmt: skip
def test_chunks_are_cubes_of_a_mebibyte_at_most(shape, expected):
    assert volume_chunks(shape) == expected


def test_a_file_of_the_writers_first_version_is_read_for_ever():
    writer, path = DwiMlHdf5Writer(), Path(__file__).with_name("data") / "version1.hdf5"
    np.testing.assert_array_equal(writer.read(path, "s1/input"), np.arange(240).reshape(4, 5, 6, 2))
    lines = writer.read(path, "s1/lines")
    np.testing.assert_allclose(lines.points, np.linspace([1, 1, 1], [5, 7, 9], 7), rtol=1e-6)
    assert (lines.offsets.tolist(), lines.lengths.tolist()) == ([0, 3], [3, 4])
    assert lines.per_streamline["w"].ravel().tolist() == [1, 2]
    assert (lines.grid.shape, lines.grid.affine.tolist()) == ((4, 5, 6), AFFINE.tolist())


def test_shuffle_is_taken_where_it_makes_chunks_smaller():
    smooth = np.linspace(0, 1, 32**3 * 4, dtype=np.float32).reshape(32, 32, 32, 4)
    scanned = ((np.random.default_rng(0).integers(0, 90, (32, 32, 32, 4)) - 41.3) / 17.7).astype(np.float32)
    assert shuffle_pays(smooth[:16], "lzf")
    assert not shuffle_pays(scanned[:16], "lzf")
    assert shuffle_pays(scanned[:0], "lzf")
    assert shuffle_pays(scanned, "none")
    assert middle_of((96, 60, 5, 47), (16, 16, 16, 47)) == [slice(48, 64), slice(16, 32), slice(0, 5), slice(0, 47)]


def test_few_points_and_many_are_transformed_alike():
    points = np.random.default_rng(0).normal(0, 90, (40_000, 3)).astype(np.float32)
    matrix = np.random.default_rng(1).normal(size=(4, 4))
    many = transformed(points, matrix)
    few = np.concatenate([transformed(part, matrix) for part in np.array_split(points, 400)])
    np.testing.assert_array_equal(few, many)


def pieces(folder: Path, count: int, make: int | None = None) -> list[Piece]:
    """Pieces of so many subjects, that all lie in ``make`` parts."""
    writer, found = DwiMlHdf5Writer(), []
    for number in range(count if make is None else make):
        batch = make_batch({"input": values((1, 2, 3, 4), "float32", "a")}, "zyx", id=f"s{number:06}")
        with writer.open(folder / f"{number}", context("write")) as session:
            session.write(batch)
    for number in range(count):
        split = ("training", "validation", ["training", "testing"], "other")[number % 4]
        part = folder / f"{number if make is None else number % make}" / writer.file
        found.append(Piece(part, f"s{number:06}/input", f"s{number:06}:", "input", f"s{number:06}", {"split": split, "sources": {}}))
    return found


def test_subjects_of_many_parts_become_one_file(tmp_path):
    found = pieces(tmp_path, 8)
    assert assemble(tmp_path / "out.hdf5", found, None) == [piece.place for piece in found]
    assert assemble(tmp_path / "again.hdf5", found, None) == [piece.place for piece in found]
    assert (tmp_path / "out.hdf5").read_bytes() == (tmp_path / "again.hdf5").read_bytes()
    with h5py.File(tmp_path / "out.hdf5") as file:
        assert list(file) == [piece.case for piece in found]
        assert list(file.attrs["training_subjs"]) == ["s000000", "s000002", "s000004", "s000006"]
        assert list(file.attrs["validation_subjs"]) == ["s000001", "s000005"]
        assert list(file.attrs["testing_subjs"]) == ["s000002", "s000006"]


def test_a_configuration_that_is_given_is_kept_as_it_is(tmp_path):
    config = {"ü": {"type": "volume", "files": ["a"]}}
    assemble(tmp_path / "out.hdf5", pieces(tmp_path, 1), config)
    with h5py.File(tmp_path / "out.hdf5") as file:
        assert json.loads(file.attrs["groups_config"]) == config


def test_a_hundred_thousand_names_are_an_attribute(tmp_path):
    """The original's limit is 64 KB of attributes: 4,096 subjects."""
    from curate_dmri.assembly import _texts
    from curate_hdf5.create import close_file, create_file, write_attributes

    names = [f"subject-{number:07}" for number in range(100_000)]
    for path in (tmp_path / "a.hdf5", tmp_path / "b.hdf5"):
        file = create_file(path)
        write_attributes(file, {"training_subjs": _texts(names), "chosen_subjs": _texts(names)})
        close_file(file)
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert sorted(file.attrs["training_subjs"]) == names
    assert (tmp_path / "a.hdf5").read_bytes() == (tmp_path / "b.hdf5").read_bytes()


# The layout.


def strangers_file(path: Path) -> Path:
    """What a script of somebody else's makes: contiguous, its texts stored as h5py does."""
    with h5py.File(path, "w") as file:
        file.attrs["version"] = 3
        file.attrs["training_subjs"], file.attrs["validation_subjs"] = ["a"], ["b"]
        for subject in "ab":
            group = file.create_group(f"{subject}/vol")
            group["data"] = np.ones((4, 5, 6, 2), np.float32)
            group.attrs.update({"type": "volume", "affine": AFFINE, "voxres": [2.0, 2.0, 2.5], "nb_features": 2})
            group = file.create_group(f"{subject}/lines")
            group["data"] = np.full((7, 3), 2.5, np.float32)
            group["offsets"], group["lengths"] = np.array([0, 3]), np.array([3, 4])
            group["euclidean_lengths"] = np.zeros(2, np.float32)
            group.attrs.update({
                "type": "streamlines", "space": "Space.VOX", "origin": "Origin.TRACKVIS", "affine": AFFINE.astype("f4"),
                "dimensions": np.array([4, 5, 6], "i2"), "voxel_sizes": np.array([2, 2, 2.5], "f4"), "voxel_order": "RAS",
            })  # fmt: skip
    return path


def test_a_file_of_another_script_is_verified_and_shown(tmp_path, capsys):
    path = strangers_file(tmp_path / "a.hdf5")
    assert main(["verify", str(path)]) == 0
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    for text in (
        "training_subjs",
        "├── vol (volume, 2 features, voxels 2 x 2 x 2.5 mm)",
        "└── data: 4 x 5 x 6 x 2 float32"[4:],
        "Space.VOX",
    ):
        assert text in shown or text.replace("├──", "└──") in shown


MISTAKES = {
    "has no attribute version": lambda f: f.attrs.__delitem__("version"),
    "has no attribute validation_subjs": lambda f: f.attrs.__delitem__("validation_subjs"),
    "subject c of training_subjs has no group": lambda f: f.attrs.__setitem__("training_subjs", ["a", "c"]),
    "subject b is in training_subjs and in validation_subjs": lambda f: f.attrs.__setitem__("training_subjs", ["a", "b"]),
    "/b: is in none of the lists": lambda f: f.attrs.__setitem__("validation_subjs", ["a"]),
    "/b: has the groups lines, the first subject has lines, vol": lambda f: f["b"].__delitem__("vol"),
    "/a/vol: its attribute type is 'image'": lambda f: f["a/vol"].attrs.__setitem__("type", "image"),
    "/a/vol: has no attribute voxres": lambda f: f["a/vol"].attrs.__delitem__("voxres"),
    "/a/vol: its voxres 1 x 2 x 2.5 is not": lambda f: f["a/vol"].attrs.__setitem__("voxres", [1.0, 2.0, 2.5]),
    "nb_features is 3, data has 2": lambda f: f["a/vol"].attrs.__setitem__("nb_features", 3),
    "its affine is no 4 x 4 table": lambda f: f["a/vol"].attrs.__setitem__("affine", np.eye(3)),
    "/a/vol: lies on another grid than /a/lines": lambda f: f["a/vol"].attrs.__setitem__("affine", AFFINE + np.eye(4, k=3)),
    "values are NaN or infinite": lambda f: f["a/vol/data"].__setitem__((0, 0, 0, 0), np.nan),
    "/a/vol: has no dataset data": lambda f: f["a/vol"].__delitem__("data"),
    "/a/lines: has no dataset offsets": lambda f: f["a/lines"].__delitem__("offsets"),
    "streamline 1 reaches beyond the 7 points": lambda f: f["a/lines/lengths"].__setitem__(1, 5),
    "2 points lie outside of the volume": lambda f: f["a/lines/data"].__setitem__((slice(2), 0), [4.0, -0.1]),
    "its space is 'space.lpsmm'": lambda f: f["a/lines"].attrs.__setitem__("space", "Space.LPSMM"),
    "its origin is 'middle'": lambda f: f["a/lines"].attrs.__setitem__("origin", "middle"),
    "connectivity_matrix_type is None": lambda f: f["a/lines"].create_dataset("connectivity_matrix", data=np.eye(3)),
    "expected as many rows as columns": lambda f: f["a/lines"].create_dataset("connectivity_matrix", data=np.ones((2, 3))),
    "colour: has not one row a streamline": lambda f: f["a/lines"].create_dataset("data_per_streamline/colour", data=np.ones((3, 1))),
    "/a/more: is a dataset, expected a group": lambda f: f["a"].create_dataset("more", data=1),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_wrong_with_a_file_is_named(tmp_path, mistake):
    path = strangers_file(tmp_path / "a.hdf5")
    with h5py.File(path, "r+") as file:
        MISTAKES[mistake](file)
    with h5py.File(path) as file:
        found = list(problems(file))
    assert any(mistake in text for text in found), found
    assert main(["verify", "-q", str(path)]) == 1


def test_two_lengths_of_lists_are_named(tmp_path):
    path = strangers_file(tmp_path / "a.hdf5")
    with h5py.File(path, "r+") as file:
        del file["a/lines/euclidean_lengths"]
        file["a/lines/euclidean_lengths"] = np.zeros(5, np.float32)
        file["a/lines"].attrs["connectivity_matrix_type"] = "from_blocs"
    with h5py.File(path) as file:
        assert "/a/lines: 2 offsets, 2 lengths and 5 euclidean_lengths" in list(problems(file))


def test_files_that_claim_no_layout_are_not_verified(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.ones((3, 3))
    assert DwiMlReader().sniff(tmp_path / "a.h5") == (
        "its root has none of the lists training_subjs, validation_subjs, testing_subjs that dwi_ml reads"
    )
    assert main(["verify", str(tmp_path / "a.h5")]) == 2


def test_groups_of_such_a_file_are_layers(tmp_path):
    path = strangers_file(tmp_path / "a.hdf5")
    image = DwiMlReader(group="a/vol").open(LayerSource((path,)), context("read"))
    assert (image.grid.axes, image.grid.shape) == ("xyzc", (4, 5, 6, 2))
    np.testing.assert_array_equal(image.grid.affine, AFFINE)
    lines = DwiMlReader(group="b/lines").open(LayerSource((path,)), context("read"))
    np.testing.assert_allclose(lines.streamline(1), np.tile([4.0, 4.0, 5.0], (4, 1)))
    for group, message in (("a/none", "has no group 'a/none' with data"), ("", "needs the path of a group in it.*such as 'a/lines'")):
        with pytest.raises(SourceError, match=message):
            DwiMlReader(group=group).open(LayerSource((path,)), context("read"))


# Subjects.


@pytest.fixture
def study(tmp_path):
    for name in ("s1", "s2", "s10"):
        for file in ("dwi/dwi.nii.gz", "bundles/AF.trk", "bundles/b2.tck", "bundles/b10.tck", "bundles/notes.txt"):
            path = tmp_path / "db/dwi_ml_ready" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    (tmp_path / "train.txt").write_text("s2\n\n# none of s3\ns10  # late\n")
    (tmp_path / "valid.txt").write_text("s1\n")
    (tmp_path / "empty.txt").write_text("\n")
    return tmp_path


def subjects(study: Path, **changes: Any) -> SubjectsSource:
    given = {
        "root": "db", "splits": {"training": "train.txt", "validation": "valid.txt", "testing": "empty.txt"},
        "layers": {"dwi": {"files": ["dwi/dwi.nii.gz"]}, "lines": {"files": ["bundles/*.{trk,tck}"]}},
    }  # fmt: skip
    return structure({**given, **changes}, SubjectsSource, study)


def test_subjects_come_in_the_order_of_the_lists_with_their_files(study):
    cases = list(subjects(study).find())
    assert [case.id for case in cases] == ["s2", "s10", "s1"]
    assert [case.attributes for case in cases] == [{"split": "training"}] * 2 + [{"split": "validation"}]
    assert [file.name for file in cases[0].layers["lines"].files] == ["AF.trk", "b2.tck", "b10.tck"]
    assert cases[0].layers["lines"].options["reference"] == str(study / "db/dwi_ml_ready/s2/dwi/dwi.nii.gz")
    inner = list(subjects(study, root="db/dwi_ml_ready").find())
    assert [case.files() for case in inner] == [case.files() for case in cases]


def test_a_name_without_its_ending_stands_for_one_file(study):
    layers = {"lines": {"files": ["bundles/AF.{trk,tck,trx}", "bundles/*.tck", "bundles/b2.tck"]}}
    (case, *_) = subjects(study, layers=layers).find()
    assert [file.name for file in case.layers["lines"].files] == ["AF.trk", "b2.tck", "b10.tck"]
    assert "reference" not in case.layers["lines"].options
    (study / "db/dwi_ml_ready/s2/bundles/AF.tck").write_bytes(b"")
    with pytest.raises(RequestError, match="stands for one file, and .* has AF.tck, AF.trk"):
        list(subjects(study, layers=layers).find())


SOURCE_MISTAKES = {
    "subject 's1' is in the lists of training and validation": ({}, {"train.txt": "s1\ns2\n"}),
    "subject 's2' is twice in the list of training": ({}, {"train.txt": "s2\ns2\n"}),
    "'../s1' is no name of a subject's folder": ({}, {"train.txt": "../s1\n"}),
    "the list of subjects cannot be read": ({"splits": {"training": "none.txt"}}, {}),
    "the lists name no subject": ({"splits": {"training": "empty.txt"}}, {}),
    "there are no splits": ({"splits": {}}, {}),
    "there are no layers": ({"layers": {}}, {}),
    "1 of 4 subjects have no folder": ({}, {"train.txt": "s2\ns10\ns99\n"}),
    "3 files are missing: .*s2/anat/t1.nii.gz": ({"layers": {"t1": {"files": ["anat/t1.nii.gz"]}}}, {}),
    "'../x' is no path of files below": ({"layers": {"t1": {"files": ["../x"]}}}, {}),
    "volumes and tractograms cannot be one layer": ({"layers": {"t1": {"files": ["dwi/dwi.nii.gz", "bundles/AF.trk"]}}}, {}),
    "expected text, got 3": ({"layers": {"t1": {"files": [3]}}}, {}),
    "needs at least 1 entries": ({"layers": {"t1": {}}}, {}),
}


@pytest.mark.parametrize("mistake", SOURCE_MISTAKES)
def test_mistakes_of_subjects_and_layers_are_named(study, mistake):
    changes, files = SOURCE_MISTAKES[mistake]
    for name, text in files.items():
        (study / name).write_text(text)
    with pytest.raises(RequestError, match=mistake):
        list(subjects(study, **changes).find())


def test_subjects_of_several_lists_where_that_is_wanted(study):
    (study / "train.txt").write_text("s1\ns2\n")
    cases = {case.id: case.attributes["split"] for case in subjects(study, repeated=True).find()}
    assert cases == {"s1": ["training", "validation"], "s2": "training"}


@pytest.mark.parametrize(("bvals", "bvecs", "message"), [
    ("0 1", "1 0 0", "2 b-values and a table of directions of shape"), ("0 x", "1 0 0", "the gradient table cannot be read"),
    ("0 1", "1 0 0\n1", "rows of different lengths"), ("0 nan", "0 1\n0 1\n0 1", "not finite"),
])  # fmt: skip
def test_gradient_tables_that_do_not_fit_are_refused(study, bvals, bvecs, message):
    for name in ("s1", "s2", "s10"):
        (study / f"db/dwi_ml_ready/{name}/bval").write_text(bvals)
        (study / f"db/dwi_ml_ready/{name}/bvec").write_text(bvecs)
    with pytest.raises(RequestError, match=message):
        list(subjects(study, gradients={"bvals": "bval", "bvecs": "bvec"}).find())


def test_gradient_directions_may_be_rows_or_columns(study):
    for name in ("s1", "s2", "s10"):
        (study / f"db/dwi_ml_ready/{name}/bval").write_text("0 1000\n")
        (study / f"db/dwi_ml_ready/{name}/bvec").write_text("0 1\n0 0\n0 0\n" if name == "s1" else "0 0 0\n1 0 0\n")
    found = [case.attributes["bvecs"] for case in subjects(study, gradients={"bvals": "bval", "bvecs": "bvec"}).find()]
    assert found == [[[0, 0, 0], [1, 0, 0]]] * 3


# dwi_ml's configurations.


OLD = {
    "input_volume": {"type": "volume", "files": ["dwi/dwi.nii.gz", "anat/t1.nii.gz"]},
    "fa": {"type": "volume", "files": ["dwi/fa.nii.gz"]},
}
NEW = {
    "input": {"type": "volume", "files": ["dwi/*.nii.gz"], "standardization": "per_file", "std_mask": ["masks/wm.nii.gz", "masks/gm.nii.gz"]},
    "t1": {"type": "volume", "files": ["t1.nii.gz"], "standardization": "all", "std_mask": ["masks/wm.nii.gz", "masks/gm.nii.gz"]},
    "fa": {"type": "volume", "files": ["fa.nii.gz"]},
    "lines": {
        "type": "streamlines", "files": ["bundles/ALL", "more/CC.trk"], "dps_keys": ["mean_color"], "connectivity_matrix": "c.npy",
        "connectivity_nb_blocs": 6, "step_size": 0.5, "remove_invalid": True,
    },
}  # fmt: skip


def convert(config: Any, **options: Any) -> dict[str, Any]:
    importer = DwiMl(training_subjs=Path("/lists/t.txt"), validation_subjs=Path("/lists/v.txt"), **options)
    return importer.convert(config if isinstance(config, str) else json.dumps(config), Path("/data"))


def test_the_documents_own_form_becomes_a_spec():
    spec = convert(OLD, bundles=("AF_L", "CST.tck"), std_mask=("masks/wm.nii.gz",), space="rasmm", name="tracto", force=True)
    assert spec["source"]["root"] == "/data"
    assert spec["source"]["splits"] == {"training": "/lists/t.txt", "validation": "/lists/v.txt"}
    assert spec["source"]["layers"]["streamlines"] == {
        "files": ["bundles/AF_L.{trk,tck,trx}", "bundles/CST.tck"],
        "data_per_streamline": [],
    }
    assert spec["preprocess"] == [
        {"use": "standardize", "layer": "input_volume", "over": "feature", "mask": "std_mask"},
        {"use": "standardize", "layer": "fa", "over": "feature", "mask": "std_mask"},
    ]
    assert spec["rois"] == [{"use": "whole", "layers": ["input_volume", "fa", "streamlines"]}]
    assert spec["write"] == [{"use": "dwi-ml-hdf5", "file": "tracto.hdf5", "space": "rasmm", "groups_config": OLD}]
    assert "enforce" not in spec["source"]


def test_no_bundle_listed_means_all_and_missing_ones_may_be_allowed():
    spec = convert(OLD, allow_missing=True, testing_subjs=Path("/lists/e.txt"), root=Path("/db"))
    assert spec["source"]["layers"]["streamlines"]["files"] == ["bundles/*.{trk,tck,trx}"]
    assert spec["source"]["enforce"] is False
    assert spec["source"]["root"] == "/db"
    assert spec["preprocess"] == []
    assert spec["write"][0]["space"] == "vox"


def test_the_newer_form_becomes_a_spec():
    spec = convert(NEW)
    layers = spec["source"]["layers"]
    assert layers["std_mask"] == {"files": ["masks/wm.nii.gz", "masks/gm.nii.gz"]}
    assert layers["lines"] == {"files": ["bundles/*.{trk,tck,trx}", "more/CC.trk"], "data_per_streamline": ["mean_color"]}
    assert layers["lines_connectivity_matrix"] == {"files": ["c.npy"]}
    assert spec["preprocess"] == [
        {"use": "standardize", "layer": "input", "over": "file", "mask": "std_mask"},
        {"use": "standardize", "layer": "t1", "over": "layer", "mask": "std_mask"},
        {"use": "resample-streamlines", "layer": "lines", "step_size": 0.5, "remove_invalid": True},
        {"use": "connectivity", "layer": "lines", "matrix": "lines_connectivity_matrix", "blocs": 6},
    ]
    assert spec["rois"][0]["layers"] == ["input", "t1", "fa", "lines", "lines_connectivity_matrix"]


def test_flags_for_streamlines_win_and_labels_are_written():
    lines = {"type": "streamlines", "files": "a", "connectivity_matrix": "c.npy", "connectivity_labels": "l.nii.gz", "compress": True}
    spec = convert({"lines": lines})
    assert spec["preprocess"][0] == {"use": "compress-streamlines", "layer": "lines", "tolerance": 0.01}
    assert spec["preprocess"][1]["labels"] == "lines_connectivity_labels"
    assert spec["rois"][0]["layers"] == ["lines", "lines_connectivity_matrix", "lines_connectivity_labels"]
    spec = convert({"lines": lines}, nb_points=20)
    assert spec["preprocess"][0] == {"use": "resample-streamlines", "layer": "lines", "points": 20}
    spec = convert({"lines": {"type": "streamlines", "files": "a"}}, remove_invalid=True)
    assert spec["preprocess"] == [{"use": "remove-invalid-streamlines", "layer": "lines"}]


@pytest.mark.parametrize(("config", "options", "message"), [
    ([], {}, "an object of groups"), ({}, {}, "an object of groups"), ({"a": 1}, {}, "an object of groups"),
    ({"a": {"type": "image", "files": ["x"]}}, {}, "its type is 'image'"),
    ({"a": {"type": "volume", "files": []}}, {}, "files must be a list of texts"),
    ({"a": {"type": "volume", "files": ["x"], "standardisation": "all"}}, {}, "no key 'standardisation'.*standardization"),
    ({"a": {"type": "volume", "files": ["x"], "standardization": "some"}}, {}, "standardization is 'some'"),
    (NEW, {"bundles": ("a",)}, "the configuration has one already"),
    (NEW, {"std_mask": ("m",)}, "this one says its own standardisation"),
    (OLD, {"step_size": 1.0, "compress": 0.1}, "step_size and compress exclude each other"),
    (OLD, {"name": "a/b"}, "is no name of a file"),
    (OLD, {"enforce_bundles_presence": True, "allow_missing": True}, "exclude each other"),
    ({"streamlines": {"type": "volume", "files": ["x"]}}, {}, "has the name of the group that bundles make"),
    ({"a": {"type": "streamlines", "files": ["x"], "connectivity_matrix": "m"}}, {}, "needs either connectivity_nb_blocs"),
    ({"a": {"type": "streamlines", "files": ["x"], "connectivity_labels": "m"}}, {}, "which is not given"),
])  # fmt: skip
def test_mistakes_of_configurations_are_named(config, options, message):
    with pytest.raises(RequestError, match=message):
        convert(config, **options)


def test_an_imported_spec_is_right_and_runs(study, capsys):
    for name in ("s1", "s2", "s10"):
        folder = study / "db/dwi_ml_ready" / name
        nibabel.save(
            nibabel.Nifti1Image(np.random.default_rng(0).uniform(1, 2, (6, 6, 6, 2)).astype("f4"), AFFINE), folder / "dwi/dwi.nii.gz"
        )
        lines = nibabel.streamlines.Tractogram([np.array([[2.0, 2, 2], [6, 6, 8]])], affine_to_rasmm=np.eye(4))
        nibabel.streamlines.TckFile(lines).save(str(folder / "bundles/b2.tck"))
    (study / "config.json").write_text(json.dumps({"input": {"type": "volume", "files": ["dwi/dwi.nii.gz"]}}))
    flags = ["--root", study / "db", "--training-subjs", study / "train.txt", "--validation-subjs", study / "valid.txt", "--bundles", "b2"]
    command = [
        "import",
        "dwi-ml",
        study / "config.json",
        *flags,
        "--name",
        "mine",
        "--enforce-bundles-presence",
        "--force",
        "-o",
        study / "s.json",
    ]
    assert main([str(word) for word in command]) == 0
    assert main(["run", "-q", "--workers", "0", str(study / "s.json")]) == 0
    assert main(["verify", "-q", str(study / "mine/mine.hdf5")]) == 0
    capsys.readouterr()


def test_listing_what_the_plugin_offers_loads_nothing_heavy():
    script = "import sys, curate_dmri.plugin; print(sorted({'numba', 'h5py', 'nibabel', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestDwiMlHdf5Writer(WriterTests):
    component = DwiMlHdf5Writer
    axes = "zyx"
    shape = (5, 7, 11)
    dtypes = ("float32",)

    def batch(self, dtype=None, *, count=3, first=0, case="case"):
        return super().batch(dtype, count=1, first=first, case=f"{case}{first}")

    def expected(self, batch):
        return {name: batch.array(name).transpose(0, 3, 2, 1)[..., None].astype(np.float32) for name in batch.arrays}
