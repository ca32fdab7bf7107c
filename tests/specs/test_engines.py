"""The shipped specs give the same bytes on every engine and by shards, and a worker that dies costs nothing on any of them."""

import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curate_core.dataset import Dataset
from curate_core.errors import WaitError
from curate_core.host import installed_plugins
from curate_core.runner import commit, run, run_shard
from curate_core.testing import values
from curate_core.testing.fixtures import write_distribution

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "plugins/curate-dask/tests"
SPECS = ("em/patchify3d", "pet/npy", "tomo/complex", "tomo/paired", "tomo/mask")
NEEDED = {"curate-dask", "curate-em", "curate-hdf5", "curate-nifti", "curate-pet", "curate-tiff", "curate-tomo"}
MISSING = sorted(NEEDED - {entry.distribution for entry in installed_plugins()})
ENGINES = {
    "local": {"use": "local", "workers": 2},
    "one worker": {"use": "dask", "workers": 1},
    "two workers": {"use": "dask", "workers": 2},
    "a cluster that runs": {"use": "dask"},
    "slurm": {"use": "slurm", "memory": "1 GB", "host": "127.0.0.1", "maximum": 2},
}
of_each_engine = pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=[pytest.mark.slurm] if name == "slurm" else []) for name in ENGINES]
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"without {', '.join(MISSING)}")]


@pytest.fixture(scope="module")
def slurm():
    found = runpy.run_path(str(TESTS / "slurm_daemons.py"))
    if reason := found["why_not"]():
        pytest.skip(reason)
    with found["at_hand"]() as daemons:
        yield daemons


@pytest.fixture(scope="module")
def cluster():
    with runpy.run_path(str(TESTS / "dask_processes.py"))["running"]("", "") as address:
        yield address


@pytest.fixture
def options(request, engine):
    """The engine as a spec has it; what it needs runs."""
    if engine == "slurm":
        request.getfixturevalue("slurm")
    return {**ENGINES[engine], **({"scheduler": request.getfixturevalue("cluster")} if engine == "a cluster that runs" else {})}


def tree(out):
    """Hash of every file of a dataset, what curate keeps for itself left out."""
    files = (p for p in sorted(out.rglob("*")) if p.is_file() and ".curate" not in p.relative_to(out).parts)
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module", params=SPECS)
def sample(request, tmp_path_factory):
    """A shipped spec on the small data of its recipe, and what the calling process makes of it."""
    folder = tmp_path_factory.mktemp(request.param.replace("/", "_"))
    (folder / "data").mkdir()
    recipe = ROOT / "tests/specs/recipes" / f"{request.param.replace('/', '_')}.py"
    settings = runpy.run_path(str(recipe))["recipe"](folder / "data")
    path = ROOT / "specs" / f"{request.param}.json"
    run(path, settings=settings, output=folder / "reference", workers=0)
    assert len(Dataset(folder / "reference")) > 0
    return folder, path, settings


@of_each_engine
def test_the_same_bytes(sample, engine, options):
    folder, path, settings = sample
    run(path, settings=[*settings, f"engine={json.dumps(options)}"], output=folder / engine)
    assert tree(folder / engine) == tree(folder / "reference")


def test_seven_shards(sample):
    folder, path, settings = sample
    common = {"settings": settings, "output": folder / "shards"}
    for _ in range(8):
        for shard in (3, 1, 7, 2, 6, 5, 4):
            assert run_shard(path, f"{shard}/7", workers=0, **common).exit_code in (0, 4)
        try:
            commit(path, **common)
            break
        except WaitError:
            continue
    assert tree(folder / "shards") == tree(folder / "reference")


@of_each_engine
def test_a_worker_that_is_killed_costs_nothing(engine, options, tmp_path, monkeypatch):
    """In the middle of a unit: the unit is done again, by another."""
    toys = ROOT / "tests/builtin"
    write_distribution(tmp_path / "site", "engine-toys", {"engine-toys": "engine_toys"})
    known = os.pathsep.join([str(tmp_path / "site"), str(toys), *filter(None, sys.path)])
    if engine == "a cluster that runs":  # its workers know no toys
        cluster = runpy.run_path(str(TESTS / "dask_processes.py"))["running"]
        monkeypatch.setattr(sys, "path", known.split(os.pathsep))
    for case in "abcd":
        np.save(tmp_path / f"{case}.npy", values((3, 16, 16), "uint16", case), allow_pickle=False)
    spec = {
        "version": 1, "name": "killed", "source": {"use": "files", "pattern": "{case}.npy"}, "rois": [{"use": "grid", "size": 8, "planes": ["xy"]}],
        "transform": [{"use": "accident", "case": "b", "once": "killed"}], "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
    }  # fmt: skip

    def curate(output, **engine):
        (tmp_path / "spec.json").write_text(json.dumps({**spec, "engine": engine, "output": output}))
        command = [sys.executable, "-m", "curate_core", "run", "spec.json"]
        done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": known}, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    if engine == "a cluster that runs":
        with cluster("", "") as address:
            curate("out", use="dask", scheduler=address)
    else:
        curate("out", **options)
    assert (tmp_path / "killed").exists()
    curate("again", use="local", workers=0)
    assert tree(tmp_path / "out") == tree(tmp_path / "again")
