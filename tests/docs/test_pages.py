"""What the documentation shows is true: tutorials run as they are written, everything else at least means what it says."""

import inspect
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from blocks import Block, blocks, commands
from scenes import set_up

from curate_core.cli.main import main, parser_of
from curate_core.commands import COMMANDS
from curate_core.errors import CurateError
from curate_core.host import default_host
from curate_core.providers import KIND_NAMES
from curate_core.scaffold import new_plugin
from curate_core.spec import STEP_LISTS, load
from curate_core.testing import run_spec
from curate_core.testing.fixtures import write_distribution

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "generated" not in path.parts)
TUTORIALS = [page for page in PAGES if page.parent.name == "tutorial" or page.stem == "listen-to-a-run"]
OTHERS = [page for page in PAGES if page not in TUTORIALS] + sorted(ROOT.glob("plugins/*/README.md")) + [ROOT / "CONTRIBUTING.md"]
NOT_HERE = ("nnunetv2",)
"""Libraries of examples that no environment of this repository has."""
PROGRAMS = {"pip", "python", "python3", "pytest", "cp"}
"""What commands may begin with that are none of curate's; nobody looks at their arguments but for the files of Python's."""
QUICK = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
BASE = {
    "version": 1,
    "name": "page",
    "source": {"use": "files", "pattern": "{case}.npy"},
    "rois": [{"use": "whole"}],
    "write": [{"use": "npy"}],
    "output": "out",
}


def plain(text: str) -> str:
    """Without what differs from run to run: times, rates, the width of columns."""
    text = re.sub(r"\d[\d.,]* (s|ms|a second)\b", "TIME", text)
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorials_run_as_they_are_written(page, tmp_path, monkeypatch, capsys, fake_site):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(fake_site))
    set_up(page, tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.file).write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, str(block), "exec"), namespace)
        elif block.language == "console":
            for command, shown in commands(block):
                said = do(command, capsys, fake_site)
                for row in filter(str.strip, shown.splitlines()):
                    assert plain(row).strip() in plain(said), f"{block}: {command} does not say {row!r} but\n{said}"


def do(command: str, capsys, site: Path) -> str:
    """Run a command of a tutorial in this process; of pip's, those that install a folder are done by hand."""
    words = shlex.split(command)
    if words[0] == "pip":
        if words[2] == "-e":
            install(Path(words[3].partition("[")[0]), site)
        return ""
    if words[0] == "pytest":
        asked = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir=.", *words[1:]]
        done = subprocess.run(asked, env={**os.environ, **QUICK}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
    if words[0] == "cat":
        return Path(words[1]).read_text()
    if words[0] == "python":
        runpy.run_path(words[1], run_name="__main__")
        return ""
    assert words[0] == "curate", f"tutorials show pip, pytest, cat, python and curate, not {command!r}"
    capsys.readouterr()
    main(words[1:])
    captured = capsys.readouterr()
    return captured.out + captured.err


def install(folder: Path, site: Path) -> None:
    """What ``pip install -e`` leaves behind."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    for package in (folder / "src").iterdir():
        (site / package.name).symlink_to(package.absolute())
    write_distribution(site, project["name"], project["entry-points"]["curate.plugins"], project["version"])
    default_host.cache_clear()


@pytest.mark.usefixtures("every_plugin")
@pytest.mark.parametrize("page", OTHERS, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_other_pages_mean_what_they_say(page, tmp_path, monkeypatch):
    """Python runs, specs and steps are loaded, commands and their settings parsed; text is only shown, and nothing else is there."""
    monkeypatch.chdir(tmp_path)
    set_up(page, tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(page):
        if block.language == "json":
            look_at_json(block, tmp_path)
        elif block.language == "python" and not any(library in block.text for library in NOT_HERE):
            exec(compile(block.text, str(block), "exec"), namespace)
        elif block.language in ("console", "indented"):
            for command, _ in commands(block):
                look_at_command(block, command)
        else:
            assert block.language in ("python", "text"), f"{block}: nobody looks at {block.language}"


def look_at_json(block: Block, folder: Path) -> None:
    for value in values_of(block):
        assert isinstance(value, dict), f"{block}: {value} is no piece of a spec"
        if value.get("version") == 1 and "write" in value:
            (folder / "looked_at.json").write_text(json.dumps(value))
            load(folder / "looked_at.json", default_host())
        elif "use" in value:
            look_at_step(block, value)
        elif set(value) == {"version", "objects"}:
            look_at_phantom(value, folder)
        else:
            load({**BASE, **value}, default_host(), folder=folder)  # some keys of a spec


def values_of(block: Block) -> list[object]:
    """What a block holds: a value, pieces of an object, or a choice of such pieces, a line each."""
    whole = block.text.strip()
    if not whole.startswith(("{", "[")):
        try:
            return [json.loads("{" + whole.rstrip(",") + "}")]
        except ValueError:
            whole = ""
    try:
        return [json.loads(whole)] if whole else [json.loads("{" + row.rstrip(",") + "}") for row in block.text.strip().splitlines()]
    except ValueError as error:
        pytest.fail(f"{block}: this is no JSON: {error}\n{block.text}")


def look_at_step(block: Block, step: dict[str, object]) -> None:
    """It is a component with options that one kind or another takes."""
    said = []
    for key, kind in {"source": "source", "read": "reader", **STEP_LISTS, "engine": "engine"}.items():
        if any(step["use"] in (offer.provider.name, offer.qualified) for offer in default_host().offers(kind)):
            value = {"*": step} if key == "read" else step if key in ("source", "engine") else [step]
            try:
                load({**BASE, key: value}, default_host(), folder=Path())
                return
            except CurateError as error:
                said.append(str(error))
    pytest.fail(f"{block}: {step} is no step: {said}")


def look_at_phantom(value: dict[str, object], folder: Path) -> None:
    """A file for the reader of that name, which opens it."""
    (folder / "phantoms").mkdir()
    (folder / "phantoms" / "a.json").write_text(json.dumps(value))
    source = {"use": "files", "pattern": "phantoms/{case}.json", "layer": "clean"}
    run_spec({**BASE, "source": source, "read": {"clean": {"use": "phantom", "size": 8}}}, folder)


def look_at_command(block: Block, command: str) -> None:
    """The command and its options exist; settings of shipped specs are right."""
    program, *words = shlex.split(re.split(r" [|>&]+ ", command)[0], comments=True)
    if program != "curate":
        assert Path(program).name in PROGRAMS, f"{block}: nobody looks at {program}"
        files = words[:1] if program == "python" else []
        assert all((ROOT / file).exists() for file in files), f"{block}: there is no {files}"
        return
    if words[0] not in COMMANDS and not any(words[0] == offer.provider.name for offer in default_host().offers("command")):
        pytest.fail(f"{block}: there is no command {words[0]!r}")
    if any(word.isupper() or word in ("...", "COMMAND") for word in words):  # words to be filled in
        return
    parser, _ = parser_of(words[0], words[1:])
    arguments = parser.parse(words[1:])
    spec = getattr(arguments, "spec", None)
    if spec is not None and str(spec).startswith("specs/"):
        load(ROOT / spec, default_host(), getattr(arguments, "set", []) or [])


@pytest.mark.usefixtures("every_plugin")
def test_every_component_has_an_example_that_is_right(tmp_path, monkeypatch):
    """The docstring's; the reference shows it."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    reference_pages = __import__("reference_pages")
    folder = tmp_path / "pages"
    reference_pages.write(folder)
    for kind in KIND_NAMES:
        shown = blocks(folder / f"{kind}.md")
        offers = default_host().offers(kind)
        language = "console" if kind in ("importer", "command") else "json"
        examples = [block for block in shown if block.language == language]
        assert len(examples) == len(offers), f"a {kind} has no example"
        for block in examples:
            if language == "json":
                look_at_json(block, tmp_path)
            for command, _ in commands(block) if language == "console" else ():
                look_at_command(block, command)
    del sys.modules["reference_pages"]  # its folder leaves the path


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_example_of_a_new_plugin_is_right(kind, tmp_path, monkeypatch, fake_site):
    """The reference would show it, once the plugin is installed."""
    made = new_plugin("hot-spots", kind, tmp_path, default_host())
    install(made.folder, fake_site)
    cls = default_host().load(default_host().find(kind, "hot-spots"))
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    example = __import__("reference_pages").EXAMPLE.search(inspect.cleandoc(cls.__doc__) + "\n")
    del sys.modules["reference_pages"]
    assert example, f"a new {kind} has no example"
    block = Block(Path(f"{kind}.py"), 0, "json", textwrap.dedent(example[1]))
    if kind in ("importer", "command"):
        look_at_command(block, block.text.strip())
    else:
        look_at_json(block, tmp_path)


@pytest.mark.parametrize(
    ("program", "category"),
    [(["-m", "pytest", "-p", "no:cacheprovider"], "curate_core.CurateDeprecationWarning"), ([], "DeprecationWarning")],
)
def test_what_is_deprecated_fails_as_versions_says(program, category, tmp_path):
    shown = f"-W error::{category}"
    assert f"`{shown}`" in (ROOT / "docs/explanation/versioning.md").read_text()
    (tmp_path / "test_old.py").write_text("import curate_core\n@curate_core.deprecated('0.2', '0.4', 'use new')\ndef old(): pass\nold()\n")
    command = [sys.executable, *program, *shown.split(), "test_old.py"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **QUICK}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "CurateDeprecationWarning: old is deprecated" in done.stdout + done.stderr


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    docs = tmp_path / "repository" / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("generated", "__pycache__"))
    (tmp_path / "repository" / "plugins").symlink_to(ROOT / "plugins")
    build = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(docs), str(tmp_path / "site")],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    assert build.returncode == 0, build.stderr
    made = tmp_path / "site" / "reference" / "generated"
    for page, word in (("filter", "near-duplicates"), ("filter", "informative-patch"), ("command", "--pretrained"), ("api", "FileWriter")):
        assert word in (made / f"{page}.html").read_text(encoding="utf-8")
