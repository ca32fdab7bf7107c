"""The last step of a run: parts become the dataset, in a way that a crash cannot split.

Everything new is prepared aside and synced: assembled files, the manifest, the small files. Then a plan of renames and removals is
journalled, and carried out. Each rename can be told done or not done by whether its origin is still there, so that a run that
finds an unfinished plan carries it out again. ``dataset.json`` is removed before the first rename and comes back as the last.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from curate_core.continuing import CASES, describe_cases
from curate_core.digest import canonical, file_digest, key_of
from curate_core.durable import sync_below
from curate_core.errors import RequestError
from curate_core.journal import Journal
from curate_core.kinds import Piece
from curate_core.layout import DATASET, DROPPED, INDEX, LOCK, MANIFEST, OWN_FILES, QUARANTINE, WORK
from curate_core.model import Plain
from curate_core.parts import Parts, load_json, save_json
from curate_core.report import CaseReport
from curate_core.rounds import CaseState
from curate_core.samples import DATA, ROWS, writer_of
from curate_core.unit import Bench


@frozen
class Quarantined:
    """A case that did not make it."""

    case: str
    step: str
    reason: str
    files: tuple[str, ...] = ()


class Commit:
    """One commit of one dataset.

    Args:
        bench: the coordinating process's own.
        journal: of the folder.
        output: the dataset's folder.
    """

    def __init__(self, bench: Bench, journal: Journal, output: Path) -> None:
        self.bench, self.journal, self.output = bench, journal, output
        self.parts = bench.parts
        self.aside = output / WORK / "commit"
        self.assembling = [i for i, step in enumerate(bench.spec.write) if writer_of(step).assembles()]

    def run(
        self, states: Sequence[CaseState], quarantined: Sequence[Quarantined], base: Mapping[str, Plain], lock: Mapping[str, Plain]
    ) -> dict[str, Any]:
        """Make the dataset of the cases' written parts; returns what ``dataset.json`` holds.

        Args:
            states: in manifest order, all of them through.
            quarantined: cases that are not among them.
            base: what ``dataset.json`` says besides the counts.
            lock: content of ``spec.lock.json``.

        Raises:
            RequestError: two samples take one path.
        """
        shutil.rmtree(self.aside, ignore_errors=True)
        self.aside.mkdir(parents=True)
        before = load_files(self.output)
        moves: list[tuple[str, str]] = []
        files = self._loose(states, moves)
        places = self._assemble(states, files, before, moves)
        counts = self._manifest(states, places, moves)
        counts |= self._ledgers(states, quarantined)
        sizes = {name: entry["size"] for name, entry in files.items()}
        summary = {**base, **counts, "files": len(sizes), "bytes": sum(sizes.values())}
        summary["manifest_sha256"] = file_digest(self.aside / MANIFEST)
        (self.aside / LOCK).write_text(canonical(lock), encoding="utf-8", errors="surrogatepass")
        (self.aside / DATASET).write_text(canonical(summary), encoding="utf-8", errors="surrogatepass")
        save_json(self.aside / "files.json", files)
        save_json(self.aside / CASES, describe_cases(self.bench.spec, states))
        work = self.aside.relative_to(self.output).as_posix()
        moves += [(f"{work}/{name}", name) for name in (MANIFEST, INDEX, DROPPED, QUARANTINE, LOCK)]
        moves += [(f"{work}/{name}", f"{WORK}/{name}") for name in ("files.json", CASES)]
        moves.append((f"{work}/{DATASET}", DATASET))
        written = [key for state in states for key in state.written]
        save_json(self.aside / "plan.json", {"moves": moves, "remove": sorted(set(before) - set(files)), "written": written})
        self.journal.flush()
        sync_below(self.aside)
        self.journal.add_commit(f"{work}/plan.json")
        finish(self.output, self.journal)
        return summary

    def _loose(self, states: Sequence[CaseState], moves: list[tuple[str, str]]) -> dict[str, Any]:
        """Files that hold one sample: from parts not committed yet to their places."""
        files: dict[str, Any] = {}
        owners: dict[str, str] = {}
        for state in states:
            for key in state.written:
                shared = set(self._assembled_files(key))
                for name, size in load_json(self.parts.path(key) / "files.json").items():
                    if name in shared:
                        continue
                    if name in files or name in OWN_FILES or name.split("/")[0] == WORK:
                        other = owners.get(name, "curate itself")
                        message = f"two samples take the path {name}: one of {other} and one of case {state.source.id}"
                        raise RequestError(message, hint="add a field such as {case} or {roi} to the writer's path")
                    files[name], owners[name] = {"size": size}, f"case {state.source.id}"
                    if key not in self.journal.committed:
                        part = self.parts.path(key).relative_to(self.output).as_posix()
                        moves.append((f"{part}/{DATA}/{name}", name))
        return files

    def _assembled_files(self, key: str) -> list[str]:
        """Files of a part that an assembling writer shares with others."""
        if not self.assembling:
            return []
        names: dict[str, None] = {}
        for _, arrays, _ in self._rows(key):
            for placement in arrays.values():
                if placement.get("writer", 0) in self.assembling:
                    names[placement["file"]] = None
        return list(names)

    def _rows(self, key: str) -> Iterator[tuple[str, dict[str, Any], str]]:
        """(head, arrays, digests) of each sample of a written part; arrays parsed."""
        with (self.parts.path(key) / ROWS).open(encoding="utf-8", errors="surrogatepass") as file:
            for line in file:
                head, arrays, digests = line.rstrip("\n").split("\t")
                yield head, json.loads(arrays), digests

    def _assemble(
        self, states: Sequence[CaseState], files: dict[str, Any], before: Mapping[str, Any], moves: list[tuple[str, str]]
    ) -> dict[str, Iterator[Plain]]:
        """Make the shared files anew where their pieces changed; returns file -> new places in manifest order."""
        if not self.assembling:
            return {}
        pieces: dict[tuple[str, int], list[Piece]] = {}
        origins: dict[str, list[str]] = {}
        for state in states:
            for key in state.written:
                committed = key in self.journal.committed
                folder = self.output if committed else self.parts.path(key) / DATA
                for head, arrays, _ in self._rows(key):
                    sample = json.loads(head)
                    for label, placement in arrays.items():
                        writer = placement.get("writer", 0)
                        if writer in self.assembling:
                            name = placement["file"]
                            array = label.partition("@")[0]
                            attributes = {**sample["attributes"], "sources": sample["sources"]}
                            piece = Piece(folder / name, placement.get("place"), sample["id"], array, sample["case"], attributes)
                            pieces.setdefault((name, writer), []).append(piece)
                            origins.setdefault(name, []).append(key)
        places: dict[str, Iterator[Plain]] = {}
        for number, ((name, writer), found) in enumerate(sorted(pieces.items())):
            if name in files:
                message = f"two writers take the path {name}"
                raise RequestError(message, hint="give each a path of its own")
            sequence = key_of(origins[name])
            if name in before and before[name].get("sequence") == sequence and all(k in self.journal.committed for k in origins[name]):
                files[name], places[name] = before[name], iter([piece.place for piece in found])
                continue
            step = self.bench.spec.write[writer]
            out = self.aside / f"assembled.{number}"
            places[name] = iter(writer_of(step).assemble(out, found, self.bench.context(step, "")))
            files[name] = {"size": out.stat().st_size, "sequence": sequence}
            moves.append((out.relative_to(self.output).as_posix(), name))
        return places

    def _manifest(
        self, states: Sequence[CaseState], places: Mapping[str, Iterator[Plain]], moves: list[tuple[str, str]]
    ) -> dict[str, Plain]:
        """Write the manifest and its index; parts whose samples were assembled get their new places."""
        offsets, position = [0], 0
        cases: dict[str, int] = {}
        with (self.aside / MANIFEST).open("wb") as out:
            for state in states:
                report = CaseReport(self.parts, state)
                cases[state.source.id] = 0
                for block, key in enumerate(state.written):
                    rows = np.load(self.parts.path(key) / "rows.npy", allow_pickle=False)
                    scores = report.scores(block, key, rows)
                    changed: list[str] = []
                    for (head, arrays, digests), score in zip(self._rows(key), scores, strict=True):
                        for placement in arrays.values():
                            if placement["file"] in places:
                                placement["place"] = next(places[placement["file"]])
                        text = json.dumps(arrays, ensure_ascii=False)
                        tail = f', "scores": {json.dumps(score)}, "arrays": {text}, "sha256": {digests}}}\n'
                        data = (head[:-1] + tail).encode("utf-8", "surrogatepass")
                        position += out.write(data)
                        offsets.append(position)
                        cases[state.source.id] += 1
                        if places:
                            changed.append(f"{head}\t{text}\t{digests}\n")
                    if changed:
                        aside = self.aside / f"{key}.{ROWS}"
                        aside.write_text("".join(changed), encoding="utf-8", errors="surrogatepass")
                        part = (self.parts.path(key) / ROWS).relative_to(self.output).as_posix()
                        moves.append((aside.relative_to(self.output).as_posix(), part))
        np.save(self.aside / INDEX, np.array(offsets, np.int64), allow_pickle=False)
        return {"samples": len(offsets) - 1, "cases": dict(cases)}

    def _ledgers(self, states: Sequence[CaseState], quarantined: Sequence[Quarantined]) -> dict[str, Plain]:
        """Write what did not make it, and count it by step."""
        dropped: dict[str, int] = {step.name: 0 for step in self.bench.spec.filter}
        reports = {state.source.id: CaseReport(self.parts, state) for state in states}
        found = rejected = 0
        with (
            (self.aside / DROPPED).open("w", encoding="utf-8", errors="surrogatepass") as out,
            (self.aside / QUARANTINE).open("w", encoding="utf-8", errors="surrogatepass") as bad,
        ):
            for case in quarantined:
                line = {"case": case.case, "sample": None, "step": case.step, "reason": case.reason, "files": list(case.files)}
                bad.write(json.dumps(line, ensure_ascii=False) + "\n")
            for report in reports.values():
                found += report.found
                for row in report.dropped(reports):
                    dropped[row["step"]] += 1
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
                for row in report.rejected():
                    rejected += 1
                    bad.write(json.dumps(row, ensure_ascii=False) + "\n")
        counted: dict[str, Plain] = dict(dropped)
        return {"found": found, "dropped": counted, "quarantined": {"cases": len(quarantined), "samples": rejected}}


def load_files(output: Path) -> dict[str, Any]:
    """Data files of the last commit: name -> size and more; empty when there was none."""
    path = output / WORK / "files.json"
    return load_json(path) if path.exists() else {}


def finish(output: Path, journal: Journal) -> None:
    """Carry out the journalled plan of a commit, from wherever it stopped."""
    assert journal.pending is not None
    plan = load_json(output / journal.pending)
    (output / DATASET).unlink(missing_ok=True)
    folders: set[str] = set()
    for origin, target in plan["moves"]:
        source, place = os.path.join(output, origin), os.path.join(output, target)  # noqa: PTH118  (there may be millions)
        if not os.path.exists(source):  # noqa: PTH110
            continue
        folder = os.path.dirname(place)  # noqa: PTH120
        if folder not in folders:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            folders.add(folder)
        if target == DATASET:
            _remove(output, plan["remove"])
            sync_below(output)
        os.replace(source, place)  # noqa: PTH105
    sync_below(output)
    journal.add_committed(plan["written"])
    parts = Parts(output)
    for key in plan["written"]:
        shutil.rmtree(parts.path(key) / DATA, ignore_errors=True)
    shutil.rmtree(output / WORK / "commit", ignore_errors=True)


def _remove(output: Path, names: Sequence[str]) -> None:
    """Remove files that are no longer wanted, and folders that this leaves empty."""
    folders: set[Path] = set()
    for name in names:
        (output / name).unlink(missing_ok=True)
        folders.update(parent for parent in (output / name).parents if parent != output and parent.is_relative_to(output))
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
