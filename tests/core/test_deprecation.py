"""What goes away warns, with the words that versioning.md promises."""

import logging
import types
from textwrap import dedent

import numpy as np
import pytest

import curate_core
from curate_core import deprecation
from curate_core.deprecation import CurateDeprecationWarning, Moved, deprecated
from curate_core.host import Host
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


def test_a_plain_implementation_may_take_fewer_arguments_than_its_hook():
    """An event may get further arguments without a new API number."""
    heard = []
    listener = types.SimpleNamespace()
    listener.curate_run_started = curate_core.hookimpl(lambda name: heard.append(name))
    host = Host([])
    host.manager.register(listener)
    host.hook.curate_run_started(name="n", output="o", total_units=3)
    assert heard == ["n"]
