"""Patterns over files: the same files as glob finds, in natural order, with their parts named."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core.errors import RequestError
from curate_core.patterns import Match, field_names, find, natural_key


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def found(root: Path, pattern: str, **options) -> list[str]:
    return [match.path.relative_to(root).as_posix() for match in find(root, pattern, **options)]


TREE = (
    "a.tif", "b.tif", "b.tiff", ".hidden.tif", "notes.txt", "s1/a.tif", "s1/b.nii.gz", "s2/a.tif", "s10/a.tif", "s10/deep/er/a.tif",
    ".git/a.tif", "s1/.cache/a.tif", "s1/x y.tif", "s1/[a].tif", "deep/er/est/z.tif",
)  # fmt: skip


@pytest.mark.parametrize(
    "pattern",
    ["*.tif", "*/*.tif", "s1/*.tif", "s?/*.tif", "**/*.tif", "**/a.tif", "s10/**/*.tif", "*/deep/**/a.tif", "s1/b.*", "*", "s1/*", "**/*",
     "no/*.tif", "a.tif", "s1/[a].tif", "*.TIF", "deep/*/*/z.tif", "**/er/*.tif", "./*.tif", "s1/../*.tif"],
)  # fmt: skip
def test_the_same_files_as_glob(tmp_path, pattern):
    """Truth: Python's glob, which hides dot files as well; ``[a]`` is literal here."""
    touch(tmp_path, *TREE)
    expected = glob.glob(glob.escape(str(tmp_path)) + "/" + pattern.replace("[", "[[]"), recursive=True)  # noqa: PTH207 - the truth
    files = {os.path.normpath(path) for path in expected if Path(path).is_file()}
    assert {os.path.normpath(match.path) for match in find(tmp_path, pattern)} == files


@given(st.lists(st.sampled_from(["a", "b", "*", "?", "a*", "*b", "**", "a?"]), min_size=1, max_size=4))
@settings(max_examples=120, deadline=None)
def test_random_patterns_against_glob(tmp_path_factory, parts):
    root = tmp_path_factory.getbasetemp() / "random-tree"
    if not root.exists():
        words = ["a", "b", "ab", "ba"]
        touch(
            root, *[f"{x}/{y}/f{z}" for x in words for y in words for z in words], *[f"{x}/g{y}" for x in words for y in words], "aa", "bb"
        )
        touch(root, *[f"{x}/{y}/{z}/ab" for x in words for y in words for z in words])
    pattern = "/".join(parts)
    expected = {p for p in glob.glob(f"{glob.escape(str(root))}/{pattern}", recursive=True) if Path(p).is_file()}  # noqa: PTH207
    assert {str(match.path) for match in find(root, pattern)} == expected


def test_folders(tmp_path):
    touch(tmp_path, "p1/ct/1.dcm", "p1/pet/1.dcm", "p2/ct/1.dcm", "p2/ct.txt", "p10/ct/1.dcm", ".p3/ct/1.dcm")
    matches = find(tmp_path, "{patient}/ct/")
    assert [match.fields for match in matches] == [{"patient": "p1"}, {"patient": "p2"}, {"patient": "p10"}]
    assert all(match.path.is_dir() for match in matches)
    assert found(tmp_path, "**/ct/") == ["p1/ct", "p2/ct", "p10/ct"]


def test_fields_stay_within_a_level_and_repeat_equally(tmp_path):
    touch(tmp_path, "p1/p1_ct.nii.gz", "p1/p2_ct.nii.gz", "p2/p2_ct.nii.gz", "p2/x/p2_ct.nii.gz")
    matches = find(tmp_path, "{case}/{case}_{kind}.{ext}")
    assert [(m.fields["case"], m.fields["kind"], m.fields["ext"]) for m in matches] == [("p1", "ct", "nii.gz"), ("p2", "ct", "nii.gz")]


@pytest.mark.parametrize(
    ("name", "case", "ext"),
    [
        ("a.tif", "a", "tif"), ("a.b.tif", "a.b", "tif"), ("a.nii.gz", "a", "nii.gz"), ("a.ome.tiff", "a", "ome.tiff"),
        ("a.v2.nii.gz", "a.v2", "nii.gz"), ("a.gz", "a", "gz"), ("a.nii", "a", "nii"), ("a.mrc.gz", "a", "mrc.gz"), ("nii.gz", "nii", "gz"),
    ],
)  # fmt: skip
def test_double_endings(tmp_path, name, case, ext):
    touch(tmp_path, name)
    assert find(tmp_path, "{case}.{ext}") == [Match(tmp_path / name, {"case": case, "ext": ext})]


def test_no_ending_no_match(tmp_path):
    touch(tmp_path, "README")
    assert find(tmp_path, "{case}.{ext}") == []


def test_natural_order(tmp_path):
    touch(tmp_path, "s10.tif", "s2.tif", "s1.tif", "s02.tif", "S3.tif", "t.tif", "s2a.tif", "s2.5.tif")
    order = found(tmp_path, "{case}.tif")
    assert order == ["S3.tif", "s1.tif", "s2.5.tif", "s02.tif", "s2.tif", "s2a.tif", "s10.tif", "t.tif"]


@given(st.lists(st.text(alphabet="ab019.-", max_size=8), max_size=8), st.randoms())
@settings(max_examples=100, deadline=None)
def test_natural_keys_are_a_total_order(names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    assert sorted(names, key=lambda n: (natural_key(n), n)) == sorted(shuffled, key=lambda n: (natural_key(n), n))
    numbers = sorted(range(0, 1200, 37), key=lambda n: natural_key(f"x{n}y"))
    assert numbers == sorted(numbers)


def test_absolute_patterns_ignore_the_root(tmp_path):
    touch(tmp_path, "a/x.tif")
    assert find(Path("/nowhere"), f"{tmp_path}/a/{{case}}.tif") == [Match(tmp_path / "a/x.tif", {"case": "x"})]
    assert find(tmp_path / "a", "../a/{case}.tif")[0].fields == {"case": "x"}


def test_the_output_is_never_a_source(tmp_path):
    """A folder that a run wrote is known by what lies in it."""
    touch(tmp_path, "a.tif", "in/a.tif", "out/a.tif", "out/deep/b.tif", "out/.curate/journal")
    assert found(tmp_path, "**/{case}.tif") == ["a.tif", "in/a.tif"]
    assert found(tmp_path, "*/{case}.tif") == ["in/a.tif"]


def test_special_characters_are_literal(tmp_path):
    touch(tmp_path, "a+b (1).tif", "aab (1).tif", "a.tif", "axtif")
    assert found(tmp_path, "a+b ({n}).tif") == ["a+b (1).tif"]
    assert found(tmp_path, "a.tif") == ["a.tif"]


def test_links_are_followed_but_never_round_in_circles(tmp_path):
    touch(tmp_path, "real/a.tif", "elsewhere/b.tif")
    (tmp_path / "real/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "real/loop").symlink_to(tmp_path / "real")
    (tmp_path / "real/root").symlink_to(tmp_path)
    assert found(tmp_path, "real/**/{case}.tif") == ["real/a.tif", "real/link/b.tif"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_may_not_be_listed(tmp_path):
    closed = touch(tmp_path, "closed/a.tif") / "closed"
    closed.chmod(0)
    try:
        with pytest.raises(RequestError, match="closed: the folder cannot be listed: Permission denied"):
            find(tmp_path, "*/*.tif")
    finally:
        closed.chmod(0o755)


def test_a_folder_that_fails(tmp_path, monkeypatch):
    def fail(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", fail)
    with pytest.raises(RequestError, match=re.escape(f"{tmp_path}: the folder cannot be listed: Permission denied")):
        find(tmp_path, "*.tif")


def test_field_names():
    assert field_names("{site}/{case}_{case}.{ext}") == ("site", "case", "ext")
    assert field_names("*/**/?.tif") == ()


@pytest.mark.parametrize(
    ("pattern", "what"),
    [("{}.tif", "'{}'"), ("{a-b}.tif", "'{a-b}'"), ("{case", "'{case'"), ("{a.b}", "'{a.b}'"), ("{1a}", "'{1a}'"), ("{0}", "'{0}'")],
)
def test_braces_that_name_nothing(pattern, what, tmp_path):
    for act in (lambda: field_names(pattern), lambda: find(tmp_path, pattern)):
        with pytest.raises(RequestError) as caught:
            act()
        assert str(caught.value) == f"{what} in the pattern {pattern!r} is not a field such as {{case}}"


@pytest.mark.parametrize("pattern", ["a**/b.tif", "**a", "x/**.tif"])
def test_two_stars_stand_alone(pattern, tmp_path):
    with pytest.raises(RequestError) as caught:
        find(tmp_path, pattern)
    assert str(caught.value) == f"'**' in the pattern {pattern!r} stands for whole folder levels, so nothing else fits between its slashes"
