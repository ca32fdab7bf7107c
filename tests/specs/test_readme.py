"""The README is true: its spec is the quickstart, its plugin works, its commands name what there is."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import curate_core
from curate_core.cli.main import main
from curate_core.host import default_host
from curate_core.scaffold import new_plugin
from curate_core.testing.fixtures import write_distribution, write_package

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_spec_is_the_quickstart():
    shown = json.loads(blocks("json")[0])
    shipped = json.loads((ROOT / "specs/quickstart.json").read_text())
    assert shown == {key: value for key, value in shipped.items() if key not in ("$schema", "description", "seed")}


def test_the_quickstart_ends_as_it_shows(tmp_path, capsys):
    assert main(["run", str(ROOT / "specs/quickstart.json"), "--output", str(tmp_path / "out")]) == 0
    shown = re.search(r"The first ends like this:\n\n```\n(.*?)\n\n", README, re.DOTALL)[1]
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    for line in shown.splitlines()[1:-1]:  # the last has the time it took
        assert re.sub(r"\s+", " ", line).strip() in said
    dataset = curate_core.open(tmp_path / "out")
    assert dataset[0]["image"].shape == (64, 64)
    assert dataset.row(0)["sources"] == {"image": ["data/mni152_t1.nii.gz"]}
    assert 0 < len(dataset.select(lambda row: row["attributes"]["plane"] == "xy")) < len(dataset)
    assert dataset.verify() == []


@pytest.fixture
def my_lab(tmp_path, monkeypatch):
    """The plugin of the README, installed as pip would."""
    rois, plugin, _ = blocks("python")[1:4]
    write_package(tmp_path, "my_lab", rois=rois, plugin=plugin)
    toml = blocks("toml")[0]
    (name, module) = re.search(r'^(\S+) = "(\S+)"', toml, re.MULTILINE).groups()
    write_distribution(tmp_path, "my-lab", {name: module})
    monkeypatch.syspath_prepend(str(tmp_path))
    default_host.cache_clear()
    yield tmp_path
    default_host.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


def test_its_plugin_works(my_lab, capsys):
    values = np.random.default_rng(0).integers(0, 1000, (20, 30, 40))
    values[10, 15, 20] = 5000
    np.save(my_lab / "scan.npy", values)
    spec = {
        "version": 1,
        "name": "hot",
        "source": {"use": "files", "pattern": "{case}.npy"},
        "rois": [{"use": "hot-spots", "size": 8, "count": 3}],
        "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
        "output": "out",
        "engine": {"use": "local", "workers": 1},
    }
    (my_lab / "spec.json").write_text(json.dumps(spec))
    assert main(["plugins"]) == 0
    assert "hot-spots" in capsys.readouterr().out
    assert main(["run", str(my_lab / "spec.json"), "-q"]) == 0
    dataset = curate_core.open(my_lab / "out")
    assert dataset.row(0)["views"][""]["start"] == [6, 11, 16]
    assert dataset[0]["image"].max() == 5000


def test_its_conformance_test_passes(my_lab):
    (my_lab / "test_rois.py").write_text(blocks("python")[3])
    asked = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir=.", "test_rois.py"]
    environment = {**os.environ, "PYTHONPATH": str(my_lab), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(asked, cwd=my_lab, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 8  # one of its tests is for finders that read no pixels


def test_its_component_is_what_new_plugin_writes(tmp_path):
    """But for the class's name, and an example in its docstring."""
    made = new_plugin("hot-spots", "roi_finder", tmp_path, default_host())
    written = (made.folder / "src/curate_hot_spots/rois.py").read_text()
    assert members(blocks("python")[1]) == members(written)


def members(text: str) -> list[str]:
    (cls,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    return [ast.unparse(node) for node in cls.body[1:]]


def test_its_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_its_python_works(tmp_path, monkeypatch):
    """Run as written, from a copy of the specs."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    exec(compile(blocks("python")[0], "README", "exec"), space)
    assert space["summary"].written == len(space["dataset"]) > len(space["left"]) > 0
