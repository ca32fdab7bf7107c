"""A folder of small volumes with a spec that is run again and again, and a plugin whose code and version can be changed between runs.

Tests take it by ``runpy``: they are no package.
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from curate_core import digest, host
from curate_core.dataset import Dataset
from curate_core.hookspec import hookimpl
from curate_core.plan import make_plan
from curate_core.runner import run
from curate_core.spec import load
from curate_core.testing.fixtures import write_distribution

PLUGIN = '''
"""Steps for tests of keys."""

import os
import signal
from typing import ClassVar

import numpy as np
from attrs import frozen

from curate_core import Grid, Image, Scope, option
from curate_core.hookspec import hookimpl
from curate_core.kinds import Filter, Reader, Transform, Verdict
from curate_core.providers import Provider

CURATE_HOOK_API = 1


@hookimpl
def curate_register_readers():
    yield Provider("reader", "headed", "Voxels beside a header.", "keytoys:Headed", suffixes=(".head",))


@hookimpl
def curate_register_transforms():
    yield Provider("transform", "shift", "Adds a number.", "keytoys:Shift")


@hookimpl
def curate_register_filters():
    yield Provider("filter", "unique", "One sample for each largest value.", "keytoys:Unique")


@frozen
class Headed(Reader):
    """A text file that names the .npy file of its voxels."""

    def open(self, source, context):
        array = np.load(self.companions(source.files[0])[0], mmap_mode="r", allow_pickle=False)
        return Image(array, Grid.from_spacing(array.shape, "zyx"))

    def companions(self, path):
        return (path.parent / path.read_text().strip(),)


@frozen
class Shift(Transform):
    """Adds a number; where the environment says so, ends the process at a case."""

    version: ClassVar[int] = VERSION
    by: int = option(doc="What to add.", default=1)

    def apply(self, batch, context):
        if os.environ.get("KEYTOYS_KILL") == context.case:
            os.kill(os.getpid(), signal.SIGKILL)
        for name in list(batch.arrays):
            batch = batch.with_array(name, batch.arrays[name] + np.uint16(self.by + ADDED))
        return batch


@frozen
class Unique(Filter):
    """Keeps one sample for each largest value of the first array."""

    within: Scope = option(doc="Among which samples.", default=Scope("case"))

    def scope(self):
        return self.within

    def score(self, batch, context):
        values = batch.arrays[next(iter(batch.arrays))]
        return {"value": values.reshape(len(batch), -1).max(axis=1)}

    def keep(self, features, context):
        values = features.columns["value"]
        order = np.argsort(~features.existing, kind="stable")
        _, first, inverse = np.unique(values[order], return_index=True, return_inverse=True)
        winner = order[first][inverse][np.argsort(order)]
        keep = winner == np.arange(len(values))
        return Verdict(keep, values.astype(float), np.where(keep, -1, winner))
'''


def install_plugin(folder: Path, *, version: int = 1, added: int = 0, editable: bool = False, release: str = "1.0") -> None:
    """Put the plugin into a folder on ``sys.path``, as pip leaves it, and forget what was imported of an earlier one."""
    for old in [*folder.glob("keytoys*"), *folder.glob("__pycache__")]:  # compiled code is known by seconds and size
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    (folder / "keytoys.py").write_text(f"VERSION, ADDED = {version}, {added}\n{PLUGIN}")
    info = write_distribution(folder, "keytoys", {"keytoys": "keytoys"}, release)
    if editable:
        (info / "direct_url.json").write_text(json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}}))
    forget_plugin()


def forget_plugin() -> None:
    """What a new process would not know."""
    sys.modules.pop("keytoys", None)
    for cached in (host.default_host, host._is_editable, digest.code_digest):
        cached.cache_clear()


class Heard:
    """The units of one run: (what was done, case)."""

    def __init__(self) -> None:
        self.units: set[tuple[str, str]] = set()
        self.hashed: set[str] = set()
        self.rounds: list[str] = []

    @hookimpl
    def curate_round_started(self, title):
        self.rounds.append(title)

    @hookimpl
    def curate_unit_finished(self, outcome):
        if isinstance(outcome.value, list):
            self.units |= {(record.stage, record.case) for record in outcome.value}
        for path, _ in getattr(outcome.value, "files", ()):
            self.hashed.add(Path(path).name)

    def by_stage(self) -> dict[str, str]:
        """Stage -> ids of its cases, which have one letter, in order."""
        return {stage: "".join(sorted(case for s, case in self.units if s == stage)) for stage, _ in sorted(self.units)}


class Lab:
    """A folder with sources and a spec.

    Three cases in two groups, each with a layer ``em``; the first two also have ``mask``.
    """

    def __init__(self, folder: Path, **spec) -> None:
        self.folder = folder
        self.spec = {
            "version": 1,
            "name": "lab",
            "source": {"use": "files", "pattern": "data/{group}/{case}.{layer}.npy"},
            "rois": [{"use": "grid", "size": 8, "planes": ["xy"]}],
            "write": [{"use": "npy", "path": "{case}/{array}/{roi}.npy"}],
            "output": "out",
            "engine": {"use": "local", "workers": 0},
            **spec,
        }
        for number, name in enumerate(("one/a", "one/b", "two/c")):
            self.add(name, number)
        for number, name in enumerate(("one/a", "one/b")):
            self.add(name, 10 + number, "mask")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def file(self, name: str, layer: str = "em") -> Path:
        return self.data / f"{name}.{layer}.npy"

    def add(self, name: str, seed: int, layer: str = "em") -> Path:
        """A volume of 3 x 16 x 24 voxels: 18 tiles of 8 x 8."""
        path = self.file(name, layer)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.random.default_rng(seed).integers(0, 400, (3, 16, 24), dtype=np.uint16), allow_pickle=False)
        return path

    def run(self, spec=None, **options):
        """Run; returns what was heard, with the summary."""
        heard = Heard()
        heard.summary = run({**self.spec, **(spec or {})}, folder=self.folder, listeners=[heard], **options)
        return heard

    def plan(self, spec=None, **options):
        loaded = load({**self.spec, **(spec or {})}, host.default_host(), folder=self.folder)
        return make_plan(loaded, host.default_host(), **options)

    def reasons(self, spec=None) -> dict[str, str]:
        """Reason -> ids of the cases that it is given for."""
        found: dict[str, str] = {}
        for unit in self.plan(spec).units:
            found[unit.why] = found.get(unit.why, "") + unit.label
        return found

    def tree(self, out: Path | None = None) -> dict[str, str]:
        """Hash of every file of the dataset, what curate keeps for itself left out."""
        out = out or self.out
        files = (p for p in sorted(out.rglob("*")) if p.is_file() and ".curate" not in p.relative_to(out).parts)
        return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    def fresh(self, spec=None) -> dict[str, str]:
        """What a run into a new folder gives."""
        out = self.folder / "fresh"
        shutil.rmtree(out, ignore_errors=True)
        self.run(spec, output=out)
        return self.tree(out)

    def open(self):
        return Dataset(self.out)

    def environment(self) -> dict[str, str]:
        """For subprocesses: what is importable here is importable there."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
