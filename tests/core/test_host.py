"""The host: plugins made on the fly, whole and broken; a broken one is explained and takes nothing down with it."""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from curate_core import host as host_module
from curate_core.errors import PluginError
from curate_core.host import EntryPoint, Host, default_host, installed_plugins
from curate_core.testing.fixtures import write_distribution, write_package

HEAD = "from curate_core import Provider, hookimpl\nCURATE_HOOK_API = 1\n"
BODY = """
@hookimpl
def curate_register_roi_finders():
    yield Provider("roi_finder", "{name}", "Finds.", "{package}.parts:Finder")
"""
PARTS = """
import attrs
from curate_core import RoiFinder

@attrs.frozen
class Finder(RoiFinder):
    '''Finds.'''

    def find(self, case, context):
        return None
"""


def good(package: str, name: str) -> str:
    return HEAD + BODY.format(package=package, name=name)


@pytest.fixture
def install(fake_site):
    """``install("curate-a", "plugin source")`` writes the package and gives its entry point, without metadata."""

    def make(distribution: str, plugin: str, parts: str = PARTS, name: str = "main", version: str = "1.0") -> EntryPoint:
        package = distribution.replace("-", "_")
        write_package(fake_site, package, plugin=plugin, parts=parts)
        return EntryPoint(name, f"{package}.plugin", distribution, version)

    return make


@pytest.fixture
def healthy(install):
    """A plugin that must keep working whatever stands beside it."""
    return install("curate-zz", good("curate_zz", "steady"))


def status(host: Host, distribution: str):
    return next(plugin for plugin in host.plugins if plugin.distribution == distribution)


def assert_steady(host: Host) -> None:
    """The healthy plugin and the built-ins are at work."""
    assert status(host, "curate-zz").status == "loaded"
    assert host.load(host.find("roi_finder", "steady")).__name__ == "Finder"
    assert status(host, "curate-core").status == "loaded"
    assert host.find("roi_finder", "grid").distribution == "curate-core"


def test_the_built_ins_come_through_the_same_door():
    host = Host([])
    (core,) = host.plugins
    assert (core.distribution, core.status, core.reason) == ("curate-core", "loaded", "")
    assert core.version == metadata.version("curate-core")
    assert host.conflicts() == []
    assert {o.qualified for o in host.offers("source")} == {"curate-core:files", "curate-core:list", "curate-core:dataset"}


def test_a_good_plugin(install):
    host = Host([install("curate-a", good("curate_a", "dots"), version="2.3")])
    plugin = status(host, "curate-a")
    assert (plugin.name, plugin.version, plugin.module, plugin.status, plugin.reason) == ("main", "2.3", "curate_a.plugin", "loaded", "")
    assert [provider.name for provider in plugin.providers] == ["dots"]
    for use in ("dots", "curate-a:dots"):
        assert host.find("roi_finder", use).qualified == "curate-a:dots"
    assert "curate_a.parts" not in sys.modules  # imported at first use
    first = host.load(host.find("roi_finder", "dots"))
    assert first.__doc__ == "Finds."
    assert host.load(host.find("roi_finder", "dots")) is first


MODULE_NOT_FOUND = r"ModuleNotFoundError: No module named 'no_such_library' \(plugin.py, line 1\)"
BROKEN = {
    "raises on import": ("raise RuntimeError('out of order')", r"RuntimeError: out of order \(plugin.py, line 1\)"),
    "leaves on import": ("import sys\nsys.exit('no licence')", r"SystemExit: no licence \(plugin.py, line 2\)"),
    "needs what is not there": ("import no_such_library", MODULE_NOT_FOUND),
    "syntax": ("def broken(:", r"SyntaxError: invalid syntax .*"),
    "old API": (
        HEAD.replace("= 1", "= 0"),
        r"written for plugin API 0 \(CURATE_HOOK_API\), this curate has 1; install versions that fit together",
    ),
    "new API": (
        HEAD.replace("= 1", "= 2"),
        r"written for plugin API 2 \(CURATE_HOOK_API\), this curate has 1; install versions that fit together",
    ),
    "no API": ("from curate_core import hookimpl", "curate_a.plugin does not state CURATE_HOOK_API; write CURATE_HOOK_API = 1"),
    "hook raises": (HEAD + "@hookimpl\ndef curate_register_readers():\n    raise KeyError('x')", r"KeyError: 'x' \(plugin.py, line 5\)"),
    "hook gives text": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    return 'mrc'",
        "curate_register_readers must give Provider objects, not str",
    ),
    "hook gives one": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    return Provider('reader', 'x', 'X.', 'a:B')",
        r"curate_register_readers must give Provider objects one by one, not Provider \(write yield before Provider\(...\)\)",
    ),
    "hook gives nothing": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    Provider('reader', 'x', 'X.', 'a:B')",
        r"curate_register_readers gave nothing \(write yield before Provider\(...\)\)",
    ),
    "hook gives numbers": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    yield 5",
        "curate_register_readers must give Provider objects, not int",
    ),
    "another kind": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    yield Provider('writer', 'x', 'X.', 'a:B')",
        r"curate_register_readers gave 'x' of kind 'writer' \(yield it from curate_register_writers\)",
    ),
    "no kind at all": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    yield Provider('readers', 'x', 'X.', 'a:B')",
        "kind 'readers' is not one of source, reader, .*, command",
    ),
    "badly described": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    yield Provider('reader', 'X', '', 'ab', ('mrc',))",
        r"name 'X' must be lower case words joined by hyphens \(did you mean 'x'\?\); X: the summary must be one line; "
        "X: target 'ab' must look like 'package.module:Class'; X: suffix 'mrc' must be lower case and start with a dot",
    ),
    "rubbish in a provider": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    yield Provider('reader', ['x'], None, 5)",
        r"name must be text, not \['x'\]; summary must be text, not None; target must be text, not 5",
    ),
    "rubbish in suffixes": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    yield Provider('reader', 'x', 'X.', 'a:B', 7)",
        r"x: suffixes must be texts, such as \('.mrc',\), not 7",
    ),
    "one text for all suffixes": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    yield Provider('reader', 'x', 'X.', 'a:B', '.mrc')",
        r"x: suffixes must be a tuple: write suffixes=\('.mrc',\)",
    ),
    "one name twice": (
        HEAD + "@hookimpl\ndef curate_register_readers():\n    return [Provider('reader', 'x', 'X.', 'a:B')] * 2",
        "the reader 'x' is offered twice",
    ),
    "misspelt hook": (
        HEAD + "@hookimpl\ndef curate_register_reader():\n    yield Provider('reader', 'x', 'X.', 'a:B')",
        r"there is no hook 'curate_register_reader' \(did you mean 'curate_register_readers'\?\)",
    ),
    "a hook of another world": (
        HEAD + "@hookimpl\ndef my_hook():\n    pass",
        r"there is no hook 'my_hook' \(there are curate_register_commands, .*\)",
    ),
    "hook without its mark": (
        HEAD + "def curate_register_readers():\n    yield Provider('reader', 'x', 'X.', 'a:B')",
        r"curate_register_readers is not marked as a hook \(write @hookimpl above it\)",
    ),
    "event without its mark": (
        HEAD + "def curate_run_finished(summary):\n    pass",
        r"curate_run_finished is not marked as a hook \(write @hookimpl above it\)",
    ),
    "hook with arguments": (
        HEAD + "@hookimpl\ndef curate_register_readers(config):\n    return []",
        r"curate_register_readers takes config: registering hooks take no arguments \(write def curate_register_readers\(\):\)",
    ),
    "event with an argument that is not told": (
        HEAD + "@hookimpl\ndef curate_run_finished(sumary):\n    pass",
        r"curate_run_finished takes 'sumary', which the event does not tell \(did you mean 'summary'\?\)",
    ),
}


@pytest.mark.parametrize("what", sorted(BROKEN))
def test_a_broken_plugin_is_explained(what, install, healthy):
    source, reason = BROKEN[what]
    host = Host([install("curate-a", source), healthy])
    plugin = status(host, "curate-a")
    assert plugin.status == "broken"
    assert re.fullmatch(reason, plugin.reason), plugin.reason
    assert plugin.providers == ()
    assert_steady(host)
    host.hook.curate_run_started(name="n", output="o", total_units=1)  # events do not reach it
    with pytest.raises(PluginError) as caught:
        host.find("roi_finder", "curate-a:dots")
    message = f"the ROI finder 'curate-a:dots' is not there: plugin curate-a is broken: {plugin.reason}"
    assert (caught.value.message, caught.value.hint) == (message, "see curate plugins")


def test_a_hook_may_have_nothing_to_offer_today(install):
    """An empty list is an answer (a library is missing, say); only None is a forgotten yield."""
    source = good("curate_a", "dots") + "@hookimpl\ndef curate_register_readers(config=None):\n    return []\n"
    host = Host([install("curate-a", source)])
    assert status(host, "curate-a").status == "loaded", status(host, "curate-a").reason


def test_all_of_a_plugins_providers_or_none(install):
    source = good("curate_a", "dots") + "@hookimpl\ndef curate_register_writers():\n    raise RuntimeError\n"
    host = Host([install("curate-a", source)])
    assert status(host, "curate-a").providers == ()
    assert [o.qualified for o in host.offers("roi_finder") if o.distribution == "curate-a"] == []


def test_all_kinds_of_broken_at_once(install, healthy):
    entries = [install(f"curate-b{i}", source) for i, (source, _) in enumerate(BROKEN.values())]
    host = Host([*entries, healthy])
    assert [p.status for p in host.plugins].count("broken") == len(BROKEN)
    assert_steady(host)


def test_an_entry_point_that_names_nothing(healthy):
    entries = [
        EntryPoint("a", module, f"curate-{i}", "1") for i, module in enumerate(["no_such_package.plugin", "", ".x", "os:path", "a b"])
    ]
    host = Host([*entries, healthy])
    reasons = [p.reason for p in host.plugins if p.status == "broken"]
    assert len(reasons) == 5
    assert reasons[0] == (
        "ModuleNotFoundError: No module named 'no_such_package'"
        "; the entry point 'a' of curate-0 names it: mend it in pyproject.toml, install again"
    )
    assert_steady(host)


def test_one_module_under_two_names(install):
    """The second is refused; the first keeps its providers and its events."""
    source = good("curate_a", "dots") + "SEEN = []\n@hookimpl\ndef curate_run_started(name):\n    SEEN.append(name)\n"
    first = install("curate-a", source)
    host = Host([first, EntryPoint("twin", first.module, "curate-b", "1.0")])
    assert status(host, "curate-a").status == "loaded"
    assert status(host, "curate-b").status == "broken"
    assert status(host, "curate-b").reason == "curate_a.plugin is loaded already, as curate-a:main"
    host.hook.curate_run_started(name="run", output="o", total_units=1)
    assert sys.modules["curate_a.plugin"].SEEN == ["run"]


def test_two_that_claim_one_name(install, healthy):
    host = Host([install("curate-b", good("curate_b", "dots")), install("curate-a", good("curate_a", "dots")), healthy])
    assert [[o.qualified for o in group] for group in host.conflicts()] == [["curate-a:dots", "curate-b:dots"]]
    with pytest.raises(PluginError) as caught:
        host.find("roi_finder", "dots")
    assert str(caught.value) == "2 distributions offer the ROI finder 'dots' (write 'curate-a:dots' or 'curate-b:dots')"
    assert host.find("roi_finder", "curate-b:dots").distribution == "curate-b"
    assert_steady(host)


def test_a_name_of_the_core_is_a_conflict_too(install, healthy):
    host = Host([install("curate-a", good("curate_a", "grid"))])
    with pytest.raises(PluginError, match="write 'curate-a:grid' or 'curate-core:grid'"):
        host.find("roi_finder", "grid")


@pytest.mark.parametrize("named", ["curate-a", "main"])
def test_blocked(named, install):
    host = Host([install("curate-a", "raise RuntimeError")], blocked=[named])
    plugin = status(host, "curate-a")
    assert (plugin.status, plugin.reason, plugin.providers) == ("blocked", "named in CURATE_BLOCK_PLUGINS", ())
    assert "curate_a.plugin" not in sys.modules
    with pytest.raises(PluginError) as caught:
        host.find("reader", "curate-a:x")
    assert caught.value.message == "the reader 'curate-a:x' is not there: plugin curate-a is blocked: named in CURATE_BLOCK_PLUGINS"


def test_names_that_are_not_there(install):
    host = Host([])
    for kind, use, message, hint in [
        ("roi_finder", "gird", "there is no ROI finder 'gird'", "did you mean 'grid'?"),
        ("writer", "quux", "there is no writer 'quux'", "one of 'npy'"),
        ("importer", "yaml", "there is no importer 'yaml'", "no installed plugin brings an importer"),
        ("writer", "grid", "'grid' is a ROI finder, not a writer", ""),
        ("roi_finder", "local", "'local' is an engine, not a ROI finder", ""),
        ("importer", "local", "'local' is an engine, not an importer", ""),
    ]:
        with pytest.raises(PluginError) as caught:
            host.find(kind, use)
        assert (caught.value.message, caught.value.hint) == (message, hint)
    broken = Host([install("curate-a", "raise RuntimeError")])
    perhaps = "a broken plugin may offer it, see curate plugins: curate-a"
    for kind, use, hint in [
        ("roi_finder", "gird", f"did you mean 'grid'? {perhaps}"),
        ("writer", "quux", f"one of 'npy'; {perhaps}"),
        ("importer", "yaml", perhaps),
    ]:
        with pytest.raises(PluginError) as caught:
            broken.find(kind, use)
        assert caught.value.hint == hint


NAMED, MEANT = "the target in plugin.py names it", "it has 'fined': is that meant?"
DERIVE = "write class Finder(RoiFinder)"
CHECK, FREEZE, FINDER = "see curate plugins --check", "decorate it with @attrs.frozen", "curate_a.parts:Finder"
TARGETS = {
    "no module": ("no_such_module:Finder", "", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'", NAMED),
    "no class": ("curate_a.parts:Other", "", "cannot be imported: AttributeError: module 'curate_a.parts' has no attribute 'Other'", CHECK),
    "misspelt class": (
        "curate_a.parts:Fnider",
        "",
        "cannot be imported: AttributeError: module 'curate_a.parts' has no attribute 'Fnider'",
        "did you mean 'Finder' in plugin.py?",
    ),
    "import fails": (FINDER, "raise OSError('disk')", "cannot be imported: OSError: disk (parts.py, line 1)", CHECK),
    "import of a library": (
        FINDER,
        "import attrs\nimport no_such_library",
        "cannot be imported: ModuleNotFoundError: No module named 'no_such_library' (parts.py, line 2)",
        CHECK,
    ),
    "import leaves": (FINDER, "raise SystemExit(3)", "cannot be imported: SystemExit: 3 (parts.py, line 1)", CHECK),
    "no class at all": (FINDER, "Finder = 5", "is not a subclass of curate_core.RoiFinder", DERIVE),
    "wrong base": (FINDER, PARTS.replace("RoiFinder", "Reader"), "is not a subclass of curate_core.RoiFinder", DERIVE),
    "no attrs class": (FINDER, PARTS.replace("@attrs.frozen", ""), "is not an attrs class of its own", FREEZE),
    "inherits attrs": (
        "curate_a.parts:Child",
        PARTS + "\nclass Child(Finder):\n    pass\n",
        "is not an attrs class of its own",
        FREEZE,
    ),
    "hides a method": (
        FINDER,
        PARTS.replace("    def find", "    estimate: int = 3\n\n    def find"),
        "has an option 'estimate', which is a method of every ROI finder",
        "give the option another name",
    ),
    "lacks a method": (FINDER, PARTS.replace("def find", "def fined"), "lacks the method 'find' that every ROI finder has", MEANT),
    "lacks a method altogether": (FINDER, PARTS.replace("def find", "def other"), "lacks the method 'find' that every ROI finder has", ""),
    "takes other arguments": (
        FINDER,
        PARTS.replace("(self, case, context)", "(self, case)"),
        "has a method find(self, case), which is called with (self, case, context)",
        "write def find(self, case, context)",
    ),
    "a method that is none": (
        FINDER,
        PARTS.replace("    def find", "    @property\n    def find"),
        "has a 'find' that is no method",
        "write def find(self, case, context)",
    ),
    "an option without a type": (
        FINDER,
        PARTS.replace("    def find", "    size = attrs.field(default=3)\n\n    def find"),
        "has an option 'size' without a type",
        "write size: int = option(...)",
    ),
    "an option of a type that specs have not": (
        FINDER,
        PARTS.replace("    def find", "    size: int | complex = 3\n\n    def find"),
        "has an option 'size' of type int | complex, which no value of a spec can have",
        "say what it holds, such as dict[str, int] or tuple[float, ...]",
    ),
    "an option whose type is nowhere": (
        FINDER,
        "from __future__ import annotations" + PARTS.replace("    def find", "    size: Sise = 3\n\n    def find"),
        "has an option whose type cannot be found: NameError: name 'Sise' is not defined",
        "import it outside of TYPE_CHECKING",
    ),
}


@pytest.mark.parametrize("what", sorted(TARGETS))
def test_classes_that_break_the_contract(what, install, healthy):
    target, parts, message, hint = TARGETS[what]
    source = good("curate_a", "dots").replace("curate_a.parts:Finder", target)
    host = Host([install("curate-a", source, parts or PARTS), healthy])
    offer = host.find("roi_finder", "dots")
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            host.load(offer)
        assert (caught.value.message, caught.value.where, caught.value.hint) == (f"{target} {message}", "plugin curate-a", hint)
    assert_steady(host)


# ------------------------------------------------------------------------------------------------ discovery


def test_plugins_are_found_by_their_metadata(fake_plugin, monkeypatch):
    monkeypatch.delenv("CURATE_BLOCK_PLUGINS", raising=False)
    fake_plugin("curate-aa", plugin=good("curate_aa", "dots"), parts=PARTS, version="1.2")
    fake_plugin("curate-ab", plugin="raise RuntimeError('out of order')")
    host = default_host()
    assert host is default_host()
    found = status(host, "curate-aa")
    assert (found.name, found.version, found.status, found.editable) == ("toy", "1.2", "loaded", False)
    assert status(host, "curate-ab").reason == "RuntimeError: out of order (plugin.py, line 1)"
    assert host.load(host.find("roi_finder", "dots")).__name__ == "Finder"


@pytest.mark.parametrize("value", ["curate-aa", "toy", " other , curate-aa ,,"])
def test_blocked_by_the_environment(value, fake_plugin, monkeypatch):
    fake_plugin("curate-aa", plugin="raise AssertionError('imported')")
    monkeypatch.setenv("CURATE_BLOCK_PLUGINS", value)
    default_host.cache_clear()
    assert status(default_host(), "curate-aa").status == "blocked"


def test_installed_plugins_come_sorted(fake_plugin):
    for name in ("curate-ac", "curate-aa", "curate-ab"):
        fake_plugin(name, plugin=HEAD)
    ours = [entry for entry in installed_plugins() if entry.distribution in ("curate-aa", "curate-ab", "curate-ac")]
    assert [(e.distribution, e.name, e.module) for e in ours] == [(f"curate-a{c}", "toy", f"curate_a{c}.plugin") for c in "abc"]
    assert installed_plugins() == sorted(installed_plugins(), key=lambda e: (e.distribution, e.name))


@pytest.mark.parametrize(
    ("text", "editable"),
    [
        (json.dumps({"url": "file:///x", "dir_info": {"editable": True}}), True),
        (json.dumps({"url": "file:///x", "dir_info": {}}), False),
        (json.dumps({"url": "https://x", "archive_info": {}}), False),
        ("not JSON", False),
        ("[]", False),
        (json.dumps({"dir_info": 3}), False),
    ],
)
def test_editable_installations_are_known(text, editable, fake_site):
    host_module._is_editable.cache_clear()
    write_package(fake_site, "curate_ed", plugin=HEAD)
    (write_distribution(fake_site, "curate-ed", {"ed": "curate_ed.plugin"}) / "direct_url.json").write_text(text)
    (entry,) = [e for e in installed_plugins() if e.name == "ed"]
    assert entry.editable is editable
    host_module._is_editable.cache_clear()


def test_what_a_failed_installation_left_behind(fake_site):
    """Metadata without a name: listed as unknown, and no reason to stop."""
    info = write_distribution(fake_site, "curate-half", {"half": "curate_half.plugin"})
    (info / "METADATA").unlink()
    empty = write_distribution(fake_site, "curate-empty", {"empty": "curate_empty.plugin"})
    (empty / "METADATA").write_text("")
    host = Host()
    left = [p for p in host.plugins if p.name in ("half", "empty")]
    assert [(p.distribution, p.version, p.status) for p in left] == [("unknown", "0", "broken")] * 2
    assert host.find("roi_finder", "grid")


# -------------------------------------------------------------------------------------------------- readers

READERS = (
    HEAD
    + """
@hookimpl
def curate_register_readers():
    yield Provider("reader", "plain", "P.", "a:B", (".gz", ".nii.gz"))
    yield Provider("reader", "keen", "K.", "a:B", (".gz",), priority=90)
    yield Provider("reader", "long", "L.", "a:B", (".nii.gz",))
    yield Provider("reader", "also", "A.", "a:B", (".nii.gz",))
    yield Provider("reader", "folder", "F.", "a:B", (".zarr/", ".ome.zarr/"))
"""
)


def test_readers_for_a_path(install, tmp_path: Path):
    host = Host([install("curate-a", READERS)])

    def names(path):
        return [offer.provider.name for offer in host.readers_for(path)]

    assert names(tmp_path / "a.nii.gz") == ["keen", "also", "long", "plain"]
    assert names(tmp_path / "A.NII.GZ") == ["keen", "also", "long", "plain"]
    assert names(tmp_path / "a.gz") == ["keen", "plain"]
    assert names(tmp_path / "a.npy") == ["npy"]
    assert names(tmp_path / "a.unknown") == []
    assert names(tmp_path / "a.zarr") == []
    (tmp_path / "a.ome.zarr").mkdir()
    assert names(tmp_path / "a.ome.zarr") == ["folder"]
    (tmp_path / "b.npy").mkdir()
    assert names(tmp_path / "b.npy") == []
