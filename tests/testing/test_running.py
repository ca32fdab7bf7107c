"""``run_spec`` makes the dataset that ``curate run`` makes, with the engine and the listeners that it is given."""

import numpy as np
import pytest

from curate_core.builtin.local import LocalEngine
from curate_core.errors import RequestError
from curate_core.hookspec import hookimpl
from curate_core.testing import run_spec
from curate_core.testing.checks import snapshot

SPEC = {
    "source": {"use": "files", "pattern": "{case}.npy"},
    "rois": [{"use": "grid", "size": [4, 4]}],
    "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
}


class Counting(LocalEngine):
    """Is offered by no plugin, and counts its sessions."""

    opened = 0

    def open(self, work):
        type(self).opened += 1
        return super().open(work)


class Ear:
    def __init__(self):
        self.heard = []

    @hookimpl
    def curate_run_started(self, name):
        self.heard.append(name)


@pytest.fixture(autouse=True)
def image(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(64, dtype=np.uint8).reshape(8, 8), allow_pickle=False)


def test_the_engine_that_is_given_does_the_work(tmp_path):
    plain = run_spec(SPEC, tmp_path)
    other = run_spec({**SPEC, "output": "other"}, tmp_path, engine=Counting(workers=0))
    assert Counting.opened == 1
    assert len(plain) == len(other) == 4
    one, two = ({f: d for f, (d, _) in snapshot(tmp_path / name).items() if f.startswith("a/")} for name in ("out", "other"))
    assert one == two != {}


def test_listeners_hear_one_run(tmp_path):
    ear = Ear()
    run_spec({**SPEC, "name": "first"}, tmp_path, listeners=[ear])
    run_spec({**SPEC, "name": "second", "output": "second"}, tmp_path)
    assert ear.heard == ["first"]


def test_listeners_are_let_go_when_a_run_cannot_be(tmp_path):
    ear = Ear()
    run_spec(SPEC, tmp_path)
    with pytest.raises(RequestError, match="another"):
        run_spec({**SPEC, "name": "another"}, tmp_path, listeners=[ear])
    run_spec({**SPEC, "output": "later"}, tmp_path)
    assert ear.heard == []
