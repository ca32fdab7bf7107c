"""Cases from files that fit a pattern."""

import pytest

from curate_core.builtin.files import FilesSource
from curate_core.errors import RequestError
from curate_core.structure import Mistakes, structure


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(folder, pattern, **options):
    source = structure({"pattern": pattern, **options}, FilesSource, folder)
    return {case.id: case for case in source.find()}


def layers_of(case):
    return {name: layer.files[0].relative_to(case.root).as_posix() for name, layer in case.layers.items()}


def test_fields_become_case_layer_and_attributes(tmp_path):
    touch(tmp_path, "basel/c1/ct.nii.gz", "basel/c1/pet.nii.gz", "bern/c2/ct.nii.gz", "bern/notes.txt", "bern/c2/ct.json")
    cases = found(tmp_path, "{center}/{case}/{layer}.{ext}.gz")
    assert list(cases) == ["c1", "c2"]
    assert layers_of(cases["c1"]) == {"ct": "basel/c1/ct.nii.gz", "pet": "basel/c1/pet.nii.gz"}
    assert cases["c1"].attributes == {"center": "basel", "ext": "nii"}
    assert cases["c2"].attributes == {"center": "bern", "ext": "nii"}
    assert cases["c1"].root == tmp_path


def test_without_a_case_field_all_others_name_the_case(tmp_path):
    touch(tmp_path, "m1/day2.tif", "m2/day1.tif")
    cases = found(tmp_path, "{mouse}/{day}.{ext}", layer="em")
    assert list(cases) == ["m1-day2", "m2-day1"]
    assert layers_of(cases["m1-day2"]) == {"em": "m1/day2.tif"}
    assert cases["m1-day2"].attributes == {"mouse": "m1", "day": "day2", "ext": "tif"}


def test_cases_come_in_natural_order_and_layers_by_name(tmp_path):
    touch(tmp_path, *(f"s{n}/{layer}.npy" for n in (10, 9, 2, 1) for layer in ("b", "a")))
    cases = found(tmp_path, "{case}/{layer}.npy")
    assert list(cases) == ["s1", "s2", "s9", "s10"]
    assert all(list(case.layers) == ["a", "b"] for case in cases.values())


def test_several_patterns_make_layers_of_one_case(tmp_path):
    touch(tmp_path, "raw/c1.mrc", "raw/c2.mrc", "mask/1/c1.tif")
    cases = found(tmp_path, ["{layer}/{case}.mrc", "{layer}/{fold}/{case}.tif"])
    assert layers_of(cases["c1"]) == {"mask": "mask/1/c1.tif", "raw": "raw/c1.mrc"}
    assert cases["c1"].attributes == {}  # only one of its files has a fold
    assert list(cases["c2"].layers) == ["raw"]


def test_a_file_that_two_patterns_take_is_found_once(tmp_path):
    touch(tmp_path, "v/a.npy", "v/b.tif")
    cases = found(tmp_path, ["v/{case}.npy", "v/{case}.{ext}"])
    assert {name: layers_of(case) for name, case in cases.items()} == {"a": {"image": "v/a.npy"}, "b": {"image": "v/b.tif"}}
    assert (cases["a"].attributes, cases["b"].attributes) == ({}, {"ext": "tif"})


def test_stars_cross_levels_and_hidden_files_are_never_found(tmp_path):
    touch(tmp_path, "a/x/c1.npy", "b/c2.npy", ".trash/c3.npy", "b/.c4.npy", "done/c5.npy", "done/.curate/journal.jsonl")
    assert list(found(tmp_path, "**/{case}.npy")) == ["c1", "c2"]
    assert list(found(tmp_path, "*/{case}.npy")) == ["c2"]


def test_a_pattern_that_ends_with_a_slash_matches_folders(tmp_path):
    touch(tmp_path, "c1/0.dcm", "c2/0.dcm", "file")
    assert [layers_of(case) for case in found(tmp_path, "{case}/").values()] == [{"image": "c1"}, {"image": "c2"}]


def test_patterns_start_at_the_root_and_absolute_ones_ignore_it(tmp_path):
    touch(tmp_path, "data/c1.npy")
    assert found(tmp_path, "{case}.npy", root="data")["c1"].root == tmp_path / "data"
    assert list(found(tmp_path / "elsewhere", f"{tmp_path}/data/{{case}}.npy")) == ["c1"]


def test_two_files_for_one_layer_are_named(tmp_path):
    touch(tmp_path, "a/c1.npy", "b/c1.npy")
    with pytest.raises(RequestError) as caught:
        found(tmp_path, "*/{case}.npy")
    assert str(caught.value) == (
        f"source.pattern: case 'c1' has two files for the layer 'image': {tmp_path}/a/c1.npy and {tmp_path}/b/c1.npy "
        "(narrow the pattern, or add a field that tells them apart)"
    )


def test_a_pattern_without_a_field_is_refused(tmp_path):
    touch(tmp_path, "a.npy")
    with pytest.raises(
        RequestError, match=r"^source.pattern: the pattern '\*.npy' has no field, .* \(name what varies, such as \{case\}\)$"
    ):
        found(tmp_path, "*.npy")


def test_a_malformed_pattern_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"'\{case:03\}' in the pattern '\{case:03\}.npy' is not a field such as \{case\}"):
        found(tmp_path, "{case:03}.npy")


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("scans/ct/{case}.nii", "{root}/scans holds mr/, pet/, s1.nii, s2.nii, s3.nii ..."),
        ("scans/pet/{case}.nii", "{root}/scans/pet is empty"),
        ("{case}.nii", "{root} holds scans/"),
        ("{root}/scans/pet/{case}.nii", "{root}/scans/pet is empty"),
    ],
)
def test_nothing_found_says_what_is_there(tmp_path, pattern, hint):
    touch(tmp_path, *(f"scans/s{n}.nii" for n in range(1, 6)), "scans/.hidden", "scans/mr/x")
    (tmp_path / "scans/pet").mkdir()
    text = pattern.replace("{root}", str(tmp_path))
    with pytest.raises(RequestError) as caught:
        found(tmp_path, text)
    assert str(caught.value) == f"source.pattern: no file fits {text!r} ({hint.replace('{root}', str(tmp_path))})"


def test_nothing_found_in_a_missing_folder_says_so(tmp_path):
    with pytest.raises(RequestError, match=rf"no file fits '\{{case\}}.npy' or 'x/\{{case\}}.npy' \(there is no folder {tmp_path}/gone\)"):
        found(tmp_path, ["{case}.npy", "x/{case}.npy"], root="gone")


def test_an_empty_pattern_is_a_mistake(tmp_path):
    with pytest.raises(Mistakes):
        found(tmp_path, [])


def test_links_that_lead_out_of_the_root_need_leave(tmp_path):
    touch(tmp_path, "outside/c2.npy", "in/c1.npy")
    (tmp_path / "in" / "c2.npy").symlink_to(tmp_path / "outside/c2.npy")
    with pytest.raises(RequestError) as caught:
        found(tmp_path, "{case}.npy", root="in")
    assert str(caught.value) == (
        f"source.pattern: a symbolic link leads out of the root: {tmp_path}/in/c2.npy is {tmp_path}/outside/c2.npy "
        '(set "follow_links": true to take it)'
    )
    assert list(found(tmp_path, "{case}.npy", root="in", follow_links=True)) == ["c1", "c2"]


def test_linked_folders_count_as_links_and_links_inside_are_free(tmp_path):
    touch(tmp_path, "outside/c2.npy", "in/c1.npy")
    (tmp_path / "in/again").mkdir()
    (tmp_path / "in/again/c3.npy").symlink_to("../c1.npy")
    assert list(found(tmp_path, "**/{case}.npy", root="in")) == ["c1", "c3"]
    (tmp_path / "in/out").symlink_to(tmp_path / "outside")
    with pytest.raises(RequestError, match=rf"leads out of the root: {tmp_path}/in/out/c2.npy is {tmp_path}/outside/c2.npy"):
        found(tmp_path, "**/{case}.npy", root="in")


def test_a_root_that_is_itself_a_link_is_no_way_out(tmp_path):
    touch(tmp_path, "real/c1.npy")
    (tmp_path / "root").symlink_to("real")
    assert list(found(tmp_path, "{case}.npy", root="root")) == ["c1"]


def test_a_link_to_a_folder_above_the_root_ends(tmp_path):
    touch(tmp_path, "in/c1.npy")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    assert list(found(tmp_path, "**/{case}.npy", root="in", follow_links=True)) == ["c1"]


def test_cases_are_numbered_within_groups(tmp_path):
    for name in ("a/x2.npy", "a/x10.npy", "a/x2.tif", "b/y.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {
        case.id: case.attributes["number"] for case in FilesSource(pattern="{group}/{file}", root=tmp_path, number_within=("group",)).find()
    }
    assert found == {"a-x2.npy": 0, "a-x2.tif": 1, "a-x10.npy": 2, "b-y.npy": 0}
    alone = FilesSource(pattern="{group}/{file}", root=tmp_path, number_within=()).find()
    assert [case.attributes["number"] for case in alone] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("pattern", "message"), [("{group}/{file}", "there is no field 'dish'"), ("{dish}/{number}", "a field is called 'number'")]
)
def test_numbering_needs_fields(tmp_path, pattern, message):
    with pytest.raises(RequestError, match=message):
        list(FilesSource(pattern=pattern, root=tmp_path, number_within=("dish",)).find())
