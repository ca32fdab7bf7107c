"""The same spec gives the same bytes: for any number of workers, any order of completion, another hash seed, locale, time zone, umask,
working folder and date; and a case gives the same samples whether it is alone or among others.

Every spec under ``specs/`` is found here by itself. One whose data are not in the repository needs a recipe: a module
``tests/specs/recipes/<folder>_<name>.py`` (``recipes/em_patchify3d.py`` for ``specs/em/patchify3d.json``) with a function
``recipe(folder)`` that makes small data in an empty folder, of at least two cases where it can, and returns the ``--set`` overrides that lead
there and keep the run short.
"""

import ast
import functools
import hashlib
import inspect
import json
import os
import random
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate_core.cut import BLOCK_ROWS
from curate_core.dataset import Dataset
from curate_core.errors import PluginError, RequestError, WaitError
from curate_core.host import EntryPoint, Host, default_host, installed_plugins
from curate_core.preflight import find_cases
from curate_core.runner import commit, run, run_shard
from curate_core.spec import load
from curate_core.stages import derive
from curate_core.testing.fixtures import write_package

laboratory = runpy.run_path(str(Path(__file__).with_name("laboratory.py")))
ROOT = Path(__file__).parents[2]
SPECS = {
    path.relative_to(ROOT / "specs").with_suffix("").as_posix(): path
    for path in sorted((ROOT / "specs").rglob("*.json"))
    if path.name not in ("curate.schema.json", "spec_template.json")  # the latter is a form of another system
}
SHUFFLED = '''
"""An engine that does units in this process, in a seeded random order, and reports them in another."""

import random

from attrs import frozen

from curate_core import option
from curate_core.hookspec import hookimpl
from curate_core.kinds import Engine, EngineSession, Outcome, Worker
from curate_core.providers import Provider

CURATE_HOOK_API = 1


@hookimpl
def curate_register_engines():
    yield Provider("engine", "shuffled", "In any order.", "shuffled_engine.plugin:Shuffled")


@frozen
class Shuffled(Engine):
    """In any order."""

    seed: int = option(doc="Which order.", default=0)
    workers: int = option(doc="Not used.", default=0)

    def open(self, work):
        return Session(work, random.Random(self.seed))


class Session(EngineSession):
    def __init__(self, work, random):
        self.work, self.random = work, random

    def run(self, units):
        waiting, done = list(units), []
        self.random.shuffle(waiting)
        while waiting or done:
            if waiting and (not done or self.random.random() < 0.6):
                unit = waiting.pop()
                try:
                    done.append(Outcome(unit, "done", self.work(unit, Worker(self.random.randrange(9)))))
                except Exception as error:
                    done.append(Outcome(unit, "failed", None, error))
            else:  # the last to end may be told first, or last
                yield done.pop(self.random.randrange(len(done)))

    def run_alone(self, unit):
        return next(self.run([unit]))
'''


def tree(out: Path) -> dict[str, str]:
    """Hash of every file of a dataset, what curate keeps for itself left out."""
    files = (p for p in sorted(out.rglob("*")) if p.is_file() and ".curate" not in p.relative_to(out).parts)
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


class Sample:
    """A shipped spec with its data, and what one process made of it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.path, self.folder = name, SPECS[name], folder
        (folder / "data").mkdir()
        recipe = ROOT / "tests/specs/recipes" / f"{name.replace('/', '_')}.py"
        self.settings = runpy.run_path(str(recipe))["recipe"](folder / "data") if recipe.exists() else []
        self.spec = load(self.path, default_host(), self.settings)
        try:
            self.cases = [case.id for case in find_cases(self.spec)]
        except RequestError as error:
            pytest.fail(f"specs/{name}.json has no data ({error}): make some in tests/specs/recipes/{recipe.name}", pytrace=False)
        self.run("reference")
        self.reference = tree(folder / "reference")

    def run(self, out: str, *settings: str, workers: int | None = 0, **options):
        return run(self.path, settings=[*self.settings, *settings], output=self.folder / out, workers=workers, **options)


@functools.cache
def reason_to_skip() -> str:
    """Specs need all plugins of the repository; where one is not installed, only what it brings can be missing."""
    missing = sorted({path.name for path in ROOT.glob("plugins/curate-*")} - {entry.distribution for entry in installed_plugins()})
    return f"without {', '.join(missing)}" if missing else ""


_samples: dict[str, Sample] = {}


@pytest.fixture(params=sorted(SPECS))
def sample(request, tmp_path_factory):
    name = request.param
    if name not in _samples:
        try:
            _samples[name] = Sample(name, tmp_path_factory.mktemp(name.replace("/", "_")))
        except (PluginError, RequestError) as error:
            if "there is no" in str(error) and reason_to_skip():
                pytest.skip(reason_to_skip())
            raise
    return _samples[name]


@pytest.fixture
def shuffled(tmp_path, monkeypatch):
    """The installed plugins, and the engine that shuffles."""
    folder = tmp_path / "engines"
    write_package(folder, "shuffled_engine", plugin=SHUFFLED)
    monkeypatch.syspath_prepend(str(folder))
    yield Host([*installed_plugins(), EntryPoint("shuffled", "shuffled_engine.plugin", "shuffled-engine", "1.0")])
    for name in [name for name in sys.modules if name.partition(".")[0] == "shuffled_engine"]:
        del sys.modules[name]


def test_a_spec_makes_samples(sample):
    assert len(Dataset(sample.folder / "reference")) > 0
    assert len(list(Dataset(sample.folder / "reference").quarantined())) == 0


def test_units_may_end_in_any_order_at_any_date(sample, shuffled, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1e9 + random.random())
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    sample.run("shuffled", 'engine={"use": "shuffled", "seed": 1}', workers=None, host=shuffled)
    assert tree(sample.folder / "shuffled") == sample.reference


ELSEWHERE = """
import json, sys
import curate_core
spec, settings, output = json.loads(sys.argv[1])
curate_core.run(spec, settings=settings, output=output, workers=3)
"""
OTHER = {"PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "C", "SOURCE_DATE_EPOCH": "1", "OMP_NUM_THREADS": "1"}


def test_other_processes_make_the_same_bytes(sample, tmp_path):
    """Three workers, in another environment. Most of the time goes into what workers import: other numbers are tried in the laboratory."""
    job = json.dumps([str(sample.path), sample.settings, str(sample.folder / "elsewhere")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **OTHER}
    subprocess.run([sys.executable, "-c", ELSEWHERE, job], env=environment, cwd=tmp_path, umask=0o077, check=True)
    assert tree(sample.folder / "elsewhere") == sample.reference


def test_seven_shards_make_the_same_bytes(sample):
    common = {"settings": sample.settings, "output": sample.folder / "shards"}
    for _ in range(len(derive(sample.spec)) + 2):
        for shard in random.Random(0).sample(range(1, 8), 7):
            assert run_shard(sample.path, f"{shard}/7", workers=0, **common).exit_code in (0, 4)
        try:
            commit(sample.path, **common)
            break
        except WaitError:
            continue
    assert tree(sample.folder / "shards") == sample.reference


def of_cases(out: Path, cases: list[str]) -> dict[str, object]:
    """What a dataset says of the samples of some cases, and the bytes of files that hold one alone."""
    dataset = Dataset(out)
    found = {}
    for row in dataset.rows():
        if row["case"] in cases:
            files = {n: (out / p["file"]).read_bytes() for n, p in row["arrays"].items() if p.get("place") is None}
            found[row["id"]] = (row["attributes"], row["views"], row["scores"], row["sha256"], files)
    return found


def test_a_case_gives_the_same_samples_alone(sample, monkeypatch):
    wide = [stage.title for stage in derive(sample.spec).stages if stage.scope is not None and stage.scope.over in ("dataset", "attribute")]
    if wide or len(sample.cases) < 2:
        pytest.skip(f"judged or measured with others: {', '.join(wide)}" if wide else "it has one case")
    chosen = sample.cases[1::2]
    monkeypatch.setattr("curate_core.running.find_cases", lambda spec: [case for case in find_cases(spec) if case.id in chosen])
    sample.run("alone")
    assert of_cases(sample.folder / "alone", chosen) == of_cases(sample.folder / "reference", chosen) != {}


# Components that draw.

DRAWING = {
    ("roi_finder", "random"): {
        "rois": [{"use": "random", "size": [1, 5, 6], "count": 9}],
        "write": [{"use": "npy", "path": "{case}/{id}.npy"}],
    },
    ("filter", "limit"): {"filter": [{"use": "limit", "count": 4}], "write": [{"use": "npy"}]},
    ("roi_finder", "point-pairs"): {
        "rois": [
            {
                "use": "point-pairs",
                "pairs": [[[x, y, 0], [x, y, 1]] for x in (0, 6, 12, 18) for y in (0, 8)],
                "size": [8, 6],
                "splits": {"train": 0.5, "val": 0.5},
            }
        ],
        "write": [{"use": "npy", "path": "{case}/{roi}/{array}.npy"}],
    },
}
"""Specs of components that draw and that no shipped spec has; ``Lab`` completes them."""


def draws(cls: type) -> bool:
    """Whether a component's code, or a function of its module that it names, asks for a generator."""
    module = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    asking = {node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and ".rng(" in ast.unparse(node)}
    own = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    named = {node.id for node in ast.walk(own) if isinstance(node, ast.Name)}
    return cls.__name__ in asking or bool(asking & named)


def test_every_component_that_draws_is_tried():
    host = default_host()
    found = set()
    for kind in ("source", "reader", "preprocessor", "roi_finder", "transform", "filter", "writer"):
        for offer in host.offers(kind):
            if draws(host.load(offer)):
                found.add((kind, offer.provider.name))
    assert set(DRAWING) <= found
    shipped = set()
    for path in SPECS.values():
        given = json.loads(path.read_text(encoding="utf-8"))
        for kind, key in (
            ("source", "source"),
            ("preprocessor", "preprocess"),
            ("roi_finder", "rois"),
            ("transform", "transform"),
            ("filter", "filter"),
        ):
            steps = given.get(key, [])
            shipped |= {(kind, step["use"]) for step in (steps if isinstance(steps, list) else [steps])}
        for steps in given.get("read", {}).values():
            shipped |= {("reader", step["use"]) for step in (steps if isinstance(steps, list) else [steps])}
    assert found - set(DRAWING) - shipped == set(), "give it a spec in DRAWING"


@pytest.fixture
def lab(tmp_path):
    lab = laboratory["Lab"](tmp_path, source={"use": "files", "pattern": "data/{group}/{case}.em.npy"})
    for number, name in enumerate(("two/d", "two/e", "one/f")):
        lab.add(name, 20 + number)
    return lab


@pytest.mark.parametrize("component", sorted(DRAWING))
def test_what_is_drawn_for_a_case_depends_on_no_other(lab, component, monkeypatch):
    lab.run(DRAWING[component])
    for chosen in ("a", "ce", "bdf"):
        monkeypatch.setattr("curate_core.running.find_cases", lambda spec, ids=chosen: [c for c in find_cases(spec) if c.id in ids])
        lab.run(DRAWING[component], output=lab.folder / chosen)
        assert of_cases(lab.folder / chosen, list(chosen)) == of_cases(lab.out, list(chosen)) != {}
    monkeypatch.undo()
    lab.run({**DRAWING[component], "seed": 1}, output=lab.folder / "other")
    assert of_cases(lab.folder / "other", list("abc")) != of_cases(lab.out, list("abc")), "another seed, another draw"


# All paths through the stages, in blocks.

PATHS = {
    "draws": {"rois": [{"use": "random", "size": [1, 4, 4], "count": 40}], "filter": [{"use": "limit", "count": 100, "within": "dataset"}], "write": [{"use": "npy", "path": "{case}/{id}.npy"}]},
    "stacks": {"filter": [{"use": "intensity", "min_mean": 190}, {"use": "limit", "count": 60, "within": "dataset"}], "write": [{"use": "npy", "path": "all.npy", "stack": True}]},
    "groups": {"filter": [{"use": "intensity", "min_std": 100}, {"use": "limit", "count": 15, "within": {"attribute": "group"}}, {"use": "intensity", "max_mean": 205}]},
    "measures": {
        "preprocess": [{"use": "to-uint8", "range": "percentile", "over": "dataset"}],
        "transform": [{"use": "normalize", "over": "dataset"}, {"use": "normalize", "mode": "range", "over": {"attribute": "group"}}],
        "filter": [{"use": "intensity", "min_mean": 0.45}],
    },
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(PATHS))
def test_blocks_may_end_in_any_order(lab, path, shuffled, monkeypatch):
    monkeypatch.setattr("curate_core.cut.BLOCK_ROWS", 7)
    assert BLOCK_ROWS > 7
    spec = {"write": [{"use": "npy"}], **PATHS[path]}
    lab.run(spec)
    reference = lab.tree()
    for seed in range(4):
        spec["engine"] = {"use": "shuffled", "seed": seed}
        lab.run(spec, output=lab.folder / f"shuffled{seed}", host=shuffled)
        assert lab.tree(lab.folder / f"shuffled{seed}") == reference


@pytest.mark.parametrize("path", sorted(PATHS))
def test_one_two_and_five_workers_with_work_for_each(lab, path):
    spec = {"write": [{"use": "npy"}], **PATHS[path]}
    lab.run(spec)
    for workers in (1, 2, 5):
        lab.run(spec, output=lab.folder / f"{workers} workers", workers=workers)
        assert lab.tree(lab.folder / f"{workers} workers") == lab.tree(), f"{workers} workers"


def test_the_paths_give_samples_that_differ(lab):
    """What is compared above is not empty."""
    for spec in PATHS.values():
        lab.run({"write": [{"use": "npy"}], **spec}, overwrite=True)
        assert len(lab.open()) > 10
        assert sum(1 for _ in lab.open().dropped()) > 0


# The code.

CLOCKS = {
    "time.time", "time.time_ns", "time.ctime", "time.localtime", "time.gmtime", "time.strftime", "datetime.now", "datetime.utcnow", "datetime.today",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "date.today", "datetime.date.today", "uuid.uuid1", "uuid.uuid4",
    "os.urandom", "secrets.token_bytes", "secrets.token_hex", "np.random.default_rng", "np.random.RandomState",
}  # fmt: skip
ALLOWED = {
    ("curate_core/running.py", "uuid.uuid4"): "tells jobs of one process apart; reaches no output",
    ("curate_core/testing/writers.py", "time.time"): "waits for the clock to move between two writes",
    ("curate_core/journal.py", "time.time"): "tells which of several shards tried a case last",
    ("curate_core/journal.py", "time.strftime"): "says in the lock file since when a run is at work",
}
LATER = {
    ("curate_core/dataset.py", "folder.rglob('*')"): "the names are sorted",
    ("curate_core/testing/checks.py", "handles.iterdir()"): "what a test says of open files",
    ("plugins/curate-itk/src/curate_itk/dicom.py", "folders[0].iterdir()"): "the slices are sorted by their place",
    ("curate_core/naming.py", "set(pairs)"): "a table that is only looked up",
    ("plugins/curate-dmri/src/curate_dmri/listing.py", "folder.glob(text)"): "what all patterns find is sorted together",
    ("plugins/curate-em/src/curate_em/patches.py", "os.walk(folder)"): "folders and files are sorted as it goes",
    (
        "plugins/curate-hdf5/src/curate_hdf5/reader.py",
        "{place.file, *(path for path, _ in place.parents)}",
    ): "open files that are only looked up",
    ("plugins/curate-pet/src/curate_pet/drawing.py", "{patient.id, patient.fields['case']}"): "two keys of a table",
}
LISTINGS = {"listdir", "scandir", "glob", "iglob", "rglob", "iterdir", "walk"}
ORDERLESS = {"sorted", "any", "all", "len", "sum", "set", "frozenset", "min", "max"}
SHIPPED = [*sorted((ROOT / "curate_core").rglob("*.py")), *sorted(ROOT.glob("plugins/*/src/**/*.py"))]


def parents_of(tree: ast.AST) -> dict[ast.AST, ast.AST]:
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def ordered(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether what a call lists goes, perhaps through a comprehension, into something that the order does not matter to."""
    above = parents[node]
    while isinstance(above, ast.GeneratorExp | ast.ListComp | ast.comprehension | ast.Starred | ast.List | ast.Tuple):
        above = parents[above]
    if isinstance(above, ast.SetComp | ast.Set):
        return True
    return isinstance(above, ast.Call) and isinstance(above.func, ast.Name) and above.func.id in ORDERLESS


def test_nothing_shipped_asks_the_clock_or_draws_without_a_key():
    found = []
    for file in SHIPPED:
        name = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            plain = call.removeprefix("numpy.").removeprefix("np.")
            if (call in CLOCKS or plain.startswith("random.")) and plain not in ("random.Generator", "random.PCG64"):
                found += [f"{name}:{node.lineno}: {call}"] if (name, call) not in ALLOWED else []
            if isinstance(node, ast.Import) and any(alias.name.split(".")[0] in ("random", "secrets") for alias in node.names):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("random", "secrets"):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


def test_what_the_system_lists_is_sorted():
    found = []
    for file in SHIPPED:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        parents = parents_of(tree)
        for node in ast.walk(tree):
            listing = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LISTINGS
            if listing and ast.unparse(node.func) != "ast.walk" and not ordered(node, parents):
                found.append((file.relative_to(ROOT).as_posix(), ast.unparse(node)))
    wrong = [f"{file}: {code}" for file, code in found if (file, code) not in LATER]
    assert not wrong, "\n".join(wrong)


def test_nobody_walks_over_a_set():
    """Sets of names come in an order that the hash seed decides: loops and lists take them sorted."""
    found = []
    for file in SHIPPED:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        parents = parents_of(tree)
        for node in ast.walk(tree):
            walked = node.iter if isinstance(node, ast.For | ast.comprehension) else None
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("list", "tuple", "enumerate", "iter", "next")
            ):
                walked = node.args[0] if node.args else None
            is_set = isinstance(walked, ast.Set | ast.SetComp) or (
                isinstance(walked, ast.Call) and isinstance(walked.func, ast.Name) and walked.func.id in ("set", "frozenset")
            )
            if is_set and not (isinstance(node, ast.comprehension) and ordered(parents[node], parents)):
                found.append((file.relative_to(ROOT).as_posix(), ast.unparse(walked)))
    wrong = [f"{file}: {code}" for file, code in found if (file, code) not in LATER]
    assert not wrong, "\n".join(wrong)
