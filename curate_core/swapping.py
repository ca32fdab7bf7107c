"""Cleaned copies in the place of their sources: the one thing that touches sources, on request and with a way back.

All copies are made aside first, in ``.curate-swap`` below the sources' root. Then a plan of renames is put down, synced, and carried
out in steps of which each can be told done or not, so that whoever finds a plan left over by a crash carries it out again. What was put in
place is written into a ledger: a copy is never taken for an original.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from curate_core.dataset import Dataset
from curate_core.digest import canonical, file_digest
from curate_core.durable import replace_file, sync_below
from curate_core.errors import RequestError
from curate_core.journal import Journal
from curate_core.jsonfile import parse_json
from curate_core.layout import LOCK
from curate_core.parts import load_json, load_sealed, save_sealed

FOLDER = ".curate-swap"
"""Below the root of the sources; hidden, so that no pattern finds what is in it."""

_PLAN, _LEDGER, _NEW = "plan.json", "ledger.json", "new"


@frozen
class Item:
    """One replacement; paths relative to the root, ``/`` between parts.

    Attributes:
        source: the file that goes.
        target: the file that comes: the copy's name beside the source; both may be the same.
        copy: the dataset's file, relative to the dataset.
        sha256: of the source, as it was when the dataset was made.
    """

    source: str
    target: str
    copy: str
    sha256: str


@frozen
class Swapped:
    """What was done.

    Attributes:
        root: of the sources.
        done: files that came (after an undo: that came back), relative to the root.
        already: copies that lay there before.
        originals: folder that holds the originals; None: they were deleted, or came back.
    """

    root: Path
    done: tuple[str, ...]
    already: tuple[str, ...] = ()
    originals: Path | None = None


def swap(dataset: Path, *, root: Path | None = None, originals: Path | None = None, delete: bool = False, dry_run: bool = False) -> Swapped:
    """Put the files of a dataset in the place of the sources that they were made of.

    Args:
        dataset: folder of a finished dataset with one file for each source.
        root: of the sources; None: where the dataset's run found them.
        originals: where the sources go, on the same file system; None: a folder beside the root.
        delete: delete the sources instead.
        dry_run: only check.

    Raises:
        RequestError: a source changed, the dataset is damaged or no set of copies, a name is taken; nothing was changed.
    """
    opened = Dataset(dataset)
    place = _root(opened, root)
    kept = None if delete else Path(os.path.abspath(originals or place.with_name(f"{place.name}.originals")))
    with _alone(place):
        finish(place)
        ledger = _ledger(place)
        items, already = _items(opened, place, ledger)
        steps = [_step(number, item, place, kept) for number, item in enumerate(items)]
        if not dry_run and steps:
            _make_copies(opened.path, place, steps)
            _commit(place, {"undo": False, "steps": steps})
        return Swapped(place, tuple(item.target for item in items), tuple(already), kept)


def undo(dataset: Path, *, root: Path | None = None, dry_run: bool = False) -> Swapped:
    """Bring back the originals of those sources whose place a dataset's files took.

    Raises:
        RequestError: an original was deleted, or a copy was changed since; nothing was changed.
    """
    opened = Dataset(dataset)
    place = _root(opened, root)
    with _alone(place):
        finish(place)
        ledger = _ledger(place)
        steps = []
        for item in _rows(opened):
            entry = ledger.get(item.target)
            if entry is None:
                continue
            if not entry["kept"] or not Path(entry["kept"]).is_file():
                message = f"the original of {item.target} is not there: {entry['kept'] or 'it was deleted'}"
                raise RequestError(message, where=str(place))
            _refuse_changed(place / item.target, entry["sha256"], "the copy that was put here")
            if entry["source"] != item.target and os.path.lexists(place / entry["source"]):
                message = f"{entry['source']} is there again, where its original would go"
                raise RequestError(message, where=str(place), hint="move it away first")
            steps.append({"source": entry["source"], "target": item.target, "kept": entry["kept"]})
        if not dry_run and steps:
            (place / FOLDER).mkdir(exist_ok=True)
            _commit(place, {"undo": True, "steps": steps})
        return Swapped(place, tuple(str(step["source"]) for step in steps))


def finish(root: Path) -> bool:
    """Carry out a plan that a crash left over, from wherever it stopped; whether there was one."""
    folder = root / FOLDER
    if not (folder / _PLAN).exists():
        shutil.rmtree(folder / _NEW, ignore_errors=True)
        return False
    plan = load_sealed(folder / _PLAN)
    ledger = _ledger(root)
    if plan["undo"]:
        _carry_back(root, plan["steps"])
        for step in plan["steps"]:
            ledger.pop(step["target"], None)
    else:
        _carry_out(root, plan["steps"])
        for step in plan["steps"]:
            ledger[step["target"]] = {key: step[key] for key in ("source", "sha256", "source_sha256", "kept")}
    replace_file(folder / _LEDGER, canonical(ledger))
    (folder / _PLAN).unlink()
    shutil.rmtree(folder / _NEW, ignore_errors=True)
    return True


def _carry_out(root: Path, steps: Sequence[Mapping[str, Any]]) -> None:
    """Sources go, then copies come; between the two a sync, so that no disk can do the second without the first."""
    for step in steps:
        source, new = root / step["source"], root / FOLDER / step["new"]
        if step["kept"] and new.exists() and not os.path.lexists(step["kept"]):
            Path(step["kept"]).parent.mkdir(parents=True, exist_ok=True)
            os.rename(source, step["kept"])  # noqa: PTH104  (a step that tests interrupt)
    sync_below(root)
    for step in steps:
        new = root / FOLDER / step["new"]
        if new.exists():
            os.replace(new, root / step["target"])  # noqa: PTH105
    sync_below(root)
    for step in steps:
        if not step["kept"] and step["source"] != step["target"] and os.path.lexists(root / step["source"]):
            os.unlink(root / step["source"])  # noqa: PTH108


def _carry_back(root: Path, steps: Sequence[Mapping[str, Any]]) -> None:
    for step in steps:
        if os.path.lexists(step["kept"]):
            os.replace(step["kept"], root / step["source"])  # noqa: PTH105
    sync_below(root)
    for step in steps:
        if step["source"] != step["target"] and os.path.lexists(root / step["target"]):
            os.unlink(root / step["target"])  # noqa: PTH108


def _rows(dataset: Dataset) -> Iterator[Item]:
    """What each file of the dataset would replace.

    Raises:
        RequestError: its files are no copies of single sources.
    """
    lock = parse_json((dataset.path / LOCK).read_text(encoding="utf-8", errors="surrogatepass"), LOCK)
    sources: set[str] = set()
    targets: set[str] = set()
    where = str(dataset.path)
    for row in dataset.rows():
        layers = [(layer, file) for layer, files in row["sources"].items() for file in enumerate(files)]
        copies = {(placement["file"], placement.get("place") is None) for placement in row["arrays"].values()}
        if len(layers) != 1 or len(copies) != 1 or not next(iter(copies))[1]:
            message = f"sample {row['id']} is no copy: it has {len(layers)} sources, and a file of its own is needed for one source"
            raise RequestError(message, where=where, hint="swap is for datasets that hold one file for each source file")
        layer, (number, source) = layers[0]
        copy = next(iter(copies))[0]
        target = f"{source.rpartition('/')[0]}/{copy.rpartition('/')[2]}".lstrip("/")
        if ".." in source.split("/") or source.startswith("/"):
            message = f"the source {source} lies outside of the root"
            raise RequestError(message, where=where)
        if source in sources or target in targets:
            message = f"two samples would take the place of {source if source in sources else target}"
            raise RequestError(message, where=where, hint="swap is for datasets that hold one file for each source file")
        sources.add(source)
        targets.add(target)
        digest = lock["cases"].get(row["case"], {}).get("sha256", {}).get(layer, [None])[number]
        yield Item(source, target, copy, str(digest))


def _items(dataset: Dataset, root: Path, ledger: Mapping[str, Any]) -> tuple[list[Item], list[str]]:
    """What is to be replaced, and copies that are in place already; looks at everything before anything is changed.

    Raises:
        RequestError: as ``swap``.
    """
    problems = dataset.verify()
    if problems:
        message = f"the dataset is not as it was written: {problems[0]}"
        raise RequestError(message, where=str(dataset.path), hint="curate verify tells more; run its spec again")
    items, already = [], []
    for item in _rows(dataset):
        entry, target = ledger.get(item.target), root / item.target
        if entry is not None and target.is_file() and file_digest(target) == entry["sha256"]:
            already.append(item.target)
            continue
        source = root / item.source
        if source.is_symlink():
            message = "the source is a symbolic link"
            raise RequestError(message, where=str(source), hint="put the file itself in its place")
        _refuse_changed(source, item.sha256, "the file that the dataset was made from")
        if item.target != item.source and os.path.lexists(target):
            message = f"there is a file already where the copy of {item.source} would go"
            raise RequestError(message, where=str(target), hint="move it away first")
        items.append(item)
    return items, already


def _refuse_changed(path: Path, digest: str, what: str) -> None:
    if not path.is_file() or file_digest(path) != digest:
        message = f"it is {'not' if path.is_file() else 'gone, and was'} {what}"
        raise RequestError(message, where=str(path), hint="nothing was changed; run the dataset's spec again")


def _step(number: int, item: Item, root: Path, kept: Path | None) -> dict[str, Any]:
    """An entry of the plan.

    Raises:
        RequestError: something lies where the original would go.
    """
    original = "" if kept is None else str(kept / item.source)
    if original and os.path.lexists(original):
        message = f"there is a file already where the original of {item.source} would go"
        raise RequestError(message, where=original, hint="name another folder with --originals")
    new = f"{_NEW}/{number}"
    return {"source": item.source, "target": item.target, "kept": original, "new": new, "copy": item.copy, "source_sha256": item.sha256}


def _make_copies(dataset: Path, root: Path, steps: Sequence[dict[str, Any]]) -> None:
    """Copies of the dataset's files aside, with the rights of the sources that they will replace.

    Raises:
        RequestError: originals would go to another file system.
    """
    for step in steps:
        aside = root / FOLDER / step["new"]
        aside.parent.mkdir(exist_ok=True)
        shutil.copyfile(dataset / step["copy"], aside)
        shutil.copymode(root / step["source"], aside)
        step["sha256"] = file_digest(aside)
    if steps[0]["kept"]:
        there = next(folder for folder in Path(steps[0]["kept"]).parents if folder.exists())
        if there.stat().st_dev != root.stat().st_dev:
            message = "originals are renamed, not copied: their folder must be on the file system of the sources"
            raise RequestError(message, where=str(there), hint="name another folder with --originals")


def _commit(root: Path, plan: Mapping[str, Any]) -> None:
    """Put the plan down, behind all that it needs, and carry it out."""
    folder = root / FOLDER
    save_sealed(folder / f"{_PLAN}.new", plan)
    sync_below(root)
    os.replace(folder / f"{_PLAN}.new", folder / _PLAN)  # noqa: PTH105
    sync_below(root)
    finish(root)


def _ledger(root: Path) -> dict[str, Any]:
    """Target -> source, digests of both, and where the original is kept, of all copies that are in place."""
    path = root / FOLDER / _LEDGER
    return dict(load_json(path)) if path.exists() else {}


def _root(dataset: Dataset, given: Path | None) -> Path:
    """The folder that the manifest's sources are relative to.

    Raises:
        RequestError: it is not known, or not there.
    """
    if given is not None:
        if not given.is_dir():
            message = "there is no such folder"
            raise RequestError(message, where=str(given))
        return Path(os.path.abspath(given))
    known = Journal(dataset.path).memo
    names = [file for row in dataset.rows() for files in row["sources"].values() for file in files]
    first = f"{os.sep}{names[0]}" if names else os.sep
    roots = {path.removesuffix(first) for path in known if path.endswith(first)}
    found = sorted(root for root in roots if Path(root).is_dir() and all(f"{root}{os.sep}{name}" in known for name in names))
    if len(found) != 1:
        message = f"where the sources lie is not known: {' or '.join(found) or 'the dataset does not say'}"
        raise RequestError(message, where=str(dataset.path), hint="name their root with --root")
    return Path(found[0])


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One swap at a time below a root.

    Raises:
        RequestError: another is at work.
    """
    (root / FOLDER).mkdir(exist_ok=True)
    with (root / FOLDER / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = "another swap is at work here"
            raise RequestError(message, where=str(root), hint="wait until it has ended") from error
        yield
