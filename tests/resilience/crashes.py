"""Runs that are killed, and what must hold of them.

A trial kills a run at one point, then perhaps its resumption at others, and lets the last one end. After each kill the folder must say
truly what it is: absent, incomplete, or complete with exactly the old or the new dataset. In the end its files must be those of a run
that nobody disturbed, byte by byte, what curate keeps for itself included.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import Factory, define
from faults import Control, Op, Rule, cut_power
from scenarios import PLAIN, Scenario, kind_of

from curate_core.dataset import Dataset
from curate_core.errors import RequestError

HERE = Path(__file__).parent
SECONDS = 60
"""What takes longer hangs."""


def tree(folder: Path, *, own: bool = False) -> dict[str, str]:
    """Name -> hash of the files of a dataset, or (``own``) of those that curate keeps for itself; folders end in a slash."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (name.split("/")[0] == ".curate") == own:
            found[name + "/" * path.is_dir()] = "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@define
class Trial:
    """What happened in one trial.

    Attributes:
        kills: (kind of point, moment) of each.
        cuts: power cuts among them that took something back.
        problem: what did not hold; empty when all did.
    """

    scenario: str
    kills: list[tuple[str, str]] = Factory(list)
    cuts: int = 0
    problem: str = ""


class Problem(Exception):
    """Something does not hold."""


class Laboratory:
    """Sources, references, and a process that starts runs.

    Args:
        folder: for all files.
        library: what ``faults.build`` made.
    """

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder, self.library = Path(os.path.realpath(folder)), library
        self.references: dict[str, dict[str, str]] = {}
        self.bases: dict[str, dict[str, str]] = {}
        self.owns: dict[str, list[dict[str, str]]] = {}
        self._zygote: subprocess.Popen[str] | None = None
        self._numbers = iter(range(10**9))
        for where, names in (("data", "abc"), ("first", "st")):
            for number, name in enumerate(names):
                path = self.folder / where / f"{name}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, np.random.default_rng(ord(name)).integers(0, 256 - 9 * number, (2, 16, 16)).astype(np.uint8))
        (self.folder / "bad").mkdir()
        (self.folder / "bad/x.npy").write_bytes(b"\x93NUMPY rubbish")
        (self.folder / "bad/y.npy").write_bytes((self.folder / "data/a.npy").read_bytes()[:-9])
        self.sources = self._sources()

    def _sources(self) -> dict[str, tuple[bytes, int]]:
        files = (path for where in ("data", "first", "bad") for path in sorted((self.folder / where).rglob("*")))
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    def environment(self, control: Path | None) -> dict[str, str]:
        """For runs: compiled modules are kept, and the faults are loaded."""
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "CURATE_FAULTS")}
        kept |= {"PYTHONPYCACHEPREFIX": str(self.folder / "pycache"), "OPENBLAS_NUM_THREADS": "1", "LD_PRELOAD": str(self.library)}
        kept |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "NO_COLOR": "1", "COLUMNS": "200"}
        return kept if control is None else {**kept, "CURATE_FAULTS": str(control)}

    def close(self) -> None:
        """End the process that starts runs."""
        if self._zygote is not None:
            assert self._zygote.stdin is not None
            self._zygote.stdin.close()
            self._zygote.wait(timeout=10)
            self._zygote.stdout.close()

    def save_spec(self, changes: dict[str, Any]) -> Path:
        """Write a spec; equal ones share a file."""
        text = json.dumps({**PLAIN, **changes})
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        path.write_text(text)
        return path

    def run(
        self,
        out: Path,
        changes: dict[str, Any],
        words: Sequence[str] = (),
        control: Control | None = None,
        *,
        workers: int = 0,
        group: int = 256,
    ) -> int:
        """Run in a process of its own, to its end, however that comes; returns its exit status, negative for a signal.

        Args:
            group: lines that the journal gathers before it syncs.
        """
        every = ["run", str(self.save_spec(changes)), "--output", str(out), "--workers", str(workers), *words]
        file = None if control is None else control.file
        if workers:
            return self._execute(every, file, group)
        if self._zygote is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            command = [sys.executable, str(HERE / "zygote.py")]
            self._zygote = subprocess.Popen(command, env=self.environment(None), cwd=self.folder, **pipes)
        request = {"words": every, "cwd": str(self.folder), "control": file and str(file), "output": str(self.folder / "said")}
        print(json.dumps({**request, "seconds": SECONDS, "group": group}), file=self._zygote.stdin, flush=True)
        return int(json.loads(self._zygote.stdout.readline()))

    def start(self, words: Sequence[str], control: Path | None = None, group: int = 256, **options: Any) -> subprocess.Popen[str]:
        """``curate`` in a session of its own."""
        script = "import sys, curate_core.journal; curate_core.journal.GROUP_LINES = int(sys.argv.pop(1)); "
        script += "from curate_core.cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", script, str(group), *words]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment(control), start_new_session=True, text=True, **options)

    def _execute(self, words: Sequence[str], control: Path | None, group: int) -> int:
        with (self.folder / "said").open("w") as said:
            process = self.start(words, control, group, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            try:
                return process.wait(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return -signal.SIGALRM

    @property
    def said(self) -> str:
        """What the last run printed."""
        return (self.folder / "said").read_text()

    def space(self, scenario: Scenario) -> Path:
        """A folder ``out`` as the scenario finds it, in a folder of its own; references are made at first."""
        if scenario.name not in self.references:
            reference = self._reference(scenario)
            if scenario.base is not None:
                self._expect(self.run(reference / "base", scenario.base), 0)
                self.bases[scenario.name] = tree(reference / "base")
                shutil.copytree(reference / "base", reference / "out")
            self._expect(self.run(reference / "out", scenario.spec, scenario.words), scenario.code)
            self.references[scenario.name] = tree(reference / "out")
            self.owns[scenario.name] = [tree(reference / "out", own=True)]
            self._expect(self.run(reference / "out", scenario.spec, scenario.words), scenario.code)
            self._require(self.references[scenario.name], tree(reference / "out"))
            self.owns[scenario.name].append(tree(reference / "out", own=True))
        space = self.folder / "trials" / str(next(self._numbers))
        space.mkdir(parents=True)
        if scenario.base is not None:
            shutil.copytree(self._reference(scenario) / "base", space / "out")
        return space

    def _reference(self, scenario: Scenario) -> Path:
        return self.folder / "references" / scenario.name.replace(" ", "-")

    def _expect(self, status: int, wanted: int) -> None:
        if status != wanted:
            message = f"exit status {status}, expected {wanted}; it said: {self.said}"
            raise Problem(message)

    def points(self, scenario: Scenario, group: int = 256) -> list[Op]:
        """The operations of an undisturbed run, in order."""
        space = self.space(scenario)
        control = Control(space / "control", space / "out")
        self._expect(self.run(space / "out", scenario.spec, scenario.words, control, group=group), scenario.code)
        ops = control.ops()
        shutil.rmtree(space)
        return ops

    def trial(
        self, scenario: Scenario, rules: Sequence[Rule], *, workers: int = 0, group: int = 256, rng: random.Random | None = None
    ) -> Trial:
        """Strike a run and its resumptions, one rule each, and let the last one end.

        Args:
            rng: power cuts are made with it after each kill; None: none are.
        """
        done = Trial(scenario.name)
        space = self.space(scenario)
        try:
            for rule in rules:
                control = Control(space / "control", space / "out", rule, grave=None if rng is None else space / "grave")
                status = self.run(space / "out", scenario.spec, scenario.words, control, workers=workers, group=group)
                self._struck(scenario, control, rule, status, workers, done)
                if rng is not None:
                    taken = cut_power(control, rng)
                    done.cuts += bool(taken.names or taken.files)
                self.check(scenario, space / "out")
            self._expect(self.run(space / "out", scenario.spec, scenario.words, workers=workers), scenario.code)
            self.compare(scenario, space / "out")
        except Problem as problem:
            done.problem = f"{problem} [{scenario.name}, {workers} workers, {rules}, in {space}]"
        else:
            shutil.rmtree(space)
        return done

    def _struck(self, scenario: Scenario, control: Control, rule: Rule, status: int, workers: int, done: Trial) -> None:
        """Take note of what a rule did; a run that it missed, or only a worker of which died, ended as it should."""
        if control.struck:
            op = next(op for op in control.ops() if op.number == control.struck)
            done.kills.append((kind_of(op), "after" if rule.when == "half" and op.name != "write" else rule.when))
        if status != -signal.SIGKILL:
            self._expect(status, scenario.code)
            if control.struck and not workers:
                message = "a run went on where it was killed"
                raise Problem(message)

    def check(self, scenario: Scenario, out: Path) -> None:
        """What the folder says it is, it is."""
        if self._sources() != self.sources:
            message = "sources were changed"
            raise Problem(message)
        try:
            count = len(Dataset(out))
        except RequestError as error:
            known = (out / ".curate/journal.jsonl").exists()
            wanted = "the dataset is not complete: run its spec again to continue" if known else "there is no curated dataset here"
            if wanted not in str(error):
                message = f"opened, it says: {error}"
                raise Problem(message) from error
        else:
            found = tree(out)
            names = [found == self.references[scenario.name], found == self.bases.get(scenario.name)]
            if not any(names):
                message = f"it says that it is complete with {count} samples, but: {_differences(found, self.references[scenario.name])}"
                raise Problem(message)

    def compare(self, scenario: Scenario, out: Path) -> None:
        """The folder is that of an undisturbed run; what curate keeps for itself may be that of the same run done twice."""
        self._require(self.references[scenario.name], tree(out))
        own = tree(out, own=True)
        if own != self.owns[scenario.name][1]:
            self._require(self.owns[scenario.name][0], own)
        if self._sources() != self.sources:
            message = "sources were changed"
            raise Problem(message)

    def _require(self, wanted: dict[str, str], found: dict[str, str]) -> None:
        if found != wanted:
            message = f"it differs from an undisturbed run: {_differences(found, wanted)}"
            raise Problem(message)


def _differences(found: dict[str, str], wanted: dict[str, str]) -> str:
    more, less = sorted(set(found) - set(wanted)), sorted(set(wanted) - set(found))
    other = sorted(name for name in set(found) & set(wanted) if found[name] != wanted[name])
    return "; ".join(
        f"{title} {', '.join(names[:5])}" for title, names in (("more:", more), ("missing:", less), ("other:", other)) if names
    )
