"""The last step of a run: parts become the dataset, in a way that a crash cannot split.

Everything new is prepared aside and synced: assembled files, the manifest, the small files. Then a plan of renames and removals is
journalled, and carried out. Each rename can be told done or not done by whether its origin is still there, so that a run that
finds an unfinished plan carries it out again. ``dataset.json`` is removed before the first rename and comes back as the last.
"""

from __future__ import annotations

import filecmp
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curate_core.continuing import CASES, describe_cases
from curate_core.digest import canonical, file_digest, key_of
from curate_core.durable import sync_below, sync_folder, writing
from curate_core.errors import RequestError, RunError
from curate_core.fates import FATES, Before, Fates, write_fates
from curate_core.indexes import Indexes
from curate_core.journal import Journal, Quarantined
from curate_core.kinds import Piece
from curate_core.layout import DATASET, DROPPED, INDEX, LOCK, MANIFEST, OWN_FILES, QUARANTINE, WORK
from curate_core.model import Plain
from curate_core.npz import save_array
from curate_core.parts import SEAL, Parts, file_sum, load_json, load_sealed, save_json, save_sealed
from curate_core.report import CaseReport
from curate_core.rounds import CaseState
from curate_core.samples import DATA, ROWS, writer_of
from curate_core.steps import blame
from curate_core.unit import Bench


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
        self.indexes = Indexes([writer_of(step) for step in bench.spec.write])

    def run(
        self, states: Sequence[CaseState], quarantined: Sequence[Quarantined], base: Mapping[str, Plain], lock: Mapping[str, Plain]
    ) -> tuple[dict[str, Any], Fates]:
        """Make the dataset of the cases' written parts; returns what ``dataset.json`` holds, and whose fate changed.

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
        self.indexes.make(self.aside, self.output, files, moves)
        reports = {state.source.id: CaseReport(self.parts, state) for state in states}
        counts |= self._ledgers(reports, quarantined)
        fates = write_fates(self.aside / FATES, Before(self.output), reports, self.journal.committed)
        sizes = {name: entry["size"] for name, entry in files.items()}
        summary = {**base, **counts, "files": len(sizes), "bytes": sum(sizes.values())}
        summary["manifest_sha256"] = file_digest(self.aside / MANIFEST)
        (self.aside / LOCK).write_text(canonical(lock), encoding="utf-8", errors="surrogatepass")
        (self.aside / DATASET).write_text(canonical(summary), encoding="utf-8", errors="surrogatepass")
        save_sealed(self.aside / "files.json", files)
        save_sealed(self.aside / CASES, describe_cases(self.bench.spec, states))
        work = self.aside.relative_to(self.output).as_posix()
        own = [(f"{work}/{name}", name) for name in (MANIFEST, INDEX, DROPPED, QUARANTINE, LOCK)]
        own += [(f"{work}/{name}", f"{WORK}/{name}") for name in ("files.json", CASES)]
        own.append((f"{work}/{DATASET}", DATASET))
        written = [key for state in states for key in state.written]
        if not moves and self.journal.committed == set(written) and all(_same(self.output / a, self.output / b) for a, b in own):
            shutil.rmtree(self.aside)  # readers of a dataset that stays as it is notice nothing
            return summary, fates
        moves += [(f"{work}/{FATES}", f"{WORK}/{FATES}"), *own]
        save_sealed(self.aside / "plan.json", {"moves": moves, "remove": sorted(set(before) - set(files)), "written": written})
        self.journal.flush()
        sync_below(self.aside)
        self.journal.add_commit(f"{work}/plan.json")
        finish(self.output, self.journal)
        return summary, fates

    def _loose(self, states: Sequence[CaseState], moves: list[tuple[str, str]]) -> dict[str, Any]:
        """Files that hold one sample: from parts not committed yet to their places."""
        files: dict[str, Any] = {}
        owners: dict[str, str] = {}
        for state in states:
            for key in state.written:
                shared = set(self._assembled_files(key))
                part = self.parts.path(key).relative_to(self.output).as_posix()
                for name, size in load_json(self.parts.path(key) / "files.json").items():
                    if name in shared:
                        continue
                    if name in files or name.split("/")[0] in (*OWN_FILES, WORK):
                        message = f"two samples take the path {name}: one of {owners.get(name)} and one of case {state.source.id}"
                        if name not in files:
                            message = f"a sample of case {state.source.id} takes the path {name}, which is curate's own"
                        raise RequestError(message, hint="add a field such as {case} or {roi} to the writer's path")
                    files[name], owners[name] = {"size": size}, f"case {state.source.id}"
                    if key not in self.journal.committed:
                        moves.append((f"{part}/{DATA}/{name}", name))
        clash = next((folder for folder in sorted({parent for name in files for parent in _folders(name)}) if folder in files), None)
        if clash is not None:
            message = f"one sample takes the path {clash} and another one below it, as if it were a folder"
            raise RequestError(message, where=owners[clash], hint="add a field such as {case} or {roi} to the writer's path")
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
        needed: Counter[str] = Counter()
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
                            needed[name] += math.prod(placement["shape"]) * np.dtype(placement["dtype"]).itemsize
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
            with blame(step), writing(out, needed[name]):
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
                    moved = False
                    for (head, arrays, digests), score in zip(self._rows(key), scores, strict=True):
                        for placement in arrays.values():
                            if placement["file"] in places:
                                place = next(places[placement["file"]])
                                moved |= placement.get("place") != place
                                placement["place"] = place
                        self.indexes.note(head, arrays)
                        text = json.dumps(arrays, ensure_ascii=False)
                        tail = f', "scores": {json.dumps(score)}, "arrays": {text}, "sha256": {digests}}}\n'
                        data = (head[:-1] + tail).encode("utf-8", "surrogatepass")
                        position += out.write(data)
                        offsets.append(position)
                        cases[state.source.id] += 1
                        if places:
                            changed.append(f"{head}\t{text}\t{digests}\n")
                    if moved:
                        aside = self.aside / f"{key}.{ROWS}"
                        aside.write_text("".join(changed), encoding="utf-8", errors="surrogatepass")
                        moves += [(self._inside(aside), self._inside(self.parts.path(key) / ROWS)), self._sealed_anew(key, aside)]
        save_array(self.aside / INDEX, np.array(offsets, np.int64))
        return {"samples": len(offsets) - 1, "cases": dict(cases)}

    def _inside(self, path: Path) -> str:
        return path.relative_to(self.output).as_posix()

    def _sealed_anew(self, key: str, rows: Path) -> tuple[str, str]:
        """The move of a part's new seal, which knows its new rows."""
        old = self.parts.path(key) / SEAL
        aside = self.aside / f"{key}.{SEAL}"
        save_json(aside, {**load_json(old), ROWS: file_sum(rows)})
        return self._inside(aside), self._inside(old)

    def _ledgers(self, reports: Mapping[str, CaseReport], quarantined: Sequence[Quarantined]) -> dict[str, Plain]:
        """Write what did not make it, and count it by step."""
        dropped: dict[str, int] = {step.name: 0 for step in self.bench.spec.filter}
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
    return load_sealed(path) if path.exists() else {}


def gone(output: Path, journal: Journal, cases: Container[str] | None = None) -> list[str]:
    """Keys of journalled parts that are not there as they were made, or whose data were lost, here or in the dataset's files.

    Args:
        cases: only parts of these are looked at; None: all.
    """
    parts = Parts(output)
    lost = {name for name, entry in load_files(output).items() if not _has_size(output / name, entry["size"])}

    def is_gone(key: str) -> bool:
        if not parts.has(key):
            return True
        if key in journal.committed:
            return bool(lost) and not lost.isdisjoint(parts_files(parts, key))
        return not all(_has_size(parts.path(key) / DATA / name, size) for name, size in parts_files(parts, key).items())

    return [key for key, record in sorted(journal.parts.items()) if (cases is None or record.case in cases) and is_gone(key)]


def _same(one: Path, other: Path) -> bool:
    return other.exists() and filecmp.cmp(one, other, shallow=False)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def parts_files(parts: Parts, key: str) -> dict[str, int]:
    """Data files of a part, name -> size; none but for written ones."""
    path = parts.path(key) / "files.json"
    return load_json(path) if path.exists() else {}


def refuse_changed(states: Sequence[CaseState], journal: Journal, parts: Parts, before: Collection[str]) -> None:
    """Nothing is committed whose sources are not those that were hashed: what was made of changed ones is forgotten.

    Args:
        before: keys of parts that were there when the run began.

    Raises:
        RunError: some changed while the run was at work; one that is gone by now was there when it was needed.
    """
    changed: dict[str, str] = {}
    for state in states:
        found = journal.changed(state.source.files()) if state.kept is None else None
        if found is not None:
            changed[state.source.id] = str(found)
    if not changed:
        return
    for record in journal.parts.values():
        if record.key not in before and (record.case in changed or "closes" in record.info):
            parts.remove(record.key)
    case, changed_file = next(iter(changed.items()))
    others = f" and {len(changed) - 1} cases more" if len(changed) > 1 else ""
    message = f"a source changed while the run was at work: {changed_file}"
    raise RunError(message, where=f"case {case}{others}", hint="nothing was committed; run again when they stay as they are")


def finish(output: Path, journal: Journal) -> None:
    """Carry out the journalled plan of a commit, from wherever it stopped."""
    assert journal.pending is not None
    plan = load_sealed(output / journal.pending)
    _refuse_links(output, [*(target for _, target in plan["moves"]), *plan["remove"]])
    if any(target == DATASET and (output / origin).exists() for origin, target in plan["moves"]):  # else it is in its place already
        (output / DATASET).unlink(missing_ok=True)
        sync_folder(output)  # no power cut may bring it back beside files that were replaced
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


def _folders(name: str) -> Iterator[str]:
    """The folders that a file lies in, innermost first."""
    while folder := name.rpartition("/")[0]:
        yield folder
        name = folder


def _refuse_links(output: Path, names: Iterable[str]) -> None:
    """Nothing is put in place or removed behind a symbolic link: it may lie outside.

    Raises:
        RunError: a folder of the dataset is one.
    """
    seen: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in seen:
            seen.add(folder)
            if (output / folder).is_symlink():
                message = "a folder of the dataset is a symbolic link, behind which nothing is written or removed"
                raise RunError(message, where=str(output / folder), hint="remove the link and run again: it continues")
            folder = folder.rpartition("/")[0]


def _remove(output: Path, names: Sequence[str]) -> None:
    """Remove files that are no longer wanted, and folders that this leaves empty."""
    folders: set[Path] = set()
    for name in names:
        (output / name).unlink(missing_ok=True)
        folders.update(parent for parent in (output / name).parents if parent != output and parent.is_relative_to(output))
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
