"""What ``curate new-plugin`` writes works at once, and joins this repository's lists."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from curate_core import scaffold
from curate_core.cli.main import main
from curate_core.errors import RequestError
from curate_core.host import Host
from curate_core.providers import KIND_NAMES, Provider
from curate_core.scaffold import SORTS, class_name, joining, new_plugin
from curate_core.scaffold.bounds import bounds
from curate_core.testing.fixtures import write_distribution

ROOT = Path(__file__).parents[2]
LISTS = ["tox.ini", "requirements-dev.txt", "pyproject.toml", ".importlinter", "README.md"]


@pytest.fixture
def host():
    return Host([])


def test_the_tests_of_every_kind_pass_at_once(tmp_path, host):
    """All ten packages, found as installed ones are, their tests in one process."""
    site = tmp_path / "site"
    tests = []
    for kind in KIND_NAMES:
        made = new_plugin(f"toy-{kind.replace('_', '-')}", kind, tmp_path / "made", host)
        metadata = tomllib.loads((made.folder / "pyproject.toml").read_text())["project"]
        [(entry, module)] = metadata["entry-points"]["curate.plugins"].items()
        write_distribution(site, metadata["name"], {entry: module}, metadata["version"])
        shutil.copytree(made.folder / "src", site, dirs_exist_ok=True)
        tests.append(made.folder / "tests")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--import-mode=importlib"]
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "CURATE_BLOCK_PLUGINS": ""}
    done = subprocess.run([*command, f"--rootdir={tmp_path}", *tests], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 150


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_templates_import_what_is_public(tmp_path, host, kind):
    """Whatever a new plugin rests on belongs to the contract."""
    made = new_plugin("toy", kind, tmp_path, host)
    for file in made.folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            ours = [module for module in modules if module.partition(".")[0] == "curate_core"]
            assert set(ours) <= {"curate_core", "curate_core.testing"}, file.name


def test_every_kind_has_a_template():
    assert set(SORTS) == set(KIND_NAMES)


def test_a_package_names_what_it_brings(tmp_path, host):
    made = new_plugin("hot-spots", "roi-finder", tmp_path, host)
    assert made.folder == tmp_path / "curate-hot-spots"
    assert set(made.files) == {p.relative_to(made.folder).as_posix() for p in made.folder.rglob("*") if p.is_file()}
    assert made.joined == ()
    project = tomllib.loads((made.folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "curate-hot-spots"
    assert project["entry-points"] == {"curate.plugins": {"hot-spots": "curate_hot_spots.plugin"}}
    assert "class HotSpotsFinder(RoiFinder):" in (made.folder / "src/curate_hot_spots/rois.py").read_text()
    assert Provider("roi_finder", "hot-spots", SORTS["roi_finder"].summary, "curate_hot_spots.rois:HotSpotsFinder").problems() == []
    assert not [p for p in made.folder.rglob("*") if p.is_file() and re.search(r"\$\w", p.read_text())], "every field is filled in"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("0.1.0", ">=0.1,<0.2"), ("0.2.0", ">=0.2,<0.3"), ("0.10.3", ">=0.10,<0.11"), ("1.0.0", ">=1.0,<2"), ("1.2.0", ">=1.2,<2")],
)
def test_a_package_asks_for_the_core_that_wrote_it(tmp_path, repository, host, monkeypatch, version, expected):
    assert bounds(version) == expected
    for module in (scaffold, joining):
        monkeypatch.setattr(module, "__version__", version)
    for into in (tmp_path, repository):
        made = new_plugin("hotspots", "filter", into, host)
        asked = tomllib.loads((made.folder / "pyproject.toml").read_text())["project"]["dependencies"]
        assert f"curate-core{expected}" in asked
    bundle = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]["all"]
    assert f"curate-hotspots{expected}" in bundle


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("hot-spots", "roi_finder", "HotSpotsFinder"),
        ("dm4", "reader", "Dm4Reader"),
        ("my-reader", "reader", "MyReader"),
        ("reader", "reader", "ReaderReader"),
        ("roi", "roi_finder", "MyRoiFinder"),
    ],
)
def test_classes_have_names_that_are_free(name, kind, expected):
    assert class_name(name, kind) == expected


@pytest.mark.parametrize(
    ("name", "kind", "message", "hint"),
    [
        ("HotSpots", "filter", "'HotSpots' cannot name a plugin: up to 40 lower-case letters and digits", "did you mean 'hot-spots'?"),
        ("hot_spots", "filter", "cannot name a plugin", "did you mean 'hot-spots'?"),
        ("3d", "filter", "cannot name a plugin", "such as hot-spots"),
        ("../up", "filter", "cannot name a plugin", "did you mean 'up'?"),
        ("", "filter", "cannot name a plugin", "such as hot-spots"),
        ("a" * 41, "filter", "cannot name a plugin", f"did you mean {'a' * 40!r}?"),
        ("core", "filter", "'core' is a name of curate's own", "choose another"),
        ("grid", "roi-finder", "curate-core has a ROI finder 'grid' already", "choose another name"),
        ("run", "command", "curate has a command 'run' already", "choose another name"),
        ("spots", "finder", "there is no kind 'finder'", "did you mean 'roi-finder'?"),
    ],
)
def test_names_that_cannot_be(tmp_path, host, name, kind, message, hint):
    with pytest.raises(RequestError) as caught:
        new_plugin(name, kind, tmp_path / "into", host)
    assert message in caught.value.message
    assert caught.value.hint == hint
    assert not (tmp_path / "into").exists()


def test_a_folder_that_is_there_stays_as_it_is(tmp_path, host):
    (tmp_path / "curate-spots").mkdir()
    with pytest.raises(RequestError, match=r"it is there already \(choose another name or --into DIR; nothing was changed\)"):
        new_plugin("spots", "filter", tmp_path, host)
    assert list((tmp_path / "curate-spots").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="it is a file, expected a folder"):
        new_plugin("spots", "filter", tmp_path / "file", host)


def test_a_folder_that_cannot_be_written(tmp_path, host, monkeypatch):
    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RequestError, match="it cannot be written: Permission denied"):
        new_plugin("spots", "filter", tmp_path, host)


def test_an_installed_plugin_keeps_its_name(tmp_path, fake_plugin, isolated_host):
    fake_plugin("curate-spots", plugin="CURATE_HOOK_API = 1\n")
    with pytest.raises(RequestError, match="a plugin called curate-spots is installed"):
        new_plugin("curate-spots", "filter", tmp_path, isolated_host("curate-spots"))


@pytest.fixture
def repository(tmp_path):
    """The parts of this repository that name plugins."""
    root = tmp_path / "repository"
    (root / "curate_core").mkdir(parents=True)
    (root / "curate_core" / "__init__.py").touch()
    (root / "plugins").mkdir()
    for name in [*LISTS, "LICENSE", "conftest.py", "requirements-lowest.txt"]:
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.mark.parametrize("below", ["", "plugins"])
def test_inside_the_repository_it_joins_the_lists(repository, host, below):
    made = new_plugin("hotspots", "filter", repository / below, host)
    assert made.folder == repository / "plugins" / "curate-hotspots"
    assert sorted(made.joined) == sorted(LISTS)
    for name in LISTS:
        before, after = ((place / name).read_text().splitlines() for place in (ROOT, repository))
        added = [line for line in after if line not in before]
        assert added, name
        assert [line for line in before if line not in after] in ([], [line for line in before if line.startswith("plugins = ")])
    assert (made.folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert not (made.folder / "tox.ini").exists()


def test_the_repositorys_own_tests_find_the_new_plugin_complete(repository, host):
    """What looks at the repository as a whole, run on the copy with every plugin's folder in it."""
    for part in ("plugins", "curate_core", "tests"):
        shutil.copytree(ROOT / part, repository / part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    new_plugin("hotspots", "filter", repository, host)
    chosen = (
        "plugin or bundles or development or requirement or lowest or range or version"
        " and not import_rules_place and not installed and not changelog"
    )
    shutil.copy(ROOT / "CHANGELOG.md", repository)
    files = ["tests/test_repo.py", "tests/test_every_component.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *files]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "curate-hotspots" in "".join((repository / name).read_text() for name in LISTS)


@pytest.mark.parametrize("name", ["hot-spots", "lowest", "py311"])
def test_in_the_repository_a_name_is_one_word_that_tox_takes(repository, host, name):
    with pytest.raises(RequestError, match=f"'{name}' cannot be a plugin of this repository: tox names environments after plugins"):
        new_plugin(name, "filter", repository, host)


def test_a_list_that_cannot_be_found_stops_all(repository, host):
    (repository / "requirements-dev.txt").write_text("-e .\n")
    with pytest.raises(RequestError, match="there is no list of plugins to join for curate-hotspots") as caught:
        new_plugin("hotspots", "filter", repository, host)
    assert caught.value.where == str(repository / "requirements-dev.txt")
    assert not (repository / "plugins" / "curate-hotspots").exists()
    assert (repository / "tox.ini").read_text() == (ROOT / "tox.ini").read_text()


def test_the_command_says_what_to_do_next(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["new-plugin", "hotspots", "--kind", "roi-finder"]) == 0
    said = capsys.readouterr().out
    assert "curate-hotspots holds a plugin with the ROI finder 'hotspots':" in said
    assert "pip install -e 'curate-hotspots[test]'" in said
    assert main(["new-plugin", "hotspots", "--kind", "roi-finder"]) == 2
    assert "curate-hotspots: it is there already" in capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert main(["new-plugin", "other", "--kind", "roi_finder", "-q", "--into", "here"]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "here" / "curate-other" / "README.md").is_file()


def test_inside_the_repository_the_command_names_the_schema(repository, capsys, monkeypatch):
    monkeypatch.chdir(repository)
    assert main(["new-plugin", "hotspots", "--kind", "filter"]) == 0
    said = capsys.readouterr().out
    assert "tox.ini names it now" in said
    assert "curate schema -o specs/curate.schema.json" in said
