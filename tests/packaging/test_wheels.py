"""The distributions as a user gets them: wheels in an empty environment, and a stranger's plugin beside them.

Nothing here sees the working tree: everything is built, installed with pip and run in another folder.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from curate_core import __version__
from curate_core.scaffold.bounds import bounds

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(folder.name for folder in (ROOT / "plugins").glob("curate-*"))
BIN = "Scripts" if os.name == "nt" else "bin"

pytestmark = [pytest.mark.slow, pytest.mark.network]


def call(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, without the variables that would let it find the working tree."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CURATE_", "COV_"))}
    return subprocess.run([*map(str, command)], cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=900)


def must(*command: str | Path, folder: Path) -> str:
    done = call(*command, folder=folder)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty virtual environment ``venv``; skips where pip reaches no package index.

    Only the build backend decides that: a distribution that asks for what does not exist fails, it does not skip.
    """
    folder = tmp_path_factory.mktemp("packaging")
    must(sys.executable, "-m", "venv", "venv", folder=folder)
    done = call(folder / "venv" / BIN / "pip", "install", "--quiet", "hatchling", folder=folder)
    if done.returncode:
        pytest.skip(f"pip cannot install hatchling: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return folder


@pytest.fixture(scope="session")
def sdists(place: Path) -> Path:
    """A folder with a source distribution of the core and of every plugin."""
    for source in [ROOT, *(ROOT / "plugins" / name for name in PLUGINS)]:
        must(place / "venv" / BIN / "hatchling", "build", "-t", "sdist", "-d", place / "sdists", folder=source)
    return place / "sdists"


@pytest.fixture(scope="session")
def wheels(place: Path, sdists: Path) -> Path:
    """A folder with the wheels that are made from the source distributions."""
    sources = sorted(sdists.glob("*.tar.gz"))
    must(place / "venv" / BIN / "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "wheels", *sources, folder=place)
    return place / "wheels"


@pytest.fixture(scope="session")
def curate(place: Path, wheels: Path) -> Path:
    """The command of an environment that holds the wheels and what they ask for, nothing else."""
    scripts = place / "clean" / BIN
    must(sys.executable, "-m", "venv", "clean", folder=place)
    must(scripts / "pip", "install", "--quiet", "--no-compile", "--find-links", wheels, "curate-core[all]", folder=place)
    return scripts / "curate"


@pytest.fixture(scope="session")
def with_stranger(place: Path, curate: Path) -> Path:
    """The same command after a plugin from outside the repository was built and installed."""
    write_plugin(place / "lab-spots")
    must(
        place / "venv" / BIN / "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        "strangers",
        "./lab-spots",
        folder=place,
    )
    must(curate.parent / "pip", "install", "--quiet", *(place / "strangers").glob("*.whl"), folder=place)
    return curate


def plugins(curate: Path, folder: Path) -> dict[str, Any]:
    """Distribution -> its row in ``curate plugins --json``."""
    return {row["distribution"]: row for row in json.loads(must(curate, "plugins", "--json", folder=folder))["plugins"]}


@pytest.mark.parametrize("name", ["curate-core", *PLUGINS])
def test_a_source_distribution_holds_its_licence_and_no_built_files(sdists: Path, name: str) -> None:
    [archive] = sdists.glob(f"{name.replace('-', '_')}-*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {member.partition("/")[2] for member in opened.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"} <= names
    assert [n for n in names if "__pycache__" in n or n.startswith(("plugins/", "out/", "."))] in ([], [".gitignore"])


@pytest.mark.parametrize("name", ["curate-core", *PLUGINS])
def test_a_wheel_holds_its_package_types_and_licence(wheels: Path, name: str) -> None:
    package = name.replace("-", "_")
    [wheel] = wheels.glob(f"{package}-*-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/__init__.py", f"{package}/py.typed"} <= names
    assert [n for n in names if n.endswith("dist-info/licenses/LICENSE")]
    sources = ROOT / package if name == "curate-core" else ROOT / "plugins" / name / "src" / package
    modules = {f"{package}/{file.relative_to(sources).as_posix()}" for file in sources.rglob("*.py")}
    assert {n for n in names if n.endswith(".py")} == modules, "all modules, no tests, nothing else"


def test_every_plugin_loads_where_only_wheels_are_installed(curate: Path, tmp_path: Path) -> None:
    rows = plugins(curate, tmp_path)
    assert set(rows) >= {"curate-core", *PLUGINS} - {"curate-classify"}  # which is no part of [all], for PyTorch's size
    assert {name: row.get("reason") for name, row in rows.items() if row["status"] != "loaded"} == {}


def test_every_component_can_be_imported_with_what_the_wheels_declare(curate: Path, tmp_path: Path) -> None:
    must(curate, "plugins", "--check", folder=tmp_path)


def test_the_quickstart_works_where_only_wheels_are_installed(curate: Path, tmp_path: Path) -> None:
    must(curate, "run", ROOT / "specs" / "quickstart.json", "--output", tmp_path / "patches", folder=tmp_path)
    rows = (tmp_path / "patches" / "manifest.jsonl").read_text().splitlines()
    files = {array["file"] for row in rows for array in json.loads(row)["arrays"].values()}
    assert len(files) == len(rows) > 50
    assert [file for file in sorted(files) if not (tmp_path / "patches" / file).is_file()] == []


def test_the_example_of_another_package_is_listed(with_stranger: Path, tmp_path: Path) -> None:
    row = plugins(with_stranger, tmp_path)["lab-spots"]
    assert row["status"] == "loaded"
    assert {(p["kind"], p["name"]) for p in row["components"]} == {("reader", "lab-text"), ("roi_finder", "lab-spots")}


def test_components_of_another_package_work_in_a_spec(with_stranger: Path, tmp_path: Path) -> None:
    image = np.zeros((12, 16), np.uint8)
    image[3, 4], image[8, 11] = 200, 90
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "first.labtxt").write_text("\n".join(" ".join(map(str, row)) for row in image.tolist()))
    spec = {
        "version": 1,
        "name": "spots",
        "source": {"use": "files", "pattern": "scans/{case}.labtxt"},
        "rois": [{"use": "lab-spots", "radius": 1, "threshold": 50}],
        "write": [{"use": "npy", "path": "{case}-{y}-{x}.npy"}],
        "output": "out",
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    must(with_stranger, "run", "spec.json", folder=tmp_path)
    written = {file.name: np.load(file, allow_pickle=False) for file in (tmp_path / "out").glob("first-*.npy")}
    assert set(written) == {"first-3-4.npy", "first-8-11.npy"}
    np.testing.assert_array_equal(written["first-3-4.npy"], image[2:5, 3:6])
    np.testing.assert_array_equal(written["first-8-11.npy"], image[7:10, 10:13])


def write_plugin(folder: Path) -> None:
    """A package that brings a reader and an ROI finder, as its author would write it from the documentation."""
    files = {
        "pyproject.toml": """
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"

            [project]
            name = "lab-spots"
            version = "1.2.3"
            dependencies = ["curate-core$bounds"]

            [project.entry-points."curate.plugins"]
            lab-spots = "lab_spots.plugin"
            """,
        "lab_spots/__init__.py": "",
        "lab_spots/plugin.py": """
            from curate_core import Provider, hookimpl

            CURATE_HOOK_API = 1

            @hookimpl
            def curate_register_readers():
                yield Provider("reader", "lab-text", "Numbers in rows.", "lab_spots.components:LabText", suffixes=(".labtxt",))

            @hookimpl
            def curate_register_roi_finders():
                yield Provider("roi_finder", "lab-spots", "Squares around bright voxels.", "lab_spots.components:LabSpots")
            """,
        "lab_spots/components.py": """
            import numpy as np
            from attrs import frozen

            from curate_core import Grid, Image, Reader, RoiFinder, RoiTable, SourceError, option, read

            @frozen
            class LabText(Reader):
                \"\"\"Rows of numbers separated by blanks.\"\"\"

                def open(self, source, context):
                    [path] = source.files
                    try:
                        array = np.loadtxt(path, dtype=np.uint8, ndmin=2)
                    except ValueError as error:
                        raise SourceError(f"not rows of numbers: {error}", where=str(path)) from error
                    return Image(array, Grid.from_spacing(array.shape, "yx"))

            @frozen
            class LabSpots(RoiFinder):
                \"\"\"A square around every voxel over a threshold.\"\"\"

                radius: int = option(doc="Voxels on each side of the bright one.", default=1, ge=0)
                threshold: int = option(doc="Voxels brighter than this count.", default=128)

                def find(self, case, context):
                    spots = np.argwhere(read(case.image().array) > self.threshold)
                    where = {"y": spots[:, 0], "x": spots[:, 1]}
                    return RoiTable.boxes(spots - self.radius, spots + self.radius + 1, "yx", attributes=where)
            """,
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip().replace("$bounds", bounds(__version__)))


def core_alone(name: str, place: Path, wheels: Path) -> Path:
    """The command of an environment that holds the core's wheel and what that asks for: no plugin, nothing editable."""
    scripts = place / name / BIN
    must(sys.executable, "-m", "venv", name, folder=place)
    must(scripts / "pip", "install", "--quiet", *wheels.glob("curate_core-*.whl"), folder=place)
    return scripts / "curate"


@pytest.fixture(scope="session")
def bare(place: Path, wheels: Path) -> Path:
    return core_alone("bare", place, wheels)


@pytest.fixture(scope="session")
def author(place: Path, wheels: Path) -> Path:
    return core_alone("author", place, wheels)


def test_a_generated_plugin_is_built_installed_used_and_removed(place: Path, bare: Path, tmp_path: Path) -> None:
    """From ``curate new-plugin`` of an installed core to a dataset, and back: no repository on the path, no editable install."""
    must(bare, "new-plugin", "lab-spots", "--kind", "roi-finder", folder=tmp_path)
    package = tmp_path / "curate-lab-spots"
    built = tmp_path / "built"
    must(place / "venv" / BIN / "hatchling", "build", "-t", "wheel", "-d", built, folder=package)
    [wheel] = built.glob("*.whl")
    assert {n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".py")} == {
        f"curate_lab_spots/{name}.py" for name in ("__init__", "plugin", "rois")
    }
    must(bare.parent / "pip", "install", "--quiet", wheel, folder=tmp_path)
    must(bare, "plugins", "--check", folder=tmp_path)
    image = np.zeros((12, 16), np.uint8)
    image[3, 4] = 200
    np.save(tmp_path / "first.npy", image, allow_pickle=False)
    spec = {
        "version": 1,
        "name": "spots",
        "source": {"use": "files", "pattern": "{case}.npy"},
        "rois": [{"use": "lab-spots", "size": 3, "count": 1}],
        "write": [{"use": "npy", "path": "{case}.npy"}],
        "output": "out",
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    must(bare, "run", "spec.json", folder=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "first.npy", allow_pickle=False), image[2:5, 3:6])
    lock = json.loads((tmp_path / "out" / "spec.lock.json").read_text())
    assert lock["distributions"]["curate-lab-spots"] == "0.1.0"

    must(bare.parent / "pip", "uninstall", "--quiet", "-y", "curate-lab-spots", folder=tmp_path)
    assert "curate-lab-spots" not in plugins(bare, tmp_path)
    gone = call(bare, "run", "spec.json", folder=tmp_path)
    assert gone.returncode == 2
    assert "there is no ROI finder 'lab-spots'" in gone.stderr
    must(bare, "verify", "out", folder=tmp_path)  # the dataset outlives the plugin that found its ROIs


@pytest.mark.parametrize(("name", "kind"), [("lab-spots", "roi-finder"), ("lab-text", "reader")])
def test_what_the_author_is_told_to_do_next_works(author: Path, tmp_path: Path, name: str, kind: str) -> None:
    """The commands that ``curate new-plugin`` prints, as it prints them: the kit comes with the wheel's extra, its tests pass."""
    told = must(author, "new-plugin", name, "--kind", kind, folder=tmp_path)
    install, test, see = (shlex.split(found) for found in re.findall(r"^  (?:install it|test it|see it) +(.+)$", told, re.MULTILINE))
    assert (install[:3], test[0], see) == (["pip", "install", "-e"], "pytest", ["curate", "plugins", "--check"])
    scripts = author.parent
    must(scripts / install[0], *install[1:], folder=tmp_path)
    within = "import curate_core.testing, sys; sys.exit(sys.prefix not in curate_core.testing.__file__)"
    must(scripts / "python", "-c", within, folder=tmp_path)
    said = must(scripts / test[0], *test[1:], "-W", "error", folder=tmp_path)
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None, said
    assert int(passed[1]) > 15, said
    must(author, *see[1:], folder=tmp_path)
    must(scripts / "pip", "uninstall", "--quiet", "-y", f"curate-{name}", folder=tmp_path)
