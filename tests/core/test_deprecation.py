"""What goes away warns, with the words that versioning.md promises."""

import json
import logging
import re
import types
from textwrap import dedent

import numpy as np
import pytest

import curate_core
from curate_core import deprecation
from curate_core.cli.main import main
from curate_core.deprecation import CurateDeprecationWarning, Moved, deprecated
from curate_core.host import Host
from curate_core.plan import check
from curate_core.schema import spec_schema
from curate_core.spec import load

PLUGIN = """
    from curate_core import Provider, hookimpl

    CURATE_HOOK_API = 1

    @hookimpl
    def curate_register_roi_finders():
        yield Provider("roi_finder", "old-tiles", "Tiles.", "curate_old.rois:OldTiles", deprecated="use grid; goes in 0.4")
        yield Provider("roi_finder", "tiles", "Tiles.", "curate_old.rois:OldTiles")
"""
ROIS = """
    from attrs import frozen
    from curate_core import RoiFinder, RoiTable, option

    @frozen
    class OldTiles(RoiFinder):
        '''Tiles.'''

        size: int = option(doc="Voxels.", default=2)
        edge: int = option(doc="Voxels.", default=2, deprecated="use size; goes in 0.4")

        def find(self, case, context):
            return RoiTable.boxes([[0, 0]], [[self.size, self.size]], "yx")
"""


def test_a_function_warns_at_the_line_of_the_call():
    @deprecated("0.2", "0.4", "use double")
    def twice(number):
        """Twice the number."""
        return 2 * number

    with pytest.warns(CurateDeprecationWarning) as caught:
        assert twice(4) == 8
    [warning] = caught
    assert str(warning.message).endswith("twice is deprecated since curate 0.2 and goes in 0.4: use double")
    assert warning.filename == __file__
    assert twice.__doc__ == "Twice the number."


def test_a_name_of_the_package_warns_at_the_line_that_asks(monkeypatch):
    entry = Moved("curate_core.grid:Grid", "0.2", "0.4", "use curate_core.Grid")
    monkeypatch.setattr(deprecation, "NAMES", {"Lattice": entry})
    with pytest.warns(CurateDeprecationWarning, match="curate_core.Lattice is deprecated since curate 0.2 and goes in 0.4") as caught:
        assert curate_core.Lattice is curate_core.Grid
    assert caught[0].filename == __file__
    with pytest.raises(AttributeError, match="module 'curate_core' has no attribute 'Nothing'"):
        _ = curate_core.Nothing


def test_every_deprecated_name_stands_for_something():
    for name in deprecation.NAMES:
        assert name not in curate_core.__all__
        with pytest.warns(CurateDeprecationWarning):
            getattr(curate_core, name)


@pytest.fixture
def host(fake_plugin):
    made = Host([fake_plugin("curate-old", plugin=dedent(PLUGIN), rois=dedent(ROIS))])
    assert made.plugins[-1].status == "loaded", made.plugins[-1].reason
    return made


def spec(tmp_path, *rois):
    np.save(tmp_path / "a.npy", np.zeros((4, 4), np.uint8))
    common = {"version": 1, "name": "old", "output": "out", "write": [{"use": "npy"}]}
    return {**common, "source": {"use": "files", "pattern": "{case}.npy"}, "rois": list(rois)}


def test_a_spec_is_told_of_components_and_options(tmp_path, host, caplog):
    with caplog.at_level(logging.WARNING, "curate"):
        load(spec(tmp_path, {"use": "old-tiles"}, {"use": "tiles", "edge": 3}), host, folder=tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "spec: rois.0.use: 'old-tiles' is deprecated: use grid; goes in 0.4",
        "spec: rois.1.edge: this option is deprecated: use size; goes in 0.4",
    ]


def test_a_spec_that_uses_neither_is_told_nothing(tmp_path, host, caplog):
    with caplog.at_level(logging.WARNING, "curate"):
        load(spec(tmp_path, {"use": "tiles", "size": 3}), host, folder=tmp_path)
    assert caplog.records == []


def test_a_run_tells_once_however_many_workers(tmp_path, host, caplog):
    with caplog.at_level(logging.WARNING, "curate"):
        curate_core.run({**spec(tmp_path, {"use": "old-tiles"}), "engine": {"use": "local", "workers": 0}}, host=host, folder=tmp_path)
    assert len(caplog.records) == 1


def test_editors_see_it(host):
    schema, _ = spec_schema(host)
    edge = schema["$defs"]["roi_finder.curate-old:tiles"]["properties"]["edge"]
    assert edge["deprecated"] is True
    assert edge["description"] == "Voxels. Deprecated: use size; goes in 0.4"
    assert "deprecated" not in schema["$defs"]["roi_finder.curate-old:tiles"]["properties"]["size"]
    old = schema["$defs"]["roi_finder.curate-old:old-tiles"]
    assert (old["deprecated"], old["description"]) == (True, "Tiles. Deprecated: use grid; goes in 0.4")
    assert "deprecated" not in schema["$defs"]["roi_finder.curate-old:tiles"]


OTHERS = """
    from curate_core import Provider, hookimpl

    CURATE_HOOK_API = 1
    GONE = "use new; goes in 0.4"

    @hookimpl
    def curate_register_readers():
        yield Provider("reader", "old-raw", "Bytes.", "curate_elder.parts:Raw", suffixes=(".raw",), deprecated=GONE)

    @hookimpl
    def curate_register_importers():
        yield Provider("importer", "old-lab", "A lab's settings.", "curate_elder.parts:Lab", deprecated=GONE)

    @hookimpl
    def curate_register_commands():
        yield Provider("command", "old-count", "Counts.", "curate_elder.parts:Count", deprecated=GONE)
"""
PARTS = """
    import numpy as np
    from attrs import frozen
    from curate_core import Command, Grid, Image, Importer, Reader

    @frozen
    class Raw(Reader):
        '''Sixteen bytes.'''

        def open(self, source, context):
            return Image(np.fromfile(source.files[0], np.uint8).reshape(4, 4), Grid.from_spacing((4, 4), "yx"))

        def faults(self, path):
            return []

    @frozen
    class Lab(Importer):
        '''A lab's settings.'''

        def convert(self, text, folder):
            common = {"version": 1, "name": "lab", "output": "out", "write": [{"use": "npy"}]}
            return {**common, "source": {"use": "files", "pattern": "{case}.raw"}, "rois": [{"use": "whole"}]}

    @frozen
    class Count(Command):
        '''Counts.'''

        def add_arguments(self, parser):
            pass

        def run(self, arguments):
            return 0
"""


@pytest.fixture
def elder(fake_plugin, monkeypatch):
    """A host with a reader, an importer and a command that go away; the commands' own host as well."""
    made = Host([fake_plugin("curate-elder", plugin=dedent(OTHERS), parts=dedent(PARTS))])
    assert made.plugins[-1].status == "loaded", made.plugins[-1].reason
    monkeypatch.setattr("curate_core.host.default_host", lambda: made)
    monkeypatch.setattr("curate_core.cli.foreign.default_host", lambda: made)
    return made


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A folder, the current one, with three cases and a spec that leaves their reader to ``auto``."""
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        (tmp_path / f"{name}.raw").write_bytes(bytes(range(16)))
    common = {"version": 1, "name": "raw", "output": "out", "write": [{"use": "npy"}], "rois": [{"use": "whole"}]}
    return {**common, "source": {"use": "files", "pattern": "{case}.raw"}}


def said(caplog):
    """What the log holds, which is emptied."""
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return lines


TAKEN = "read: auto takes 'curate-elder:old-raw' for image: it is deprecated: use new; goes in 0.4"


@pytest.mark.parametrize("read", [{}, {"*": {"use": "auto"}}])
def test_a_reader_that_is_taken_by_its_suffix_is_told_once_a_run(raw, elder, caplog, read):
    curate_core.run({**raw, "read": read, "engine": {"use": "local", "workers": 2}}, host=elder)
    assert said(caplog) == [TAKEN]
    curate_core.run({**raw, "read": read}, host=elder)  # everything is up to date, and what the dataset rests on goes away
    assert said(caplog) == [TAKEN]
    assert check(load({**raw, "read": read}, elder), elder).problems == ()
    assert said(caplog) == [TAKEN]


def test_a_reader_that_is_named_is_told_where_it_is_named_and_not_again(raw, elder, caplog):
    spec = {**raw, "read": {"*": {"use": "old-raw"}}}
    curate_core.run({**spec, "engine": {"use": "local", "workers": 0}}, host=elder)
    named = "spec: read.*.use: 'old-raw' is deprecated: use new; goes in 0.4"
    assert said(caplog) == [named]
    check(load(spec, elder), elder)
    assert said(caplog) == [named]


def test_a_reader_is_not_told_of_that_no_file_takes(raw, elder, caplog):
    np.save("a.npy", np.zeros((4, 4), np.uint8))
    curate_core.run({**raw, "source": {"use": "files", "pattern": "{case}.npy"}, "engine": {"use": "local", "workers": 0}}, host=elder)
    assert said(caplog) == []


@pytest.mark.parametrize("command", ["info", "verify"])
def test_commands_that_read_a_file_tell(raw, elder, caplog, command):
    assert main([command, "a.raw"]) == 0
    assert said(caplog) == [f"curate {command}: 'old-raw' is deprecated: use new; goes in 0.4"]


def test_why_says_it_beside_the_reader(raw, elder, capsys, caplog):
    assert main(["why", "a.raw"]) == 0
    assert "takes it (deprecated: use new; goes in 0.4)" in capsys.readouterr().out
    assert said(caplog) == []


def test_an_importer_and_a_command_tell_once(raw, elder, tmp_path, caplog):
    (tmp_path / "lab.txt").touch()
    assert main(["import", "old-lab", "lab.txt", "-o", "spec.json"]) == 0
    assert said(caplog) == ["curate import: 'old-lab' is deprecated: use new; goes in 0.4"]
    assert main(["old-count"]) == 0
    assert said(caplog) == ["curate: 'old-count' is deprecated: use new; goes in 0.4"]


def test_the_list_of_plugins_says_it(elder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["plugins"]) == 0
    assert "old-count  Counts. Deprecated: use new; goes in 0.4" in re.sub(r" {2,}", "  ", capsys.readouterr().out)
    assert main(["plugins", "--json"]) == 0
    rows = {row["distribution"]: row for row in json.loads(capsys.readouterr().out)["plugins"]}
    assert {p["name"]: p["deprecated"] for p in rows["curate-elder"]["components"]}["old-lab"] == "use new; goes in 0.4"
    assert {p["deprecated"] for p in rows["curate-core"]["components"]} == {""}


def test_a_plain_implementation_may_take_fewer_arguments_than_its_hook():
    """An event may get further arguments without a new API number."""
    heard = []
    listener = types.SimpleNamespace()
    listener.curate_run_started = curate_core.hookimpl(lambda name: heard.append(name))
    host = Host([])
    host.manager.register(listener)
    host.hook.curate_run_started(name="n", output="o", total_units=3)
    assert heard == ["n"]
