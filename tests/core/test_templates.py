"""Path templates: what they give stays inside, whatever the data says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core.errors import StepError
from curate_core.templates import PathTemplate, check_relative, fill_in


@pytest.mark.parametrize(
    ("template", "values", "path"),
    [
        ("{case}/{roi}.tiff", {"case": "a", "roi": "z0-1"}, "a/z0-1.tiff"),
        ("{case:04}.npy", {"case": "7"}, "0007.npy"),
        ("{case:04d}.npy", {"case": "-7"}, "-007.npy"),
        ("{case:+}.npy", {"case": "7"}, None),
        ("{row:03}.npy", {"row": 12}, "012.npy"),
        ("{case}.npy", {"case": "007"}, "007.npy"),
        ("{case:>4}.npy", {"case": "ab"}, "  ab.npy"),
        ("{case:.3}.npy", {"case": "12345"}, "123.npy"),
        ("{score:.2f}.npy", {"score": 0.5}, "0.50.npy"),
        ("{case}/x.npy", {"case": "site/patient"}, "site/patient/x.npy"),
        ("{{{case}}}.npy", {"case": "a"}, "{a}.npy"),
        ("plain.npy", {}, "plain.npy"),
        ("{case}.npy", {"case": "Größe 山"}, "Größe 山.npy"),
        ("{case}.npy", {"case": os.fsdecode(b"\xff")}, os.fsdecode(b"\xff.npy")),
    ],
)
def test_render(template, values, path):
    if path is None:
        with pytest.raises(StepError, match="cannot be filled in"):
            PathTemplate(template).render(values)
    else:
        assert PathTemplate(template).render(values) == path


def test_fields():
    assert PathTemplate("{case:04}/{roi}_{case}.tiff").fields == ("case", "roi", "case")
    assert PathTemplate("x{{y}}").fields == ()


@pytest.mark.parametrize("text", ["{case.__class__}", "{case[0]}", "{case!r}", "{}", "{0}", "{a:{b}}", "{a:{b.__class__}}", "{ case}"])
def test_only_plain_names(text):
    with pytest.raises(ValueError, match=r"in the path .* is not a plain name"):
        PathTemplate(text).fields  # noqa: B018
    with pytest.raises(StepError, match=r"the path .* cannot be filled in: .* is not a plain name"):
        PathTemplate(text).render({"case": "x", "a": 1, "b": 2})


@pytest.mark.parametrize("text", ["{case", "case}", "{case:"])
def test_malformed(text):
    with pytest.raises(ValueError, match=r"'\{'|'\}'|expected"):
        PathTemplate(text).fields  # noqa: B018
    with pytest.raises(StepError, match="cannot be filled in"):
        PathTemplate(text).render({"case": "x"})


def test_messages():
    with pytest.raises(StepError) as caught:
        PathTemplate("{case}/{plane}.tiff").render({"roi": "a", "case": "b"})
    assert str(caught.value) == "the path '{case}/{plane}.tiff' wants {plane}, the sample has case, roi"
    with pytest.raises(StepError) as caught:
        PathTemplate("{case:04.1f}.tiff").render({"case": "b"})
    assert str(caught.value) == "the path '{case:04.1f}.tiff' cannot be filled in: Unknown format code 'f' for object of type 'str'"
    with pytest.raises(StepError, match=r"the note '\{b\}' wants \{b\}, the sample has a"):
        fill_in("{b}", {"a": 1}, "note")


@pytest.mark.parametrize("digits", ["²", "١٢", "--5", "1_000", " 7"])
def test_text_that_only_looks_like_a_number(digits):
    """Formatted as the text that it is."""
    assert PathTemplate("x{case:>9}").render({"case": digits}) == f"x{digits:>9}"


ESCAPES = [
    "", "/etc/passwd", "../x", "a/../x", "a/..", "./x", "a/./x", "a//x", "a/", "\\x", "a\\..\\x", "C:/x", "c:x", "..", ".",
]  # fmt: skip


@pytest.mark.parametrize("path", ESCAPES)
def test_paths_that_leave_the_folder(path):
    with pytest.raises(StepError) as caught:
        check_relative(path)
    assert str(caught.value) == f"the path {path!r} would leave the output folder or is not a plain relative path"
    with pytest.raises(StepError, match="would leave the output folder"):
        PathTemplate("{case}").render({"case": path})


@pytest.mark.parametrize("path", ["a\nb", "a\0b", "a\x7f", "\ud800", "a/\udfff.npy", "\x1b[31m"])
def test_names_that_no_file_has(path):
    with pytest.raises(StepError) as caught:
        check_relative(path)
    assert str(caught.value) == f"the path {path!r} contains control characters, or others that no file name holds"


def test_long_names():
    assert check_relative("a" * 255) == "a" * 255
    assert check_relative("/".join(["a" * 255] * 3))
    with pytest.raises(StepError) as caught:
        check_relative("x/" + "é" * 128)  # 256 bytes
    assert str(caught.value) == f"the name {'é' * 40!r}... has more than 255 bytes"


@given(st.text(max_size=20))
@settings(max_examples=300, deadline=None)
def test_what_passes_stays_inside_and_can_be_written(tmp_path_factory, text):
    """Truth from the file system itself."""
    folder = tmp_path_factory.mktemp("out")
    try:
        path = PathTemplate("{case}").render({"case": text})
    except StepError:
        return
    target = folder / path
    assert Path(os.path.normpath(target)).is_relative_to(folder)
    assert Path(os.path.normpath(target)) == target
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"x")
    assert target.is_file()
