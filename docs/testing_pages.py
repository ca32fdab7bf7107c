"""The reference page of the conformance kit, made of what ``curate_core.testing`` exports."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate_core import testing

FIXTURES = Path(inspect.getfile(testing)).with_name("fixtures.py")
SECTION = r"(?m)^%s:+\n\n?((?:[ ]{4,}.*\n?|\n)+)"
ENTRY = re.compile(r"^([\w, ]+): (.*(?:\n +.*)*)", re.MULTILINE)


def page() -> str:
    """The page, Markdown."""
    words, _, rest = (testing.__doc__ or "").partition("::\n")
    example, after = re.match(r"((?:[ ]{4,}[^\n]*\n|\n)+)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    lines = ["# The conformance kit", "", _markdown(words.strip() + ":"), "", *_code(example), _markdown(after.strip()), ""]
    classes = [name for name in testing.__all__ if inspect.isclass(getattr(testing, name))]
    for name in classes:
        lines += [f"## {name}", "", *_class(getattr(testing, name))]
    lines += ["## Helpers", ""]
    for name in testing.__all__:
        if name not in classes:
            lines += ["```{eval-rst}", f".. autofunction:: {getattr(testing, name).__module__}.{name}", "```", ""]
    return "\n".join([*lines, "## Fixtures", "", *_fixtures()]) + "\n"


def _class(kit: type[Any]) -> Iterator[str]:
    doc = inspect.cleandoc(kit.__doc__ or "") + "\n"
    example = re.search(SECTION % "Example", doc)
    yield _markdown(re.sub(SECTION % "Attributes", "", re.sub(SECTION % "Example", "", doc)).strip())
    yield ""
    if example:
        yield from _code(example[1])
    yield from ("| class attribute | by default | what |", "|---|---|---|")
    for name, what in attributes(kit).items():
        default = f"`{getattr(kit, name)!r}`" if hasattr(kit, name) else "**required**"
        yield f"| `{name}` | {_short(default)} | {_cell(what)} |"
    yield ""
    given = {name: method for name, method in inspect.getmembers(kit, inspect.isfunction) if not name.startswith(("_", "test_"))}
    if given:
        yield from ("| method to give or to replace | what |", "|---|---|")
        for name, method in given.items():
            required = " **required**" if "raise NotImplementedError" in inspect.getsource(method) else ""
            arguments = ", ".join(name for name in inspect.signature(method).parameters if name != "self")
            yield f"| `{name}({arguments})`{required} | {_cell(inspect.getdoc(method) or '')} |"
        yield ""
    yield from ("| test | asks |", "|---|---|")
    for name in tests(kit):
        yield f"| `{name}` | {_cell(inspect.getdoc(getattr(kit, name)) or '')} |"
    yield ""


def attributes(kit: type[Any]) -> dict[str, str]:
    """Class attribute -> what its class's docstring says of it, in the order of the docstring."""
    section = re.search(SECTION % "Attributes", inspect.cleandoc(kit.__doc__ or "") + "\n")
    found = ENTRY.findall(textwrap.dedent(section[1])) if section else []
    return {name.strip(): " ".join(what.split()) for names, what in found for name in names.split(",")}


def tests(kit: type[Any]) -> list[str]:
    """The tests that a class brings, those of its bases behind its own."""
    return list(dict.fromkeys(name for cls in kit.__mro__ for name in vars(cls) if name.startswith("test_")))


def _fixtures() -> Iterator[str]:
    tree = ast.parse(FIXTURES.read_text(encoding="utf-8"))
    words, _, rest = (ast.get_docstring(tree) or "").partition("::\n")
    line, _, after = rest.strip().partition("\n\n")
    yield from (_markdown(words.strip() + ":"), "", *_code(line), _markdown(after), "", "| fixture | gives |", "|---|---|")
    exported = next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign) and _named(node) == "__all__")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in exported:
            yield f"| `{node.name}` | {_cell(ast.get_docstring(node) or '')} |"


def _named(node: ast.Assign) -> str:
    return node.targets[0].id if isinstance(node.targets[0], ast.Name) else ""


def _code(text: str) -> list[str]:
    return ["```python", textwrap.dedent(text).strip(), "```", ""]


def _markdown(text: str) -> str:
    """Docstrings hold reST literals, which are Markdown but for their number of quotes."""
    return re.sub(r":(?:class|func|mod|meth):`~?([^`]+)`", r"`\1`", re.sub(r"``([^`]+)``", r"`\1`", text))


def _cell(text: str) -> str:
    return " ".join(_markdown(text).replace("|", r"\|").replace("<", "&lt;").split())


def _short(default: str) -> str:
    """A default value; what is longer than a table is wide is not shown."""
    return default.replace("|", r"\|") if len(default) <= 60 else ""
