"""The contracts' own behaviour: randomness from keys, scopes, contexts, materialised layers."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from attrs import frozen

from curate_core import context as context_module
from curate_core import kinds
from curate_core.arrays import MapArray
from curate_core.kinds import (
    CASE,
    DATASET,
    KINDS,
    SAMPLE,
    Context,
    Features,
    LayerSource,
    Reader,
    Scope,
    Worker,
    Writer,
    WriteSession,
    generator,
)
from curate_core.model import CaseSource


def test_a_generator_depends_on_its_key_alone():
    first = generator(0, "random", "p1", "id").integers(0, 1 << 62, 5).tolist()
    np.random.default_rng(5).random(100)
    assert generator(0, "random", "p1", "id").integers(0, 1 << 62, 5).tolist() == first
    for other in ((1, "random", "p1", "id"), (0, "limit", "p1", "id"), (0, "random", "p2", "id"), (0, "random", "p1id", "")):
        assert generator(*other).integers(0, 1 << 62, 5).tolist() != first


def test_the_generator_is_the_documented_one():
    """SHA-256 of the key, first 16 bytes, seeds a PCG64: datasets made today can be made again."""
    seed = int.from_bytes(hashlib.sha256(b"7\x1fgrid\x1fcase").digest()[:16], "little")
    expected = np.random.Generator(np.random.PCG64(seed)).random(4)
    np.testing.assert_array_equal(generator(7, "grid", "case").random(4), expected)
    np.testing.assert_array_equal(Context("grid", 7, "case").rng().random(4), expected)


def test_the_same_draws_in_another_process():
    code = "from curate_core.kinds import generator; print(generator('a', 1).integers(0, 1 << 62, 3).tolist())"
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{generator('a', 1).integers(0, 1 << 62, 3).tolist()}\n"}


def test_scopes_group_cases():
    one, two, none = CaseSource("a", {}, {"scan": 1}), CaseSource("b", {}, {"scan": "1"}), CaseSource("c")
    assert [CASE.group(c) for c in (one, two)] == ["a", "b"]
    assert [SAMPLE.group(c) for c in (one, two)] == ["a", "b"]
    assert {DATASET.group(c) for c in (one, two, none)} == {""}
    groups = [Scope("attribute", "scan").group(c) for c in (one, two, none)]
    assert groups == ["scan=1", "scan='1'", "scan=None"]


def test_rejected_samples_are_remembered():
    context = Context("step", 0)
    context.reject(np.int64(3), "too dark")
    assert context.rejected == {3: "too dark"}
    assert Context("step", 0).rejected == {}


@pytest.mark.parametrize("shape", [(40, 7, 5), (3,), (0, 4), ()])
@pytest.mark.parametrize("dtype", ["uint8", ">i2", "float32", "bool"])
def test_materialised_layers_equal_what_they_come_from(tmp_path, monkeypatch, shape, dtype):
    values = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    monkeypatch.setattr(context_module, "slabs", lambda array: small_slabs(array))
    calls = []

    def twice(array):
        calls.append(array.shape)
        return array

    lazy = MapArray(values, twice, dtype)
    for folder in (None, tmp_path / "new" / "folder"):
        context = Context("resample#1", 0, folder=folder)
        made = context.materialise("ct", lazy)
        assert made.dtype.newbyteorder("=") == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(np.asarray(made), values)
    seen = len(calls)
    again = Context("resample#1", 0, folder=tmp_path / "new" / "folder").materialise("ct", lazy)
    np.testing.assert_array_equal(np.asarray(again), values)
    assert len(calls) == seen  # read from where it was kept
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["resample+1.ct.npy"]
    if values.size:
        with pytest.raises(ValueError, match="read-only"):
            again[...] = 0


def small_slabs(array):
    from curate_core.arrays import slabs

    return slabs(array, 64)


def test_an_interrupted_materialisation_leaves_nothing(tmp_path):
    def fail(array):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Context("step", 0, folder=tmp_path).materialise("ct", MapArray(np.zeros((4, 4)), fail, "float64"))
    assert not list(tmp_path.glob("*.npy"))
    values = Context("step", 0, folder=tmp_path).materialise("ct", np.ones((4, 4)))
    np.testing.assert_array_equal(np.asarray(values), np.ones((4, 4)))


def test_contracts_cannot_be_used_bare():
    for cls in KINDS.values():
        with pytest.raises(TypeError, match="abstract"):
            cls()


@frozen
class Minimal(Reader):
    """Nothing but what it must have."""

    def open(self, source, context):
        raise NotImplementedError


def test_defaults(tmp_path: Path):
    reader = Minimal()
    (tmp_path / "a").write_bytes(b"12345")
    assert reader.sniff(tmp_path / "a") is None
    assert reader.resident(LayerSource([tmp_path / "a", tmp_path / "gone"])) == 5
    assert reader.estimate(100) == 200
    assert reader.setup(Worker()) is None
    assert Minimal.version == 1
    assert Worker() == Worker(0, "cpu")
    assert len(Features({}, np.zeros(3, bool), str)) == 3
    for name in ("assembles", "unique_in_case"):
        assert getattr(Writer, name)(None) is False


def test_a_session_is_closed_even_after_an_error():
    closed = []

    class Session(WriteSession):
        def write(self, batch):
            raise RuntimeError

        def close(self):
            closed.append(1)

    with pytest.raises(RuntimeError), Session() as session:
        session.write(None)
    assert closed == [1]


def test_all_names_are_there():
    assert all(hasattr(kinds, name) for name in kinds.__all__)
