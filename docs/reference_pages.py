"""Reference pages, made of what is installed: components with their options, hooks, commands, plugins.

python docs/reference_pages.py FOLDER
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import testing_pages  # beside this file

import curate_core
from curate_core.cli.main import COMMANDS, parser_of
from curate_core.hookspec import EventHooks, RegisterHooks
from curate_core.host import Host, Offer, default_host
from curate_core.options import info_of
from curate_core.providers import KIND_NAMES
from curate_core.schema import spec_schema

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
    "importer": ("Importers", "How does another system's configuration become a spec? `curate import NAME FILE`."),
    "command": ("Commands of plugins", "What else can `curate` do?"),
}
EXAMPLE = re.compile(r"Examples?::\n\n((?:[ ]{4,}.*\n?|\n)+)")


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
    yield ""
    yield _markdown(EXAMPLE.sub("", doc + "\n"))
    if example:
        yield from ("```json", textwrap.dedent(example[1]).strip(), "```", "")
    known = schema["$defs"].get(f"{kind}.{offer.qualified}")
    yield from _options(known, schema) if known else _own_options(cls)


def _markdown(text: str) -> str:
    """Docstrings hold reST literals, which are Markdown but for their number of quotes; sections become bold words."""
    text = re.sub(r"``([^`]+)``", r"`\1`", text.strip())
    text = re.sub(r":(?:class|func|mod|meth):`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"(?m)^(Args|Attributes|Raises|Returns|Note|Notes|References?|Sources?):$", r"**\1**\n", text) + "\n"


def _options(known: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    properties = {name: value for name, value in known["properties"].items() if isinstance(value, dict)}
    if not properties:
        return
    yield from ("| option | is | default | what |", "|---|---|---|---|")
    for name, value in properties.items():
        default = f"`{json.dumps(value['default'], ensure_ascii=False)}`" if "default" in value else "**required**"
        yield f"| `{name}` | {_cell(_type(value, schema))} | {_cell(default)} | {_cell(value.get('description', ''))} |"


def _own_options(cls: type[Any]) -> Iterator[str]:
    fields = getattr(cls, "__attrs_attrs__", ())
    if fields:
        yield from ("| option | what |", "|---|---|")
    for field in fields:
        yield f"| `{field.name}` | {_cell(info_of(field).doc)} |"


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
    words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true` or `false`", "null": "`null`"}
    found = words.get(value.get("type", ""), "") if isinstance(value.get("type"), str) else ""
    if found == "text" and value.get("format") == "path":
        found = "path"
    bounds = [("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")]
    limits = [f"{sign} {value[key]:g}" for key, sign in bounds if key in value]
    return " ".join([found, ", ".join(limits)]).strip()


def _hooks() -> str:
    words, _, example = (sys.modules[RegisterHooks.__module__].__doc__ or "").partition("Example of a whole ``plugin.py``::\n\n")
    lines = ["# Hooks", "", _markdown(words.partition("\n")[2]), "```python", textwrap.dedent(example).strip(), "```", ""]
    for title, holder in (("What a plugin offers", RegisterHooks), ("What happens during a run", EventHooks)):
        lines += [f"## {title}", "", _markdown(inspect.getdoc(holder) or "")]
        for name, hook in vars(holder).items():
            if name.startswith("curate_"):
                known = [f"{p.name}: {p.annotation}" for p in inspect.signature(hook).parameters.values() if p.name != "self"]
                code = f"def {name}({', '.join(known)}): ..."
                lines += [f"### {name}", "", "```python", code, "```", "", _markdown(inspect.getdoc(hook) or "")]
    return "\n".join(lines)


def _commands() -> str:
    lines = ["# The command line", "", "`curate COMMAND --help` says the same. Exit codes are [listed](../exit-codes.md).", ""]
    for word in COMMANDS:
        parser, _ = parser_of(word)
        parser.formatter_class = _Fixed
        lines += [f"## curate {word}", "", "```text", parser.format_help().rstrip(), "```", ""]
    return "\n".join(lines)


class _Fixed(argparse.HelpFormatter):
    """As wide on every machine."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)


def _plugin_pages() -> Iterator[tuple[str, str]]:
    """READMEs of the plugins, as pages: links to files that are no pages become their words."""
    names = []
    for path in sorted(ROOT.glob("plugins/*/README.md")):
        names.append(path.parent.name)
        yield f"plugins/{path.parent.name}.md", re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", path.read_text(encoding="utf-8"))
    tree = "\n".join(["```{toctree}", ":maxdepth: 1", "", *names, "```"])
    yield "plugins/index.md", f"# Plugins\n\nEach is a distribution of its own: `pip install curate-tiff`.\n\n{tree}\n"


def _api() -> str:
    lines = ["# Python", "", "What `import curate_core` offers; everything else may change without notice.", ""]
    for name in sorted(curate_core.__all__, key=str.lower):
        value = getattr(curate_core, name)
        lines += [f"## {name}", ""]
        if inspect.isclass(value) or inspect.isfunction(value):
            kind = "autoclass" if inspect.isclass(value) else "autofunction"
            options = [":members:"] if inspect.isclass(value) else []
            lines += ["```{eval-rst}", f".. {kind}:: {value.__module__}.{value.__qualname__}", *(f"   {o}" for o in options), "```", ""]
        else:
            lines += [f"`{value!r}`" if isinstance(value, int) else _markdown(inspect.getdoc(value) or ""), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    write(target)
