"""Python files that a spec names under ``plugins``: run only where allowed, part of the keys, explained when they fail."""

from __future__ import annotations

import json
import pickle
import sys
from textwrap import dedent

import numpy as np
import pytest

import curate_core
from curate_core.cli.main import main
from curate_core.errors import RunError, SpecError
from curate_core.host import default_host
from curate_core.spec import load, validate

CORNER = '''
    import pathlib
    import numpy as np
    import curate_core

    pathlib.Path(__file__).with_name("was-run").touch()

    @curate_core.roi_finder("corner")
    def corner(case, context, size: int = 4):
        """The first box of each layer.

        Args:
            size: voxels along each axis.
        """
        stop = np.full((1, 2), size)
        return curate_core.RoiTable.boxes(stop - size, stop, "yx")
'''
READER = '''
    import numpy as np
    from attrs import frozen
    from curate_core import Grid, Image, Provider, Reader, hookimpl

    @frozen
    class Rows(Reader):
        """Numbers in rows."""

        def open(self, source, context):
            array = np.loadtxt(source.files[0], dtype=np.uint8, ndmin=2)
            return Image(array, Grid.from_spacing(array.shape, "yx"))

    @hookimpl
    def curate_register_readers():
        yield Provider("reader", "rows", "Numbers in rows.", Rows, suffixes=(".rows",))
'''
ROWS = '''
    import numpy as np
    import curate_core

    @curate_core.reader("rows", suffixes=(".rows",))
    def rows(source, context):
        """Numbers in rows."""
        array = np.loadtxt(source.files[0], dtype=np.uint8, ndmin=2)
        return curate_core.Image(array, curate_core.Grid.from_spacing(array.shape, "yx"))
'''
STEPS = '''
    import numpy as np
    import curate_core
    from curate_core import option

    @curate_core.preprocessor("negative")
    def negative(case, context):
        """Swap dark and bright."""
        image = case.image()
        return case.with_layers({"image": image.with_array(curate_core.MapArray(image.array, np.invert, image.dtype))})

    @curate_core.transform("halve")
    def halve(batch, context, by: int = option(default=2, ge=1)):
        """Divide values.

        Args:
            by: the divisor.
        """
        return batch.with_array("image", batch.array() // by)

    @curate_core.filter("bright")
    def bright(batch, context, least: float):
        """Keep bright samples.

        Args:
            least: the least mean.
        """
        means = np.array([sample.mean() for sample in batch.array()])
        return curate_core.Verdict(means >= least, score=means)
'''


@pytest.fixture
def place(tmp_path):
    """A folder with a volume, a spec, and a file of the user's."""
    np.save(tmp_path / "a.npy", np.arange(64, dtype=np.uint8).reshape(8, 8))
    write(tmp_path / "my_rois.py", CORNER)
    spec = {
        "version": 1,
        "name": "local",
        "plugins": ["./my_rois.py"],
        "source": {"use": "files", "pattern": "{case}.npy"},
        "rois": [{"use": "corner"}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
        "output": "out",
        "engine": {"use": "local", "workers": 0},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("curate_local_")]:
        del sys.modules[name]


def write(file, text):
    file.write_text(dedent(text).lstrip())


def change(place, **changes):
    spec = {**json.loads((place / "spec.json").read_text()), **changes}
    (place / "spec.json").write_text(json.dumps(spec))


def mistakes(place, *, local_code=True):
    with pytest.raises(SpecError) as caught:
        load(place / "spec.json", default_host(), local_code=local_code)
    return [str(problem) for problem in caught.value.problems]


def test_nothing_runs_unasked(place, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    for words in (["run"], ["check"], ["plan"], ["rois", "-o", str(place / "rois.npz")]):
        assert main([words[0], str(place / "spec.json"), *words[1:]]) == 2
        said = capsys.readouterr().err
        assert "plugins.0: './my_rois.py' is Python code, which is not run unasked" in said
        assert "read it, and if you trust it add --allow-local-code, or name its folder in CURATE_TRUSTED" in said
    for act in (curate_core.run, curate_core.open, curate_core.find_rois):
        with pytest.raises(SpecError, match="not run unasked"):
            act(place / "spec.json")
    assert not (place / "was-run").exists()
    assert not (place / "out").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_function_in_a_file_finds_rois(place, workers):
    summary = curate_core.run(place / "spec.json", allow_local_code=True, workers=workers)
    assert summary.exit_code == 0
    dataset = curate_core.open(place / "out")
    assert dataset[0]["image"].tolist() == [[0, 1, 2, 3], [8, 9, 10, 11], [16, 17, 18, 19], [24, 25, 26, 27]]
    lock = json.loads((place / "out" / "spec.lock.json").read_text())
    assert lock["spec"]["plugins"] == ["./my_rois.py"]
    assert lock["distributions"]["my_rois.py"].startswith("sha256:")
    assert not list(place.rglob("*.pyc")), "nothing compiled is left beside the user's file"


def test_every_command_that_takes_a_spec_takes_the_permission(place, capsys):
    spec = str(place / "spec.json")
    for words in (["check", spec], ["plan", spec], ["rois", spec, "-o", str(place / "rois.npz")], ["run", spec, "-q"]):
        assert main([*words, "--allow-local-code"]) == 0, capsys.readouterr().err
    assert main(["plan", spec, "--allow-local-code"]) == 0
    assert "Nothing would be done" in capsys.readouterr().out


def test_a_trusted_folder_needs_no_permission(place, monkeypatch, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for folders, fine in ((str(other), False), (".", False), (f"{other}:{place}", True), (str(place.parent), True)):
        monkeypatch.setenv("CURATE_TRUSTED", folders)
        if fine:
            assert curate_core.run(place / "spec.json").exit_code == 0
        else:
            assert "not run unasked" in mistakes(place, local_code=False)[0]


def test_a_link_out_of_a_trusted_folder_is_not_trusted(place, monkeypatch, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write(other / "elsewhere.py", CORNER)
    (place / "linked.py").symlink_to(other / "elsewhere.py")
    monkeypatch.setenv("CURATE_TRUSTED", str(place))
    change(place, plugins=["./linked.py"])
    assert "not run unasked" in mistakes(place, local_code=False)[0]


def test_its_code_belongs_to_the_keys(place):
    def units():
        return curate_core.run(place / "spec.json", allow_local_code=True).units_done

    assert units() > 0
    assert units() == 0
    write(place / "my_rois.py", CORNER + "    # a remark\n")
    assert units() > 0, "any change of the bytes counts: who can tell a remark from code that matters?"
    write(place / "my_rois.py", CORNER.replace("stop - size, stop", "stop - size + 1, stop + 1"))
    assert units() > 0
    assert curate_core.open(place / "out")[0]["image"][0].tolist() == [9, 10, 11, 12]
    assert units() == 0


def test_a_file_that_changes_under_a_run_stops_it(place, monkeypatch):
    """The workers, which read it later, would decide otherwise than the run expects."""

    def load_and_change(*args, **options):
        spec = load(*args, **options)
        write(place / "my_rois.py", CORNER + "    # another\n")
        return spec

    with monkeypatch.context() as patch:
        patch.setattr("curate_core.runner.load", load_and_change)
        with pytest.raises(RunError, match="has changed"):
            curate_core.run(place / "spec.json", allow_local_code=True, workers=1)
    assert not (place / "out" / "dataset.json").exists()
    assert curate_core.run(place / "spec.json", allow_local_code=True).exit_code == 0


def test_a_moved_folder_is_up_to_date(place):
    curate_core.run(place / "spec.json", allow_local_code=True)
    moved = place.rename(place.with_name("moved"))
    assert curate_core.run(moved / "spec.json", allow_local_code=True).units_done == 0
    moved.rename(place)


@pytest.mark.parametrize("code", [READER, READER.replace(" Rows, s", ' f"{__name__}:Rows", s'), ROWS], ids=["class", "target", "function"])
def test_a_reader_in_a_file_is_found_by_its_suffix(place, capsys, monkeypatch, code):
    monkeypatch.setenv("COLUMNS", "200")
    write(place / "my_reader.py", code)
    (place / "b.rows").write_text("1 2\n3 4\n")
    changed = {"plugins": ["./my_reader.py"], "source": {"use": "files", "pattern": "{case}.rows"}, "rois": [{"use": "whole"}]}
    change(place, **changed)
    curate_core.run(place / "spec.json", allow_local_code=True)
    assert curate_core.open(place / "out")[0]["image"].tolist() == [[1, 2], [3, 4]]
    assert main(["why", str(place / "b.rows"), "--plugin", str(place / "my_reader.py")]) == 0
    assert "my_reader.py:rows" in capsys.readouterr().out
    assert main(["why", str(place / "b.rows")]) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_functions_of_several_kinds_make_a_run(place, workers):
    write(place / "my_rois.py", STEPS)
    steps = {"preprocess": [{"use": "negative"}], "transform": [{"use": "halve"}], "filter": [{"use": "bright", "least": 110}]}
    change(place, rois=[{"use": "grid", "size": 4}], **steps)
    assert curate_core.run(place / "spec.json", allow_local_code=True, workers=workers).written == 2
    top = (255 - np.arange(64, dtype=np.uint8).reshape(8, 8)) // 2
    kept = [sample["image"] for sample in curate_core.open(place / "out")]
    np.testing.assert_array_equal(kept, [top[:4, :4], top[:4, 4:]])  # their means are 113.3 and 111.3, of the others 97.3 and 95.3
    dropped = [json.loads(line) for line in (place / "out" / "dropped.jsonl").read_text().splitlines()]
    assert [(row["step"], row["score"]) for row in dropped] == [("bright", float(tile.mean())) for tile in (top[4:, :4], top[4:, 4:])]


def test_a_change_of_one_function_is_seen_by_its_file(place):
    """The version of each component is its file's hash: what the filter decided is decided again, the samples that stay are the same."""
    write(place / "my_rois.py", STEPS)
    change(place, rois=[{"use": "grid", "size": 4}], filter=[{"use": "bright", "least": 20}])

    def ran():
        summary = curate_core.run(place / "spec.json", allow_local_code=True)
        return summary.units_done > 0, summary.written

    assert ran() == (True, 2)
    assert ran() == (False, 2)
    write(place / "my_rois.py", STEPS.replace("means >= least", "means < least"))
    assert ran() == (True, 2)
    assert curate_core.open(place / "out")[0]["image"][0, 0] == 0


def test_a_reader_of_a_file_outside_of_it_is_refused(place):
    """Another import of the file would be code that no key knows of."""
    write(place / "my_rois.py", READER.replace(" Rows, s", ' "my_rois:Rows", s'))
    [said] = mistakes(place)
    hint = 'offer a class of the file, and name it without quotes: Provider("reader", "rows", "What it does.", Rows)'
    assert said == f"plugins.0: './my_rois.py': the reader 'rows' is 'my_rois:Rows', outside of the file ({hint})"
    write(place / "my_rois.py", READER.replace(" Rows, s", ' "curate_core.builtin.npy:NpyReader", s').replace("class Rows", "class Lines"))
    [said] = mistakes(place)
    assert "is 'curate_core.builtin.npy:NpyReader', outside of the file (offer a class of the file, and name it without quotes" in said
    assert said.endswith(", Lines))")


def test_schema_and_plugins_know_its_components(place, capsys):
    file = str(place / "my_rois.py")
    assert main(["schema", "--plugin", file]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert "corner" in schema["$defs"]["roi_finder"]["properties"]["use"]["enum"]
    size = schema["$defs"]["roi_finder.my_rois.py:corner"]["properties"]["size"]
    assert (size["description"], size["default"]) == ("voxels along each axis.", 4)
    assert main(["plugins", "--json", "--check", "--plugin", file]) == 0
    rows = json.loads(capsys.readouterr().out)["plugins"]
    [row] = [row for row in rows if row["distribution"] == "my_rois.py"]
    assert row["components"][0]["name"] == "corner"
    assert main(["schema", "--plugin", str(place / "gone.py")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert "corner" not in [offer.provider.name for offer in default_host().offers("roi_finder")], "other specs know nothing of it"


def test_options_are_checked_as_those_of_any_component(place):
    change(place, rois=[{"use": "corner", "sise": 3}])
    assert mistakes(place) == ["rois.0.sise: unknown option 'sise' (did you mean 'size'?)"]


def test_a_name_that_an_installed_plugin_has_must_be_told_apart(place):
    write(place / "my_rois.py", CORNER.replace('"corner"', '"grid"'))
    change(place, rois=[{"use": "grid"}])
    [said] = mistakes(place)
    assert "write 'curate-core:grid' or 'my_rois.py:grid'" in said
    change(place, rois=[{"use": "my_rois.py:grid"}])
    assert curate_core.run(place / "spec.json", allow_local_code=True).written == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import numpy\n\nvalue = 1 / 0\n", "'./my_rois.py' failed with ZeroDivisionError: division by zero (line 3)"),
        ("def broken(:\n    pass\n", "'./my_rois.py' failed with SyntaxError: invalid syntax (line 1)"),
        ("import no_such_library\n", "'./my_rois.py' failed with ModuleNotFoundError: No module named 'no_such_library' (line 1)"),
        ("raise SystemExit(3)\n", "'./my_rois.py' failed with SystemExit: 3 (line 1)"),
        ("value = 1\n", "'./my_rois.py' brings no component (decorate a function with @curate_core.roi_finder(\"name\")"),
        (
            "import curate_core\n\nclass Mine(curate_core.RoiFinder):\n    pass\n",
            "'./my_rois.py' brings no component (Mine has no name yet: write @hookimpl, def curate_register_roi_finders(): "
            'yield Provider("roi_finder", "my-name", "What it does.", Mine))',
        ),
        (
            "import curate_core\n\nclass Mine(curate_core.Writer):\n    pass\n",
            "'./my_rois.py' brings no component (Mine is a writer, which only an installed plugin can bring)",
        ),
        (
            "import curate_core\n\n@curate_core.roi_finder('x')\ndef find(context, case):\n    pass\n",
            "its first parameters must be case and context (line 3)",
        ),
        (
            "import curate_core\n\n@curate_core.roi_finder('Hot Spots')\ndef find(case, context):\n    pass\n",
            "'./my_rois.py': name 'Hot Spots' must be lower case words joined by hyphens (did you mean 'hot-spots'?)",
        ),
        (
            CORNER + CORNER.replace("def corner", "def again").replace("import pathlib\n", "", 1),
            "'./my_rois.py': the ROI finder 'corner' is there twice",
        ),
        (
            "from curate_core import Provider, hookimpl\n\n@hookimpl\ndef curate_register_writers():\n    yield Provider('writer', 'w', 'W.', 'a:B')\n",
            "'./my_rois.py': 'w' is of kind 'writer', which only an installed plugin can bring",
        ),
        (
            "from curate_core import hookimpl\n\n@hookimpl\ndef curate_register_reader():\n    pass\n",
            "'./my_rois.py': there is no hook 'curate_register_reader' (did you mean 'curate_register_readers'?)",
        ),
        (
            "from curate_core import hookimpl\n\n@hookimpl\ndef curate_register_readers():\n    return 3\n",
            "'./my_rois.py': curate_register_readers must give Provider objects one by one, not int (write yield before Provider(...))",
        ),
        (
            "from curate_core import Provider, hookimpl\n\n@hookimpl\ndef curate_register_readers():\n    Provider('reader', 'r', 'R.', 'a:B')\n",
            "'./my_rois.py': curate_register_readers gave nothing (write yield before Provider(...))",
        ),
        (
            "from curate_core import hookimpl\n\n@hookimpl\ndef curate_register_readers(host):\n    return []\n",
            "'./my_rois.py': curate_register_readers takes host: registering hooks take no arguments (write def curate_register_readers():)",
        ),
        (
            "from curate_core import hookimpl\n\n@hookimpl\ndef curate_run_finished(summary):\n    pass\n",
            "'./my_rois.py': curate_run_finished is an event, of which only installed plugins hear (curate new-plugin makes a package)",
        ),
    ],
)
def test_files_that_do_not_work(place, code, message):
    write(place / "my_rois.py", code)
    [said] = mistakes(place)
    assert said.startswith("plugins.0: ")
    assert message in said


@pytest.mark.parametrize(
    ("names", "messages"),
    [
        (["./gone.py"], ["plugins.0: there is no file './gone.py'", "holds my_rois.py"]),
        (["none/gone.py"], ["plugins.0: there is no file 'none/gone.py'", "holds no Python files"]),
        (["curate-mrc"], ["plugins.0: 'curate-mrc' is no Python file (installed plugins need no mention"]),
        (["./my_rois.py", "sub/my_rois.py"], ["plugins.0: two files are called 'my_rois.py'", "plugins.1: two files"]),
        ("./my_rois.py", ["plugins: expected a list"]),
        ([3], ["plugins.0: expected a path, got 3"]),
    ],
)
def test_names_that_lead_nowhere(place, names, messages):
    change(place, plugins=names)
    said = "\n".join(mistakes(place))
    for message in messages:
        assert message in said


def test_an_error_inside_names_file_and_line(place):
    write(place / "my_rois.py", CORNER.replace("stop = np.full", "stop = np.ful"))
    summary = curate_core.run(place / "spec.json", allow_local_code=True)
    assert summary.exit_code == 1
    [row] = [json.loads(line) for line in (place / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert "corner: failed with AttributeError" in row["reason"]
    assert "(my_rois.py, line 14)" in row["reason"]


def test_a_spec_with_a_file_is_opened_and_sent_to_loaders(place):
    with_code = curate_core.open(place / "spec.json", allow_local_code=True)
    assert with_code[0]["image"].shape == (4, 4)
    assert pickle.loads(pickle.dumps(with_code))[0]["image"].shape == (4, 4)
    assert len(curate_core.find_rois(place / "spec.json", allow_local_code=True)["a"]) == 1


def test_the_host_keeps_what_it_had(place):
    spec = load(place / "spec.json", default_host(), local_code=True)
    assert len(spec.host.plugins) == len(default_host().plugins) + 1
    again = validate(spec.given, spec.host, spec.folder, "spec", local_code=True)
    assert len(again.host.plugins) == len(spec.host.plugins)
    assert spec.host.manager is default_host().manager, "listeners hear of a run with a file as of any"
