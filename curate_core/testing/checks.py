"""What several of the base classes check: files left alone, inputs left alone, handles given back, values that cross processes."""

from __future__ import annotations

import gc
import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np

from curate_core.arrays import Box, NDArray, read
from curate_core.batch import Batch
from curate_core.errors import SourceError
from curate_core.kinds import generator
from curate_core.model import Case, Image, Tractogram

JUNK = {
    "empty": b"",
    "text": b"this is not an image\n" * 40,
    "zeros": bytes(4096),
    "noise": generator("junk").bytes(4096),
    "a PNG header": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(64),
    "a zip header": b"PK\x03\x04" + bytes(64),
    "a gzip header": b"\x1f\x8b\x08\x00" + bytes(64),
}
"""Contents that belong to no volume format, by what to call them."""


def across_processes(value: Any) -> Any:
    """A copy made the way engines send values to their workers."""
    return ForkingPickler.loads(ForkingPickler.dumps(value))


def sent(value: Any, what: str) -> Any:
    """Such a copy, or an AssertionError that says that there cannot be one."""
    try:
        return across_processes(value)
    except Exception as error:
        message = f"{what} does not pickle: {type(error).__name__}: {error}"
        raise AssertionError(message) from error


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Relative path -> (SHA-256, modification time in ns) of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


@contextmanager
def unchanged_files(folder: Path, who: str) -> Iterator[None]:
    """Nothing below ``folder`` is written, added or removed."""
    before = snapshot(folder)
    yield
    after = snapshot(folder)
    added, gone = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    assert not added, f"{who} left files beside its source: {', '.join(added)}"
    assert not gone, f"{who} removed source files: {', '.join(gone)}"
    assert not changed, f"{who} changed source files (bytes or modification time): {', '.join(changed)}"


def open_files(folder: Path) -> list[str]:
    """Files below ``folder`` that this process holds open; empty where the system does not tell."""
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        return []
    found = []
    for handle in handles.iterdir():
        try:
            target = handle.readlink()
        except OSError:
            continue
        if target.is_relative_to(folder.resolve()):
            found.append(target.name)
    return sorted(found)


@contextmanager
def no_open_handles(folder: Path, who: str) -> Iterator[None]:
    """When the block is left and its values are gone, no file below ``folder`` is open and none was closed by accident only."""
    gc.freeze()  # what was there before takes long to look through
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            yield
            gc.collect()
            left = open_files(folder)
            if left:  # perhaps in a cycle that goes through what was there before
                gc.unfreeze()
                gc.collect()
                left = open_files(folder)
    finally:
        gc.unfreeze()
    assert not left, f"{who} leaks open handles of {', '.join(left)}"
    unclosed = [str(w.message) for w in caught if issubclass(w.category, ResourceWarning) and str(folder) in str(w.message)]
    assert not unclosed, f"{who} never closes a file: {unclosed[0]}"


def fingerprint(value: Any) -> str:
    """A digest of numpy arrays and plain values in the containers that components see."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, np.ma.MaskedArray):
        _feed(digest, [np.ma.getdata(value), np.ma.getmaskarray(value)])
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key in value:
            digest.update(f"key {key!r}".encode())
            _feed(digest, value[key])
    elif isinstance(value, Image):
        _feed(digest, [np.asarray(value.array), value.grid.to_json(), dict(value.notes)])
    elif isinstance(value, Tractogram):
        data = [{name: read(array) for name, array in part.items()} for part in (value.per_streamline, value.per_point)]
        _feed(digest, [read(value.points), value.offsets, value.lengths, value.grid.to_json(), *data])
    elif isinstance(value, Case):
        _feed(digest, [value.id, value.layers, value.attributes])
    elif isinstance(value, Batch):
        views = [[view.start, view.stop] for view in value.rois.views]
        _feed(digest, [value.case, value.ids, value.arrays, value.attributes, value.rois.attributes, views])
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)}".encode())
        for entry in value:
            _feed(digest, entry)
    else:
        digest.update(repr(value).encode())


@contextmanager
def unchanged(value: Any, who: str) -> Iterator[None]:
    """The value (a case, a batch, features) keeps every bit."""
    before = fingerprint(value)
    try:
        yield
    except ValueError as error:
        if "read-only" in str(error):
            message = f"{who} changes its input in place: {error}"
            raise AssertionError(message) from error
        raise
    assert fingerprint(value) == before, f"{who} changes its input in place"


def assert_equal(actual: NDArray, expected: NDArray, what: str) -> None:
    """Same shape, same dtype but for the byte order, same values (NaN equals NaN), and truth values as numpy stores them."""
    given, wanted = np.asarray(actual), np.asarray(expected)
    assert given.shape == wanted.shape, f"{what}: shape {given.shape}, expected {wanted.shape}"
    kinds = given.dtype.newbyteorder("="), wanted.dtype.newbyteorder("=")
    assert kinds[0] == kinds[1], f"{what}: dtype {kinds[0]}, expected {kinds[1]}"
    same = np.array_equal(given, wanted, equal_nan=given.dtype.kind in "fc")
    if not same:
        wrong = np.argwhere(given != wanted)
        place = tuple(int(i) for i in wrong[0])
        message = f"{what}: {len(wrong)} of {given.size} values differ, the first at {place}: {given[place]}, expected {wanted[place]}"
        raise AssertionError(message)
    if given.dtype == np.bool_ and given.size:
        byte = np.ascontiguousarray(given).view(np.uint8).max()
        assert byte <= 1, f"{what}: a true value is the byte {byte}, which files and checksums take for another one, expected 1"


def check_names_file(error: SourceError, path: Path, what: str) -> None:
    """The message says which file it is about."""
    assert path.name in str(error), f"{what}: the SourceError does not name the file {path.name!r}: {error}"


def assert_source_error(act: Callable[[], Any], path: Path, what: str) -> None:
    """``act`` raises a SourceError that names the file."""
    try:
        act()
    except SourceError as error:
        check_names_file(error, path, what)
    except Exception as error:
        message = f"{what}: expected a SourceError, got {type(error).__name__}: {error}"
        raise AssertionError(message) from error
    else:
        message = f"{what}: expected a SourceError, nothing was raised"
        raise AssertionError(message)


def some_boxes(shape: Sequence[int], count: int = 12) -> list[Box]:
    """Boxes in an array: all of it, its first and last voxel, a plane of each axis, and random ones."""
    rng = generator("boxes", tuple(shape))
    whole = tuple(slice(0, n) for n in shape)
    boxes = [whole, tuple(slice(0, 1) for _ in shape), tuple(slice(n - 1, n) for n in shape)]
    boxes += [(*whole[:axis], slice(n // 2, n // 2 + 1), *whole[axis + 1 :]) for axis, n in enumerate(shape)]
    for _ in range(count):
        corners = [sorted(rng.integers(0, n + 1, 2).tolist()) for n in shape]
        boxes.append(tuple(slice(min(a, n - 1), max(b, min(a, n - 1) + 1)) for (a, b), n in zip(corners, shape, strict=True)))
    return boxes
