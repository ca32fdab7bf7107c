"""Cases written out in the spec or in a table."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate_core.builtin.table import ListSource, parse_value, read_table
from curate_core.digest import source_key, source_names
from curate_core.errors import RequestError
from curate_core.model import Role
from curate_core.structure import structure

IMAGE = {"image": {"files": "a.npy"}}


def found(folder, **options):
    return list(structure(options, ListSource, folder).find())


@pytest.fixture
def data(tmp_path):
    for name in ("a.npy", "b.npy", "c.npy"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_cases_in_the_spec(data):
    case = {
        "case": "liver",
        "split": "train",
        "age": 61,
        "roles": {"main": {"inputs": ["ct"], "targets": ["mask"]}},
        "layers": {
            "ct": {"files": ["a.npy", "b.npy"], "join": "channels", "spacing": [5, 1, 1], "unit": "mm", "axes": "zyx"},
            "mask": {"uri": "http://x/mask", "mip": 2},
        },
    }
    (one,) = found(data, cases=[case])
    assert (one.id, dict(one.attributes), one.root) == ("liver", {"split": "train", "age": 61}, data)
    assert one.roles == {"main": Role(("ct",), ("mask",))}
    ct, mask = one.layers["ct"], one.layers["mask"]
    assert (ct.files, ct.join, ct.spacing, ct.unit) == ((data / "a.npy", data / "b.npy"), "channels", (5.0, 1.0, 1.0), "mm")
    assert dict(ct.options) == {"axes": "zyx"}
    assert (mask.files, mask.uri, dict(mask.options)) == ((), "http://x/mask", {"mip": 2})


def test_a_csv_table_with_templates(data):
    (data / "t.csv").write_text("name,path,mip,fine,note\nem1,a,2,true,\nem2,b,0.5,FALSE,two words\n")
    layers = {"em": {"files": "{path}.npy", "mip": "{mip}", "list": ["{fine}", "x{path}"], "literal": 7}}
    one, two = found(data, table="t.csv", case="name", layers=layers)
    assert (one.id, one.attributes) == ("em1", {"path": "a", "mip": 2, "fine": True})
    assert one.layers["em"].files == (data / "a.npy",)
    assert dict(one.layers["em"].options) == {"mip": 2, "list": [True, "xa"], "literal": 7}
    assert (two.id, two.attributes) == ("em2", {"path": "b", "mip": 0.5, "fine": False, "note": "two words"})


def test_a_json_table_may_hold_layers_of_its_own(data):
    rows = [{"case": 7, "layers": {"own": {"files": "b.npy"}}, "tags": ["x", "y"]}, {"case": "8"}]
    (data / "t.json").write_text(json.dumps(rows))
    one, two = found(data, table="t.json", layers=IMAGE)
    assert (one.id, one.attributes, list(one.layers)) == ("7", {"tags": ["x", "y"]}, ["own"])
    assert (two.id, list(two.layers)) == ("8", ["image"])


def test_files_start_at_the_root_unless_they_are_absolute(data, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    cases = [{"case": "a", "layers": IMAGE}, {"case": "b", "layers": {"image": {"files": str(data / "b.npy")}}}]
    with pytest.raises(RequestError, match=f"1 files are missing: {other}/a.npy$"):
        found(other, cases=cases)
    assert [case.files() for case in found(other, cases=cases, root=str(data))] == [(data / "a.npy",), (data / "b.npy",)]


@pytest.mark.parametrize(("number", "more"), [(10, ""), (12, " and 2 more")])
def test_all_missing_files_are_counted_and_the_first_named(data, number, more):
    cases = [{"case": str(i), "layers": {"image": {"files": f"gone{i:02}.npy"}}} for i in range(number)]
    with pytest.raises(RequestError) as caught:
        found(data, cases=cases)
    shown = ", ".join(str(data / f"gone{i:02}.npy") for i in range(10))
    assert str(caught.value) == f"source: {number} files are missing: {shown}{more}"


@pytest.mark.parametrize("options", [{}, {"cases": [{"case": "a", "layers": IMAGE}], "table": "t.csv"}])
def test_either_cases_or_a_table(data, options):
    with pytest.raises(RequestError, match='^source: give either "cases" or "table"$'):
        found(data, **options)


MISTAKES = [
    ({"layers": IMAGE}, r"^source.cases.0: there is no case id under 'case' \(it has layers\)$"),
    ({"case": "", "layers": IMAGE}, r"^source.cases.0: there is no case id under 'case'"),
    ({"case": ["a"], "layers": IMAGE}, r"^source.cases.0: there is no case id under 'case'"),
    ({"case": "a"}, r'^source.cases.0: no layers are described \(give "layers"\)$'),
    ({"case": "a", "layers": {}}, r"^source.cases.0: no layers are described"),
    ({"case": "a", "layers": ["a.npy"]}, r"^source.cases.0: no layers are described"),
    ({"case": "a", "layers": {"ct": "a.npy"}}, r'^source.cases.0, layer ct: a layer is an object with "files" or "uri"$'),
    (
        {"case": "a", "n": 1, "layers": {"ct": {"files": "{path}"}}},
        r"^source.cases.0, layer ct: there is no column 'path' \(there are n, case\)$",
    ),
    ({"case": "a", "layers": {"ct": {"files": "x{path}"}}}, r"^source.cases.0, layer ct: there is no column 'path'"),
    ({"case": "a", "layers": {"ct": {"files": 3}}}, r"^source.cases.0, layer ct: files: expected text or a list, got 3$"),
    (
        {"case": "a", "layers": {"ct": {"spacing": ["1"], "unit": 3}}},
        r"^source.cases.0, layer ct: spacing.0: .*; unit: expected text, got 3$",
    ),
    ({"case": "a", "layers": IMAGE, "roles": {"p": {"input": []}}}, r"^source.cases.0: roles.p.input: unknown option 'input'"),
    ({"case": "a", "layers": IMAGE, "roles": ["ct"]}, r"^source.cases.0: roles: expected an object, got a list$"),
    ({"case": "a", "layers": {"ct": {"files": "x{"}}}, r"^source.cases.0, layer ct: Single '\{' encountered in format string"),
    (
        {"case": "a", "layers": {"ct": {"files": "{case.__class__}.npy"}}},
        r"^source.cases.0, layer ct: \{case.__class__\} in the path '\{case.__class__\}.npy' is not a plain name",
    ),
]


@pytest.mark.parametrize(("case", "match"), MISTAKES)
def test_mistakes_of_a_case_are_named(data, case, match):
    with pytest.raises(RequestError, match=match):
        found(data, cases=[case])


def test_mistakes_in_a_table_name_its_row(data):
    (data / "t.csv").write_text("case,path\na,a.npy\n,b.npy\n")
    with pytest.raises(RequestError, match=rf"^{data}/t.csv, row 2: there is no case id under 'case' \(it has path\)$"):
        found(data, table="t.csv", layers=IMAGE)


TABLES = [
    ("t.json", '{"case": 1}', "a JSON table is a list of objects"),
    ("t.json", "[1]", "a JSON table is a list of objects"),
    ("t.json", "[", "1 mistake\n  this is not JSON: Expecting value"),
    ("t.csv", b"case\n\xff\n", "the table cannot be read: 'utf-8' codec"),
    ("t.csv", 'case\n"a" b\n', "the table cannot be read: "),
    ("t.csv", "case,a,a\n1,2,3\n", "columns of the table share a name: case, a, a"),
    ("t.csv", "case,a\n1,2\n1\n", "row 2 has not as many fields as the header"),
    ("t.csv", "case,a\n1,2,3\n", "row 1 has not as many fields as the header"),
]


@pytest.mark.parametrize(("name", "text", "message"), TABLES)
def test_broken_tables_are_named(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RequestError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(RequestError, match=rf"^{tmp_path}/gone.csv: the table cannot be read: .*No such file"):
        read_table(tmp_path / "gone.csv")


def test_ids_in_a_table_stay_text(data):
    (data / "t.csv").write_text("case,v\n1.1,1.10\n1.10,2\n1e3,3\n")
    cases = found(data, table="t.csv", layers={"image": {"files": "a.npy", "of": "{case}", "v": "{v}"}})
    assert [case.id for case in cases] == ["1.1", "1.10", "1e3"]
    assert [dict(case.layers["image"].options) for case in cases] == [
        {"of": "1.1", "v": 1.1},
        {"of": "1.10", "v": 2},
        {"of": "1e3", "v": 3},
    ]


def test_values_of_columns_are_not_filled_in_again(data):
    (one,) = found(data, cases=[{"case": "a", "t": "{case}x{gone}", "layers": {"image": {"files": ["a.npy"], "o": ["{t}", "<{t}>"]}}}])
    assert one.layers["image"].options["o"] == ["{case}x{gone}", "<{case}x{gone}>"]


def test_numbers_take_formats(data):
    (one,) = found(data, cases=[{"case": "a", "n": 7, "layers": {"image": {"files": "a.npy", "o": "{n:03}-{{x}}"}}}])
    assert one.layers["image"].options["o"] == "007-{x}"


def test_an_empty_table_has_no_cases(tmp_path):
    (tmp_path / "t.csv").write_text("")
    assert read_table(tmp_path / "t.csv") == []


def test_spreadsheets_marks_and_line_ends_do_not_matter(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffcase,path\r\nä,b\r\n".encode())
    assert read_table(tmp_path / "t.csv") == [{"case": "ä", "path": "b"}]


def test_a_quoted_line_break_is_part_of_its_field(tmp_path):
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["case", "note"], ["a", "one\ntwo"], ["b", "x"], ["c", "line\u2028separator"]])
    assert [row["note"] for row in read_table(tmp_path / "t.csv")] == ["one\ntwo", "x", "line\u2028separator"]


VALUES = [
    ("1", 1), ("-3", -3), ("+3", 3), ("0", 0), ("1.5", 1.5), ("-0.5", -0.5), ("1e3", 1000.0), ("2.", 2.0), ("TRUE", True), ("false", False),
    ("007", "007"), ("0x1f", "0x1f"), ("1.2.3", "1.2.3"), ("1e", "1e"), ("nan", "nan"), ("inf", "inf"), ("1_000", "1_000"), ("١", "١"),
    ("--3", "--3"), ("+-3", "+-3"), ("-", "-"), ("1 ", "1 "), ("yes", "yes"), ("1_0.5", "1_0.5"), ("1e999", "1e999"), ("00.5", "00.5"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_fields_become_values_where_they_plainly_are(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@given(st.text(max_size=8) | st.integers().map(str) | st.floats().map(repr) | st.from_regex(r"[-+0-9._e]{1,8}", fullmatch=True))
def test_no_field_breaks_the_table_or_json(text):
    value = parse_value(text)
    assert json.loads(json.dumps(value, allow_nan=False)) == value


@given(st.integers())
def test_whole_numbers_stay_exact(number):
    assert parse_value(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_decimal_numbers_stay_exact(number):
    assert parse_value(repr(number)) == number


def test_tabs_separate_where_the_header_has_them(data):
    (data / "t.csv").write_text("name\tnote, long\tmip\r\nem\ta, b\t3\r\n")
    assert read_table(data / "t.csv") == [{"name": "em", "note, long": "a, b", "mip": 3}]


def test_defaults_stand_for_what_a_row_leaves_empty(data):
    (data / "t.csv").write_text("case,mip,z,y\na,,,\nb,3,40,4\n")
    layers = {"em": {"uri": "gs://x/{case}", "mip": "{mip}", "spacing": ["{z}", "{y}"], "unit": "nm", "invert": "{invert}", "own": None}}
    one, two = found(data, table="t.csv", layers=layers, defaults={"mip": 1, "z": None, "y": None, "invert": None})
    assert dict(one.layers["em"].options) == {"mip": 1, "own": None}
    assert one.layers["em"].spacing is None
    assert dict(two.layers["em"].options) == {"mip": 3, "own": None}
    assert two.layers["em"].spacing == (40.0, 4.0)
    assert (one.attributes["mip"], two.attributes["mip"], two.attributes["invert"]) == (1, 3, None)
    with pytest.raises(RequestError, match=r"layer em: spacing.1: expected a number, got null"):
        found(data, cases=[{"case": "a", "z": 4, "layers": layers}], defaults={"mip": 1, "y": None, "invert": None})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("file://layers/a.zarr", "file://{root}/layers/a.zarr"),
        ("precomputed://file://./layers/a", "precomputed://file://{root}/layers/a"),
        ("n5://file:///data/a.n5", "n5://file:///data/a.n5"),
        ("precomputed://gs://bucket/file://a", "precomputed://gs://bucket/file://a"),
        ("https://host/a", "https://host/a"),
    ],
)
def test_relative_addresses_start_at_the_root(data, written, meant):
    (one,) = found(data, cases=[{"case": "a", "layers": {"em": {"uri": written}}}])
    assert one.layers["em"].uri == meant.format(root=data)


def test_relative_addresses_are_told_and_keyed_as_they_were_written(data, tmp_path_factory):
    """A folder of layers may move with its table: nothing is done again for that, and the manifest names no place of one machine."""
    layers = {"em": {"uri": "n5://file://layers/a.n5"}, "other": {"uri": "file:///elsewhere/b"}}
    keys = set()
    for folder in (data, tmp_path_factory.mktemp("moved")):
        (case,) = found(folder, cases=[{"case": "a", "layers": layers}])
        assert source_names(case) == {"em": ["n5://file://layers/a.n5"], "other": ["file:///elsewhere/b"]}
        keys.add(source_key(case, {}, 0))
    assert len(keys) == 1
