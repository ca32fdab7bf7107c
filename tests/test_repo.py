"""The repository agrees with itself: what is said in two places is the same in both, and the promises of the code hold in all of it."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import itertools
import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import curate_core
from curate_core import errors
from curate_core.scaffold import FACTORS
from curate_core.scaffold.bounds import bounds

ROOT = Path(__file__).parents[1]
PLUGINS = sorted((ROOT / "plugins").glob("curate-*"))
PROJECTS = [ROOT, *PLUGINS]

ALONE = {"classify"}
"""Plugins whose dependencies the others' environments do without."""
BOUNDS = bounds(curate_core.__version__)
MAX_LINES = 400
LONG_MODULES: dict[str, str] = {}

of_each_plugin = pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)


def project(folder: Path) -> dict[str, Any]:
    return dict(tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def tracked() -> list[Path]:
    """The repository's files: what git knows or would add; in an unpacked archive all that is not hidden or built."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
        files = [ROOT / name for name in names if name]
    except (OSError, subprocess.CalledProcessError):
        built = {"build", "dist", "out", "venv", "__pycache__"}
        files = [f for f in ROOT.rglob("*") if not any(p.startswith(".") or p in built for p in f.relative_to(ROOT).parts)]
    return sorted(file for file in files if file.is_file())


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def shipped(file: Path) -> bool:
    """Part of a distribution, not of its tests."""
    return re.match(r"curate_core/|plugins/[^/]+/src/", name_of(file)) is not None


def text_of(*patterns: str) -> str:
    return "\n".join(file.read_text(encoding="utf-8") for pattern in patterns for file in sorted(ROOT.glob(pattern)))


def lines_of(path: str) -> list[str]:
    return [line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


TREES = {file: ast.parse(file.read_text(encoding="utf-8"), str(file)) for file in tracked() if file.suffix == ".py"}


# Plugins: each has the same shape, and every list of them is complete.


@of_each_plugin
def test_a_plugin_has_the_shape_of_all_plugins(folder: Path) -> None:
    package = folder / "src" / folder.name.replace("-", "_")
    parts = [folder / "README.md", folder / "LICENSE", package / "__init__.py", package / "plugin.py", package / "py.typed"]
    assert [name_of(part) for part in parts if not part.is_file()] == []
    assert list((folder / "tests").glob("test_*.py")), "a plugin has tests of its own"
    assert not list((folder / "tests").rglob("__init__.py")), "tests are no package: two plugins may have a test of one name"


@of_each_plugin
def test_a_plugins_metadata_fits_the_core(folder: Path) -> None:
    core, plugin = project(ROOT), project(folder)
    package = folder.name.replace("-", "_")
    short = folder.name.removeprefix("curate-")
    assert plugin["name"] == folder.name
    assert plugin["readme"] == "README.md"
    for key in ("requires-python", "license", "license-files"):
        assert plugin[key] == core[key]
    assert plugin["entry-points"] == {"curate.plugins": {short: f"{package}.plugin"}}
    assert f"curate-core{BOUNDS}" in plugin["dependencies"]
    assert "curate-core[testing]" in plugin["optional-dependencies"]["test"]
    assert (folder / "LICENSE").read_text(encoding="utf-8") == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_all_distributions_have_the_version_of_the_changelog() -> None:
    versions = {project(folder)["version"] for folder in PROJECTS}
    assert versions == {curate_core.__version__}
    assert f"\n## {curate_core.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sources = {folder.name: text_of(f"plugins/{folder.name}/src/*/__init__.py") for folder in PLUGINS}
    stated = {name: re.findall(r'__version__ = "(.*?)"', source) for name, source in sources.items()}
    assert {name for name, found in stated.items() if found not in ([], [curate_core.__version__])} == set()


def test_the_documentation_gives_the_bounds_that_follow_from_this_core() -> None:
    assert f"`curate-core{BOUNDS}`" in text_of("docs/explanation/versioning.md")


def test_one_library_has_one_range_everywhere() -> None:
    ranges: dict[str, set[str]] = {}
    for name, specifier in requirements():
        ranges.setdefault(name, set()).add(specifier)
    assert {name: found for name, found in ranges.items() if len(found) > 1} == {}


def test_tox_knows_every_plugin() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    names = {folder.name.removeprefix("curate-") for folder in PLUGINS}
    assert set(tox["curate"]["plugins"].split(",")) == names - ALONE
    for name in names - ALONE:
        assert f"{name},all: -e plugins/curate-{name}[test]" in tox["testenv"]["deps"].splitlines()
    factors = re.findall(r"^(\w+),all:", tox["testenv"]["deps"], re.MULTILINE)
    assert set(factors) == names - ALONE
    for name in ALONE:
        assert f"-e plugins/curate-{name}[test]" in tox[f"testenv:{name}"]["deps"].splitlines()
        assert name in re.split(r",\s*", tox["tox"]["env_list"])
    text = (ROOT / "tox.ini").read_text(encoding="utf-8").replace("{[curate]plugins}", "")
    environments = " ".join(sum(re.findall(r"^\[testenv:(.*)\]|^env_list = (.*)|^    (\w+ = .*-all.*)", text, re.MULTILINE), ()))
    words = set(re.findall(r"[a-z]+", environments)) - {"py"}
    assert words - names == set(FACTORS), "what no plugin may be called"


def test_each_tox_environment_collects_its_own_tests() -> None:
    ignored = runpy.run_path(str(ROOT / "conftest.py"))["ignored"]
    assert ignored("py313-all-newest") == ignored("py311-all-lowest") == [f"plugins/curate-{name}" for name in sorted(ALONE)]
    for name in ("py312-all-quick", "py313-all-quick-newest", "py311-all-quick-lowest"):
        assert not {"tests", "tests/core", "tests/builtin", "tests/run", "plugins"} & set(ignored(name))
        assert set(ignored("py311-all-lowest")) < set(ignored(name))
    assert "plugins" in ignored("all")
    assert "plugins" in ignored("py312-core")
    assert "tests" not in ignored("py312-core")
    assert not set(ignored("all")) & set(ignored("core")) - {"plugins"}, "what neither runs"
    folders = {f"tests/{folder.name}" for folder in (ROOT / "tests").iterdir() if any(folder.glob("test_*.py"))}
    assert not folders - set(ignored("all")) - set(ignored("core")), "what both run"
    for folder in PLUGINS:
        others = [name_of(other) for other in PLUGINS if other != folder]
        for name in (folder.name.removeprefix("curate-"), f"py313-{folder.name.removeprefix('curate-')}"):
            assert ignored(name) == ["tests", "benchmarks", *others]


def test_every_supported_interpreter_is_in_the_matrix() -> None:
    classifiers = [c for c in project(ROOT)["classifiers"] if re.search(r":: 3\.\d+$", c)]
    supported = {c.rsplit(".", 1)[1] for c in classifiers}
    matrix = re.search(r"py\{(.*?)\}-\{types,core", (ROOT / "tox.ini").read_text(encoding="utf-8"))
    assert matrix is not None
    assert {name.removeprefix("3") for name in matrix[1].split(",")} == supported
    full = next(line for line in (ROOT / "tox.ini").read_text(encoding="utf-8").splitlines() if line.startswith("    full = "))
    assert set(re.findall(r"py3(\d+)-all", full)) | set(re.findall(r"py3(\d+)-\{.*all\}", full)) == supported
    assert project(ROOT)["requires-python"] == f">=3.{min(supported)},<3.{int(max(supported)) + 1}"


def test_bundles_name_plugins_that_exist_and_all_names_all() -> None:
    bundles = {
        name: set(content) for name, content in project(ROOT)["optional-dependencies"].items() if name not in ("testing", "test", "docs")
    }
    wanted = {f"{folder.name}{BOUNDS}" for folder in PLUGINS if folder.name.removeprefix("curate-") not in ALONE}
    assert bundles["all"] == wanted
    assert {name: content - wanted for name, content in bundles.items() if content - wanted} == {}
    assert "em" in bundles


def test_the_development_requirements_hold_the_core_and_every_plugin() -> None:
    editable = {line.removeprefix("-e ") for line in lines_of("requirements-dev.txt") if line.startswith("-e ")}
    assert editable == {".[test,docs]", *(f"plugins/{f.name}[test]" for f in PLUGINS if f.name.removeprefix("curate-") not in ALONE)}


def test_the_import_rules_are_for_every_plugin() -> None:
    rules = configparser.ConfigParser(interpolation=None)
    rules.read(ROOT / ".importlinter")
    packages = {folder.name.replace("-", "_") for folder in PLUGINS}
    assert set(rules["importlinter"]["root_packages"].split()) == {"curate_core", *packages}
    assert set(rules["importlinter:contract:plugins"]["modules"].split()) == packages
    assert packages < set(rules["importlinter:contract:components"]["source_modules"].split())
    assert {f"{p}.plugin" for p in packages} < set(rules["importlinter:contract:light"]["source_modules"].split())


def test_the_import_rules_place_every_module_of_the_core() -> None:
    rules = configparser.ConfigParser(interpolation=None)
    rules.read(ROOT / ".importlinter")
    placed = set(re.findall(r"curate_core\.(\w+)", rules["importlinter:contract:layers"]["layers"]))
    modules = {name_of(f).split("/")[1].removesuffix(".py") for f in TREES if name_of(f).startswith("curate_core/")}
    free = {"__init__", "__main__", "builtin", "testing"}  # other contracts, or doors to the rest
    assert modules - free == placed


@of_each_plugin
def test_the_readme_names_every_plugin_and_installs_it(folder: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert folder.name in readme
    assert f"-e plugins/{folder.name}" in readme or "-r requirements-dev.txt" in readme
    assert folder.name in (folder / "README.md").read_text(encoding="utf-8")


# Dependencies.


def requirements() -> list[tuple[str, str]]:
    """(name, specifier) of everything that the distributions ask of others, in lower case."""
    found = []
    for folder in PROJECTS:
        metadata = project(folder)
        extras = metadata.get("optional-dependencies", {})
        for line in itertools.chain(metadata["dependencies"], *extras.values()):
            match = re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?([^;]*)(?:;.*)?", line.replace(" ", ""))
            assert match is not None, line
            if not match[1].startswith("curate-"):
                found.append((match[1].lower(), match[2]))
    return found


def test_every_requirement_has_a_lowest_version_and_an_end() -> None:
    """A library that counts in years says nothing with its next year: it has no end."""
    pattern = r">=[\d.]+,<[\d.]+|>=20\d\d[\d.]*"
    assert [f"{name}{specifier}" for name, specifier in requirements() if not re.fullmatch(pattern, specifier)] == []


def test_the_lowest_requirements_are_the_lower_ends_of_the_ranges() -> None:
    lowest = {f"{name}=={specifier.removeprefix('>=').split(',')[0]}" for name, specifier in requirements()}
    assert {line.lower() for line in lines_of("requirements-lowest.txt")} == lowest


CALLED = {
    "PIL": "pillow",
    "skimage": "scikit-image",
    "cloudvolume": "cloud-volume",
    "yaml": "pyyaml",
    "trx": "trx-python",
    "pint": "nxtomo",
}
"""Package -> the distribution that brings it, where it is not called alike."""


@of_each_plugin
def test_what_a_plugins_tests_import_comes_with_its_extra(folder: Path) -> None:
    """What another distribution happens to bring is gone when that does without."""
    metadata = project(folder)
    declared = names([*metadata["dependencies"], *metadata["optional-dependencies"]["test"], *project(ROOT)["dependencies"]])
    files = [file for file in TREES if file.is_relative_to(folder / "tests")]
    own = {file.stem for file in files} | {"curate_core", folder.name.replace("-", "_")} | sys.stdlib_module_names
    found = {module.split(".")[0]: name_of(file) for file in files for module in imports(TREES[file])}
    strangers = {root: file for root, file in found.items() if root not in own}
    assert {r: file for r, file in strangers.items() if CALLED.get(r, r.replace("_", "-")).lower() not in declared} == {}


def test_what_is_installed_is_what_is_declared() -> None:
    """An environment keeps what it was made with: a dependency that was added or taken out since shows only in a new one."""
    found = {name: importlib.metadata.requires(name) or [] for name in installed()}
    assert "curate-core" in found
    for folder in PROJECTS:
        metadata = project(folder)
        if metadata["name"] in found:
            got = [line for line in found[metadata["name"]] if "extra ==" not in line]
            assert names(got) == names(metadata["dependencies"]), "older than pyproject.toml: make the environment anew (tox -r)"


def installed() -> set[str]:
    return {distribution.metadata["Name"] for distribution in importlib.metadata.distributions()}


def names(lines: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", line, maxsplit=1)[0].lower() for line in lines}


# Code.


def test_nothing_executes_from_data() -> None:
    """Tests alone may: to show that what goes to a worker arrives there, and that the documentation's examples run."""
    forbidden = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    found = []
    for file, tree in TREES.items():
        if "/tests/" not in f"/{name_of(file)}":
            found += [f"{name_of(file)}: {module}" for module in imports(tree) if module.split(".")[0] in forbidden]
            calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
            found += [f"{name_of(file)}: {call}" for call in calls if call in {"eval", "exec"}]
    assert found == []


def imports(tree: ast.Module) -> list[str]:
    """All modules that a file imports, wherever in it; those of its own package by their full names only."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append(node.module or "")
    return found


def test_numpy_loads_and_saves_without_pickle() -> None:
    """What is shipped says so at every call; a test may leave ``load`` to numpy's default, never turn it on."""
    found = []
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and (call == "np.load" or (call == "np.save" and shipped(file))):
                said = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("allow_pickle", "nothing")
                if said != "False" and (shipped(file) or said != "nothing"):
                    found.append(f"{name_of(file)}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


def test_text_files_are_read_and_written_as_utf_8() -> None:
    """The default follows the machine's settings, and the same run must give the same bytes everywhere."""
    positional = {"read_text": 0, "write_text": 1}
    found = []
    for file, tree in TREES.items():
        for node in ast.walk(tree) if shipped(file) else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == positional.get(node.func.attr):
                said = [keyword.arg for keyword in node.keywords]
                found += [f"{name_of(file)}:{node.lineno}: {ast.unparse(node)}"] if "encoding" not in said else []
    assert found == []


def test_modules_are_short_or_say_why_not() -> None:
    lengths = {name_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in TREES if shipped(file)}
    too_long = {name for name, length in lengths.items() if length > MAX_LINES}
    assert too_long == set(LONG_MODULES)


def test_the_core_imports_nothing_that_it_does_not_declare() -> None:
    declared = names(project(ROOT)["dependencies"]) | {"attr", "curate_core"}
    found = set()
    for file, tree in TREES.items():
        name = name_of(file)
        if name.startswith("curate_core/") and "/scaffold/" not in name:
            allowed = declared | {"packaging", "pytest"} if name.startswith("curate_core/testing/") else declared
            roots = {module.split(".")[0] for module in imports(tree)}
            found |= {f"{name}: {root}" for root in roots - allowed - sys.stdlib_module_names}
    assert found == set()


def test_modules_of_the_repository_are_imported_by_statements() -> None:
    """The import rules do not see others. Plugins, components and the command that was asked for are found by names that data hold."""
    found = []
    for file, tree in TREES.items():
        for node in ast.walk(tree) if shipped(file) else ():
            if isinstance(node, ast.Call) and re.search(r"\b(import_module|__import__)$", ast.unparse(node.func)):
                found += [name_of(file)] if "curate_" in ast.unparse(node) else []
    assert found == ["curate_core/cli/main.py"]


# Texts.


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    place = re.compile(r"(?<![\w.~-])/(?:root|work|home/\w+|Users/\w+)/\w")
    found = []
    for file in tracked():
        try:
            content = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(file)}: {match[0]}" for match in place.finditer(content)]
    assert found == []


NO_SPECS = ("curate.schema.json", "spec_template.json")
"""What else lies there: their schema, and a form that another system's users fill in."""
SPECS = [pytest.param(file, id=name_of(file)) for file in sorted((ROOT / "specs").rglob("*.json")) if file.name not in NO_SPECS]


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_says_what_it_is_for_and_has_a_test(spec: Path) -> None:
    content = json.loads(spec.read_text(encoding="utf-8"))
    assert len(content.get("description", "")) > 20
    schema = (spec.parent / content["$schema"]).resolve()
    assert schema.name == "curate.schema.json"
    assert schema.is_file()
    tests = text_of("tests/**/test_*.py", "plugins/*/tests/test_*.py").replace('" / "', "/")
    assert spec.relative_to(ROOT / "specs").as_posix() in tests


def test_every_error_and_its_exit_code_are_documented() -> None:
    page = (ROOT / "docs/reference/exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE)
    documented = {name: int(code) for name, code in rows}
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.CurateError)]
    assert documented == {c.__name__: c.exit_code for c in classes}


def test_the_readme_and_ci_run_the_same_tests() -> None:
    assert re.search(r"pip install tox && \S*tox\b", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert "pip install --quiet tox" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert (ROOT / ".ci/run").stat().st_mode & 0o100, ".ci/run must be executable"


def test_nobody_is_told_to_install_a_strangers_package() -> None:
    """The name ``curate`` on the package index belongs to someone else."""
    wrong = re.compile(r"pip install (?:-\S+ )*[\"']?curate(?![\w-])")
    assert [
        name_of(f) for f in tracked() if f.suffix in {".md", ".py", ".toml", ".txt"} and wrong.search(f.read_text(encoding="utf-8"))
    ] == []
