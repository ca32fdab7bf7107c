"""Code that changes under a run."""

import numpy as np
import pytest

import curate_core
from curate_core.errors import RunError
from curate_core.testing import values
from curate_core.unit import Bench


def test_a_result_that_was_not_asked_for_stops_the_run(tmp_path, monkeypatch):
    """Workers whose code changed compute other keys: without an end, the same units would be done again and again."""
    np.save(tmp_path / "a.npy", values((4, 16, 16)))
    spec = {
        "version": 1,
        "name": "x",
        "source": {"use": "files", "pattern": "{case}.npy"},
        "rois": [{"use": "grid", "size": 8, "planes": ["xy"]}],
        "write": [{"use": "npy"}],
        "output": "out",
    }
    do = Bench.do
    monkeypatch.setattr(Bench, "do", lambda self, task: do(self, task) if task.stage is None else [])
    with pytest.raises(RunError, match=r"case a: a worker gave another result than was asked for: the code of a component.*it continues"):
        curate_core.run(spec, folder=tmp_path, workers=0)
    monkeypatch.undo()
    assert curate_core.run(spec, folder=tmp_path, workers=0).written == 16
