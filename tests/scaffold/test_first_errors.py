"""The mistakes of a plugin's first hour, as docs/tutorial/first-plugin.md promises them: each says what, where and what to do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from curate_core.cli.main import main
from curate_core.host import Host, default_host
from curate_core.scaffold import new_plugin
from curate_core.testing.fixtures import write_distribution

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "first-plugin.md"


class Desk:
    """A new plugin, changed in one place, and what curate says of it."""

    def __init__(self, folder, site, capsys):
        self.folder, self.site, self.capsys = folder, site, capsys

    def plugin(self, name, kind, *, entry="", **changes):
        """Make and install it; ``changes``: module -> (old, new)."""
        made = new_plugin(name, kind, self.folder / "made", Host([]))
        package = f"curate_{name}"
        for module, (old, new) in changes.items():
            file = made.folder / "src" / package / f"{module}.py"
            assert old in file.read_text()
            file.write_text(file.read_text().replace(old, new))
        shutil.copytree(made.folder / "src", self.site, dirs_exist_ok=True)
        write_distribution(self.site, f"curate-{name}", {name: entry or f"{package}.plugin"})
        default_host.cache_clear()

    def __call__(self, *words):
        code = main([str(word) for word in words])
        said = self.capsys.readouterr()
        return code, re.sub(r"\s+", " ", said.out + said.err)

    def spec(self, pattern="{case}.npy", **steps):
        """A spec over one small image."""
        np.save(self.folder / "a.npy", np.arange(1024, dtype=np.uint8).reshape(32, 32))
        spec = {
            "version": 1,
            "name": "trial",
            "source": {"use": "files", "pattern": pattern},
            "rois": [{"use": "grid", "size": 8}],
            "write": [{"use": "npy"}],
            "output": "out",
            "engine": {"use": "local", "workers": 0},
            **steps,
        }
        (self.folder / "spec.json").write_text(json.dumps(spec))
        return self.folder / "spec.json"

    def run(self, pattern="{case}.npy", **steps):
        """Run that spec; the reasons of its quarantine, or what the command said."""
        code, said = self("run", self.spec(pattern, **steps))
        quarantine = self.folder / "out" / "quarantine.jsonl"
        rows = [json.loads(line)["reason"] for line in quarantine.read_text().splitlines()] if quarantine.is_file() else []
        return code, " ".join(rows) or said


@pytest.fixture
def desk(tmp_path, fake_site, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    return Desk(tmp_path, fake_site, capsys)


def test_a_misspelt_entry_point(desk):
    desk.plugin("toytext", "reader", entry="curate_toytext.plugn")
    code, said = desk("plugins", "--check")
    assert code == 1
    assert "broken: ModuleNotFoundError: No module named 'curate_toytext.plugn'" in said
    assert "the entry point 'toytext' of curate-toytext names it: mend it in pyproject.toml, install again" in said
    assert "curate-toytext is broken, and offers nothing." in said
    assert "All components can be imported" not in said
    code, said = desk.run(read={"*": {"use": "toytext"}})
    assert code == 2
    assert "read.*.use: the reader 'toytext' is not there: plugin curate-toytext is broken: ModuleNotFoundError" in said


def test_a_misspelt_hook(desk):
    desk.plugin("toytext", "reader", plugin=("curate_register_readers", "curate_register_reader"))
    assert "there is no hook 'curate_register_reader' (did you mean 'curate_register_readers'?)" in desk("plugins")[1]


def test_a_hook_without_its_mark(desk):
    desk.plugin("toytext", "reader", plugin=("@hookimpl\n", ""))
    assert "curate_register_readers is not marked as a hook (write @hookimpl above it)" in desk("plugins")[1]


def test_a_hook_without_its_yield(desk):
    desk.plugin("toytext", "reader", plugin=("yield Provider(", "Provider("))
    code, said = desk("plugins", "--check")
    assert code == 1
    assert "broken: curate_register_readers gave nothing (write yield before Provider(...))" in said


def test_suffixes_that_are_one_text(desk):
    desk.plugin("toytext", "reader", plugin=('suffixes=(".toytext",)', 'suffixes=".toytext"'))
    assert "broken: toytext: suffixes must be a tuple: write suffixes=('.toytext',)" in desk("plugins")[1]


def test_a_misspelt_target(desk):
    desk.plugin("toytext", "reader", plugin=("ToytextReader", "ToyTextReader"))
    code, said = desk("plugins", "--check")
    assert code == 1
    assert "curate_toytext.reader:ToyTextReader cannot be imported" in said
    assert "has no attribute 'ToyTextReader' (did you mean 'ToytextReader' in plugin.py?)" in said


def test_a_missing_method(desk):
    desk.plugin("toytext", "reader", reader=("def open(self", "def opn(self"))
    lacks = "curate_toytext.reader:ToytextReader lacks the method 'open' that every reader has (it has 'opn': is that meant?)"
    code, said = desk("plugins", "--check")
    assert code == 1
    assert lacks in said
    (desk.folder / "b.toytext").write_bytes(b"TOYTEXT {}")
    assert lacks in desk("why", desk.folder / "b.toytext")[1]
    said = desk("check", desk.spec("{case}.toytext"))[1]
    assert f"no reader takes it: plugin curate-toytext: {lacks} (curate-toytext:toytext) (see curate plugins --check)" in said
    assert "the file is damaged" not in said


def test_a_method_that_takes_something_else(desk):
    desk.plugin("toyspots", "roi-finder", rois=("find(self, case: Case, context: Context)", "find(self, case: Case)"))
    said = desk("plugins", "--check")[1]
    assert "toyspots.rois:ToyspotsFinder has a method find(self, case), which is called with (self, case, context)" in said


def test_an_option_of_a_type_that_specs_do_not_have(desk):
    desk.plugin("toyspots", "roi-finder", rois=("size: int =", "size: dict ="))
    code, said = desk.run(rois=[{"use": "toyspots", "size": {"z": 1}}])
    assert code == 2
    assert "has an option 'size' of type dict, which no value of a spec can have (say what it holds, such as dict[str, int]" in said


def test_a_misspelt_option_or_one_out_of_bounds(desk):
    desk.plugin("toyspots", "roi-finder")
    code, said = desk.run(rois=[{"use": "toyspots", "sise": 8, "count": 0}])
    assert code == 2
    assert "rois.0.sise: unknown option 'sise' (did you mean 'size'?)" in said
    assert "rois.0.count: 0 must be at least 1" in said


def test_another_api(desk):
    desk.plugin("toytext", "reader", plugin=("CURATE_HOOK_API = 1", "CURATE_HOOK_API = 2"))
    reason = "written for plugin API 2 (CURATE_HOOK_API), this curate has 1; install versions that fit together"
    (desk.folder / "b.toytext").write_bytes(b"TOYTEXT {}")
    assert f"curate-toytext 1.0 broken: {reason}" in desk("plugins", "--check")[1]
    assert f"curate-toytext is broken and was not asked: {reason}" in desk("why", desk.folder / "b.toytext")[1]
    said = desk.run("{case}.toytext")[1]
    assert "takes files that end in '.toytext' (a broken plugin may, see curate plugins: curate-toytext)" in said


def test_a_plugin_that_raises_where_it_is_imported(desk):
    desk.plugin("toytext", "reader", plugin=("CURATE_HOOK_API = 1", "CURATE_HOOK_API = 1 / 0"))
    assert "broken: ZeroDivisionError: division by zero (plugin.py, line 9)" in desk("plugins", "--check")[1]


def test_a_name_that_is_taken(desk):
    desk.plugin("toytext", "reader", plugin=('"toytext"', '"npy"'))
    told = "write 'curate-core:npy' or 'curate-toytext:npy'"
    assert f"several offer the reader 'npy': {told} in specs" in desk("plugins", "--check")[1]
    code, said = desk.run(read={"*": {"use": "npy"}})
    assert code == 2
    assert f"read.*.use: 2 distributions offer the reader 'npy' ({told})" in said


def test_a_plugin_that_is_not_installed(desk):
    (desk.folder / "b.toytext").write_bytes(b"TOYTEXT {}")
    code, said = desk("why", desk.folder / "b.toytext")
    assert code == 1
    assert "A reader of your own is asked once its package is installed: pip install -e FOLDER." in said


def test_a_class_that_is_no_attrs_class(desk):
    desk.plugin("toyspots", "roi-finder", rois=("@frozen\n", ""))
    assert (
        "curate_toyspots.rois:ToyspotsFinder is not an attrs class of its own (decorate it with @attrs.frozen)"
        in desk("plugins", "--check")[1]
    )


WRONG = {
    "reader": (
        "reader",
        "reader",
        ("return Image(array, ", "return (array, "),
        {"read": {"*": {"use": "toything"}}},
        "ToythingReader.open must give an Image or a Tractogram, not tuple",
    ),
    "ROI finder": (
        "roi-finder",
        "rois",
        ("return RoiTable.boxes(start, start + self.size, image.grid.axes)", "return start  # type: ignore"),
        {"rois": [{"use": "toything", "size": 4}]},
        "toything: failed with TypeError: find must give a RoiTable, not ndarray",
    ),
    "preprocessor": (
        "preprocessor",
        "preprocessor",
        ("return case.with_layers(layers)", "return layers"),
        {"preprocess": [{"use": "toything"}]},
        "toything: failed with TypeError: apply must give a Case, not dict",
    ),
    "transform": (
        "transform",
        "transform",
        ("return batch.with_array(self.array, values)", "return values"),
        {"transform": [{"use": "toything"}]},
        "apply must give a Batch of 16 samples, one for each",
    ),
    "filter's scores": (
        "filter",
        "filter",
        ('return {"contrast": np', 'return np.zeros(3) if self else {"contrast": np'),
        {"filter": [{"use": "toything"}]},
        "toything: score must give a mapping of names to columns, not ndarray",
    ),
    "filter's verdict": (
        "filter",
        "filter",
        ("return Verdict(contrast >= self.least, score=contrast)", "return contrast >= self.least"),
        {"filter": [{"use": "toything"}]},
        "toything: keep must give a Verdict, not ndarray",
    ),
    "exception in a reader": (
        "reader",
        "reader",
        ('shape, spacing = tuple(header["shape"])', 'shape, spacing = [][1], tuple(header["shape"])'),
        {"read": {"*": {"use": "toything"}}},
        r"reading failed with IndexError: list index out of range (reader.py, line 40)",
    ),
    "exception in a finder": (
        "roi-finder",
        "rois",
        ("image = case.image()", "image = case.image()\n        [][1]"),
        {"rois": [{"use": "toything", "size": 4}]},
        "toything: failed with IndexError: list index out of range (rois.py, line 25)",
    ),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_what_goes_wrong_inside(desk, what):
    kind, module, change, steps, message = WRONG[what]
    desk.plugin("toything", kind, **{module: change})
    if kind == "reader":
        header = {"shape": [8, 8], "dtype": "|u1", "axes": "yx", "spacing": [1, 1]}
        (desk.folder / "b.toything").write_bytes(b"TOYTHING " + json.dumps(header).encode() + b"\n" + bytes(64))
        steps = {**steps, "pattern": "{case}.toything"}
    _, said = desk.run(**steps)
    assert message in said


def test_a_sniff_that_fails_is_told_by_why(desk):
    desk.plugin(
        "toything",
        "reader",
        reader=(
            'with path.open("rb") as file:\n            return None',
            'with path.open("rb") as file:\n            return None if 1 / 0 else None',
        ),
    )
    (desk.folder / "b.toything").write_bytes(b"TOYTHING {}")
    code, said = desk("why", desk.folder / "b.toything")
    assert code == 1
    assert "its sniff failed with ZeroDivisionError: division by zero (reader.py, line 29)" in said


@pytest.mark.parametrize("given", ["True", "False", "7"])
def test_a_sniff_that_gives_something_else_is_told(desk, given):
    desk.plugin(
        "toything",
        "reader",
        reader=(
            'with path.open("rb") as file:\n            return None',
            f'with path.open("rb") as file:\n            return {given} if file else None',
        ),
    )
    (desk.folder / "b.toything").write_bytes(b"TOYTHING {}")
    told = f"its sniff gave {given}, expected None where it takes a file, and the reason as text where not"
    assert told in desk("why", desk.folder / "b.toything")[1]
    said = desk.run(pattern="{case}.toything")[1]
    assert told in said
    assert "the reader is to be mended, not the file" in said
    assert "damaged" not in said


def test_a_default_outside_of_its_bounds(desk):
    desk.plugin("toyspots", "roi-finder", rois=("default=10, ge=1", "default=0, ge=1"))
    told = "has an option 'count' with a default that it cannot have: 0 must be at least 1 (change the default, or its bounds)"
    assert told in desk("plugins", "--check")[1]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_debug_shows_where_a_case_failed(desk, monkeypatch, workers):
    monkeypatch.setenv("PYTHONPATH", str(desk.site))
    desk.plugin("toyspots", "roi-finder", rois=("image = case.image()", "image = case.pictures()"))
    command = ("run", desk.spec(rois=[{"use": "toyspots", "size": 4}]), "--workers", workers)
    assert "Traceback" not in desk(*command)[1]
    said = desk(*command, "--debug")[1]
    assert "image = case.pictures()" in said
    assert "AttributeError: 'Case' object has no attribute 'pictures'" in said


def test_the_tutorials_table_has_these_words():
    table = PAGE.read_text().partition("## When something does not work")[2]
    for words in (
        "mend it in pyproject.toml, install again",
        "there is no hook 'curate_register_reader' (did you mean 'curate_register_readers'?)",
        "lacks the method 'open' that every reader has",
        "open must give an Image or a Tractogram, not",
        "(reader.py, line",
        "division by zero (plugin.py, line 9)",
        "written for plugin API 2 (CURATE_HOOK_API), this curate has 1",
        "(it has 'opn': is that meant?)",
        "curate_register_readers gave nothing (write yield before Provider(...))",
        "which is called with (self, source, context)",
        "in plugin.py?)",
        "has an option 'size' of type dict, which no value of a spec can have",
        "several offer the reader 'npy': write 'curate-core:npy' or",
        "rois.0.sise: unknown option 'sise' (did you mean 'size'?)",
        "must be at least 1",
        "No installed reader claims files that end like",
    ):
        assert words in table
