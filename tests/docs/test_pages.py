"""What the documentation shows is true: tutorials run as they are written, everything else at least means what it says."""

import ast
import inspect
import json
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

import curate_core
from curate_core.cli.main import main, parser_of
from curate_core.commands import COMMANDS
from curate_core.errors import CurateError
from curate_core.host import default_host
from curate_core.providers import KIND_NAMES
from curate_core.scaffold import new_plugin
from curate_core.spec import load
from curate_core.testing.fixtures import write_distribution

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "generated" not in path.parts)
TUTORIALS = [page for page in PAGES if page.parent.name == "tutorial"]
OTHERS = [page for page in PAGES if page not in TUTORIALS] + sorted(ROOT.glob("plugins/*/README.md")) + [ROOT / "CONTRIBUTING.md"]


def plain(text: str) -> str:
    """Without what differs from run to run: times, rates, the width of columns."""
    text = re.sub(r"\d[\d.,]* (s|ms|a second)\b", "TIME", text)
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorials_run_as_they_are_written(page, tmp_path, monkeypatch, capsys, fake_site):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(fake_site))
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
        done = subprocess.run(asked, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
    if words[0] == "python":
        runpy.run_path(words[1], run_name="__main__")
        return ""
    assert words[0] == "curate", f"tutorials show pip, python and curate, not {command!r}"
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
    monkeypatch.chdir(ROOT)
    for block in blocks(page):
        if block.language == "json":
            look_at_json(block, tmp_path)
        elif block.language == "python":
            look_at_python(block)
        elif block.language in ("console", "indented", "bash", "sh"):
            for command, _ in commands(block):
                if command.startswith("curate "):
                    look_at_command(block, command)


def look_at_json(block: Block, folder: Path) -> None:
    for value in values_of(block):
        if isinstance(value, dict) and "version" in value and "write" in value:
            (folder / "spec.json").write_text(json.dumps(value))
            load(folder / "spec.json", default_host())
        elif isinstance(value, dict) and "use" in value:
            look_at_steps(block, [value])
        elif isinstance(value, dict):
            look_at_keys(block, value)


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


def look_at_keys(block: Block, value: dict[str, object]) -> None:
    """A piece of a spec: some of its keys."""
    for key, steps in value.items():
        if key == "read" and isinstance(steps, dict):
            look_at_steps(block, [step for found in steps.values() for step in (found if isinstance(found, list) else [found])])
        elif isinstance(steps, dict) and "use" in steps:
            look_at_steps(block, [steps])
        elif isinstance(steps, list) and steps and all(isinstance(step, dict) and "use" in step for step in steps):
            look_at_steps(block, steps)


def look_at_steps(block: Block, steps: list[dict[str, object]]) -> None:
    """Each is a component with options that one kind or another takes."""
    lists = {
        "source": "source",
        "preprocess": "preprocessor",
        "rois": "roi_finder",
        "transform": "transform",
        "filter": "filter",
        "write": "writer",
    }
    base = {
        "version": 1,
        "name": "page",
        "source": {"use": "files", "pattern": "{case}.npy"},
        "rois": [{"use": "whole"}],
        "write": [{"use": "npy"}],
    }
    for step in steps:
        if step == {"use": "auto"}:  # what readers are when none is named
            continue
        said = []
        for key, kind in [*lists.items(), ("read", "reader"), ("engine", "engine")]:
            if not any(step["use"] in (offer.provider.name, offer.qualified) for offer in default_host().offers(kind)):
                continue
            value = {"*": step} if key == "read" else step if key in ("source", "engine") else [step]
            try:
                load({**base, key: value, "output": "out"}, default_host(), folder=Path())
                break
            except CurateError as error:
                said.append(str(error))
        else:
            pytest.fail(f"{block}: {step} is no step: {said}")


def look_at_python(block: Block) -> None:
    tree = ast.parse(block.text, str(block))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "curate_core":
            assert hasattr(curate_core, node.attr), f"{block}: there is no curate_core.{node.attr}"
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "curate_core":
            module = __import__(node.module, fromlist=["x"])
            missing = [name.name for name in node.names if not hasattr(module, name.name)]
            assert not missing, f"{block}: {node.module} has no {missing}"


def look_at_command(block: Block, command: str) -> None:
    """The command and its options exist; settings of shipped specs are right."""
    words = shlex.split(re.split(r" [|>&]+ ", command)[0], comments=True)[1:]
    if words[0] not in COMMANDS and not any(words[0] == offer.provider.name for offer in default_host().offers("command")):
        pytest.fail(f"{block}: there is no command {words[0]!r}")
    if any(word.isupper() or word in ("...", "COMMAND") for word in words):  # words to be filled in
        return
    parser, _ = parser_of(words[0], words[1:])
    arguments = parser.parse(words[1:])
    spec = getattr(arguments, "spec", None)
    if spec is not None and str(spec).startswith("specs/"):
        load(ROOT / spec, default_host(), getattr(arguments, "set", []) or [])


def test_every_component_has_an_example_that_is_right(tmp_path, monkeypatch):
    """The docstring's; the reference shows it."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    reference_pages = __import__("reference_pages")
    folder = tmp_path / "pages"
    reference_pages.write(folder)
    for kind in KIND_NAMES:
        shown = blocks(folder / f"{kind}.md")
        offers = default_host().offers(kind)
        if kind not in ("importer", "command"):
            assert len([block for block in shown if block.language == "json"]) == len(offers), f"a {kind} has no example"
            for block in shown:
                look_at_json(block, tmp_path)
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
    assert "near-duplicates" in (tmp_path / "site" / "reference" / "generated" / "filter.html").read_text(encoding="utf-8")
