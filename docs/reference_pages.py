"""Reference pages, made of the core and every plugin of the repository: components with their options, hooks, commands, plugins.

python docs/reference_pages.py FOLDER
"""

from __future__ import annotations

import argparse
import atexit
import inspect
import json
import re
import shutil
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import testing_pages  # beside this file

import curate_core
from curate_core.cli.import_ import flag_of
from curate_core.cli.main import parser_of
from curate_core.commands import COMMANDS
from curate_core.hookspec import EventHooks, RegisterHooks
from curate_core.host import Host, Offer, default_host
from curate_core.providers import KIND_NAMES
from curate_core.schema import options_schema, spec_schema

ROOT = Path(__file__).parent.parent
TITLES = {
    "source": ("Sources", "Which cases are there?"),
    "reader": ("Readers", "How is a layer opened?"),
    "preprocessor": ("Preprocessors", "What should each case look like?"),
    "roi_finder": ("ROI finders", "Where are the samples?"),
    "transform": ("Transforms", "What becomes of a cut sample?"),
    "filter": ("Filters", "Which samples stay?"),
    "writer": ("Writers", "How are samples stored?"),
    "engine": ("Engines", "Who does the work?"),
    "importer": ("Importers", "How does another system's configuration become a spec? `curate import NAME FILE -o SPEC [OPTIONS]`."),
    "command": ("Commands of plugins", "What else can `curate` do?"),
}
SECTION = re.compile(r"(?m)^(Args|Attributes|Raises|Returns|Notes?|References?|Sources?):\n((?:[ ]{4,}.*\n|\n)+)")
ENTRY = re.compile(r"(?m)^([\w, ]+):(?= )")
EXAMPLE = re.compile(r"Examples?::\n\n((?:[ ]{4,}.*\n?|\n)+)")


def find_plugins() -> None:
    """Plugins of the repository that are not installed join without what they depend on: options are known before that is imported."""
    installed = {found.name for found in metadata.distributions()}
    described = Path(tempfile.mkdtemp(prefix="curate-docs-"))
    for path in sorted(ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        if project["name"] not in installed:
            info = described / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
            info.mkdir()
            lines = [f"{name} = {module}" for name, module in project["entry-points"]["curate.plugins"].items()]
            (info / "entry_points.txt").write_text("\n".join(["[curate.plugins]", *lines, ""]), encoding="utf-8")
            (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8")
            sys.path.append(str(path.parent / "src"))
    sys.path.append(str(described))
    atexit.register(shutil.rmtree, described)


def write(folder: Path) -> None:
    """Make all pages anew in a folder; those that did not change keep their time stamp, so that Sphinx leaves them alone."""
    host = default_host()
    pages = dict(_component_pages(host))
    pages |= {"hooks.md": _hooks(), "commands.md": _commands()}
    pages |= dict(_plugin_pages())
    pages["api.md"] = _api()
    pages["testing.md"] = testing_pages.page()
    for path in sorted(folder.rglob("*.md")) if folder.exists() else []:
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _component_pages(host: Host) -> Iterator[tuple[str, str]]:
    schema, left_out = spec_schema(host)
    if left_out:
        raise SystemExit(f"cannot be imported: {left_out}")
    for kind in KIND_NAMES:
        title, question = TITLES[kind]
        lines = [f"# {title}", "", question, ""]
        for offer in host.offers(kind):
            lines += [*_component(host, kind, offer, schema), ""]
        yield f"{kind}.md", "\n".join(lines)


def _component(host: Host, kind: str, offer: Offer, schema: Mapping[str, Any]) -> Iterator[str]:
    cls = host.load(offer)
    doc = inspect.cleandoc(cls.__doc__ or "")
    example = EXAMPLE.search(doc + "\n")
    yield f"## {offer.provider.name}"
    yield ""
    yield f"*{offer.qualified.partition(':')[0]}*"
    if offer.provider.suffixes:
        yield "reads " + ", ".join(f"`{suffix}`" for suffix in offer.provider.suffixes)
    yield from ("", f"**Deprecated**: {offer.provider.deprecated}") if offer.provider.deprecated else ()
    yield ""
    yield _markdown(EXAMPLE.sub("", doc + "\n"))
    if example:
        yield from _fenced("console" if kind in ("importer", "command") else "json", example[1])
    if kind == "command":
        yield from _help(offer.provider.name)
    elif kind == "importer":
        yield from _options(*_flags(options_schema(cls)))
    else:
        yield from _options(schema["$defs"][f"{kind}.{offer.qualified}"], schema)


def _flags(options: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Options as a command line has them, without null and with truth values that are switches; and the schema that they are part of."""
    properties = {}
    for name, value in options["properties"].items():
        given = {key: found for key, found in value.items() if (key, found) not in (("default", None), ("default", False))}
        if "anyOf" in given:
            given["anyOf"] = [choice for choice in given["anyOf"] if choice.get("type") != "null"]
        properties[flag_of(name)] = {**given, "type": "switch"} if given.get("type") == "boolean" else given
    return {"properties": properties, "required": [flag_of(name) for name in options.get("required", ())]}, options


def _fenced(language: str, text: str) -> Iterator[str]:
    yield from (f"```{language}", textwrap.dedent(text).strip("\n").rstrip(), "```", "")


def _help(word: str) -> Iterator[str]:
    parser, _ = parser_of(word)
    parser.formatter_class = _Fixed
    yield from _fenced("text", parser.format_help())


def _markdown(text: str) -> str:
    """Docstrings hold reST literals, which are Markdown but for their number of quotes; sections become bold words over lists."""
    text = re.sub(r"``([^`]+)``", r"`\1`", text.strip())
    text = re.sub(r":(?:class|func|mod|meth):`~?([^`]+)`", r"`\1`", text)
    return SECTION.sub(_section, text + "\n")


def _section(found: re.Match[str]) -> str:
    entries = ENTRY.sub(r"- `\1`:", textwrap.dedent(found[2]))
    return f"**{found[1]}**\n\n{entries}"


def _options(known: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    properties = {name: value for name, value in known["properties"].items() if isinstance(value, dict)}
    if not properties:
        return
    yield from ("| option | is | default | what |", "|---|---|---|---|")
    for name, value in properties.items():
        default = f"`{json.dumps(value['default'], ensure_ascii=False)}`" if "default" in value else ""
        default = "**required**" if name in known.get("required", ()) else default
        yield f"| `{name}` | {_cell(_type(value, schema))} | {_cell(default)} | {_cell(value.get('description', ''))} |"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;").replace("\n", " ") if not text.startswith("`") else text.replace("|", r"\|")


def _type(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A type in words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        inner = schema["$defs"][name]
        return "{" + ", ".join(inner.get("properties", {})) + "}"
    if "enum" in value:
        return ", ".join(f"`{json.dumps(word)}`" for word in value["enum"])
    if "anyOf" in value:
        words = [_type(choice, schema) for choice in value["anyOf"] if choice.get("pattern", "")[:3] != r"^\{"]
        return " or ".join(dict.fromkeys(word for word in words if word))
    if value.get("type") == "array":
        if "prefixItems" in value:
            return "[" + ", ".join(_type(entry, schema) for entry in value["prefixItems"]) + "]"
        return f"list of {_type(value.get('items', {}), schema) or 'values'}"
    if value.get("type") == "object":
        return "object"
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "`true` or `false`",
        "null": "`null`",
        "switch": "switch",
    }
    found = words.get(value.get("type", ""), "") if isinstance(value.get("type"), str) else ""
    if found == "text" and value.get("format") == "path":
        found = "path"
    bounds = [("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")]
    limits = [f"{sign} {value[key]:g}" for key, sign in bounds if key in value]
    return " ".join([found, ", ".join(limits)]).strip()


def _hooks() -> str:
    words, _, example = (sys.modules[RegisterHooks.__module__].__doc__ or "").partition("Example of a whole ``plugin.py``::\n\n")
    lines = ["# Hooks", "", _markdown(words.partition("\n")[2]), *_fenced("python", example)]
    for title, holder in (("What a plugin offers", RegisterHooks), ("What happens during a run", EventHooks)):
        lines += [f"## {title}", "", _markdown(inspect.getdoc(holder) or "")]
        for name, hook in vars(holder).items():
            if name.startswith("curate_"):
                known = [f"{p.name}: {p.annotation}" for p in inspect.signature(hook).parameters.values() if p.name != "self"]
                doc = f"{inspect.getdoc(hook)}\n"
                lines += [f"### {name}", "", *_fenced("python", f"def {name}({', '.join(known)}): ..."), _markdown(EXAMPLE.sub("", doc))]
                lines += [line for example in EXAMPLE.findall(doc) for line in _fenced("python", example)]
    return "\n".join(lines)


def _commands() -> str:
    lines = ["# The command line", "", "`curate COMMAND --help` says the same. Exit codes are [listed](../exit-codes.md).", ""]
    for word in COMMANDS:
        lines += [f"## curate {word}", "", *_help(word)]
    return "\n".join(lines)


class _Fixed(argparse.HelpFormatter):
    """As wide on every machine, and no wider than a page."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=92)


def _plugin_pages() -> Iterator[tuple[str, str]]:
    """READMEs of the plugins, as pages: links to files that are no pages become their words."""
    names = []
    for path in sorted(ROOT.glob("plugins/*/README.md")):
        names.append(path.parent.name)
        yield f"plugins/{path.parent.name}.md", re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", path.read_text(encoding="utf-8"))
    tree = "\n".join(["```{toctree}", ":maxdepth: 1", "", *names, "```"])
    yield "plugins/index.md", f"# Plugins\n\nEach is a distribution of its own: `pip install curate-tiff`.\n\n{tree}\n"


def _api() -> str:
    lines = ["# Python", "", "What `import curate_core` offers; [what else is public](../../explanation/versioning.md).", ""]
    for name in sorted(curate_core.__all__, key=str.lower):
        value = getattr(curate_core, name)
        kind = "class" if inspect.isclass(value) else "function" if inspect.isfunction(value) else "data"
        home = curate_core._HOME_OF[name] if kind == "data" else value.__module__  # noqa: SLF001 - constants do not know it
        options = ["   :members:"] if kind == "class" else []
        lines += [f"## {name}", "", *_fenced("{eval-rst}", "\n".join([f".. auto{kind}:: {home}.{name}", *options]))]
    return "\n".join(lines)


if __name__ == "__main__":
    find_plugins()
    target = Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    write(target)
