"""Every hook has an example, which works, and the reference shows it."""

import inspect
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from curate_core import Outcome, Provider, Unit, hookimpl, hookspec
from curate_core.host import Host, check_hooks, collect_local

DOCS = Path(__file__).parents[2] / "docs"
REGISTER, EVENTS = (
    {name: hook for name, hook in vars(holder).items() if name.startswith("curate_")}
    for holder in (hookspec.RegisterHooks, hookspec.EventHooks)
)
TOLD = {
    "name": "tiles",
    "output": "out",
    "title": "cutting",
    "total_units": 3,
    "outcome": Outcome(Unit("key", "a case", None), "failed", error=ValueError("broken")),
    "counts": {"found": 3, "dropped": 1, "rejected": 0, "written": 2},
    "summary": {"name": "tiles", "counts": {}, "stopped": "RunError: broken"},
}


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    yield __import__("reference_pages")
    del sys.modules["reference_pages"]


def module_of(pages, doc):
    """The example of a docstring, as a plugin's module."""
    found = pages.EXAMPLE.findall(f"{inspect.cleandoc(doc)}\n")
    assert len(found) == 1, f"it has {len(found)} examples: {doc}"
    module = ModuleType("my_lab")
    vars(module).update(hookimpl=hookimpl, Provider=Provider)
    exec(compile(textwrap.dedent(found[0]), "example", "exec"), vars(module))
    return module


@pytest.mark.parametrize("name", sorted(REGISTER))
def test_what_a_plugin_offers(name, pages):
    module = module_of(pages, REGISTER[name].__doc__)
    assert hasattr(module, name)
    [provider] = collect_local(module)
    assert f"curate_register_{provider.kind}s" == name
    assert provider.problems() == []


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_what_happens_during_a_run(name, pages, capsys):
    module, host = module_of(pages, EVENTS[name].__doc__), Host([])
    assert hasattr(module, name)
    host.manager.register(module)
    check_hooks(host.manager, module)
    getattr(host.hook, name)(**{word: TOLD[word] for word in inspect.signature(EVENTS[name]).parameters if word != "self"})
    assert capsys.readouterr().out


def test_the_reference_shows_them(pages, tmp_path):
    pages.write(tmp_path)
    shown = (tmp_path / "hooks.md").read_text()
    for name in [*REGISTER, *EVENTS]:
        assert shown.count(f"\n@hookimpl\ndef {name}(") >= 1, name
