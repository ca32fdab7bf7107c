"""A folder of small volumes, and the toy plugin installed for this process and its workers."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

import curate_core
from curate_core.host import default_host
from curate_core.runner import run
from curate_core.testing.fixtures import write_distribution


@pytest.fixture(autouse=True)
def toys(tmp_path_factory, monkeypatch):
    """The toy plugin, discoverable as an installed one."""
    folder = tmp_path_factory.mktemp("installed")
    write_distribution(folder, "toys", {"toys": "toys"})
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    default_host.cache_clear()
    yield
    default_host.cache_clear()
    sys.modules.pop("toys", None)


class Lab:
    """A folder with sources and a spec that can be run again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self.out = folder / "out"
        self.spec = {
            "version": 1,
            "name": "toys",
            "source": {"use": "toy-files", "folder": "data"},
            "rois": [{"use": "toy-grid"}],
            "write": [{"use": "toy-file"}],
            "output": "out",
            "engine": {"use": "local", "workers": 0},
        }
        for number, name in enumerate(("a1", "a2", "b1")):
            self.add(name, number)

    def add(self, name: str, seed: int) -> None:
        values = np.random.default_rng(seed).integers(1, 3000, (6, 32, 40), dtype=np.uint16)
        with (self.data / f"{name}.toy").open("wb") as file:
            np.save(file, values)

    def run(self, *, spec=None, **options):
        return run({**self.spec, **(spec or {})}, folder=self.folder, **options)

    def open(self):
        return curate_core.open(self.out)

    def tree(self, out: Path | None = None) -> dict[str, str]:
        """Hash of every file of the dataset, what curate keeps for itself left out."""
        out = out or self.out
        files = (p for p in sorted(out.rglob("*")) if p.is_file() and ".curate" not in p.relative_to(out).parts)
        return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)
