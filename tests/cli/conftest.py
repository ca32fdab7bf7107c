"""A spec over two small volumes, of components that the core has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curate_core.cli.main import main


class Desk:
    """A folder with volumes and a spec, and what a command said there."""

    def __init__(self, folder: Path, capsys) -> None:
        self.folder, self.capsys = folder, capsys
        for number in range(2):
            np.save(folder / f"v{number}.npy", np.random.default_rng(number).integers(0, 255, (4, 20, 24), dtype=np.uint8))
        self.spec = {
            "version": 1,
            "name": "desk",
            "source": {"use": "files", "pattern": "{case}.npy"},
            "rois": [{"use": "grid", "size": 8, "planes": ["xy"]}],
            "filter": [{"use": "intensity", "min_mean": 127}],
            "write": [{"use": "npy", "path": "{case}/{roi}.npy"}],
            "output": "out",
            "engine": {"use": "local", "workers": 0},
        }
        self.save()

    @property
    def path(self) -> str:
        return str(self.folder / "spec.json")

    def save(self, **changes) -> None:
        self.spec = {**self.spec, **changes}
        (self.folder / "spec.json").write_text(json.dumps(self.spec))

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr of a command."""
        try:
            code = main([str(word) for word in words])
        except SystemExit as error:
            code = error.code
        said = self.capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def desk(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    return Desk(tmp_path, capsys)


@pytest.fixture
def shell(tmp_path):
    """Runs curate as a process of its own."""

    def run(*words: str, **options):
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
        command = [sys.executable, "-m", "curate_core", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120, check=False, **options)

    return run
