"""No rule of the kit is idle: each is broken by a bad component somewhere in this folder, which it fails for the right reason."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate_core import testing

KITS = [name for name in testing.__all__ if name.endswith("Tests")]


def expectations(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(kit's class, name of its test) of what each test of a module says of the failures of bad components.

    What a test names counts as part of it, and what that names in turn: its helpers, the components, the names of tests it shares.
    """
    defined: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        names = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        names += [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        for name in names:
            defined.setdefault(name, []).append(node)
    for test in (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")):
        names, strings, waiting = set(), set(), [test.name, *(argument.arg for argument in test.args.args)]
        while waiting:
            name = waiting.pop()
            if name in names:
                continue
            names.add(name)
            for node in (part for found in defined.get(name, []) for part in ast.walk(found)):
                if isinstance(node, ast.Name):
                    waiting.append(node.id)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    strings.add(node.value)
        yield from ((kit, text) for kit in names.intersection(KITS) for text in strings if text.startswith("test_"))


@pytest.mark.parametrize("kit", KITS)
def test_every_rule_is_broken_by_somebody(kit: str) -> None:
    files = sorted(Path(__file__).parent.glob("test_bad_*.py"))
    broken = {getattr(getattr(testing, of), rule, None) for file in files for of, rule in expectations(ast.parse(file.read_text()))}
    rules = {name: rule for name, rule in inspect.getmembers(getattr(testing, kit)) if name.startswith("test_")}
    idle = [name for name, rule in rules.items() if rule not in broken]  # one that two classes inherit is broken for both
    assert not idle, "a rule that no component can break should go; one that some can needs a bad one here"


def test_what_a_test_expects_is_found_through_what_it_names() -> None:
    module = """
NAME = "test_b"
class Claims(ReaderTests):
    text = "no test"
def failures():
    return Claims
def test_one(failures, other):
    assert failures() == {"test_a": 1, NAME: 2}
def test_two():
    WriterTests, "test_c"
def helper():
    FilterTests, "test_d"
"""
    assert set(expectations(ast.parse(module))) == {("ReaderTests", "test_a"), ("ReaderTests", "test_b"), ("WriterTests", "test_c")}
